/* What a confined view may ask of the host kernel: one table, compiled to a BPF filter.
 *
 * A system call is allowed if one row matches its number and all of its arguments;
 * anything else kills the process, which the monitor reports. Rows of one number are
 * alternatives. Memory calls may only name guest addresses: the zone's mappings, which
 * are the code, the page keys and the stacks of shadowbox, cannot be changed any more,
 * and only pages of guest RAM can be executable, which then are not writable. */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include "internal.h"
#include "shadowbox/sys.h"

enum check_kind {
	CHECK_NONE,
	CHECK_MASKED,  /* (arg & mask) == value */
	CHECK_OUTSIDE, /* [arg, arg + next arg) does not touch the zone; no tag bits */
	CHECK_KEY,     /* arg is *key */
};
struct check {
	u8 kind, arg;
	u64 mask, value;
	const u8 *key;
};
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif
#define IS(arg, value) { CHECK_MASKED, arg, ~0UL, value, NULL }
#define WITHIN(arg, bits) { CHECK_MASKED, arg, ~(u64)(bits), 0, NULL }
#define IS_BUT_FOR(arg, bits, value) { CHECK_MASKED, arg, ~(u64)(bits), value, NULL }
#define OUTSIDE(arg) { CHECK_OUTSIDE, arg, 0, 0, NULL }
#define KEY(arg, name) { CHECK_KEY, arg, ~0UL, 0, &sandbox.host.name }

struct rule {
	u32 nr;
	const char *why;
	struct check check[4];
	const bool *unless, *only_if; /* the host can do without, the host can */
};
#define ALWAYS NULL, NULL
#define UNLESS(cap) &sandbox.host.cap, NULL
#define IF(cap) NULL, &sandbox.host.cap

#define DATA (PROT_READ | PROT_WRITE)
static const struct rule rules[] = {
	{ SYS_mmap, "fill: guest RAM at a guest address",
	  { OUTSIDE(0), WITHIN(2, DATA), IS_BUT_FOR(3, MAP_POPULATE, MAP_SHARED | MAP_FIXED), IS(4, VIEW_RAM_FD) }, ALWAYS },
	{ SYS_mmap, "guest code that runs as it is",
	  { OUTSIDE(0), IS(2, PROT_READ | PROT_EXEC), IS_BUT_FOR(3, MAP_POPULATE, MAP_SHARED | MAP_FIXED), IS(4, VIEW_RAM_FD) }, IF(native) },
	{ SYS_rt_sigreturn, "way out of the fault handler", {}, ALWAYS },
	{ SYS_munmap, "invalidation", { OUTSIDE(0) }, ALWAYS },
	{ SYS_mprotect, "trace: take or give write access", { OUTSIDE(0), WITHIN(2, DATA) }, ALWAYS },
	{ SYS_pkey_mprotect, "fill: a low page of the guest kernel", { OUTSIDE(0), WITHIN(2, DATA), KEY(3, key_kl) }, IF(pkeys) },
	{ SYS_pkey_mprotect, "fill: a page of the high half", { OUTSIDE(0), WITHIN(2, DATA), KEY(3, key_kh) }, IF(pkeys) },
	{ SYS_pkey_mprotect, "a patched copy of guest code", { OUTSIDE(0), IS(2, PROT_READ | PROT_EXEC), KEY(3, key_zone) }, IF(pkeys) },
	{ SYS_futex, "hand-off and HLT: wait or wake", { WITHIN(1, 1) }, ALWAYS },
	{ SYS_timer_settime, "guest timers", { IS(1, 0) }, ALWAYS },
	{ SYS_write, "wake the monitor", { IS(0, VIEW_NOTIFY_FD), IS(2, 8) }, ALWAYS },
	{ SYS_arch_prctl, "FS.base where FSGSBASE is missing", { IS(0, 0x1002) }, UNLESS(fsgsbase) },
	{ SYS_arch_prctl, "GS.base where FSGSBASE is missing", { IS(0, 0x1001) }, UNLESS(fsgsbase) },
	{ SYS_madvise, "fill: pages to read", { OUTSIDE(0), IS(2, MADV_POPULATE_READ) }, ALWAYS },
	{ SYS_madvise, "fill: pages to write", { OUTSIDE(0), IS(2, MADV_POPULATE_WRITE) }, ALWAYS },
	{ SYS_clock_nanosleep, "wait for room in the log ring", { IS(0, 1), IS(1, 0) }, ALWAYS },
	{ SYS_restart_syscall, "the kernel restarts a futex wait after a stop", {}, ALWAYS },
	{ SYS_exit_group, "end", {}, ALWAYS },
};

/* With trace=uffd. Ranges cannot be checked here; these calls take and give back a right that
 * only this descriptor takes, in this process alone. */
static const struct rule uffd_rules[] = {
	{ SYS_ioctl, "trace: protect a page", { IS(0, VIEW_UFFD_FD), IS(1, UFFDIO_WRITEPROTECT) }, ALWAYS },
	{ SYS_ioctl, "trace: a mapping that has pages to be protected", { IS(0, VIEW_UFFD_FD), IS(1, UFFDIO_REGISTER) }, ALWAYS },
};

/* Not allowed, but from the host's vsyscall page a signal (SIGSYS) instead of the end: it is
 * in reach of guest code that runs as it is. */
static const u32 trapped[] = { SYS_gettimeofday, SYS_time, SYS_getcpu };

/* The tracer: requests on processes that it traces already. */
static const struct rule tracer_rules[] = {
	{ SYS_wait4, "the next stop", {}, ALWAYS },
	{ SYS_ptrace, "let it go on", { IS(0, PTRACE_CONT) }, ALWAYS },
	{ SYS_ptrace, "what it was doing", { IS(0, PTRACE_GETREGS) }, ALWAYS },
	{ SYS_ptrace, "what it does next", { IS(0, PTRACE_SETREGSET) }, ALWAYS },
	{ SYS_ptrace, "the same, out of compatibility mode", { IS(0, PTRACE_SETREGS) }, ALWAYS },
	{ SYS_ptrace, "why it has stopped", { IS(0, PTRACE_GETSIGINFO) }, ALWAYS },
	{ SYS_ptrace, "it shall stay stopped", { IS(0, PTRACE_LISTEN) }, ALWAYS },
	{ SYS_write, "tell the monitor that it is ready", { IS(0, 0), IS(2, 4) }, ALWAYS },
	{ SYS_close, "and nothing more", {}, ALWAYS },
	{ SYS_pause, "nobody is left", {}, ALWAYS },
	{ SYS_restart_syscall, "the kernel restarts a wait after a stop", {}, ALWAYS },
	{ SYS_exit_group, "end", {}, ALWAYS },
};

struct table {
	const struct rule *rules;
	size_t n_rules;
	const struct rule *more;
	size_t n_more;
	const u32 *trapped;
	size_t n_trapped;
};

/* --- the compiler ------------------------------------------------------------------- */
#define PROGRAM_MAX 400
/* Jump distances that are filled in later. */
enum { TO_PASS = 0xfe, TO_FAIL = 0xff };

struct program {
	struct sock_filter insn[PROGRAM_MAX];
	unsigned len;
};

static void emit(struct program *p, u16 code, u32 k, u8 jt, u8 jf)
{
	if (p->len < PROGRAM_MAX)
		p->insn[p->len] = (struct sock_filter){ code, jt, jf, k };
	p->len++;
}

static void emit_load(struct program *p, unsigned arg, bool high)
{
	emit(p, BPF_LD | BPF_W | BPF_ABS,
	     offsetof(struct seccomp_data, args) + 8 * arg + (high ? 4 : 0), 0, 0);
}

/* Resolves the jumps in [from, len) of kind `what` to `target`. */
static void resolve(struct program *p, unsigned from, u8 what, unsigned target)
{
	for (unsigned i = from; i < p->len && i < PROGRAM_MAX; i++) {
		struct sock_filter *f = &p->insn[i];
		if (BPF_CLASS(f->code) != BPF_JMP)
			continue;
		if (f->jt == what)
			f->jt = (u8)(target - i - 1);
		if (f->jf == what)
			f->jf = (u8)(target - i - 1);
	}
}

static void emit_masked(struct program *p, const struct check *c)
{
	for (int high = 0; high < 2; high++) {
		u32 mask = (u32)(c->mask >> 32 * high), value = (u32)(c->value >> 32 * high);
		emit_load(p, c->arg, high);
		if (mask != ~0u)
			emit(p, BPF_ALU | BPF_AND | BPF_K, mask, 0, 0);
		emit(p, BPF_JMP | BPF_JEQ | BPF_K, value, 0, TO_FAIL);
	}
}

/* 64-bit arithmetic on a 32-bit machine: passes if ZONE_END <= addr < 2^47, or if
 * addr + len <= ZONE_BASE without overflow. Beyond 2^47 is nothing, but where the processor
 * ignores tags: then such an address may mean one of the zone. */
static void emit_outside(struct program *p, unsigned arg)
{
	_Static_assert(!(u32)ZONE_BASE && !(u32)ZONE_END, "only high halves are compared");
	unsigned start = p->len;

	emit_load(p, arg, true);
	emit(p, BPF_JMP | BPF_JGE | BPF_K, 0x8000, TO_FAIL, 0);
	emit(p, BPF_JMP | BPF_JGE | BPF_K, ZONE_END >> 32, TO_PASS, 0);
	emit_load(p, arg + 1, true);
	emit(p, BPF_JMP | BPF_JGT | BPF_K, 0xffff, TO_FAIL, 0);
	emit_load(p, arg, false);
	emit(p, BPF_MISC | BPF_TAX, 0, 0, 0);
	emit_load(p, arg + 1, false);
	emit(p, BPF_ALU | BPF_ADD | BPF_X, 0, 0, 0);
	emit(p, BPF_ST, 0, 0, 0); /* M[0]: low half of the end */
	emit(p, BPF_JMP | BPF_JGE | BPF_X, 0, 3, 0); /* no carry: skip three */
	emit_load(p, arg + 1, true);
	emit(p, BPF_ALU | BPF_ADD | BPF_K, 1, 0, 0);
	emit(p, BPF_JMP | BPF_JA, 1, 0, 0);
	emit_load(p, arg + 1, true);
	emit(p, BPF_MISC | BPF_TAX, 0, 0, 0);
	emit_load(p, arg, true);
	emit(p, BPF_ALU | BPF_ADD | BPF_X, 0, 0, 0); /* high half of the end */
	emit(p, BPF_JMP | BPF_JGT | BPF_K, ZONE_BASE >> 32, TO_FAIL, 0);
	emit(p, BPF_JMP | BPF_JEQ | BPF_K, ZONE_BASE >> 32, 0, TO_PASS);
	emit(p, BPF_LD | BPF_MEM, 0, 0, 0);
	emit(p, BPF_JMP | BPF_JEQ | BPF_K, 0, TO_PASS, TO_FAIL);
	resolve(p, start, TO_PASS, p->len);
}

static void emit_rule(struct program *p, const struct rule *r)
{
	unsigned start = p->len;

	emit(p, BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr), 0, 0);
	emit(p, BPF_JMP | BPF_JEQ | BPF_K, r->nr, 0, TO_FAIL);
	for (size_t i = 0; i < ARRAY_LEN(r->check); i++) {
		struct check c = r->check[i];

		if (c.kind == CHECK_KEY)
			c.value = *c.key;
		if (c.kind == CHECK_OUTSIDE)
			emit_outside(p, c.arg);
		else if (c.kind != CHECK_NONE)
			emit_masked(p, &c);
	}
	emit(p, BPF_RET | BPF_K, SECCOMP_RET_ALLOW, 0, 0);
	resolve(p, start, TO_FAIL, p->len);
}

static void emit_trapped(struct program *p, const struct table *t)
{
	emit(p, BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, instruction_pointer) + 4, 0, 0);
	emit(p, BPF_JMP | BPF_JEQ | BPF_K, ~0u, 1, 0);
	emit(p, BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS, 0, 0);
	emit(p, BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr), 0, 0);
	for (size_t i = 0; i < t->n_trapped; i++) {
		emit(p, BPF_JMP | BPF_JEQ | BPF_K, t->trapped[i], 0, 1);
		emit(p, BPF_RET | BPF_K, SECCOMP_RET_TRAP, 0, 0);
	}
}

static void emit_rules(struct program *p, const struct rule *r, size_t n)
{
	for (; n--; r++)
		if (!(r->unless && *r->unless) && !(r->only_if && !*r->only_if))
			emit_rule(p, r);
}

static void build(struct program *p, const struct table *t)
{
	p->len = 0;
	emit(p, BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch), 0, 0);
	emit(p, BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0);
	emit(p, BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS, 0, 0);
	emit_rules(p, t->more, t->n_more);
	emit_rules(p, t->rules, t->n_rules);
	if (t->n_trapped)
		emit_trapped(p, t);
	emit(p, BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS, 0, 0);
}

static int confine(const struct table *t)
{
	struct program p;
	struct sock_fprog prog = { 0, p.insn };
	long rc;

	build(&p, t);
	if (p.len > PROGRAM_MAX)
		return -E2BIG;
	prog.len = (unsigned short)p.len;
	/* The mitigation that the flag turns off slows every store; a view has no secrets
	 * of its own to keep from the code it runs. Kernels before 4.17 lack the flag. */
	rc = sys_seccomp(SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, &prog);
	if (rc == -EINVAL)
		rc = sys_seccomp(SECCOMP_SET_MODE_FILTER, 0, &prog);
	return (int)rc;
}

int seccomp_confine(bool uffd)
{
	return confine(&(struct table){ .rules = rules, .n_rules = ARRAY_LEN(rules), .more = uffd_rules,
					.n_more = uffd ? ARRAY_LEN(uffd_rules) : 0, .trapped = trapped,
					.n_trapped = ARRAY_LEN(trapped) });
}

int seccomp_confine_tracer(void)
{
	return confine(&(struct table){ .rules = tracer_rules, .n_rules = ARRAY_LEN(tracer_rules) });
}
