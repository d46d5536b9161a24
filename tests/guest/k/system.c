/* MSRs, CPUID, control registers, debug registers, time stamps. */
#include "lib.h"

static struct regs r;

SNIP(k_cpuid, "cpuid");
static void cpuid_sane(void)
{
	u32 q[4], b[4];

	cpuid(0, 0, q);
	CHECK(q[0] >= 7, "highest leaf %u", q[0]);
	cpuid(0x80000000, 0, q);
	CHECK(q[0] >= 0x80000008, "highest extended leaf %x", q[0]);
	EQ("long mode", has(0x80000001, 3, 29), 1);
	EQ("NX", has(0x80000001, 3, 20), 1);
	EQ("syscall", has(0x80000001, 3, 11), 1);
	EQ("no VMX", has(1, 2, 5), 0);
	EQ("SSE2", has(1, 3, 26), 1);
	EQ("APIC", has(1, 3, 9), 1);
	EQ("hypervisor", has(1, 2, 31), 1);
	cpuid(0x80000008, 0, q);
	CHECK((q[0] & 0xff) >= 36 && (q[0] & 0xff) <= 52, "physical address bits %u", q[0] & 0xff);
	EQ("linear bits", q[0] >> 8 & 0xff, has(7, 2, 16) ? 57 : 48);
	/* OSXSAVE mirrors CR4 */
	if (has(1, 2, 26)) {
		EQ("OSXSAVE", has(1, 2, 27), 1);
		wr_cr4(rd_cr4() & ~(1UL << 18));
		EQ("OSXSAVE off", has(1, 2, 27), 0);
		wr_cr4(rd_cr4() | 1 << 18);
		for (u32 i = 0; i < 64; i++) {
			cpuid(13, i, q);
			CHECK(q[0] <= 4096 || i < 2, "XSAVE component %u of %u bytes", i, q[0]);
		}
		cpuid(13, 0, q);
		cpuid(13, 0, b);
		if (!tcg()) /* protection keys are the host's */
			EQ("PKU state hidden", q[0] & 0x200, 0);
		EQ("enabled size <= size", q[1] <= q[2], 1);
	}
	if (!tcg())
		EQ("no PKU", has(7, 2, 3), 0);
	/* leaves beyond the last must not crash and be repeatable */
	for (u32 l = 0; l < 0x30; l++) {
		cpuid(l, 0, q);
		cpuid(l, 0, b);
		if (l != 0xb && l != 0x1f)
			CHECK(!memcmp(q, b, 16), "leaf %x differs", l);
	}
	regs_init(&r);
	r.rax = 0xffffffff00000001;
	r.rcx = 0xffffffff00000000;
	run(&r, k_cpuid);
	EQ("upper halves clear", (r.rax | r.rbx | r.rcx | r.rdx) >> 32, 0);
	regs_init(&r);
	r.rax = 1;
	r.rcx = 0;
	EQ("user", RUN_USER(&r, k_cpuid), VEC_EXIT);
	cpuid(1, 0, q);
	EQ("same for users", (u32)r.rax, q[0]);
}

static void msrs(void)
{
	static const u32 keep[] = { 0x174, 0x175, 0x176, 0xc0000100, 0xc0000101, 0xc0000102, 0xc0000082, 0xc0000083, 0x277 };
	u64 v;

	for (u32 i = 0; i < ARRAY_SIZE(keep); i++) {
		u64 old = rdmsr(keep[i]), want = keep[i] == 0x277 ? 0x0007040600070406 : 0xffff800000012340;
		if (keep[i] == 0x174)
			want = 0x10;
		EQ("write", try_wrmsr(keep[i], want), -1);
		if (rdmsr(keep[i]) != want)
			fail("MSR %x: wrote %lx, reads %lx", keep[i], want, rdmsr(keep[i]));
		wrmsr(keep[i], old);
	}
	if (!tcg()) {
		EQ("unknown read", try_rdmsr(0x12345, &v), 13);
		EQ("unknown write", try_wrmsr(0x12345, 0), 13);
		EQ("EFER reserved", try_wrmsr(0xc0000080, rdmsr(0xc0000080) | 1UL << 40), 13);
		EQ("EFER.LME off while paging", try_wrmsr(0xc0000080, rdmsr(0xc0000080) & ~0x100UL), 13);
		EQ("LSTAR non-canonical", try_wrmsr(0xc0000082, 1UL << 60), 13);
		EQ("PAT reserved", try_wrmsr(0x277, 2), 13);
	}
	EQ("LMA read-only", (wrmsr(0xc0000080, rdmsr(0xc0000080) & ~0x400UL), rdmsr(0xc0000080) >> 10 & 1), 1);
	EQ("MTRR cap", try_rdmsr(0xfe, &v), -1);
	EQ("MISC_ENABLE", try_rdmsr(0x1a0, &v), -1);
	EQ("APIC base", rdmsr(0x1b) & 0xfffff100, 0xfee00100);
}

static void control(void)
{
	u64 c0 = rd_cr0(), c4 = rd_cr4();

	EQ("PG PE", c0 & 0x80000001, 0x80000001);
	wr_cr0(c0 | 8);
	EQ("TS", rd_cr0() & 8, 8);
	u16 m;
	asm volatile("smsw %0" : "=m"(m));
	EQ("smsw", m & 0xf, rd_cr0() & 0xf);
	asm volatile("clts");
	EQ("clts", rd_cr0() & 8, 0);
	asm volatile("lmsw %w0" : : "r"((u32)(c0 & 0xffff) | 8));
	EQ("lmsw", rd_cr0() & 8, 8);
	asm volatile("lmsw %w0" : : "r"(0)); /* PE cannot be cleared so */
	EQ("PE stays", rd_cr0() & 1, 1);
	wr_cr0(c0);
	wr_cr2(0x123456789abc);
	EQ("cr2", rd_cr2(), 0x123456789abc);
	EQ("cr4", rd_cr4(), c4);
	wr_cr4(c4 ^ 0x80);
	EQ("PGE", rd_cr4(), c4 ^ 0x80);
	wr_cr4(c4);
	u64 v = rd_cr3();
	wr_cr3(v | 0x18);
	EQ("PWT PCD kept", rd_cr3() & 0x18, 0x18);
	wr_cr3(v);
	if (has(1, 2, 17)) { /* PCID */
		wr_cr4(c4 | 1 << 17);
		wr_cr3(v | 5);
		EQ("PCID", rd_cr3() & 0xfff, 5);
		wr_cr3(v | 6 | 1UL << 63);
		EQ("no-flush bit is not kept", rd_cr3(), v | 6);
		wr_cr3(v);
		wr_cr4(c4);
	}
	if (has(7, 1, 10)) { /* INVPCID */
		struct { u64 pcid, addr; } d = { 0, 0 };
		for (u64 t = 0; t < 4; t++)
			asm volatile("invpcid %0, %1" : : "m"(d), "r"(t) : "memory");
	}
	wr_cr8(5);
	EQ("cr8", rd_cr8(), 5);
	wr_cr8(0);
	/* long mode stays without CR4.PGE, and with every CR4 bit that the CPU admits */
	asm volatile("wbinvd" : : : "memory");
}

static void debug(void)
{
	wr_dr0(0x1111); wr_dr1(0x2222); wr_dr2(0xffffffff80001234); wr_dr3(0x4444);
	EQ("dr0", rd_dr0(), 0x1111); EQ("dr1", rd_dr1(), 0x2222);
	EQ("dr2", rd_dr2(), 0xffffffff80001234); EQ("dr3", rd_dr3(), 0x4444);
	wr_dr7(0);
	EQ("dr7", rd_dr7() & ~0x400UL, 0);
	wr_dr6(0xffff0ff0);
	EQ("dr6", rd_dr6() & 0xf, 0);
	wr_dr0(0); wr_dr1(0); wr_dr2(0); wr_dr3(0);
}

static __attribute__((noinline)) u64 rdtscp(u32 *aux)
{
	u32 a, d;

	asm volatile("rdtscp" : "=a"(a), "=d"(d), "=c"(*aux));
	return a | (u64)d << 32;
}

SNIP(u_rdtsc, "rdtsc");
/* The same instruction, run before and after what it reads has been written. */
static void tsc_written(void)
{
	u32 aux;
	u64 t, before;

	for (u32 i = 0; i < 4 && has(0x80000001, 3, 27); i++) {
		wrmsr(0xc0000103, 0x1000 + i);
		rdtscp(&aux);
		EQ("TSC_AUX", aux, 0x1000 + i);
	}
	regs_init(&r);
	EQ("user", RUN_USER(&r, u_rdtsc), VEC_EXIT);
	for (u32 i = 0; i < 4; i++) {
		wr_cr4(rd_cr4() ^ 4); /* TSD */
		regs_init(&r);
		EQ("user, TSD", run_user_at(&r, UCODE), i & 1 ? VEC_EXIT : 13);
	}
	if (tcg())
		return;
	before = rdtsc();
	wrmsr(0x10, before + (1UL << 50));
	t = rdtsc();
	CHECK(t - before >= 1UL << 50 && t - before < (1UL << 50) + (1UL << 40), "TSC written: %lx after %lx", t, before);
	wrmsr(0x10, t - (1UL << 50));
	t = rdtsc();
	CHECK(t - before < 1UL << 40, "TSC written back: %lx after %lx", t, before);
}

SNIP(u_tsc, "rdtsc; shl $32,%rdx; or %rdx,%rax; mov %rax,%rsi; rdtsc; shl $32,%rdx; or %rdx,%rax; sub %rsi,%rax");
static void tsc(void)
{
	u64 last = rdtsc();

	for (u32 i = 0; i < 100000; i++) {
		u64 t = rdtsc();
		if (t < last)
			fail("TSC went back: %lx after %lx", t, last);
		last = t;
	}
	regs_init(&r);
	EQ("user rdtsc", RUN_USER(&r, u_tsc), VEC_EXIT);
	CHECK(r.rax < 1000000000, "user difference %lx", r.rax);
	wr_cr4(rd_cr4() | 4); /* TSD */
	regs_init(&r);
	EQ("TSD", RUN_USER(&r, u_tsc), 13);
	regs_init(&r);
	EQ("TSD in kernel", run(&r, u_tsc), VEC_EXIT);
	wr_cr4(rd_cr4() & ~4UL);
	if (has(0x80000001, 3, 27)) {
		u32 aux, a, d;
		wrmsr(0xc0000103, 0x77);
		asm volatile("rdtscp" : "=a"(a), "=d"(d), "=c"(aux));
		EQ("TSC_AUX", aux, 0x77);
		if (has(7, 2, 22)) {
			u64 p;
			asm volatile("rdpid %0" : "=r"(p));
			EQ("rdpid", p, 0x77);
		}
	}
	u64 rate = tsc_per_ms();
	CHECK(rate > 100000 && rate < 10000000, "TSC at %lu kHz by the PIT", rate);
	u32 q[4];
	cpuid(0, 0, q);
	if (q[0] >= 0x15) {
		cpuid(0x15, 0, q);
		if (q[0] && q[1] && q[2]) {
			u64 khz = (u64)q[2] * q[1] / q[0] / 1000;
			CHECK(khz > rate * 9 / 10 && khz < rate * 11 / 10, "CPUID says %lu kHz, the PIT %lu", khz, rate);
		}
	}
}

SNIP(u_umip, "sgdt (%rsi)"); SNIP(u_smsw, "smsw %eax"); SNIP(u_sldt, "sldt %eax"); SNIP(u_str, "str %eax"); SNIP(u_sidt, "sidt (%rsi)");
static void umip(void)
{
	static const char *const all[] = { u_umip, u_sidt, u_smsw, u_sldt, u_str }, *const end[] = { u_umip_end, u_sidt_end, u_smsw_end, u_sldt_end, u_str_end };
	u64 pa = map_new(UDATA, US | RW);

	for (u32 i = 0; i < 5; i++) {
		regs_init(&r);
		r.rsi = UDATA;
		EQ("allowed", run_user(&r, all[i], end[i]), VEC_EXIT);
		if (i == 0)
			EQ("real GDT base", *(u64 *)((u8 *)virt(pa) + 2), (u64)gdt);
		if (i == 2)
			EQ("smsw", r.rax & 0xffff, rd_cr0() & 0xffff);
	}
	if (!has(7, 2, 2)) {
		skip("no UMIP");
		return;
	}
	wr_cr4(rd_cr4() | 1 << 11);
	for (u32 i = 0; i < 5; i++) {
		regs_init(&r);
		r.rsi = UDATA;
		EQ("UMIP", run_user(&r, all[i], end[i]), 13);
	}
	wr_cr4(rd_cr4() & ~(1UL << 11));
}

const struct test tests[] = {
	{ "system.cpuid", cpuid_sane }, { "system.msrs", msrs }, { "system.control", control },
	{ "system.debug", debug }, { "system.tsc", tsc },
	{ "system.tsc_written", tsc_written }, { "system.umip", umip }, { NULL, NULL },
};
