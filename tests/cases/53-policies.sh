#!/bin/sh
# timeout: 600
# What the policies of the shadow maps are worth, by counters alone: in a guest that forks,
# few of its writes to page tables trap (adaptive=on); without that nearly all do. Most are done
# in line (stores=on), or none. Pages are
# mapped before they fault (prefill=on), or never. userfaultfd is used when asked for.
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
grep 'config: userfaultfd write protection: yes' "$TMPDIR/on" || exit 0
run uffd trace=uffd
[ "$(counter uffd 'host calls: userfaultfd')" -gt 100 ] || fail "trace=uffd uses no userfaultfd"
[ "$(per_mille uffd)" -lt 20 ] || fail "too many traps"
