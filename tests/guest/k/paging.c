/* Paging: permissions by access by size, accessed and dirty bits, invalidation, aliases,
 * large pages, tables seen through themselves. Follows SDM vol. 3 chapter 4. */
#include "lib.h"

static struct regs r;
SNIP(rd, "mov (%rsi),%rax");
SNIP(wr, "mov %rax,(%rsi)");
SNIP(ex, "jmp *%rsi");
SNIP(set_cr4, "mov %rax,%cr4");
SNIP(rd_stac, "stac; mov (%rsi),%rax; clac");

#define V KTEST

/* Every combination of R/W, U/S, NX at three levels against every access. */
static void permissions(void)
{
	u64 user_va = UDATA;

	map_new(user_va, RW | US);
	*(u8 *)virt(*pte_of(user_va, 1) & 0xffffffffff000) = 0xcd; /* int VEC_EXIT */
	*((u8 *)virt(*pte_of(user_va, 1) & 0xffffffffff000) + 1) = VEC_EXIT;
	u64 *pte = pte_of(user_va, 1), *pde = pte_of(user_va, 2);
	u64 pte0 = *pte & 0xffffffffff000, pde0 = *pde & 0xffffffffff000;
	for (u32 c = 0; c < 64; c++) {
		u64 l1 = (c & 1 ? RW : 0) | (c & 2 ? US : 0) | (c & 4 ? NX : 0);
		u64 l2 = (c & 8 ? RW : 0) | (c & 16 ? US : 0) | (c & 32 ? NX : 0);
		bool w = (l1 & l2 & RW), u = (l1 & l2 & US), nx = ((l1 | l2) & NX);
		*pte = pte0 | l1 | P;
		*pde = pde0 | l2 | P;
		flush_tlb();
		for (u32 access = 0; access < 3; access++) {
			static const char *const code[] = { rd, wr, ex }, *const end[] = { rd_end, wr_end, ex_end };
			u64 bits = access == 1 ? 2 : access == 2 ? 16 : 0;
			bool deny = access == 1 ? !w : access == 2 ? nx : false;
			regs_init(&r);
			r.rsi = user_va;
			r.rax = 0x81cd;
			int v = run(&r, code[access]);
			EQ("kernel vector", v, deny ? 14 : VEC_EXIT);
			if (deny)
				EQ("kernel error", r.err, bits | 1);
			regs_init(&r);
			r.rsi = user_va;
			r.rax = 0x81cd;
			v = run_user(&r, code[access], end[access]);
			deny |= !u;
			EQ("user vector", v, deny ? 14 : VEC_EXIT);
			if (deny) {
				EQ("user error", r.err, bits | 5);
				EQ("cr2", last_cr2, user_va);
			}
		}
	}
	*pde = pde0 | P | RW | US;
	*pte = pte0 | P | RW | US;
	flush_tlb();
}

static void write_protect(void)
{
	u64 pa = map_new(V, 0), v;

	EQ("WP=1", try_write8(V, 1), 14);
	wr_cr0(rd_cr0() & ~0x10000UL);
	EQ("WP=0", try_write8(V, 0x77), -1);
	EQ("written", *(u64 *)virt(pa), 0x77);
	EQ("dirty", *pte_of(V, 1) & D, D);
	wr_cr0(rd_cr0() | 0x10000);
	EQ("WP=1 again", try_write8(V, 2), 14);
	EQ("read", try_read8(V, &v), -1);
	EQ("value", v, 0x77);
}

static void accessed_dirty(void)
{
	u64 v;

	map_new(V, RW);
	u64 *e = pte_of(V, 1), *e2 = pte_of(V, 2);
	for (u32 i = 0; i < 5; i++) {
		*e &= ~(u64)(A | D);
		*e2 &= ~(u64)A;
		invlpg(V);
		EQ("clear", *e & (A | D), 0);
		try_read8(V, &v);
		EQ("A after read", *e & (A | D), A);
		EQ("A in PDE", *e2 & A, A);
		try_write8(V, i);
		EQ("D after write", *e & (A | D), A | D);
		*e &= ~(u64)(A | D);
		invlpg(V);
		try_write8(V, i);
		EQ("A, D by write", *e & (A | D), A | D);
		*e &= ~(u64)D; /* A kept: a write must find D clear */
		invlpg(V);
		try_read8(V, &v);
		EQ("no D by read", *e & D, 0);
		try_write8(V, i);
		EQ("D again", *e & D, D);
	}
	/* a faulting access sets neither A nor D of the leaf */
	*e = (*e & ~(u64)(A | D | RW));
	invlpg(V);
	EQ("denied", try_write8(V, 1), 14);
	EQ("no D", *e & D, 0);
}

static void present_changes(void)
{
	u64 v, pa = page_alloc(), pb = page_alloc();

	*(u64 *)virt(pa) = 0xaaaa;
	*(u64 *)virt(pb) = 0xbbbb;
	unmap(V);
	for (u32 i = 0; i < 50; i++) {
		EQ("absent", try_read8(V, &v), 14);
		*pte_of(V, 1) = pa | P | RW; /* no invalidation needed */
		EQ("present", try_read8(V, &v), -1);
		EQ("a", v, 0xaaaa);
		*pte_of(V, 1) = pb | P | RW;
		invlpg(V);
		try_read8(V, &v);
		EQ("b", v, 0xbbbb);
		*pte_of(V, 1) = pb | P;
		invlpg(V);
		EQ("read-only", try_write8(V, 1), 14);
		*pte_of(V, 1) = pb | P | RW; /* more rights: one spurious fault is allowed */
		if (try_write8(V, 0xbbbb) != -1)
			EQ("writable", try_write8(V, 0xbbbb), -1);
		*pte_of(V, 1) = 0;
		flush_tlb();
	}
	/* the same by changing upper levels */
	map(V, pa, RW);
	u64 *e2 = pte_of(V, 2), *e3 = pte_of(V, 3), *e4 = pte_of(V, 4), *es[] = { e2, e3, e4 };
	for (u32 i = 0; i < (KBASE ? 3 : 2); i++) { /* the low kernel lives below e4 itself */
		u64 old = *es[i];
		EQ("ok", try_read8(V, &v), -1);
		*es[i] = 0;
		invlpg(V);
		EQ("table gone", try_read8(V, &v), 14);
		*es[i] = old;
		EQ("table back", try_read8(V, &v), -1);
		EQ("a", v, 0xaaaa);
	}
}

static void aliases(void)
{
	u64 pa = page_alloc(), v;

	for (u32 i = 0; i < 8; i++)
		map(V + i * 0x201000, pa, i & 1 ? 0 : RW);
	for (u32 i = 0; i < 8; i += 2) {
		EQ("w", try_write8(V + i * 0x201000 + 8 * i, 100 + i), -1);
		for (u32 j = 0; j < 8; j++) {
			try_read8(V + j * 0x201000 + 8 * i, &v);
			EQ("alias", v, 100 + i);
		}
		EQ("direct", ((u64 *)virt(pa))[i], 100 + i);
	}
	EQ("ro alias", try_write8(V + 0x201000, 1), 14);
}

static void large_pages(void)
{
	u64 va = V + 0x40000000, base = 0x2000000, v;
	u64 *e2 = pte_of(va, 2);

	*e2 = base | P | RW | PS;
	flush_tlb();
	for (u64 off = 0; off < 0x200000; off += 0x31008) {
		off &= ~7UL;
		*(u64 *)virt(base + off) = off + 1;
		try_read8(va + off, &v);
		EQ("2M", v, off + 1);
		EQ("2M w", try_write8(va + off, off + 2), -1);
		EQ("2M direct", *(u64 *)virt(base + off), off + 2);
	}
	EQ("A, D", *e2 & (A | D), A | D);
	*e2 = base | P | PS;
	invlpg(va + 0x1ff000);
	EQ("ro", try_write8(va + 0x100000, 1), 14);
	*e2 = base | P | PS | 0x2000 | RW; /* reserved bit 13 */
	invlpg(va);
	EQ("reserved", try_read8(va, &v), 14);
	regs_init(&r);
	r.rsi = va;
	run(&r, rd);
	EQ("reserved error", r.err | tcg(), 9);
	/* split into 4 KiB pages of the same memory, one of them absent */
	u64 pt = page_alloc();
	for (u32 i = 0; i < 512; i++)
		((u64 *)virt(pt))[i] = (base + i * 4096UL) | P | RW;
	((u64 *)virt(pt))[7] = 0;
	*e2 = pt | P | RW;
	flush_tlb();
	EQ("split", try_read8(va + 6 * 4096, &v), -1);
	EQ("split absent", try_read8(va + 7 * 4096, &v), 14);
	EQ("split", try_read8(va + 8 * 4096, &v), -1);
	*e2 = 0;
	if (has(0x80000001, 3, 26)) {
		u64 *e3 = pte_of(va, 3), old = *e3;
		*e3 = 0 | P | RW | PS;
		flush_tlb();
		try_read8(va + base, &v);
		EQ("1G", v, *(u64 *)virt(base));
		*e3 = old;
	}
	flush_tlb();
}

static void reserved_bits(void)
{
	u64 pa = map_new(V, RW), v;

	*pte_of(V, 1) = pa | P | RW | 1UL << 51;
	invlpg(V);
	regs_init(&r);
	r.rsi = V;
	EQ("vector", run(&r, rd), 14);
	EQ("error", r.err | tcg(), 9);
	regs_init(&r);
	r.rsi = V;
	EQ("vector", run(&r, wr), 14);
	EQ("error", r.err | tcg(), 11);
	*pte_of(V, 1) = pa | P | RW | NX;
	wrmsr(0xc0000080, rdmsr(0xc0000080) & ~0x800UL); /* NXE off: NX is reserved */
	flush_tlb();
	regs_init(&r);
	r.rsi = V;
	EQ("NXE off", run(&r, rd), 14);
	EQ("error", r.err | tcg(), 9);
	wrmsr(0xc0000080, rdmsr(0xc0000080) | 0x800);
	flush_tlb();
	EQ("NXE on", try_read8(V, &v), -1);
}

/* PML4 slot that points to the table itself: every entry has a linear address. */
static void recursive(void)
{
	u64 *pml4 = virt(rd_cr3() & ~0xfffUL), v;
	u32 slot = 300;
	u64 self = 0xffff000000000000 | (u64)slot << 39 | (u64)slot << 30 | (u64)slot << 21 | (u64)slot << 12;

	pml4[slot] = rd_cr3() | P | RW;
	u64 pa = map_new(V, RW);
	try_read8(self + 8 * slot, &v);
	EQ("self", v & ~(u64)(A | D), (rd_cr3() & ~0xfffUL) | P | RW);
	u64 pte = 0xffff000000000000 | (u64)slot << 39 | (V >> 9 & 0x7ffffffff8);
	try_read8(pte, &v);
	EQ("pte by recursion", v & 0xffffffffff000, pa);
	u64 pb = page_alloc();
	*(u64 *)virt(pb) = 0xfeed;
	try_read8(V, &v);
	EQ("write pte", try_write8(pte, pb | P | RW), -1);
	invlpg(V);
	try_read8(V, &v);
	EQ("moved", v, 0xfeed);
	EQ("clear pte", try_write8(pte, 0), -1);
	invlpg(V);
	EQ("gone", try_read8(V, &v), 14);
	pml4[slot] = 0;
	flush_tlb();
}

/* Two roots: switching must switch what is seen; a shared part stays. */
static void roots(void)
{
	u64 a = rd_cr3(), b = page_alloc(), v, pa = page_alloc(), pb = page_alloc();

	unmap(UDATA + 0x1000);
	memcpy(virt(b), virt(a & ~0xfffUL), 4096);
	*(u64 *)virt(pa) = 1;
	*(u64 *)virt(pb) = 2;
	((u64 *)virt(b))[100] = 0;
	u64 va = 100UL << 39;
	map(va, pa, RW);
	wr_cr3(b);
	map(va, pb, RW);
	for (u32 i = 0; i < 200; i++) {
		wr_cr3(i & 1 ? a : b);
		try_read8(va, &v);
		EQ("root", v & 0xff, i & 1 ? 1 : 2);
		if (i % 7 == 0)
			try_write8(va, (v & 0xff) | (u64)i << 8);
	}
	wr_cr3(b);
	*pte_of(va, 1) = 0; /* entries of the running root */
	invlpg(va);
	EQ("b gone", try_read8(va, &v), 14);
	wr_cr3(a);
	EQ("a stays", try_read8(va, &v), -1);
	EQ("a", v & 0xff, 1);
	/* change a's entry while b is loaded; the load of a must show it */
	u64 *ea = pte_of(va, 1);
	wr_cr3(b);
	*ea = pb | P | RW;
	wr_cr3(a);
	try_read8(va, &v);
	EQ("changed while away", v & 0xff, 2);
	/* many roots, more than any cache of views */
	static u64 root[100];
	for (u32 i = 0; i < ARRAY_SIZE(root); i++) {
		root[i] = page_alloc();
		memcpy(virt(root[i]), virt(a & ~0xfffUL), 4096);
		((u64 *)virt(root[i]))[101] = 0;
		wr_cr3(root[i]);
		*(u64 *)virt(map_new(101UL << 39, RW)) = i;
	}
	for (u32 i = 0; i < 400; i++) {
		u32 n = i * 37 % ARRAY_SIZE(root);
		wr_cr3(root[n]);
		try_read8(101UL << 39, &v);
		EQ("many roots", v, n);
	}
	wr_cr3(a);
	*pte_of(va, 1) = 0;
	flush_tlb();
}

static void global_pages(void)
{
	u64 v, pa = map_new(V, RW | G);

	*(u64 *)virt(pa) = 9;
	try_read8(V, &v);
	EQ("global", v, 9);
	flush_tlb();
	try_read8(V, &v);
	EQ("global", v, 9);
	*pte_of(V, 1) = 0;
	wr_cr4(rd_cr4() ^ 0x80);
	wr_cr4(rd_cr4() ^ 0x80);
	EQ("flushed by PGE", try_read8(V, &v), 14);
	map(V, pa, RW | G);
	try_read8(V, &v);
	unmap(V);
	EQ("flushed by INVLPG", try_read8(V, &v), 14);
}

static void smap_smep(void)
{
	if (!has(7, 1, 20) || !has(7, 1, 7)) {
		skip("no SMEP or SMAP");
		return;
	}
	u64 v;
	u64 pa = map_new(UDATA, RW | US);
	((u8 *)virt(pa))[0] = 0xcd;
	((u8 *)virt(pa))[1] = VEC_EXIT;
	wr_cr4(rd_cr4() | 1 << 20);
	regs_init(&r);
	r.rsi = UDATA;
	EQ("SMEP", run(&r, ex), 14);
	EQ("error", r.err, 0x11);
	EQ("read", try_read8(UDATA, &v), -1);
	wr_cr4((rd_cr4() & ~(1UL << 20)) | 1 << 21);
	EQ("SMAP read", try_read8(UDATA, &v), 14);
	EQ("SMAP write", try_write8(UDATA, v), 14);
	regs_init(&r);
	r.rsi = UDATA;
	EQ("vector", run(&r, rd), 14);
	EQ("error", r.err, 1);
	regs_init(&r);
	r.rsi = UDATA;
	EQ("stac", run(&r, rd_stac), VEC_EXIT);
	EQ("AC clear", r.rflags >> 18 & 1, 0);
	regs_init(&r);
	r.rsi = UDATA;
	r.rflags |= 0x40000;
	EQ("AC by iret", run(&r, rd), VEC_EXIT);
	regs_init(&r);
	r.rsi = UDATA;
	EQ("user reads", RUN_USER(&r, rd), VEC_EXIT);
	EQ("SMAP still on", try_read8(UDATA, &v), 14);
	wr_cr4(rd_cr4() & ~(1UL << 21));
	EQ("off", try_read8(UDATA, &v), -1);
}

/* User and supervisor pages next to each other. */
static void neighbours(void)
{
	u64 v;

	for (u32 i = 0; i < 64; i++)
		map_new(UDATA + i * 4096, RW | (i & 1 ? US : 0));
	for (u32 pass = 0; pass < 3; pass++)
		for (u32 i = 0; i < 64; i++) {
			EQ("kernel", try_read8(UDATA + i * 4096, &v), -1);
			regs_init(&r);
			r.rsi = UDATA + i * 4096;
			EQ("user", pass & 1 ? RUN_USER(&r, wr) : RUN_USER(&r, rd), i & 1 ? VEC_EXIT : 14);
		}
	for (u32 i = 0; i < 64; i++)
		unmap(UDATA + i * 4096);
}

/* Page tables written by many kinds of instruction. */
SNIP(w_and, "lock andq $-3,(%rdi)");
SNIP(w_bts, "lock btsq $1,(%rdi)");
SNIP(w_xchg, "xchg %rax,(%rdi)");
SNIP(w_cmpxchg, "mov (%rdi),%rax; lock cmpxchg %rbx,(%rdi)");
SNIP(w_stos, "mov $1,%ecx; rep stosq");
SNIP(w_movs, "mov $8,%ecx; rep movsb");
SNIP(w_sse, "movq %rax,%xmm0; movq %xmm0,(%rdi)");
SNIP(w_byte, "movb $0,(%rdi)");
SNIP(w_dword, "mov %eax,(%rdi); shr $32,%rax; mov %eax,4(%rdi)");
SNIP(w_push, "mov %rsp,%rbx; lea 8(%rdi),%rsp; push %rax; mov %rbx,%rsp");

static void run_with_rdi(const char *code)
{
	regs_init(&r);
	r.rdi = (u64)pte_of(V, 1);
	run(&r, code);
}

static void table_writes(void)
{
	u64 v, src, pa = page_alloc(), pb = page_alloc();

	*(u64 *)virt(pa) = 0xa;
	*(u64 *)virt(pb) = 0xb;
	static const struct { const char *code; } ways[] = { { w_xchg }, { w_cmpxchg }, { w_stos }, { w_movs }, { w_sse }, { w_dword }, { w_push } };
	for (u32 pass = 0; pass < 4; pass++)
		for (u32 i = 0; i < ARRAY_SIZE(ways); i++) {
			map(V, pa, RW);
			try_read8(V, &v);
			EQ("before", v, 0xa);
			regs_init(&r);
			r.rdi = (u64)pte_of(V, 1);
			r.rax = r.rbx = src = pb | P | RW;
			r.rsi = (u64)&src;
			EQ("exit", run(&r, ways[i].code), VEC_EXIT);
			EQ("entry", *pte_of(V, 1) & ~(u64)(A | D), pb | P | RW);
			invlpg(V);
			try_read8(V, &v);
			EQ("after", v, 0xb);
			regs_init(&r);
			r.rdi = (u64)pte_of(V, 1);
			run(&r, w_and);
			invlpg(V);
			EQ("read-only", try_write8(V, 1), 14);
			run_with_rdi(w_bts);
			invlpg(V);
			EQ("writable", try_write8(V, 0xb), -1);
			run_with_rdi(w_byte);
			invlpg(V);
			EQ("absent", try_read8(V, &v), 14);
		}
}

/* User code in the high half: what ran there must not run on when its page is unmapped,
 * made the kernel's or replaced, at whatever level that happens. */
SNIP(id_1, "mov $1,%eax");
SNIP(id_2, "mov $2,%eax");

/* A whole table in one go: more writes than anyone notes before they take effect. */
SNIP(m_mov, "1: mov %rax,(%rdi); xor %rdx,%rax; add $8,%rdi; dec %ecx; jnz 1b");
SNIP(m_xchg, "1: mov %rax,%rbx; xchg %rbx,(%rdi); xor %rdx,%rax; add $8,%rdi; dec %ecx; jnz 1b");
SNIP(m_twice, "1: movq $0,(%rdi); mov %rax,(%rdi); xor %rdx,%rax; add $8,%rdi; dec %ecx; jnz 1b");
SNIP(m_dword, "1: mov %eax,(%rdi); xor %edx,%eax; add $8,%rdi; dec %ecx; jnz 1b");
SNIP(m_word, "1: mov %ax,(%rdi); ror $16,%eax; mov %ax,2(%rdi); ror $16,%eax; xor %edx,%eax; add $8,%rdi; dec %ecx; jnz 1b");
SNIP(m_odd, "1: mov %eax,%ebx; shr $8,%ebx; mov %al,(%rdi); mov %bx,1(%rdi); shr $16,%ebx; mov %bl,3(%rdi); xor %edx,%eax; add $8,%rdi; dec %ecx; jnz 1b");
SNIP(m_and, "1: lock andb $0xfd,(%rdi); add $8,%rdi; dec %ecx; jnz 1b");
SNIP(m_or, "1: lock orb $2,(%rdi); add $8,%rdi; dec %ecx; jnz 1b");
SNIP(m_btr, "1: lock btrl $1,(%rdi); add $8,%rdi; dec %ecx; jnz 1b");

static void write_all(const char *code, u64 *table, u64 first, u64 turn)
{
	regs_init(&r);
	r.rax = first;
	r.rdx = turn;
	r.rdi = (u64)table;
	r.rcx = 512;
	EQ("exit", run(&r, code), VEC_EXIT);
	EQ("done", r.rcx, 0);
}

static void many_writes(void)
{
	static const char *const ways[] = { m_mov, m_xchg, m_twice, m_dword, m_word, m_odd };
	u64 base = V & ~0x1fffffUL, f[2] = { page_alloc(), page_alloc() }, v, fl = P | RW | A | D;
	u64 *table;

	*(u64 *)virt(f[0]) = 0xf0;
	*(u64 *)virt(f[1]) = 0xf1;
	for (u64 i = 0; i < 512; i++)
		map(base + 4096 * i, f[0], RW);
	table = pte_of(base, 1);
	for (u32 round = 0; round < 4 * ARRAY_SIZE(ways); round++) {
		u32 odd = round / ARRAY_SIZE(ways) & 1;
		write_all(ways[round % ARRAY_SIZE(ways)], table, f[odd] | fl, f[0] ^ f[1]);
		flush_tlb();
		for (u64 i = 0; i < 512; i++) {
			EQ("entry", table[i], f[(i ^ odd) & 1] | fl);
			EQ("read", try_read8(base + 4096 * i, &v), -1);
			EQ("page", v, 0xf0 + ((i ^ odd) & 1));
		}
		write_all(round & 1 ? m_and : m_btr, table, 0, 0);
		flush_tlb();
		for (u64 i = 0; i < 512; i += 3)
			EQ("read-only", try_write8(base + 4096 * i, 1), 14);
		write_all(m_or, table, 0, 0);
		flush_tlb();
		for (u64 i = 0; i < 512; i += 5)
			EQ("writable", try_write8(base + 4096 * i, 0xf0 + ((i ^ odd) & 1)), -1);
	}
	write_all(m_mov, table, 0, 0);
	flush_tlb();
	for (u64 i = 0; i < 512; i++)
		EQ("gone", try_read8(base + 4096 * i, &v), 14);
}

static void user_code_high(void)
{
	u64 va = 0xffffd50000000000, pa = page_alloc(), pb = page_alloc();

	memcpy(virt(pa), id_1, 16);
	memcpy(virt(pb), id_2, 16);
	for (int level = 1; level <= 4; level++)
		for (u32 how = 0; how < 4; how++) {
			map(va, pa, US);
			for (int l = 2; l <= 4; l++)
				*pte_of(va, l) |= US;
			regs_init(&r);
			EQ("runs", run_user_at(&r, va), VEC_EXIT);
			EQ("code", r.rax, 1);
			u64 *e = pte_of(va, level), old = *e;
			*e = how == 0 ? 0 : how == 1 ? old & ~(u64)US : how == 2 ? old | NX : old;
			if (how == 3)
				*pte_of(va, 1) = pb | P | US;
			if (level & 1)
				invlpg(va);
			else
				flush_tlb();
			regs_init(&r);
			EQ("vector", run_user_at(&r, va), how == 3 ? VEC_EXIT : 14);
			EQ("error or code", how == 3 ? r.rax : r.err, how == 3 ? 2 : how ? 0x15 : 0x14);
			*e = old;
			flush_tlb();
		}
	*pte_of(va, 4) = 0;
	flush_tlb();
}

static void no_pcid(void)
{
	if (has(1, 2, 17)) {
		skip("PCID is there");
		return;
	}
	u64 cr4 = rd_cr4();
	regs_init(&r);
	r.rax = cr4 | 1 << 17;
	EQ("CR4.PCIDE", run(&r, set_cr4), 13);
	EQ("CR4", rd_cr4(), cr4);
}

const struct test tests[] = {
	{ "paging.permissions", permissions }, { "paging.write_protect", write_protect },
	{ "paging.accessed_dirty", accessed_dirty }, { "paging.present_changes", present_changes },
	{ "paging.aliases", aliases }, { "paging.large_pages", large_pages },
	{ "paging.reserved_bits", reserved_bits }, { "paging.recursive", recursive },
	{ "paging.roots", roots }, { "paging.global_pages", global_pages },
	{ "paging.smap_smep", smap_smep }, { "paging.neighbours", neighbours },
	{ "paging.table_writes", table_writes }, { "paging.many_writes", many_writes }, { "paging.user_code_high", user_code_high },
	{ "paging.no_pcid", no_pcid }, { NULL, NULL },
};
