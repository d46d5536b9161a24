#!/bin/sh
# timeout: 300
# However the monitor or a view ends, nothing is left behind: SIGINT, SIGTERM, SIGHUP,
# SIGKILL of the monitor, SIGKILL of a view or tracer; idle and busy guests; during the
# boot too. ACCEL: engine settings.
. tests/cases/lib
need "$B/guest/halt-bad.elf" "$B/guest/spin-bad.elf"
image "$TMPDIR/initrd.gz" '/forkstorm 100000 & /forkstorm 100000 & wait' forkstorm
KERNEL=$(kernel cloud) || exit 77
family() {
	for child in $(cat "/proc/$1/task/"*/children 2>/dev/null); do
		echo "$child"
		family "$child"
	done
}
started() { # WHAT
	n=0
	until grep -q "$1" "$TMPDIR/log"; do
		sleep 0.1
		n=$((n + 1))
		[ $n -lt 300 ] || fail "'$1' never seen"
	done
}
gone() { # PID...
	n=0
	for p; do
		while kill -0 "$p" 2>/dev/null && ! grep -q '^State:.Z' "/proc/$p/status" 2>/dev/null; do
			sleep 0.1
			n=$((n + 1))
			[ $n -lt 50 ] || fail "process $p is left behind after $what"
		done
	done
}
launch() { # halt | spin | linux
	case $1 in
	linux) set -- linux -kernel "$KERNEL" -initrd "$TMPDIR/initrd.gz" -append "console=ttyS0 sbx.run=/run-test" ;;
	*) set -- "$1" -kernel "$B/guest/$1-bad.elf" ;;
	esac
	kind=$1
	shift
	: >"$TMPDIR/log"
	# a shell starts background jobs with SIGINT ignored
	env --default-signal=INT "$SHADOWBOX" -accel "${ACCEL:-dbt}" -m 128M -nographic -no-reboot "$@" </dev/null >"$TMPDIR/log" 2>&1 &
	pid=$!
	case $kind in
	halt) started halting ;;
	spin) started spinning ;;
	linux) started 'init started' ; sleep 1 ;;
	esac
	all=$(family $pid)
	[ -n "$all" ] || fail "no view processes below the monitor"
}
# named NAME PID...: the last of them that has this name
named() {
	name=$1
	shift
	for p; do
		grep -q "^$name" "/proc/$p/comm" && found=$p
	done
	echo "$found"
}
case ${ACCEL-} in *ptrace*) victims='shadowbox-v shadowbox-t' ;; *) victims=shadowbox-v ;; esac
for guest in halt spin linux; do
	for signal in INT TERM HUP KILL; do
		launch $guest
		what="SIG$signal of the monitor of '$guest'"
		kill -$signal $pid
		# shellcheck disable=SC2086
		gone $pid $all
		wait $pid 2>/dev/null
		status=$?
		[ $status != 0 ] || [ $signal != KILL ] || fail "exit code 0 after $what"
		echo "ok $what (exit $status, processes: $(echo $all | wc -w))"
	done
	for victim in $victims; do
		launch $guest
		what="SIGKILL of a $victim of '$guest'"
		# shellcheck disable=SC2086
		kill -KILL "$(named $victim $all)" || fail "no $victim"
		# shellcheck disable=SC2086
		gone $pid $all
		wait $pid 2>/dev/null
		status=$?
		[ $status != 0 ] || fail "exit code 0 after $what"
		[ $status -lt 128 ] || fail "the monitor died of a signal after $what"
		grep -q 'shadowbox:' "$TMPDIR/log" || fail "no word about the dead process"
		echo "ok $what (exit $status: $(grep 'shadowbox:' "$TMPDIR/log" | head -n 1))"
	done
done
# early, at any point of the start
for delay in 0 0.01 0.02 0.05 0.1 0.3 0.6; do
	"$SHADOWBOX" -accel "${ACCEL:-dbt}" -m 128M -nographic -no-reboot -kernel "$KERNEL" -initrd "$TMPDIR/initrd.gz" \
		-append console=ttyS0 </dev/null >"$TMPDIR/log" 2>&1 &
	pid=$!
	sleep $delay
	all=$(family $pid)
	what="SIGKILL after $delay s"
	kill -KILL $pid
	# shellcheck disable=SC2086
	gone $pid $all
	wait $pid 2>/dev/null
done
sleep 0.5
left=$(pgrep -f -- "-initrd $TMPDIR/initrd.gz" | wc -l)
[ "$left" = 0 ] || fail "$left processes left behind"
exit 0
