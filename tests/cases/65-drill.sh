#!/bin/sh
# timeout: 900
# Proof of isolation: views run an attacker's code instead of shadowbox's (tests/drill), and
# neither the host nor the monitor takes harm. The log holds the table of attacks.
. tests/cases/lib
need "$B/guest/spin-bad.elf" "$B/shadowbox-drill"
"$B/shadowbox-drill" "$B/guest/spin-bad.elf"
status=$?
[ $status = 77 ] && exit 77
[ $status = 0 ] || fail "the drill found a hole (exit code $status)"
echo "System calls, as on a host without protection keys:"
SBX_NOKEYS=1 "$B/shadowbox-drill" "$B/guest/spin-bad.elf" calls || fail "the drill found a hole"
exit 0
