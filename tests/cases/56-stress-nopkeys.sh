#!/bin/sh
# timeout: 900
# The stress programs as on a host without protection keys, on less. SBX_LONG=1: as much as
# 50-stress.sh.
if [ "${SBX_LONG:-0}" = 0 ]; then
	STRESS_N=200 STRESS_S=3 STRESS_MB=4
	export STRESS_N STRESS_S STRESS_MB
fi
SBX_OPTS='-accel dbt,pkeys=off' exec tests/cases/50-stress.sh
