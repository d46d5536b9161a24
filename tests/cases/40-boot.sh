#!/bin/sh
# timeout: 900
# Both Debian kernels reach /init and power off, with several memory sizes, with and
# without nokaslr and quiet; the kernel's log is clean and /init starts soon.
. tests/cases/lib
image "$TMPDIR/initrd.gz" 'dmesg >/dev/null; cat /proc/meminfo | head -n 1; echo "PASS boot"; dmesg | tail -n 5; uname -a' 
INITRD=$TMPDIR/initrd.gz
one() { # FLAVOUR MEM APPEND
	KERNEL=$(kernel "$1") || exit 77
	MEM=$2
	APPEND=$3
	boot 120 "$TMPDIR/log"
	passed "$TMPDIR/log" boot
	clean_log "$TMPDIR/log"
	grep -q 'reboot: Power down' "$TMPDIR/log" || [ "$3" != "${3#*quiet}" ] || fail "no power down"
	echo "$1 $2 '$3': $(sed -n 's/^init started at/init at/p' "$TMPDIR/log"), $(grep MemTotal "$TMPDIR/log")"
}
one cloud 128M ''
one cloud 512M nokaslr
one cloud 512M quiet
one generic 512M ''
one generic 256M 'nokaslr quiet'
one cloud 2G ''
one cloud 5G ''
one generic 8G 'quiet'
[ "$LONG" = 0 ] && exit 0
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
	one cloud 512M ''
	one generic 512M ''
done
