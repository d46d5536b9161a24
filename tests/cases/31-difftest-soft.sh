#!/bin/sh
# timeout: 1500
# The same with every memory operand through the software TLB. SBX_LONG=1 only, and known to
# differ: gathers and scatters raise #UD there, and where an operand is both misaligned (or
# not canonical in its last bytes) and not mapped the other fault comes first.
. tests/cases/lib
[ "$LONG" = 1 ] || skip "SBX_LONG=1 only: soft mode is known to differ in fault priorities"
exec tests/difftest/compare -accel dbt,soft=on -count 1000000
