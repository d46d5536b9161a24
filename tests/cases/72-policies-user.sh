#!/bin/sh
# timeout: 3600
# Every guest user program under every engine policy, a boot for each: what programs see does not
# depend on how shadowbox runs them. By default the policies that differ most from what the other
# cases run; SBX_LONG=1: all of them. SBX_POLICIES: these instead.
. tests/cases/lib
tricks_native
places=$(sensitive_places) || fail "no symbols in $SHADOWBOX"
# Programs' clocks are not the subject: sleeps may end a minute late, and what wild's and tricks'
# processes end by is not for the log.
# shellcheck disable=SC2086
image "$TMPDIR/initrd.gz" "
/forkstorm 40
/threads 1
/vecstate 1 2 2
/sigframe 0
/jit 60
/badptr 4
/compute 0
/clocks 1 60000
/manyprocs 80 2
/sparse 1 4096 4
/guard 200
echo 0 >/proc/sys/debug/exception-trace
/wild 1 200 $(echo $places)
/tricks brief
" badptr clocks compute forkstorm guard jit manyprocs sigframe sparse threads tricks vecstate wild
INITRD=$TMPDIR/initrd.gz
KERNEL=$(kernel cloud) || exit 77

run() ( # POLICY
	start=$(date +%s)
	[ "$1" = default ] && accel=dbt || accel=dbt,$1
	boot 900 "$TMPDIR/log" -accel "$accel"
	passed "$TMPDIR/log" forkstorm threads vecstate sigframe jit badptr compute clocks manyprocs sparse guard wild
	tricks_same "$TMPDIR/log" "$1"
	clean_log "$TMPDIR/log"
	echo "ok $1: $(($(date +%s) - start)) s"
)

short='trace=mprotect,adaptive=off,prefill=off stores=off hold=1 usersoft=on views=2,maps=64 native=off fsgsbase=off'
all="$short default trace=mprotect adaptive=off prefill=off hold=0 soft=on chain=off views=one pkeys=off
	traps=ptrace block=1 cache=1024 bind=off pkusig=off"
if [ "$LONG" = 0 ]; then policies=$short; else policies=$all; fi
count=0 bad=
for policy in ${SBX_POLICIES-$policies}; do
	run "$policy" || {
		echo "FAIL $policy"
		bad="$bad $policy"
	}
	count=$((count + 1))
done
[ -z "$bad" ] || fail "of $count policies:$bad"
echo "$count policies"
