#!/bin/sh
# timeout: 3600
# Every test kernel with each policy of the shadow maps and those that no other case has, and with
# hardly any room for maps or for translated code.
. tests/cases/lib
worst=0
for o in trace=mprotect adaptive=off prefill=off stores=off hold=1 hold=0 usersoft=on bind=off pkusig=off trace=mprotect,adaptive=off,prefill=off views=2,maps=64 trace=mprotect,views=2,maps=64 cache=576 cache=576,native=off; do
	echo "== $o"
	KARGS='steps=5000 stride=127' KARGS_LONG='steps=100000 stride=7' all_guest_kernels -accel "dbt,$o" || worst=1
done
exit $worst
