#!/bin/sh
# timeout: 3600
# Every test kernel with: -accel dbt,soft=on
. tests/cases/lib
KARGS='' KARGS_LONG='steps=1000000 stride=1'
all_guest_kernels -accel dbt,soft=on
