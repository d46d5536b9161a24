#!/bin/sh
# timeout: 2000
# The cloud kernel boots cleanly with every engine setting and with some CPU models, and uses
# SMEP and SMAP where they are offered.
. tests/cases/lib
image "$TMPDIR/initrd.gz" 'for i in 1 2 3 4 5 6 7 8 9 10; do /forkstorm 5; done | tail -n 1; /compute 0; echo guards: $(grep -m1 ^flags /proc/cpuinfo | grep -oE " sm[ae]p\b"); echo "PASS boot"' forkstorm compute
INITRD=$TMPDIR/initrd.gz
KERNEL=$(kernel cloud) || exit 77
guards() { grep -q "^guards:$1\$" "$TMPDIR/log" || fail "$(grep ^guards "$TMPDIR/log"), not$1"; }
for o in soft=on usersoft=on chain=off views=one fsgsbase=off block=1 trace=mprotect adaptive=off prefill=off views=2,maps=200; do
	start=$(date +%s)
	boot 700 "$TMPDIR/log" -accel "dbt,$o"
	passed "$TMPDIR/log" boot compute forkstorm
	clean_log "$TMPDIR/log"
	guards ' smep smap'
	echo "$o: $(($(date +%s) - start)) s"
done
for cpu in host qemu64 host,-avx512f host,-avx,-avx2 host,-smap,-smep; do
	boot 240 "$TMPDIR/log" -cpu "$cpu"
	passed "$TMPDIR/log" boot compute forkstorm
	clean_log "$TMPDIR/log"
	case $cpu in qemu64 | *-smap*) guards '' ;; *) guards ' smep smap' ;; esac
	echo "-cpu $cpu"
done
