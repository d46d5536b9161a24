#!/bin/sh
# timeout: 120
# The interactive shell on a terminal: typing, Ctrl-C, job control, the poweroff and
# reboot commands, Ctrl-A X, and the terminal as it was afterwards.
. tests/cases/lib
command -v python3 >/dev/null || skip "no python3"
KERNEL=$(kernel cloud) || exit 77
tools/mkinitramfs "$TMPDIR/initrd.gz" || fail "mkinitramfs"
exec python3 tests/cases/terminal.py "$SHADOWBOX" -m 256M -kernel "$KERNEL" \
	-initrd "$TMPDIR/initrd.gz" -append "console=ttyS0 quiet" -nographic
