#!/bin/sh
# timeout: 1500
# The same sequences where user code runs natively.
. tests/cases/lib
exec tests/difftest/compare ${SBX_LONG:+-count 1000000}
