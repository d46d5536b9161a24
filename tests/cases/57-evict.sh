#!/bin/sh
# timeout: 1200
# A code cache so small that the kernel alone does not fit: regions of it are evicted all the
# time while programs fork, generate code and are interrupted; with user code translated the
# programs' blocks are among them.
. tests/cases/lib
image "$TMPDIR/initrd.gz" '
/forkstorm 150
/jit 1000
/badptr 20
/sigframe 1
/vecstate 1 2 1
(/compute 1 & /forkstorm 50 & /threads 1 & wait) | sort | sed "s/^PASS/together &/"
' forkstorm jit badptr sigframe vecstate compute threads
INITRD=$TMPDIR/initrd.gz
KERNEL=$(kernel cloud) || exit 77

counter() { sed -n "s/^stats: *\([0-9]*\) $1\$/\1/p" "$TMPDIR/log" | grep . || echo 0; }

set -- native=on native=off
[ "$LONG" = 0 ] || set -- "$@" trace=mprotect,views=3,native=off soft=on
for o; do
	boot 600 "$TMPDIR/log" -d stats -accel "dbt,cache=1024,$o"
	passed "$TMPDIR/log" forkstorm jit badptr sigframe vecstate
	[ "$(grep -c '^together PASS' "$TMPDIR/log")" = 3 ] || fail "the programs do not pass together"
	clean_log "$TMPDIR/log"
	evicted=$(counter 'code cache regions evicted')
	echo "$o: $evicted regions evicted, $(counter 'blocks translated') blocks translated, $(counter milliseconds) ms"
	[ "$evicted" -gt 300 ] || fail "the cache was hardly ever full"
	[ "$(counter 'code cache flushes')" -lt 20 ] || fail "everything is thrown away"
done
