#!/bin/sh
# timeout: 1500
# The same (30-difftest-direct) with traps by a tracer, which is told of a fault less than a
# signal handler: trap numbers and error codes are found out from the instruction.
# SBX_LONG=1: 10^6 sequences.
. tests/cases/lib
if [ "$LONG" = 1 ]; then count=1000000; else count=50000; fi
exec tests/difftest/compare -count $count -accel dbt,traps=ptrace
