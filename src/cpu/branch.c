/* Near branches as call-outs: JMP, Jcc, JCXZ, LOOP, CALL, RET and the indirect forms.
 * Follows SDM vol. 2. A target that is not canonical or beyond the code segment's limit
 * is #GP(0) of the branch itself. */
#include "priv.h"

static int jump(struct vcpu *v, u64 target, unsigned size)
{
	target &= size_mask(size);
	TRY(code_target_check(v, &v->seg[SEG_CS], target));
	v->rip = target;
	return CPU_JUMP;
}

int op_jmp(struct vcpu *v, const struct insn *in)
{
	return jump(v, in->imm, stack_opsize(in));
}

int op_jcc(struct vcpu *v, const struct insn *in)
{
	return flags_condition(v, in->cond) ? op_jmp(v, in) : CPU_NEXT;
}

int op_jrcxz(struct vcpu *v, const struct insn *in)
{
	return reg_read(v, RCX, in->addrsize) == 0 ? op_jmp(v, in) : CPU_NEXT;
}

/* LOOPNE E0, LOOPE E1, LOOP E2. */
int op_loop(struct vcpu *v, const struct insn *in)
{
	u64 count = reg_read(v, RCX, in->addrsize) - 1, old = v->gpr[RCX];
	bool zf = v->rflags & FL_ZF, taken;
	int ret;

	reg_write(v, RCX, count, in->addrsize);
	taken = reg_read(v, RCX, in->addrsize) != 0;
	if (in->opcode == 0xe0)
		taken &= !zf;
	else if (in->opcode == 0xe1)
		taken &= zf;
	if (!taken)
		return CPU_NEXT;
	ret = op_jmp(v, in);
	if (ret == CPU_FAULT)
		v->gpr[RCX] = old;
	return ret;
}

static int call(struct vcpu *v, u64 target, unsigned size)
{
	struct stack s;

	target &= size_mask(size);
	stack_current(v, &s);
	/* Processors store the return address before they look at the target. */
	TRY(stack_push(v, &s, v->next_rip, size));
	TRY(code_target_check(v, &v->seg[SEG_CS], target));
	stack_commit(v, &s);
	v->rip = target;
	return CPU_JUMP;
}

int op_call(struct vcpu *v, const struct insn *in)
{
	return call(v, in->imm, stack_opsize(in));
}

int op_call_ind(struct vcpu *v, const struct insn *in)
{
	u64 target;

	TRY(rm_read(v, in, &target, stack_opsize(in)));
	return call(v, target, stack_opsize(in));
}

int op_jmp_ind(struct vcpu *v, const struct insn *in)
{
	u64 target;

	TRY(rm_read(v, in, &target, stack_opsize(in)));
	return jump(v, target, stack_opsize(in));
}

/* C3, and C2 with a number of argument bytes to drop. */
int op_ret(struct vcpu *v, const struct insn *in)
{
	struct stack s;
	u64 target;

	stack_current(v, &s);
	TRY(stack_pop(v, &s, &target, stack_opsize(in)));
	TRY(code_target_check(v, &v->seg[SEG_CS], target));
	if (in->opcode == 0xc2)
		stack_adjust(&s, (u16)in->imm);
	stack_commit(v, &s);
	v->rip = target;
	return CPU_JUMP;
}
