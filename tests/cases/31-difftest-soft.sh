#!/bin/sh
# timeout: 9000
# The same with every memory operand through the software TLB; SBX_LONG=1: 10^6 sequences.
. tests/cases/lib
if [ "$LONG" = 1 ]; then count=1000000; else count=20000; fi
exec tests/difftest/compare -accel dbt,soft=on -count $count
