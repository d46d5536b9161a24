#!/bin/sh
# timeout: 1500
# The same sequences with traps by a tracer, which is told of a fault less than a signal
# handler is: trap numbers and error codes are found out from the instruction. Translated
# and native. SBX_LONG=1: 10^6 sequences.
. tests/cases/lib
if [ "$LONG" = 1 ]; then count=1000000; else count=30000; fi
tests/difftest/compare -count $count -accel dbt,traps=ptrace,native=off &&
	tests/difftest/compare -count $count -accel dbt,traps=ptrace
