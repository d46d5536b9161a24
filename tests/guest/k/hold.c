/* Pages whose right to write comes and goes, hundreds of times, as behind a write barrier: what
 * user code writes while it may is there, by every address; what it tries while it may not
 * faults and changes nothing. A monitor may take such a page for a special one, after some rounds,
 * so each test goes on for many more.
 *
 * Command line: rounds=N of each kind, seed=N. */
#include "lib.h"

#define HV 0x410000000UL /* where user code sees the pages */
#define OTHER (HV + 0x800000)
#define LARGE (HV + 0xc00000) /* a page of 2 MiB */
#define SPACE (130UL << 39)
#define KALIAS (KTEST + 0x9000000)
#define FRAME 0xffffffffff000UL
#define FULL (P | RW | US | A | D)
enum { NO_RW = P | 2 | 4, NO_P = 2 | 4 }; /* error codes of user writes */

static struct regs r;
static u64 rounds, code_at; /* where the user code is now */
static bool stop;

/* --- instructions that write ------------------------------------------------------------ */
/* RAX goes to (RDI), in one way or other; RSI points to an original, RDX is an old value. */
SNIP(w_mov, "mov %rax,(%rdi)");
SNIP(w_byte, "mov %al,(%rdi)");
SNIP(w_add, "add %rax,(%rdi)");
SNIP(w_xadd, "lock xadd %rax,(%rdi)");
SNIP(w_or, "lock or %rax,8(%rdi)");
SNIP(w_xchg, "xchg %rax,(%rdi)");
SNIP(w_cmpxchg, "xchg %rax,%rdx; lock cmpxchg %rdx,(%rdi)");
SNIP(w_push, "lea 8(%rdi),%rsp; push %rax");
SNIP(w_stos, "mov $9,%ecx; rep stosq");
SNIP(w_movs, "mov $40,%ecx; rep movsb");
SNIP(w_sse, "movq %rax,%xmm1; punpcklqdq %xmm1,%xmm1; movups %xmm1,(%rdi)");
SNIP(w_across, "mov %rax,-4(%rdi)"); /* from the page in front into this one */
SNIP(w_turns, "mov $6,%ecx; 1: mov %rax,(%rdi); xchg %rdi,%r8; dec %ecx; jnz 1b");
SNIP(w_row, "1: mov %rax,(%rdi); add %rdx,%rdi; dec %ecx; jnz 1b");
SNIP(u_load, "mov (%rdi),%rax");

static void m_mov(u64 *m, u64 v) { m[0] = v; }
static void m_byte(u64 *m, u64 v) { *(u8 *)m = (u8)v; }
static void m_add(u64 *m, u64 v) { m[0] += v; }
static void m_or(u64 *m, u64 v) { m[1] |= v; }
static void m_stos(u64 *m, u64 v) { for (u32 i = 0; i < 9; i++) m[i] = v; }
static u64 original[8];
static void m_movs(u64 *m, u64 v) { (void)v; memcpy(m, original, 40); }
static void m_sse(u64 *m, u64 v) { m[0] = m[1] = v; }
static void m_across(u64 *m, u64 v) { *(u32 *)m = (u32)(v >> 32); }

static const struct writer {
	const char *name, *code, *end;
	void (*model)(u64 *m, u64 v);
	u32 cr2_at; /* where it faults first, behind RDI */
} writers[] = {
#define W(name, model, at) { #name, w_##name, w_##name##_end, m_##model, at }
	W(mov, mov, 0), W(byte, byte, 0), W(add, add, 0), W(xadd, add, 0), W(or, or, 8), W(xchg, mov, 0),
	W(cmpxchg, mov, 0), W(push, mov, 0), W(stos, stos, 0), W(movs, movs, 0), W(sse, sse, 0),
	W(across, across, 0), W(turns, mov, 0),
};
#define WRITERS ARRAY_SIZE(writers)
#define ACROSS (WRITERS - 2)
enum { ROW = WRITERS, LOAD, SNIPS };

static u64 user_code(u32 n) { return code_at + 64 * n; }

/* User code that no page has had to do with yet. */
static void fresh_code(void)
{
	u64 to;

	code_at += 4096;
	to = map_new(code_at, US);
	for (u32 i = 0; i < WRITERS; i++)
		memcpy(virt(to + 64 * i), writers[i].code, (u64)(writers[i].end - writers[i].code));
	memcpy(virt(to + 64 * ROW), w_row, (u64)(w_row_end - w_row));
	memcpy(virt(to + 64 * LOAD), u_load, (u64)(u_load_end - u_load));
}

static void prepare(void)
{
	if (!code_at) {
		rounds = knob("rounds", 120);
		rng = knob("seed", 1) * 0x9e3779b97f4a7c15UL + 1;
		regs_init(&r);
		RUN_USER(&r, u_load); /* maps the stack */
		code_at = UCODE;
		for (u32 i = 0; i < 8; i++)
			original[i] = rnd();
		memcpy(virt(map_new(OTHER, US | RW | A | D) + 0x800), original, sizeof(original));
	}
	fresh_code();
}

/* --- a page and what it must hold ------------------------------------------------------- */
struct page {
	u64 va, pa;
	u64 *pte;
	u64 model[512];
	u64 front; /* the last four bytes of the page in front of it */
};
static struct page page, twin;

/* At va, with another page in front that can always be written, and an alias for the kernel. */
static void page_init(struct page *p, u64 va)
{
	prepare();
	map_new(va - 4096, US | RW | A | D);
	p->va = va;
	p->pa = map_new(va, US | RW | A | D);
	p->pte = pte_of(va, 1);
	p->front = 0;
	memset(p->model, 0, 4096);
	map(KALIAS, p->pa, RW);
}

static void broken(const struct page *p, const char *what, u64 got, u64 want)
{
	fail("%s at %lx: got %lx, want %lx; entry %lx, seed %lu", what, p->va, got, want, *p->pte, knob("seed", 1));
	stop = true;
}

static void check_memory(const struct page *p)
{
	const u64 *direct = virt(p->pa);
	u64 off = rnd() % 512;

	for (u32 i = 0; i < 512; i++)
		if (direct[i] != p->model[i]) {
			broken(p, "contents", direct[i], p->model[i]);
			return;
		}
	if (((volatile u64 *)KALIAS)[off] != p->model[off] && (*pte_of(KALIAS, 1) & FRAME) == p->pa)
		broken(p, "contents by an alias", ((volatile u64 *)KALIAS)[off], p->model[off]);
}

static void entry_set(struct page *p, u64 e)
{
	switch (rnd() % 4) {
	case 0: *p->pte = e; break;
	case 1: /* as Linux does it */
		*(volatile u64 *)p->pte = 0;
		*(volatile u64 *)p->pte = e;
		break;
	case 2: asm volatile("xchg %0,%1" : "+r"(e), "+m"(*p->pte) : : "memory"); break;
	default: asm volatile("lock xorq %1,%0" : "+m"(*p->pte) : "r"(e ^ *p->pte) : "cc", "memory");
	}
	invlpg(p->va);
}

/* err: 0, or the error code that it must give. */
static void write_by(struct page *p, u32 n, u64 at_va, u32 err)
{
	const struct writer *w = &writers[n];
	u64 off = n == ACROSS ? 0 : rnd() % 500 * 8, v = rnd() << 20 ^ rnd(), before = *p->pte, old_model = p->model[off / 8];
	const volatile u32 *front = virt((pte_of(p->va - 4096, 1)[0] & FRAME) + 4092);

	if (n == ACROSS)
		at_va = p->va;
	regs_init(&r);
	r.rdi = at_va + off;
	r.rsi = OTHER + 0x800;
	r.r8 = OTHER;
	r.rax = v;
	r.rdx = old_model;
	last_cr2 = 0x5555;
	int vec = run_user_at(&r, user_code(n));

	if (vec != (err ? 14 : VEC_EXIT)) {
		broken(p, w->name, (u64)vec, err ? 14 : VEC_EXIT);
		return;
	}
	if (err && (r.err | (tcg() ? err & 2 : 0)) != err) /* which reads first, and says so */
		broken(p, "error code", r.err, err);
	if (err && last_cr2 != at_va + off + w->cr2_at)
		broken(p, "cr2", last_cr2, at_va + off + w->cr2_at);
	if (!err) {
		w->model(p->model + off / 8, v);
		if (n == ACROSS)
			p->front = (u32)v;
		if (at_va == p->va && *p->pte != (before | A | D))
			broken(p, "accessed and dirty", *p->pte, before | A | D);
		if (r.rax != old_model && w->code == w_xadd)
			broken(p, "old value", r.rax, old_model);
	} else if ((*p->pte | A) != (before | A)) {
		broken(p, "entry after a fault", *p->pte, before);
	}
	if (*front != p->front)
		broken(p, "page in front", *front, p->front);
	check_memory(p);
}

static void read_by_user(struct page *p)
{
	u64 i = rnd() % 512;

	regs_init(&r);
	r.rdi = p->va + 8 * i;
	EQ("read by user code", run_user_at(&r, user_code(LOAD)), VEC_EXIT);
	if (r.rax != p->model[i])
		broken(p, "read by user code", r.rax, p->model[i]);
}

/* --- the right to write, by each kind of instruction -------------------------------------- */
static void rights(void)
{
	for (u32 n = 0; n < WRITERS && !stop; n++) {
		page_init(&page, HV + 0x4000 * (n + 1));
		for (u64 i = 0; i < rounds && !stop; i++) {
			entry_set(&page, *page.pte & ~(u64)RW);
			if (i % 2)
				read_by_user(&page);
			write_by(&page, n, page.va, NO_RW);
			entry_set(&page, *page.pte | RW);
			write_by(&page, n, page.va, 0);
		}
	}
}

/* Enough for a monitor to see what is going on. */
#define SOME 24
static void some_rounds(struct page *p, u32 n)
{
	while (n-- && !stop) {
		entry_set(p, *p->pte & ~(u64)RW);
		write_by(p, 0, p->va, NO_RW);
		entry_set(p, *p->pte | RW | A | D);
		write_by(p, 0, p->va, 0);
	}
}

/* --- by other bits of its entry ------------------------------------------------------------ */
static void toggle(struct page *p, u64 off, u32 err)
{
	u64 on;

	some_rounds(p, SOME);
	on = *p->pte;
	for (u64 i = 0; i < rounds && !stop; i++) {
		u32 n = i % 4 ? 0 : rnd() % WRITERS;

		entry_set(p, on & ~off);
		write_by(p, n, p->va, err);
		entry_set(p, on);
		write_by(p, n, p->va, 0);
	}
}

static void ways(void)
{
	u64 at = HV + 0x80000;

	page_init(&page, at);
	toggle(&page, P, NO_P);
	page_init(&page, at += 0x4000);
	toggle(&page, US, NO_RW);
	page_init(&page, at += 0x4000);
	toggle(&page, D, 0);
	page_init(&page, at += 0x4000);
	toggle(&page, A | D, 0);
	page_init(&page, at += 0x4000);
	toggle(&page, RW | D, NO_RW);
	page_init(&page, at += 0x4000);
	for (u64 i = 0; i < rounds && !stop; i++) { /* D is only set by the write that follows */
		entry_set(&page, (*page.pte | RW) & ~(u64)D);
		if (i % 2)
			write_by(&page, 0, page.va, 0);
		entry_set(&page, *page.pte & ~(u64)RW);
		write_by(&page, 0, page.va, NO_RW);
		entry_set(&page, *page.pte | RW | D);
		write_by(&page, 0, page.va, 0);
	}
}

/* By the entry above; the level 2 entry serves no other page that the test writes to. */
static void upper_entry(void)
{
	u64 *pde;

	page_init(&page, HV + 0x200000 + 0x4000);
	pde = pte_of(page.va, 2);
	for (u64 i = 0; i < rounds && !stop; i++) {
		*pde &= ~(u64)RW;
		invlpg(page.va);
		invlpg(page.va - 4096);
		write_by(&page, i % 2, page.va, NO_RW);
		*pde |= RW;
		invlpg(page.va);
		invlpg(page.va - 4096);
		write_by(&page, i % 2, page.va, 0);
	}
}

/* As copy on write has it: the entry leads to one frame, to be read, then to another one, and back. */
static void frames(void)
{
	u64 other = page_alloc();

	page_init(&page, HV + 0x100000);
	twin = page;
	twin.pa = other;
	some_rounds(&page, SOME);
	memset(twin.model, 0, 4096);
	for (u64 i = 0; i < rounds && !stop; i++) {
		entry_set(&page, page.pa | P | US | A | D);
		write_by(&page, i % 3, page.va, NO_RW);
		entry_set(&page, twin.pa | FULL);
		write_by(&twin, i % 3, page.va, 0);
		check_memory(&page);
		entry_set(&page, page.pa | FULL);
		write_by(&page, i % 3, page.va, 0);
		check_memory(&twin);
		if (i % 4 == 3)
			read_by_user(&page);
		if (i % 32 == 31)
			some_rounds(&page, SOME);
	}
}

/* --- all of it at random, and by other addresses -------------------------------------------- */
SNIP(k_store, "mov %rax,(%rdi)");

static void kernel_store(struct page *p, u64 at, u32 err)
{
	u64 i = rnd() % 512, v = rnd();

	regs_init(&r);
	r.rdi = at + 8 * i;
	r.rax = v;
	last_cr2 = 0x5555;
	int vec = run(&r, k_store);
	if (vec != (err ? 14 : VEC_EXIT) || (err && (r.err != err || last_cr2 != at + 8 * i)))
		broken(p, "write by the kernel", (u64)vec << 32 | r.err, (u64)(err ? 14 : VEC_EXIT) << 32 | err);
	else if (!err)
		p->model[i] = v;
	check_memory(p);
}

static void random_step(struct page *p)
{
	bool may = *p->pte & RW;

	switch (rnd() % 64) {
	case 0: kernel_store(p, KALIAS, 0); break;
	case 1: kernel_store(p, (u64)virt(p->pa), 0); break;
	case 2: kernel_store(p, p->va, may ? 0 : P | 2); break;
	case 3: /* without CR0.WP */
		wr_cr0(rd_cr0() ^ 0x10000);
		kernel_store(p, p->va, 0);
		wr_cr0(rd_cr0() ^ 0x10000);
		break;
	case 4: write_by(p, rnd() % ACROSS, LARGE + (p->pa & 0x1fffff), 0); break;
	case 5: entry_set(p, *p->pte & ~(u64)D); break;
	case 6: read_by_user(p); break;
	case 7: flush_tlb(); break;
	case 8: /* as data that is copied to it */
		for (u32 i = 0; i < 512; i++)
			p->model[i] = rnd();
		memcpy((void *)KALIAS, p->model, 4096);
		break;
	default:
		entry_set(p, (*p->pte ^ RW) | (one_in(8) ? 0 : A | D));
		for (u32 n = rnd() % 3; n && !stop; n--)
			write_by(p, rnd() % WRITERS, p->va, *p->pte & RW ? 0 : NO_RW);
	}
}

static void mixture(void)
{
	for (u32 k = 0; k < 4 && !stop; k++) {
		page_init(&page, HV + 0x120000 + 0x4000 * k);
		*pte_of(LARGE, 2) = (page.pa & ~0x1fffffUL) | FULL | PS;
		invlpg(LARGE);
		for (u64 i = 0; i < 8 * rounds && !stop; i++)
			random_step(&page);
	}
	*pte_of(LARGE, 2) = 0;
	flush_tlb();
}

/* --- the page becomes another thing ----------------------------------------------------------- */
/* A table, of whose entries user code writes one; its rights come and go meanwhile. Random words are the others. */
static void table(void)
{
	u64 to[2] = { page_alloc(), page_alloc() }, seen = HV + 0x600000, *pde = pte_of(seen, 2);

	page_init(&page, HV + 0x140000);
	*(u64 *)virt(to[0]) = 0x1111;
	*(u64 *)virt(to[1]) = 0x2222;
	for (u64 i = 0; i < rounds / 6 && !stop; i++) {
		some_rounds(&page, SOME);
		*pde = page.pa | P | RW | US;
		for (u32 k = 0; k < 12; k++) {
			regs_init(&r);
			r.rdi = page.va + 8 * 7;
			r.rax = to[k & 1] | P | US | RW | A | D;
			entry_set(&page, *page.pte | RW);
			EQ("entry by user code", run_user_at(&r, user_code(0)), VEC_EXIT);
			entry_set(&page, *page.pte & ~(u64)RW);
			r.rax = 0;
			EQ("now it must not", run_user_at(&r, user_code(0)), 14);
			invlpg(seen + 0x7000);
			r.rdi = seen + 0x7000;
			EQ("exit", run_user_at(&r, user_code(LOAD)), VEC_EXIT);
			EQ("by the new entry", r.rax, k & 1 ? 0x2222 : 0x1111);
			EQ("by the kernel", *(volatile u64 *)(seen + 0x7000), k & 1 ? 0x2222 : 0x1111);
		}
		*pde = 0;
		flush_tlb();
		page.model[7] = *((u64 *)virt(page.pa) + 7);
	}
}

/* Code: written while the page may be written, run while it may not or may. */
static void code(void)
{
	static const u8 image[] = { 0xb8, 0, 0, 0, 0, 0xcd, VEC_EXIT, 0x90 }; /* mov $imm, %eax; int */

	page_init(&page, HV + 0x160000);
	some_rounds(&page, SOME);
	for (u64 i = 0; i < 2 * rounds && !stop; i++) {
		u64 word = *(const u64 *)image | (i + 5) << 8, at = page.va + 64 * (i % 3);

		entry_set(&page, page.pa | FULL | (i & 4 ? NX : 0));
		regs_init(&r);
		r.rdi = at;
		r.rax = word;
		EQ("written", run_user_at(&r, user_code(0)), VEC_EXIT);
		EQ("exit", run_user_at(&r, at), i & 4 ? 14 : VEC_EXIT);
		if (!(i & 4))
			EQ("run while writable", r.rax, i + 5);
		entry_set(&page, page.pa | P | US | A | D);
		r.rdi = at;
		r.rax = 0;
		EQ("not to be written", run_user_at(&r, user_code(0)), 14);
		EQ("error code", r.err, NO_RW);
		EQ("exit", run_user_at(&r, at), VEC_EXIT);
		EQ("run", r.rax, i + 5);
		if (i % 16 == 15)
			*(volatile u8 *)(KALIAS + 64 * (i % 3) + 1) = 0x77;
		else
			continue;
		EQ("exit", run_user_at(&r, at), VEC_EXIT);
		EQ("as the kernel has it", r.rax & 0xff, 0x77);
	}
}

/* Code that writes to its own page. */
SNIP(u_own, "lea 1f(%rip),%rdi; mov %rax,64(%rdi); mov %eax,%ebx; 1: mov 64(%rdi),%rcx");
static void own_page(void)
{
	page_init(&page, HV + 0x164000);
	some_rounds(&page, SOME);
	for (u64 i = 0; 8 * i < (u64)(u_own_end - u_own); i++) {
		regs_init(&r);
		r.rdi = page.va + 8 * i;
		r.rax = ((const u64 *)u_own)[i];
		EQ("put there", run_user_at(&r, user_code(0)), VEC_EXIT);
	}
	for (u64 i = 1; i <= rounds && !stop; i++) {
		entry_set(&page, page.pa | P | US | A | D);
		regs_init(&r);
		r.rax = i;
		r.rbx = 0;
		EQ("own page", run_user_at(&r, page.va), 14);
		EQ("nothing behind it", r.rbx, 0);
		entry_set(&page, page.pa | FULL);
		regs_init(&r);
		r.rax = i;
		EQ("own page", run_user_at(&r, page.va), VEC_EXIT);
		EQ("own page", r.rcx, i);
	}
}

/* --- very many pages, and two address spaces ---------------------------------------------------- */
#define MANY 400
#define STEP 0x3000UL
static u64 many_pa[MANY], many_want[MANY];

static u64 many_va(u32 i) { return HV + 0x2000000 + i * STEP; }

/* One instruction writes to them in a row, up to the first that must not be written. */
static void row(u64 value, u32 first_ro)
{
	regs_init(&r);
	r.rdi = many_va(0);
	r.rdx = STEP;
	r.rcx = MANY;
	r.rax = value;
	EQ("row", run_user_at(&r, user_code(ROW)), first_ro < MANY ? 14 : VEC_EXIT);
	if (first_ro < MANY)
		EQ("first that must not be written", last_cr2, many_va(first_ro));
	for (u32 i = 0; i < MANY; i++) {
		if (i < first_ro)
			many_want[i] = value;
		EQ("page of many", *(volatile u64 *)virt(many_pa[i]), many_want[i]);
	}
}

static void many(void)
{
	u64 n = 30 + rounds / 20;

	prepare();
	for (u32 i = 0; i < MANY; i++)
		many_pa[i] = map_new(many_va(i), US | RW | A | D);
	for (u64 i = 1; i <= n && !stop; i++) {
		u32 ro = (u32)(rnd() % MANY), from = (u32)(rnd() % MANY);

		for (u32 k = 0; k < MANY; k++) { /* not in order of their addresses */
			u32 j = (from + k * 37) % MANY;
			map(many_va(j), many_pa[j], j < ro && i % 2 ? FULL : P | US | A | D);
		}
		row(2 * i, i % 2 ? ro : 0);
		for (u32 k = 0; k < MANY; k++) {
			u32 j = (from + k * 41) % MANY;
			map(many_va(j), many_pa[j], FULL);
		}
		row(2 * i + 1, MANY);
	}
}

/* The same page in two address spaces: in one its rights come and go, in the other they stay, and
 * later come and go as well. */
static void spaces(void)
{
	u64 home = rd_cr3(), away = page_alloc(), *other;
	bool here_rw, there_rw = true;

	page_init(&page, SPACE + 0x5000);
	memcpy(virt(away), virt(home & FRAME), 4096);
	((u64 *)virt(away))[SPACE >> 39] = 0;
	some_rounds(&page, SOME);
	wr_cr3(away);
	map(SPACE + 0x5000, page.pa, FULL);
	map(SPACE + 0x4000, *(u64 *)((u64)page.pte - 8) & FRAME, FULL);
	other = pte_of(SPACE + 0x5000, 1);
	twin = page;
	twin.pte = other;
	for (u64 i = 0; i < 2 * rounds && !stop; i++) {
		wr_cr3(home);
		if (i % 8 == 7)
			some_rounds(&page, 4);
		here_rw = i % 2;
		entry_set(&page, page.pa | P | US | A | D | (here_rw ? RW : 0));
		write_by(&page, i % 5, page.va, here_rw ? 0 : NO_RW);
		if (i > rounds && i % 3 == 0) {
			*other ^= RW;
			there_rw = !there_rw;
		}
		wr_cr3(away);
		memcpy(twin.model, page.model, 4096);
		twin.front = page.front;
		write_by(&twin, i % 5, page.va, there_rw ? 0 : NO_RW);
		memcpy(page.model, twin.model, 4096);
		page.front = twin.front;
	}
	wr_cr3(home);
}

const struct test tests[] = {
	{ "hold.rights", rights }, { "hold.ways", ways }, { "hold.upper_entry", upper_entry },
	{ "hold.frames", frames }, { "hold.mixture", mixture }, { "hold.table", table }, { "hold.code", code },
	{ "hold.own_page", own_page }, { "hold.many", many }, { "hold.spaces", spaces }, { NULL, NULL },
};
