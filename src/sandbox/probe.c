/* What this host can do, tried out rather than read from version numbers. Results go to
 * ARENA->host and, a line each, to the config log. */
#include <cpuid.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>
#include "internal.h"
#include "shadowbox/log.h"
#include "shadowbox/sys.h"
#include <sys/auxv.h> /* last: elf.h defines names of cpu.h */

#define HWCAP2_FSGSBASE_BIT 2
/* Vector state that struct vcpu has room for: x87, SSE, AVX, AVX-512; and PKRU, which is
 * the host's own. */
#define XCR0_KNOWN (0xe7UL | BIT(9))
#define XCR0_AVX512 0xe0UL

/* --- signal frames and protection keys -------------------------------------------- */
/* The handler must not touch its stack before it has opened the keys; it never needs it. */
__attribute__((naked)) static void probe_handler(int sig)
{
	(void)sig;
	__asm__ volatile("xor %eax, %eax; xor %ecx, %ecx; xor %edx, %edx; wrpkru\n\t"
			 "mov $231, %eax; xor %edi, %edi; syscall");
}

static void write_pkru(u32 value)
{
	__asm__ volatile("wrpkru" : : "a"(value), "c"(0), "d"(0) : "memory");
}

NORETURN static void probe_child(int key)
{
	const size_t size = 256 << 10;
	const struct rlimit none = { 0, 0 };
	struct sigaction sa = { .sa_handler = probe_handler, .sa_flags = SA_ONSTACK };
	stack_t st = { .ss_size = size };
	u64 open = 0;

	setrlimit(RLIMIT_CORE, &none);
	st.ss_sp = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (st.ss_sp == MAP_FAILED || pkey_mprotect(st.ss_sp, size, PROT_READ | PROT_WRITE, key) < 0 ||
	    sigaltstack(&st, NULL) < 0 || sigaction(SIGUSR1, &sa, NULL) < 0)
		_exit(1);
	sys_rt_sigprocmask(SIG_SETMASK, &open, NULL);
	write_pkru(3u << 2 * key);
	sys_tgkill(sys_getpid(), sys_gettid(), SIGUSR1);
	_exit(1);
}

/* Linux before 6.12 writes the signal frame with the rights of the interrupted code. */
static bool probe_denied_sigstack(int key)
{
	pid_t pid = fork();
	int status = 0;

	if (pid == 0)
		probe_child(key);
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return false;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* --- the rest ---------------------------------------------------------------------- */
static int alloc_keys(struct host_caps *h)
{
	u8 *const keys[] = { &h->key_zone, &h->key_kl, &h->key_kh, &h->key_p,
			     &h->key_s,	   &h->key_t,  &h->key_ks, &h->key_kt, &h->key_d };

	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		long key = sys_pkey_alloc(0, 0);
		if (key < 0) {
			while (i--)
				*keys[i] = 0;
			return (int)key;
		}
		*keys[i] = (u8)key;
	}
	return 0;
}

/* Syscall User Dispatch, Linux 5.11. */
static bool probe_dispatch(void)
{
	static u8 selector;
	bool ok = sys_prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, 0, 0, (u64)&selector) == 0;

	if (ok)
		sys_prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_OFF, 0, 0, 0);
	return ok;
}

/* Where XSAVE stores PKRU. */
static u32 read_pkru_offset(void)
{
	u32 a, b, c, d;

	__cpuid_count(0xd, 9, a, b, c, d);
	return b;
}

static u64 read_xcr0(void)
{
	u32 a, b, c, d, lo, hi;

	if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & BIT(27)))
		return 3;
	__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	return ((u64)hi << 32 | lo) & XCR0_KNOWN;
}

static bool has_bmi2(void)
{
	u32 a, b, c, d;

	return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & BIT(8));
}

static bool tsc_is_invariant(void)
{
	u32 a, b, c, d;

	return __get_cpuid(0x80000007, &a, &b, &c, &d) && (d & BIT(8));
}

static u32 read_max_map_count(void)
{
	FILE *f = fopen("/proc/sys/vm/max_map_count", "r");
	unsigned n = 0;

	if (!f || fscanf(f, "%u", &n) != 1 || n < 1024)
		n = 65530;
	if (f)
		fclose(f);
	return n;
}

void probe_sigstack_key(struct host_caps *h)
{
	h->key_sigstack = h->denied_sigstack || h->traps == TRAPS_PTRACE ? h->key_zone : h->key_s;
}

static void choose_traps(struct host_caps *h, const struct policy *policy)
{
	/* Without keys no stack is denied. */
	h->denied_sigstack = !h->pkeys || (!policy->no_pku_signals && probe_denied_sigstack(h->key_zone));
	h->traps = policy->traps;
	if (h->traps == TRAPS_AUTO)
		h->traps = h->denied_sigstack ? TRAPS_SIGNAL : TRAPS_PTRACE;
	probe_sigstack_key(h);
}

static const char *traps_text(const struct host_caps *h, const struct policy *policy)
{
	if (h->traps == TRAPS_SIGNAL)
		return "signals";
	return policy->traps == TRAPS_PTRACE ? "ptrace" : "ptrace, since no signal reaches a stack with a denied key";
}

static void log_host(const struct host_caps *h, const struct policy *policy)
{
	struct utsname u;

	if (uname(&u) == 0)
		log_msg(LOG_CONFIG, "config: host kernel %s\n", u.release);
	log_msg(LOG_CONFIG, "config: trap transport: %s\n", traps_text(h, policy));
	log_msg(LOG_CONFIG, "config: signal stack: %u KiB (a frame needs %lu bytes)\n",
		h->sigstack_size >> 10, getauxval(AT_MINSIGSTKSZ));
	log_msg(LOG_CONFIG, "config: FSGSBASE: %s\n", h->fsgsbase ? "yes" : "no, by arch_prctl");
	log_msg(LOG_CONFIG, "config: XCR0 %#lx, AVX-512: %s\n", h->xcr0, h->avx512 ? "yes" : "no");
	log_msg(LOG_CONFIG, "config: soft operands: %s\n", h->bmi2 ? "looked up in line" : "by C code (no BMI2)");
	log_msg(LOG_CONFIG, "config: user code: %s\n", h->native ? "runs as it is where it can" : "translated");
	log_msg(LOG_CONFIG, "config: invariant TSC: %s\n",
		h->tsc_invariant ? "yes" : "no, guest time may drift");
	log_msg(LOG_CONFIG, "config: mappings a view may have: %u\n", h->max_map_count);
}

/* Without keys nothing but the translator keeps user code from kernel memory and from
 * shadowbox's (dbt/engine.c). */
static void probe_keys(struct host_caps *h, const struct policy *policy)
{
	int rc = policy->no_pkeys ? 0 : alloc_keys(h);

	h->pkeys = !policy->no_pkeys && rc == 0;
	if (!h->pkeys) {
		log_msg(LOG_CONFIG, "config: protection keys: none (%s%s): operands of user code and of kernel code in the low "
			"half are soft, the guest's kernel is not kept from shadowbox's memory in its views\n",
			policy->no_pkeys ? "switched off" : "neither pku nor ospke in /proc/cpuinfo, or all taken: ",
			policy->no_pkeys ? "" : strerror(-rc));
		choose_traps(h, policy);
		return;
	}
	log_msg(LOG_CONFIG, "config: protection keys: zone %u, kernel-low %u, kernel-high %u, vCPU %u, slots %u and %u, "
		"tables %u and %u\n", h->key_zone, h->key_kl, h->key_kh, h->key_p, h->key_s, h->key_ks, h->key_t, h->key_kt);
	h->pkru_offset = read_pkru_offset();
	choose_traps(h, policy);
	log_msg(LOG_CONFIG, "config: signal frames on a stack with a denied key: %s\n",
		h->denied_sigstack ? "yes" : h->traps == TRAPS_PTRACE ? "no" : "no, the stack has the key of user slots");
	/* Signal frames that user code could write would be a way to other rights. */
	h->native = !policy->no_native && !policy->all_soft && !policy->user_soft && h->fsgsbase && h->key_sigstack == h->key_zone &&
		    probe_dispatch();
}

void probe_host(const struct policy *policy)
{
	struct host_caps *h = &ARENA->host;
	int rc;

	h->fsgsbase = (getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE_BIT) && !policy->no_fsgsbase;
	h->xcr0 = read_xcr0();
	h->avx512 = (h->xcr0 & XCR0_AVX512) == XCR0_AVX512;
	h->bmi2 = has_bmi2();
	h->tsc_invariant = tsc_is_invariant();
	h->max_map_count = read_max_map_count();
	h->sigstack_size = (u32)((getauxval(AT_MINSIGSTKSZ) + 65536 + PAGE_SIZE - 1) & PAGE_MASK);
	probe_keys(h, policy);
	rc = uffd_probe();
	h->uffd_wp = rc == 0;
	log_host(h, policy);
	log_msg(LOG_CONFIG, "config: userfaultfd write protection: %s%s; traces of large mappings by %s\n",
		rc ? "no, " : "yes", rc ? strerror(-rc) : "", h->uffd_wp && policy->uffd ? "it" : "mprotect");
}
