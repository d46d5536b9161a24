#!/bin/sh
# timeout: 900
# Forks, messages between threads, pipes, vector state under preemption, signal frames,
# generated code, system calls with bad pointers, computation while the timer ticks. SBX_LONG=1: as long as promised.
. tests/cases/lib
if [ "$LONG" = 0 ]; then n=${STRESS_N:-500} s=${STRESS_S:-5} mb=${STRESS_MB:-8}; else n=5000 s=60 mb=8; fi
image "$TMPDIR/initrd.gz" "
/forkstorm $n
/threads $s
/vecstate $s 4 2
/sigframe $s
/jit 2000
/badptr 100
/compute $s
i=0; while [ \$i -lt $n ]; do /bin/true; i=\$((i + 1)); done; echo PASS shell-loop
dd if=/dev/zero bs=64k count=\$(($n / 2)) 2>/dev/null | dd bs=4k 2>/dev/null | tr '\\0' x | dd bs=1k 2>/dev/null | wc -c >/tmp/n
[ \$(cat /tmp/n) = \$((65536 * ($n / 2))) ] && echo PASS pipes
dd if=/dev/urandom of=/tmp/r bs=1M count=$mb 2>/dev/null; a=\$(md5sum </tmp/r); b=\$(cat /tmp/r | gzip | gunzip | cat | md5sum); [ \"\$a\" = \"\$b\" ] && echo PASS gzip
(/compute $s & /vecstate $s 2 2 & /forkstorm $n & /threads $s & wait) | sort | sed 's/^PASS/together &/'
" forkstorm threads vecstate sigframe jit compute badptr
INITRD=$TMPDIR/initrd.gz
KERNEL=$(kernel cloud) || exit 77
boot 800 "$TMPDIR/log" ${SBX_OPTS-}
passed "$TMPDIR/log" forkstorm threads vecstate sigframe jit badptr compute shell-loop pipes gzip
[ "$(grep -c '^together PASS' "$TMPDIR/log")" = 4 ] || {
	grep -v '^\[' "$TMPDIR/log" | tail -n 20
	fail "the programs do not pass together"
}
clean_log "$TMPDIR/log"
grep -hE '^(together )?PASS' "$TMPDIR/log"
