#!/bin/sh
# timeout: 1500
# The same as on a host without protection keys. SBX_LONG=1: 10^6 sequences.
. tests/cases/lib
if [ "$LONG" = 1 ]; then count=1000000; else count=50000; fi
exec tests/difftest/compare -accel dbt,pkeys=off -count $count
