/* Every system call number, in every way of making one, and the allowed ones with hostile
 * arguments, from a view that is confined as for a guest. This process is the monitor; a
 * view that is killed is replaced. After a call that passes, the view's mappings of the
 * zone must be as before, and nothing writable and executable. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "shadowbox/dbt.h"
#include "shadowbox/log.h"
#include "shadowbox/shadow.h"
#include "shadowbox/sys.h"
#include "src/sandbox/internal.h"
#include "tests/drill/drill.h"

#define BLOCKED_MS 400
#define KILLED_MS 20000 /* for what must not block: the host may be busy */
/* Ways out of a probed function. Linux 6.11 and 6.18 on let no filter see them; elsewhere than
 * in its own trampoline they do nothing (ENXIO, SIGILL). */
#define SYS_URETPROBE 335
#define SYS_UPROBE 336
#define X32 0x40000000L

static unsigned slot = VIEW_MAX; /* of the view that serves; VIEW_MAX: none */
static char zone_at_start[65536];

/* --- views that serve -------------------------------------------------------------------------- */
static void machine_create(void)
{
	const struct policy policy = { .block_max = 64, .no_pkeys = drill_without_keys() };
	char err[256] = "";
	size_t shadow;

	if (sandbox_create(64 << 20, &policy, err, sizeof(err)) < 0) {
		fprintf(stderr, "%s\n", err);
		exit(1);
	}
	clock_init(&ARENA->machine.clock, cpu_tsc_khz(), 0);
	ARENA->machine.event_pending = &VCPU->event_pending;
	shadow = shadow_init(ARENA->shadow_area, sandbox_arena_room());
	if (!dbt_init(ARENA->shadow_area + shadow, sandbox_arena_room() - shadow) ||
	    sandbox_start(err, sizeof(err)) < 0) {
		fprintf(stderr, "%s\n", err);
		exit(1);
	}
}

/* The lines of a view's map that are the zone's; false if what lies outside is no data of
 * the guest's, or code of it that cannot be written. */
static bool read_zone(char *text, size_t size)
{
	char path[64], line[512], perms[8];
	size_t len = 0;
	bool clean = true;
	u64 start, end;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/maps", sandbox.view[slot]);
	f = fopen(path, "r");
	text[0] = 0;
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx %7s", &start, &end, perms) != 3 || start >> 47)
			continue;
		if (start >= ZONE_BASE && end <= ZONE_END) {
			size_t n = strlen(line);
			if (len + n < size)
				memcpy(text + len, line, n + 1), len += n;
		} else if ((perms[1] == 'w' && perms[2] == 'x') || (start < ZONE_END && end > ZONE_BASE)) {
			clean = false;
		}
	}
	if (f)
		fclose(f);
	return clean && len;
}

static void start_view(void)
{
	static unsigned next;
	char err[256];

	slot = next++ % VIEW_MAX;
	sandbox.started[slot] = false; /* this machine goes on when a view dies */
	CALLS->done = CALLS->asked;
	if (sandbox_start_view(slot, err, sizeof(err)) < 0) {
		fprintf(stderr, "%s\n", err);
		exit(1);
	}
	read_zone(zone_at_start, sizeof(zone_at_start));
}

enum came { CAME_BACK, KILLED, ENDED, BLOCKED };

static enum came end_of_view(char *what, size_t len)
{
	slot = VIEW_MAX;
	snprintf(what, len, "%.100s", strchr(what, ')') ? strchr(what, ')') + 2 : what);
	return strstr(what, "forbidden system call") ? KILLED : ENDED;
}

/* Makes one call in a view. what: how the view ended, if it did. */
static enum came make_call(const struct call *c, i64 patience, i64 *result, char *what, size_t len)
{
	struct calls_shared *s = CALLS;
	struct timespec a, b;

	if (slot == VIEW_MAX)
		start_view();
	s->call = *c;
	*(struct sys_timespec *)s->scratch = (struct sys_timespec){ 0, 100000 };
	__atomic_fetch_add(&s->asked, 1, __ATOMIC_SEQ_CST);
	sys_futex_wake(&s->asked, 1);
	clock_gettime(CLOCK_MONOTONIC, &a);
	do {
		if (__atomic_load_n(&s->done, __ATOMIC_SEQ_CST) == s->asked) {
			*result = s->result;
			return CAME_BACK;
		}
		if (sandbox_reap(what, len))
			return end_of_view(what, len);
		sched_yield();
		clock_gettime(CLOCK_MONOTONIC, &b);
	} while ((b.tv_sec - a.tv_sec) * 1000 + (b.tv_nsec - a.tv_nsec) / 1000000 < patience);
	kill(sandbox.view[slot], SIGKILL);
	while (!sandbox_reap(what, len))
		sched_yield();
	slot = VIEW_MAX;
	return BLOCKED;
}

static bool zone_unchanged(void)
{
	static char now[sizeof(zone_at_start)];

	return read_zone(now, sizeof(now)) && !strcmp(now, zone_at_start);
}

/* --- one call, judged ---------------------------------------------------------------------------- */
/* Empty if it went as the model says. */
static void try_call(const struct call *c, char *wrong, size_t len)
{
	static const char *const came_text[] = { "came back", "was killed", "ended", "blocked" };
	enum verdict want = model_verdict(c);
	char what[256] = "";
	i64 result = 0;
	enum came came = make_call(c, want == V_KILL ? KILLED_MS : BLOCKED_MS, &result, what, sizeof(what));
	bool ok = want == V_KILL ? came == KILLED : want == V_ENDS ? came == ENDED : came == CAME_BACK || came == BLOCKED;

	if (c->nr == SYS_URETPROBE && c->abi == ABI_64 && came == ENDED)
		ok = true;
	if (c->nr == SYS_UPROBE && c->abi == ABI_64 && came == CAME_BACK && result == -ENXIO)
		ok = true;
	wrong[0] = 0;
	if (!ok)
		snprintf(wrong, len, "call %ld (abi %u; %lx %lx %lx %lx %lx) %s: %ld %.80s", c->nr, c->abi, c->arg[0],
			 c->arg[1], c->arg[2], c->arg[3], c->arg[4], came_text[came], result, what);
	else if (came == CAME_BACK && !zone_unchanged())
		snprintf(wrong, len, "call %ld (%lx %lx %lx %lx) changed the zone", c->nr, c->arg[0], c->arg[1],
			 c->arg[2], c->arg[3]);
}

/* --- numbers --------------------------------------------------------------------------------------- */
/* Arguments that would do harm in most calls: a process, a signal, memory. */
static void aim(struct call *c)
{
	const u64 args[6] = { (u64)victim_pid, SIGKILL, (u64)CALLS->scratch, (u64)CALLS->scratch, 0, 0 };

	memcpy(c->arg, args, sizeof(args));
}

static void sweep(const char *name, u32 abi, i64 first, i64 last)
{
	char wrong[256] = "", got[256] = "";
	unsigned tried = 0, bad = 0;

	for (i64 nr = first; nr <= last; nr++) {
		struct call c = { .nr = nr, .abi = abi };

		aim(&c);
		if (model_verdict(&c) != V_KILL)
			continue;
		tried++;
		try_call(&c, wrong, sizeof(wrong));
		if (*wrong && !bad++)
			snprintf(got, sizeof(got), "%s", wrong);
	}
	if (!bad)
		snprintf(got, sizeof(got), "%u of %u killed", tried, tried);
	row(!bad && victim_unharmed(), name, "each kills the view", got);
}

static const struct { const char *name; struct call call; } named[] = {
	{ "kill(monitor)", { SYS_kill, { 1, SIGKILL }, 0 } },
	{ "kill(-1)", { SYS_kill, { ~0UL, SIGKILL }, 0 } },
	{ "tgkill(another process)", { SYS_tgkill, { 2, 2, SIGSTOP }, 0 } },
	{ "rt_sigqueueinfo", { SYS_rt_sigqueueinfo, { 2, SIGKILL, 0 }, 0 } },
	{ "ptrace(ATTACH, monitor)", { SYS_ptrace, { 16, 1 }, 0 } },
	{ "process_vm_readv(monitor)", { SYS_process_vm_readv, { 1, 0, 1, 0, 1 }, 0 } },
	{ "process_vm_writev(another process)", { SYS_process_vm_writev, { 2, 0, 1, 0, 1 }, 0 } },
	{ "openat(/proc/1/mem)", { SYS_openat, { -100UL, (u64) "/proc/1/mem", O_RDWR }, 0 } },
	{ "open(/)", { SYS_open, { (u64) "/", O_RDONLY }, 0 } },
	{ "socket(AF_UNIX)", { SYS_socket, { 1, 1, 0 }, 0 } },
	{ "fork", { SYS_fork, { 0 }, 0 } },
	{ "clone(CLONE_VM)", { SYS_clone, { 0x100, 0 }, 0 } },
	{ "clone3", { 435, { 0, 88 }, 0 } },
	{ "pidfd_getfd", { 438, { 3, 0, 0 }, 0 } },
	{ "io_uring_setup", { 425, { 8, 0 }, 0 } },
	{ "userfaultfd", { SYS_userfaultfd, { 1 }, 0 } },
	{ "bpf", { SYS_bpf, { 0, 0, 0 }, 0 } },
	{ "memfd_create", { SYS_memfd_create, { (u64) "x", 0 }, 0 } },
	{ "seccomp(another filter)", { SYS_seccomp, { 1, 0, 0 }, 0 } },
	{ "prctl(PR_SET_PDEATHSIG, 0)", { SYS_prctl, { 1, 0 }, 0 } },
	{ "prctl(PR_SET_DUMPABLE)", { SYS_prctl, { 4, 1 }, 0 } },
	{ "read(guest RAM descriptor)", { SYS_read, { VIEW_RAM_FD, 0, 8 }, 0 } },
	{ "ftruncate(guest RAM descriptor)", { SYS_ftruncate, { VIEW_RAM_FD, 0 }, 0 } },
	{ "fcntl(guest RAM descriptor, seals)", { SYS_fcntl, { VIEW_RAM_FD, 1033, 1 }, 0 } },
	{ "ioctl(descriptor 4)", { SYS_ioctl, { VIEW_NOTIFY_FD, 0x541b, 0 }, 0 } },
	{ "write(guest RAM descriptor)", { SYS_write, { VIEW_RAM_FD, 0, 8 }, 0 } },
	{ "mremap(code cache)", { SYS_mremap, { CODE_RX_HVA, 4096, 8192, 1 }, 0 } },
	{ "brk", { SYS_brk, { 0 }, 0 } },
	{ "pkey_alloc", { SYS_pkey_alloc, { 0, 0 }, 0 } },
	{ "pkey_free(zone key)", { SYS_pkey_free, { 1 }, 0 } },
	{ "pkey_mprotect(guest page, zone's key)", { SYS_pkey_mprotect, { 0x10000, 4096, 3, 1 }, 0 } },
	{ "pkey_mprotect(arena, key 0)", { SYS_pkey_mprotect, { ARENA_HVA, 4096, 3, 0 }, 0 } },
	{ "mprotect(code cache, writable)", { SYS_mprotect, { CODE_RX_HVA, 4096, 3 }, 0 } },
	{ "mprotect(code cache, executable)", { SYS_mprotect, { CODE_RW_HVA, 4096, 5 }, 0 } },
	{ "mprotect(program, writable)", { SYS_mprotect, { ZONE_BASE, 4096, 3 }, 0 } },
	{ "mprotect(guest page, executable)", { SYS_mprotect, { 0x10000, 4096, 7 }, 0 } },
	{ "mprotect(PROT_GROWSDOWN)", { SYS_mprotect, { ZONE_END, 4096, 0x01000003 }, 0 } },
	{ "mmap(descriptor 4)", { SYS_mmap, { 0x10000, 4096, 3, 0x11, VIEW_NOTIFY_FD, 0 }, 0 } },
	{ "mmap(anonymous memory)", { SYS_mmap, { 0x10000, 4096, 3, 0x32, ~0UL, 0 }, 0 } },
	{ "mmap(writable and executable)", { SYS_mmap, { 0x10000, 4096, 7, 0x11, VIEW_RAM_FD, 0 }, 0 } },
	{ "mmap(executable, anonymous)", { SYS_mmap, { 0x10000, 4096, 5, 0x32, ~0UL, 0 }, 0 } },
	{ "mmap(over the code cache)", { SYS_mmap, { CODE_RX_HVA, 4096, 3, 0x11, VIEW_RAM_FD, 0 }, 0 } },
	{ "mmap(at any address)", { SYS_mmap, { 0, 4096, 3, 0x1, VIEW_RAM_FD, 0 }, 0 } },
	{ "mmap(across the zone)", { SYS_mmap, { ZONE_BASE - 4096, 8192, 3, 0x11, VIEW_RAM_FD, 0 }, 0 } },
	{ "munmap(zone, tagged address)", { SYS_munmap, { CODE_RX_HVA | 1UL << 62, 4096 }, 0 } },
	{ "futex(REQUEUE)", { SYS_futex, { 0, 3, 1, 1 }, 0 } },
	{ "futex(LOCK_PI)", { SYS_futex, { 0, 6, 1, 1 }, 0 } },
	{ "clock_nanosleep(another's CPU clock)", { SYS_clock_nanosleep, { (u64)~(1L << 3 | 2), 0, 0 }, 0 } },
	{ "arch_prctl(CPUID faults)", { SYS_arch_prctl, { 0x1012, 0 }, 0 } },
	{ "arch_prctl(tagged addresses)", { SYS_arch_prctl, { 0x4002, 6 }, 0 } },
};

static void try_named(void)
{
	char wrong[256];

	for (size_t i = 0; i < ARRAY_LEN(named); i++) {
		try_call(&named[i].call, wrong, sizeof(wrong));
		row(!*wrong && victim_unharmed(), named[i].name, "kills the view", *wrong ? wrong : "killed");
	}
}

/* --- arguments --------------------------------------------------------------------------------------- */
static u64 hostile_address(u64 *state)
{
	static const u64 edges[] = {
		0, ZONE_BASE, ZONE_END, ARENA_HVA, CODE_RX_HVA, HOT_VCPU_HVA, CODE_RW_HVA, PRIVATE_HVA, PHYS_HVA,
		1UL << 47, 1UL << 63, 1UL << 62 | ZONE_BASE, ~0UL, 0x10000, 0x7fff0000, 1UL << 32, 0xffff800000000000,
	};
	static const u64 steps[] = { 0, 0, 0, 1, 4095, 4096, 4097, 65536, 1UL << 32 };
	u64 r = next_random(state), base = edges[r % ARRAY_LEN(edges)], step = steps[(r >> 8) % ARRAY_LEN(steps)];

	return r >> 63 ? base - step : base + step;
}

static u64 hostile_length(u64 *state, u64 at)
{
	static const u64 lengths[] = { 0, 1, 4096, 4097, 65536, 1UL << 32, 1UL << 47, ~0UL, ~0xfffUL };
	u64 r = next_random(state);

	switch (r % 4) {
	case 0: return lengths[(r >> 8) % ARRAY_LEN(lengths)];
	case 1: return ZONE_BASE - at + lengths[(r >> 8) % 4]; /* up to the zone, or over its edge */
	case 2: return ZONE_BASE - at;
	default: return 4096;
	}
}

/* Mostly what the rule asks for, so that all of its checks are reached. */
static u64 hostile_word(u64 *state, u64 good)
{
	u64 r = next_random(state);

	switch (r % 12) {
	case 0: return good ^ 1UL << ((r >> 8) & 63);
	case 1: return good | 1UL << 32;
	case 2: return next_random(state);
	case 3: return r >> 61;
	default: return good;
	}
}

static void hostile_call(struct call *c, u64 *state)
{
	u64 *a = c->arg;

	c->nr = (i64)((u64)model_numbers[next_random(state) % model_count] | (next_random(state) % 8 ? 0 : 1UL << 32));
	for (int i = 0; i < 6; i++)
		a[i] = hostile_word(state, next_random(state) & 7);
	switch ((u32)c->nr) {
	case SYS_mmap:
		a[3] = hostile_word(state, MAP_SHARED | MAP_FIXED);
		a[4] = hostile_word(state, VIEW_RAM_FD);
		a[5] = next_random(state) & 0x3fff000;
		/* fall through */
	case SYS_munmap:
	case SYS_mprotect:
	case SYS_pkey_mprotect:
		a[0] = hostile_address(state);
		a[1] = hostile_length(state, a[0]);
		a[2] = hostile_word(state, next_random(state) & 7);
		break;
	case SYS_futex:
		a[0] = hostile_address(state);
		a[1] = hostile_word(state, next_random(state) & 1);
		a[3] = (u64)CALLS->scratch;
		break;
	case SYS_write:
		a[0] = hostile_word(state, VIEW_NOTIFY_FD);
		a[1] = hostile_address(state);
		a[2] = hostile_word(state, 8);
		break;
	case SYS_clock_nanosleep:
		a[0] = hostile_word(state, 1);
		a[1] = hostile_word(state, 0);
		a[2] = (u64)CALLS->scratch;
		break;
	case SYS_timer_settime:
		a[0] = hostile_word(state, 7); /* none such: signals are not what this is about */
		a[0] += a[0] == 0;
		a[1] = hostile_word(state, 0);
		a[2] = hostile_address(state);
		break;
	}
}

static void try_arguments(u64 count)
{
	u64 state = drill_seed() * 0x9e3779b97f4a7c15UL | 1;
	char wrong[256] = "", name[64], got[256];
	unsigned killed = 0, bad = 0;

	for (u64 i = 0; i < count; i++) {
		struct call c = { 0 };

		hostile_call(&c, &state);
		killed += model_verdict(&c) == V_KILL;
		try_call(&c, wrong, sizeof(wrong));
		if (*wrong && !bad++)
			snprintf(got, sizeof(got), "%s", wrong);
	}
	snprintf(name, sizeof(name), "allowed calls, random arguments, seed %lu", drill_seed());
	if (!bad)
		snprintf(got, sizeof(got), "%u killed, %lu not, as it should be; zone unchanged", killed, count - killed);
	row(!bad && victim_unharmed(), name, "as the document says", got);
}

static void try_special_numbers(void)
{
	static const i64 numbers[] = {
		-1, 601, 1023, 4095, 0x7fffffff, 0x80000000, 0xffffffff, 1L << 32 | SYS_getpid, 1L << 63 | SYS_fork,
		(i64)0xdeadbeef00000000 | SYS_execve, X32 | 1L << 32 | SYS_openat, X32 | 0x3fffffff,
	};
	char wrong[256] = "", got[256] = "all killed";
	unsigned bad = 0;

	for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
		struct call c = { .nr = numbers[i] };

		aim(&c);
		try_call(&c, wrong, sizeof(wrong));
		if (*wrong && !bad++)
			snprintf(got, sizeof(got), "%s", wrong);
	}
	row(!bad, "numbers with high bits, negative ones", "each kills the view", got);
}

void calls_run(void)
{
	drill = (struct drill){ .serve_calls = true, .monitor = getpid() };
	drill.monitor_panics = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	machine_create();
	sweep("64-bit calls 0-600 not on the list", ABI_64, 0, 600);
	sweep("32-bit calls 0-600 (int 0x80)", ABI_32, 0, 600);
	sweep("x32 calls 0-600", ABI_64, X32, X32 + 600);
	try_special_numbers();
	try_named();
	try_arguments(drill_runs(4000, 100000));
	sandbox_kill_all();
}
