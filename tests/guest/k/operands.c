/* Every addressing form; accesses that cross pages, with the second page absent,
 * read-only or a device; immediates, moffs, address-size override, locks. */
#include "lib.h"

static struct regs r;
#define M (KTEST + 0x600000)
static u64 *m;

static void setup(void)
{
	static bool done;

	if (!done) {
		map_new(M, RW);
		page_alloc();
		map_new(M + 4096, RW);
		unmap(M + 8192);
		done = true;
	}
	m = (u64 *)M;
	for (u32 i = 0; i < 1024; i++)
		m[i] = i * 0x0101010101010101UL;
}

/* rbx = M, rcx = 8, r12 = M + 64, r13 = M + 128, rbp = M + 192, rdx = -16 */
#define FORMS(X) \
	X(f0, "(%rbx)", 0) X(f1, "8(%rbx)", 8) X(f2, "0x400(%rbx)", 0x400) X(f3, "-8(%r12)", 56) \
	X(f4, "(%r12)", 64) X(f5, "(%r13)", 128) X(f6, "8(%r13)", 136) X(f7, "(%rbp)", 192) \
	X(f8, "(%rbx,%rcx)", 8) X(f9, "(%rbx,%rcx,2)", 16) X(f10, "(%rbx,%rcx,4)", 32) \
	X(f11, "(%rbx,%rcx,8)", 64) X(f12, "24(%rbx,%rcx,8)", 88) X(f13, "0x200(%rbx,%rcx,8)", 0x240) \
	X(f14, "(%r12,%rdx)", 48) X(f15, "(%r13,%rdx,2)", 96) X(f16, "(%rbp,%rdx,4)", 128) \
	X(f17, "0x80(%r13,%rdx,8)", 128) X(f18, "(%rbp,%r8)", 200) X(f19, "(,%r9,1)", 16) \
	X(f20, "0x1000-0x18(,%r10,8)", 24)
#define X(n, op, off) SNIP(n, "mov " op ",%r15");
FORMS(X)
#undef X

static void forms(void)
{
	static const struct { const char *code; u64 off; } all[] = {
#define X(n, op, off) { n, off },
		FORMS(X)
#undef X
	};

	setup();
	for (u32 i = 0; i < ARRAY_SIZE(all); i++) {
		regs_init(&r);
		r.rbx = M; r.rcx = 8; r.r12 = M + 64; r.r13 = M + 128; r.rbp = M + 192; r.rdx = -16UL;
		r.r8 = 8; r.r9 = M + 16;
		r.r10 = (u64)((i64)(M + 24 - 0xfe8) >> 3);
		EQ("exit", run(&r, all[i].code), VEC_EXIT);
		if (r.r15 != *(u64 *)(M + all[i].off))
			fail("form %u: got %lx, want %lx", i, r.r15, *(u64 *)(M + all[i].off));
	}
}

static u64 var = 0x1234;
static u64 vars[4] = { 1, 2, 3, 4 };
static void rip_relative(void)
{
	u64 v;

	asm volatile("mov %1, %0" : "=r"(v) : "m"(var)); EQ("load", v, 0x1234);
	asm volatile("movq $-5, %0" : "=m"(var)); EQ("store imm32", var, -5UL);
	asm volatile("movb $7, %0" : "+m"(var)); EQ("store imm8", var, 0xffffffffffffff07);
	asm volatile("addq $0x12345678, %0" : "+m"(var)); EQ("add imm32", var, 0xffffffffffffff07 + 0x12345678);
	asm volatile("lea %1, %0" : "=r"(v) : "m"(vars[2])); EQ("lea", v, (u64)&vars[2]);
	asm volatile("lock incq %0" : "+m"(vars[1])); EQ("lock", vars[1], 3);
	asm volatile("imul $1000, %1, %0" : "=r"(v) : "m"(vars[3])); EQ("imul", v, 4000);
	asm volatile("cmpq $3, %1; sete %b0" : "=r"(v) : "m"(vars[2])); EQ("cmp", v & 0xff, 1);
	asm volatile("movups %0, %%xmm1; movups %%xmm1, %1" : : "m"(vars[0]), "m"(vars[2])); EQ("sse", vars[3], 3);
	vars[1] = 2; vars[2] = 3; vars[3] = 4;
	asm volatile("push %1; pop %0" : "=m"(vars[1]) : "m"(vars[0])); EQ("push pop", vars[1], 1);
	vars[1] = 2;
}

SNIP(moffs, ".byte 0x48,0xa1; .quad 0; .byte 0x48,0xa3; .quad 0; .byte 0xa0; .quad 0");
static void moffs_forms(void)
{
	u8 code[64];

	setup();
	memcpy(code, moffs, (u64)(moffs_end - moffs));
	*(u64 *)(code + 2) = M + 0x40;
	*(u64 *)(code + 12) = M + 0x48;
	*(u64 *)(code + 21) = M + 0xff9;
	map_new(KTEST + 0x700000, RW);
	memcpy((void *)(KTEST + 0x700000), code, sizeof(code));
	regs_init(&r);
	EQ("exit", run(&r, (void *)(KTEST + 0x700000)), VEC_EXIT);
	EQ("stored", m[9], m[8]);
	EQ("al", r.rax, (m[8] & ~0xffUL) | *(u8 *)(M + 0xff9));
}

SNIP(a32, "mov (%esi),%rax; mov 8(%esi,%ecx,2),%rbx; lea (%esi),%rdx; lea -1(%edi),%r8; addl $1,(%esi)");
static void address_size(void)
{
	u64 *low = virt(0x3800000);

	low[0] = 100; low[1] = 200; low[2] = 300;
	regs_init(&r);
	r.rsi = 0xffffffff03800000;
	r.rcx = 0xffffffff00000004;
	r.rdi = 0x123400000000;
	EQ("exit", run(&r, a32), VEC_EXIT);
	EQ("load", r.rax, 100); EQ("index", r.rbx, 300); EQ("lea", r.rdx, 0x3800000);
	EQ("wraps", r.r8, 0xffffffff); EQ("rmw", low[0], 101);
}

SNIP(c_ld2, "mov (%rsi),%ax"); SNIP(c_ld4, "mov (%rsi),%eax"); SNIP(c_ld8, "mov (%rsi),%rax");
SNIP(c_st2, "mov %ax,(%rsi)"); SNIP(c_st4, "mov %eax,(%rsi)"); SNIP(c_st8, "mov %rax,(%rsi)");
SNIP(c_add8, "add %rax,(%rsi)"); SNIP(c_lock, "lock add %rax,(%rsi)"); SNIP(c_xchg, "xchg %rax,(%rsi)");
SNIP(c_cmpxchg, "mov (%rsi),%rax; lock cmpxchg %rbx,(%rsi)"); SNIP(c_xadd, "lock xadd %rax,(%rsi)");
SNIP(c_sse, "movdqu (%rsi),%xmm3; movdqu %xmm3,(%rsi)"); SNIP(c_push, "mov %rsp,%rbx; lea 8(%rsi),%rsp; push %rax; mov %rbx,%rsp");
SNIP(c_pop, "mov %rsp,%rbx; mov %rsi,%rsp; pop %rax; mov %rbx,%rsp"); SNIP(c_call, "mov %rsp,%rbx; lea 8(%rsi),%rsp; call 1f; 1: mov %rbx,%rsp");
SNIP(c_shl, "shlq $3,(%rsi)"); SNIP(c_bts, "lock btsq $5,(%rsi)"); SNIP(c_inc4, "incl (%rsi)"); SNIP(c_not, "notq (%rsi)");
SNIP(c_fst, "fldl (%rsi); fstpl (%rsi)"); SNIP(c_movnti, "movnti %rax,(%rsi)"); SNIP(c_fx, "fnstcw (%rsi)");
SNIP(c_cx16, "lock cmpxchg8b (%rsi)"); SNIP(c_setcc, "sete (%rsi)"); SNIP(c_pushm, "push (%rsi); pop (%rsi)");

static void page_cross(void)
{
	setup();
	for (u32 off = 1; off < 8; off++) {
		u64 a = M + 4096 - off, v = 0x1122334455667788, old;
		u64 *p = (u64 *)a;
		old = *p;
		regs_init(&r); r.rsi = a; run(&r, c_ld8); EQ("ld8", r.rax, old);
		regs_init(&r); r.rsi = a; run(&r, c_ld4); EQ("ld4", r.rax, (u32)old);
		regs_init(&r); r.rsi = a; r.rax = v; run(&r, c_st8); EQ("st8", *p, v);
		regs_init(&r); r.rsi = a; r.rax = 5; run(&r, c_add8); EQ("add", *p, v + 5);
		regs_init(&r); r.rsi = a; r.rax = 5; run(&r, c_lock); EQ("lock add", *p, v + 10);
		regs_init(&r); r.rsi = a; r.rax = 9; run(&r, c_xchg); EQ("xchg", *p, 9); EQ("xchg old", r.rax, v + 10);
		regs_init(&r); r.rsi = a; r.rbx = 77; run(&r, c_cmpxchg); EQ("cmpxchg", *p, 77);
		regs_init(&r); r.rsi = a; r.rax = 3; run(&r, c_xadd); EQ("xadd", *p, 80); EQ("xadd old", r.rax, 77);
		regs_init(&r); r.rsi = a; run(&r, c_push); EQ("push", *p, 0x0f0f0f0f0f0f0f0f);
		regs_init(&r); r.rsi = a; run(&r, c_pop); EQ("pop", r.rax, 0x0f0f0f0f0f0f0f0f);
		*p = 1; regs_init(&r); r.rsi = a; run(&r, c_shl); EQ("shl", *p, 8);
		regs_init(&r); r.rsi = a; run(&r, c_bts); EQ("bts", *p, 40);
		regs_init(&r); r.rsi = a; run(&r, c_not); EQ("not", *p, ~40UL);
		regs_init(&r); r.rsi = a; run(&r, c_sse); EQ("sse", *p, ~40UL);
		regs_init(&r); r.rsi = a; run(&r, c_pushm); EQ("push mem", *p, ~40UL);
		regs_init(&r); r.rsi = a; run(&r, c_call); EQ("call", *p, (u64)c_call_end - 5);
	}
}

/* The second page is absent or read-only: nothing is written, nothing changes. */
static void page_cross_fault(void)
{
	static const struct { const char *code; u32 size; bool write; } all[] = {
		{ c_ld2, 2, 0 }, { c_ld4, 4, 0 }, { c_ld8, 8, 0 }, { c_st2, 2, 1 }, { c_st4, 4, 1 },
		{ c_st8, 8, 1 }, { c_add8, 8, 1 }, { c_lock, 8, 1 }, { c_xchg, 8, 1 }, { c_xadd, 8, 1 },
		{ c_shl, 8, 1 }, { c_bts, 8, 1 }, { c_inc4, 4, 1 }, { c_not, 8, 1 }, { c_movnti, 8, 1 },
		{ c_fx, 2, 1 }, { c_cx16, 8, 1 },
	};

	setup();
	u64 *e = pte_of(M + 4096, 1), old = *e;
	for (u32 ro = 0; ro < 2; ro++) {
		*e = ro ? old & ~(u64)RW : 0;
		invlpg(M + 4096);
		for (u32 i = 0; i < ARRAY_SIZE(all); i++) {
			if (ro && !all[i].write)
				continue;
			u64 before = m[511];
			regs_init(&r);
			struct regs in = r;
			r.rsi = in.rsi = M + 4096 - all[i].size / 2;
			EQ("vector", run(&r, all[i].code), 14);
			EQ("cr2", last_cr2, M + 4096);
			bool rmw = all[i].write && all[i].code != c_st2 && all[i].code != c_st4 &&
				   all[i].code != c_st8 && all[i].code != c_movnti && all[i].code != c_fx;
			if (r.err != ((all[i].write ? 2 : 0) | ro) && !(tcg() && rmw && r.err == ro))
				fail("case %u: error %lx", i, r.err);
			EQ("rip", r.rip, (u64)all[i].code);
			EQ("rax", r.rax, in.rax);
			EQ("rdx", r.rdx, in.rdx);
			EQ("flags", r.rflags & 0x8d5, in.rflags & 0x8d5);
			if (m[511] != before && !tcg())
				fail("case %u: half written: %lx", i, m[511]);
			m[511] = before;
		}
	}
	*e = old;
	flush_tlb();
	/* the first page absent, the second present: CR2 is the first byte */
	e = pte_of(M, 1);
	old = *e;
	*e = 0;
	invlpg(M);
	regs_init(&r);
	r.rsi = M + 4093;
	EQ("vector", run(&r, c_ld8), 14);
	EQ("cr2", last_cr2, M + 4093);
	*e = old;
	flush_tlb();
}

/* RAM, then a device register page behind it. */
static void cross_to_mmio(void)
{
	setup();
	lapic_enable();
	u64 *e = pte_of(M + 4096, 1), old = *e;
	*e = LAPIC | P | RW | 0x18;
	invlpg(M + 4096);
	regs_init(&r);
	r.rsi = M + 4092;
	m[511] = 0x5566778800000000;
	EQ("load", run(&r, c_ld8), VEC_EXIT);
	EQ("ram half", (u32)r.rax, 0x55667788);
	regs_init(&r);
	r.rsi = M + 4092;
	EQ("store", run(&r, c_st8), VEC_EXIT);
	EQ("ram half stored", m[511] >> 32, 0x0f0f0f0f);
	*e = old;
	flush_tlb();
}

/* MASKMOVDQU: an operand that no ModRM byte names, with segment and address-size prefixes. */
#define MASKMOV(prefix) "pcmpeqd %xmm1,%xmm1; movq %rax,%xmm0; punpcklqdq %xmm0,%xmm0; " prefix "maskmovdqu %xmm1,%xmm0"
SNIP(mm, MASKMOV("")); SNIP(mm_fs, MASKMOV(".byte 0x64; ")); SNIP(mm_gs, MASKMOV(".byte 0x65; "));
SNIP(mm_a32, MASKMOV(".byte 0x67; ")); SNIP(mm_fs_a32, MASKMOV(".byte 0x67; .byte 0x64; "));

static void maskmov_at(const char *code, const char *end, bool user, u64 rdi, u64 base, u64 *to)
{
	const u64 v = 0x1122334455667700; /* as a page-table entry not present */

	to[0] = to[1] = 0;
	wrmsr(0xc0000100, base);
	regs_init(&r);
	r.rdi = rdi;
	r.rax = v;
	if (code == mm_gs)
		wrmsr(0xc0000101, base);
	EQ("exit", user ? run_user(&r, code, end) : run(&r, code), VEC_EXIT);
	EQ("first half", to[0], v);
	EQ("second half", to[1], v);
	EQ("rdi", r.rdi, rdi);
	to[0] = to[1] = 0;
	wrmsr(0xc0000100, 0);
	wrmsr(0xc0000101, 0);
}

static void maskmov(void)
{
	u64 at = UDATA + 0x30000, *table = virt(*pte_of(at, 2) & 0xffffffffff000), *to = table + 500;
	u64 *low = virt(0x3800000);

	setup();
	for (u32 round = 0; round < 3; round++) {
		maskmov_at(mm, mm_end, false, M + 0x40, 0, m + 8);
		maskmov_at(mm_fs, mm_fs_end, false, 0x40, M, m + 8);
		maskmov_at(mm, mm_end, false, M + 4088, 0, m + 511);
		maskmov_at(mm_fs, mm_fs_end, false, 4088, M, m + 511);
		maskmov_at(mm_gs, mm_gs_end, false, -0x40UL, M + 0x80, m + 8);
		maskmov_at(mm_a32, mm_a32_end, false, 0x5500000003800000, 0, low);
		maskmov_at(mm_fs_a32, mm_fs_a32_end, false, 0x550000000000ffc0, M - 0xff80, m + 8);
		/* User code, to a page table, which is written unlike other pages. */
		map(at, (u64)table - DIRECT, RW | US);
		maskmov_at(mm, mm_end, true, at + 4000, 0, to);
		maskmov_at(mm_fs, mm_fs_end, true, 4000, at, to);
		maskmov_at(mm_fs_a32, mm_fs_a32_end, true, 0x5500000000000000 + 4000, at, to);
	}
}

const struct test tests[] = {
	{ "operands.forms", forms }, { "operands.rip_relative", rip_relative }, { "operands.moffs", moffs_forms },
	{ "operands.address_size", address_size }, { "operands.page_cross", page_cross },
	{ "operands.page_cross_fault", page_cross_fault }, { "operands.cross_to_mmio", cross_to_mmio },
	{ "operands.maskmov", maskmov },
	{ NULL, NULL },
};
