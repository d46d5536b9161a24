/* Operands of call-out instructions: registers, segment-checked memory operands, the
 * stack; and the constructors of exceptions.
 *
 * In 64-bit code only FS and GS have bases and nothing has a limit; addresses must be
 * canonical, the stack's with #SS, all others with #GP (SDM vol. 3 5.3.1, vol. 1
 * 3.3.7.1). In other code limits and types are checked as SDM vol. 3 5.3 and 5.5 say. */
#include "priv.h"

/* Vectors that push an error code. */
#define ERROR_CODE_VECTORS \
	(BIT(EXC_DF) | BIT(EXC_TS) | BIT(EXC_NP) | BIT(EXC_SS) | BIT(EXC_GP) | BIT(EXC_PF) | BIT(EXC_AC))

int cpu_fault_err(struct vcpu *v, u8 vector, u32 error)
{
	v->exc = (struct exc){
		.vector = vector,
		.has_error = vector < 32 && (ERROR_CODE_VECTORS >> vector & 1),
		.error = error,
	};
	return CPU_FAULT;
}

int cpu_fault(struct vcpu *v, u8 vector)
{
	return cpu_fault_err(v, vector, 0);
}

int cpu_fault_page(struct vcpu *v, gla_t addr, u32 error)
{
	cpu_fault_err(v, EXC_PF, error);
	v->exc.cr2 = addr.v;
	return CPU_FAULT;
}

int cpu_check_fpu(struct vcpu *v)
{
	return (v->cr0 & (CR0_TS | CR0_EM)) ? cpu_fault(v, EXC_NM) : CPU_NEXT;
}

void reg_write(struct vcpu *v, int r, u64 val, unsigned size)
{
	u64 *reg = &v->gpr[r & 15];

	if (size >= 4)
		*reg = val & size_mask(size);
	else
		*reg = (*reg & ~size_mask(size)) | (val & size_mask(size));
}

/* Offset of the memory operand in its segment. */
static u64 operand_offset(const struct vcpu *v, const struct insn *in)
{
	u64 off = (u64)in->disp;

	if (in->base == BASE_RIP)
		off += v->next_rip;
	else if (in->base >= 0)
		off += v->gpr[in->base & 15];
	if (in->index >= 0)
		off += v->gpr[in->index & 15] * in->scale;
	return off & size_mask(in->addrsize);
}

gla_t cpu_ea(const struct vcpu *v, const struct insn *in)
{
	u64 off = operand_offset(v, in);

	if (in_64bit(v)) {
		if (in->seg == SEG_FS || in->seg == SEG_GS)
			off += v->seg[in->seg].base;
		return gla(off);
	}
	return gla((u32)(off + v->seg[in->seg].base));
}

static int seg_fault(struct vcpu *v, enum seg_reg seg)
{
	return cpu_fault_err(v, seg == SEG_SS ? EXC_SS : EXC_GP, 0);
}

static bool limit_ok(const struct seg *s, u64 off, u32 len)
{
	u64 last = off + len - 1;

	if (!(s->attr & DESC_CODE) && (s->attr & DESC_EXPAND_DOWN))
		return off > s->limit && last <= ((s->attr & SEG_A_DB) ? 0xffffffffUL : 0xffffUL);
	return last <= s->limit;
}

int seg_linear(struct vcpu *v, enum seg_reg seg, u64 off, u32 len, u32 acc, gla_t *out)
{
	const struct seg *s = &v->seg[seg];

	if (in_64bit(v)) {
		u64 a = off + ((seg == SEG_FS || seg == SEG_GS) ? s->base : 0);

		if (!is_canonical(a) || !is_canonical(a + len - 1))
			return seg_fault(v, seg);
		*out = gla(a);
		return CPU_NEXT;
	}
	if (protected_mode(v)) {
		bool code = s->attr & DESC_CODE, rw = s->attr & DESC_RW;

		if (!(s->attr & SEG_A_P))
			return seg_fault(v, seg);
		if ((acc & ACC_WRITE) ? (code || !rw) : (code && !rw))
			return seg_fault(v, seg);
	}
	if (!limit_ok(s, off, len))
		return seg_fault(v, seg);
	*out = gla((u32)(off + s->base));
	return CPU_NEXT;
}

int operand_addr(struct vcpu *v, const struct insn *in, u64 disp, u32 len, u32 acc, gla_t *out)
{
	u64 off = (operand_offset(v, in) + disp) & size_mask(in->addrsize);

	return seg_linear(v, in->seg, off, len, acc, out);
}

int operand_read(struct vcpu *v, const struct insn *in, u64 disp, void *buf, u32 len)
{
	gla_t a;

	TRY(operand_addr(v, in, disp, len, ACC_READ, &a));
	return mem_read(v, a, buf, len, ACC_READ);
}

int operand_write(struct vcpu *v, const struct insn *in, const void *buf, u32 len)
{
	gla_t a;

	TRY(operand_addr(v, in, 0, len, ACC_WRITE, &a));
	return mem_write(v, a, buf, len, ACC_WRITE);
}

int rm_read(struct vcpu *v, const struct insn *in, u64 *val, unsigned size)
{
	*val = 0;
	if (in->has_mem)
		return operand_read(v, in, 0, val, size);
	*val = reg_read(v, in->rm, size);
	return CPU_NEXT;
}

int rm_write(struct vcpu *v, const struct insn *in, u64 val, unsigned size)
{
	if (in->has_mem)
		return operand_write(v, in, &val, size);
	reg_write(v, in->rm, val, size);
	return CPU_NEXT;
}

int code_target_check(struct vcpu *v, const struct seg *cs, u64 off)
{
	bool ok = seg_is_64(v, cs) ? is_canonical(off) : off <= cs->limit;

	return ok ? CPU_NEXT : cpu_fault_err(v, EXC_GP, 0);
}

/* --- stack ------------------------------------------------------------------------- */
void stack_current(const struct vcpu *v, struct stack *s)
{
	const struct seg *ss = &v->seg[SEG_SS];
	bool long64 = in_64bit(v);

	*s = (struct stack){
		.sp = v->gpr[RSP],
		.mask = long64 ? ~0UL : (ss->attr & SEG_A_DB) ? 0xffffffffUL : 0xffffUL,
		.base = long64 ? 0 : ss->base,
		.limit = ss->limit,
		.checked_limit = !long64,
		.expand_down = !(ss->attr & DESC_CODE) && (ss->attr & DESC_EXPAND_DOWN),
		.fault = EXC_SS,
	};
}

static int stack_addr(struct vcpu *v, const struct stack *s, u64 sp, unsigned size, gla_t *out)
{
	u64 last = sp + size - 1;
	bool ok;

	if (!s->checked_limit) {
		ok = is_canonical(sp) && is_canonical(last);
		*out = gla(sp);
	} else {
		ok = s->expand_down ? sp > s->limit && last <= s->mask : last <= s->limit;
		*out = gla((u32)(s->base + sp));
	}
	return ok ? CPU_NEXT : cpu_fault_err(v, s->fault, s->error);
}

int stack_push(struct vcpu *v, struct stack *s, u64 val, unsigned size)
{
	u64 sp = (s->sp - size) & s->mask;
	gla_t a;

	TRY(stack_addr(v, s, sp, size, &a));
	TRY(mem_write(v, a, &val, size, s->acc | ACC_WRITE));
	s->sp = (s->sp & ~s->mask) | sp;
	return CPU_NEXT;
}

int stack_pop(struct vcpu *v, struct stack *s, u64 *val, unsigned size)
{
	gla_t a;

	*val = 0;
	TRY(stack_addr(v, s, s->sp & s->mask, size, &a));
	TRY(mem_read(v, a, val, size, s->acc | ACC_READ));
	stack_adjust(s, size);
	return CPU_NEXT;
}
