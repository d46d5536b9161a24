#!/bin/sh
# timeout: 3600
# Every test kernel with: -accel dbt,views=one
. tests/cases/lib
all_guest_kernels -accel dbt,views=one
