#!/bin/sh
# timeout: 900
# The cloud kernel boots cleanly with every engine setting and with some CPU models.
. tests/cases/lib
image "$TMPDIR/initrd.gz" 'for i in 1 2 3 4 5 6 7 8 9 10; do /forkstorm 5; done | tail -n 1; /compute 0; echo "PASS boot"' forkstorm compute
INITRD=$TMPDIR/initrd.gz
KERNEL=$(kernel cloud) || exit 77
for o in soft=on usersoft=on chain=off views=one fsgsbase=off block=1 trace=mprotect adaptive=off prefill=off views=2,maps=200; do
	start=$(date +%s)
	boot 240 "$TMPDIR/log" -accel "dbt,$o"
	passed "$TMPDIR/log" boot compute forkstorm
	clean_log "$TMPDIR/log"
	echo "$o: $(($(date +%s) - start)) s"
done
for cpu in host qemu64 host,-avx512f host,-avx,-avx2; do
	boot 240 "$TMPDIR/log" -cpu "$cpu"
	passed "$TMPDIR/log" boot compute forkstorm
	clean_log "$TMPDIR/log"
	echo "-cpu $cpu"
done
