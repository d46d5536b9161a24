/* The zygote: a small process, forked from the monitor before it does anything else with
 * the guest, from which all views are forked.
 *
 * It drops what the monitor has and a view must not: descriptors, namespaces, libc's
 * registrations with the kernel, the vDSO, and every mapping outside the zone. What is
 * left are the image, the heap and the shared memory, all with protection keys. Views
 * are forked with CLONE_PARENT: they are the monitor's own children, which it can trace
 * and wait for.
 *
 * Once the vDSO is gone nothing here may call libc functions that use it (clocks); plain
 * system call wrappers are fine. Every step either succeeds or ends in a message.
 *
 * Views that run already can write the arena while another one starts, which is not confined
 * yet: nothing is decided here by what the arena says, but by `sandbox`, a private copy. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/rseq.h>
#include <unistd.h>
#include "internal.h"
#include "shadowbox/log.h"
#include "shadowbox/profile.h"
#include "shadowbox/shadow.h"
#include "shadowbox/sys.h"
#include <sys/auxv.h> /* last: elf.h defines names of cpu.h */

const struct namespace_row namespace_table[5] = {
	{ CLONE_NEWUSER, "user" }, /* first: it permits the others */
	{ CLONE_NEWNET, "network" },
	{ CLONE_NEWNS, "mount" },
	{ CLONE_NEWIPC, "ipc" },
	{ CLONE_NEWUTS, "uts" },
};

/* Ours, not the monitor's: a private copy since the fork. */
static struct zygote_hello hello;
static char maps_text[65536];

NORETURN static void run_on_stack(u64 top, void (*fn)(u64), u64 arg)
{
	__asm__ volatile("mov %0, %%rsp\n\txor %%ebp, %%ebp\n\tcall *%1\n\tud2"
			 :
			 : "r"(top), "r"(fn), "D"(arg)
			 : "memory");
	__builtin_unreachable();
}

NORETURN static void zygote_fail(int sock, const char *step, long error)
{
	hello.error = (i32)(error < 0 ? error : -EINVAL);
	strncpy(hello.step, step, sizeof(hello.step) - 1);
	sys_write(sock, &hello, sizeof(hello));
	sys_exit_group(1);
}

/* --- dropping what the monitor has -------------------------------------------------- */
/* Leaves RAM, eventfd, socket and the hot memfd, in this order from 3 on. */
static int keep_descriptors(int sock)
{
	const int keep[] = { sandbox.ram_fd, sandbox.event_fd, sock, sandbox.hot_fd };
	int moved[ARRAY_LEN(keep)];

	for (size_t i = 0; i < ARRAY_LEN(keep); i++) {
		moved[i] = fcntl(keep[i], F_DUPFD, 32);
		if (moved[i] < 0)
			return -errno;
	}
	for (size_t i = 0; i < ARRAY_LEN(keep); i++)
		if (dup2(moved[i], VIEW_RAM_FD + (int)i) < 0)
			return -errno;
	for (int fd = 0; fd < VIEW_RAM_FD; fd++)
		close(fd);
	if (sys_close_range(VIEW_RAM_FD + ARRAY_LEN(keep), ~0u) < 0)
		for (int fd = VIEW_RAM_FD + ARRAY_LEN(keep); fd < 4096; fd++) /* before Linux 5.9 */
			close(fd);
	return 0;
}

/* What a view may map beside the zone. It bounds the page tables that mapping guest memory
 * again and again makes the host build: 1/512 of it. A guest that wants more has its views
 * flushed (map.c). */
#define GUEST_MAPS_MAX (64UL << 30)

static void drop_limits(void)
{
	const u64 space = 3 * CODE_SIZE + (4UL << 30) + 5 * sandbox.ram_size + GUEST_MAPS_MAX;
	const struct { int which; u64 max; } limits[] = {
		{ RLIMIT_CORE, 0 }, { RLIMIT_FSIZE, 0 }, { RLIMIT_MEMLOCK, 0 }, { RLIMIT_NOFILE, 8 }, { RLIMIT_AS, space },
	};

	for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
		const struct rlimit r = { limits[i].max, limits[i].max };
		setrlimit(limits[i].which, &r);
	}
}

static void drop_signals(void)
{
	u64 all = ~0UL;

	sys_rt_sigprocmask(SIG_SETMASK, &all, NULL);
	for (int sig = 1; sig < 65; sig++)
		if (sig != SIGKILL && sig != SIGSTOP && (sig < 32 || sig > 33))
			signal(sig, SIG_DFL);
}

/* libc has told the kernel of memory that it may write on its own: with the zone's key
 * denied such a write kills the process. */
static void drop_registrations(void)
{
	const u32 sizes[] = { 32, __rseq_size, (u32)getauxval(27 /* AT_RSEQ_FEATURE_SIZE */) };
	u64 area = (u64)__builtin_thread_pointer() + (u64)(i64)__rseq_offset;

	sys_call3(SYS_set_robust_list, 0, 24, 0);
	sys_call3(SYS_set_tid_address, 0, 0, 0);
	if (!__rseq_size)
		return;
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		hello.rseq_error = (i32)sys_call4(SYS_rseq, area, sizes[i], 1 /* unregister */, 0x53053053);
		if (!hello.rseq_error)
			return;
	}
}

/* --- memory ------------------------------------------------------------------------- */
struct mapping { u64 start, end; int prot; };

static const char *parse_hex(const char *p, u64 *val)
{
	*val = 0;
	for (;; p++) {
		if (*p >= '0' && *p <= '9')
			*val = *val << 4 | (u64)(*p - '0');
		else if (*p >= 'a' && *p <= 'f')
			*val = *val << 4 | (u64)(*p - 'a' + 10);
		else
			return p;
	}
}

static int read_maps(void)
{
	size_t len = 0;
	long n = 1;
	int fd = open("/proc/self/maps", O_RDONLY);

	if (fd < 0)
		return -errno;
	while (n > 0 && len < sizeof(maps_text) - 1) {
		n = sys_read(fd, maps_text + len, sizeof(maps_text) - 1 - len);
		len += n > 0 ? (size_t)n : 0;
	}
	maps_text[len] = 0;
	close(fd);
	return n < 0 ? (int)n : n ? -E2BIG : 0;
}

/* The next line of maps_text; false at the end. */
static bool next_mapping(const char **p, struct mapping *m)
{
	if (!**p)
		return false;
	*p = parse_hex(*p, &m->start) + 1;
	*p = parse_hex(*p, &m->end) + 1;
	m->prot = ((*p)[0] == 'r' ? PROT_READ : 0) | ((*p)[1] == 'w' ? PROT_WRITE : 0) |
		  ((*p)[2] == 'x' ? PROT_EXEC : 0);
	while (**p && **p != '\n')
		++*p;
	*p += **p == '\n';
	return true;
}

static bool in_zone(u64 a) { return a >= ZONE_BASE && a < ZONE_END; }

/* Kernels may have sealed the vDSO; what stays is only in the guest's way. */
static int unmap_rest(void)
{
	const char *p = maps_text;
	struct mapping m;
	int rc = read_maps();

	if (rc < 0)
		return rc;
	while (next_mapping(&p, &m))
		if (!in_zone(m.start) && !(m.start >> 47) && sys_munmap(m.start, m.end - m.start) < 0)
			hello.kept_mappings++;
	return 0;
}

static int zone_key(u64 a)
{
	const struct host_caps *h = &sandbox.host;

	if (a >= PHYS_HVA || a == HOT_VCPU_HVA || a == HOT_BOUNCE_HVA || a == HOT_QUICK_HVA)
		return h->key_p;
	if (a == HOT_SLOTS_U_HVA)
		return h->key_s;
	if (a == HOT_SLOTS_K_HVA)
		return h->key_ks;
	if (a == HOT_SELECT_HVA)
		return h->key_d;
	if (a == HOT_TABLE_U_HVA)
		return h->key_t;
	if (a == HOT_TABLE_K_HVA)
		return h->key_kt;
	if (a == VIEW_SIGSTACK_HVA)
		return h->key_sigstack;
	return h->key_zone;
}

/* Without keys there is nothing to do: host kernels without them refuse key 0, too. */
static long set_key(u64 start, u64 len, int prot, int key)
{
	return sandbox.host.pkeys ? sys_pkey_mprotect(start, len, prot, key) : 0;
}

static int key_zone(void)
{
	const char *p = maps_text;
	struct mapping m;
	int rc = read_maps();

	while (rc == 0 && next_mapping(&p, &m))
		if (in_zone(m.start))
			rc = (int)set_key(m.start, m.end - m.start, m.prot, zone_key(m.start));
	return rc;
}

static long map_private(u64 hva, u64 len)
{
	const int rw = PROT_READ | PROT_WRITE;
	long at = sys_mmap(hva, len, rw, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

	return at < 0 ? at : set_key(hva, len, rw, zone_key(hva));
}

/* --- code that could give rights ---------------------------------------------------- */
/* The gates (entry.S) are the only places in the image where WRPKRU and XRSTOR may be
 * executed: guest code that runs as it is may jump anywhere. What else has their bytes is
 * the host's probe, and libc's lazy binding, which a static program has no use for. */
extern const u8 gate_landing[], gate_signal[], gate_trap[], gate_trap_exit[], engine_xrstor_insn[];

static bool gives_rights(const u8 *p)
{
	return p[0] == 0x0f && ((p[1] == 0x01 && p[2] == 0xef) ||
				(p[1] == 0xae && (p[2] & 0x38) == 0x28 && p[2] < 0xc0));
}

/* Of the two ways into the handlers one is used; what the other's check looks for nobody keeps. */
static bool is_gate(const u8 *p)
{
	if (p == gate_signal)
		return sandbox.host.traps == TRAPS_SIGNAL;
	if (p == gate_trap || p == gate_trap_exit)
		return sandbox.host.traps == TRAPS_PTRACE;
	return p == gate_landing || p == engine_xrstor_insn + 1; /* before the XRSTOR is its REX prefix */
}

/* One page at a time, so that this function itself stays executable: it has no such bytes. */
static long scrub_at(u8 *p)
{
	u64 page = (u64)p & PAGE_MASK;
	long rc = sys_mprotect(page, PAGE_SIZE, PROT_READ | PROT_WRITE);

	if (rc == 0)
		*p = 0xcc;
	return rc ? rc : sys_mprotect(page, PAGE_SIZE, PROT_READ | PROT_EXEC);
}

static long scrub(u64 start, u64 end)
{
	long rc = 0;

	for (u8 *p = (u8 *)start; rc == 0 && p + 3 <= (u8 *)end; p++)
		if (gives_rights(p) && !is_gate(p))
			rc = scrub_at(p);
	return rc;
}

static long scrub_image(void)
{
	const char *p = maps_text;
	struct mapping m;
	long rc = read_maps();

	while (rc == 0 && next_mapping(&p, &m))
		if (in_zone(m.start) && (m.prot & PROT_EXEC) && m.start != CODE_RX_HVA)
			rc = scrub(m.start, m.end);
	return rc;
}

/* --- a view's start ----------------------------------------------------------------- */
static void require(const char *step, long rc)
{
	if (rc >= 0)
		return;
	log_printf("shadowbox: cannot start a view: %s: error %d\n", step, (int)-rc);
	view_notify_monitor();
	sys_exit_group(1);
}

static long create_timer(i32 *id)
{
	struct sigevent ev = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = VIEW_TIMER_SIGNAL };

	ev._sigev_un._tid = (pid_t)sys_gettid();
	return sys_timer_create(1 /* CLOCK_MONOTONIC */, &ev, id);
}

/* Samples of where this view's CPU time goes. */
static long start_profile(void)
{
	struct sigevent ev = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = VIEW_PROF_SIGNAL };
	const struct sys_itimerspec period = { { 0, PROFILE_NS }, { 0, PROFILE_NS } };
	i32 id;
	long rc;

	ev._sigev_un._tid = (pid_t)sys_gettid();
	rc = sys_timer_create(3 /* CLOCK_THREAD_CPUTIME_ID */, &ev, &id);
	return rc < 0 ? rc : sys_timer_settime(id, 0, &period);
}

#define AUTODISARM (1u << 31) /* SS_AUTODISARM of linux/signal.h */
/* Of the tracer's making, and shared with it, if there is one: then no signal is delivered
 * here. */
static long map_sigstack(unsigned slot)
{
	const int rw = PROT_READ | PROT_WRITE;
	long at;

	if (sandbox.host.traps == TRAPS_SIGNAL)
		return map_private(VIEW_SIGSTACK_HVA, sandbox.host.sigstack_size);
	at = sys_mmap(VIEW_SIGSTACK_HVA, TRAP_STACK_SIZE, rw, MAP_SHARED | MAP_FIXED, ZYGOTE_HOT_FD,
		      HOT_OFF_TRAPS + slot * (u64)TRAP_STACK_SIZE);
	return at < 0 ? at : sys_pkey_mprotect(at, TRAP_STACK_SIZE, rw, zone_key(VIEW_SIGSTACK_HVA));
}

static long install_sigstack(void)
{
	/* Disarmed while it is in use: the kernel then never looks where the interrupted
	 * code's RSP, which is the guest's, points to. */
	const stack_t st = { .ss_sp = (void *)VIEW_SIGSTACK_HVA, .ss_flags = (int)AUTODISARM,
			     .ss_size = sandbox.host.sigstack_size };

	return sys_sigaltstack(&st, NULL);
}

static long map_user_table(unsigned slot)
{
	const int rw = PROT_READ | PROT_WRITE;
	long at = sys_mmap(HOT_TABLE_U_HVA, TABLE_SIZE, rw, MAP_SHARED | MAP_FIXED, ZYGOTE_HOT_FD,
			   HOT_OFF_TABLES_U + slot * TABLE_SIZE);

	return at < 0 ? at : set_key(HOT_TABLE_U_HVA, TABLE_SIZE, rw, sandbox.host.key_t);
}

/* On the view's own stack. The order matters: handlers before signals, descriptors and
 * the filter last. */
static void view_setup(u64 slot)
{
	const struct rlimit none = { 0, 0 };
	u64 no_signals = 0;

	require("unmap the zygote's stack", sys_munmap(ZYGOTE_STACK_HVA, ZYGOTE_STACK_SIZE));
	require("map the lookup table", map_user_table((unsigned)slot));
	VIEW_LOCAL->slot = (u32)slot;
	VIEW_LOCAL->timer_on = false;
	require("create a timer", create_timer(&VIEW_LOCAL->timer_id));
	if (log_on(LOG_PROF))
		require("start a profile", start_profile());
	sys_prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
	if (sandbox.host.traps == TRAPS_SIGNAL) {
		require("set the signal stack", install_sigstack());
		signals_install((unsigned)slot);
	}
	require("unblock signals", sys_rt_sigprocmask(SIG_SETMASK, &no_signals, NULL));
	if (sandbox.host.traps == TRAPS_SIGNAL)
		require("take a signal", sys_tgkill(sys_getpid(), sys_gettid(), VIEW_KICK_SIGNAL)); /* entry.S: first_signal */
	if (sandbox.host.native)
		require("have system calls dispatched",
			sys_prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, 0, 0, HOT_SELECT_HVA));
	shadow_view_init((unsigned)slot);
	setrlimit(RLIMIT_NPROC, &none);
	require("close descriptors", sys_close(ZYGOTE_SOCK_FD));
	require("close descriptors", sys_close(ZYGOTE_HOT_FD));
	if (sandbox.uffd)
		require("open a userfaultfd", uffd_open());
	require("install the system call filter", seccomp_confine(sandbox.uffd));
	view_run((unsigned)slot);
}

NORETURN static void view_start(unsigned slot)
{
	char name[16] = "shadowbox-v00";

	name[11] = (char)('0' + slot / 10);
	name[12] = (char)('0' + slot % 10);
	sys_prctl(PR_SET_NAME, (u64)name, 0, 0, 0);
	require("tie it to the monitor", sys_prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0));
	if (sys_getppid() != sandbox.monitor) /* died before the call above */
		sys_exit_group(1);
	require("map its stack", map_private(VIEW_STACK_HVA, VIEW_STACK_SIZE));
	require("map its signal stack", map_sigstack(slot));
	require("map its data", map_private(PRIVATE_HVA, PAGE_SIZE));
	require("map its slots", map_private(HOT_SLOTS_U_HVA, PAGE_SIZE));
	require("map its slots", map_private(HOT_SLOTS_K_HVA, PAGE_SIZE));
	require("map its selector", map_private(HOT_SELECT_HVA, PAGE_SIZE));
	run_on_stack(VIEW_STACK_HVA + VIEW_STACK_SIZE, view_setup, slot);
}

/* --- the zygote --------------------------------------------------------------------- */
/* Serves until the monitor's end of the socket closes. */
static void zygote_serve(u64 arg)
{
	long rc = unmap_rest();
	u32 slot;

	(void)arg;
	if (rc < 0)
		zygote_fail(ZYGOTE_SOCK_FD, "unmapping", rc);
	rc = sandbox.host.native ? scrub_image() : 0;
	if (rc < 0)
		zygote_fail(ZYGOTE_SOCK_FD, "taking out code that gives rights", rc);
	rc = key_zone();
	if (rc < 0)
		zygote_fail(ZYGOTE_SOCK_FD, "setting protection keys", rc);
	sys_write(ZYGOTE_SOCK_FD, &hello, sizeof(hello));
	while (sys_read(ZYGOTE_SOCK_FD, &slot, sizeof(slot)) == sizeof(slot)) {
		i32 pid = (i32)sys_fork(CLONE_PARENT | SIGCHLD, slot);
		if (pid == 0)
			view_start(slot);
		if (sys_write(ZYGOTE_SOCK_FD, &pid, sizeof(pid)) != sizeof(pid))
			break;
	}
	sys_exit_group(0);
}

static void enter_namespaces(void)
{
	for (size_t i = 0; i < ARRAY_LEN(namespace_table); i++)
		if (unshare(namespace_table[i].flag) == 0)
			hello.namespaces |= 1u << i;
}

void zygote_main(int sock)
{
	long rc;

	drop_signals();
	rc = keep_descriptors(sock);
	if (rc < 0)
		zygote_fail(sock, "keeping descriptors", rc);
	log_set_sink(view_log_sink);
	panic_hook = view_panic;
	setsid(); /* no signals from the terminal's keys */
	enter_namespaces();
	drop_limits();
	drop_registrations();
	sys_prctl(PR_SET_NAME, (u64) "shadowbox-z", 0, 0, 0);
	rc = sys_prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (rc < 0)
		zygote_fail(ZYGOTE_SOCK_FD, "giving up privileges", rc);
	/* Entering a user namespace may have cleared both of these. */
	sys_prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
	if (sandbox.tracer)
		sys_prctl(PR_SET_PTRACER, (u64)sandbox.tracer, 0, 0, 0); /* for hosts with Yama */
	rc = sys_prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	if (rc < 0 || sys_getppid() != sandbox.monitor)
		zygote_fail(ZYGOTE_SOCK_FD, "tying it to the monitor", rc);
	rc = sys_mmap(ZYGOTE_STACK_HVA, ZYGOTE_STACK_SIZE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	if (rc < 0)
		zygote_fail(ZYGOTE_SOCK_FD, "mapping a stack", rc);
	run_on_stack(ZYGOTE_STACK_HVA + ZYGOTE_STACK_SIZE, zygote_serve, 0);
}
