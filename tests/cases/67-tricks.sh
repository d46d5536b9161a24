#!/bin/sh
# timeout: 300
# Classical tricks of user code: what each raises, with error code and address, is what the real
# processor raises, natively and translated. Only where shadowbox has code that can be
# executed (docs/architecture.md) may a jump do something else. ACCEL: engine settings.
. tests/cases/lib
need "$B/guest/bin/tricks"
timeout 60 "$B/guest/bin/tricks" >"$TMPDIR/native" || fail "tricks cannot run natively: exit code $?"
image "$TMPDIR/initrd.gz" '/tricks; echo; /tricks all | sed "s/^/all: /"' tricks
INITRD=$TMPDIR/initrd.gz
KERNEL=$(kernel cloud) || exit 77
same() { # BUT-FOR OPTION...
	butfor="^((jump|call|ret) 76[0-9a-f]{10}|$1):"
	shift
	boot 60 "$TMPDIR/log" "$@"
	sed -n '/^read 0:/,/^tricks done/p' "$TMPDIR/log" | grep -vE "$butfor" >"$TMPDIR/guest"
	grep -vE "$butfor" "$TMPDIR/native" >"$TMPDIR/want"
	if ! diff "$TMPDIR/want" "$TMPDIR/guest" >"$TMPDIR/diff"; then
		head -n 20 "$TMPDIR/diff"
		fail "not as on the processor ($*)"
	fi
	# the guest has no protection keys, whatever the host has
	for line in 'wrpkru 0: signal 4 code 2 trap 6 error 0 cr2 0 at 0' 'rdpkru 0: signal 4 code 2 trap 6 error 0 cr2 0 at 0' \
		'wrpkru-inside 0: signal 4 code 2 trap 6 error 0 cr2 0 at 3' 'xrstor-all 0: ok' \
		'xrstor-pkru 0: signal 11 code 128 trap 13 error 0 cr2 0 at 0' \
		'32-wrpkru 0: signal 4 code 2 trap 6 error 0 cr2 0 at -1'; do
		grep -qx "all: $line" "$TMPDIR/log" || fail "not '$line' ($*)"
	done
	echo "ok $(wc -l <"$TMPDIR/want") lines $*"
}
accel=${ACCEL:-dbt}
same none -accel "$accel"
# Translated code traps behind a whole REP, and behind MOV SS.
same 'tf-(movsb|ss) 0' -accel "$accel,native=off"
# All operands by way of C or of a lookup: no instruction of the guest's has direct ones.
same 'tf-(movsb|ss) 0' -accel "$accel,pkeys=off"
exit 0
