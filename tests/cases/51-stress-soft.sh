#!/bin/sh
# timeout: 900
# The stress programs with every memory operand soft.
# Hours of work on a slow machine: SBX_LONG=1 only.
[ "${SBX_LONG:-0}" = 1 ] || exit 77
SBX_OPTS='-accel dbt,soft=on' exec tests/cases/50-stress.sh
