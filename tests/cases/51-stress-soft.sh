#!/bin/sh
# timeout: 900
# The stress programs with every memory operand soft, on less. SBX_LONG=1: as much as
# 50-stress.sh does without.
if [ "${SBX_LONG:-0}" = 0 ]; then
	STRESS_N=100 STRESS_S=2 STRESS_MB=1
	export STRESS_N STRESS_S STRESS_MB
fi
SBX_LONG=0 SBX_OPTS='-accel dbt,soft=on' exec tests/cases/50-stress.sh
