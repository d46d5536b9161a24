#!/bin/sh
# timeout: 1500
# Random user instruction sequences, translated: the guest must print what the bare CPU prints.
# SBX_LONG=1: 10^6 sequences.
. tests/cases/lib
exec tests/difftest/compare ${SBX_LONG:+-count 1000000} -accel dbt,native=off
