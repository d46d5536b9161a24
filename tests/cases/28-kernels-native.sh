#!/bin/sh
# timeout: 3600
# Every test kernel with its user code as operating systems run it (interrupts enabled), which
# is when it may run natively.
. tests/cases/lib
KARGS="if=1" KARGS_LONG="if=1 stride=1 steps=1000000"
all_guest_kernels
