#!/bin/sh
# timeout: 300
# What the kernel says about the machine after half a minute of idling and work: the
# devices that it found, a stable clock, no errors.
. tests/cases/lib
SECS=$([ "$LONG" = 0 ] && echo 15 || echo 60)
image "$TMPDIR/initrd.gz" "sleep $SECS & /compute $SECS; wait; cat /proc/interrupts; cat /sys/devices/system/clocksource/clocksource0/current_clocksource; echo PASS dmesg" compute
INITRD=$TMPDIR/initrd.gz
for flavour in cloud generic; do
	KERNEL=$(kernel $flavour) || exit 77
	boot 200 "$TMPDIR/log"
	passed "$TMPDIR/log" dmesg
	clean_log "$TMPDIR/log"
	grep -q '^tsc$' "$TMPDIR/log" || {
		grep -iE 'tsc|clocksource' "$TMPDIR/log"
		fail "the clock source is not the TSC"
	}
	grep -qE 'ACPI: (PM|Interpreter enabled)' "$TMPDIR/log" || fail "no ACPI"
	grep -qE 'ttyS0 at I/O 0x3f8' "$TMPDIR/log" || fail "no serial port"
	grep -E '^ *LOC:|timer' "$TMPDIR/log" | head -n 3
done
