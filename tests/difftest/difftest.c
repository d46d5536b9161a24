/* Differential test: runs random user-mode instruction sequences and hashes everything
 * that they leave behind. The same seed must give the same output on the bare CPU and
 * under any engine.
 *
 * Static, freestanding, no libc: nothing runs but what is here. Each sequence depends on
 * (seed, number, features) only, so any one can be run again alone. Its initial registers,
 * flags, vector and x87 state and memory are random; it ends by itself or by a signal,
 * whose context is part of the result. Excluded, because one CPU does not repeat it or CPUs
 * differ without any engine being at fault: time stamps, random numbers, CPUID; and, but
 * for -strict, x87 instruction pointers and alignment checks. */
#include "difftest.h"

#define SYS_write 1
#define SYS_mmap 9
#define SYS_rt_sigaction 13
#define SYS_rt_sigreturn 15
#define SYS_setitimer 38
#define SYS_ftruncate 77
#define SYS_sigaltstack 131
#define SYS_arch_prctl 158
#define SYS_exit_group 231
#define SYS_memfd_create 319

enum { SIGILL = 4, SIGTRAP = 5, SIGBUS = 7, SIGFPE = 8, SIGSEGV = 11, SIGALRM = 14 };
#define BATCH 1000
#define POOL_WORDS 4096
#define HANG_TICKS 60

struct misc {
	u64 entry, exit, host_rsp;
	i32 fuel;
	u32 pad;
	u32 feat;
	u32 in_sequence;
};
#define IN ((struct state *)CTL_IN)
#define OUT ((struct state *)CTL_OUT)
#define MISC ((struct misc *)CTL_MISC)

_Static_assert(__builtin_offsetof(struct state, rflags) == ST_FLAGS, "");
_Static_assert(__builtin_offsetof(struct state, mxcsr) == ST_MXCSR, "");
_Static_assert(__builtin_offsetof(struct state, fpu) == ST_FPU, "");
_Static_assert(__builtin_offsetof(struct state, k) == ST_K, "");
_Static_assert(__builtin_offsetof(struct state, zmm) == ST_ZMM, "");

/* The kernel's signal frame, as far as we look. */
struct sigctx {
	u64 r[16]; /* r8-r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp */
	u64 rip, eflags, segs, err, trapno, oldmask, cr2;
};
struct ucontext { u64 flags, link, stack[3]; struct sigctx mc; };
struct siginfo { i32 signo, err, code, pad; u64 addr; };
struct ksigaction { void *handler; u64 flags; void *restorer; u64 mask; };

extern void dt_run(void), dt_exit(void), dt_restorer(void);

u32 features;
static u64 pool[POOL_WORDS + 512];
static const u64 *data_was, *stack_was; /* what a sequence began with */
static u64 seed = 1, current, hang_seq = ~0UL;
static u32 hang_ticks, ended[32];
static u32 code_len;
static u8 code_buf[8192];

static i64 sys(i64 n, u64 a, u64 b, u64 c, u64 d, u64 e, u64 f)
{
	register u64 r10 asm("r10") = d;
	register u64 r8 asm("r8") = e;
	register u64 r9 asm("r9") = f;
	i64 ret;

	asm volatile("syscall" : "=a"(ret) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8),
		     "r"(r9) : "rcx", "r11", "memory");
	return ret;
}

/* --- text ----------------------------------------------------------------------- */
static char line[512];
static u32 line_len;

static void flush(void)
{
	/* The alarm may interrupt it. */
	for (u32 done = 0; done < line_len;) {
		i64 n = (i64)sys(SYS_write, 1, (u64)line + done, line_len - done, 0, 0, 0);
		if (n > 0)
			done += (u32)n;
		else if (n != -4 /* EINTR */)
			break;
	}
	line_len = 0;
}

static void putch(char c)
{
	line[line_len++] = c;
	if (c == '\n' || line_len == sizeof(line))
		flush();
}

static void puts_(const char *s)
{
	while (*s)
		putch(*s++);
}

static void put_hex(u64 v, u32 digits)
{
	while (digits--)
		putch("0123456789abcdef"[(v >> (digits * 4)) & 15]);
}

static void put_dec(u64 v)
{
	char b[24];
	u32 n = 0;

	do
		b[n++] = '0' + v % 10;
	while (v /= 10);
	while (n)
		putch(b[--n]);
}

static void hex_field(const char *name, u64 v, u32 digits)
{
	puts_(name);
	put_hex(v, digits);
}

static void dec_field(const char *name, u64 v)
{
	puts_(name);
	put_dec(v);
}

static void die(const char *s)
{
	puts_("difftest: ");
	puts_(s);
	putch('\n');
	sys(SYS_exit_group, 2, 0, 0, 0, 0, 0);
}

/* --- set-up ------------------------------------------------------------------------ */
static void cpuid(u32 leaf, u32 sub, u32 r[4])
{
	asm volatile("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3]) : "a"(leaf), "c"(sub));
}

static u32 probe_features(bool fsgsbase)
{
	u32 a[4], b[4], e[4], f = 0, xcr0 = 0;

	cpuid(0, 0, a);
	u32 max = a[0];
	cpuid(1, 0, a);
	b[1] = b[2] = 0;
	if (max >= 7)
		cpuid(7, 0, b);
	cpuid(0x80000001, 0, e);
	if (a[2] & 1 << 27)
		asm volatile("xgetbv" : "=a"(xcr0) : "c"(0) : "edx");
	static const struct { u8 bit; u32 f; } c1[] = {
		{ 0, F_SSE3 }, { 9, F_SSSE3 }, { 19, F_SSE41 }, { 20, F_SSE42 }, { 1, F_PCLMUL },
		{ 13, F_CX16 }, { 22, F_MOVBE }, { 23, F_POPCNT }, { 25, F_AES } };
	for (u32 i = 0; i < ARRAY_SIZE(c1); i++)
		f |= a[2] >> c1[i].bit & 1 ? c1[i].f : 0;
	f |= b[1] & 8 ? F_BMI1 : 0;
	f |= b[1] & 0x100 ? F_BMI2 : 0;
	f |= b[1] & 1 << 19 ? F_ADX : 0;
	f |= b[1] & 1 << 23 ? F_CLFLUSHOPT : 0;
	f |= e[2] & 0x20 ? F_LZCNT : 0;
	f |= e[2] & 1 ? F_LAHF : 0;
	f |= fsgsbase ? F_FSGSBASE : 0;
	if ((xcr0 & 6) == 6) {
		f |= a[2] & 1 << 28 ? F_AVX : 0;
		f |= a[2] & 1 << 12 ? F_FMA : 0;
		f |= a[2] & 1 << 29 ? F_F16C : 0;
		f |= b[1] & 0x20 ? F_AVX2 : 0;
	}
	u32 need = 1 << 16 | 1 << 17 | 1 << 28 | 1 << 30 | 1u << 31;
	if ((xcr0 & 0xe6) == 0xe6 && (b[1] & need) == need) {
		f |= F_AVX512;
		f |= b[2] & 1 << 11 ? F_VNNI : 0;
	}
	return f;
}

static void map(u64 at, u64 len, u32 prot, i64 fd)
{
	u64 flags = fd < 0 ? 0x32 : 0x11; /* private anonymous or shared; fixed */

	if (sys(SYS_mmap, at, len, prot, flags, (u64)fd, 0) != (i64)at)
		die("cannot map memory at a fixed address");
}

static void set_up_memory(void)
{
	i64 fd = sys(SYS_memfd_create, (u64)"data", 0, 0, 0, 0, 0);

	if (fd < 0 || sys(SYS_ftruncate, (u64)fd, DATA_SIZE, 0, 0, 0, 0) < 0)
		die("memfd_create failed");
	map(DATA_LO, DATA_SIZE, 3, fd);
	map(DATA_HI, DATA_SIZE, 3, fd);
	map(RO_PAGE, 0x1000, 3, -1);
	map(NONE_PAGE, 0x1000, 0, -1);
	map(STACK_BASE, STACK_SIZE, 3, -1);
	map(CTL_BASE, 0x20000, 3, -1);
	for (u64 i = 0; i < CODE_SLOTS; i++) {
		map(CODE_BASE + i * CODE_SLOT, CODE_ROOM, 7, -1);
		__builtin_memset((void *)(CODE_BASE + i * CODE_SLOT), 0xcc, CODE_ROOM);
	}
	rnd_seed(seed, ~0UL);
	for (u32 i = 0; i < ARRAY_SIZE(pool); i++)
		pool[i] = rnd_value();
	__builtin_memcpy((void *)RO_PAGE, pool, 0x1000);
	sys(10 /* mprotect */, RO_PAGE, 0x1000, 1, 0, 0, 0);
}

static void on_signal(i32 sig, struct siginfo *si, struct ucontext *uc)
{
	struct sigctx *mc = &uc->mc;

	if (sig == SIGALRM) {
		if (!MISC->in_sequence || hang_seq != current) {
			hang_seq = current;
			hang_ticks = 0;
			return;
		}
		if (++hang_ticks < HANG_TICKS)
			return;
	} else if (!MISC->in_sequence) {
		dec_field("difftest: signal ", (u64)sig);
		hex_field(" outside a sequence at ", mc->rip, 16);
		hex_field(" address ", si->addr, 16);
		dec_field(" sequence ", current);
		die("");
	}
	OUT->signo = (u64)sig;
	OUT->code = (u64)si->code;
	OUT->addr = si->addr;
	OUT->rip = mc->rip;
	OUT->trapno = mc->trapno;
	OUT->err = mc->err;
	OUT->cr2 = mc->trapno == 14 ? mc->cr2 : 0; /* stale for all others */
	OUT->efl = mc->eflags;
	mc->rip = (u64)dt_exit;
	mc->eflags &= ~0x50100UL; /* RF, AC, TF */
	MISC->in_sequence = 0;
}

static void set_up_signals(void)
{
	struct { void *sp; u64 flags, size; } ss = { (void *)(CTL_BASE + 0x8000), 0, 0x18000 };
	static const u8 sigs[] = { SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV, SIGALRM };
	struct ksigaction sa = { (void *)on_signal, 0x4c000004 /* SIGINFO, RESTORER, ONSTACK, NODEFER */,
				 (void *)dt_restorer, 0 };
	u64 it[4] = { 1, 0, 1, 0 };

	sys(SYS_sigaltstack, (u64)&ss, 0, 0, 0, 0, 0);
	for (u32 i = 0; i < ARRAY_SIZE(sigs); i++)
		sys(SYS_rt_sigaction, sigs[i], (u64)&sa, 0, 8, 0, 0);
	sys(SYS_setitimer, 0, (u64)it, 0, 0, 0, 0);
}

/* --- one sequence ------------------------------------------------------------------ */
static void init_state(void)
{
	struct state *s = IN;

	data_was = pool + rn(POOL_WORDS - 1024);
	stack_was = pool + rn(POOL_WORDS - 1024);
	__builtin_memcpy((void *)DATA_LO, data_was, DATA_SIZE);
	__builtin_memcpy((void *)STACK_BASE, stack_was, STACK_SIZE);
	__builtin_memcpy(s->zmm, pool + rn(POOL_WORDS), sizeof(s->zmm));
	__builtin_memcpy(s->k, pool + rn(POOL_WORDS), sizeof(s->k));
	for (u32 i = 0; i < 16; i++)
		s->gpr[i] = rnd_value();
	s->gpr[4] = STACK_BASE + (chance(80) ? 4096 + rn(256) * 8 : 4096 + (u64)rn(16) * 8);
	if (chance(4))
		s->gpr[4] += rn(8);
	s->rflags = (rnd() & 0x8d5) | 0x202 | (chance(10) ? 0x400 : 0);
	s->mxcsr = chance(70) ? 0x1f80 : 0x1f80 | (rnd() & 0xe03f);
	if (chance(3))
		s->mxcsr &= ~(u32)(1 << (7 + rn(6)));

	u16 cw = chance(70) ? 0x37f : 0x7f | (rnd() & 0xf00);
	u16 sw = chance(50) ? 0 : rnd() & 0x7f00 & ~0x80;
	u16 tw = chance(40) ? 0xffff : chance(50) ? 0 : rnd();
	if (chance(2))
		cw &= ~(1 << rn(6));
	__builtin_memset(s->fpu, 0, sizeof(s->fpu));
	__builtin_memcpy(s->fpu, &cw, 2);
	__builtin_memcpy(s->fpu + 4, &sw, 2);
	__builtin_memcpy(s->fpu + 8, &tw, 2);
	for (u32 i = 0; i < 8; i++) {
		u64 m = rnd_value();
		u16 e = chance(80) ? 0x3fff + rn(64) - 32 : (u16)rnd();
		if (chance(80))
			m |= 1UL << 63;
		if (chance(50))
			e |= 0x8000;
		__builtin_memcpy(s->fpu + 28 + 10 * i, &m, 8);
		__builtin_memcpy(s->fpu + 36 + 10 * i, &e, 2);
	}
}

/* Of the words that differ from those at ref, which is the same everywhere: one string
 * instruction finds the next, where single loads are slow. */
static u64 hash_mem(u64 h, const void *p, const void *ref, u32 len)
{
	const u64 *w = p, *r = ref;
	u64 n = len / 8;

	while (n) {
		bool same;

		asm volatile("repe cmpsq" : "+S"(w), "+D"(r), "+c"(n), "=@ccz"(same) : : "memory");
		if (same)
			break;
		h = (h ^ w[-1]) * 0xff51afd7ed558ccd;
		h = (h ^ (h >> 29) ^ n) * 0xc4ceb9fe1a85ec53;
		h ^= h >> 31;
	}
	return h;
}

static void normalise(struct state *o)
{
	if (features & F_STRICT)
		return;
	__builtin_memset(o->fpu + 12, 0, 16); /* instruction and data pointers */
	/* FNSAVE leaves reserved halves set; they are constant, keep them */
}

static u64 run_one(u64 n)
{
	struct state *o = OUT;

	current = n;
	rnd_seed(seed, n);
	init_state();
	u32 off = chance(50) ? rn(4096) : 4096 - rn(400);
	if (chance(3))
		off = CODE_ROOM - 1 - rn(300);
	u64 at = CODE_BASE + (n % CODE_SLOTS) * CODE_SLOT + off;
	u32 len = gen_sequence(code_buf, 4000, at);
	if (len > CODE_ROOM - off)
		len = CODE_ROOM - off; /* runs into the hole */
	code_len = len;
	__builtin_memcpy((void *)at, code_buf, len);
	__builtin_memset(o, 0, sizeof(*o));
	MISC->entry = at;
	MISC->exit = (u64)dt_exit;
	MISC->fuel = 40;
	MISC->in_sequence = 1;
	dt_run();
	MISC->in_sequence = 0;
	/* a wild jump must find the same wherever the run started */
	__builtin_memset((void *)at, 0xcc, len);
	if (o->signo == SIGALRM) { /* where it hung is not defined */
		__builtin_memset(o, 0, sizeof(*o));
		o->signo = SIGALRM;
		__builtin_memset((void *)DATA_LO, 0, DATA_SIZE);
		__builtin_memset((void *)STACK_BASE, 0, STACK_SIZE);
		dec_field("hang ", n);
		putch('\n');
	}
	ended[o->signo & 31]++;
	normalise(o);
	u64 h = hash_mem(n, o, IN, sizeof(*o));
	h = hash_mem(h, (void *)DATA_LO, data_was, DATA_SIZE);
	return hash_mem(h, (void *)STACK_BASE, stack_was, STACK_SIZE);
}

/* --- verbose dump ------------------------------------------------------------------ */
static void dump_bytes(const char *name, const u8 *p, u32 n)
{
	puts_(name);
	for (u32 i = 0; i < n; i++)
		put_hex(p[i], 2);
	putch('\n');
}

static void dump_state(const char *what, const struct state *s)
{
	static const char names[16][4] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
					   "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15" };

	for (u32 i = 0; i < 16; i++) {
		puts_(what);
		puts_(names[i]);
		putch(' ');
		put_hex(s->gpr[i], 16);
		putch('\n');
	}
	puts_(what);
	hex_field("rflags ", s->rflags, 8);
	hex_field(" mxcsr ", s->mxcsr, 8);
	putch('\n');
	puts_(what);
	dump_bytes("fpu ", s->fpu, 108);
	for (u32 i = 0; i < 8; i++) {
		puts_(what);
		hex_field("k ", s->k[i], 16);
		putch('\n');
	}
	for (u32 i = 0; i < 32; i++) {
		puts_(what);
		dec_field("zmm", i);
		putch(' ');
		for (u32 j = 64; j--;)
			put_hex(s->zmm[i][j], 2);
		putch('\n');
	}
}

static void dump_memory(u64 at, u64 len)
{
	for (u64 a = at; a < at + len; a += 32) {
		hex_field("mem ", a, 8);
		for (u32 i = 0; i < 4; i++) {
			putch(' ');
			put_hex(*(u64 *)(a + 8 * i), 16);
		}
		putch('\n');
	}
}

static void dump(u64 h)
{
	const struct state *o = OUT;

	hex_field("address ", MISC->entry, 16);
	putch('\n');
	dump_bytes("code ", code_buf, code_len);
	dump_state("in ", IN);
	dump_state("out ", o);
	dec_field("signal ", o->signo);
	hex_field(" code ", o->code, 8);
	hex_field(" addr ", o->addr, 16);
	hex_field(" rip ", o->rip, 16);
	dec_field(" trapno ", o->trapno);
	hex_field(" err ", o->err, 8);
	hex_field(" cr2 ", o->cr2, 16);
	hex_field(" eflags ", o->efl, 8);
	putch('\n');
	dump_memory(DATA_LO, DATA_SIZE);
	dump_memory(STACK_BASE, STACK_SIZE);
	hex_field("hash ", h, 16);
	putch('\n');
}

/* --- command line ------------------------------------------------------------------ */
static u64 number(const char *s)
{
	u64 v = 0;
	u32 base = 10;

	if (!s)
		die("option needs a number");
	if (s[0] == '0' && s[1] == 'x') {
		base = 16;
		s += 2;
	}
	for (; *s; s++) {
		u32 d = *s >= 'a' ? (u32)(*s - 'a' + 10) : (u32)(*s - '0');
		if (d >= base)
			die("bad number");
		v = v * base + d;
	}
	return v;
}

static bool same(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

static bool fsgsbase_allowed(u64 *sp)
{
	u64 *p = sp + 1 + sp[0] + 1;

	while (*p++) /* environment */
		;
	for (; p[0]; p += 2)
		if (p[0] == 26 /* AT_HWCAP2 */)
			return p[1] & 2;
	return false;
}

static const char usage[] =
	"usage: difftest [-seed S] [-from N] [-count C] [-only N] [-v] [-each] [-strict]\n"
	"                [-features 0xMASK] [-stats] [-repeat R]\n";

static struct { u64 from, count, repeat; u32 mask; bool each, stats, strict, verbose; } opt = {
	.count = 10000, .repeat = 1, .mask = ~0u };

static void parse(u64 argc, char **argv)
{
	for (u64 i = 1; i < argc; i++) {
		const char *a = argv[i], *v = i + 1 < argc ? argv[i + 1] : NULL;
		if (same(a, "-seed")) seed = number(v), i++;
		else if (same(a, "-from")) opt.from = number(v), i++;
		else if (same(a, "-count")) opt.count = number(v), i++;
		else if (same(a, "-only")) opt.from = number(v), opt.count = 1, opt.each = true, i++;
		else if (same(a, "-repeat")) opt.repeat = number(v), i++;
		else if (same(a, "-features")) opt.mask = (u32)number(v), i++;
		else if (same(a, "-v")) opt.verbose = true;
		else if (same(a, "-each")) opt.each = true;
		else if (same(a, "-stats")) opt.stats = true;
		else if (same(a, "-strict")) opt.strict = true;
		else die(usage);
	}
}

static void set_up_features(u64 *sp)
{
	features = probe_features(fsgsbase_allowed(sp)) & opt.mask;
	MISC->feat = features;
	if (opt.strict)
		features |= F_STRICT;
	if (!(features & F_FSGSBASE)) {
		sys(SYS_arch_prctl, 0x1002, FS_BASE, 0, 0, 0, 0);
		sys(SYS_arch_prctl, 0x1001, GS_BASE, 0, 0, 0, 0);
	}
}

static void print_one(u64 n, u64 hash)
{
	dec_field("seq ", n);
	putch(' ');
	put_hex(hash, 16);
	dec_field(" sig ", OUT->signo);
	dec_field(" trap ", OUT->trapno);
	hex_field(" rip ", OUT->rip, 8);
	hex_field(" err ", OUT->err, 2);
	hex_field(" addr ", OUT->addr, 16);
	putch('\n');
}

static u64 run_and_print(u64 n)
{
	u64 one = run_one(n);

	for (u64 r = 1; r < opt.repeat; r++)
		if (run_one(n) != one) {
			dec_field("unstable ", n);
			putch('\n');
		}
	if (opt.verbose)
		dump(one);
	if (opt.each)
		print_one(n, one);
	return one;
}

static u64 run_all(void)
{
	u64 total = 0, h = 0;

	for (u64 n = opt.from; n < opt.from + opt.count; n++) {
		h = (h ^ run_and_print(n)) * 0x9e3779b97f4a7c15;
		h ^= h >> 32;
		if ((n + 1) % BATCH == 0 || n + 1 == opt.from + opt.count) {
			dec_field("batch ", n / BATCH);
			putch(' ');
			put_hex(h, 16);
			putch('\n');
			total = (total ^ h) * 0xff51afd7ed558ccd;
			h = 0;
		}
	}
	return total;
}

static void print_endings(void)
{
	for (u32 i = 0; i < 32; i++)
		if (ended[i]) {
			dec_field("ended ", i);
			putch(' ');
			put_dec(ended[i]);
			putch('\n');
		}
}

int dt_main(u64 *sp)
{
	u64 total;

	parse(sp[0], (char **)(sp + 1));
	set_up_memory();
	set_up_features(sp);
	set_up_signals();
	dec_field("difftest seed ", seed);
	hex_field(" features 0x", features, 8);
	putch('\n');
	total = run_all();
	if (opt.stats)
		print_endings();
	hex_field("done ", total, 16);
	putch('\n');
	return 0;
}

/* The compiler may ask for these. */
void *memcpy(void *d, const void *s, u64 n)
{
	void *r = d;
	asm volatile("rep movsb" : "+D"(d), "+S"(s), "+c"(n) : : "memory");
	return r;
}
void *memset(void *d, int c, u64 n)
{
	void *r = d;
	asm volatile("rep stosb" : "+D"(d), "+c"(n) : "a"(c) : "memory");
	return r;
}
