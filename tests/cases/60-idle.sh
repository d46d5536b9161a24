#!/bin/sh
# timeout: 120
# An idle guest uses less than 3 % of a host CPU.
. tests/cases/lib
image "$TMPDIR/initrd.gz" 'echo idle begins; sleep 1000'
"$SHADOWBOX" -m 256M -kernel "$(kernel cloud)" -initrd "$TMPDIR/initrd.gz" -no-reboot \
	-append "console=ttyS0 quiet sbx.run=/run-test" -nographic </dev/null >"$TMPDIR/log" 2>&1 &
pid=$!
n=0
until grep -q 'idle begins' "$TMPDIR/log"; do
	sleep 0.2
	n=$((n + 1))
	[ $n -lt 200 ] || fail "does not boot"
done
sleep 2
family() { # all processes below and including the monitor
	echo "$1"
	for child in $(cat "/proc/$1/task/"*/children 2>/dev/null); do family "$child"; done
}
ticks() {
	for p in $(family $pid); do
		sed 's/.*) //' "/proc/$p/stat" 2>/dev/null | cut -d' ' -f12,13
	done | awk '{ s += $1 + $2 } END { print s + 0 }'
}
a=$(ticks)
sleep 10
b=$(ticks)
kill $pid
wait $pid 2>/dev/null
used=$(awk -v t=$((b - a)) -v hz="$(getconf CLK_TCK)" 'BEGIN { printf "%.2f", t / hz / 10 * 100 }')
echo "idle guest: $used % of a CPU"
awk -v u="$used" 'BEGIN { exit u >= 3 }'
