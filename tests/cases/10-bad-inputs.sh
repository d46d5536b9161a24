#!/bin/sh
# Wrong command lines and files: one clear line on stderr that names the culprit, a
# non-zero exit code, nothing on stdout, and no process left over. Lists that the user
# asks for go to stdout with exit code 0.
status=0
complain() {
	echo "$1"
	status=1
}

# refused WORD ARGUMENT...
refused() {
	word=$1
	shift
	timeout 60 "$SHADOWBOX" "$@" >"$TMPDIR/out" 2>"$TMPDIR/err"
	code=$?
	[ $code = 1 ] || complain "$*: exit code $code"
	[ "$(wc -l <"$TMPDIR/err")" = 1 ] || complain "$*: not one line: $(cat "$TMPDIR/err")"
	grep -qF -e "$word" "$TMPDIR/err" || complain "$*: no '$word' in: $(cat "$TMPDIR/err")"
	[ -s "$TMPDIR/out" ] && complain "$*: printed $(cat "$TMPDIR/out")"
}

# listed WORD ARGUMENT...
listed() {
	word=$1
	shift
	timeout 60 "$SHADOWBOX" "$@" >"$TMPDIR/out" 2>"$TMPDIR/err" || complain "$*: exit code $?"
	grep -qF -e "$word" "$TMPDIR/out" || complain "$*: no '$word' in: $(cat "$TMPDIR/out")"
	[ -s "$TMPDIR/err" ] && complain "$*: complained: $(cat "$TMPDIR/err")"
}

# A bzImage header (boot.rst) of which the payload is missing.
bytes() {
	printf "$2" | dd of="$TMPDIR/truncated" bs=1 seek="$1" conv=notrunc 2>/dev/null
}
head -c 1024 /dev/zero >"$TMPDIR/truncated"
bytes 497 '\004'
bytes 500 '\000\020'
bytes 510 '\125\252\353\152HdrS\017\002'
bytes 529 '\001'
bytes 566 '\001'
echo text >"$TMPDIR/text"
kernel=$B/guest/control.elf

refused /nonexistent -kernel /nonexistent
refused "not a Linux bzImage" -kernel "$TMPDIR/text"
refused "not a regular file" -kernel "$TMPDIR"
refused truncated -kernel "$TMPDIR/truncated"
refused "not a kernel" -kernel /bin/sh
refused -m -kernel "$kernel" -m 4M
refused -m -kernel "$kernel" -m 900G
refused "'foo'" -kernel "$kernel" -m foo
refused -smp -kernel "$kernel" -smp 0
refused -smp -kernel "$kernel" -smp 2
refused -kernel -kernal "$kernel"
refused "requires an argument" -kernel
refused -kernel -nographic
refused "'nosuch'" -kernel "$kernel" -cpu nosuch
refused "'nosuch'" -kernel "$kernel" -d nosuch
refused /nonexistent/log -kernel "$kernel" -D /nonexistent/log
refused /nonexistent/out -kernel "$kernel" -serial file:/nonexistent/out
listed isa-debug-exit -device help
listed guest_errors -d help
listed host -cpu help
listed pc -machine help
listed dbt -accel help
listed -kernel -h
listed version -version

if [ -f "$kernel" ]; then
	truncate -s 300M "$TMPDIR/initrd"
	refused "does not fit" -kernel "$kernel" -m 128M -initrd "$TMPDIR/initrd"
	refused /nonexistent -kernel "$kernel" -initrd /nonexistent
fi
exit $status
