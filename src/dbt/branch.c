/* Translation of the stack's instructions and of control transfer: PUSH, POP, LEAVE, near
 * calls, returns, jumps.
 *
 * A branch to a known target leaves by an exit that is chained later, or by a lookup where
 * the target's page may be remapped; returns and indirect branches jump to a lookup stub
 * (emit.c) with the target in RAX. What this flavour cannot do in line is a call-out. */
#include "engine.h"
#include "translate.h"

/* --- where branches go -------------------------------------------------------------------------- */
static bool may_chain(const struct tr *t, u64 target)
{
	if (ARENA->policy.no_chain || (t->b->mode & MODE_STEP))
		return false;
	if (block_is_global(t->b))
		return target >> 63;
	/* Another page may be remapped at any time, that behind an instruction across the end too. */
	return (target & PAGE_MASK) == (t->b->gva & PAGE_MASK) && t->b->page1 == ~0UL &&
	       (target & ~PAGE_MASK) <= PAGE_SIZE - 15;
}

/* RAX holds the target and is spilled. */
static void emit_lookup(struct tr *t, i32 undo)
{
	u32 id = new_exit(t, EXIT_INDIRECT);

	cache->exit[id].undo = undo;
	t->e.spilled = 1u << RAX;
	emit_mark(&t->e, MARK_TARGET);
	emit_spill(&t->e, RBX);
	emit_mark(&t->e, MARK_TARGET);
	emit_u8(&t->e, 0xbb); /* mov ebx, imm32 */
	emit_u32(&t->e, id);
	emit_jmp(&t->e, t->b->flavour == FLAVOUR_USER ? cache->lookup_user :
			(t->b->mode & MODE_CPL3) ? cache->lookup_soft_user : cache->lookup_kernel);
	t->e.spilled = 0;
}

static bool has_lookup(const struct tr *t)
{
	return block_has_table(t->b->flavour, t->b->mode) && !ARENA->policy.no_chain;
}

void branch_to(struct tr *t, u64 target, u32 patch_off, enum mark_kind kind)
{
	struct emit *e = &t->e;
	bool chain = may_chain(t, target);

	/* Only the jump itself can be looked up by its exit record. */
	if (!chain && kind == MARK_BRANCH)
		kind = MARK_STEP;
	if (chain || !has_lookup(t)) {
		u32 id = new_exit(t, EXIT_CHAIN);
		struct exit_rec *x = &cache->exit[id];
		x->target = target;
		if (chain && !patch_off) {
			emit_mark(e, kind);
			patch_off = emit_jmp(e, e->off + 5);
		}
		x->patch_off = chain ? patch_off : 0;
		x->stub_off = e->off;
		emit_mark(e, patch_off ? MARK_EXIT : kind);
		emit_exit(t, id);
		return;
	}
	emit_mark(e, patch_off ? MARK_STEP : kind);
	emit_store_abs(e, RAX, spill_slot(t->b->flavour, RAX));
	emit_mark(e, MARK_STEP);
	emit_mov_imm(e, RAX, target);
	emit_lookup(t, 0);
}

/* --- stack and control transfer ----------------------------------------------------------------- */
static bool stack_soft(const struct tr *t)
{
	return is_soft(t) || t->in.code_size != 64;
}

void translate_push_pop(struct tr *t)
{
	struct insn *in = &t->in;

	if (khigh(t) && !stack_soft(t) && in->op == OP_POP && in->rsp_written && !in->has_mem && in->opsize == 8) {
		translate_pop_rsp(t);
		return;
	}
	if (khigh(t) && !stack_soft(t) && in->op == OP_PUSH && in->rm == RSP && in->opsize == 8) {
		rsp_value(t);
		return;
	}
	if (stack_soft(t) && (in->op == OP_PUSH ? quick_push(t) : quick_pop(t)))
		return;
	if (stack_soft(t) || (khigh(t) && in->rsp_read) || (in->has_mem && khigh(t) && !khigh_direct(in))) {
		callout(t, true);
		return;
	}
	emit_mark(&t->e, MARK_BOUNDARY);
	if (in->has_mem)
		emit_direct(t, REG_NONE, REG_NONE);
	else
		emit_bytes(&t->e, in->bytes, in->len);
}

void translate_leave(struct tr *t)
{
	struct emit *e = &t->e;

	if (stack_soft(t) && quick_leave(t))
		return;
	if (stack_soft(t) || t->in.opsize != 8) {
		callout(t, true);
		return;
	}
	emit_mark(e, MARK_BOUNDARY);
	if (!khigh(t)) {
		emit_bytes(e, t->in.bytes, t->in.len);
		return;
	}
	emit_spill(e, RAX);
	emit_mark(e, MARK_RESTART);
	emit_mov_imm(e, RAX, t->fold);
	emit_lea_sum(e, RAX, RBP, RAX, 8);
	EMIT(e, 0x65, 0x48, 0x8b, 0x6d, 0x00); /* mov rbp, gs:[rbp] */
	emit_mark(e, MARK_STEP);
	EMIT(e, 0x48, 0x89, 0xc4); /* mov rsp, rax */
	e->goff += t->in.len;
	emit_mark(e, MARK_DONE);
	emit_unspill(e, RAX);
	e->goff -= t->in.len;
}

/* Pushes the return address. State before: exact but for e->spilled. After: MARK_STEP. */
static void emit_push_return(struct tr *t)
{
	struct emit *e = &t->e;

	emit_u8(e, 0x68); /* push simm32 */
	emit_u32(e, (u32)t->next_rip);
	if ((i64)t->next_rip != (i32)t->next_rip) {
		e->flags |= MARK_PUSHED;
		emit_mark(e, MARK_RESTART);
		EMIT(e, 0xc7, 0x44, 0x24, 0x04); /* mov dword [rsp+4], imm32 */
		emit_u32(e, (u32)(t->next_rip >> 32));
		e->flags &= ~MARK_PUSHED;
	}
	emit_mark(e, MARK_STEP);
}

void translate_call(struct tr *t)
{
	t->end = true;
	if (!stack_soft(t) && t->in.opsize == 8) {
		emit_mark(&t->e, MARK_BOUNDARY);
		emit_push_return(t);
	} else if (!stack_soft(t) || !quick_call(t)) {
		callout(t, false);
		return;
	}
	branch_to(t, t->in.imm, 0, MARK_BRANCH);
}

static void leave_by_lookup(struct tr *t, i32 undo)
{
	emit_lookup(t, undo);
	t->end = true;
}

void translate_ret(struct tr *t)
{
	struct emit *e = &t->e;
	i32 drop = 8 + (t->in.opcode == 0xc2 ? (u16)t->in.imm : 0);

	if (has_lookup(t) && stack_soft(t) && quick_ret(t, drop)) {
		leave_by_lookup(t, -drop);
		return;
	}
	if (stack_soft(t) || !has_lookup(t) || t->in.opsize != 8) {
		callout(t, false);
		return;
	}
	emit_mark(e, MARK_BOUNDARY);
	emit_spill(e, RAX);
	emit_mark(e, MARK_RESTART);
	emit_u8(e, 0x58); /* pop rax */
	emit_mark(e, MARK_STEP);
	if (t->in.opcode == 0xc2) {
		EMIT(e, 0x48, 0x8d, 0xa4, 0x24); /* lea rsp, [rsp + disp32] */
		emit_u32(e, (u16)t->in.imm);
	}
	leave_by_lookup(t, -drop);
}

void translate_indirect(struct tr *t)
{
	struct emit *e = &t->e;
	struct insn *in = &t->in;
	bool call = in->op == OP_CALL_IND;

	if (has_lookup(t) && stack_soft(t) && (in->has_mem || in->rm != RSP) && quick_indirect(t, call)) {
		leave_by_lookup(t, call ? 8 : 0);
		return;
	}
	if (stack_soft(t) || !has_lookup(t) || in->opsize != 8 || (in->has_mem && khigh(t) && !khigh_direct(in)) ||
	    (!in->has_mem && in->rm == RSP)) {
		callout(t, false);
		return;
	}
	emit_mark(e, MARK_BOUNDARY);
	emit_spill(e, RAX);
	emit_mark(e, MARK_RESTART);
	if (in->has_mem) {
		emit_direct(t, RAX, REG_NONE);
	} else if (in->rm != RAX) {
		emit_u8(e, 0x48 | (in->rm >= 8)); /* mov rax, reg */
		emit_u8(e, 0x8b);
		emit_u8(e, 0xc0 | (in->rm & 7));
	}
	if (call)
		emit_push_return(t);
	leave_by_lookup(t, call ? 8 : 0);
}

void translate_jcc(struct tr *t)
{
	struct emit *e = &t->e;
	u32 taken;

	emit_mark(e, MARK_BOUNDARY);
	emit_u8(e, 0x0f);
	emit_u8(e, 0x80 | t->in.cond);
	emit_u32(e, 0);
	taken = e->off - 4;
	e->goff += t->in.len;
	branch_to(t, t->next_rip, 0, MARK_BOUNDARY);
	emit_patch_here(e, taken);
	branch_to(t, t->in.imm, taken, MARK_STEP);
	t->end = true;
}

/* A jump forward within the page: the block goes on at its target. */
static bool follow(struct tr *t)
{
	u64 to = t->in.imm;

	if (t->last || t->in.code_size != 64 || !may_chain(t, to) || to < t->next_rip || ((to ^ t->b->gva) & PAGE_MASK))
		return false;
	t->next_rip = to;
	return true;
}

void translate_jmp(struct tr *t)
{
	if (follow(t))
		return;
	sync_gs(t);
	branch_to(t, t->in.imm, 0, MARK_BOUNDARY);
	t->end = true;
}

/* LOOP, LOOPE, LOOPNE, JRCXZ exist with 8-bit displacements only. */
void translate_loop(struct tr *t)
{
	struct emit *e = &t->e;
	u32 not_taken;

	if (t->in.code_size != 64) {
		callout(t, false);
		return;
	}
	emit_mark(e, MARK_BOUNDARY);
	if (t->in.addrsize == 4)
		emit_u8(e, 0x67);
	emit_u8(e, 0xe0 | t->in.cond);
	emit_u8(e, 5);
	e->goff += t->in.len;
	emit_mark(e, MARK_BOUNDARY);
	not_taken = emit_jmp(e, e->off);
	branch_to(t, t->in.imm, 0, MARK_BRANCH);
	emit_patch_here(e, not_taken);
	branch_to(t, t->next_rip, 0, MARK_BOUNDARY);
	t->end = true;
}
