#!/bin/sh
# timeout: 200
# Classical tricks of user code (67-tricks) where a tracer takes the views' traps: error codes are
# then shadowbox's to find out, also of a fetch where nothing is that it could read.
ACCEL=dbt,traps=ptrace exec tests/cases/67-tricks.sh
