#!/bin/sh
# timeout: 3600
# Every test kernel with traps by a tracer instead of signals; then again with user code as
# operating systems run it, which is when it may run natively.
. tests/cases/lib
all_guest_kernels -accel dbt,traps=ptrace || exit 1
KARGS="if=1" KARGS_LONG="if=1 stride=1 steps=1000000"
all_guest_kernels -accel dbt,traps=ptrace
