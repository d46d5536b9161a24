/* The sandbox and the monitor's loop, with a small engine of our own in place of the real
 * one. Each test runs in a process of its own, as the monitor of a machine; the engine
 * below is what runs in its views. Linked like the program, at the zone's address. */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <malloc.h>
#include <poll.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>
#include "shadowbox/log.h"
#include "shadowbox/shadow.h"
#include "shadowbox/sys.h"
#include "src/monitor/monitor.h"
#include "src/sandbox/internal.h"

/* --- what the test and the engine share ------------------------------------------------ */
enum scenario { SC_PING_PONG, SC_FORBIDDEN, SC_ALLOWED, SC_HALT, SC_DENIED_SIGNAL, SC_ECHO, SC_FORBIDDEN_LATER, SC_SLEEP, SC_PANIC };
struct shared {
	u32 scenario;
	u32 forbidden_case;
	u32 count, rounds;
	u32 done;          /* futex */
	i64 result;
	u64 woken_ns;
	u32 signals;
	u32 pkru;          /* while waiting for the signal */
};
#define SHARED ((struct shared *)ARENA->shadow_area)

static void finish(i64 result)
{
	SHARED->result = result;
	__atomic_store_n(&SHARED->done, 1, __ATOMIC_SEQ_CST);
	sys_futex_wake(&SHARED->done, 1);
	for (;;)
		view_halt(TIMER_OFF);
}

/* --- the engine ------------------------------------------------------------------------ */
static void run_ping_pong(unsigned slot)
{
	struct shared *s = SHARED;

	while (s->count < s->rounds) {
		if (s->count % 2 != slot)
			finish(-1);
		s->count++;
		view_handoff(!slot);
	}
	finish(0);
}

static void run_forbidden(void)
{
	const u64 page = 0x10000;

	switch (SHARED->forbidden_case) {
	case 0: sys_getpid(); break;
	case 1: sys_munmap(PHYS_HVA, page); break;
	case 2: sys_munmap(ZONE_BASE - page, 2 * page); break;
	case 3: sys_munmap(0x10000, ZONE_BASE); break;
	case 4: sys_munmap(0x10000, ~0UL - 0xffff); break;
	case 5: sys_munmap(ZONE_END - page, page); break;
	case 6: sys_mmap(page, page, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_SHARED | MAP_FIXED, VIEW_RAM_FD, 0); break;
	case 7: sys_mmap(PHYS_HVA, page, PROT_READ, MAP_SHARED | MAP_FIXED, VIEW_RAM_FD, 0); break;
	case 8: sys_mmap(page, page, PROT_READ, MAP_SHARED, VIEW_RAM_FD, 0); break;
	case 9: sys_mmap(page, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0); break;
	case 10: sys_mmap(page, page, PROT_READ, MAP_SHARED | MAP_FIXED, VIEW_NOTIFY_FD, 0); break;
	case 11: sys_mprotect(page, page, PROT_READ | PROT_EXEC); break;
	case 12: sys_mprotect((u64)run_forbidden & PAGE_MASK, PAGE_SIZE, PROT_READ | PROT_WRITE); break;
	case 13: sys_pkey_mprotect(ARENA_HVA, PAGE_SIZE, PROT_READ | PROT_WRITE, 0); break;
	case 14: sys_madvise(page, page, MADV_DONTNEED); break;
	case 15: sys_call4(SYS_futex, (u64)&SHARED->done, 3, 1, 0); break;
	case 16: sys_write(VIEW_NOTIFY_FD, "abc", 3); break;
	case 17: sys_write(VIEW_RAM_FD, "abcdefgh", 8); break;
	case 18: sys_arch_prctl(0x1011, 1); break;
	case 19: sys_fork(SIGCHLD, 0); break;
	case 20: sys_call3(SYS_openat, (u64)-100, (u64) "/etc/passwd", 0); break;
	case 21: sys_call3(0x40000000 | SYS_sched_yield, 0, 0, 0); break;
	case 22: __asm__ volatile("int $0x80" : : "a"(20) : "memory"); break; /* getpid of i386 */
	case 23: sys_tgkill((int)ARENA->view[0].pid, (int)ARENA->view[0].pid, SIGUSR1); break;
	case 24: sys_rt_sigprocmask(0, NULL, NULL); break;
	case 25: sys_ioctl(VIEW_UFFD_FD, UFFDIO_COPY, NULL); break;
	case 26: sys_ioctl(VIEW_RAM_FD, UFFDIO_WRITEPROTECT, NULL); break;
	case 27: sys_read(VIEW_UFFD_FD, NULL, 0); break;
	/* Only on hosts that have no keys, where nothing of the guest's is executable either. */
	case 28: sys_pkey_mprotect(page, PAGE_SIZE, PROT_READ | PROT_WRITE, 0); break;
	case 29: sys_mmap(page, page, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED, VIEW_RAM_FD, 0); break;
	default: finish(1);
	}
	finish(0);
}

/* The first failure's number, 0 if all went through. */
static int try_allowed(void)
{
	const u64 at = 0x7fff0000UL, high = ZONE_END + 0x10000;
	const int ram = MAP_SHARED | MAP_FIXED, rw = PROT_READ | PROT_WRITE;
	const struct uffdio_register reg = { .range = { at + 0x1000, 0x1000 }, .mode = UFFDIO_REGISTER_MODE_WP };
	const struct uffdio_writeprotect wp = { .range = reg.range, .mode = UFFDIO_WRITEPROTECT_MODE_WP };
	const struct sys_timespec pause = { 0, 1000 };

	*(volatile u64 *)(PHYS_HVA + 0x5000) = 0x1234567;
	if (sys_mmap(at, 0x4000, rw, ram, VIEW_RAM_FD, 0x5000) != (long)at)
		return 1;
	if (*(volatile u64 *)at != 0x1234567)
		return 2;
	if (ARENA->host.pkeys && sys_pkey_mprotect(at, 0x1000, rw, ARENA->host.key_kl))
		return 3;
	if (sys_mprotect(at, 0x1000, PROT_READ))
		return 3;
	if (sys_mmap(high, 0x1000, PROT_READ, ram | MAP_POPULATE, VIEW_RAM_FD, 0x5000) != (long)high ||
	    *(volatile u64 *)high != 0x1234567)
		return 4;
	if (sys_mmap(ZONE_BASE - 0x1000, 0x1000, PROT_READ, ram, VIEW_RAM_FD, 0) != (long)ZONE_BASE - 0x1000)
		return 5;
	if (ARENA->policy.uffd && (sys_ioctl(VIEW_UFFD_FD, UFFDIO_REGISTER, &reg) || sys_ioctl(VIEW_UFFD_FD, UFFDIO_WRITEPROTECT, &wp)))
		return 10;
	if (sys_munmap(0, ZONE_BASE) || sys_munmap(ZONE_END, 0x800000000000 - ZONE_END - 0x1000))
		return 6;
	if (sys_clock_nanosleep(1, 0, &pause))
		return 7;
	return sandbox.host.fsgsbase || sys_arch_prctl(0x1001, 0) == 0 ? 0 : 8;
}

static void run_halt(void)
{
	u64 t = clock_now(&ARENA->machine.clock), slept;

	VCPU->event_pending = 0;
	view_halt(t + 20000000);
	slept = clock_now(&ARENA->machine.clock) - t;
	if (slept < 19000000 || slept > 500000000)
		finish((i64)slept);
	SHARED->count = 1;
	while (!VCPU->event_pending)
		view_halt(TIMER_OFF);
	SHARED->woken_ns = clock_now(&ARENA->machine.clock);
	finish(0);
}

/* Waits for the timer's signal as guest code would: with shadowbox's keys denied. */
static void run_denied_signal(void)
{
	u32 pkru = SHARED->pkru;

	view_arm_timer(clock_now(&ARENA->machine.clock) + 5000000);
	__asm__ volatile("mov %0, %%eax\n\txor %%ecx, %%ecx\n\txor %%edx, %%edx\n\twrpkru\n\t"
			 "xor %%ebx, %%ebx\n"
			 "1:\tpause\n\ttest %%ebx, %%ebx\n\tjz 1b\n\t"
			 "xor %%eax, %%eax\n\twrpkru"
			 :
			 : "r"(pkru)
			 : "rax", "rbx", "rcx", "rdx", "memory");
	finish(SHARED->signals == 1 ? 0 : -1);
}

static void run_echo(void)
{
	const struct sys_timespec pause = { 0, 200000 };
	struct machine *m = &ARENA->machine;
	u8 c;

	for (;;) {
		__atomic_store_n(&VCPU->event_pending, 0, __ATOMIC_SEQ_CST); /* before the ring is looked at */
		while (ring_get(&m->rx, &c)) {
			if (c == 'q')
				machine_request_stop(m, STOP_DEBUG_EXIT, 7);
			while (!ring_put(&m->tx, c)) { /* the monitor has not come round to it */
				view_notify_monitor();
				sys_clock_nanosleep(1, 0, &pause); /* of what is allowed */
			}
		}
		view_notify_monitor();
		view_halt(TIMER_OFF);
	}
}

void engine_main(unsigned slot)
{
	static const char death[] = "the test asked for it";

	switch (SHARED->scenario) {
	case SC_PING_PONG: run_ping_pong(slot); break;
	case SC_FORBIDDEN: run_forbidden(); break;
	case SC_ALLOWED: finish(try_allowed()); break;
	case SC_HALT: run_halt(); break;
	case SC_DENIED_SIGNAL: run_denied_signal(); break;
	case SC_ECHO: run_echo(); break;
	case SC_FORBIDDEN_LATER:
		log_printf("a line from a view\n");
		memcpy(ARENA->death, death, sizeof(death));
		sys_getpid();
		break;
	case SC_PANIC: panic("%s", death);
	}
	for (;;)
		view_halt(TIMER_OFF);
}

void test_signal(int sig, siginfo_t *si, ucontext_t *uc);
void test_signal(int sig, siginfo_t *si, ucontext_t *uc)
{
	(void)si;
	if (sig == VIEW_TIMER_SIGNAL) {
		SHARED->signals++;
		uc->uc_mcontext.gregs[REG_RBX] = 1;
	}
}
__asm__("test_signal_entry: mov %rdx, %r8; xor %eax, %eax; xor %ecx, %ecx; xor %edx, %edx;"
	"wrpkru; mov %r8, %rdx; jmp test_signal\n"
	"test_signal_restorer: mov $15, %eax; syscall");
extern const u8 test_signal_entry[], test_signal_restorer[];

void signals_install(unsigned slot)
{
	const struct { const void *handler; u64 flags; const void *restorer; u64 mask; } sa = {
		test_signal_entry, SA_SIGINFO | SA_ONSTACK | 0x04000000, test_signal_restorer, ~0UL,
	};

	(void)slot;
	sys_rt_sigaction(VIEW_TIMER_SIGNAL, &sa, NULL, 8);
	sys_rt_sigaction(VIEW_KICK_SIGNAL, &sa, NULL, 8);
}

/* What a tracer sends. */
void view_signal(int sig, siginfo_t *si, ucontext_t *uc);
void view_signal(int sig, siginfo_t *si, ucontext_t *uc) { test_signal(sig, si, uc); }

void shadow_view_init(unsigned slot) { (void)slot; }
void cpu_dump(const struct vcpu *v) { (void)v; }

/* --- the tests --------------------------------------------------------------------------- */
#define CHECK(c) \
	do { \
		if (!(c)) { \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #c); \
			sandbox_kill_all(); \
			exit(1); \
		} \
	} while (0)

static u8 traps = TRAPS_SIGNAL; /* of this round of the tests */
static bool no_pku_signals, without_keys;

static void machine_create(enum scenario sc)
{
	const struct policy policy = { .block_max = 1, .no_native = true, .uffd = true, .traps = traps,
				       .no_pku_signals = no_pku_signals, .no_pkeys = without_keys };
	char err[256] = "";

	if (sandbox_create(64 << 20, &policy, err, sizeof(err)) < 0) {
		fprintf(stderr, "%s\n", err);
		exit(1);
	}
	clock_init(&ARENA->machine.clock, cpu_tsc_khz(), 0);
	ARENA->machine.event_pending = &VCPU->event_pending;
	ARENA->machine.dev.host.console_notify = view_notify_monitor;
	SHARED->scenario = sc;
}

static void machine_start(unsigned views)
{
	char err[256] = "";

	if (sandbox_start(err, sizeof(err)) < 0) {
		fprintf(stderr, "%s\n", err);
		exit(1);
	}
	for (unsigned i = 0; i < views; i++)
		if (sandbox_start_view(i, err, sizeof(err)) < 0) {
			fprintf(stderr, "%s\n", err);
			sandbox_kill_all();
			exit(1);
		}
}

static bool await_done(void)
{
	const struct sys_timespec tick = { 0, 100000000 };
	char what[128];

	for (int i = 0; i < 100; i++) {
		if (__atomic_load_n(&SHARED->done, __ATOMIC_SEQ_CST))
			return true;
		if (sandbox_reap(what, sizeof(what))) {
			fprintf(stderr, "%s\n", what);
			return false;
		}
		sys_futex_wait(&SHARED->done, 0, &tick);
	}
	return false;
}

static void run_scenario(enum scenario sc, unsigned views)
{
	machine_create(sc);
	machine_start(views);
	CHECK(await_done());
	CHECK(SHARED->result == 0);
	sandbox_kill_all();
}

static void test_ping_pong(void)
{
	struct timespec a, b;
	const u32 rounds = 20000;

	machine_create(SC_PING_PONG);
	SHARED->rounds = rounds;
	machine_start(1); /* it hands to a view that is not there yet */
	clock_gettime(CLOCK_MONOTONIC, &a);
	char err[128];
	CHECK(sandbox_start_view(1, err, sizeof(err)) == 0);
	CHECK(await_done());
	clock_gettime(CLOCK_MONOTONIC, &b);
	CHECK(SHARED->result == 0 && SHARED->count == rounds);
	printf("  %.2f us per hand-off\n",
	       ((b.tv_sec - a.tv_sec) * 1e9 + (b.tv_nsec - a.tv_nsec)) / rounds / 1e3);
	sandbox_kill_all();
}

static void forbidden(u32 from, u32 to)
{
	char what[128], want[32];

	machine_create(SC_FORBIDDEN);
	machine_start(0);
	for (u32 i = from; i < to; i++) {
		char err[128];
		SHARED->forbidden_case = i;
		ARENA->running_view = i;
		CHECK(sandbox_start_view(i, err, sizeof(err)) == 0);
		what[0] = 0;
		for (int tries = 0; tries < 500 && !sandbox_reap(what, sizeof(what)); tries++)
			usleep(10000);
		snprintf(want, sizeof(want), "view %u (", i);
		if (!strstr(what, want) || !strstr(what, "forbidden system call")) {
			fprintf(stderr, "case %u: %s, done %u\n", i, what, SHARED->done);
			CHECK(!"every forbidden call is caught");
		}
		CHECK(ARENA->view[i].state == VIEW_DEAD);
	}
	sandbox_kill_all();
}

static void test_forbidden(void) { forbidden(0, 28); }
static void test_allowed(void) { run_scenario(SC_ALLOWED, 1); }

static void test_halt(void)
{
	machine_create(SC_HALT);
	machine_start(1);
	while (!__atomic_load_n(&SHARED->count, __ATOMIC_SEQ_CST))
		usleep(1000);
	usleep(50000);
	CHECK(!SHARED->done);
	u64 t = clock_now(&ARENA->machine.clock);
	sandbox_kick();
	CHECK(await_done() && SHARED->result == 0);
	CHECK(SHARED->woken_ns > t && SHARED->woken_ns - t < 200000000);
	sandbox_kill_all();
}

/* A container's filter: ptrace gives EPERM. */
static void forbid_ptrace(void)
{
	struct sock_filter f[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ptrace, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog prog = { ARRAY_LEN(f), f };

	CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) == 0);
}

/* Asked for, it is an error; as a better choice, it is done without. */
static void test_ptrace_forbidden(void)
{
	char err[256] = "";

	forbid_ptrace();
	traps = TRAPS_PTRACE;
	machine_create(SC_DENIED_SIGNAL);
	CHECK(sandbox_start(err, sizeof(err)) < 0);
	CHECK(strstr(err, "traps=ptrace: this host does not let one process trace another") && !strchr(err, '\n'));
	CHECK(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD);
	sandbox.policy.traps = ARENA->policy.traps = TRAPS_AUTO;
	sandbox.host.denied_sigstack = ARENA->host.denied_sigstack = false;
	SHARED->pkru = 0x55555554 & ~(3u << 2 * ARENA->host.key_s);
	machine_start(1);
	CHECK(ARENA->host.traps == TRAPS_SIGNAL && ARENA->host.key_sigstack == ARENA->host.key_s);
	CHECK(await_done() && SHARED->result == 0);
	sandbox_kill_all();
}

/* A host before 6.12 gets a tracer without being asked. */
static void test_ptrace_is_chosen(void)
{
	traps = TRAPS_AUTO;
	no_pku_signals = true;
	machine_create(SC_DENIED_SIGNAL);
	CHECK(ARENA->host.traps == TRAPS_PTRACE && ARENA->host.key_sigstack == ARENA->host.key_zone);
	SHARED->pkru = 0x55555554;
	machine_start(1);
	CHECK(sandbox.tracer > 0 && await_done() && SHARED->result == 0);
	sandbox_kill_all();
}

/* The tracer dies: so do its views, and the monitor says who it was. */
static void test_killed_tracer(void)
{
	char what[128] = "";

	traps = TRAPS_PTRACE;
	machine_create(SC_SLEEP);
	machine_start(3);
	pid_t tracer = sandbox.tracer;
	kill(tracer, SIGKILL);
	for (int tries = 0; tries < 500 && !strstr(what, "tracer"); tries++) {
		sandbox_reap(what, sizeof(what));
		usleep(10000);
	}
	CHECK(strstr(what, "the tracer of views was killed by signal 9"));
	for (int tries = 0; tries < 500; tries++, usleep(10000))
		while (sandbox_reap(what, sizeof(what)))
			continue;
	for (int i = 0; i < 3; i++)
		CHECK(!sandbox.view[i]);
	sandbox_kill_all();
}

static void need_keys(void)
{
	if (!ARENA->host.pkeys)
		exit(77);
}

static void test_denied_signal(void)
{
	machine_create(SC_DENIED_SIGNAL);
	need_keys();
	u32 keys = 0x55555554;
	if (ARENA->host.key_sigstack == ARENA->host.key_s)
		keys &= ~(3u << 2 * ARENA->host.key_s);
	SHARED->pkru = keys;
	machine_start(1);
	CHECK(await_done() && SHARED->result == 0);
	sandbox_kill_all();
}

/* What hosts before 6.12 get. */
static void test_signal_stack_with_spill_key(void)
{
	machine_create(SC_DENIED_SIGNAL);
	need_keys();
	ARENA->host.key_sigstack = sandbox.host.key_sigstack = ARENA->host.key_s;
	SHARED->pkru = 0x55555554 & ~(3u << 2 * ARENA->host.key_s);
	machine_start(1);
	CHECK(await_done() && SHARED->result == 0);
	sandbox_kill_all();
}

/* Each mapping of a view has the key that layout.h's table gives it. */
static void test_keys(void)
{
	const struct host_caps *h;
	char path[64], line[512];
	u64 start = 0, from, end;
	unsigned seen = 0, key;

	machine_create(SC_SLEEP);
	h = &ARENA->host;
	if (!without_keys)
		need_keys();
	machine_start(1);
	snprintf(path, sizeof(path), "/proc/%d/smaps", ARENA->view[0].pid);
	FILE *f = fopen(path, "r");
	CHECK(f);
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &from, &end) == 2) {
			start = from;
			continue;
		}
		if (sscanf(line, "ProtectionKey: %u", &key) != 1 || start >> 47)
			continue;
		u32 want = h->key_zone;
		if (start >= PHYS_HVA || start == HOT_VCPU_HVA || start == HOT_BOUNCE_HVA || start == HOT_QUICK_HVA)
			want = h->key_p;
		else if (start == HOT_SLOTS_U_HVA)
			want = h->key_s;
		else if (start == HOT_SLOTS_K_HVA)
			want = h->key_ks;
		else if (start == HOT_SELECT_HVA)
			want = h->key_d;
		else if (start == HOT_TABLE_U_HVA)
			want = h->key_t;
		else if (start == HOT_TABLE_K_HVA)
			want = h->key_kt;
		else if (start == HOT_SELECT_HVA)
			want = h->key_d;
		else if (start == VIEW_SIGSTACK_HVA)
			want = h->key_sigstack;
		if (key != want)
			fprintf(stderr, "%lx: key %u, not %u\n", start, key, want);
		CHECK(key == want);
		seen++;
	}
	CHECK(seen > 12);
	sandbox_kill_all();
}

static void test_allowed_without_keys(void)
{
	without_keys = true;
	test_allowed();
}

static void test_no_keys(void)
{
	without_keys = true;
	test_keys();
}

static void test_key_is_forbidden(void)
{
	without_keys = true;
	forbidden(28, 30);
}

static void test_clear_and_restart(void)
{
	machine_create(SC_ALLOWED);
	for (int boot = 0; boot < 3; boot++) {
		SHARED->scenario = SC_ALLOWED;
		CHECK(*(u64 *)(PHYS_HVA + 0x5000) == 0);
		machine_start(3);
		CHECK(await_done() && SHARED->result == 0);
		CHECK(*(u64 *)(PHYS_HVA + 0x5000) == 0x1234567);
		sandbox_kill_all();
		sandbox_clear();
		CHECK(SHARED->done == 0 && ARENA->view[0].state == VIEW_NONE);
	}
}

/* kill -9 of the monitor: nobody is left. */
static void test_no_orphans(void)
{
	pid_t pids[8] = { 0 }, monitor, got;
	int p[2], all = traps == TRAPS_PTRACE ? 7 : 6, left = all;

	CHECK(pipe(p) == 0 && prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0);
	monitor = fork();
	if (monitor == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		machine_create(SC_SLEEP);
		machine_start(4);
		for (int i = 0; i < 4; i++)
			pids[i] = ARENA->view[i].pid;
		pids[4] = sandbox.zygote;
		pids[6] = sandbox.tracer;
		if (write(p[1], pids, sizeof(pids)) != sizeof(pids))
			exit(1);
		for (;;)
			pause();
	}
	close(p[1]);
	CHECK(read(p[0], pids, sizeof(pids)) == sizeof(pids));
	pids[5] = monitor;
	kill(monitor, SIGKILL);
	for (int tries = 0; left && tries < 300; tries++) {
		while ((got = waitpid(-1, NULL, WNOHANG)) > 0)
			left--;
		usleep(10000);
	}
	CHECK(left == 0);
	for (int i = 0; i < all; i++)
		CHECK(kill(pids[i], 0) < 0 && errno == ESRCH);
}

/* --- the monitor's loop -------------------------------------------------------------------- */
/* Runs the loop in a child with these descriptors; returns its pid. */
static pid_t loop_start(enum scenario sc, int in, int out, int errfd, bool mux)
{
	pid_t pid = fork();
	static struct monitor m;
	char err[128];
	int code = 99;

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	dup2(in, 0);
	dup2(out, 1);
	dup2(errfd, 2);
	machine_create(sc);
	m.log_fd = 2;
	m.opt.serial = SERIAL_STDIO;
	m.opt.mux_stdio = mux;
	CHECK(log_open(&m, err, sizeof(err)) == 0);
	CHECK(console_open(&m.con, &m.opt, err, sizeof(err)) == 0);
	CHECK(signals_open(&m, err, sizeof(err)) == 0);
	terminal_restore_on_crash();
	terminal_raw(0, false);
	machine_start(1);
	monitor_loop(&m, &code);
	terminal_restore();
	sandbox_kill_all();
	_exit(code);
}

static size_t read_for(int fd, char *buf, size_t size, size_t want, int ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	size_t len = 0;

	while (len < want && len < size - 1 && poll(&p, 1, ms) > 0) {
		ssize_t n = read(fd, buf + len, size - 1 - len);
		if (n <= 0)
			break;
		len += (size_t)n;
	}
	buf[len] = 0;
	return len;
}

static int exit_of(pid_t pid)
{
	int status = 0;

	CHECK(waitpid(pid, &status, 0) == pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void test_echo(void)
{
	int in[2], out[2];
	char buf[64];
	pid_t pid;

	CHECK(pipe(in) == 0 && pipe(out) == 0);
	pid = loop_start(SC_ECHO, in[0], out[1], 2, false);
	CHECK(write(in[1], "hel\1xlo", 7) == 7);
	CHECK(read_for(out[0], buf, sizeof(buf), 7, 10000) == 7 && !memcmp(buf, "hel\1xlo", 7));
	CHECK(write(in[1], "q", 1) == 1);
	CHECK(exit_of(pid) == 7);
}

/* More input than the ring holds, and the end of input. */
static void test_echo_flood(void)
{
	static char sent[300000], got[300001];
	int in[2], out[2];
	size_t len = 0, done = 0;
	pid_t pid;

	for (size_t i = 0; i < sizeof(sent); i++)
		sent[i] = (char)('A' + i % 26);
	CHECK(pipe(in) == 0 && pipe(out) == 0);
	fcntl(in[1], F_SETFL, O_NONBLOCK);
	pid = loop_start(SC_ECHO, in[0], out[1], 2, true);
	while (len < sizeof(sent)) {
		ssize_t n = done < sizeof(sent) ? write(in[1], sent + done, sizeof(sent) - done) : 0;
		if (n > 0)
			done += (size_t)n;
		size_t more = read_for(out[0], got + len, sizeof(got) - len, 1, 60000);
		CHECK(more);
		len += more;
	}
	CHECK(!memcmp(sent, got, sizeof(sent)));
	close(in[0]);
	close(in[1]);
	usleep(100000);
	CHECK(waitpid(pid, NULL, WNOHANG) == 0);
	kill(pid, SIGTERM);
	CHECK(exit_of(pid) == 0);
}

static void test_escape_keys(void)
{
	int in[2], out[2];
	char buf[512];
	pid_t pid;

	CHECK(pipe(in) == 0 && pipe(out) == 0);
	pid = loop_start(SC_ECHO, in[0], out[1], 2, true);
	CHECK(write(in[1], "a\1\1b", 4) == 4);
	CHECK(read_for(out[0], buf, sizeof(buf), 3, 10000) == 3 && !memcmp(buf, "a\1b", 3));
	CHECK(write(in[1], "\1h", 2) == 2);
	CHECK(read_for(out[0], buf, sizeof(buf), 60, 10000) >= 60 && strstr(buf, "quit"));
	CHECK(write(in[1], "\1x", 2) == 2);
	CHECK(exit_of(pid) == 0);
}

static void test_death_is_reported(void)
{
	int in[2], err[2];
	char buf[4096];
	pid_t pid;

	CHECK(pipe(in) == 0 && pipe(err) == 0);
	pid = loop_start(SC_FORBIDDEN_LATER, in[0], 1, err[1], true);
	close(err[1]);
	CHECK(exit_of(pid) == 1);
	read_for(err[0], buf, sizeof(buf), sizeof(buf), 1000);
	CHECK(strstr(buf, "a line from a view\n"));
	CHECK(strstr(buf, "shadowbox: view 0 (process "));
	CHECK(strstr(buf, ") was killed for a forbidden system call: the test asked for it\n"));
}

static void test_panic_is_reported(void)
{
	int in[2], err[2];
	char buf[4096];
	pid_t pid;

	CHECK(pipe(in) == 0 && pipe(err) == 0);
	pid = loop_start(SC_PANIC, in[0], 1, err[1], true);
	close(err[1]);
	CHECK(exit_of(pid) == 1);
	read_for(err[0], buf, sizeof(buf), sizeof(buf), 1000);
	CHECK(strstr(buf, "the test asked for it") && strstr(buf, "internal error"));
}

static void test_killed_view_ends_the_monitor(void)
{
	char path[64];
	int in[2], err[2];
	char buf[4096];
	pid_t pid, view = 0;

	CHECK(pipe(in) == 0 && pipe(err) == 0);
	pid = loop_start(SC_ECHO, in[0], 1, err[1], true);
	close(err[1]);
	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", pid, pid);
	for (int i = 0; i < 500 && !view; i++) {
		FILE *f = fopen(path, "r");
		int pids[3] = { 0 }, before = traps == TRAPS_PTRACE ? 2 : 1;
		/* the tracer, the zygote and the first view */
		if (f && fscanf(f, "%d %d %d", &pids[0], &pids[1], &pids[2]) > before)
			view = pids[before];
		if (f)
			fclose(f);
		usleep(10000);
	}
	if (!view) { /* a kernel without that file */
		kill(pid, SIGTERM);
		exit_of(pid);
		return;
	}
	usleep(200000);
	kill(view, SIGKILL);
	CHECK(exit_of(pid) == 1);
	read_for(err[0], buf, sizeof(buf), sizeof(buf), 1000);
	CHECK(strstr(buf, "was killed by signal 9"));
}

/* SIGTERM, SIGINT, SIGHUP and keys: the terminal is as it was. */
static void test_terminal_is_restored(void)
{
	static const int ends[] = { SIGTERM, SIGINT, SIGHUP, SIGSEGV, 0 };
	struct termios before, during, after;
	char buf[64];

	for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
		int tty = posix_openpt(O_RDWR | O_NOCTTY), sub;
		pid_t pid;

		CHECK(tty >= 0 && grantpt(tty) == 0 && unlockpt(tty) == 0);
		sub = open(ptsname(tty), O_RDWR | O_NOCTTY);
		CHECK(sub >= 0 && tcgetattr(sub, &before) == 0);
		pid = loop_start(SC_ECHO, sub, sub, 2, true);
		for (int tries = 0; tries < 500; tries++) {
			CHECK(tcgetattr(sub, &during) == 0);
			if (!(during.c_lflag & ECHO))
				break;
			usleep(10000);
		}
		CHECK(!(during.c_lflag & (ECHO | ICANON | ISIG)));
		CHECK(write(tty, "\3", 1) == 1); /* Ctrl-C is the guest's */
		CHECK(read_for(tty, buf, sizeof(buf), 1, 5000) == 1 && buf[0] == 3);
		if (ends[i])
			kill(pid, ends[i]);
		else
			CHECK(write(tty, "\1x", 2) == 2);
		int code = exit_of(pid);
		CHECK(code == (ends[i] == SIGSEGV ? -SIGSEGV : 0));
		CHECK(tcgetattr(sub, &after) == 0);
		CHECK(before.c_iflag == after.c_iflag && before.c_oflag == after.c_oflag);
		CHECK(before.c_cflag == after.c_cflag && before.c_lflag == after.c_lflag);
		CHECK(!memcmp(before.c_cc, after.c_cc, sizeof(before.c_cc)));
		close(sub);
		close(tty);
	}
}

/* --- the runner ---------------------------------------------------------------------------- */
struct test { const char *name; void (*run)(void); };

/* With signals, and again with a tracer. */
static const struct test tests[] = {
	{ "views hand the vCPU to and fro", test_ping_pong },
	{ "forbidden system calls kill the view", test_forbidden },
	{ "allowed system calls work", test_allowed },
	{ "halt wakes on the deadline and on a kick", test_halt },
	{ "signals arrive while shadowbox's keys are denied", test_denied_signal },
	{ "each mapping has its key", test_keys },
	{ "without keys: allowed system calls work", test_allowed_without_keys },
	{ "without keys: no mapping has one", test_no_keys },
	{ "without keys: setting one, executable pages kill the view", test_key_is_forbidden },
	{ "a machine can be cleared and started again", test_clear_and_restart },
	{ "kill -9 of the monitor leaves no process", test_no_orphans },
	{ "console input and output", test_echo },
	{ "console flood, end of input", test_echo_flood },
	{ "escape keys", test_escape_keys },
	{ "a forbidden call is reported", test_death_is_reported },
	{ "a panic in a view is reported", test_panic_is_reported },
	{ "kill -9 of a view ends the monitor", test_killed_view_ends_the_monitor },
	{ "the terminal is restored", test_terminal_is_restored },
};

static const struct test once[] = {
	{ "signals arrive on a stack with the spill key", test_signal_stack_with_spill_key },
	{ "ptrace forbidden", test_ptrace_forbidden },
	{ "ptrace where signals do not work", test_ptrace_is_chosen },
	{ "kill -9 of the tracer ends its views", test_killed_tracer },
};

static bool run_test(const struct test *t)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		alarm(60);
		t->run();
		exit(0);
	}
	waitpid(pid, &status, 0);
	bool skip = WIFEXITED(status) && WEXITSTATUS(status) == 77;
	bool ok = WIFEXITED(status) && WEXITSTATUS(status) == 0;
	printf("%s  %s%s\n", ok ? "ok  " : skip ? "skip" : "FAIL", t->name,
	       traps == TRAPS_PTRACE ? ", with a tracer" : "");
	return ok || skip;
}

static int run_tests(const struct test *t, size_t n, const char *pattern)
{
	int failed = 0;

	for (; n--; t++)
		if (strstr(t->name, pattern))
			failed += !run_test(t);
	return failed;
}

int main(int argc, char **argv)
{
	const char *pattern = argc > 1 ? argv[1] : "";
	int failed;

	mallopt(M_MMAP_MAX, 0);
	setvbuf(stdout, NULL, _IOLBF, 0);
	failed = run_tests(tests, ARRAY_LEN(tests), pattern) + run_tests(once, ARRAY_LEN(once), pattern);
	traps = TRAPS_PTRACE;
	failed += run_tests(tests, ARRAY_LEN(tests), pattern);
	return failed != 0;
}
