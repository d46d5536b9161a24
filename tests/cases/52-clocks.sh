#!/bin/sh
# timeout: 300
# Guest time is monotonic and runs at the host's rate within 1 %, on every clock source.
. tests/cases/lib
SECS=$([ "$LONG" = 0 ] && echo 10 || echo 60)
image "$TMPDIR/initrd.gz" "/clocks $SECS" clocks
INITRD=$TMPDIR/initrd.gz
KERNEL=$(kernel cloud) || exit 77
for source in tsc hpet acpi_pm; do
	APPEND="quiet clocksource=$source"
	[ $source = tsc ] || APPEND="$APPEND notsc"
	rm -f "$TMPDIR/start" "$TMPDIR/end"
	mkfifo "$TMPDIR/fifo"
	while read -r line; do
		case $line in
		*'clock start'*) date +%s.%N >"$TMPDIR/start" ;;
		*'clock end'*) date +%s.%N >"$TMPDIR/end" ;;
		esac
		printf '%s\n' "$line"
	done <"$TMPDIR/fifo" >"$TMPDIR/log" &
	timeout --foreground -k 5 200 "$SHADOWBOX" -m 256M -kernel "$KERNEL" -initrd "$INITRD" -no-reboot \
		-append "console=ttyS0 sbx.run=/run-test $APPEND" -nographic </dev/null >"$TMPDIR/fifo" 2>&1 ||
		fail "$source: exit code $?"
	wait $!
	rm -f "$TMPDIR/fifo"
	tr -d '\r' <"$TMPDIR/log" >"$TMPDIR/log2"
	passed "$TMPDIR/log2" clocks
	clean_log "$TMPDIR/log2"
	guest=$(sed -n 's/^PASS clocks //p' "$TMPDIR/log2")
	awk -v g="$guest" -v a="$(cat "$TMPDIR/start")" -v b="$(cat "$TMPDIR/end")" -v s=$source 'BEGIN {
		h = b - a; d = (g / h - 1) * 100
		printf "%s: guest %.3f s, host %.3f s, %+.3f %%\n", s, g, h, d
		exit d > 1 || d < -1 }' || fail "$source drifts"
done
