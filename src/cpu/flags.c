/* RFLAGS: PUSHF, POPF, CLI, STI, STAC, CLAC, LAHF, SAHF, and flag arithmetic.
 *
 * Follows SDM vol. 2 and vol. 3 2.3. CR4.VME and CR4.PVI are not offered, so CLI, STI
 * and POPF know only CPL and IOPL. */
#include "priv.h"

void flags_load(struct vcpu *v, u64 val, unsigned size, unsigned cpl)
{
	u64 mask = FL_ARITH | FL_TF | FL_DF | FL_NT;
	u64 old = cpu_rflags(v);

	if (size >= 4)
		mask |= FL_AC | FL_ID;
	if (cpl == 0)
		mask |= FL_IOPL;
	if (cpl <= cpu_iopl(v))
		mask |= FL_IF;
	cpu_set_rflags(v, ((old & ~mask) | (val & mask)) & ~(u64)FL_RF);
	flags_if_changed(v);
}

void flags_of_sub(struct vcpu *v, u64 a, u64 b, unsigned size)
{
	u64 mask = size_mask(size), sign = BIT(size * 8 - 1);
	u64 r, fl = v->rflags & ~(u64)FL_ARITH;

	a &= mask;
	b &= mask;
	r = (a - b) & mask;
	if (a < b)
		fl |= FL_CF;
	if (!(__builtin_popcount(r & 0xff) & 1))
		fl |= FL_PF;
	if ((a ^ b ^ r) & 0x10)
		fl |= FL_AF;
	if (!r)
		fl |= FL_ZF;
	if (r & sign)
		fl |= FL_SF;
	if ((a ^ b) & (a ^ r) & sign)
		fl |= FL_OF;
	v->rflags = fl;
}

bool flags_condition(const struct vcpu *v, unsigned cc)
{
	u64 fl = v->rflags;
	bool sf_ne_of = !(fl & FL_SF) != !(fl & FL_OF), r;

	switch (cc >> 1 & 7) {
	case 0: r = fl & FL_OF; break;
	case 1: r = fl & FL_CF; break;
	case 2: r = fl & FL_ZF; break;
	case 3: r = fl & (FL_CF | FL_ZF); break;
	case 4: r = fl & FL_SF; break;
	case 5: r = fl & FL_PF; break;
	case 6: r = sf_ne_of; break;
	default: r = sf_ne_of || (fl & FL_ZF); break;
	}
	return r != (cc & 1);
}

int op_pushf(struct vcpu *v, const struct insn *in)
{
	struct stack s;

	stack_current(v, &s);
	TRY(stack_push(v, &s, cpu_rflags(v) & ~(u64)(FL_VM | FL_RF), stack_opsize(in)));
	stack_commit(v, &s);
	return CPU_NEXT;
}

int op_popf(struct vcpu *v, const struct insn *in)
{
	unsigned size = stack_opsize(in);
	struct stack s;
	u64 val;

	stack_current(v, &s);
	TRY(stack_pop(v, &s, &val, size));
	stack_commit(v, &s);
	flags_load(v, val, size, v->cpl);
	return CPU_NEXT;
}

int op_cli(struct vcpu *v, const struct insn *in)
{
	(void)in;
	if (v->cpl > cpu_iopl(v))
		return cpu_fault_err(v, EXC_GP, 0);
	v->intr_enabled = 0;
	return CPU_NEXT;
}

int op_sti(struct vcpu *v, const struct insn *in)
{
	(void)in;
	if (v->cpl > cpu_iopl(v))
		return cpu_fault_err(v, EXC_GP, 0);
	if (!v->intr_enabled) {
		v->intr_enabled = 1;
		v->intr_shadow = SHADOW_STI;
		flags_if_changed(v);
	}
	return CPU_NEXT;
}

/* STAC and CLAC exist where CPUID offers SMAP, for CPL 0. */
static int set_ac(struct vcpu *v, bool on)
{
	if (!cpu_offers_smap() || v->cpl)
		return cpu_fault(v, EXC_UD);
	v->rflags = (v->rflags & ~(u64)FL_AC) | (on ? FL_AC : 0);
	return CPU_NEXT;
}

int op_stac(struct vcpu *v, const struct insn *in)
{
	(void)in;
	return set_ac(v, true);
}

int op_clac(struct vcpu *v, const struct insn *in)
{
	(void)in;
	return set_ac(v, false);
}

#define LAHF_FLAGS (FL_CF | FL_PF | FL_AF | FL_ZF | FL_SF)

int op_lahf(struct vcpu *v, const struct insn *in)
{
	(void)in;
	v->gpr[RAX] = (v->gpr[RAX] & ~0xff00UL) | ((v->rflags & LAHF_FLAGS) | 2) << 8;
	return CPU_NEXT;
}

int op_sahf(struct vcpu *v, const struct insn *in)
{
	(void)in;
	v->rflags = (v->rflags & ~(u64)LAHF_FLAGS) | (v->gpr[RAX] >> 8 & LAHF_FLAGS);
	return CPU_NEXT;
}
