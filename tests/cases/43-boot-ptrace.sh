#!/bin/sh
# timeout: 900
# The cloud kernel boots cleanly with traps taken by a tracer, and where signals cannot be
# delivered as views need them a tracer is chosen without being asked for.
. tests/cases/lib
image "$TMPDIR/initrd.gz" 'for i in 1 2 3 4 5 6 7 8 9 10; do /forkstorm 5; done | tail -n 1; /compute 0; /vecstate 2 4 2; /sigframe 2; echo "PASS boot"' \
	forkstorm compute vecstate sigframe
INITRD=$TMPDIR/initrd.gz
KERNEL=$(kernel cloud) || exit 77
one() { # SETTINGS TRANSPORT NOT-TRANSPORT
	boot 200 "$TMPDIR/log" -accel "dbt,$1" -d config,stats
	passed "$TMPDIR/log" boot compute forkstorm vecstate sigframe
	clean_log "$TMPDIR/log"
	grep -q "^stats: .* host traps that came $2" "$TMPDIR/log" || fail "$1: no trap came $2"
	! grep "^stats: .* host traps that came $3" "$TMPDIR/log" || fail "$1: a trap came $3"
	echo "$1: $(grep '^config: trap transport' "$TMPDIR/log"), $(sed -n 's/^stats: *\([0-9]*\) milliseconds/\1/p' "$TMPDIR/log") ms"
}
one traps=ptrace 'from the tracer' 'as signals'
grep -q 'config: trap transport: ptrace$' "$TMPDIR/log" || fail "the log does not say ptrace"
one pkusig=off 'from the tracer' 'as signals'
grep -q '^config: trap transport: ptrace, since no signal' "$TMPDIR/log" || fail "the log does not say why ptrace"
one traps=ptrace,native=off,fsgsbase=off 'from the tracer' 'as signals'
one traps=ptrace,views=one 'from the tracer' 'as signals'
one traps=signal,pkusig=off 'as signals' 'from the tracer'
