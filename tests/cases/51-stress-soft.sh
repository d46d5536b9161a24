#!/bin/sh
# timeout: 900
# The stress programs with every memory operand soft.
SBX_OPTS='-accel dbt,soft=on' exec tests/cases/50-stress.sh
