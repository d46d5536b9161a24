#!/bin/sh
# timeout: 3600
# Every test kernel with: -accel dbt,chain=off
. tests/cases/lib
KARGS='stride=97' KARGS_LONG='stride=5 steps=1000000'
all_guest_kernels -accel dbt,chain=off
