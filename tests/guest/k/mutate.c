/* Random page tables, changed at random by many kinds of instruction and through many
 * aliases, then walked by random accesses whose outcome a walker in here foretells.
 *
 * POOL pages of RAM are tables of every level, data, or both at once; any entry may point
 * to any of them, to all of them as a 2 MiB page, or to RAM as a 1 GiB page. So tables map
 * themselves and each other, are shared between roots, and turn into data and back. The
 * roots share the kernel's slots, have test slots of their own and one that is the root
 * itself. Some pool pages hold code, which is changed and fetched through whatever maps it.
 * SMEP and SMAP come and go where they are offered, and RFLAGS.AC with each access.
 *
 * Every access is preceded by the invalidation that the manual wants (SDM vol. 3, 4.10.4),
 * one of several. Writes land in the pool or in test slots only.
 *
 * Command line: steps=N, seed=N. The first failure ends the test and names both. */
#include "lib.h"

#define POOL_PA 0x4000000UL
#define POOL 28
#define CODE_PAGES 4 /* the first ones */
#define ROOTS 4
#define SELF 300 /* slot that maps the root itself */
#define RAM_END 0x8000000UL
#define PTE_ADDR 0xffffffffff000UL
#define CODE_WORD(id) (0xb8UL | (u64)(u32)(id) << 8 | 0x81cdUL << 40 | 0x90UL << 56)
#define SMALL_ALIAS (KTEST + 0x10000000)
#define LARGE_ALIAS (KTEST + 0x40000000)

SNIP(load, "mov (%rsi),%rax");
SNIP(store, "mov %rax,(%rsi)");
SNIP(load_ac, "stac; mov (%rsi),%rax; clac");
SNIP(store_ac, "stac; mov %rax,(%rsi); clac");

static const u16 slots[] = { 131, 403, 260, 237, SELF }; /* the first two fold together */
static const u16 idx[] = { 0, 1, 2, 3, 32, 300, 403, 511 };
static u64 seed, step, root[ROOTS], user_load, user_store, accesses, faults, fetches, pgd;
static struct regs r;
static bool stop, globals, ac;
#define SMEP (1UL << 20)
#define SMAP (1UL << 21)
#define AC 0x40000UL
static u64 guards; /* those of them that there are */

static bool huge; /* 1 GiB pages are there */
static u64 pool_page(u64 i) { return POOL_PA + i * 4096; }
static bool in_pool(u64 pa) { return pa >= POOL_PA && pa < pool_page(POOL); }
static bool in_code(u64 pa) { return pa >= POOL_PA && pa < pool_page(CODE_PAGES); }

/* --- the reference ------------------------------------------------------------------- */
struct path {
	u64 *ptr[4], e[4];
	int n, err; /* entries read; error code or -1 */
	u64 pa;
};

static void walk(u64 va, bool user, bool w, bool x, struct path *p)
{
	u64 table = rd_cr3() & PTE_ADDR, all = RW | US, any = 0, cr4 = rd_cr4();

	p->err = (w ? 2 : 0) | (user ? 4 : 0) | (x ? 16 : 0);
	p->n = 0;
	for (int l = 4;; l--) {
		u64 *ptr = (u64 *)virt(table) + (va >> (3 + 9 * l) & 511), e = *ptr;
		bool leaf = l == 1 || (l < 4 && e & PS);
		u64 size = 1UL << (3 + 9 * l), rsv = 1UL << 51 | (l == 4 ? PS : 0);

		p->ptr[p->n] = ptr;
		p->e[p->n++] = e;
		if (!(e & P))
			return;
		if (leaf && l > 1)
			rsv |= (size - 1) & ~0x1fffUL;
		if (e & rsv || (l == 3 && leaf && !huge)) {
			p->err |= 9;
			return;
		}
		all &= e;
		any |= e;
		table = e & PTE_ADDR;
		if (leaf) {
			p->pa = (table & ~(size - 1)) | (va & (size - 1));
			break;
		}
	}
	if ((user && !(all & US)) || (x && any & NX) || (w && !(all & RW) && (user || rd_cr0() & 0x10000)) ||
	    (!user && all & US && (x ? cr4 & SMEP : cr4 & SMAP && !ac)))
		p->err |= 1;
	else
		p->err = -1;
}

static void broken(const char *what, u64 va, u64 got, u64 want, const struct path *p)
{
	fail("%s at %lx: got %lx, want %lx; seed %lu step %lu cr3 %lx cr0 %lx cr4 %lx", what, va, got, want,
	     seed, step, rd_cr3(), rd_cr0(), rd_cr4());
	for (int i = 0; p && i < p->n; i++)
		print("  entry at %lx: before %lx now %lx\n", (u64)p->ptr[i] - DIRECT, p->e[i], *p->ptr[i]);
	stop = true;
}

/* --- accesses ------------------------------------------------------------------------ */
static u64 random_va(bool fetch)
{
	u64 s = slots[rnd() % 16 % ARRAY_SIZE(slots)], i = idx[rnd() % 8], va;

	if (s == SELF && !one_in(4))
		i = slots[rnd() % ARRAY_SIZE(slots)];
	va = s << 39 | i << 30 | (u64)idx[rnd() % 8] << 21 | (u64)idx[rnd() % 8] << 12 | (u64)idx[rnd() % 8] << 3;
	if (fetch)
		va &= ~63UL;
	return s & 256 ? va | 0xffff000000000000 : va;
}

static u64 entry(void)
{
	u64 e = (rnd() & (A | D)) | P, kind = rnd() % 32;

	e |= (one_in(8) ? 0 : RW) | (one_in(8) ? 0 : US) | (one_in(16) ? NX : 0) | (globals && one_in(3) ? G : 0);
	if (kind == 0)
		return one_in(2) ? 0 : (e & ~(u64)P) | pool_page(rnd() % POOL);
	if (kind == 1)
		return e | POOL_PA | PS;
	if (kind == 2)
		return e | PS;
	if (kind == 3 && one_in(4))
		return e | pool_page(rnd() % POOL) | 1UL << 51;
	return e | pool_page(one_in(12) ? rnd() % CODE_PAGES : CODE_PAGES + rnd() % (POOL - CODE_PAGES));
}

/* May be written, and with what; 0: not. */
static u64 value_for(u64 pa)
{
	if (in_code(pa))
		return pa & 63 ? 0 : CODE_WORD(rnd());
	if (in_pool(pa))
		return entry() | 2;
	for (u32 i = 0; i < ROOTS; i++)
		for (u32 s = 0; s < ARRAY_SIZE(slots) - 1; s++)
			if (pa == root[i] + 8 * slots[s])
				return entry() | 2;
	return 0;
}

static void check_marks(u64 va, const struct path *p, bool w, u64 written)
{
	for (int i = 0; i < p->n; i++) {
		u64 must = 0, now = *p->ptr[i];

		for (int j = 0; j < p->n; j++) /* an entry may serve two levels */
			if (p->ptr[j] == p->ptr[i])
				must |= A | (w && j == p->n - 1 ? D : 0);
		if ((u64)p->ptr[i] - DIRECT == written)
			continue;
		if (p->err < 0 ? now != (p->e[i] | must) : (now | A) != (p->e[i] | A) || (p->e[i] & A && !(now & A)) ||
						  (now != p->e[i] && !(now & P)))
			broken("accessed and dirty", va, now, p->e[i] | (p->err < 0 ? must : 0), p);
	}
}

static int perform(u64 va, u32 kind, u64 value)
{
	regs_init(&r);
	r.rsi = va;
	r.rax = value;
	last_cr2 = 0x5555;
	if (kind < 2 && ac && one_in(2))
		return run(&r, kind ? store_ac : load_ac);
	r.rflags |= kind < 3 && ac ? AC : 0;
	switch (kind) {
	case 0: return run(&r, load);
	case 1: return run(&r, store);
	case 2: return run(&r, (void *)va);
	case 3: return run_user_at(&r, user_load);
	case 4: return run_user_at(&r, user_store);
	default: return run_user_at(&r, va);
	}
}

static void access(u64 va, u32 kind)
{
	bool w = kind % 3 == 1, x = kind % 3 == 2;
	struct path p;
	u64 value = 0;

	walk(va, kind >= 3, w, x, &p);
	if (p.err < 0) {
		if (p.pa < 0x100000 || p.pa >= RAM_END || (x && (!in_code(p.pa) || va & 63)))
			return;
		if (w && !(value = value_for(p.pa)))
			return;
	}
	int v = perform(va, kind, value);
	accesses++;
	faults += p.err >= 0;
	fetches += p.err < 0 && x;
	if (p.err < 0 ? v != VEC_EXIT : v != 14) {
		broken("vector", va, r.vec, p.err < 0 ? VEC_EXIT : 14, &p);
		print("  access %u error %lx cr2 %lx\n", kind, r.err, last_cr2);
		return;
	}
	check_marks(va, &p, w, w && p.err < 0 ? p.pa : ~0UL);
	if (p.err >= 0) {
		if ((r.err | (p.err & 8 && tcg())) != (u64)p.err)
			broken("error code", va, r.err, (u64)p.err, &p);
		if (last_cr2 != va)
			broken("cr2", va, last_cr2, va, &p);
		return;
	}
	u64 now = *(u64 *)virt(p.pa);
	if (w && now != value)
		broken("written", va, now, value, &p);
	if (kind % 3 == 0 && r.rax != now)
		broken("read", va, r.rax, now, &p);
	if (x && r.rax != (now >> 8 & 0xffffffff))
		broken("executed", va, r.rax, now >> 8 & 0xffffffff, &p);
}

/* --- edits --------------------------------------------------------------------------- */
static u64 *alias(u64 pa)
{
	switch (rnd() % 3) {
	case 0: return virt(pa);
	case 1: return (u64 *)(SMALL_ALIAS + pa - POOL_PA);
	default: return (u64 *)(LARGE_ALIAS + pa - POOL_PA);
	}
}

static void write_entry(u64 *p, u64 v, u64 old)
{
	u64 tmp = old, sp;

	switch (rnd() % 11) {
	case 0: asm volatile("mov %1,%0" : "=m"(*p) : "r"(v)); break;
	case 1: asm volatile("xchg %1,%0" : "+m"(*p), "+r"(v)); break;
	case 2: asm volatile("lock cmpxchg %2,%0" : "+m"(*p), "+a"(tmp) : "r"(v) : "cc"); break;
	case 3: asm volatile("lock orq %1,%0; lock andq %1,%0" : "+m"(*p) : "r"(v) : "cc"); break;
	case 4: asm volatile("lock xorq %1,%0" : "+m"(*p) : "r"(v ^ old) : "cc"); break;
	case 5: asm volatile("movl %k0,(%1); shr $32,%0; movl %k0,4(%1)" : "+r"(v) : "r"(p) : "cc", "memory"); break;
	case 6:
		for (u32 i = 0; i < 8; i++)
			asm volatile("movb %b1,%0" : "=m"(((u8 *)p)[i]) : "q"(v >> 8 * i));
		break;
	case 7: asm volatile("movq %1,%%xmm0; movq %%xmm0,%0" : "=m"(*p) : "r"(v) : "memory"); break;
	case 8:
		asm volatile("mov %%rsp,%0; mov %1,%%rsp; push %2; mov %0,%%rsp"
			     : "=&r"(sp) : "r"(p + 1), "r"(v) : "memory");
		break;
	case 9: {
		u64 *dst = p, *src = &v, n = 8;
		asm volatile("rep movsb" : "+D"(dst), "+S"(src), "+c"(n) : : "memory");
		break;
	}
	default: {
		u64 *dst = p, n = 1;
		asm volatile("rep stosq" : "+D"(dst), "+c"(n) : "a"(v) : "memory");
	}
	}
}

static void edit_one(void)
{
	u64 pa = pool_page(CODE_PAGES + rnd() % (POOL - CODE_PAGES)) + 8 * idx[rnd() % 8];
	u64 old = *(u64 *)virt(pa), v = entry();

	if (old >> 12 && one_in(3)) { /* one bit of it */
		static const u64 bits[] = { P, RW, US, A, D, NX, RW, G };
		v = (old ^ bits[rnd() % 8]) & ~(u64)(globals ? 0 : G);
	}
	write_entry(alias(pa), v, old);
	if (*(u64 *)virt(pa) != v)
		broken("edit", pa, *(u64 *)virt(pa), v, NULL);
}

/* Two entries at once. */
static void edit_pair(void)
{
	u64 pa = pool_page(CODE_PAGES + rnd() % (POOL - CODE_PAGES)) + 16 * (rnd() % 2);
	u64 *old = virt(pa), v[2] = { entry(), entry() }, lo = old[0], hi = old[1], *p = alias(pa);

	if (one_in(2))
		asm volatile("movdqu %1,%%xmm1; movdqu %%xmm1,(%0)" : : "r"(p), "m"(v) : "memory");
	else
		asm volatile("lock cmpxchg16b (%2)" : "+a"(lo), "+d"(hi) : "r"(p), "b"(v[0]), "c"(v[1]) : "memory", "cc");
	if (old[0] != v[0] || old[1] != v[1])
		broken("edit of two", pa, old[0], v[0], NULL);
}

static void fill_page(u64 pa)
{
	u64 *p = alias(pa);

	for (u32 i = 0; i < ARRAY_SIZE(idx); i++)
		p[idx[i]] = entry();
}

/* A whole page: cleared or copied by string instructions. */
static void edit_page(void)
{
	u64 pa = pool_page(CODE_PAGES + rnd() % (POOL - CODE_PAGES));
	u64 *dst = alias(pa), *src = alias(pool_page(CODE_PAGES + rnd() % (POOL - CODE_PAGES))), n = 512;

	if (one_in(2)) {
		asm volatile("rep movsq" : "+D"(dst), "+S"(src), "+c"(n) : : "memory");
		return;
	}
	asm volatile("rep stosq" : "+D"(dst), "+c"(n) : "a"(0) : "memory");
	fill_page(pa);
}

static void edit_root(void)
{
	u64 *e = (u64 *)virt(root[rnd() % ROOTS]) + slots[rnd() % (ARRAY_SIZE(slots) - 1)];
	u64 v = entry();

	if (v && !one_in(8))
		v |= P | US;
	write_entry(e, v, *e);
	if (*e != v)
		broken("edit of a root", (u64)e, *e, v, NULL);
}

static void edit_code(void)
{
	*alias(pool_page(rnd() % CODE_PAGES) + 64 * (rnd() % 64)) = CODE_WORD(rnd());
}

/* Global pages are only made, and heeded, while CR4.PGE is set. */
static void invalidate(u64 va)
{
	switch (globals ? rnd() % 2 : rnd() % 4) {
	case 0:
		invlpg(va ^ (rnd() & 0xfff));
		break;
	case 1:
		wr_cr4(pgd ^ 0x80);
		wr_cr4(pgd);
		break;
	case 2:
		flush_tlb();
		break;
	default:
		wr_cr3(root[rnd() % ROOTS]);
	}
}

/* Often one that works: random addresses mostly fault. */
static u64 address_for(u32 kind)
{
	u32 tries = one_in(3) ? 1 : 12;
	struct path p;
	u64 va;

	do {
		va = random_va(kind % 3 == 2);
		walk(va, kind >= 3, kind % 3 == 1, kind % 3 == 2, &p);
	} while (--tries && (p.err >= 0 || (kind % 3 == 2 && !in_code(p.pa))));
	return va;
}

static void one_step(void)
{
	u64 kind = rnd() % 64;

	if (kind < 40)
		edit_one();
	else if (kind < 50)
		edit_pair();
	else if (kind == 50)
		edit_page();
	else if (kind < 53)
		edit_root();
	else if (kind < 56)
		edit_code();
	else if (kind < 58)
		wr_cr3(root[rnd() % ROOTS]);
	else if (kind == 58)
		wr_cr0(rd_cr0() ^ 0x10000);
	else if (kind == 59 && guards)
		wr_cr4(pgd ^= one_in(2) ? SMEP : SMAP);
	for (u32 n = 1 + rnd() % 3; n && !stop; n--) {
		u32 k = rnd() % 6;

		ac = guards && one_in(2);
		u64 va = address_for(k);

		invalidate(va);
		access(va, k);
		if (one_in(4) && !stop) { /* and now from the TLB, for another purpose */
			k = rnd() % 6;
			ac = guards && one_in(2);
			invalidate(va);
			access(va, k);
		}
	}
}

static void prepare(void)
{
	u64 *boot = virt(rd_cr3() & PTE_ADDR);

	regs_init(&r);
	RUN_USER(&r, load); /* maps user code and stack */
	u64 code = *pte_of(UCODE, 1) & PTE_ADDR;
	memcpy(virt(code + 0x100), load, (u64)(load_end - load));
	memcpy(virt(code + 0x200), store, (u64)(store_end - store));
	user_load = UCODE + 0x100;
	user_store = UCODE + 0x200;
	for (u32 i = 0; i < POOL; i++)
		map(SMALL_ALIAS + i * 4096, pool_page(i), RW);
	*pte_of(LARGE_ALIAS, 2) = POOL_PA | P | RW | PS;
	for (u32 i = 0; i < CODE_PAGES * 64; i++)
		*(u64 *)virt(POOL_PA + 64 * i) = CODE_WORD(rnd());
	for (u32 i = CODE_PAGES; i < POOL; i++)
		fill_page(pool_page(i));
	for (u32 i = 0; i < ROOTS; i++) {
		root[i] = page_alloc();
		u64 *t = virt(root[i]);
		memcpy(t, boot, 4096);
		for (u32 s = 0; s < ARRAY_SIZE(slots) - 1; s++)
			t[slots[s]] = pool_page(CODE_PAGES + rnd() % (POOL - CODE_PAGES)) | P | RW | US;
		t[SELF] = root[i] | P | RW | (i & 1 ? US : 0);
	}
}

static void mutate(void)
{
	u64 steps = knob("steps", 50000), home = rd_cr3();

	seed = knob("seed", 1);
	huge = has(0x80000001, 3, 26);
	rng = seed * 0x9e3779b97f4a7c15UL + 1;
	pgd = rd_cr4() & ~0x80UL;
	guards = has(7, 1, 7) && has(7, 1, 20) ? SMEP | SMAP : 0;
	prepare();
	wr_cr3(root[0]);
	for (step = 0; step < steps && !stop; step++) {
		if (step % 512 == 0) {
			globals = one_in(2);
			wr_cr4(pgd ^ 0x80);
			pgd = globals ? pgd | 0x80 : pgd & ~0x80UL;
			wr_cr4(pgd ^ 0x80);
			wr_cr4(pgd);
		}
		one_step();
	}
	wr_cr0(rd_cr0() | 0x10000);
	wr_cr4(rd_cr4() & ~guards);
	wr_cr3(home);
	flush_tlb();
	print("seed %lu: %lu steps, %lu accesses, %lu faults, %lu fetches\n", seed, step, accesses, faults, fetches);
	CHECK(stop || (accesses > steps && faults > accesses / 8 && faults < accesses * 7 / 8),
	      "the mix of accesses tests little");
}

const struct test tests[] = { { "mutate.tables", mutate }, { NULL, NULL } };
