/* System instructions: descriptor table registers, HLT, INVLPG, caches, time stamp
 * counter, SWAPGS and the FS/GS base instructions. Follows SDM vol. 2.
 *
 * Caches are the host's, so INVD and WBINVD only check privilege. There are no
 * performance counters: RDPMC is #GP whatever it asks for. */
#include "priv.h"

static int gp(struct vcpu *v)
{
	return cpu_fault_err(v, EXC_GP, 0);
}

static int need_cpl0(struct vcpu *v)
{
	return v->cpl ? gp(v) : CPU_NEXT;
}

/* SGDT, SIDT, SLDT, STR at CPL > 0 are refused under UMIP. */
static int check_umip(struct vcpu *v)
{
	return ((v->cr4 & CR4_UMIP) && v->cpl) ? gp(v) : CPU_NEXT;
}

int op_hlt(struct vcpu *v, const struct insn *in)
{
	(void)in;
	TRY(need_cpl0(v));
	v->halted = 1;
	return CPU_NEXT;
}

/* --- descriptor tables ------------------------------------------------------------------ */
static int load_table(struct vcpu *v, const struct insn *in, struct desc_table *t)
{
	unsigned base_bytes = in->code_size == 64 ? 8 : 4;
	u64 base = 0;
	u16 limit;

	if (!in->has_mem)
		return cpu_fault(v, EXC_UD);
	TRY(need_cpl0(v));
	TRY(operand_read(v, in, 0, &limit, 2));
	TRY(operand_read(v, in, 2, &base, base_bytes));
	if (in->code_size != 64 && in->opsize == 2)
		base &= 0xffffff;
	if (!is_canonical(base))
		return gp(v);
	t->base = base;
	t->limit = limit;
	return CPU_NEXT;
}

static int store_table(struct vcpu *v, const struct insn *in, const struct desc_table *t)
{
	u8 image[10];

	if (!in->has_mem)
		return cpu_fault(v, EXC_UD);
	TRY(check_umip(v));
	memcpy(image, &t->limit, 2);
	memcpy(image + 2, &t->base, 8);
	return operand_write(v, in, image, in->code_size == 64 ? 10 : 6);
}

int op_lgdt(struct vcpu *v, const struct insn *in) { return load_table(v, in, &v->gdtr); }
int op_lidt(struct vcpu *v, const struct insn *in) { return load_table(v, in, &v->idtr); }
int op_sgdt(struct vcpu *v, const struct insn *in) { return store_table(v, in, &v->gdtr); }
int op_sidt(struct vcpu *v, const struct insn *in) { return store_table(v, in, &v->idtr); }

static int store_selector(struct vcpu *v, const struct insn *in, enum seg_reg reg)
{
	if (!protected_mode(v))
		return cpu_fault(v, EXC_UD);
	TRY(check_umip(v));
	return rm_write(v, in, v->seg[reg].sel, in->has_mem ? 2 : in->opsize);
}

int op_sldt(struct vcpu *v, const struct insn *in) { return store_selector(v, in, SEG_LDTR); }
int op_str(struct vcpu *v, const struct insn *in) { return store_selector(v, in, SEG_TR); }

/* --- translations and caches ------------------------------------------------------------- */
int op_invlpg(struct vcpu *v, const struct insn *in)
{
	gla_t a;

	if (!in->has_mem)
		return cpu_fault(v, EXC_UD);
	TRY(need_cpl0(v));
	a = cpu_ea(v, in);
	if (is_canonical(a.v))
		mmu_invlpg(v, a);
	return CPU_NEXT;
}

int op_wbinvd(struct vcpu *v, const struct insn *in)
{
	(void)in;
	return need_cpl0(v);
}

int op_prefetch(struct vcpu *v, const struct insn *in)
{
	(void)v;
	(void)in;
	return CPU_NEXT;
}

/* --- time stamp counter ------------------------------------------------------------------- */
static int read_tsc(struct vcpu *v)
{
	u64 tsc;

	if ((v->cr4 & CR4_TSD) && v->cpl)
		return gp(v);
	tsc = host_rdtsc() + v->tsc_offset;
	v->gpr[RAX] = (u32)tsc;
	v->gpr[RDX] = tsc >> 32;
	return CPU_NEXT;
}

int op_rdtsc(struct vcpu *v, const struct insn *in)
{
	(void)in;
	return read_tsc(v);
}

int op_rdtscp(struct vcpu *v, const struct insn *in)
{
	(void)in;
	if (!cpu_has(FW_80000001_EDX, 27))
		return cpu_fault(v, EXC_UD);
	TRY(read_tsc(v));
	v->gpr[RCX] = (u32)v->tsc_aux;
	return CPU_NEXT;
}

int op_rdpid(struct vcpu *v, const struct insn *in)
{
	if (!cpu_has(FW_7_ECX, 22))
		return cpu_fault(v, EXC_UD);
	reg_write(v, in->rm, (u32)v->tsc_aux, in->code_size == 64 ? 8 : 4);
	return CPU_NEXT;
}

int op_rdpmc(struct vcpu *v, const struct insn *in)
{
	(void)in;
	return gp(v);
}

/* --- FS and GS base ------------------------------------------------------------------------- */
int op_swapgs(struct vcpu *v, const struct insn *in)
{
	u64 base = v->seg[SEG_GS].base;

	(void)in;
	if (!in_64bit(v))
		return cpu_fault(v, EXC_UD);
	TRY(need_cpl0(v));
	v->seg[SEG_GS].base = v->kernel_gs_base;
	v->kernel_gs_base = base;
	return CPU_NEXT;
}

static int check_fsgsbase(struct vcpu *v)
{
	return (in_64bit(v) && (v->cr4 & CR4_FSGSBASE)) ? CPU_NEXT : cpu_fault(v, EXC_UD);
}

static int read_base(struct vcpu *v, const struct insn *in, enum seg_reg reg)
{
	TRY(check_fsgsbase(v));
	reg_write(v, in->rm, v->seg[reg].base, in->opsize);
	return CPU_NEXT;
}

static int write_base(struct vcpu *v, const struct insn *in, enum seg_reg reg)
{
	u64 base = reg_read(v, in->rm, in->opsize);

	TRY(check_fsgsbase(v));
	if (!is_canonical(base))
		return gp(v);
	v->seg[reg].base = base;
	return CPU_NEXT;
}

int op_rdfsbase(struct vcpu *v, const struct insn *in) { return read_base(v, in, SEG_FS); }
int op_rdgsbase(struct vcpu *v, const struct insn *in) { return read_base(v, in, SEG_GS); }
int op_wrfsbase(struct vcpu *v, const struct insn *in) { return write_base(v, in, SEG_FS); }
int op_wrgsbase(struct vcpu *v, const struct insn *in) { return write_base(v, in, SEG_GS); }
