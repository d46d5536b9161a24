/* Floating point and vector state across interrupts, traps and privilege changes; XSAVE,
 * XRSTOR, FXSAVE, XSETBV; lazy switching by CR0.TS. */
#include "lib.h"

static struct regs r;
static u8 area[2][4096] __attribute__((aligned(64)));
static u8 pattern[32][64] __attribute__((aligned(64))), got[32][64] __attribute__((aligned(64)));
static volatile u64 ticks;
static u32 level; /* 0: SSE, 1: AVX, 2: AVX-512 */
static u64 kin[8], kout[8];

static void fill(u32 seed)
{
	for (u32 i = 0; i < 32; i++)
		for (u32 j = 0; j < 64; j++)
			pattern[i][j] = (u8)(seed * 31 + i * 7 + j + 1);
	for (u32 i = 0; i < 8; i++)
		kin[i] = 0x1111111111111111UL * (i + 1) + seed;
}

#define R16(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)
#define R32(X) R16(X) X(16) X(17) X(18) X(19) X(20) X(21) X(22) X(23) X(24) X(25) X(26) X(27) X(28) X(29) X(30) X(31)
#define S(n) #n
static void load(void)
{
#define X(n) asm volatile("movdqu %0, %%xmm" S(n) : : "m"(pattern[n]));
#define Y(n) asm volatile("vmovdqu %0, %%ymm" S(n) : : "m"(pattern[n]));
#define Z(n) asm volatile("vmovdqu64 %0, %%zmm" S(n) : : "m"(pattern[n]));
#define KK(n) asm volatile("kmovq %0, %%k" S(n) : : "m"(kin[n]));
	if (level == 2) {
		R32(Z) KK(0) KK(1) KK(2) KK(3) KK(4) KK(5) KK(6) KK(7)
	} else if (level == 1) {
		R16(Y)
	} else {
		R16(X)
	}
#undef X
#undef Y
#undef Z
#undef KK
}

static void store(void)
{
#define X(n) asm volatile("movdqu %%xmm" S(n) ", %0" : "=m"(got[n]));
#define Y(n) asm volatile("vmovdqu %%ymm" S(n) ", %0" : "=m"(got[n]));
#define Z(n) asm volatile("vmovdqu64 %%zmm" S(n) ", %0" : "=m"(got[n]));
#define KK(n) asm volatile("kmovq %%k" S(n) ", %0" : "=m"(kout[n]));
	memset(got, 0, sizeof(got));
	if (level == 2) {
		R32(Z) KK(0) KK(1) KK(2) KK(3) KK(4) KK(5) KK(6) KK(7)
	} else if (level == 1) {
		R16(Y)
	} else {
		R16(X)
	}
}

static void compare(const char *what)
{
	u32 n = level == 2 ? 32 : 16, len = 16 << level;

	for (u32 i = 0; i < n; i++)
		if (memcmp(pattern[i], got[i], len))
			fail("%s: vector register %u changed: %lx %lx", what, i, *(u64 *)got[i], ((u64 *)got[i])[len / 8 - 1]);
	if (level == 2 && memcmp(kin, kout, sizeof(kin)))
		fail("%s: mask registers changed", what);
}

static void levels(void)
{
	u64 x = 0;

	level = 0;
	if (!has(1, 2, 26))
		return;
	asm volatile("xgetbv" : "=a"(x) : "c"(0) : "rdx");
	if ((x & 6) == 6 && has(1, 2, 28))
		level = 1;
	if ((x & 0xe6) == 0xe6 && has(7, 1, 16) && has(7, 1, 30))
		level = 2;
	print("vector level %u, XCR0 %lx\n", level, x);
}

static void tick(struct regs *f)
{
	(void)f;
	ticks++;
	lapic_wr(0xb0, 0);
}

SNIP(u_spin, "mov $2000000,%ecx; 1: dec %ecx; jnz 1b");
SNIP(k_pf, "mov (%rsi),%rax");
SNIP(k_fxr, "fxrstor64 (%rsi)");
SNIP(k_xr, "xrstor64 (%rsi)");
SNIP(k_xs, "xsave64 (%rsi)");
SNIP(k_sse, "movaps %xmm0,%xmm1");
static void across(void)
{
	levels();
	lapic_enable();
	on_vector(0x50, tick);
	lapic_wr(0x3e0, 0xb);
	lapic_wr(0x320, 0x20050);
	for (u32 i = 0; i < 5; i++) {
		fill(i);
		load();
		lapic_wr(0x380, 50000);
		u64 n = ticks;
		wait_ms(&ticks, n + 5, 100);
		store();
		compare("interrupts in the kernel");
		load();
		regs_init(&r);
		r.rflags |= 0x200;
		RUN_USER(&r, u_spin);
		lapic_wr(0x380, 0);
		store();
		compare("interrupts in user mode");
		load();
		regs_init(&r);
		unmap(KTEST);
		r.rsi = KTEST;
		run(&r, k_pf);
		store();
		compare("page fault");
		load();
		u64 v;
		map_new(KTEST, RW);
		try_read8(KTEST, &v); /* a hidden fault */
		flush_tlb();
		try_write8(KTEST, 1);
		wr_cr3(rd_cr3());
		u32 q[4];
		cpuid(1, 0, q);
		rdmsr(0xc0000080);
		inb(0x61);
		lapic_rd(0x20);
		store();
		compare("exits");
	}
	CHECK(ticks > 20, "only %lu ticks", ticks);
}

static void x87(void)
{
	u16 cw = 0x27f;
	double d[8] = { 0 };

	asm volatile("fninit; fldcw %0" : : "m"(cw));
	asm volatile("fld1; fldpi; fldl2e; fldln2; fldz; fldl2t; fldlg2; fld1");
	lapic_wr(0x380, 20000);
	u64 n = ticks;
	wait_ms(&ticks, n + 5, 100);
	regs_init(&r);
	r.rflags |= 0x200;
	RUN_USER(&r, u_spin);
	lapic_wr(0x380, 0);
	for (u32 i = 0; i < 8; i++)
		asm volatile("fstpl %0" : "=m"(d[i]));
	static const u64 want[] = { 0x3ff0000000000000, 0x3fd34413509f79ff, 0x400a934f0979a371, 0,
				    0x3fe62e42fefa39ef, 0x3ff71547652b82fe, 0x400921fb54442d18, 0x3ff0000000000000 };
	for (u32 i = 0; i < 8; i++) {
		u64 g;
		memcpy(&g, &d[i], 8);
		CHECK(g == want[i] || g == want[i] - 1 || g == want[i] + 1, "st%u: %lx, want %lx", i, g, want[i]);
	}
	asm volatile("fnstcw %0" : "=m"(cw));
	EQ("control word", cw, 0x27f);
	u32 mx = 0x7f80;
	asm volatile("ldmxcsr %0" : : "m"(mx));
	regs_init(&r);
	RUN_USER(&r, u_spin);
	mx = 0;
	asm volatile("stmxcsr %0" : "=m"(mx));
	EQ("mxcsr", mx, 0x7f80);
	mx = 0x1f80;
	asm volatile("ldmxcsr %0; fninit" : : "m"(mx));
}

static void fxsave(void)
{
	fill(9);
	load();
	asm volatile("fxsave64 %0" : "=m"(area[0]));
	fill(10);
	load();
	asm volatile("fxrstor64 %0" : : "m"(area[0]));
	fill(9);
	u32 l = level;
	level = 0;
	store();
	compare("fxrstor");
	level = l;
	EQ("mxcsr", *(u32 *)(area[0] + 24), 0x1f80);
	EQ("mxcsr mask", *(u32 *)(area[0] + 28) & 0xffff, 0xffff);
	for (u32 i = 0; i < 16; i++)
		CHECK(!memcmp(area[0] + 160 + 16 * i, pattern[i], 16), "xmm%u in the image", i);
	/* bits that MXCSR does not have */
	*(u32 *)(area[0] + 24) = 0x10000;
	regs_init(&r);
	r.rsi = (u64)area[0];
	if (!tcg())
		EQ("reserved mxcsr", run(&r, k_fxr), 13);
	regs_init(&r);
	r.rsi = (u64)area[0] + 8;
	if (!tcg())
		EQ("unaligned", run(&r, k_fxr), 13);
}

/* FXSAVE and FNSAVE into a page table: entries far behind the first bytes change too. */
#define V (KTEST + 0x840000) /* entry 64 of its table */
static void save_to_table(void)
{
	u64 page[2] = { map_new(V, RW), page_alloc() };
	u64 *e = pte_of(V, 1), old = *e;

	*(u64 *)virt(page[0]) = 1;
	*(u64 *)virt(page[1]) = 2;
	levels();
	level = 0;
	EQ("before", *(volatile u64 *)V, 1);
	memset(pattern, 0, sizeof(pattern));
	*(u64 *)pattern[8] = (old & ~0xfffffffff000UL) | page[1];
	load();
	asm volatile("fxsave64 (%0)" : : "r"((u8 *)e - 160 - 8 * 16) : "memory");
	invlpg(V);
	EQ("after fxsave", *(volatile u64 *)V, 2);
	*e = old;
	invlpg(V);
	EQ("back", *(volatile u64 *)V, 1);
	/* st(7) lies at 98: its 80 bits are an entry of the table and a sign */
	u8 image[108] = { 0 };
	*(u16 *)image = 0x37f;
	*(u64 *)(image + 98) = 1UL << 63 | (old & 0xfff) | page[1];
	*(u16 *)(image + 106) = 0x3fff;
	asm volatile("frstor %0; fnsave (%1)" : : "m"(image), "r"((u8 *)e - 98) : "memory");
	invlpg(V);
	EQ("after fnsave", *(volatile u64 *)V, 2);
	memset(e - 64, 0, 4096);
	flush_tlb();
	asm volatile("fninit");
}

static void xsave_all(u8 *a, u64 mask)
{
	asm volatile("xsave64 (%0)" : : "r"(a), "a"((u32)mask), "d"((u32)(mask >> 32)) : "memory");
}
static void xrstor_all(u8 *a, u64 mask)
{
	asm volatile("xrstor64 (%0)" : : "r"(a), "a"((u32)mask), "d"((u32)(mask >> 32)) : "memory");
}

static void xsave(void)
{
	if (!has(1, 2, 26)) {
		skip("no XSAVE");
		return;
	}
	u32 q[4];
	u64 x;
	asm volatile("xgetbv" : "=a"(x) : "c"(0) : "rdx");
	cpuid(13, 0, q);
	CHECK(q[1] >= 576 && q[1] <= 4096, "XSAVE area of %u bytes", q[1]);
	if (!tcg())
		EQ("no PKRU in XCR0", x & 0x200, 0);
	memset(area, 0, sizeof(area));
	fill(3);
	load();
	xsave_all(area[0], ~0UL); /* a mask of all ones is what Linux uses */
	EQ("xstate_bv within XCR0", *(u64 *)(area[0] + 512) & ~x, 0);
	EQ("SSE saved", *(u64 *)(area[0] + 512) & 2, 2);
	fill(4);
	load();
	xrstor_all(area[0], ~0UL);
	fill(3);
	store();
	compare("xrstor of all");
	/* components not in the mask stay; those not in XSTATE_BV become initial */
	if (level >= 1) {
		xrstor_all(area[0], ~4UL);
		fill(5);
		load();
		xrstor_all(area[0], 3); /* x87 and SSE only: the upper halves stay */
		store();
		fill(5);
		CHECK(!memcmp(got[1] + 16, pattern[1] + 16, 16), "upper half changed by a masked XRSTOR");
		fill(3);
		CHECK(!memcmp(got[1], pattern[1], 16), "lower half not restored");
		*(u64 *)(area[0] + 512) &= ~4UL;
		fill(6);
		load();
		xrstor_all(area[0], 7);
		store();
		EQ("upper half initial", *(u64 *)(got[1] + 16) | *(u64 *)(got[7] + 24), 0);
		cpuid(13, 2, q);
		EQ("AVX offset", q[1], 576);
		EQ("AVX size", q[0], 256);
	}
	/* faults */
	*(u64 *)(area[0] + 512) = 1UL << 62;
	regs_init(&r);
	r.rsi = (u64)area[0];
	r.rax = r.rdx = 0xffffffff;
	EQ("XSTATE_BV outside XCR0", run(&r, k_xr), 13);
	regs_init(&r);
	r.rsi = (u64)area[0] + 16;
	EQ("unaligned", run(&r, k_xs), 13);
	wr_cr4(rd_cr4() & ~(1UL << 18));
	regs_init(&r);
	r.rsi = (u64)area[0];
	EQ("OSXSAVE off", run(&r, k_xs), 6);
	wr_cr4(rd_cr4() | 1 << 18);
	wr_cr0(rd_cr0() | 8);
	regs_init(&r);
	r.rsi = (u64)area[0];
	if (!tcg())
		EQ("TS", run(&r, k_xs), 7);
	asm volatile("clts");
	regs_init(&r);
	r.rsi = UDATA;
	unmap(UDATA);
	EQ("user fault", RUN_USER(&r, k_xs), 14);
}

static void xsavec(void)
{
	u32 q[4];

	cpuid(13, 1, q);
	if (!has(1, 2, 26) || !(q[0] & 2)) {
		skip("no XSAVEC");
		return;
	}
	memset(area, 0, sizeof(area));
	fill(3);
	load();
	asm volatile("xsavec64 (%0)" : : "r"(area[0]), "a"(-1), "d"(-1) : "memory");
	EQ("compacted", *(u64 *)(area[0] + 520) >> 63, 1);
	fill(4);
	load();
	xrstor_all(area[0], ~0UL);
	fill(3);
	store();
	compare("xsavec, xrstor");
	if (q[0] & 1) {
		asm volatile("xsaveopt64 (%0)" : : "r"(area[1]), "a"(-1), "d"(-1) : "memory");
		for (u32 i = 0; i < 16; i++)
			CHECK(!memcmp(area[1] + 160 + 16 * i, pattern[i], 16), "xsaveopt xmm%u", i);
	}
	if (q[0] & 8) {
		asm volatile("xsaves64 (%0)" : : "r"(area[1]), "a"(-1), "d"(-1) : "memory");
		fill(4);
		load();
		asm volatile("xrstors64 (%0)" : : "r"(area[1]), "a"(-1), "d"(-1) : "memory");
		fill(3);
		store();
		compare("xsaves, xrstors");
	}
}

SNIP(k_xsetbv, "xsetbv");
SNIP(k_vadd, "vaddps %ymm0,%ymm1,%ymm2");
static int try_xsetbv(u64 v, u32 idx)
{
	regs_init(&r);
	r.rax = (u32)v;
	r.rdx = v >> 32;
	r.rcx = idx;
	return run(&r, k_xsetbv);
}

static void xsetbv(void)
{
	if (!has(1, 2, 26)) {
		skip("no XSAVE");
		return;
	}
	u64 x;
	asm volatile("xgetbv" : "=a"(x) : "c"(0) : "rdx");
	EQ("same", try_xsetbv(x, 0), VEC_EXIT);
	EQ("no x87", try_xsetbv(x & ~1UL, 0), 13);
	EQ("AVX without SSE", try_xsetbv(5, 0), 13);
	EQ("unknown bit", try_xsetbv(x | 1UL << 40, 0), 13);
	EQ("index", try_xsetbv(x, 1), 13);
	regs_init(&r);
	r.rcx = 0; r.rax = x; r.rdx = 0;
	EQ("user", RUN_USER(&r, k_xsetbv), 13);
	if (level >= 1) {
		EQ("SSE only", try_xsetbv(3, 0), VEC_EXIT);
		regs_init(&r);
		EQ("AVX off", run(&r, k_vadd), 6);
		regs_init(&r);
		EQ("AVX off for users", RUN_USER(&r, k_vadd), 6);
		EQ("back", try_xsetbv(x, 0), VEC_EXIT);
		regs_init(&r);
		EQ("AVX on", run(&r, k_vadd), VEC_EXIT);
	}
}

/* Lazy switching as old kernels do it. */
static u64 nm_count;
static void on_nm(struct regs *f)
{
	(void)f;
	asm volatile("clts");
	nm_count++;
}
static void lazy(void)
{
	on_vector(7, on_nm);
	for (u32 i = 0; i < 50; i++) {
		fill(i);
		load();
		wr_cr0(rd_cr0() | 8);
		store();
		compare("after #NM");
		EQ("once", nm_count, i + 1);
	}
	on_vector(7, NULL);
	u64 mmx = 0x1234567890abcdef, out = 0;
	asm volatile("movq %1, %%mm3; movq %%mm3, %0; emms" : "=m"(out) : "m"(mmx));
	EQ("mmx", out, mmx);
	wr_cr4(rd_cr4() & ~0x200UL);
	regs_init(&r);
	EQ("OSFXSR off", run(&r, k_sse), 6);
	wr_cr4(rd_cr4() | 0x200);
}

const struct test tests[] = {
	{ "fpu.across", across }, { "fpu.x87", x87 }, { "fpu.fxsave", fxsave }, { "fpu.save_to_table", save_to_table }, { "fpu.xsave", xsave },
	{ "fpu.xsavec", xsavec }, { "fpu.xsetbv", xsetbv }, { "fpu.lazy", lazy }, { NULL, NULL },
};
