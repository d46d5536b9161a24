#!/bin/sh
# timeout: 120
# User code that jumps into shadowbox (66-wild) where a tracer takes the views' traps: the gate
# of signals is then nobody's, and must be shut.
SBX_OPTS='-accel dbt,traps=ptrace' exec tests/cases/66-wild.sh
