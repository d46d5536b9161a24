#!/bin/sh
# timeout: 300
# Nothing is left behind (61-kill) where a tracer takes the views' traps, however it ends.
ACCEL=dbt,traps=ptrace exec tests/cases/61-kill.sh
