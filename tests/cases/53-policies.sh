#!/bin/sh
# timeout: 900
# What the policies of the shadow maps are worth, by counters alone: in a guest that forks,
# few of its writes to page tables trap (adaptive=on); without that nearly all do. Most are done
# in line (stores=on), or none. Pages are
# mapped before they fault (prefill=on), or never. userfaultfd is used when asked for. Pages that the
# guest protects and unprotects all the time are held read-only (hold=16), or none (hold=0).
. tests/cases/lib
image "$TMPDIR/initrd.gz" '/forkstorm 400; echo "PASS boot"' forkstorm
INITRD=$TMPDIR/initrd.gz
KERNEL=$(kernel cloud) || exit 77

run() { # NAME POLICY
	boot 240 "$TMPDIR/$1" -accel "dbt,$2" -d stats,config
	passed "$TMPDIR/$1" forkstorm boot
	clean_log "$TMPDIR/$1"
}

counter() { # NAME TEXT
	sed -n "s/^stats: *\([0-9]*\) $2\$/\1/p" "$TMPDIR/$1" | grep . || echo 0
}

per_mille() { # NAME: traps per 1,000 writes to page tables
	writes=$(counter "$1" 'page-table writes seen')
	[ "$writes" -gt 10000 ] || fail "$1: only $writes writes to page tables"
	echo $(($(counter "$1" 'write faults on traced pages') * 1000 / writes))
}

run on trace=mprotect,adaptive=on,prefill=on
run off adaptive=off,prefill=off
run c stores=off
on=$(per_mille on) off=$(per_mille off)
echo "traps per 1,000 page-table writes: $on with adaptive=on, $off without"
[ "$on" -lt 20 ] || fail "too many traps"
[ "$off" -gt 500 ] || fail "adaptive=off is as good"
if grep -q 'config: user code: runs as it is' "$TMPDIR/on"; then
	young=$(counter on 'native user code: branches translated instead for young processes')
	echo "branches translated for young processes: $young"
	[ "$young" -gt 400 ] || fail "pages of forked processes are made executable each time"
fi
inline=$(counter on 'page-table writes done in line')
echo "page-table writes in line: $inline of $(counter on 'page-table writes seen')"
[ "$inline" -gt $(($(counter on 'page-table writes seen') / 2)) ] || fail "stores=on does few in line"
[ "$(counter c 'page-table writes done in line')" = 0 ] || fail "stores=off does some in line"
ahead=$(counter on 'pages mapped before they faulted')
echo "pages mapped ahead: $ahead; hidden faults: $(counter on 'hidden faults filled'), without: $(counter off 'hidden faults filled')"
[ "$ahead" -gt 1000 ] || fail "prefill=on maps nothing ahead"
[ "$(counter off 'pages mapped before they faulted')" = 0 ] || fail "prefill=off maps ahead"
[ "$(counter on 'hidden faults filled')" -lt "$(counter off 'hidden faults filled')" ] || fail "prefill saves no fault"
[ "$(counter on 'host calls: userfaultfd')" = 0 ] || fail "trace=mprotect uses userfaultfd"

# guard NAME POLICY COMMANDS: in a guest that protects pages
guard() {
	image "$TMPDIR/initrd.gz" "$3; echo \"PASS boot\"" guard
	boot 240 "$TMPDIR/$1" -accel "dbt,$2" -d stats,config
	passed "$TMPDIR/$1" guard boot
	! grep '^FAIL' "$TMPDIR/$1" || fail "$1: a page is not protected"
}

lowered() { # NAME: calls that take rights from pages or give them
	echo $(($(counter "$1" 'host calls: userfaultfd') + $(counter "$1" 'host calls: mprotect, pkey_mprotect')))
}

pages='pages held read-only while their rights come and go'
held_pages() {
	often='/guard 10000 barrier; /guard 10000 guarded'
	guard held hold=16 "$often"
	guard free hold=0 "$often"
	guard all hold=1 '/guard 2000'
	echo "pages held: $(counter held "$pages"), with hold=1 $(counter all "$pages"); calls: $(lowered held), without: $(lowered free)"
	[ "$(counter held "$pages")" -ge 2 ] || fail "hold=16 holds no page"
	[ "$(counter all "$pages")" -gt 10 ] || fail "hold=1 holds few pages"
	[ "$(counter free "$pages")" = 0 ] || fail "hold=0 holds pages"
	[ $(($(lowered held) * 3)) -lt "$(lowered free)" ] || fail "held pages save no calls"
	for k in hold hold-low; do # the test kernel sees to it that they are
		guest_kernel "$B/guest/$k.elf" -accel dbt,hold=1 -d stats || fail "$k"
		tr -d '\r' <"$TMPDIR/k.log" >"$TMPDIR/$k"
		[ "$(counter "$k" "$pages")" -gt 10 ] || fail "$k: few pages are held"
	done
}
# Without keys user code is soft, and no page is mapped for it.
grep -q 'config: protection keys: none' "$TMPDIR/on" || held_pages

grep 'config: userfaultfd write protection: yes' "$TMPDIR/on" || exit 0
image "$TMPDIR/initrd.gz" '/forkstorm 400; echo "PASS boot"' forkstorm
run uffd trace=uffd
[ "$(counter uffd 'host calls: userfaultfd')" -gt 100 ] || fail "trace=uffd uses no userfaultfd"
[ "$(per_mille uffd)" -lt 20 ] || fail "too many traps"
