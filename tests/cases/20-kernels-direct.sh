#!/bin/sh
# timeout: 3600
# Every test kernel with: the default engine settings
. tests/cases/lib
all_guest_kernels 
