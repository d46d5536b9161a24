#!/bin/sh
# timeout: 3600
# Every test kernel with: -accel dbt,soft=on
. tests/cases/lib
KARGS='stride=41' KARGS_LONG='steps=1000000 stride=3'
all_guest_kernels -accel dbt,soft=on
