/* Asking about selectors without loading them: LAR, LSL, VERR, VERW, ARPL.
 * Follows SDM vol. 2. Only ZF changes; a selector that may not be seen clears it. */
#include "priv.h"

/* System descriptor types that LAR and LSL accept, by mode. */
enum {
	LAR_LONG = 1 << DT_LDT | 1 << DT_TSS | 1 << DT_TSS_BUSY | 1 << DT_CALL,
	LAR_LEGACY = LAR_LONG | 1 << DT_TSS16 | 1 << DT_TSS16_BUSY | 1 << DT_CALL16 | 1 << DT_TASK_GATE,
	LSL_LONG = 1 << DT_LDT | 1 << DT_TSS | 1 << DT_TSS_BUSY,
	LSL_LEGACY = LSL_LONG | 1 << DT_TSS16 | 1 << DT_TSS16_BUSY,
};

/* Reads the descriptor that the operand selects; *ok: it exists and its privilege
 * allows a look. */
static int query(struct vcpu *v, const struct insn *in, struct desc *d, bool *ok)
{
	u64 sel;

	if (!protected_mode(v))
		return cpu_fault(v, EXC_UD);
	TRY(rm_read(v, in, &sel, 2));
	TRY(desc_find(v, sel, d, ok));
	if (*ok && !desc_conforming(d))
		*ok = desc_dpl(d) >= v->cpl && desc_dpl(d) >= (sel & 3);
	return CPU_NEXT;
}

static int answer(struct vcpu *v, bool ok)
{
	v->rflags = (v->rflags & ~(u64)FL_ZF) | (ok ? FL_ZF : 0);
	return CPU_NEXT;
}

static bool type_allowed(const struct vcpu *v, const struct desc *d, u32 in_long, u32 in_legacy)
{
	if (desc_is_segment(d))
		return true;
	return (cpu_long_mode(v) ? in_long : in_legacy) >> desc_type(d) & 1;
}

int op_lar(struct vcpu *v, const struct insn *in)
{
	struct desc d;
	bool ok;

	TRY(query(v, in, &d, &ok));
	ok = ok && type_allowed(v, &d, LAR_LONG, LAR_LEGACY);
	if (ok)
		reg_write(v, in->reg, d.hi & 0x00ffff00, in->opsize);
	return answer(v, ok);
}

int op_lsl(struct vcpu *v, const struct insn *in)
{
	struct desc d;
	bool ok;

	TRY(query(v, in, &d, &ok));
	ok = ok && type_allowed(v, &d, LSL_LONG, LSL_LEGACY);
	if (ok)
		reg_write(v, in->reg, desc_limit(&d), in->opsize);
	return answer(v, ok);
}

int op_verr(struct vcpu *v, const struct insn *in)
{
	struct desc d;
	bool ok;

	TRY(query(v, in, &d, &ok));
	ok = ok && (desc_is_data(&d) || (desc_is_code(&d) && (desc_type(&d) & DESC_RW)));
	return answer(v, ok);
}

int op_verw(struct vcpu *v, const struct insn *in)
{
	struct desc d;
	bool ok;

	TRY(query(v, in, &d, &ok));
	return answer(v, ok && desc_writable_data(&d));
}

int op_arpl(struct vcpu *v, const struct insn *in)
{
	u64 dst, rpl = reg_read(v, in->reg, 2) & 3;

	if (!protected_mode(v) || in->code_size == 64)
		return cpu_fault(v, EXC_UD);
	TRY(rm_read(v, in, &dst, 2));
	if ((dst & 3) >= rpl)
		return answer(v, false);
	TRY(rm_write(v, in, (dst & ~3UL) | rpl, 2));
	return answer(v, true);
}
