#!/bin/sh
# timeout: 600
# The kernels that test paging, SMAP and rights against models of their own, run by QEMU without hardware
# help: a second opinion of the model.
. tests/cases/lib
command -v qemu-system-x86_64 >/dev/null || skip "no qemu-system-x86_64"
for name in access access-low mutate mutate-low smap smap-low hold hold-low; do
	need "$B/guest/$name.elf"
	timeout --foreground -k 5 120 qemu-system-x86_64 -accel tcg -cpu max -m 128M -kernel "$B/guest/$name.elf" \
		-nographic -no-reboot -device isa-debug-exit,iobase=0xf4,iosize=0x4 -append "steps=20000 stride=61" \
		</dev/null >"$TMPDIR/k.log" 2>&1
	grep -q '^SUMMARY [0-9]* passed, 0 failed' "$TMPDIR/k.log" || {
		grep -aE 'FAIL|level|entry|SUMMARY' "$TMPDIR/k.log" | head -n 25
		fail "$name"
	}
done
