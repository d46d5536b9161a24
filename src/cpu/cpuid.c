/* The CPUID instruction, and the host's TSC frequency.
 *
 * One table: a function for each leaf; leaves without a row are zero. Beyond the last
 * basic leaf Intel CPUs repeat it, AMD's return zeros. One CPU: topology leaves say one
 * thread of one core. Follows SDM vol. 2 (CPUID) and APM vol. 3 appendix E. */
#include "priv.h"

#define HYPERVISOR_BASE 0x40000000u
#define HYPERVISOR_MAX 0x40000010u

/* --- TSC frequency --------------------------------------------------------------------- */
static u64 now_ns(void)
{
	struct { i64 sec, nsec; } ts;
	long ret = 228; /* SYS_clock_gettime */

	__asm__ volatile("syscall" : "+a"(ret) : "D"(1 /* CLOCK_MONOTONIC */), "S"(&ts) : "rcx", "r11", "memory");
	return (u64)ts.sec * 1000000000UL + (u64)ts.nsec;
}

/* A clock reading with the TSC at the middle of it, from the tightest of a few tries. */
static void clock_pair(u64 *tsc, u64 *ns)
{
	u64 best = ~0UL;

	for (int i = 0; i < 5; i++) {
		u64 before = host_rdtsc(), t = now_ns(), after = host_rdtsc();

		if (after - before < best) {
			best = after - before;
			*tsc = before + best / 2;
			*ns = t;
		}
	}
}

static u64 measure_tsc_khz(void)
{
	u64 tsc0 = 0, ns0 = 0, tsc1 = 0, ns1 = 0;

	clock_pair(&tsc0, &ns0);
	while (now_ns() - ns0 < 20000000)
		;
	clock_pair(&tsc1, &ns1);
	return ((tsc1 - tsc0) * 1000000 + (ns1 - ns0) / 2) / (ns1 - ns0);
}

static u64 tsc_khz_from_cpuid(void)
{
	struct cpuid_leaf l;

	host_cpuid(0, 0, &l);
	if (l.eax >= 0x15) {
		host_cpuid(0x15, 0, &l);
		if (l.eax && l.ebx && l.ecx)
			return (u64)l.ecx * l.ebx / l.eax / 1000;
	}
	host_cpuid(1, 0, &l);
	if (l.ecx >> 31) {
		host_cpuid(HYPERVISOR_BASE, 0, &l);
		if (l.eax >= 0x40000010u && l.eax < 0x40010000u) {
			host_cpuid(0x40000010u, 0, &l);
			return l.eax;
		}
	}
	return 0;
}

u64 cpu_tsc_khz(void)
{
	static u64 khz; /* measured once, in the monitor */

	if (!khz)
		khz = tsc_khz_from_cpuid();
	if (!khz)
		khz = measure_tsc_khz();
	return khz;
}

/* --- leaves ------------------------------------------------------------------------------ */
typedef void (*leaf_fn)(const struct vcpu *v, u32 leaf, u32 sub, struct cpuid_leaf *o);

static bool apic_enabled(const struct vcpu *v)
{
	u64 base;

	return !lapic_msr_read(cpu_machine(), (struct vcpu *)v, 0x1b, &base) || (base & BIT(11));
}

static u32 feature_1_edx(const struct vcpu *v)
{
	u32 edx = cpu_model.feat[FW_1_EDX];

	return apic_enabled(v) ? edx : edx & ~(1u << 9);
}

static void leaf_0(const struct vcpu *v, u32 leaf, u32 sub, struct cpuid_leaf *o)
{
	(void)v, (void)sub;
	o->eax = leaf ? cpu_model.max_ext : cpu_model.max_basic;
	o->ebx = cpu_model.vendor_id[0];
	o->ecx = cpu_model.vendor_id[1];
	o->edx = cpu_model.vendor_id[2];
	if (leaf && cpu_model.vendor == VENDOR_INTEL)
		o->ebx = o->ecx = o->edx = 0;
}

static void leaf_1(const struct vcpu *v, u32 leaf, u32 sub, struct cpuid_leaf *o)
{
	(void)leaf, (void)sub;
	o->eax = cpu_model.signature;
	o->ebx = (u32)v->id << 24 | 1 << 16 | 8 << 8; /* APIC id, one CPU, 64-byte CLFLUSH */
	o->ecx = cpu_model.feat[FW_1_ECX] | ((v->cr4 & CR4_OSXSAVE) ? 1u << 27 : 0);
	o->edx = feature_1_edx(v);
}

static void leaf_2(const struct vcpu *v, u32 leaf, u32 sub, struct cpuid_leaf *o)
{
	(void)v, (void)leaf, (void)sub;
	*o = cpu_model.leaf2;
}

static void leaf_4(const struct vcpu *v, u32 leaf, u32 sub, struct cpuid_leaf *o)
{
	(void)v, (void)leaf;
	if (sub < ARRAY_LEN(cpu_model.cache4))
		*o = cpu_model.cache4[sub];
}

/* Thermal and power: only that the APIC timer never stops. */
static void leaf_6(const struct vcpu *v, u32 leaf, u32 sub, struct cpuid_leaf *o)
{
	(void)v, (void)leaf, (void)sub;
	o->eax = 1 << 2;
}

static void leaf_7(const struct vcpu *v, u32 leaf, u32 sub, struct cpuid_leaf *o)
{
	(void)v, (void)leaf;
	if (sub == 0) {
		o->eax = cpu_model.feat[FW_7_2_EDX] ? 2 : cpu_model.feat[FW_7_1_EAX] != 0;
		o->ebx = cpu_model.feat[FW_7_EBX];
		o->ecx = cpu_model.feat[FW_7_ECX];
		o->edx = cpu_model.feat[FW_7_EDX];
	} else if (sub == 1) {
		o->eax = cpu_model.feat[FW_7_1_EAX];
	} else if (sub == 2) {
		o->edx = cpu_model.feat[FW_7_2_EDX];
	}
}

static void leaf_b(const struct vcpu *v, u32 leaf, u32 sub, struct cpuid_leaf *o)
{
	(void)leaf;
	o->ecx = sub & 0xff;
	o->edx = v->id;
	if (sub > 1)
		return;
	o->ebx = 1;
	o->ecx |= (sub + 1) << 8; /* threads, then cores */
}

static u32 xsave_standard_size(u64 xcr0)
{
	u32 size = 576;

	for (u32 i = 2; i < ARRAY_LEN(cpu_model.xstate); i++) {
		const struct cpuid_leaf *x = &cpu_model.xstate[i];

		if ((xcr0 >> i & 1) && x->ebx + x->eax > size)
			size = x->ebx + x->eax;
	}
	return size;
}

static u32 xsave_compact_size(u64 xcr0)
{
	u32 size = 576;

	for (u32 i = 2; i < ARRAY_LEN(cpu_model.xstate); i++) {
		const struct cpuid_leaf *x = &cpu_model.xstate[i];

		if (!(xcr0 >> i & 1))
			continue;
		if (x->ecx & 2)
			size = (size + 63) & ~63u;
		size += x->eax;
	}
	return size;
}

static void leaf_d(const struct vcpu *v, u32 leaf, u32 sub, struct cpuid_leaf *o)
{
	(void)leaf;
	if (!cpu_has(FW_1_ECX, 26))
		return;
	if (sub == 0) {
		o->eax = (u32)cpu_model.xcr0;
		o->ebx = xsave_standard_size(v->xcr0);
		o->ecx = xsave_standard_size(cpu_model.xcr0);
		o->edx = cpu_model.xcr0 >> 32;
	} else if (sub == 1) {
		o->eax = cpu_model.feat[FW_D_1_EAX];
		if (cpu_has(FW_D_1_EAX, 1))
			o->ebx = xsave_compact_size(v->xcr0);
	} else if (sub < ARRAY_LEN(cpu_model.xstate) && (cpu_model.xcr0 >> sub & 1)) {
		o->eax = cpu_model.xstate[sub].eax;
		o->ebx = cpu_model.xstate[sub].ebx;
		o->ecx = cpu_model.xstate[sub].ecx & 2;
	}
}

static void leaf_15(const struct vcpu *v, u32 leaf, u32 sub, struct cpuid_leaf *o)
{
	(void)v, (void)leaf, (void)sub;
	o->eax = cpu_model.tsc_den;
	o->ebx = cpu_model.tsc_num;
	o->ecx = CRYSTAL_KHZ * 1000;
}

static void leaf_16(const struct vcpu *v, u32 leaf, u32 sub, struct cpuid_leaf *o)
{
	(void)v, (void)leaf, (void)sub;
	o->eax = o->ebx = cpu_model.tsc_khz / 1000;
	o->ecx = 100;
}

static void leaf_hypervisor(const struct vcpu *v, u32 leaf, u32 sub, struct cpuid_leaf *o)
{
	(void)v, (void)sub;
	if (leaf == HYPERVISOR_BASE) {
		o->eax = HYPERVISOR_MAX;
		memcpy(&o->ebx, "Shad", 4);
		memcpy(&o->ecx, "owBo", 4);
		memcpy(&o->edx, "xVMM", 4);
	} else if (leaf == HYPERVISOR_MAX) {
		/* Timing, as other hypervisors give it: TSC and APIC bus in kHz. */
		o->eax = cpu_model.tsc_khz;
		o->ebx = CRYSTAL_KHZ;
	}
}

static void leaf_ext1(const struct vcpu *v, u32 leaf, u32 sub, struct cpuid_leaf *o)
{
	(void)leaf, (void)sub;
	o->ecx = cpu_model.feat[FW_80000001_ECX];
	o->edx = cpu_model.feat[FW_80000001_EDX];
	if (cpu_model.vendor == VENDOR_AMD) {
		/* AMD repeats what it shares with leaf 1. */
		o->eax = cpu_model.signature;
		o->edx |= feature_1_edx(v) & 0x0183f3ff;
	}
}

static void leaf_brand(const struct vcpu *v, u32 leaf, u32 sub, struct cpuid_leaf *o)
{
	(void)v, (void)sub;
	memcpy(o, cpu_model.brand + (leaf - 0x80000002u) * 16, 16);
}

static void leaf_ext_cache(const struct vcpu *v, u32 leaf, u32 sub, struct cpuid_leaf *o)
{
	(void)v, (void)sub;
	*o = leaf == 0x80000005u ? cpu_model.ext5 : cpu_model.ext6;
}

static void leaf_ext7(const struct vcpu *v, u32 leaf, u32 sub, struct cpuid_leaf *o)
{
	(void)v, (void)leaf, (void)sub;
	o->edx = cpu_model.feat[FW_80000007_EDX];
}

static void leaf_ext8(const struct vcpu *v, u32 leaf, u32 sub, struct cpuid_leaf *o)
{
	(void)v, (void)leaf, (void)sub;
	o->eax = 48 << 8 | cpu_model.phys_bits;
	o->ebx = cpu_model.feat[FW_80000008_EBX];
}

static void leaf_ext21(const struct vcpu *v, u32 leaf, u32 sub, struct cpuid_leaf *o)
{
	(void)v, (void)leaf, (void)sub;
	o->eax = cpu_model.feat[FW_80000021_EAX];
	o->ecx = cpu_model.feat[FW_80000021_ECX];
}

static const struct { u32 first, last; leaf_fn fn; } leaves[] = {
	{ 0, 0, leaf_0 },
	{ 1, 1, leaf_1 },
	{ 2, 2, leaf_2 },
	{ 4, 4, leaf_4 },
	{ 6, 6, leaf_6 },
	{ 7, 7, leaf_7 },
	{ 0xb, 0xb, leaf_b },
	{ 0xd, 0xd, leaf_d },
	{ 0x15, 0x15, leaf_15 },
	{ 0x16, 0x16, leaf_16 },
	{ HYPERVISOR_BASE, HYPERVISOR_MAX, leaf_hypervisor },
	{ 0x80000000u, 0x80000000u, leaf_0 },
	{ 0x80000001u, 0x80000001u, leaf_ext1 },
	{ 0x80000002u, 0x80000004u, leaf_brand },
	{ 0x80000005u, 0x80000006u, leaf_ext_cache },
	{ 0x80000007u, 0x80000007u, leaf_ext7 },
	{ 0x80000008u, 0x80000008u, leaf_ext8 },
	{ 0x80000021u, 0x80000021u, leaf_ext21 },
};

static bool leaf_in_range(u32 leaf)
{
	if (leaf <= cpu_model.max_basic)
		return true;
	if (leaf >= HYPERVISOR_BASE && leaf <= HYPERVISOR_MAX)
		return cpu_has(FW_1_ECX, 31);
	return leaf >= 0x80000000u && leaf <= cpu_model.max_ext;
}

void cpu_cpuid(struct vcpu *v, u32 leaf, u32 subleaf, u32 out[4])
{
	struct cpuid_leaf o = { 0 };

	if (!leaf_in_range(leaf) && cpu_model.vendor == VENDOR_INTEL)
		leaf = cpu_model.max_basic;
	for (size_t i = 0; i < ARRAY_LEN(leaves) && leaf_in_range(leaf); i++)
		if (leaf >= leaves[i].first && leaf <= leaves[i].last)
			leaves[i].fn(v, leaf, subleaf, &o);
	out[0] = o.eax;
	out[1] = o.ebx;
	out[2] = o.ecx;
	out[3] = o.edx;
}

int op_cpuid(struct vcpu *v, const struct insn *in)
{
	u32 out[4];

	(void)in;
	cpu_cpuid(v, v->gpr[RAX], v->gpr[RCX], out);
	v->gpr[RAX] = out[0];
	v->gpr[RBX] = out[1];
	v->gpr[RCX] = out[2];
	v->gpr[RDX] = out[3];
	return CPU_NEXT;
}
