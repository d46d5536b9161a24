/* Page-table entries against accesses: every combination of the leaf's bits with those of
 * one upper level, for 4 KiB, 2 MiB and 1 GiB pages, under every setting of CR0.WP,
 * EFER.NXE (SMEP, SMAP, RFLAGS.AC where offered), read, written and fetched by the kernel and
 * by user code, compared with a model of SDM vol. 3, 4.6 to 4.8 and 4.10.
 *
 * Each combination follows an INVLPG or a CR3 reload. After it the entries get all rights
 * without an invalidation: an entry that was absent must work at once, one that only had
 * fewer rights may fault once more, as the manual allows.
 *
 * Where the manual leaves a choice (accessed flags after a fault), both are accepted.
 * Command line: stride=N tries one combination in N (1: all). */
#include "lib.h"

#define RSV (1UL << 51)
enum access { KR, KW, KX, UR, UW, UX, ACCESSES };
enum { CTL_WP = 1, CTL_NXE = 2, CTL_SMEP = 4, CTL_SMAP = 8, CTL_AC = 16 };
#define AC 0x40000UL
enum { ERR_P = 1, ERR_W = 2, ERR_U = 4, ERR_RSVD = 8, ERR_I = 16 };
#define LARGE_PA 0x5000000UL

/* Low, folded high, high that does not fold, shadowbox's own place; the first two are one
 * host address there. */
static const u64 places[] = { 130UL << 39, 0xffffc90000000000 & ~((1UL << 39) - 1),
			      0xffff820000000000, 0x76a000000000 };
SNIP(load, "mov (%rsi),%rax");
SNIP(store, "mov %rax,(%rsi)");
SNIP(load_ac, "stac; mov (%rsi),%rax; clac");
SNIP(store_ac, "stac; mov %rax,(%rsi); clac");
SNIP(load_no_ac, "clac; mov (%rsi),%rax");
SNIP(store_no_ac, "clac; mov %rax,(%rsi)");

static struct regs r;
static struct combo {
	u64 va, pa;    /* accessed, and where that is */
	int leaf;      /* level */
	u64 e[5];      /* entries by level, as set */
	u64 *ptr[5];
	u32 ctl;
} c;
static u64 table[5], user_load, user_store, tried;

static void set_ctl(u32 ctl)
{
	u64 cr4 = rd_cr4() & ~(3UL << 20), efer = rdmsr(0xc0000080) & ~0x800UL;

	wr_cr0((rd_cr0() & ~0x10000UL) | (ctl & CTL_WP ? 0x10000 : 0));
	wrmsr(0xc0000080, efer | (ctl & CTL_NXE ? 0x800 : 0));
	wr_cr4(cr4 | (ctl & CTL_SMEP ? 1 << 20 : 0) | (ctl & CTL_SMAP ? 1 << 21 : 0));
	c.ctl = ctl;
}

/* The error code that the entries in memory demand, or -1; *seen: the last level read. */
static int predict(enum access a, int *seen)
{
	bool user = a >= UR, w = a == KW || a == UW, x = a == KX || a == UX;
	u64 all = RW | US, any = 0;
	int err = (w ? ERR_W : 0) | (user ? ERR_U : 0) | (x && c.ctl & (CTL_NXE | CTL_SMEP) ? ERR_I : 0);

	for (int l = 4; l >= c.leaf; l--) {
		u64 e = *c.ptr[l], rsv = RSV | (c.ctl & CTL_NXE ? 0 : NX);

		*seen = l;
		if (!(e & P))
			return err;
		if (l == 4)
			rsv |= PS;
		else if (l > 1 && l == c.leaf)
			rsv |= ((1UL << (3 + 9 * l)) - 1) & ~0x1fffUL;
		if (e & rsv)
			return err | ERR_P | ERR_RSVD;
		all &= e;
		any |= e;
	}
	bool deny = (user && !(all & US)) || (x && any & NX) ||
		    (w && !(all & RW) && (user || c.ctl & CTL_WP)) ||
		    (x && !user && all & US && c.ctl & CTL_SMEP) ||
		    (!x && !user && all & US && (c.ctl & (CTL_SMAP | CTL_AC)) == CTL_SMAP);
	return deny ? err | ERR_P : -1;
}

/* RFLAGS.AC comes from IRET, or from STAC or CLAC before the access. */
static int run_kernel(const char *plain, const char *with, const char *without)
{
	static u32 turn;

	if (!(c.ctl & CTL_SMAP) || ++turn % 2) {
		r.rflags |= c.ctl & CTL_AC ? AC : 0;
		return run(&r, plain);
	}
	r.rflags |= turn & 2 ? AC : 0;
	return run(&r, c.ctl & CTL_AC ? with : without);
}

static int perform(enum access a, u64 value)
{
	regs_init(&r);
	r.rsi = c.va;
	r.rax = value;
	switch (a) {
	case KR: return run_kernel(load, load_ac, load_no_ac);
	case KW: return run_kernel(store, store_ac, store_no_ac);
	case KX: return run(&r, (void *)c.va);
	case UR: return run_user_at(&r, user_load);
	case UW: return run_user_at(&r, user_store);
	default: return run_user_at(&r, c.va);
	}
}

static void show(const char *what, enum access a, int want)
{
	static const char *const names[] = { "kernel read", "kernel write", "kernel fetch",
					     "user read", "user write", "user fetch" };

	fail("%s: %s at %lx ctl %x, want %d, got vector %lu error %lx cr2 %lx, case %lu", what, names[a],
	     c.va, c.ctl, want, r.vec, r.err, last_cr2, tried);
	for (int l = 4; l >= c.leaf; l--)
		print("  level %d: set %lx now %lx\n", l, c.e[l], *c.ptr[l]);
}

static void check_entries(enum access a, int want, const u64 *before, int seen)
{
	for (int l = 4; l >= c.leaf; l--) {
		u64 now = *c.ptr[l], must = A | (l == c.leaf && (a == KW || a == UW) ? D : 0);

		if (want < 0 ? now != (before[l] | must) :
			       (now & ~(u64)A) != (before[l] & ~(u64)A) ||
			       ((now ^ before[l]) & A && (!(before[l] & P) || l < seen || !(now & A))))
			show("accessed and dirty", a, want);
	}
}

static void check(enum access a, bool spurious_ok)
{
	static u64 serial;
	u64 before[5], *mem = virt(c.pa), old = *mem;
	u64 value = ++serial << 16 | 0x81cd;
	int seen = 4, want = predict(a, &seen);

	for (int l = 4; l >= c.leaf; l--)
		before[l] = *c.ptr[l];
	last_cr2 = 0x5555;
	int v = perform(a, value);
	if (v == 14 && want < 0 && spurious_ok && r.err & ERR_P && !(r.err & ERR_RSVD) && last_cr2 == c.va)
		v = perform(a, value); /* the fault has dropped the old translation */
	if (want < 0 ? v != VEC_EXIT : v != 14) {
		show("vector", a, want);
		return;
	}
	if (want >= 0 && ((r.err | (want & ERR_RSVD && tcg())) != (u64)want || last_cr2 != c.va))
		show("fault", a, want);
	check_entries(a, want, before, seen);
	bool w = want < 0 && (a == KW || a == UW);
	if (*mem != (w ? value : old) || (want < 0 && (a == KR || a == UR) && r.rax != old))
		show("data", a, want);
}

static u64 upper_bits(u32 n)
{
	return (n & 1 ? P : 0) | (n & 2 ? RW : 0) | (n & 4 ? US : 0) | (n & 8 ? A : 0) | (n & 16 ? NX : 0);
}

static void put(int l, u64 to, u64 bits)
{
	c.e[l] = to | bits;
	*c.ptr[l] = c.e[l];
}

static void invalidate(u32 how)
{
	if (how & 1)
		flush_tlb();
	else if (c.leaf > 1 && !tcg()) /* which would keep what it knows of code */
		invlpg((c.va & ~((1UL << (3 + 9 * c.leaf)) - 1)) + (how * 0x1000UL & 0x1ff000)); /* any address inside */
	else
		invlpg(c.va);
}

/* n: 64 settings of the upper level, 128 of the leaf. */
static void combination(int upper, u32 n, u32 how)
{
	u64 full = P | RW | US | A, u = upper_bits(n), leaf = upper_bits(n >> 6) | (n >> 11 & 1 ? D : 0);
	u64 to = c.leaf == 1 ? c.pa & ~0xfffUL : c.leaf == 2 ? LARGE_PA : 0;
	enum access a = how % ACCESSES;

	if (n & 32)
		u |= upper == 4 && how & 4 ? PS : RSV;
	if (n >> 12 & 1)
		leaf |= c.leaf > 1 && how & 4 ? 0x2000 : RSV;
	if (!(c.ctl & CTL_NXE))
		full &= ~NX;
	for (int l = 4; l > c.leaf; l--)
		put(l, table[l - 1], l == upper ? u : full);
	put(c.leaf, to, leaf | (c.leaf > 1 ? PS : 0));
	invalidate(how >> 3);
	for (u32 i = 0; i < ACCESSES; i++)
		check((a + i) % ACCESSES, false);
	for (int l = 4; l >= c.leaf; l--) {
		u64 e = *c.ptr[l];
		e &= ~(NX | RSV | (l == 4 ? PS : 0) | (l == c.leaf && l > 1 ? 0x2000 : 0));
		/* to SMEP and SMAP, U/S is no right: the old translation may still be used */
		*c.ptr[l] = e | P | RW | (c.ctl & (CTL_SMEP | CTL_SMAP) ? 0 : US);
	}
	check(a, true);
	tried++;
}

static void place_set(u64 base, int leaf, u32 how)
{
	static const u64 offs[] = { 0, 0x7000, 0x1ff000, 0x33000 };
	u64 *root = virt(rd_cr3() & ~0xfffUL);

	c.leaf = leaf;
	c.pa = LARGE_PA + offs[how & 3];
	c.va = base + (leaf == 3 ? c.pa : leaf == 2 ? offs[how & 3] : 0x5000);
	c.ptr[4] = root + (c.va >> 39 & 511);
	for (int l = 3; l >= 1; l--)
		c.ptr[l] = (u64 *)virt(table[l]) + (c.va >> (3 + 9 * l) & 511);
}

static void combinations(int leaf)
{
	u64 stride = knob("stride", 23), n = 0;
	u32 ctls = 4;

	if (has(7, 1, 7) && has(7, 1, 20))
		ctls = 32;
	for (u32 i = 0; i < 4; i++)
		*(u64 *)virt(LARGE_PA + (const u64[]){ 0, 0x7000, 0x1ff000, 0x33000 }[i]) = 0x81cd;
	for (u32 ctl = 0; ctl < ctls; ctl++) {
		if ((ctl & CTL_AC) && !(ctl & CTL_SMAP))
			continue;
		set_ctl(ctl);
		for (u32 p = 0; p < ARRAY_SIZE(places); p++) {
			for (int upper = 4; upper > leaf; upper--)
				for (u32 i = 0; i < 64 * 128; i++, n++) {
					u32 how = (u32)(n * 0x9e3779b97f4a7c15UL >> 40);
					if (n % stride)
						continue;
					place_set(places[p], leaf, how);
					combination(upper, i, how);
				}
			*c.ptr[4] = 0;
			flush_tlb();
		}
	}
	set_ctl(CTL_WP | CTL_NXE);
}

static void prepare(void)
{
	if (table[1])
		return;
	for (int l = 1; l < 4; l++)
		table[l] = page_alloc();
	regs_init(&r);
	RUN_USER(&r, load); /* maps user code and stack */
	u64 code = *pte_of(UCODE, 1) & 0xffffffffff000;
	memcpy(virt(code + 0x100), load, (u64)(load_end - load));
	memcpy(virt(code + 0x200), store, (u64)(store_end - store));
	user_load = UCODE + 0x100;
	user_store = UCODE + 0x200;
}

static void small(void) { prepare(); combinations(1); }
static void large(void) { prepare(); combinations(2); }
static void huge(void)
{
	prepare();
	if (has(0x80000001, 3, 26))
		combinations(3);
	else
		skip("no 1 GiB pages");
	print("%lu combinations\n", tried);
}

const struct test tests[] = {
	{ "access.4k", small }, { "access.2m", large }, { "access.1g", huge }, { NULL, NULL },
};
