#!/bin/sh
# timeout: 9000
# The same with every memory operand through the software TLB; SBX_LONG=1: 10^6 sequences.
. tests/cases/lib
if [ "$LONG" = 1 ]; then count=1000000; else count=50000; fi
# Neither the operand of PUSH nor the stack is canonical: #GP, the operand's.
tests/difftest/compare -accel dbt,soft=on -from 659265 -count 1 || exit 1
# UD1 whose operand is on a page that is missing: #PF.
tests/difftest/compare -accel dbt,soft=on -from 2009519 -count 1 || exit 1
exec tests/difftest/compare -accel dbt,soft=on -count $count
