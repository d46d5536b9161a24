#!/bin/sh
# timeout: 120
# Guest user code that runs as it is can jump to any executable byte of shadowbox: it must win
# nothing by that. First around the places that matter (gates, the return from signals, the
# way in and out), then anywhere in the program and in the code cache. SBX_LONG=1: for long.
. tests/cases/lib
if [ "$LONG" = 0 ]; then n=2000; else n=300000; fi
places=$(sensitive_places) || fail "no symbols in $SHADOWBOX"
text=$(nm "$SHADOWBOX" | awk '$3 == "etext" || $3 == "_etext" { print $1; exit }')
# shellcheck disable=SC2086
image "$TMPDIR/initrd.gz" "
/wild ${SBX_SEED:-1} $n $(echo $places)
/wild ${SBX_SEED:-1} $n 768000001000-${text:-768000300000}
/wild ${SBX_SEED:-1} $n 768200000000-768200001000
/wild ${SBX_SEED:-1} $n 768200000000-768200400000
/wild ${SBX_SEED:-1} $n 768000000000-770000000000
" wild
INITRD=$TMPDIR/initrd.gz
KERNEL=$(kernel cloud) || exit 77
boot 100 "$TMPDIR/log" -d stats ${SBX_OPTS-}
grep ESCAPED "$TMPDIR/log" && fail "guest user code has left the sandbox"
[ "$(grep -c '^PASS wild' "$TMPDIR/log")" = 5 ] || {
	grep -v '^\[' "$TMPDIR/log" | tail -n 20
	fail "the program does not pass"
}
grep -hE '^PASS|jumps of user code' "$TMPDIR/log"
grep -E 'BUG|Oops|Kernel panic' "$TMPDIR/log" && fail "the kernel takes harm"
exit 0
