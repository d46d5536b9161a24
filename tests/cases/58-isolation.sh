#!/bin/sh
# timeout: 300
# Page-table isolation (pti=on): a kernel that changes its root twice a system call. What is
# derived from the kernel's half must outlive that: kernel code is not chained anew each time.
. tests/cases/lib
image "$TMPDIR/initrd.gz" '/forkstorm 100; dmesg | grep -i "isolation: enabled"; echo "PASS boot"' forkstorm
INITRD=$TMPDIR/initrd.gz
KERNEL=$(kernel cloud) || exit 77

counter() { # TEXT
	sed -n "s/^stats: *\([0-9]*\) $1\$/\1/p" "$TMPDIR/pti" | grep . || echo 0
}

APPEND=pti=on boot 240 "$TMPDIR/pti" -d stats
passed "$TMPDIR/pti" forkstorm boot
clean_log "$TMPDIR/pti"
grep -qi 'isolation: enabled' "$TMPDIR/pti" || fail "the guest does not isolate its page tables"
roots=$(counter 'CR3 writes') chains=$(counter 'exit: direct branch not yet chained')
echo "CR3 writes: $roots; direct branches not yet chained: $chains"
[ "$roots" -gt 10000 ] || fail "only $roots CR3 writes"
[ "$chains" -lt $((roots * 20)) ] || fail "kernel code is chained again and again"
