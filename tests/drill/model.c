/* What a view may ask of the kernel, written down a second time, from the table in
 * docs/architecture.md, in plain C: calls.c compares it with what the filter does. */
#include <sys/mman.h>
#include <sys/syscall.h>
#include "src/sandbox/internal.h"
#include "tests/drill/drill.h"

static bool outside_zone(u64 at, u64 len)
{
	unsigned __int128 end = (unsigned __int128)at + len;

	return at < 1UL << 47 && (at >= ZONE_END || end <= ZONE_BASE);
}

static bool data_only(u64 prot) { return !(prot & ~(u64)(PROT_READ | PROT_WRITE)); }

static bool fill(const u64 *a)
{
	return outside_zone(a[0], a[1]) && (data_only(a[2]) || (sandbox.host.native && a[2] == (PROT_READ | PROT_EXEC))) && a[4] == VIEW_RAM_FD &&
	       (a[3] & ~(u64)MAP_POPULATE) == (MAP_SHARED | MAP_FIXED);
}
static bool range(const u64 *a) { return outside_zone(a[0], a[1]); }
static bool protect(const u64 *a) { return range(a) && data_only(a[2]); }
static bool protect_key(const u64 *a)
{
	if (!sandbox.host.pkeys)
		return false;
	if (a[2] == (PROT_READ | PROT_EXEC)) /* a patched copy of code */
		return range(a) && a[3] == sandbox.host.key_zone;
	return protect(a) && (a[3] == sandbox.host.key_kl || a[3] == sandbox.host.key_kh);
}
static bool wait_or_wake(const u64 *a) { return a[1] <= 1; }
static bool doorbell(const u64 *a) { return a[0] == VIEW_NOTIFY_FD && a[2] == 8; }
static bool base(const u64 *a) { return !sandbox.host.fsgsbase && (a[0] == 0x1001 || a[0] == 0x1002); }
static bool sleeps(const u64 *a) { return a[0] == 1 && !a[1]; }
static bool relative(const u64 *a) { return !a[1]; }
static bool any(const u64 *a) { return a != NULL; }

static const struct { u32 nr; bool (*may)(const u64 *a); enum verdict then; } rows[] = {
	{ SYS_mmap, fill, V_PASS },
	{ SYS_munmap, range, V_PASS },
	{ SYS_mprotect, protect, V_PASS },
	{ SYS_pkey_mprotect, protect_key, V_PASS },
	{ SYS_futex, wait_or_wake, V_PASS },
	{ SYS_write, doorbell, V_PASS },
	{ SYS_arch_prctl, base, V_PASS },
	{ SYS_timer_settime, relative, V_PASS },
	{ SYS_clock_nanosleep, sleeps, V_PASS },
	{ SYS_restart_syscall, any, V_PASS },
	{ SYS_rt_sigreturn, any, V_ENDS },
	{ SYS_exit_group, any, V_ENDS },
};
const u32 model_numbers[] = {
	SYS_mmap, SYS_munmap, SYS_mprotect, SYS_pkey_mprotect, SYS_futex, SYS_write, SYS_arch_prctl,
	SYS_timer_settime, SYS_clock_nanosleep, SYS_restart_syscall,
};
const u32 model_count = ARRAY_LEN(model_numbers);

enum verdict model_verdict(const struct call *c)
{
	if (c->abi != ABI_64)
		return V_KILL;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if ((u32)c->nr == rows[i].nr)
			return rows[i].may(c->arg) ? rows[i].then : V_KILL;
	return V_KILL;
}
