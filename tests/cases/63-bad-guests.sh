#!/bin/sh
# timeout: 120
# Guests that end badly: a triple fault is reported with registers and ends as under QEMU
# with -no-reboot (exit code 0); garbage and zeros as code end in a guest's death, never
# in shadowbox's.
. tests/cases/lib
run() { # NAME SECONDS OPTION...
	name=$1
	limit=$2
	shift 2
	need "$B/guest/$name-bad.elf"
	timeout --foreground -k 5 "$limit" "$SHADOWBOX" -m 128M -kernel "$B/guest/$name-bad.elf" -nographic "$@" \
		</dev/null >"$TMPDIR/log" 2>&1
	status=$?
	! grep -qiE 'internal error|assert|signal 11|core dumped' "$TMPDIR/log" || {
		cat "$TMPDIR/log"
		fail "$name breaks shadowbox"
	}
}
run triple 20 -no-reboot
[ $status = 0 ] || fail "triple fault with -no-reboot: exit code $status, QEMU's is 0"
grep -qi 'triple fault' "$TMPDIR/log" || fail "no report of the triple fault"
grep -qiE 'RAX=7777777712345678' "$TMPDIR/log" || fail "no registers in the report"
for engine in '' soft=on chain=off pkeys=off; do
	run garbage 20 -no-reboot ${engine:+-accel dbt,$engine}
	[ $status -lt 124 ] || [ $status = 124 ] || fail "garbage: exit code $status"
	run zeros 10 -no-reboot ${engine:+-accel dbt,$engine}
	[ $status -lt 124 ] || [ $status = 124 ] || fail "zeros: exit code $status"
done
# without -no-reboot the machine starts again and again
run triple 3
[ $status = 124 ] || fail "triple fault without -no-reboot: exit code $status"
[ "$(grep -c 'about to triple-fault' "$TMPDIR/log")" -gt 1 ] || fail "the machine did not start again"
# debug-exit: code (value << 1) | 1
guest_kernel "$B/guest/stack.elf" || fail "exit code of the debug-exit device"
exit 0
