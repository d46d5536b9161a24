#!/bin/sh
# timeout: 3600
# Every test kernel with: traps by a tracer instead of signals
. tests/cases/lib
all_guest_kernels -accel dbt,traps=ptrace
