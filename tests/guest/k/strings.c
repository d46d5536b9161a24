/* String instructions: all sizes, both directions, across pages, with faults in the middle:
 * progress must be exact. SDM vol. 2, REP. */
#include "lib.h"

static struct regs r;
#define SRC (KTEST + 0x100000)
#define DST (KTEST + 0x200000)

#define STR(n, i) SNIP(s_##n, i); SNIP(s_##n##_d, "std; " i "; cld")
STR(movsb, "rep movsb"); STR(movsw, "rep movsw"); STR(movsl, "rep movsl"); STR(movsq, "rep movsq");
STR(stosb, "rep stosb"); STR(stosw, "rep stosw"); STR(stosl, "rep stosl"); STR(stosq, "rep stosq");
STR(lodsb, "rep lodsb"); STR(lodsq, "rep lodsq");
STR(cmpsb, "repe cmpsb"); STR(cmpsq, "repe cmpsq"); STR(scasb, "repne scasb"); STR(scasl, "repe scasl");
SNIP(one_movsb, "movsb"); SNIP(one_stosq, "stosq"); SNIP(one_lodsl, "lodsl"); SNIP(one_cmpsb, "cmpsb"); SNIP(one_scasq, "scasq");
SNIP(a32_movsb, ".byte 0x67; rep movsb");
SNIP(gs_movsb, "rep movsb %gs:(%rsi),(%rdi)");

static u8 *s, *d;

static void fill(void)
{
	for (u32 i = 0; i < 0x4000; i++) {
		s[i] = (u8)(i * 7 + (i >> 8));
		d[i] = 0xee;
	}
}

static void setup(void)
{
	static bool done;

	s = (u8 *)SRC;
	d = (u8 *)DST;
	if (!done) {
		for (u32 i = 0; i < 4; i++) { /* scattered pages */
			map_new(SRC + i * 4096, RW);
			page_alloc();
			map_new(DST + i * 4096, RW);
		}
		done = true;
	}
	fill();
}

static void go(const void *code, u64 rsi, u64 rdi, u64 rcx, int want)
{
	regs_init(&r);
	r.rsi = rsi;
	r.rdi = rdi;
	r.rcx = rcx;
	r.rax = 0x1122334455667788;
	EQ("vector", run(&r, code), want);
}

static void moves(void)
{
	static const char *const up[] = { s_movsb, s_movsw, s_movsl, s_movsq }, *const down[] = { s_movsb_d, s_movsw_d, s_movsl_d, s_movsq_d };

	setup();
	for (u32 z = 0; z < 4; z++)
		for (u32 off = 0; off < 24; off += 5) {
			u32 n = 1100, sz = 1 << z;
			fill();
			go(up[z], SRC + 0xf80 + off, DST + 0xf00 + off * 3, n, VEC_EXIT);
			EQ("rcx", r.rcx, 0);
			EQ("rsi", r.rsi, SRC + 0xf80 + off + n * sz);
			EQ("rdi", r.rdi, DST + 0xf00 + off * 3 + n * sz);
			CHECK(!memcmp(d + 0xf00 + off * 3, s + 0xf80 + off, n * sz), "movs size %u differs", sz);
			EQ("before", d[0xf00 + off * 3 - 1], 0xee);
			EQ("after", d[0xf00 + off * 3 + n * sz], 0xee);
			fill();
			go(down[z], SRC + 0x3000 + off, DST + 0x3100, n, VEC_EXIT);
			EQ("rcx", r.rcx, 0);
			EQ("rdi down", r.rdi, DST + 0x3100 - n * sz);
			CHECK(!memcmp(d + 0x3100 - (n - 1) * sz, s + 0x3000 + off - (n - 1) * sz, n * sz), "movs down size %u", sz);
		}
	/* overlap */
	fill();
	go(s_movsb, DST + 0xff0, DST + 0xff1, 100, VEC_EXIT);
	for (u32 i = 0; i < 101; i++)
		EQ("overlap", d[0xff0 + i], 0xee);
	for (u32 i = 0; i < 64; i++)
		d[0xff0 + i] = (u8)i;
	go(s_movsb, DST + 0xff0, DST + 0xff8, 64, VEC_EXIT);
	for (u32 i = 0; i < 72; i++)
		EQ("pattern", d[0xff0 + i], i & 7);
	go(s_movsq, SRC, DST, 0, VEC_EXIT);
	EQ("rcx 0", r.rsi, SRC);
	/* address-size override: identity-mapped addresses below 4 GiB */
	u8 *low = (u8 *)0x3000000;
	memcpy(virt((u64)low), s, 64);
	go(a32_movsb, 0xffffffff03000000, 0x1234567803000100, 0x5500000040, VEC_EXIT);
	CHECK(!memcmp(virt((u64)low + 0x100), s, 64), "32-bit movs");
	EQ("esi", r.rsi, 0x3000040);
	EQ("edi", r.rdi, 0x3000140);
	EQ("ecx", r.rcx, 0);
}

static void stores(void)
{
	static const char *const up[] = { s_stosb, s_stosw, s_stosl, s_stosq }, *const down[] = { s_stosb_d, s_stosw_d, s_stosl_d, s_stosq_d };

	setup();
	for (u32 z = 0; z < 4; z++) {
		u32 n = 900, sz = 1 << z;
		u64 v = 0x1122334455667788;
		fill();
		go(up[z], 0, DST + 0xffd, n, VEC_EXIT);
		for (u32 i = 0; i < n * sz; i++)
			EQ("stos", d[0xffd + i], (u8)(v >> 8 * (i % sz)));
		EQ("after", d[0xffd + n * sz], 0xee);
		EQ("rdi", r.rdi, DST + 0xffd + n * sz);
		fill();
		go(down[z], 0, DST + 0x3003, n, VEC_EXIT);
		EQ("last", d[0x3003], 0x88);
		EQ("first", d[0x3003 - (n - 1) * sz], 0x88);
		EQ("before", d[0x3003 - (n - 1) * sz - 1], 0xee);
	}
	go(one_stosq, 0, DST + 0xffc, 5, VEC_EXIT);
	EQ("rcx kept", r.rcx, 5);
	EQ("rdi", r.rdi, DST + 0x1004);
	go(one_movsb, SRC, DST + 3, 5, VEC_EXIT);
	EQ("byte", d[3], s[0]);
	go(one_lodsl, SRC + 0xffe, 0, 5, VEC_EXIT);
	EQ("lodsl", r.rax, *(u32 *)(SRC + 0xffe));
	go(s_lodsb, SRC + 0xf00, 0, 0x300, VEC_EXIT);
	EQ("al", r.rax & 0xff, s[0xf00 + 0x2ff]);
	EQ("rsi", r.rsi, SRC + 0x1200);
}

static void compares(void)
{
	setup();
	memcpy(d, s, 0x4000);
	go(s_cmpsb, SRC + 0xf00, DST + 0xf00, 0x1000, VEC_EXIT);
	EQ("rcx", r.rcx, 0);
	EQ("zf", r.rflags >> 6 & 1, 1);
	d[0x1234] ^= 1;
	go(s_cmpsb, SRC + 0xf00, DST + 0xf00, 0x1000, VEC_EXIT);
	EQ("stopped", r.rsi, SRC + 0x1235);
	EQ("rcx", r.rcx, 0x1000 - 0x335);
	EQ("zf", r.rflags >> 6 & 1, 0);
	go(s_cmpsq, SRC + 0xff4, DST + 0xff4, 0x100, VEC_EXIT);
	EQ("rsi", r.rsi, SRC + 0xff4 + 8 * ((0x1234 - 0xff4) / 8 + 1));
	go(s_cmpsb_d, SRC + 0x2000, DST + 0x2000, 0x1000, VEC_EXIT);
	EQ("down", r.rsi, SRC + 0x1233);
	memset(d, 1, 0x4000);
	d[0x1ff0] = 0x88;
	go(s_scasb, 0, DST + 0xff0, 0x2000, VEC_EXIT);
	EQ("found", r.rdi, DST + 0x1ff1);
	EQ("zf", r.rflags >> 6 & 1, 1);
	r.rflags = 0;
	go(one_cmpsb, SRC, DST, 9, VEC_EXIT);
	EQ("rcx kept", r.rcx, 9);
	go(one_scasq, 0, DST, 9, VEC_EXIT);
	EQ("rdi", r.rdi, DST + 8);
	/* no iteration leaves flags alone */
	regs_init(&r);
	r.rcx = 0;
	r.rflags = 0x8d7;
	run(&r, s_cmpsb);
	EQ("flags", r.rflags & 0x8d5, 0x8d5);
}

/* The page in the middle is absent: state at the fault tells how far it came. */
static void faults(void)
{
	static const char *const mv[] = { s_movsb, s_movsw, s_movsl, s_movsq }, *const st[] = { s_stosb, s_stosw, s_stosl, s_stosq };

	setup();
	for (u32 z = 0; z < 4; z++) {
		u32 sz = 1 << z;
		for (u32 mis = 0; mis < sz; mis += (sz > 2 ? 3 : 1)) {
			u64 *e = pte_of(DST + 0x2000, 1), old = *e;
			u64 start = DST + 0x1f00 + mis;
			u32 whole = (0x100 - mis) / sz; /* elements before the page */
			fill();
			*e = 0;
			invlpg(DST + 0x2000);
			go(mv[z], SRC + 0x800, start, 1000, 14);
			EQ("rip", r.rip, (u64)mv[z]);
			EQ("error", r.err, 2);
			EQ("cr2", last_cr2, DST + 0x2000);
			EQ("rcx", r.rcx, 1000 - whole);
			EQ("rdi", r.rdi, start + whole * sz);
			EQ("rsi", r.rsi, SRC + 0x800 + whole * sz);
			CHECK(!memcmp((void *)start, s + 0x800, whole * sz), "data before the fault");
			if (mis) /* an element that straddles wrote nothing */
				EQ("straddle", d[0x1fff], 0xee);
			struct regs half = r;
			go(st[z], 0, start, 1000, 14);
			EQ("stos rcx", r.rcx, 1000 - whole);
			EQ("stos rdi", r.rdi, start + whole * sz);
			/* the page appears: the interrupted instruction goes on */
			*e = old;
			half.rflags &= ~0x10000UL;
			half.rip = (u64)mv[z];
			EQ("resume", run(&half, mv[z]), VEC_EXIT);
			EQ("done", half.rcx, 0);
			CHECK(!memcmp((void *)(start + whole * sz), s + 0x800 + whole * sz, (1000 - whole) * sz), "data after resuming");
			/* source side */
			e = pte_of(SRC + 0x2000, 1);
			old = *e;
			*e = 0;
			invlpg(SRC + 0x2000);
			go(mv[z], SRC + 0x1f00 + mis, DST + 0x100, 1000, 14);
			EQ("src error", r.err, 0);
			EQ("src cr2", last_cr2, SRC + 0x2000);
			EQ("src rcx", r.rcx, 1000 - whole);
			EQ("src rdi", r.rdi, DST + 0x100 + whole * sz);
			*e = old & ~(u64)RW;
			go(mv[z], SRC + 0x1f00 + mis, DST + 0x100, 300, VEC_EXIT);
			/* read-only destination */
			e = pte_of(DST + 0x2000, 1);
			old = *e;
			*e &= ~(u64)RW;
			invlpg(DST + 0x2000);
			go(mv[z], SRC + 0x800, start, 1000, 14);
			EQ("ro error", r.err, 3);
			EQ("ro rcx", r.rcx, 1000 - whole);
			*e = old;
			*pte_of(SRC + 0x2000, 1) |= RW;
			flush_tlb();
		}
	}
	/* downwards */
	u64 *e = pte_of(DST + 0x1000, 1), old = *e;
	*e = 0;
	invlpg(DST + 0x1000);
	go(s_movsq_d, SRC + 0x3000, DST + 0x2104, 500, 14);
	EQ("down rcx", r.rcx, 500 - 33);
	EQ("down rdi", r.rdi, DST + 0x2104 - 33 * 8);
	EQ("down cr2", last_cr2, DST + 0x1ffc);
	EQ("df", r.rflags >> 10 & 1, 1);
	go(s_cmpsb, SRC + 0xf00, DST + 0xf00, 0, VEC_EXIT);
	memcpy(d, s, 0x1000);
	go(s_cmpsb, SRC + 0xf00, DST + 0xf00, 0x1000, 14);
	EQ("cmps rcx", r.rcx, 0xf00);
	EQ("cmps rsi", r.rsi, SRC + 0x1000);
	*e = old;
	flush_tlb();
}

/* Strings over pages that hold page tables and code. */
static void special(void)
{
	setup();
	u64 v, pa = page_alloc();
	map(KTEST + 0x10000000, pa, RW);
	*(u64 *)virt(pa) = 42;
	try_read8(KTEST + 0x10000000, &v);
	EQ("v", v, 42);
	u64 *pt = pte_of(KTEST + 0x10000000, 1);
	u64 save = *pt;
	u64 *base = (u64 *)((u64)pt & ~0xfffUL);
	go(s_stosb, 0, (u64)base, 0, VEC_EXIT);
	regs_init(&r);
	r.rdi = (u64)base;
	r.rcx = 512;
	r.rax = 0;
	EQ("clear a table", run(&r, s_stosq), VEC_EXIT);
	flush_tlb();
	EQ("all gone", try_read8(KTEST + 0x10000000, &v), 14);
	*pt = save;
	EQ("back", try_read8(KTEST + 0x10000000, &v), -1);
	static u64 gsbuf[8] = { 1, 2, 3, 4, 5, 6, 7, 8 };
	wrmsr(0xc0000101, (u64)gsbuf);
	go(gs_movsb, 8, DST, 16, VEC_EXIT);
	EQ("gs source", *(u64 *)d, 2);
	EQ("gs source", *(u64 *)(d + 8), 3);
	wrmsr(0xc0000101, 0);
}

/* Long ones under a timer: interrupts come between iterations. */
static volatile u64 ticks;
static void tick(struct regs *f)
{
	(void)f;
	ticks++;
	lapic_wr(0xb0, 0);
}
static void interrupted(void)
{
	setup();
	lapic_enable();
	on_vector(0x50, tick);
	lapic_wr(0x3e0, 0xb);
	lapic_wr(0x320, 0x20050);
	lapic_wr(0x380, 30000);
	u64 area = KTEST + 0x40000000;
	*pte_of(area, 2) = 0x2000000 | P | RW | PS;
	*pte_of(area + 0x200000, 2) = 0x2200000 | P | RW | PS;
	flush_tlb();
	for (u32 i = 0; i < 20; i++) {
		regs_init(&r);
		r.rdi = area + 0x1000;
		r.rcx = 0x100000;
		r.rax = i;
		r.rflags |= 0x200;
		run(&r, s_stosb);
		EQ("rdi", r.rdi, area + 0x101000);
		regs_init(&r);
		r.rsi = area + 0x1000;
		r.rdi = area + 0x200000;
		r.rcx = 0x100000;
		r.rflags |= 0x200;
		run(&r, s_movsb);
		EQ("rcx", r.rcx, 0);
		EQ("last", *(u8 *)(area + 0x2fffff), i);
	}
	lapic_wr(0x380, 0);
	CHECK(ticks > 0, "no ticks");
	*pte_of(area, 2) = *pte_of(area + 0x200000, 2) = 0;
	flush_tlb();
}

const struct test tests[] = {
	{ "strings.moves", moves }, { "strings.stores", stores }, { "strings.compares", compares },
	{ "strings.faults", faults }, { "strings.special", special }, { "strings.interrupted", interrupted },
	{ NULL, NULL },
};
