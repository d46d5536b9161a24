/* Control and extended control registers: MOV CR, LMSW, SMSW, CLTS,
 * XGETBV, XSETBV, and the mode switches that writing them makes.
 *
 * Follows SDM vol. 3 2.5, 2.6, 9.8.5 (long mode activation). The MMU is told of every change
 * that alters what addresses mean. */
#include "priv.h"
#include "shadowbox/dev/lapic.h"

#define CR0_KNOWN \
	(CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | CR0_PG)
/* Bits whose change alters translations. WP and the CR4 bits are folded into shadow
 * mappings, of global pages too. */
#define CR0_MMU (CR0_PE | CR0_WP | CR0_PG)
#define CR4_MMU (CR4_PSE | CR4_PAE | CR4_PGE | CR4_SMEP | CR4_SMAP | CR4_PCIDE | CR4_LA57 | CR4_PKE)

static int gp(struct vcpu *v)
{
	return cpu_fault_err(v, EXC_GP, 0);
}

/* CR0.PG 0 -> 1 with EFER.LME set enters long mode; #GP if something is not ready. */
static bool may_enter_long_mode(const struct vcpu *v)
{
	const struct seg *tr = &v->seg[SEG_TR];
	bool tss16 = (tr->attr & SEG_A_P) && (tr->attr & SEG_A_TYPE) == DT_TSS16_BUSY;

	return (v->cr4 & CR4_PAE) && !(v->seg[SEG_CS].attr & SEG_A_L) && !tss16;
}

static int write_cr0(struct vcpu *v, u64 val)
{
	u64 old = v->cr0;

	if (val >> 32)
		return gp(v);
	val = (val & CR0_KNOWN) | CR0_ET;
	if ((val & CR0_PG) && !(val & CR0_PE))
		return gp(v);
	if ((val & CR0_NW) && !(val & CR0_CD))
		return gp(v);
	if (!(old & CR0_PG) && (val & CR0_PG) && (v->efer & EFER_LME)) {
		if (!may_enter_long_mode(v))
			return gp(v);
		v->efer |= EFER_LMA;
	} else if ((old & CR0_PG) && !(val & CR0_PG)) {
		if (in_64bit(v) || (v->cr4 & CR4_PCIDE))
			return gp(v);
		v->efer &= ~(u64)EFER_LMA;
	}
	v->cr0 = val;
	if ((old ^ val) & CR0_MMU)
		mmu_mode_changed(v, true);
	return CPU_NEXT;
}

static int write_cr3(struct vcpu *v, u64 val)
{
	if (cpu_long_mode(v)) {
		if (v->cr4 & CR4_PCIDE)
			val &= ~BIT(63);
		if (val & ~model_phys_mask())
			return gp(v);
	}
	v->cr3 = val;
	mmu_cr3_written(v);
	return CPU_NEXT;
}

static int write_cr4(struct vcpu *v, u64 val)
{
	u64 old = v->cr4;

	if (val & ~model_cr4_mask())
		return gp(v);
	if (cpu_long_mode(v) && !(val & CR4_PAE))
		return gp(v);
	if ((val & CR4_PCIDE) && !(old & CR4_PCIDE) && (!cpu_long_mode(v) || (v->cr3 & 0xfff)))
		return gp(v);
	v->cr4 = val;
	if ((old ^ val) & CR4_MMU)
		mmu_mode_changed(v, true);
	return CPU_NEXT;
}

static int write_cr8(struct vcpu *v, u64 val)
{
	if (val & ~15UL)
		return gp(v);
	lapic_cr8_write(cpu_machine(), v, val);
	return CPU_NEXT;
}

static int read_cr(struct vcpu *v, unsigned cr, u64 *val)
{
	switch (cr) {
	case 0: *val = v->cr0; return CPU_NEXT;
	case 2: *val = v->cr2; return CPU_NEXT;
	case 3: *val = v->cr3; return CPU_NEXT;
	case 4: *val = v->cr4; return CPU_NEXT;
	case 8: *val = lapic_cr8_read(cpu_machine(), v); return CPU_NEXT;
	}
	return cpu_fault(v, EXC_UD);
}

static int write_cr(struct vcpu *v, unsigned cr, u64 val)
{
	switch (cr) {
	case 0: return write_cr0(v, val);
	case 2: v->cr2 = val; return CPU_NEXT;
	case 3: return write_cr3(v, val);
	case 4: return write_cr4(v, val);
	case 8: return write_cr8(v, val);
	}
	return cpu_fault(v, EXC_UD);
}

static bool cr_exists(const struct insn *in, unsigned cr)
{
	return cr == 0 || (cr >= 2 && cr <= 4) || (cr == 8 && in->code_size == 64);
}

/* 0F 20 reads, 0F 22 writes; always 64 bits wide in 64-bit code, else 32. */
int op_mov_cr(struct vcpu *v, const struct insn *in)
{
	unsigned size = in->code_size == 64 ? 8 : 4;
	u64 val = 0;

	if (!cr_exists(in, in->reg))
		return cpu_fault(v, EXC_UD);
	if (v->cpl)
		return gp(v);
	if (in->opcode & 2)
		return write_cr(v, in->reg, reg_read(v, in->rm, size));
	TRY(read_cr(v, in->reg, &val));
	reg_write(v, in->rm, val, size);
	return CPU_NEXT;
}

/* --- machine status word --------------------------------------------------------------- */
int op_clts(struct vcpu *v, const struct insn *in)
{
	(void)in;
	if (v->cpl)
		return gp(v);
	v->cr0 &= ~(u64)CR0_TS;
	return CPU_NEXT;
}

/* LMSW sets PE, MP, EM, TS; it cannot clear PE. */
int op_lmsw(struct vcpu *v, const struct insn *in)
{
	u64 val;

	if (v->cpl)
		return gp(v);
	TRY(rm_read(v, in, &val, 2));
	return write_cr0(v, (v->cr0 & ~0xeUL) | (val & 0xf));
}

int op_smsw(struct vcpu *v, const struct insn *in)
{
	if ((v->cr4 & CR4_UMIP) && v->cpl)
		return gp(v);
	return rm_write(v, in, v->cr0, in->has_mem ? 2 : in->opsize);
}

/* --- extended control registers -------------------------------------------------------- */
/* XCR0 feature bits that only make sense together (SDM vol. 1 13.3). */
static bool xcr0_valid(u64 val)
{
	u64 avx512 = val & 0xe0;

	if (!(val & 1) || (val & ~cpu_model_xcr0()))
		return false;
	if ((val & 4) && !(val & 2))
		return false;
	return !avx512 || (avx512 == 0xe0 && (val & 4));
}

int op_xsetbv(struct vcpu *v, const struct insn *in)
{
	u64 val = (v->gpr[RDX] << 32) | (u32)v->gpr[RAX];

	(void)in;
	if (!(v->cr4 & CR4_OSXSAVE))
		return cpu_fault(v, EXC_UD);
	if (v->cpl || (u32)v->gpr[RCX] != 0 || !xcr0_valid(val))
		return gp(v);
	v->xcr0 = val;
	return CPU_NEXT;
}

static u64 host_xgetbv(u32 index)
{
	u32 lo, hi;

	__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(index));
	return (u64)hi << 32 | lo;
}

/* Index 1 asks which components are in use; the guest's vector state is live in the
 * host's registers, so the host knows. */
int op_xgetbv(struct vcpu *v, const struct insn *in)
{
	u32 index = v->gpr[RCX];
	u64 val = v->xcr0;

	(void)in;
	if (!(v->cr4 & CR4_OSXSAVE))
		return cpu_fault(v, EXC_UD);
	if (index == 1 && cpu_has(FW_D_1_EAX, 2))
		val &= host_xgetbv(1);
	else if (index)
		return gp(v);
	v->gpr[RAX] = (u32)val;
	v->gpr[RDX] = val >> 32;
	return CPU_NEXT;
}
