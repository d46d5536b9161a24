#!/bin/sh
# SMEP and SMAP taken away from the CPU model: neither they nor STAC and CLAC are there.
. tests/cases/lib
for cpu in host,-smap,-smep host,-smap host,-smep qemu64; do
	for elf in "$B/guest/smap.elf" "$B/guest/smap-low.elf"; do
		need "$elf"
		guest_kernel "$elf" -cpu "$cpu" || fail "-cpu $cpu"
		grep -q '^PASS smap.not_offered' "$TMPDIR/k.log" || fail "-cpu $cpu: not tried"
		grep -q '^SKIP smap.operands' "$TMPDIR/k.log" || fail "-cpu $cpu: offered"
	done
done
