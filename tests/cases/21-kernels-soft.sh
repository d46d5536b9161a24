#!/bin/sh
# timeout: 3600
# Every test kernel with: -accel dbt,soft=on
. tests/cases/lib
KARGS='steps=20000 stride=97' KARGS_LONG='steps=300000 stride=7'
all_guest_kernels -accel dbt,soft=on
