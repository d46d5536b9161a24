#!/bin/sh
# timeout: 300
# Both Debian kernels as on a host without protection keys; -d config says what was chosen.
. tests/cases/lib
image "$TMPDIR/initrd.gz" 'for i in 1 2 3 4 5; do /forkstorm 20; done | tail -n 1; /compute 1; cat /proc/cpuinfo >/dev/null; echo "PASS boot"' forkstorm compute
INITRD=$TMPDIR/initrd.gz
for k in cloud generic; do
	KERNEL=$(kernel $k) || exit 77
	for o in pkeys=off pkeys=off,views=one; do
		start=$(date +%s)
		boot 120 "$TMPDIR/log" -accel "dbt,$o" -d config
		passed "$TMPDIR/log" boot compute forkstorm
		clean_log "$TMPDIR/log"
		grep -q '^config: protection keys: none (switched off)' "$TMPDIR/log" || fail "-d config does not say that there are no keys"
		echo "$k, $o: $(($(date +%s) - start)) s"
	done
done
