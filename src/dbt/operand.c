/* Translation of memory operands: direct ones, as this flavour addresses them, and soft ones,
 * on a pointer; RSP as a value in kernel-high code, which holds it folded. */
#include "engine.h"
#include "translate.h"

/* --- memory operands ------------------------------------------------------------------------ */
bool is_soft(const struct tr *t)
{
	return t->b->flavour == FLAVOUR_SOFT || t->all_soft || soft_wanted(t->gpa) != SOFT_NO;
}

/* A00-A3 with an absolute address, as the ModRM form of the same move. */
static void moffs_to_modrm(struct insn *in)
{
	static const u8 opcode[4] = { 0x8a, 0x8b, 0x88, 0x89 };

	in->opcode = opcode[in->opcode & 3];
	in->has_modrm = 1;
	in->modrm = 0;
	in->reg = RAX;
	in->imm_len = 0;
}

/* RDI, the pointer, is all of the address. */
static void emit_maskmov(struct emit *e, const struct insn *in)
{
	for (unsigned i = 0; i < in->off_prefix_end; i++) {
		u8 p = in->bytes[i];
		if (!is_segment_prefix(p) && p != 0x67)
			emit_u8(e, p);
	}
	emit_bytes(e, in->bytes + in->off_prefix_end, in->len - in->off_prefix_end);
}

static void soft_body(struct tr *t, const struct insn *in, u8 reg, u8 reg2)
{
	struct emit *e = &t->e;
	struct insn op = *in;
	struct reenc r = { .form = MEM_BASE, .base = reg, .rsp_repl = REG_NONE, .load_to = REG_NONE };

	if (op.moffs)
		moffs_to_modrm(&op);
	if (reg2 != 0xff) {
		emit_spill(e, reg2);
		emit_mark(e, MARK_RESTART);
		emit_mov_imm(e, reg2, -t->fold);
		emit_lea_sum(e, reg2, RSP, reg2, 0);
		r.rsp_repl = reg2;
	}
	if (op.op == OP_MASKMOV)
		emit_maskmov(e, &op);
	else
		emit_reencoded(e, &op, &r);
	if (reg2 != 0xff) {
		emit_mark(e, MARK_STEP);
		if (op.rsp_written) {
			emit_mov_imm(e, RSP, t->fold);
			emit_lea_sum(e, RSP, RSP, reg2, 0);
		}
		emit_unspill(e, reg2);
	}
}

/* Back to this flavour's own rights, after a soft operand. The instruction is done. */
static void emit_close(struct tr *t)
{
	struct emit *e = &t->e;

	if (t->b->flavour == FLAVOUR_SOFT || !ARENA->host.pkeys)
		return;
	for (unsigned r = RAX; r <= RDX; r++) {
		emit_mark(e, MARK_DONE);
		emit_spill(e, r);
	}
	emit_mark(e, MARK_DONE);
	emit_wrpkru(e, engine_rights(t->b->flavour, t->b->mode), GATE_SLOT);
	for (unsigned r = RAX; r <= RDX; r++) {
		emit_unspill(e, r);
		emit_mark(e, MARK_DONE);
	}
}

/* Resolve in C, run on the pointer, restore the pointer register. Accesses that need
 * something afterwards (bounce buffer, trace) take the second, out-of-line copy. */
void emit_soft(struct tr *t)
{
	struct emit *e = &t->e;
	struct pending_soft *p;
	u32 id;

	if (t->in.vsib) { /* no single address */
		t->in.op = OP_GATHER;
		callout(t, true);
		return;
	}
	p = &t->pending[t->n_pending++];
	p->in = t->in;
	p->goff = e->goff;
	p->reg = scratch_pick(&t->in, 0);
	p->reg2 = khigh(t) && t->in.rsp_read ? scratch_pick(&t->in, 1u << p->reg) : 0xff;
	p->exit = id = new_exit(t, EXIT_SOFT);
	cache->exit[id].insn = keep_insn(t);
	cache->exit[id].scratch = p->reg;
	if (!quick_operand(t, p->reg, id)) {
		emit_mark(e, MARK_BOUNDARY);
		emit_exit(t, id);
	}
	if (t->b->flavour != FLAVOUR_USER) {
		cache->exit[id].resume_a = e->off;
		e->spilled = 1u << p->reg;
		e->flags = MARK_SOFT;
		emit_mark(e, MARK_RESTART);
		soft_body(t, &t->in, p->reg, p->reg2);
		e->flags = 0;
		e->goff += t->in.len;
		emit_mark(e, MARK_DONE);
		emit_unspill(e, p->reg);
		emit_close(t);
		e->goff -= t->in.len;
	} /* else: rare enough to end in C */
	cache->exit[id].done = p->back = e->off;
}

void finish_soft(struct tr *t, struct pending_soft *p)
{
	struct emit *e = &t->e;
	u32 id = new_exit(t, EXIT_SOFT_DONE);

	cache->exit[id].resume_a = p->back;
	cache->exit[id].insn = cache->exit[p->exit].insn;
	cache->exit[id].scratch = p->reg;
	cache->exit[id].goff = p->goff;
	cache->exit[p->exit].resume_b = e->off;
	e->goff = p->goff;
	e->spilled = 1u << p->reg;
	e->flags = MARK_SOFT;
	emit_mark(e, MARK_RESTART);
	soft_body(t, &p->in, p->reg, p->reg2);
	e->flags = 0;
	emit_mark(e, MARK_EXIT);
	emit_exit(t, id);
	e->spilled = 0;
}

u64 rip_target(const struct tr *t)
{
	u64 a = t->next_rip + t->in.disp;

	return t->in.addrsize == 4 ? (u32)a : a;
}

bool khigh_direct(const struct insn *in)
{
	if (in->addrsize != 8 || (in->seg_override && in->seg != SEG_GS) || in->len > 12)
		return false;
	return !(in->base == RSP && in->seg_override);
}

static void emit_moffs(struct tr *t, u8 seg)
{
	struct emit *e = &t->e;

	if (seg)
		emit_u8(e, seg);
	for (unsigned i = 0; i < t->in.len; i++) {
		u8 p = t->in.bytes[i];
		if (i < t->in.off_prefix_end && seg && is_segment_prefix(p))
			continue;
		emit_u8(e, p);
	}
}

void emit_direct(struct tr *t, i8 load_to, i8 rsp_repl)
{
	struct emit *e = &t->e;
	struct insn *in = &t->in;
	struct reenc r = { .form = MEM_KEEP, .rsp_repl = rsp_repl, .load_to = load_to };
	u8 own = in->seg_override ? (in->seg == SEG_GS ? 0x65 : 0x64) : 0;
	i8 reg = REG_NONE;

	if (khigh(t))
		r.seg = in->base == RSP ? 0 : own == 0x65 ? 0x64 : 0x65;
	else if (load_to >= 0)
		r.seg = own;
	if (in->moffs) {
		emit_moffs(t, r.seg);
		return;
	}
	if (in->base == BASE_RIP) {
		u64 a = rip_target(t);
		if (!khigh(t))
			r.seg = own;
		if (khigh(t) && (i64)a == (i32)a) {
			r.form = MEM_ABS32;
			r.abs = (i32)a;
		} else {
			r.form = MEM_BASE;
			if (load_to >= 0) {
				r.base = load_to;
			} else {
				reg = scratch_pick(in, rsp_repl >= 0 ? 1u << rsp_repl : 0);
				r.base = reg;
				emit_spill(e, reg);
				emit_mark(e, MARK_RESTART);
			}
			emit_mov_imm(e, r.base, a);
		}
	}
	emit_reencoded(e, in, &r);
	if (reg >= 0) {
		e->goff += in->len;
		emit_mark(e, rsp_repl >= 0 ? MARK_STEP : MARK_DONE);
		emit_unspill(e, reg);
		e->goff -= in->len;
	}
}

/* --- RSP as a value in kernel-high code -------------------------------------------------------- */
static bool is_mov_rr(const struct insn *in)
{
	return in->map == 0 && !in->vex && (in->opcode == 0x89 || in->opcode == 0x8b) && in->rm >= 0 &&
	       in->opsize == 8;
}

/* reg, which is spilled, has stood in for RSP; to_rsp: it is what RSP shall be. */
static void value_done(struct tr *t, u8 reg, bool to_rsp)
{
	struct emit *e = &t->e;

	if (to_rsp) {
		emit_mark(e, MARK_STEP);
		emit_mov_imm(e, RSP, t->fold);
		emit_lea_sum(e, RSP, RSP, reg, 0);
	}
	unspill_done(t, reg, -1);
}

static bool mov_rsp_short(struct tr *t)
{
	struct insn *in = &t->in;
	struct emit *e = &t->e;
	u8 dst, src;

	if (!is_mov_rr(in))
		return false;
	dst = in->opcode == 0x89 ? in->rm : in->reg;
	src = in->opcode == 0x89 ? in->reg : in->rm;
	if (dst == src)
		return true; /* mov rsp, rsp */
	emit_mark(e, MARK_BOUNDARY);
	emit_mov_imm(e, dst, dst == RSP ? t->fold : -t->fold);
	emit_mark(e, MARK_STEP);
	emit_lea_sum(e, dst, dst == RSP ? RSP : src, dst == RSP ? src : dst, 0);
	return true;
}

void rsp_value(struct tr *t)
{
	struct emit *e = &t->e;
	struct insn *in = &t->in;
	struct reenc r = { .form = MEM_NONE, .load_to = REG_NONE };
	u8 reg;

	if (mov_rsp_short(t))
		return;
	reg = scratch_pick(in, 0);
	emit_mark(e, MARK_BOUNDARY);
	emit_spill(e, reg);
	emit_mark(e, MARK_RESTART);
	emit_mov_imm(e, reg, -t->fold);
	emit_lea_sum(e, reg, RSP, reg, 0);
	if (in->has_mem) {
		emit_direct(t, REG_NONE, reg);
	} else {
		r.rsp_repl = reg;
		emit_reencoded(e, in, &r);
	}
	value_done(t, reg, in->rsp_written);
}

static void lea_khigh_rsp_base(struct tr *t)
{
	struct emit *e = &t->e;
	struct insn *in = &t->in;
	u8 dst = in->reg, reg;

	emit_mark(e, MARK_BOUNDARY);
	if (in->index < 0 && dst == RSP) {
		emit_bytes(e, in->bytes, in->len);
	} else if (in->index < 0) {
		emit_mov_imm(e, dst, -t->fold);
		emit_mark(e, MARK_STEP);
		emit_lea_sum(e, dst, RSP, dst, (i32)in->disp);
	} else {
		u8 to;
		reg = scratch_pick(in, 0);
		to = dst == RSP ? reg : dst;
		emit_spill(e, reg);
		emit_mark(e, MARK_RESTART);
		emit_mov_imm(e, reg, -t->fold);
		emit_lea_sum(e, reg, RSP, reg, 0);
		emit_u8(e, 0x48 | (to >= 8 ? 4 : 0) | (in->index >= 8 ? 2 : 0) | (reg >= 8 ? 1 : 0));
		emit_u8(e, 0x8d);
		emit_u8(e, 0x84 | (to & 7) << 3);
		emit_u8(e, (u8)(__builtin_ctz(in->scale) << 6 | (in->index & 7) << 3 | (reg & 7)));
		emit_u32(e, (u32)in->disp);
		value_done(t, reg, dst == RSP);
	}
}

void translate_lea(struct tr *t)
{
	struct insn *in = &t->in;
	struct emit *e = &t->e;

	if (in->code_size != 64) {
		callout(t, true);
		return;
	}
	if (in->base == BASE_RIP && in->opsize >= 4 && !(khigh(t) && in->reg == RSP)) {
		u64 a = rip_target(t);
		emit_mark(e, MARK_BOUNDARY);
		emit_mov_imm(e, in->reg, in->opsize == 4 ? (u32)a : a);
		return;
	}
	if (in->base == BASE_RIP || (khigh(t) && (in->opsize != 8 || in->addrsize != 8) &&
				    (in->base == RSP || in->reg == RSP))) {
		callout(t, true);
		return;
	}
	if (khigh(t) && in->base == RSP) {
		lea_khigh_rsp_base(t);
	} else if (khigh(t) && in->reg == RSP) {
		if (in->index >= 0 || in->base < 0) {
			callout(t, true);
			return;
		}
		emit_mark(e, MARK_BOUNDARY);
		emit_mov_imm(e, RSP, t->fold);
		emit_mark(e, MARK_STEP);
		emit_lea_sum(e, RSP, RSP, in->base, (i32)in->disp);
	} else {
		emit_mark(e, MARK_BOUNDARY);
		emit_bytes(e, in->bytes, in->len);
	}
}
