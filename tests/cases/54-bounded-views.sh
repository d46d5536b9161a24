#!/bin/sh
# timeout: 900
# More address spaces than views and more mappings than a view may have: slower, never
# wrong. By default with caps set low; SBX_LONG=1: 2,000 processes at once, and more pages
# apart from each other than the host's vm.max_map_count allows.
. tests/cases/lib
KERNEL=$(kernel cloud) || exit 77
INITRD=$TMPDIR/initrd.gz

counter() { sed -n "s/^stats: *\([0-9]*\) $1\$/\1/p" "$TMPDIR/log"; }

# run LIMIT PROGRAMS OPTION...: both counters of eviction must have moved
run() {
	limit=$1
	image "$INITRD" "$2" manyprocs sparse
	shift 2
	MEM=1G boot "$limit" "$TMPDIR/log" -d stats "$@"
	passed "$TMPDIR/log" manyprocs sparse
	clean_log "$TMPDIR/log"
	echo "$*: $(counter 'views recycled') views recycled, $(counter 'views flushed') flushed, $(counter milliseconds) ms"
	[ "$(counter 'views recycled')" -gt 100 ] || fail "no views recycled"
}

short='/manyprocs 150 4; /sparse 16 16384 16'
run 120 "$short" -accel dbt,views=3,maps=256,trace=mprotect
[ "$(counter 'views flushed')" -gt "$(counter 'views recycled')" ] || fail "no view flushed for want of mappings"
run 120 "$short" -accel dbt,views=3,maps=256,trace=uffd
run 120 "$short" -accel dbt,views=one,maps=256
run 120 '/manyprocs 400 3; /sparse 16 2048 16'
[ "$LONG" = 0 ] && exit 0
run 400 '/manyprocs 2000 10; /sparse 16 2048 640'
run 400 '/manyprocs 2000 5; /sparse 16 2048 640' -accel dbt,trace=mprotect
