#!/bin/sh
# timeout: 3600
# Every test kernel with: -accel dbt,pkeys=off
. tests/cases/lib
all_guest_kernels -accel dbt,pkeys=off
