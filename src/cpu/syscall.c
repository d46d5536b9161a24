/* SYSCALL, SYSRET, SYSENTER, SYSEXIT. Follows SDM vol. 2 and, for the AMD models,
 * APM vol. 3: there SYSCALL also works in compatibility mode (CSTAR) and SYSENTER does
 * not work in long mode at all. */
#include "priv.h"

/* The fixed flat segments that these instructions load without looking at the GDT. */
static struct seg flat_seg(u16 sel, unsigned type, unsigned cpl, u16 size_bits)
{
	return (struct seg){
		.sel = sel,
		.attr = type | SEG_A_S | cpl << SEG_A_DPL_SHIFT | SEG_A_P | SEG_A_G | size_bits,
		.limit = 0xffffffff,
	};
}

static void load_flat(struct vcpu *v, u16 cs, u16 ss, unsigned cpl, bool code64)
{
	v->seg[SEG_CS] = flat_seg(cs, DESC_CODE | DESC_RW | DESC_ACCESSED, cpl, code64 ? SEG_A_L : SEG_A_DB);
	v->seg[SEG_SS] = flat_seg(ss, DESC_RW | DESC_ACCESSED, cpl, SEG_A_DB);
	v->cpl = cpl;
}

void cpu_load_syscall_segments(struct vcpu *v, unsigned cpl)
{
	load_flat(v, syscall_cs(v->star, cpl), syscall_ss(v->star, cpl), cpl, true);
}

static bool syscall_mode(const struct vcpu *v)
{
	return (v->efer & EFER_SCE) && cpu_long_mode(v) &&
	       (in_64bit(v) || cpu_model.vendor == VENDOR_AMD);
}

int op_syscall(struct vcpu *v, const struct insn *in)
{
	(void)in;
	if (!syscall_mode(v))
		return cpu_fault(v, EXC_UD);
	v->gpr[RCX] = v->next_rip;
	v->gpr[R11] = cpu_rflags(v) & ~(u64)FL_RF;
	v->rip = in_64bit(v) ? v->lstar : v->cstar;
	cpu_set_rflags(v, v->gpr[R11] & ~v->sfmask);
	cpu_load_syscall_segments(v, 0);
	return CPU_JUMP;
}

int op_sysret(struct vcpu *v, const struct insn *in)
{
	bool to64 = rex_w(in);

	if (!syscall_mode(v))
		return cpu_fault(v, EXC_UD);
	if (v->cpl)
		return cpu_fault_err(v, EXC_GP, 0);
	if (to64 && !is_canonical(v->gpr[RCX]))
		return cpu_fault_err(v, EXC_GP, 0);
	v->rip = to64 ? v->gpr[RCX] : (u32)v->gpr[RCX];
	cpu_set_rflags(v, (v->gpr[R11] & 0x3c7fd7) | 2);
	load_flat(v, to64 ? syscall_cs(v->star, 3) : v->star >> 48 | 3, syscall_ss(v->star, 3), 3, to64);
	flags_if_changed(v);
	return CPU_JUMP;
}

static bool sysenter_mode(const struct vcpu *v)
{
	return !(cpu_model.vendor == VENDOR_AMD && cpu_long_mode(v));
}

int op_sysenter(struct vcpu *v, const struct insn *in)
{
	bool long_mode = cpu_long_mode(v);
	u16 sel = v->sysenter_cs & ~3UL;

	(void)in;
	if (!sysenter_mode(v))
		return cpu_fault(v, EXC_UD);
	if (!protected_mode(v) || !sel)
		return cpu_fault_err(v, EXC_GP, 0);
	v->rflags &= ~(u64)(FL_VM | FL_RF);
	v->intr_enabled = 0;
	v->gpr[RSP] = long_mode ? v->sysenter_esp : (u32)v->sysenter_esp;
	v->rip = long_mode ? v->sysenter_eip : (u32)v->sysenter_eip;
	load_flat(v, sel, sel + 8, 0, long_mode);
	return CPU_JUMP;
}

int op_sysexit(struct vcpu *v, const struct insn *in)
{
	bool to64 = rex_w(in);
	u16 sel = v->sysenter_cs & ~3UL;

	if (!sysenter_mode(v))
		return cpu_fault(v, EXC_UD);
	if (!protected_mode(v) || v->cpl || !sel)
		return cpu_fault_err(v, EXC_GP, 0);
	if (to64 && (!is_canonical(v->gpr[RCX]) || !is_canonical(v->gpr[RDX])))
		return cpu_fault_err(v, EXC_GP, 0);
	sel += to64 ? 32 : 16;
	v->gpr[RSP] = to64 ? v->gpr[RCX] : (u32)v->gpr[RCX];
	v->rip = to64 ? v->gpr[RDX] : (u32)v->gpr[RDX];
	load_flat(v, sel | 3, (sel + 8) | 3, 3, to64);
	return CPU_JUMP;
}
