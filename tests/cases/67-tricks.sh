#!/bin/sh
# timeout: 300
# Classical tricks of user code: what each raises, with error code and address, is what the real
# processor raises, natively and translated. ACCEL: engine settings.
. tests/cases/lib
tricks_native
image "$TMPDIR/initrd.gz" '/tricks; echo; /tricks all | sed "s/^/all: /"' tricks
INITRD=$TMPDIR/initrd.gz
KERNEL=$(kernel cloud) || exit 77
same() { # OPTION...
	boot 60 "$TMPDIR/log" "$@"
	tricks_same "$TMPDIR/log" "$*"
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
same -accel "$accel"
same -accel "$accel,native=off"
# All operands by way of C or of a lookup: no instruction of the guest's has direct ones.
same -accel "$accel,pkeys=off"
exit 0
