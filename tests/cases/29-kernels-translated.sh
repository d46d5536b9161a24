#!/bin/sh
# timeout: 3600
# The same with: -accel dbt,native=off
. tests/cases/lib
KARGS="if=1" KARGS_LONG="if=1 stride=1 steps=1000000"
all_guest_kernels -accel dbt,native=off
