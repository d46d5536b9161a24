/* IRET: return from exceptions and interrupts.
 *
 * Follows the pseudo-code of IRET/IRETD/IRETQ (SDM vol. 2) for long mode, protected mode
 * and real mode, and far RET's privilege rules shared with far.c. Not modelled: task
 * return (NT = 1 in legacy mode raises #GP), return to virtual-8086 mode. */
#include "far.h"
#include "shadowbox/log.h"

int far_return_cs(struct vcpu *v, u16 sel, struct seg *cs)
{
	u32 error = sel_error(sel);
	struct desc d;
	unsigned rpl = sel & 3;

	if (sel_null(sel))
		return cpu_fault_err(v, EXC_GP, 0);
	TRY(desc_fetch(v, sel, EXC_GP, 0, &d));
	if (!desc_is_code(&d) || rpl < v->cpl)
		return cpu_fault_err(v, EXC_GP, error);
	if (desc_conforming(&d) ? desc_dpl(&d) > rpl : desc_dpl(&d) != rpl)
		return cpu_fault_err(v, EXC_GP, error);
	if (cpu_long_mode(v) && desc_long(&d) && desc_db(&d))
		return cpu_fault_err(v, EXC_GP, error);
	if (!desc_present(&d))
		return cpu_fault_err(v, EXC_NP, error);
	TRY(desc_set_accessed(v, &d));
	seg_from_desc(cs, sel, &d);
	return CPU_NEXT;
}

int far_return_ss(struct vcpu *v, u16 sel, const struct seg *cs, struct seg *ss)
{
	unsigned cpl = cs->sel & 3;

	if (sel_null(sel)) {
		if (!seg_is_64(v, cs) || cpl == 3 || (sel & 3) != cpl)
			return cpu_fault_err(v, EXC_GP, 0);
		*ss = ss_null(cpl);
		ss->sel = sel;
		return CPU_NEXT;
	}
	return ss_check(v, sel, cpl, EXC_GP, 0, ss);
}

void far_return_commit(struct vcpu *v, const struct seg *cs, const struct seg *ss, u64 rip, u64 rsp)
{
	unsigned old_cpl = v->cpl;

	v->seg[SEG_CS] = *cs;
	v->seg[SEG_SS] = *ss;
	v->cpl = cs->sel & 3;
	v->rip = rip;
	if (seg_is_64(v, cs))
		v->gpr[RSP] = rsp;
	else if (ss->attr & SEG_A_DB)
		v->gpr[RSP] = (u32)rsp;
	else
		v->gpr[RSP] = (v->gpr[RSP] & ~0xffffUL) | (rsp & 0xffff);
	if (v->cpl != old_cpl)
		seg_drop_privileged(v);
}

/* What IRET pops. rsp and ss are there when with_stack is set. */
struct iret_frame {
	u64 rip, cs, rflags, rsp, ss;
};

/* 64-bit code always pops all five. IRETQ, which kernels live by, in one access. */
static int pop_frame64(struct vcpu *v, unsigned size, struct iret_frame *f)
{
	struct stack s;

	stack_current(v, &s);
	if (size == 8 && is_canonical(s.sp) && is_canonical(s.sp + sizeof(*f) - 1))
		return mem_read(v, gla(s.sp), f, sizeof(*f), ACC_READ);
	TRY(stack_pop(v, &s, &f->rip, size));
	TRY(stack_pop(v, &s, &f->cs, size));
	TRY(stack_pop(v, &s, &f->rflags, size));
	TRY(stack_pop(v, &s, &f->rsp, size));
	return stack_pop(v, &s, &f->ss, size);
}

/* Other code pops the stack only when privilege falls. */
static int pop_frame32(struct vcpu *v, unsigned size, struct iret_frame *f, bool *with_stack)
{
	struct stack s;

	stack_current(v, &s);
	TRY(stack_pop(v, &s, &f->rip, size));
	TRY(stack_pop(v, &s, &f->cs, size));
	TRY(stack_pop(v, &s, &f->rflags, size));
	f->rsp = s.sp;
	*with_stack = (f->cs & 3) > v->cpl;
	if (!*with_stack)
		return CPU_NEXT;
	TRY(stack_pop(v, &s, &f->rsp, size));
	return stack_pop(v, &s, &f->ss, size);
}

static int iret_protected(struct vcpu *v, unsigned size)
{
	unsigned old_cpl = v->cpl;
	bool with_stack = true;
	struct seg cs, ss = v->seg[SEG_SS];
	struct iret_frame f;

	if (in_64bit(v))
		TRY(pop_frame64(v, size, &f));
	else
		TRY(pop_frame32(v, size, &f, &with_stack));
	if (!cpu_long_mode(v) && size == 4 && (f.rflags & FL_VM) && v->cpl == 0) {
		log_msg(LOG_GUEST_ERRORS, "cpu: return to virtual-8086 mode: not modelled\n");
		return cpu_fault_err(v, EXC_GP, 0);
	}
	TRY(far_return_cs(v, f.cs, &cs));
	if (with_stack)
		TRY(far_return_ss(v, f.ss, &cs, &ss));
	TRY(code_target_check(v, &cs, f.rip));
	far_return_commit(v, &cs, &ss, f.rip, f.rsp);
	flags_load(v, f.rflags, size, old_cpl);
	/* Unlike POPF, IRET restores RF. */
	if (size >= 4)
		v->rflags = (v->rflags & ~(u64)FL_RF) | (f.rflags & FL_RF);
	return CPU_JUMP;
}

static int iret_real(struct vcpu *v, unsigned size)
{
	u64 ip, sel, flags;
	struct stack s;

	stack_current(v, &s);
	TRY(stack_pop(v, &s, &ip, size));
	TRY(stack_pop(v, &s, &sel, size));
	TRY(stack_pop(v, &s, &flags, size));
	TRY(code_target_check(v, &v->seg[SEG_CS], ip));
	stack_commit(v, &s);
	v->seg[SEG_CS].sel = sel;
	v->seg[SEG_CS].base = (sel & 0xffff) << 4;
	v->rip = ip;
	flags_load(v, flags, size, 0);
	return CPU_JUMP;
}

int op_iret(struct vcpu *v, const struct insn *in)
{
	unsigned size = far_opsize(in);

	/* NMIs are let in again even when the return itself faults. */
	v->nmi_blocked = 0;
	if (v->nmi_pending)
		v->event_pending = 1;
	if (!protected_mode(v))
		return iret_real(v, size);
	if (v->rflags & FL_NT)
		return cpu_fault_err(v, EXC_GP, 0);
	return iret_protected(v, size);
}
