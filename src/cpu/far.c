/* Far JMP, CALL and RET: changes of code segment, with and without call gates.
 *
 * Follows SDM vol. 2 (JMP, CALL, RET) and vol. 3 5.8. This is also how code moves
 * between 64-bit, compatibility and protected mode code segments. Not modelled: task
 * switches (a TSS or task gate as target is #GP with its selector). */
#include "far.h"
#include "shadowbox/log.h"

/* Where a far transfer goes. */
struct far_target {
	struct seg cs;
	u64 rip;
	unsigned cpl;
	bool gate;          /* through a call gate ... */
	unsigned gate_size; /* ... that pushes this many bytes an item ... */
	unsigned params;    /* ... and copies this many parameters */
};

/* The pointer that the instruction names: in memory, or as an immediate. */
static int far_pointer(struct vcpu *v, const struct insn *in, u16 *sel, u64 *off)
{
	unsigned size = far_opsize(in);

	if (!in->has_modrm) {
		*sel = in->imm2;
		*off = (u64)in->imm & size_mask(size);
		return CPU_NEXT;
	}
	if (!in->has_mem)
		return cpu_fault(v, EXC_UD);
	*off = 0;
	TRY(operand_read(v, in, 0, off, size));
	return operand_read(v, in, size, sel, 2);
}

static int real_jump(struct vcpu *v, u16 sel, u64 off)
{
	TRY(code_target_check(v, &v->seg[SEG_CS], off));
	v->seg[SEG_CS].sel = sel;
	v->seg[SEG_CS].base = sel << 4;
	v->rip = off;
	return CPU_JUMP;
}

/* Checks a code segment descriptor reached directly. */
static int direct_target(struct vcpu *v, u16 sel, u64 off, const struct desc *d, struct far_target *t)
{
	u32 error = sel_error(sel);

	if (desc_conforming(d) ? desc_dpl(d) > v->cpl : (sel & 3) > v->cpl || desc_dpl(d) != v->cpl)
		return cpu_fault_err(v, EXC_GP, error);
	if (cpu_long_mode(v) && desc_long(d) && desc_db(d))
		return cpu_fault_err(v, EXC_GP, error);
	if (!desc_present(d))
		return cpu_fault_err(v, EXC_NP, error);
	*t = (struct far_target){ .rip = off, .cpl = v->cpl };
	seg_from_desc(&t->cs, (sel & ~3) | v->cpl, d);
	TRY(code_target_check(v, &t->cs, off));
	return desc_set_accessed(v, d);
}

/* Follows a call gate; only CALL may gain privilege. */
static int gate_target(struct vcpu *v, u16 gate_sel, const struct desc *gate, bool is_call,
		       struct far_target *t)
{
	u32 error = sel_error(gate_sel);
	u16 sel = gate->lo >> 16;
	bool wide = desc_type(gate) == DT_CALL, long_mode = cpu_long_mode(v);
	struct desc d;

	if (desc_dpl(gate) < v->cpl || (gate_sel & 3u) > desc_dpl(gate))
		return cpu_fault_err(v, EXC_GP, error);
	if (!desc_present(gate))
		return cpu_fault_err(v, EXC_NP, error);
	if (sel_null(sel))
		return cpu_fault_err(v, EXC_GP, 0);
	TRY(desc_fetch(v, sel, EXC_GP, 0, &d));
	error = sel_error(sel);
	if (!desc_is_code(&d) || desc_dpl(&d) > v->cpl || (long_mode && (!desc_long(&d) || desc_db(&d))))
		return cpu_fault_err(v, EXC_GP, error);
	if (!is_call && !desc_conforming(&d) && desc_dpl(&d) != v->cpl)
		return cpu_fault_err(v, EXC_GP, error);
	if (!desc_present(&d))
		return cpu_fault_err(v, EXC_NP, error);
	*t = (struct far_target){
		.rip = (gate->lo & 0xffff) | (wide ? gate->hi & 0xffff0000 : 0) | (u64)gate->base_hi << 32,
		.cpl = desc_conforming(&d) ? v->cpl : desc_dpl(&d),
		.gate = true,
		.gate_size = long_mode ? 8 : wide ? 4 : 2,
		.params = long_mode ? 0 : gate->hi & 31,
	};
	seg_from_desc(&t->cs, (sel & ~3) | t->cpl, &d);
	TRY(code_target_check(v, &t->cs, t->rip));
	return desc_set_accessed(v, &d);
}

static int resolve(struct vcpu *v, u16 sel, u64 off, bool is_call, struct far_target *t)
{
	u32 error = sel_error(sel);
	struct desc d;

	if (sel_null(sel))
		return cpu_fault_err(v, EXC_GP, 0);
	TRY(desc_fetch(v, sel, EXC_GP, 0, &d));
	if (desc_is_code(&d))
		return direct_target(v, sel, off, &d, t);
	if (desc_is_segment(&d))
		return cpu_fault_err(v, EXC_GP, error);
	if (desc_type(&d) == DT_CALL || (desc_type(&d) == DT_CALL16 && !cpu_long_mode(v))) {
		if (cpu_long_mode(v)) {
			TRY(desc_fetch_upper(v, sel, &d));
			if (d.reserved & 0x1f00)
				return cpu_fault_err(v, EXC_GP, error);
		}
		return gate_target(v, sel, &d, is_call, t);
	}
	if (!cpu_long_mode(v))
		log_msg(LOG_GUEST_ERRORS, "cpu: far transfer to selector %x: task switches not modelled\n", sel);
	return cpu_fault_err(v, EXC_GP, error);
}

static int enter_target(struct vcpu *v, const struct far_target *t)
{
	v->seg[SEG_CS] = t->cs;
	v->rip = t->rip;
	v->cpl = t->cpl;
	return CPU_JUMP;
}

int op_jmp_far(struct vcpu *v, const struct insn *in)
{
	struct far_target t;
	u16 sel;
	u64 off;

	TRY(far_pointer(v, in, &sel, &off));
	if (!protected_mode(v))
		return real_jump(v, sel, off);
	TRY(resolve(v, sel, off, false, &t));
	return enter_target(v, &t);
}

/* --- CALL ------------------------------------------------------------------------------ */
static int call_same_privilege(struct vcpu *v, const struct far_target *t, unsigned size)
{
	struct stack s;

	stack_current(v, &s);
	TRY(stack_push(v, &s, v->seg[SEG_CS].sel, size));
	TRY(stack_push(v, &s, v->next_rip, size));
	stack_commit(v, &s);
	return enter_target(v, t);
}

static int call_inner_long(struct vcpu *v, const struct far_target *t)
{
	u64 frame[4] = { v->next_rip, v->seg[SEG_CS].sel, v->gpr[RSP], v->seg[SEG_SS].sel };
	u64 rsp;

	TRY(tss_stack64(v, 4 + t->cpl * 8, 0, &rsp));
	rsp -= sizeof(frame);
	if (!is_canonical(rsp) || !is_canonical(rsp + sizeof(frame) - 1))
		return cpu_fault_err(v, EXC_SS, 0);
	TRY(mem_write(v, gla(rsp), frame, sizeof(frame), ACC_WRITE | frame_access(v, t->cpl)));
	v->gpr[RSP] = rsp;
	v->seg[SEG_SS] = ss_null(t->cpl);
	return enter_target(v, t);
}

static int call_inner_legacy(struct vcpu *v, const struct far_target *t)
{
	unsigned size = t->gate_size;
	struct stack old, s;
	struct seg ss;
	u64 params[32];
	u32 esp;
	u16 sel;

	stack_current(v, &old);
	for (unsigned i = 0; i < t->params; i++)
		TRY(stack_pop(v, &old, &params[i], size));
	TRY(tss_stack32(v, t->cpl, 0, &sel, &esp));
	TRY(ss_check(v, sel, t->cpl, EXC_TS, 0, &ss));
	s = (struct stack){
		.sp = esp,
		.mask = (ss.attr & SEG_A_DB) ? 0xffffffffUL : 0xffffUL,
		.base = ss.base,
		.limit = ss.limit,
		.checked_limit = true,
		.expand_down = ss.attr & DESC_EXPAND_DOWN,
		.acc = frame_access(v, t->cpl),
		.fault = EXC_SS,
		.error = sel_error(sel),
	};
	TRY(stack_push(v, &s, v->seg[SEG_SS].sel, size));
	TRY(stack_push(v, &s, v->gpr[RSP], size));
	for (unsigned i = t->params; i-- > 0;)
		TRY(stack_push(v, &s, params[i], size));
	TRY(stack_push(v, &s, v->seg[SEG_CS].sel, size));
	TRY(stack_push(v, &s, v->next_rip, size));
	v->seg[SEG_SS] = ss;
	stack_commit(v, &s);
	return enter_target(v, t);
}

static int call_real(struct vcpu *v, u16 sel, u64 off, unsigned size)
{
	struct stack s;

	stack_current(v, &s);
	TRY(stack_push(v, &s, v->seg[SEG_CS].sel, size));
	TRY(stack_push(v, &s, v->next_rip, size));
	TRY(code_target_check(v, &v->seg[SEG_CS], off));
	stack_commit(v, &s);
	return real_jump(v, sel, off);
}

int op_call_far(struct vcpu *v, const struct insn *in)
{
	struct far_target t;
	u16 sel;
	u64 off;

	TRY(far_pointer(v, in, &sel, &off));
	if (!protected_mode(v))
		return call_real(v, sel, off, far_opsize(in));
	TRY(resolve(v, sel, off, true, &t));
	if (t.cpl == v->cpl)
		return call_same_privilege(v, &t, t.gate ? t.gate_size : far_opsize(in));
	return cpu_long_mode(v) ? call_inner_long(v, &t) : call_inner_legacy(v, &t);
}

/* --- RET ------------------------------------------------------------------------------- */
/* CB, and CA with a number of argument bytes to drop from both stacks. */
int op_ret_far(struct vcpu *v, const struct insn *in)
{
	unsigned size = far_opsize(in), drop = in->opcode == 0xca ? (u16)in->imm : 0;
	struct seg cs, ss = v->seg[SEG_SS];
	u64 rip, sel, rsp, ss_sel;
	struct stack s;

	stack_current(v, &s);
	TRY(far_pop(v, &s, &rip, &sel, size));
	stack_adjust(&s, drop);
	if (!protected_mode(v)) {
		TRY(code_target_check(v, &v->seg[SEG_CS], rip));
		stack_commit(v, &s);
		return real_jump(v, sel, rip);
	}
	TRY(far_return_cs(v, sel, &cs));
	rsp = s.sp;
	if ((cs.sel & 3) > v->cpl) {
		TRY(stack_pop(v, &s, &rsp, size));
		TRY(stack_pop(v, &s, &ss_sel, size));
		TRY(far_return_ss(v, ss_sel, &cs, &ss));
		rsp += drop;
	}
	TRY(code_target_check(v, &cs, rip));
	far_return_commit(v, &cs, &ss, rip, rsp);
	return CPU_JUMP;
}
