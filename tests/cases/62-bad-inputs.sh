#!/bin/sh
# timeout: 120
# Wrong command lines and images: one clear line each, exit code not zero, quickly, and
# nothing on stdout.
. tests/cases/lib
KERNEL=$(kernel cloud) || exit 77
cd "$TMPDIR" || exit 1
head -c 100000 "$KERNEL" >short
head -c 600 "$KERNEL" >shorter
head -c 20000 /dev/urandom >noise
: >empty
mkdir -p folder
head -c 300M /dev/zero >big
bad=0
# expect WHAT-THE-LINE-SAYS OPTION...
expect() {
	pattern=$1
	shift
	timeout --foreground -k 2 10 "$SHADOWBOX" "$@" </dev/null >out 2>err
	status=$?
	lines=$(grep -c . err)
	if [ $status = 0 ] || [ $status -ge 124 ] || [ "$lines" != 1 ] || ! grep -qiE -e "$pattern" err || [ -s out ]; then
		echo "BAD: $* (exit $status, $lines lines, wanted one with '$pattern')"
		head -n 5 err out
		bad=1
	else
		echo "ok: $*: $(cat err)"
	fi
}
expect 'no-such|No such file' -kernel no-such
expect 'noise.*(not|kernel)|not a' -kernel noise
expect 'empty' -kernel empty
expect 'folder' -kernel folder
expect 'short|truncated' -kernel short
expect 'short|truncated|not' -kernel shorter
expect 'initrd|big|memory|fit' -m 128M -kernel "$KERNEL" -initrd big
expect 'no-such|No such file' -kernel "$KERNEL" -initrd no-such
expect '4M|small|least' -m 4M -kernel "$KERNEL"
expect '900G|memory|large|most' -m 900G -kernel "$KERNEL"
expect 'foo' -m foo -kernel "$KERNEL"
expect '-m|-5|memory' -m -5 -kernel "$KERNEL"
expect 'frobnicate' -frobnicate -kernel "$KERNEL"
expect 'smp|CPU' -smp 0 -kernel "$KERNEL"
expect 'smp|CPU' -smp foo -kernel "$KERNEL"
expect 'm' -m
expect 'wombat' -cpu wombat -kernel "$KERNEL"
expect 'wombat' -cpu host,+wombat -kernel "$KERNEL"
expect 'wombat' -device wombat -kernel "$KERNEL"
expect 'wombat' -d wombat -kernel "$KERNEL"
expect 'wombat' -serial wombat -kernel "$KERNEL"
expect 'wombat' -accel wombat -kernel "$KERNEL"
expect 'wombat' -accel dbt,wombat=on -kernel "$KERNEL"
expect 'append' -append
expect 'D|nowhere|No such' -d int -D /nowhere/log -kernel "$KERNEL"
expect 'out|nowhere|No such' -serial file:/nowhere/log -kernel "$KERNEL"
exit $bad
