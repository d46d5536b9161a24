#!/bin/sh
# The benchmark harness: rows of all kinds get values natively and in shadowbox; a row that
# hangs, fails, or takes the guest with it is named as such, and the others go on.
. tests/cases/lib
command -v python3 >/dev/null || skip "no python3"
tools/fetch-kernel >/dev/null || skip "no Debian kernel"
make -s B="$B" "$B/bench/bin/micro" "$B/bench/bin/timeit" "$B/bench/bin/exit-static" \
	"$B/bench/bin/exit-dynamic" "$B/bench/nano.elf" "$B/bench/nano.elf-native" || fail "does not build"

bench() { # OUT ARGUMENT...
	out=$TMPDIR/$1
	shift
	env -u BENCH -u ENGINES -u ROUNDS -u BASELINE B="$B" QUICK=1 tools/bench/bench --out "$out" "$@" >"$out.txt" 2>&1 ||
		{ cat "$out.txt"; fail "exit code"; }
	[ -s "$out/results.json" ] && grep -q '</html>' "$out/report.html" || fail "no results"
}

# row OUT NAME PATTERN
row() {
	grep -Eq "^$2 +$3" "$TMPDIR/$1.txt" || { cat "$TMPDIR/$1.txt"; fail "$1: $2 is not '$3'"; }
}

bench real micro.syscall micro.exec-dynamic nano.callret prog.sh-exec boot.uptime
time='[0-9.]+ (ns|µs|ms|s|cyc)( ±[0-9]+%)?'
row real micro.syscall "$time +$time +[0-9.]+x"
row real micro.exec-dynamic "$time +$time +[0-9.]+x"
row real nano.callret "$time +$time +[0-9.]+x"
row real prog.sh-exec "$time +$time +[0-9.]+x"
row real boot.uptime "- +$time"

# A machine that fails one row, hangs in the next, dies in the third.
cat >"$TMPDIR/machine" <<'END'
#!/bin/sh
echo 'init started at uptime 1.00 s'
echo '@start 1'
rows=$(echo "$*" | sed 's/.*bench.rows=\([^ ]*\).*/\1/' | tr , ' ')
for row in $rows; do
	echo "@begin $row"
	case $row in
	micro.fork) echo "@end $row 1"; continue ;;
	micro.pipe) sleep 100 ;;
	micro.read1) exit 1 ;;
	esac
	echo "noise @row $row 12 ns"
	echo "@row $row"
	echo "@end $row 0"
done
echo '@done 2'
END
chmod 755 "$TMPDIR/machine"
SHADOWBOX=$TMPDIR/machine bench fake --engines shadowbox --limit 2 \
	micro.fork micro.pipe micro.read1 micro.signal micro.syscall
row fake micro.fork fail
row fake micro.pipe timeout
row fake micro.read1 fail
row fake micro.signal '12.0 ns'
row fake micro.syscall '12.0 ns'

printf '#!/bin/sh\nexit 1\n' >"$TMPDIR/machine"
SHADOWBOX=$TMPDIR/machine bench dead --engines shadowbox micro.fork boot.uptime
row dead micro.fork fail
row dead boot.uptime fail
cat "$TMPDIR/real.txt"
