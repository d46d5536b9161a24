/* Model-specific registers: RDMSR, WRMSR and one table of what exists.
 *
 * A row is a range of MSRs with, for each direction, a function, a field of struct vcpu,
 * or a constant. What has no row is #GP(0), counted and logged. Follows SDM vol. 4 and
 * vol. 3 11.11 (MTRRs), 11.12 (PAT); APM vol. 2 appendix A.
 *
 * The memory types that MTRRs and PAT set are stored and have no effect: guest RAM is
 * always write-back. Machine check has no banks. Speculation controls are accepted and
 * have no effect: the host's own are in force, for all of the guest runs in ring 3. */
#include "priv.h"
#include "shadowbox/counters.h"
#include "shadowbox/log.h"

typedef bool (*msr_read_fn)(struct vcpu *v, u32 msr, u64 *val);
typedef bool (*msr_write_fn)(struct vcpu *v, u32 msr, u64 val);

/* What a write may be, where no function decides. Others are #GP. */
enum msr_write {
	W_NONE,      /* read-only */
	W_IGNORE,    /* accepted, dropped */
	W_ZERO,      /* only 0 */
	W_MASK,      /* stored; bits outside `mask` are #GP */
	W_CANONICAL, /* stored; must be canonical */
	W_LOW32,     /* the low half is stored */
};
enum msr_vendor { ANY, INTEL, AMD };

struct msr_row {
	u32 first, last;
	u8 vendor; /* enum msr_vendor */
	u8 how;    /* enum msr_write */
	u16 field; /* offset in struct vcpu, 0 none */
	u64 value; /* constant to read when there is no field and no function */
	u64 mask;
	msr_read_fn read;
	msr_write_fn write;
};

/* --- functions of rows ------------------------------------------------------------------ */
static bool refuse_read(struct vcpu *v, u32 msr, u64 *val)
{
	(void)v, (void)msr, (void)val;
	return false;
}

static bool apic_read(struct vcpu *v, u32 msr, u64 *val)
{
	return lapic_msr_read(cpu_machine(), v, msr, val);
}

static bool apic_write(struct vcpu *v, u32 msr, u64 val)
{
	return lapic_msr_write(cpu_machine(), v, msr, val);
}

static bool tsc_read(struct vcpu *v, u32 msr, u64 *val)
{
	(void)msr;
	*val = host_rdtsc() + v->tsc_offset;
	return true;
}

static void tsc_move(struct vcpu *v, u64 delta)
{
	v->tsc_offset += delta;
	v->tsc_adjust += delta;
	lapic_tsc_changed(cpu_machine(), v);
}

static bool tsc_write(struct vcpu *v, u32 msr, u64 val)
{
	(void)msr;
	tsc_move(v, val - (host_rdtsc() + v->tsc_offset));
	return true;
}

static bool tsc_adjust_write(struct vcpu *v, u32 msr, u64 val)
{
	(void)msr;
	tsc_move(v, val - v->tsc_adjust);
	return true;
}

/* SPEC_CTRL, PRED_CMD and FLUSH_CMD exist as far as CPUID says. */
static u64 spec_ctrl_mask(void)
{
	u64 mask = 0;

	if (cpu_has(FW_7_EDX, 26) || cpu_has(FW_80000008_EBX, 14))
		mask |= BIT(0);
	if (cpu_has(FW_7_EDX, 27) || cpu_has(FW_80000008_EBX, 15))
		mask |= BIT(1);
	if (cpu_has(FW_7_EDX, 31) || cpu_has(FW_80000008_EBX, 24))
		mask |= BIT(2);
	if (cpu_has(FW_7_2_EDX, 4))
		mask |= BIT(10); /* BHI_DIS_S */
	return mask;
}

static bool spec_ctrl_read(struct vcpu *v, u32 msr, u64 *val)
{
	(void)msr;
	*val = v->spec_ctrl;
	return spec_ctrl_mask();
}

static bool spec_ctrl_write(struct vcpu *v, u32 msr, u64 val)
{
	(void)msr;
	if (!spec_ctrl_mask() || (val & ~spec_ctrl_mask()))
		return false;
	v->spec_ctrl = val;
	return true;
}

static bool pred_cmd_write(struct vcpu *v, u32 msr, u64 val)
{
	(void)v, (void)msr;
	return (cpu_has(FW_7_EDX, 26) || cpu_has(FW_80000008_EBX, 12)) && !(val & ~1UL);
}

static bool flush_cmd_write(struct vcpu *v, u32 msr, u64 val)
{
	(void)v, (void)msr;
	return cpu_has(FW_7_EDX, 28) && !(val & ~1UL);
}

/* IA32_ARCH_CAPABILITIES: not affected by anything, so that guests leave out page-table
 * isolation, buffer clearing and the like. */
enum arch_capabilities {
	RDCL_NO = 0, IBRS_ALL = 1, SKIP_L1DFL_VMENTRY = 3, SSB_NO = 4, MDS_NO = 5,
	IF_PSCHANGE_MC_NO = 6, TAA_NO = 8, SBDR_SSDP_NO = 13, FBSDP_NO = 14, PSDP_NO = 15,
	BHI_NO = 20, PBRSB_NO = 24, GDS_NO = 26, RFDS_NO = 27, ITS_NO = 62,
};
#define NOT_AFFECTED \
	(BIT(RDCL_NO) | BIT(SKIP_L1DFL_VMENTRY) | BIT(SSB_NO) | BIT(MDS_NO) | \
	 BIT(IF_PSCHANGE_MC_NO) | BIT(TAA_NO) | BIT(SBDR_SSDP_NO) | BIT(FBSDP_NO) | BIT(PSDP_NO) | \
	 BIT(BHI_NO) | BIT(PBRSB_NO) | BIT(GDS_NO) | BIT(RFDS_NO) | BIT(ITS_NO))

static bool arch_capabilities_read(struct vcpu *v, u32 msr, u64 *val)
{
	(void)v, (void)msr;
	*val = NOT_AFFECTED | (cpu_has(FW_7_EDX, 26) ? BIT(IBRS_ALL) : 0);
	return cpu_has(FW_7_EDX, 29);
}

/* Bits 15:8: the ratio of the TSC to 100 MHz. */
static bool ratio_read(struct vcpu *v, u32 msr, u64 *val)
{
	(void)v, (void)msr;
	*val = (cpu_model.tsc_khz / 100000 & 0xff) << 8;
	return true;
}

/* Only the fast-string bit can be changed. */
static bool misc_enable_write(struct vcpu *v, u32 msr, u64 val)
{
	(void)msr;
	v->misc_enable = (v->misc_enable & ~1UL) | (val & 1);
	return true;
}

static bool efer_write(struct vcpu *v, u32 msr, u64 val)
{
	u64 allowed = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE, old = v->efer;

	(void)msr;
	if (!cpu_has(FW_80000001_EDX, 20))
		allowed &= ~(u64)EFER_NXE;
	if (cpu_has(FW_80000021_EAX, 8))
		allowed |= BIT(21); /* automatic IBRS */
	if (val & ~allowed)
		return false;
	if (((old ^ val) & EFER_LME) && cpu_paging(v))
		return false;
	v->efer = (val & ~(u64)EFER_LMA) | (old & EFER_LMA);
	if ((old ^ val) & EFER_NXE)
		mmu_mode_changed(v, true);
	return true;
}

/* --- memory types ------------------------------------------------------------------------- */
static bool mem_type_valid(u64 type, bool pat)
{
	return type <= 1 || (type >= 4 && type <= 6) || (pat && type == 7);
}

static bool mem_types_valid(u64 val, bool pat)
{
	for (int i = 0; i < 64; i += 8)
		if (!mem_type_valid(val >> i & 0xff, pat))
			return false;
	return true;
}

static bool pat_write(struct vcpu *v, u32 msr, u64 val)
{
	(void)msr;
	if (!mem_types_valid(val, true))
		return false;
	v->pat = val;
	return true;
}

static unsigned mtrr_fixed_index(u32 msr)
{
	return msr == 0x250 ? 0 : msr <= 0x259 ? msr - 0x257 : msr - 0x265;
}

static bool mtrr_fixed_read(struct vcpu *v, u32 msr, u64 *val)
{
	*val = v->mtrr_fixed[mtrr_fixed_index(msr)];
	return true;
}

static bool mtrr_fixed_write(struct vcpu *v, u32 msr, u64 val)
{
	if (!mem_types_valid(val, false))
		return false;
	v->mtrr_fixed[mtrr_fixed_index(msr)] = val;
	return true;
}

static bool mtrr_phys_read(struct vcpu *v, u32 msr, u64 *val)
{
	*val = v->mtrr_phys[msr - 0x200];
	return true;
}

/* Even MSRs are bases with a type, odd ones masks with a valid bit. */
static bool mtrr_phys_write(struct vcpu *v, u32 msr, u64 val)
{
	u64 low = (msr & 1) ? 0x800 : 0xff;

	if (val & ~((model_phys_mask() & PAGE_MASK) | low))
		return false;
	if (!(msr & 1) && !mem_type_valid(val & 0xff, false))
		return false;
	v->mtrr_phys[msr - 0x200] = val;
	return true;
}

static bool mtrr_def_type_write(struct vcpu *v, u32 msr, u64 val)
{
	(void)msr;
	if ((val & ~0xcffUL) || !mem_type_valid(val & 0xff, false))
		return false;
	v->mtrr_def_type = val;
	return true;
}

/* --- the table ------------------------------------------------------------------------------ */
#define AT(name) offsetof(struct vcpu, name)
#define SEG_BASE(reg) (offsetof(struct vcpu, seg) + (reg) * sizeof(struct seg) + offsetof(struct seg, base))
#define CONST(msr, val, w) { .first = msr, .last = msr, .value = val, .how = w }
#define FIELD(msr, name, w, ...) { .first = msr, .last = msr, .field = AT(name), .how = w, ##__VA_ARGS__ }
#define FUNC(a, b, rd, wr) { .first = a, .last = b, .read = rd, .write = wr }

/* Sorted by number. */
static const struct msr_row rows[] = {
	FUNC(0x10, 0x10, tsc_read, tsc_write), /* TIME_STAMP_COUNTER */
	CONST(0x17, 0, W_NONE),                 /* PLATFORM_ID */
	FUNC(0x1b, 0x1b, apic_read, apic_write), /* APIC_BASE */
	CONST(0x2a, 0, W_IGNORE),               /* EBL_CR_POWERON */
	CONST(0x34, 0, W_NONE),                 /* SMI_COUNT */
	CONST(0x3a, 1, W_NONE),                 /* FEATURE_CONTROL: locked, nothing enabled */
	{ .first = 0x3b, .last = 0x3b, .field = AT(tsc_adjust), .write = tsc_adjust_write },
	FUNC(0x48, 0x48, spec_ctrl_read, spec_ctrl_write),
	FUNC(0x49, 0x49, refuse_read, pred_cmd_write),
	{ .first = 0x79, .last = 0x79, .read = refuse_read, .how = W_IGNORE }, /* BIOS_UPDT_TRIG */
	{ .first = 0x8b, .last = 0x8b, .vendor = INTEL, .value = 1UL << 32, .how = W_IGNORE },
	{ .first = 0x8b, .last = 0x8b, .vendor = AMD, .value = 0x01000065, .how = W_IGNORE },
	FUNC(0xce, 0xce, ratio_read, NULL),     /* PLATFORM_INFO */
	CONST(0xfe, 0x508, W_NONE),             /* MTRRCAP: 8 variable, fixed, write-combining */
	FUNC(0x10a, 0x10a, arch_capabilities_read, NULL),
	FUNC(0x10b, 0x10b, refuse_read, flush_cmd_write),
	CONST(0x140, 0, W_ZERO),                /* MISC_FEATURES_ENABLES */
	FIELD(0x174, sysenter_cs, W_LOW32),
	FIELD(0x175, sysenter_esp, W_CANONICAL),
	FIELD(0x176, sysenter_eip, W_CANONICAL),
	CONST(0x179, 0, W_NONE),                /* MCG_CAP: no banks */
	CONST(0x17a, 0, W_ZERO),                /* MCG_STATUS */
	FUNC(0x198, 0x198, ratio_read, NULL),   /* PERF_STATUS */
	CONST(0x199, 0, W_IGNORE),              /* PERF_CTL */
	{ .first = 0x1a0, .last = 0x1a0, .field = AT(misc_enable), .write = misc_enable_write },
	FIELD(0x1d9, debugctl, W_MASK, .mask = 3), /* last branches and branch steps: no effect */
	{ .first = 0x1db, .last = 0x1de },      /* LASTBRANCHFROMIP ... LASTINTTOIP */
	FUNC(0x200, 0x20f, mtrr_phys_read, mtrr_phys_write),
	FUNC(0x250, 0x250, mtrr_fixed_read, mtrr_fixed_write),
	FUNC(0x258, 0x259, mtrr_fixed_read, mtrr_fixed_write),
	FUNC(0x268, 0x26f, mtrr_fixed_read, mtrr_fixed_write),
	{ .first = 0x277, .last = 0x277, .field = AT(pat), .write = pat_write },
	{ .first = 0x2ff, .last = 0x2ff, .field = AT(mtrr_def_type), .write = mtrr_def_type_write },
	CONST(0x606, 0, W_NONE),                /* RAPL units and energy counters: none */
	CONST(0x611, 0, W_NONE),
	CONST(0x619, 0, W_NONE),
	CONST(0x639, 0, W_NONE),
	CONST(0x641, 0, W_NONE),
	FUNC(0x6e0, 0x6e0, apic_read, apic_write), /* TSC_DEADLINE */
	FUNC(0x800, 0x8ff, apic_read, apic_write), /* x2APIC */
	{ .first = 0xc0000080, .last = 0xc0000080, .field = AT(efer), .write = efer_write },
	FIELD(0xc0000081, star, W_MASK, .mask = ~0UL),
	FIELD(0xc0000082, lstar, W_CANONICAL),
	FIELD(0xc0000083, cstar, W_CANONICAL),
	FIELD(0xc0000084, sfmask, W_LOW32),
	{ .first = 0xc0000100, .last = 0xc0000100, .field = SEG_BASE(SEG_FS), .how = W_CANONICAL },
	{ .first = 0xc0000101, .last = 0xc0000101, .field = SEG_BASE(SEG_GS), .how = W_CANONICAL },
	FIELD(0xc0000102, kernel_gs_base, W_CANONICAL),
	FIELD(0xc0000103, tsc_aux, W_LOW32),
	/* AMD: system configuration, topology, errata status; nothing behind them. */
	{ .first = 0xc0010000, .last = 0xc0010007, .vendor = AMD, .how = W_IGNORE },
	{ .first = 0xc0010010, .last = 0xc0010010, .vendor = AMD, .how = W_IGNORE },
	{ .first = 0xc0010015, .last = 0xc0010015, .vendor = AMD, .value = 1 << 24, .how = W_IGNORE },
	{ .first = 0xc001001a, .last = 0xc001001a, .vendor = AMD, .how = W_IGNORE },
	{ .first = 0xc001001d, .last = 0xc001001d, .vendor = AMD, .how = W_IGNORE },
	{ .first = 0xc001001f, .last = 0xc001001f, .vendor = AMD, .how = W_IGNORE },
	{ .first = 0xc0010055, .last = 0xc0010055, .vendor = AMD, .how = W_IGNORE },
	{ .first = 0xc0010058, .last = 0xc0010058, .vendor = AMD, .how = W_IGNORE },
	{ .first = 0xc0010111, .last = 0xc0010117, .vendor = AMD, .how = W_IGNORE },
	{ .first = 0xc0010140, .last = 0xc0010141, .vendor = AMD, .how = W_IGNORE },
	{ .first = 0xc0011020, .last = 0xc0011023, .vendor = AMD, .how = W_IGNORE },
	{ .first = 0xc0011029, .last = 0xc0011029, .vendor = AMD, .value = 2, .how = W_IGNORE },
};

static bool vendor_matches(const struct msr_row *r)
{
	return r->vendor == ANY || (r->vendor == AMD) == (cpu_model.vendor == VENDOR_AMD);
}

static const struct msr_row *find_row(u32 msr)
{
	size_t low = 0, high = ARRAY_LEN(rows);

	/* The first row that ends at or after msr. */
	while (low < high) {
		size_t mid = (low + high) / 2;

		if (rows[mid].last < msr)
			low = mid + 1;
		else
			high = mid;
	}
	for (; low < ARRAY_LEN(rows) && rows[low].first <= msr; low++)
		if (vendor_matches(&rows[low]))
			return &rows[low];
	return NULL;
}

static int unknown(struct vcpu *v, u32 msr, const char *what)
{
	v->counters[CTR_UNKNOWN_MSR]++;
	log_msg(LOG_GUEST_ERRORS, "cpu: %s of unknown MSR 0x%x at RIP %lx\n", what, msr,
		(unsigned long)v->rip);
	return cpu_fault_err(v, EXC_GP, 0);
}

int cpu_rdmsr(struct vcpu *v, u32 msr, u64 *val)
{
	const struct msr_row *r = find_row(msr);

	if (!r)
		return unknown(v, msr, "read");
	if (r->read)
		return r->read(v, msr, val) ? CPU_NEXT : cpu_fault_err(v, EXC_GP, 0);
	*val = r->field ? *(const u64 *)((const u8 *)v + r->field) : r->value;
	return CPU_NEXT;
}

static bool plain_write(struct vcpu *v, const struct msr_row *r, u64 val)
{
	u64 *field = (u64 *)((u8 *)v + r->field);

	switch (r->how) {
	case W_IGNORE:
		return true;
	case W_ZERO:
		return !val;
	case W_MASK:
		if (val & ~r->mask)
			return false;
		break;
	case W_CANONICAL:
		if (!is_canonical(val))
			return false;
		break;
	case W_LOW32:
		val = (u32)val;
		break;
	default:
		return false;
	}
	*field = val;
	return true;
}

int cpu_wrmsr(struct vcpu *v, u32 msr, u64 val)
{
	const struct msr_row *r = find_row(msr);
	bool ok;

	if (!r)
		return unknown(v, msr, "write");
	ok = r->write ? r->write(v, msr, val) : plain_write(v, r, val);
	if (!ok)
		log_msg(LOG_GUEST_ERRORS, "cpu: bad write of 0x%lx to MSR 0x%x at RIP %lx\n",
			(unsigned long)val, msr, (unsigned long)v->rip);
	return ok ? CPU_NEXT : cpu_fault_err(v, EXC_GP, 0);
}

/* --- instructions --------------------------------------------------------------------------- */
int op_rdmsr(struct vcpu *v, const struct insn *in)
{
	u64 val = 0;

	(void)in;
	if (v->cpl)
		return cpu_fault_err(v, EXC_GP, 0);
	TRY(cpu_rdmsr(v, v->gpr[RCX], &val));
	v->gpr[RAX] = (u32)val;
	v->gpr[RDX] = val >> 32;
	return CPU_NEXT;
}

int op_wrmsr(struct vcpu *v, const struct insn *in)
{
	(void)in;
	if (v->cpl)
		return cpu_fault_err(v, EXC_GP, 0);
	return cpu_wrmsr(v, v->gpr[RCX], v->gpr[RDX] << 32 | (u32)v->gpr[RAX]);
}
