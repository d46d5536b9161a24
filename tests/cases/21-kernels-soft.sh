#!/bin/sh
# timeout: 600
# Every test kernel with: -accel dbt,soft=on
. tests/cases/lib
all_guest_kernels -accel dbt,soft=on
