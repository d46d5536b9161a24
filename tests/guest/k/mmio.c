/* Device registers in memory, touched by many kinds of instruction; ports of all sizes. */
#include "lib.h"

static struct regs r;
SNIP(m_movzx, "movzbl (%rsi),%eax; movzwl (%rsi),%ebx; movsbq (%rsi),%rcx");
SNIP(m_and, "andl %eax,(%rsi)"); SNIP(m_or, "orl $0x10000,(%rsi)"); SNIP(m_xor, "xorl %eax,(%rsi)");
SNIP(m_xchg, "xchg %eax,(%rsi)"); SNIP(m_bts, "btsl $16,(%rsi)"); SNIP(m_btr, "lock btrl $16,(%rsi)");
SNIP(m_test, "testl $0x10000,(%rsi); setnz %al"); SNIP(m_cmp, "cmpl %eax,(%rsi); sete %bl");
SNIP(m_movs, "mov $1,%ecx; rep movsl"); SNIP(m_stos, "stosl"); SNIP(m_lods, "lodsl");
SNIP(m_imm, "movl $0x100ff,(%rsi)"); SNIP(m_add, "addl $1,(%rsi)");
SNIP(m_cmov, "cmp %eax,%eax; cmove (%rsi),%ebx"); SNIP(m_alu, "xor %eax,%eax; add (%rsi),%eax; or (%rsi),%ebx; sub (%rsi),%ecx");
SNIP(m_sse, "movd (%rsi),%xmm0; movd %xmm0,%eax; movd %xmm0,(%rdi)"); SNIP(m_sib, "mov (%rsi,%rcx,4),%eax; mov %eax,(%rsi,%rdx,8)");
SNIP(m_cmpxchg, "mov (%rsi),%eax; lock cmpxchg %ebx,(%rsi)");
SNIP(m_imul, "imul $3,(%rsi),%eax");
SNIP(m_rsp, "mov %rsp,%rbx; mov %rsi,%rsp; mov (%rsp),%eax; mov %rbx,%rsp");

static u64 reg; /* a LAPIC register that keeps what is written: LVT1, masked */

static void go(const void *code, u64 rax)
{
	regs_init(&r);
	r.rsi = reg;
	r.rax = rax;
	EQ("exit", run(&r, code), VEC_EXIT);
}

static void set(u32 v) { *(volatile u32 *)reg = v; }
static u32 get(void) { return *(volatile u32 *)reg; }

static void instructions(void)
{
	lapic_enable();
	reg = (u64)mmio(LAPIC + 0x320);
	lapic_wr(0x380, 0);
	set(0x10044);
	EQ("read back", get(), 0x10044);
	go(m_movzx, 0); /* narrow reads are undefined: just no crash */
	go(m_and, 0xffff00ff); EQ("and", get(), 0x10044);
	set(0x44); go(m_or, 0); EQ("or", get(), 0x10044);
	go(m_xor, 0x11); EQ("xor", get(), 0x10055);
	go(m_xchg, 0x10066); EQ("xchg", get(), 0x10066); EQ("xchg old", r.rax, 0x10055);
	go(m_btr, 0); EQ("btr", get(), 0x66); EQ("cf", r.rflags & 1, 1);
	go(m_bts, 0); EQ("bts", get(), 0x10066); EQ("cf", r.rflags & 1, 0);
	go(m_test, 0); EQ("test", r.rax & 0xff, 1);
	go(m_cmp, 0x10066); EQ("cmp", r.rbx & 0xff, 1);
	go(m_imm, 0); EQ("imm", get(), 0x100ff);
	set(0x10020); go(m_add, 0); EQ("add", get(), 0x10021);
	go(m_cmov, 1); EQ("cmov", r.rbx, 0x10021);
	go(m_alu, 0); EQ("add reg", r.rax, 0x10021); EQ("or reg", (u32)r.rbx, 0x0c0c0c0c | 0x10021);
	go(m_imul, 0); EQ("imul", r.rax, 0x10021 * 3);
	go(m_rsp, 0); EQ("through rsp", r.rax, 0x10021);
	u32 mem = 0;
	regs_init(&r); r.rsi = reg; r.rdi = (u64)&mem;
	EQ("movs", run(&r, m_movs), VEC_EXIT); EQ("movs", mem, 0x10021); EQ("rsi", r.rsi, reg + 4);
	mem = 0x10031;
	regs_init(&r); r.rdi = reg; r.rsi = (u64)&mem; run(&r, m_movs); EQ("movs to", get(), 0x10031);
	regs_init(&r); r.rdi = reg; r.rax = 0x10032; run(&r, m_stos); EQ("stos", get(), 0x10032); EQ("rdi", r.rdi, reg + 4);
	go(m_lods, 0); EQ("lods", r.rax, 0x10032);
	regs_init(&r); r.rsi = reg; r.rdi = (u64)&mem; run(&r, m_sse); EQ("sse", mem, 0x10032); EQ("movd", r.rax, 0x10032);
	regs_init(&r); r.rsi = reg - 0x40; r.rcx = 16; r.rdx = 8; run(&r, m_sib); EQ("sib", get(), 0x10032);
	regs_init(&r); r.rsi = reg; r.rbx = 0x10033; run(&r, m_cmpxchg); EQ("cmpxchg", get(), 0x10033);
	for (u32 i = 0; i < 1000; i++) { /* the same instruction on RAM and on a device */
		u32 ram = i;
		regs_init(&r);
		r.rsi = i & 1 ? reg : (u64)&ram;
		run(&r, m_add);
		EQ("ram", ram, i & 1 ? i : i + 1);
	}
}

static void lapic_regs(void)
{
	lapic_enable();
	u32 ver = lapic_rd(0x30);
	CHECK((ver & 0xff) >= 0x10 && (ver & 0xff) < 0x20, "version %x", ver);
	u32 q[4];
	cpuid(1, 0, q);
	EQ("APIC id", lapic_rd(0x20) >> 24, q[1] >> 24);
	EQ("base", rdmsr(0x1b) & 0xfffff900, 0xfee00900);
	lapic_wr(0xd0, 0x5000000);
	EQ("LDR", lapic_rd(0xd0), 0x5000000);
	lapic_wr(0xe0, 0xffffffff);
	lapic_wr(0x30, 0);
	EQ("version is read-only", lapic_rd(0x30), ver);
	lapic_wr(0x280, 0); /* ESR */
	lapic_wr(0x3e0, 3);
	EQ("divide", lapic_rd(0x3e0), 3);
	lapic_wr(0xf0, 0xff); /* software disable masks all LVTs */
	if (!tcg())
		EQ("LVT masked", lapic_rd(0x350) >> 16 & 1, 1);
	lapic_wr(0xf0, 0x1ff);
	if (has(1, 2, 21)) {
		wrmsr(0x1b, rdmsr(0x1b) | 0x400);
		EQ("x2APIC id", rdmsr(0x802), q[1] >> 24);
		EQ("x2APIC version", rdmsr(0x803) & 0xff, ver & 0xff);
		wrmsr(0x832, 0x10077);
		EQ("x2APIC LVT", rdmsr(0x832), 0x10077);
		u64 v;
		EQ("no such register", try_rdmsr(0x804, &v), 13);
		EQ("back to xAPIC directly", try_wrmsr(0x1b, rdmsr(0x1b) & ~0x400UL), 13);
		wrmsr(0x1b, rdmsr(0x1b) & ~0xc00UL);
		wrmsr(0x1b, rdmsr(0x1b) | 0x800);
		lapic_enable();
	}
}

static void ioapic(void)
{
	volatile u32 *io = mmio(IOAPIC);

	io[0] = 1;
	u32 ver = io[4];
	u32 pins = (ver >> 16 & 0xff) + 1;
	CHECK(pins >= 16 && pins <= 240, "pins %u", pins);
	for (u32 i = 0; i < pins; i++) {
		io[0] = 0x10 + 2 * i;
		io[4] = 0x10000 | (0x20 + i);
		EQ("low", io[4] & 0x1ffff, 0x10000u | (0x20 + i));
		io[0] = 0x11 + 2 * i;
		io[4] = 0xff000000;
		EQ("high", io[4] & 0xff000000, 0xff000000);
		io[4] = 0;
	}
	EQ("select reads back", io[0], 0x11 + 2 * (pins - 1));
}

static void hpet(void)
{
	volatile u64 *h = (volatile u64 *)mmio(HPET);
	u64 cap = h[0];

	if (cap == ~0UL || !cap) {
		skip("no HPET");
		return;
	}
	u64 fs = cap >> 32;
	CHECK(fs >= 100000 && fs <= 100000000, "period %lu fs", fs);
	u64 us = 0, tsc = tsc_per_ms() * 10;
	/* A host may run others between two looks at a clock. */
	for (u32 tries = 0; tries < 20 && !(us > 8000 && us < 40000); tries++) {
		h[2] = 0; /* stop */
		h[0x1e] = 0; /* main counter, 0xf0 */
		EQ("stopped", h[0x1e], 0);
		h[2] = 1;
		u64 t0 = rdtsc();
		while (rdtsc() - t0 < tsc)
			;
		us = h[0x1e] * (fs / 1000) / 1000000;
	}
	CHECK(us > 8000 && us < 40000, "HPET counted %lu us in 10 ms", us);
	u32 lo = ((volatile u32 *)h)[0xf0 / 4], lo2 = ((volatile u32 *)h)[0xf0 / 4];
	CHECK(lo2 - lo < 10000000, "32-bit reads: %x %x", lo, lo2);
	h[2] = 0;
}

SNIP(p_ins, "mov $8,%ecx; rep insb"); SNIP(p_outs, "mov $4,%ecx; rep outsb");
SNIP(p_imm, "in $0x61,%al; out %al,$0x80; in %dx,%ax; in %dx,%eax");
static void ports(void)
{
	static u8 buf[64];

	outb(0x70, 0x30); outb(0x71, 0x5a); /* a free CMOS byte */
	outb(0x70, 0x30);
	u8 cmos = inb(0x71);
	CHECK(cmos == 0x5a || cmos == 0xff, "CMOS byte %x", cmos);
	EQ("no device 1", inb(0x2f0), 0xff);
	u16 w;
	asm volatile("inw %1,%0" : "=a"(w) : "d"((u16)0x2f0)); EQ("no device 2", w, 0xffff);
	EQ("no device 4", inl(0x2f0), 0xffffffff);
	regs_init(&r); r.rdx = 0x61; r.rdi = (u64)buf; EQ("ins", run(&r, p_ins), VEC_EXIT); EQ("rdi", r.rdi, (u64)buf + 8);
	memcpy(buf, "\0\0\0\0", 4);
	regs_init(&r); r.rdx = 0x80; r.rsi = (u64)buf; EQ("outs", run(&r, p_outs), VEC_EXIT); EQ("rsi", r.rsi, (u64)buf + 4);
	regs_init(&r); r.rdx = 0x2f0; EQ("imm", run(&r, p_imm), VEC_EXIT); EQ("eax", r.rax, 0xffffffff);
	/* ins across a page whose second half is absent */
	unmap(KTEST + 0x1000);
	map_new(KTEST, RW);
	regs_init(&r); r.rdx = 0x61; r.rdi = KTEST + 0xffd; EQ("ins fault", run(&r, p_ins), 14);
	EQ("rcx", r.rcx, 5); EQ("rdi", r.rdi, KTEST + 0x1000); EQ("cr2", last_cr2, KTEST + 0x1000); EQ("err", r.err, 2);
	/* I/O permission bitmap: user may touch 0x80 only */
	static const u8 in80[] = { 0xe4, 0x80, 0xcd, VEC_EXIT }, in81[] = { 0xe4, 0x81, 0xcd, VEC_EXIT };
	tss.iomap = sizeof(tss);
	regs_init(&r); EQ("user port", run_user(&r, in80, in80 + 4), 13);
	regs_init(&r); r.rflags |= 0x3000; EQ("IOPL 3", run_user(&r, in81, in81 + 4), VEC_EXIT);
	EQ("IOPL kept", r.rflags & 0x3000, 0x3000);
}

static void unclaimed(void)
{
	map(KTEST, 0xd8000000, RW | 0x18); /* nothing there on a PC without devices */
	u64 v;
	EQ("read", try_read8(KTEST, &v), -1);
	EQ("write", try_write8(KTEST, 1), -1);
	unmap(KTEST);
}

const struct test tests[] = {
	{ "mmio.instructions", instructions }, { "mmio.lapic", lapic_regs }, { "mmio.ioapic", ioapic },
	{ "mmio.hpet", hpet }, { "mmio.ports", ports }, { "mmio.unclaimed", unclaimed }, { NULL, NULL },
};
