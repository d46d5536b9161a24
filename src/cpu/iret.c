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

int far_pop(struct vcpu *v, struct stack *s, u64 *rip, u64 *sel, unsigned size)
{
	struct stack at = *s;

	stack_adjust(&at, (i64)size);
	TRY(stack_pop(v, &at, sel, size));
	TRY(stack_pop(v, s, rip, size));
	*s = at;
	return CPU_NEXT;
}

/* What IRET pops. rsp and ss are there when with_stack is set. */
struct iret_frame {
	u64 rip, cs, rflags, rsp, ss;
};

/* The processor reads flags, CS and RIP in this order, which tells in CR2. */
static int pop_three(struct vcpu *v, struct stack *s, unsigned size, struct iret_frame *f)
{
	struct stack at = *s;

	stack_adjust(&at, 2 * (i64)size);
	TRY(stack_pop(v, &at, &f->rflags, size));
	TRY(far_pop(v, s, &f->rip, &f->cs, size));
	*s = at;
	return CPU_NEXT;
}

/* IRETQ, which kernels live by, in one access where all lies in one page. */
static bool pop_at_once(struct vcpu *v, const struct stack *s, unsigned size, struct iret_frame *f)
{
	if (size != 8 || !is_canonical(s->sp) || (s->sp & ~PAGE_MASK) > PAGE_SIZE - sizeof(*f))
		return false;
	return mem_read(v, gla(s->sp), f, sizeof(*f), ACC_READ) == CPU_NEXT;
}

/* 64-bit code always returns to a stack, other code when privilege falls. The new CS is
 * checked before the stack is read. */
static int pop_frame(struct vcpu *v, unsigned size, struct iret_frame *f, struct seg *cs, bool *with_stack)
{
	struct stack s;

	stack_current(v, &s);
	if (in_64bit(v) && pop_at_once(v, &s, size, f)) {
		*with_stack = true;
		return far_return_cs(v, f->cs, cs);
	}
	TRY(pop_three(v, &s, size, f));
	TRY(far_return_cs(v, f->cs, cs));
	f->rsp = s.sp;
	*with_stack = in_64bit(v) || (f->cs & 3) > v->cpl;
	if (!*with_stack)
		return CPU_NEXT;
	TRY(stack_pop(v, &s, &f->rsp, size));
	return stack_pop(v, &s, &f->ss, size);
}

static int iret_protected(struct vcpu *v, unsigned size)
{
	unsigned old_cpl = v->cpl;
	bool with_stack;
	struct seg cs, ss = v->seg[SEG_SS];
	struct iret_frame f;

	TRY(pop_frame(v, size, &f, &cs, &with_stack));
	if (!cpu_long_mode(v) && size == 4 && (f.rflags & FL_VM) && v->cpl == 0) {
		log_msg(LOG_GUEST_ERRORS, "cpu: return to virtual-8086 mode: not modelled\n");
		return cpu_fault_err(v, EXC_GP, 0);
	}
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
