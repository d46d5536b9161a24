#!/bin/sh
# timeout: 1500
# The same with every memory operand through the software TLB.
. tests/cases/lib
exec tests/difftest/compare -accel dbt,soft=on -count "$([ "$LONG" = 0 ] && echo 20000 || echo 1000000)"
