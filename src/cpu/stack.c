/* PUSH, POP, PUSHA, POPA, ENTER, LEAVE for 64-, 32- and 16-bit code, as call-outs.
 * Follows SDM vol. 2. The stack pointer's width follows SS.B, or is 64 bits. */
#include "priv.h"

int op_push(struct vcpu *v, const struct insn *in)
{
	unsigned size = stack_opsize(in);
	struct stack s;
	u64 val;

	if (in->opcode == 0x68)
		val = size == 8 ? (u64)(i64)(i32)in->imm : (u64)in->imm;
	else if (in->opcode == 0x6a)
		val = (u64)(i64)(i8)in->imm;
	else
		TRY(rm_read(v, in, &val, size));
	stack_current(v, &s);
	TRY(stack_push(v, &s, val, size));
	stack_commit(v, &s);
	return CPU_NEXT;
}

/* A destination in memory is addressed with RSP as it is after the pop. */
int op_pop(struct vcpu *v, const struct insn *in)
{
	unsigned size = stack_opsize(in);
	u64 val, old = v->gpr[RSP];
	struct stack s;
	int ret;

	stack_current(v, &s);
	TRY(stack_pop(v, &s, &val, size));
	stack_commit(v, &s);
	ret = rm_write(v, in, val, size);
	if (ret != CPU_NEXT)
		v->gpr[RSP] = old;
	return ret;
}

int op_pusha(struct vcpu *v, const struct insn *in)
{
	struct stack s;

	if (in->code_size == 64)
		return cpu_fault(v, EXC_UD);
	stack_current(v, &s);
	for (int r = RAX; r <= RDI; r++)
		TRY(stack_push(v, &s, v->gpr[r], in->opsize));
	stack_commit(v, &s);
	return CPU_NEXT;
}

int op_popa(struct vcpu *v, const struct insn *in)
{
	struct stack s;
	u64 val[8];

	if (in->code_size == 64)
		return cpu_fault(v, EXC_UD);
	stack_current(v, &s);
	for (int r = RDI; r >= RAX; r--)
		TRY(stack_pop(v, &s, &val[r], in->opsize));
	for (int r = RAX; r <= RDI; r++)
		if (r != RSP)
			reg_write(v, r, val[r], in->opsize);
	stack_commit(v, &s);
	return CPU_NEXT;
}

/* Copies the outer frames' pointers for nesting levels above 1. */
static int enter_copy_frames(struct vcpu *v, struct stack *s, unsigned level, unsigned size)
{
	struct stack bp = *s;

	bp.sp = v->gpr[RBP];
	for (unsigned i = 1; i < level; i++) {
		u64 val;

		stack_adjust(&bp, -(i64)size);
		struct stack at = bp;
		TRY(stack_pop(v, &at, &val, size));
		TRY(stack_push(v, s, val, size));
	}
	return CPU_NEXT;
}

int op_enter(struct vcpu *v, const struct insn *in)
{
	unsigned size = stack_opsize(in), level = in->imm2 & 31;
	u64 alloc = (u16)in->imm, frame;
	struct stack s;
	gla_t a;

	stack_current(v, &s);
	TRY(stack_push(v, &s, v->gpr[RBP], size));
	frame = s.sp;
	if (level) {
		TRY(enter_copy_frames(v, &s, level, size));
		TRY(stack_push(v, &s, frame, size));
	}
	stack_adjust(&s, -(i64)alloc);
	/* The new top must be writable, or ENTER faults before anything changes. */
	TRY(seg_linear(v, SEG_SS, s.sp & s.mask, size, ACC_WRITE, &a));
	TRY(mem_probe_write(v, a, size, ACC_WRITE));
	reg_write(v, RBP, frame & s.mask, s.mask == 0xffff ? 2 : size);
	stack_commit(v, &s);
	return CPU_NEXT;
}

int op_leave(struct vcpu *v, const struct insn *in)
{
	unsigned size = stack_opsize(in);
	struct stack s;
	u64 rbp;

	stack_current(v, &s);
	s.sp = (s.sp & ~s.mask) | (v->gpr[RBP] & s.mask);
	TRY(stack_pop(v, &s, &rbp, size));
	stack_commit(v, &s);
	reg_write(v, RBP, rbp, size);
	return CPU_NEXT;
}
