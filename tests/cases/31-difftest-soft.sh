#!/bin/sh
# timeout: 1500
# The same with every memory operand through the software TLB.
. tests/cases/lib
exec tests/difftest/compare -accel dbt,soft=on ${SBX_LONG:+-count 1000000}
