#!/bin/sh
# timeout: 3600
# Every test kernel with: -accel dbt,block=1
. tests/cases/lib
all_guest_kernels -accel dbt,block=1
