#!/bin/sh
# timeout: 300
# -d prof tells what a machine's CPU time went to: user code that computes (as it is, or
# translated), a kernel that copies. tools/prof names the functions.
. tests/cases/lib
KERNEL=$(kernel cloud) || exit 77
INITRD=$TMPDIR/initrd.gz

run() { # NAME SCRIPT [OPTION...]
	name=$1
	image "$INITRD" "$2; echo PASS boot"
	shift 2
	APPEND=nokaslr boot 120 "$TMPDIR/$name" -d prof -D "$TMPDIR/$name.prof" "$@"
	passed "$TMPDIR/$name" boot
	grep -q '^prof: *[0-9]* samples of CPU time' "$TMPDIR/$name.prof" || fail "$name: no profile"
}

share() { # NAME KIND: per cent
	sed -n "s/^prof: *[0-9]* *\([0-9]*\)% $2 .*/\1/p" "$TMPDIR/$1.prof" | grep . || echo 0
}

loop='i=0; while [ $i -lt 1000000 ]; do i=$((i + 1)); done'
run native "$loop"
[ "$(share native user)" -gt 25 ] || fail "native: user code is only $(share native user) %"
run translated "$loop" -accel dbt,native=off
[ "$(share translated user)" = 0 ] || fail "native=off has native user code"
user=$(($(share translated user-dbt) + $(share translated stubs))) # branches go by the stubs
[ "$user" -gt 25 ] || fail "native=off: user code is only $user %"

run copy 'grep -E " (clear_page_erms|rep_stos|read_zero|read_iter_zero|__clear_user|clear_user_erms)$" /proc/kallsyms |
	sed "s/^/SYM /"; dd if=/dev/zero of=/dev/null bs=64k count=20000'
sed -n 's/^SYM //p' "$TMPDIR/copy" >"$TMPDIR/symbols"
[ -s "$TMPDIR/symbols" ] || fail "the guest has none of these symbols"
tools/prof "$TMPDIR/copy.prof" "$TMPDIR/symbols" >"$TMPDIR/report" || fail "tools/prof"
head -n 20 "$TMPDIR/report"
name=$(sed -n 's/^ *[0-9]* *[0-9.]*%  \([^ ]*\) .*/\1/p' "$TMPDIR/report" | head -n 1)
grep -q " $name\$" "$TMPDIR/symbols" || fail "the first function should be one that clears memory: $name"
