#!/bin/sh
# timeout: 3600
# Every test kernel with: -accel dbt,pkeys=off
. tests/cases/lib
KARGS='keys=0' KARGS_LONG='keys=0 stride=3 steps=300000'
all_guest_kernels -accel dbt,pkeys=off
