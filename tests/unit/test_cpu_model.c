/* CPU models, CPUID and MSRs. */
#include "cpu_fake.h"

static char err[256];

static void cpuid(u32 leaf, u32 sub, u32 out[4])
{
	cpu_cpuid(v, leaf, sub, out);
}

static void parse(const char *spec)
{
	err[0] = 0;
	assert_int_equal(cpu_model_parse(spec, err, sizeof(err)), 0);
	assert_string_equal(err, "");
}

static void parse_fails(const char *spec, const char *expect)
{
	assert_int_not_equal(cpu_model_parse(spec, err, sizeof(err)), 0);
	if (!strstr(err, expect))
		fail_msg("'%s' gave: %s", spec, err);
}

/* What no model may show, whatever the host has. */
static void check_never(void)
{
	static const struct { u32 leaf, sub, reg, mask; } never[] = {
		{ 1, 0, 2, 1 << 3 | 1 << 5 | 1 << 6 | 1 << 15 | 1 << 17 },
		{ 1, 0, 3, 1 << 28 | 1 << 22 | 1 << 21 },
		{ 7, 0, 1, 1 << 2 | 1 << 4 | 1 << 10 | 1 << 11 | 1 << 14 | 1 << 25 },
		{ 7, 0, 2, 1 << 2 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 16 | 1 << 23 | 1 << 29 },
		{ 7, 0, 3, 1 << 14 | 1 << 22 | 1 << 24 | 1 << 25 | 1 << 30 },
		{ 0xd, 1, 0, 1 << 3 },
		{ 0x80000001, 0, 2, 1 << 2 },
	};
	u32 r[4];

	for (size_t i = 0; i < ARRAY_LEN(never); i++) {
		cpuid(never[i].leaf, never[i].sub, r);
		assert_int_equal(r[never[i].reg] & never[i].mask, 0);
	}
}

static void test_host_model(void **state)
{
	struct cpuid_leaf h;
	u32 r[4];

	(void)state;
	parse("host");
	check_never();
	host_cpuid(0, 0, &h);
	cpuid(0, 0, r);
	assert_int_equal(r[1], h.ebx);
	host_cpuid(1, 0, &h);
	cpuid(1, 0, r);
	assert_int_equal(r[0], h.eax & 0x0fff3fff);
	assert_int_equal(r[2] & ~(h.ecx | 1u << 31 | 1 << 21 | 1 << 24), 0);
	assert_true(r[2] & 1u << 31);
	assert_false(r[2] & 1 << 27);
	v->cr4 |= CR4_OSXSAVE;
	cpuid(1, 0, r);
	assert_true(r[2] & 1 << 27);
	cpuid(0x40000000, 0, r);
	assert_memory_equal(&r[1], "ShadowBoxVMM", 12);
	cpuid(0x40000001, 0, r);
	assert_int_equal(r[0] | r[1] | r[2] | r[3], 0);
	cpuid(0xa, 0, r);
	assert_int_equal(r[0], 0);
	cpuid(0x80000008, 0, r);
	assert_int_equal(r[0] >> 8 & 0xff, 48);
	assert_in_range(r[0] & 0xff, 36, 46);
}

static void test_tsc_leaf(void **state)
{
	u32 r[4];
	u64 khz, target = cpu_tsc_khz();

	(void)state;
	cpuid(0x15, 0, r);
	assert_int_equal(r[2], LAPIC_TIMER_HZ);
	/* The guest's arithmetic is 32 bits wide. */
	assert_true((u64)(r[2] / 1000) * r[1] < 1UL << 32);
	khz = (u64)(r[2] / 1000) * r[1] / r[0];
	assert_in_range(khz, target - target / 100000 - 1, target + target / 100000 + 1);
}

static void test_xsave_leaf(void **state)
{
	struct cpuid_leaf h;
	u32 r[4], size;

	(void)state;
	if (!cpu_has(FW_1_ECX, 26))
		skip();
	v->xcr0 = 1;
	cpuid(0xd, 0, r);
	assert_int_equal(r[0], cpu_model_xcr0());
	assert_int_equal(r[1], 576);
	size = r[2];
	assert_true(size <= XSAVE_AREA_SIZE);
	v->xcr0 = cpu_model_xcr0();
	cpuid(0xd, 0, r);
	assert_int_equal(r[1], size);
	for (u32 i = 2; i < 8; i++) {
		cpuid(0xd, i, r);
		host_cpuid(0xd, i, &h);
		assert_int_equal(r[0], cpu_model_xcr0() >> i & 1 ? h.eax : 0);
	}
	cpuid(0xd, 9, r); /* PKRU */
	assert_int_equal(r[0], 0);
	cpuid(0xd, 1, r);
	assert_true(!cpu_has(FW_D_1_EAX, 1) || (r[1] >= 576 && r[1] <= size + 64));
}

static void test_options(void **state)
{
	u32 r[4];

	(void)state;
	parse_fails("foo", "unknown model 'foo'");
	parse_fails("host,+foo", "unknown feature 'foo'");
	parse_fails("host,-foo", "unknown feature 'foo'");
	parse_fails("host,sse2=maybe", "must be on or off");
	parse_fails("host,+vmx", "'vmx' is not virtualized");
	parse_fails("host,pcid=on", "'pcid' is not virtualized");
	parse_fails("host,+", "unknown feature ''");
	parse_fails("", "unknown model ''");
	parse("host,-vmx,check");
	parse("qemu64,-x2apic,sse4_1=off,-sse4.2,-tsc_deadline_timer");
	cpuid(1, 0, r);
	assert_int_equal(r[2] & (1 << 19 | 1 << 20 | 1 << 21 | 1 << 24), 0);
	assert_true(r[2] & 1);
	parse("host,-xsave");
	cpuid(1, 0, r);
	assert_int_equal(r[2] & (1u << 28 | 1 << 12 | 1 << 26), 0);
	cpuid(7, 0, r);
	assert_int_equal(r[1] & (1 << 5 | 1 << 16), 0);
	assert_int_equal(cpu_model_xcr0(), 1);
	parse("host,-smap,smep=off");
	cpuid(7, 0, r);
	assert_int_equal(r[1] & (1 << 7 | 1 << 20), 0);
	assert_int_equal(model_cr4_mask() & (CR4_SMEP | CR4_SMAP), 0);
	assert_false(cpu_offers_smap());
	parse("qemu64,+smap");
	cpuid(7, 0, r);
	assert_int_equal(r[1] & (1 << 7 | 1 << 20), 1 << 20);
	assert_int_equal(model_cr4_mask() & (CR4_SMEP | CR4_SMAP), CR4_SMAP);
	assert_true(cpu_offers_smap());
	parse("host,-hypervisor");
	cpuid(0x40000000, 0, r);
	assert_memory_not_equal(&r[1], "ShadowBoxVMM", 12);
	parse("host");
}

static unsigned listed;
static void check_listed(const char *line)
{
	char name[32];

	assert_int_equal(sscanf(line, "%31s", name), 1);
	parse(name);
	check_never();
	listed++;
}

static void test_every_model_parses(void **state)
{
	u32 r[4];

	(void)state;
	cpu_model_list(check_listed);
	assert_true(listed > 10);
	parse("Nehalem");
	cpuid(1, 0, r);
	assert_int_equal(r[0], 0x106a3);
	parse("EPYC");
	cpuid(1, 0, r);
	assert_int_equal(r[0], 0x800f12);
	parse("host");
}

/* --- MSRs ------------------------------------------------------------------------------ */
static void good_write(u32 msr, u64 val)
{
	u64 back = ~val;

	assert_int_equal(cpu_wrmsr(v, msr, val), CPU_NEXT);
	assert_int_equal(cpu_rdmsr(v, msr, &back), CPU_NEXT);
	assert_int_equal(back, val);
}

static void bad_write(u32 msr, u64 val)
{
	expect_fault(cpu_wrmsr(v, msr, val), EXC_GP, 0);
}

static void test_msr_values(void **state)
{
	u64 val;

	(void)state;
	good_write(0x277, 0x0407050600070106);
	bad_write(0x277, 0x0007040600070402);
	bad_write(0x277, 0x0007040600070403);
	good_write(0xc0000082, 0xffffffff81000000);
	bad_write(0xc0000082, 1UL << 47);
	good_write(0xc0000102, 0x7fffffffffff);
	bad_write(0xc0000102, 0x8000000000000000);
	good_write(0xc0000100, 0x1000);
	assert_int_equal(v->seg[SEG_FS].base, 0x1000);
	good_write(0x200, 0x80000006);
	bad_write(0x200, 0x80000002);
	bad_write(0x200, BIT(50));
	good_write(0x201, 0x3f80000800);
	bad_write(0x201, 0x400);
	good_write(0x2ff, 0xc06);
	bad_write(0x2ff, 0x1006);
	good_write(0x26f, 0x0506040105060401);
	good_write(0x250, 0x0606060606060606);
	assert_int_equal(v->mtrr_fixed[10], 0x0506040105060401);
	assert_int_equal(v->mtrr_fixed[0], 0x0606060606060606);
	bad_write(0x258, 7);
	bad_write(0xfe, 0);
	assert_int_equal(cpu_rdmsr(v, 0x3a, &val), CPU_NEXT);
	assert_int_equal(val, 1);
	assert_int_equal(cpu_rdmsr(v, 0x1b, &val), CPU_NEXT);
	assert_int_equal(val, 0xfee00900);
}

static void test_unknown_msr(void **state)
{
	u64 val;

	(void)state;
	expect_fault(cpu_rdmsr(v, 0x12345678, &val), EXC_GP, 0);
	bad_write(0xc0010fff, 0);
	expect_fault(cpu_rdmsr(v, 0xffffffff, &val), EXC_GP, 0);
	assert_int_equal(v->counters[CTR_UNKNOWN_MSR], 3);
}

static void test_efer(void **state)
{
	(void)state;
	bad_write(0xc0000080, v->efer ^ EFER_LME); /* paging is on */
	bad_write(0xc0000080, v->efer | 1 << 12);
	assert_int_equal(cpu_wrmsr(v, 0xc0000080, v->efer & ~(u64)(EFER_LMA | EFER_NXE)), CPU_NEXT);
	assert_true(v->efer & EFER_LMA);
	assert_int_equal(mode_changes, 1);
}

static void test_tsc_msrs(void **state)
{
	u64 val, adjust;

	(void)state;
	assert_int_equal(cpu_wrmsr(v, 0x10, 1000), CPU_NEXT);
	assert_int_equal(cpu_rdmsr(v, 0x10, &val), CPU_NEXT);
	assert_in_range(val, 1000, 1000000000);
	assert_int_equal(cpu_rdmsr(v, 0x3b, &adjust), CPU_NEXT);
	assert_int_equal(adjust, v->tsc_offset);
	assert_int_equal(cpu_wrmsr(v, 0x3b, 0), CPU_NEXT);
	assert_int_equal(v->tsc_offset, 0);
}

static void test_not_affected(void **state)
{
	u64 caps;

	(void)state;
	if (cpu_model.vendor != VENDOR_INTEL) {
		assert_true(cpu_has(FW_80000021_EAX, 8));
		skip();
	}
	assert_int_equal(cpu_rdmsr(v, 0x10a, &caps), CPU_NEXT);
	assert_int_equal(caps & 0x1ff, 0x17b);
	assert_true(caps & BIT(20));
	bad_write(0x10a, 0);
	good_write(0x48, 1);
	bad_write(0x48, 8);
	good_write(0x48, BIT(10)); /* BHI_DIS_S */
	assert_int_equal(cpu_wrmsr(v, 0x49, 1), CPU_NEXT);
	expect_fault(cpu_rdmsr(v, 0x49, &caps), EXC_GP, 0);
	parse("host,-spec-ctrl,-stibp,-ssbd");
	expect_fault(cpu_rdmsr(v, 0x48, &caps), EXC_GP, 0);
	assert_int_equal(cpu_rdmsr(v, 0x10a, &caps), CPU_NEXT);
	assert_false(caps & 2);
	parse("host,-arch-capabilities");
	expect_fault(cpu_rdmsr(v, 0x10a, &caps), EXC_GP, 0);
	parse("host");
}

static void test_reset_state(void **state)
{
	(void)state;
	cpu_reset(v);
	assert_int_equal(v->rip, 0xfff0);
	assert_int_equal(v->seg[SEG_CS].base, 0xffff0000);
	assert_int_equal(v->cr0, 0x60000010);
	assert_int_equal(cpu_rflags(v), 2);
	assert_int_equal(cpu_code_size(v), 16);
	assert_int_equal(v->dr[7], 0x400);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup(f, setup)
	const struct CMUnitTest tests[] = {
		T(test_host_model), T(test_tsc_leaf), T(test_xsave_leaf), T(test_options),
		T(test_every_model_parses), T(test_msr_values), T(test_unknown_msr), T(test_efer),
		T(test_tsc_msrs), T(test_not_affected), T(test_reset_state),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
