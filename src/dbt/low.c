/* Operands of kernel-high code in the low half: what copies to and from user memory.
 *
 * Kernel-high code addresses the high half (GS.base is the fold), and its rights end there.
 * An instruction that was found to reach below is translated with the address in a register
 * and its rights changed around it (WRPKRU): the host's MMU translates as for kernel-low
 * code. Where the address is high at run time a direct operand stands behind it; where the
 * view is not that of the current address space, no mapping can serve, or SMAP forbids user
 * pages, a soft one. */
#include "engine.h"
#include "translate.h"

#define RAX_RCX_RDX 7u

static bool suits(const struct tr *t)
{
	const struct insn *in = &t->in;

	return khigh(t) && ARENA->host.pkeys && in->has_mem && !in->moffs && !in->vsib && !in->bit_string &&
	       in->addrsize == 8 && in->base != RSP && in->base != BASE_RIP && !in->seg_override &&
	       !in->rsp_read && !in->rsp_written && in->op == OP_COPY;
}

/* Nothing has changed but the spilled registers. */
static void emit_undo(struct emit *e, unsigned reg)
{
	for (unsigned r = RAX; r <= RDX; r++)
		emit_load_abs(e, r, KR(r));
	emit_load_abs(e, reg, KR(reg));
}

/* Falls through if the address is low and the low half the right one. Returns two rel32:
 * where to go if it is high, and if it is low but the half is not at hand. */
static void emit_checks(struct emit *e, unsigned reg, bool smap, u32 *high, u32 *away)
{
	u32 low, home;

	emit_store_abs(e, reg, K(address));
	EMIT(e, 0x0f, 0xb7, 0x0d); /* movzx ecx, word [address + 6] */
	emit_u32(e, (u32)(K(address) + 6 - (CODE_RX_HVA + e->off + 4)));
	low = emit_jrcxz(e);
	*high = emit_jmp(e, e->off);
	emit_patch8_here(e, low);
	emit_load_abs(e, RCX, K(away));
	if (smap) { /* 0 together only if each is */
		emit_load_abs(e, RDX, K(no_ac));
		emit_lea_sum(e, RCX, RCX, RDX, 0);
	}
	home = emit_jrcxz(e);
	*away = emit_jmp(e, e->off);
	emit_patch8_here(e, home);
}

static void emit_access(struct tr *t, unsigned reg)
{
	struct emit *e = &t->e;
	struct reenc r = { .form = MEM_BASE, .base = reg, .rsp_repl = REG_NONE, .load_to = REG_NONE };

	emit_wrpkru(e, engine.pkru_low, GATE_SLOT);
	for (unsigned i = RAX; i <= RDX; i++)
		emit_load_abs(e, i, KR(i));
	e->flags = MARK_LOW;
	emit_mark(e, MARK_RESTART);
	emit_reencoded(e, &t->in, &r);
	e->flags = 0;
	e->spilled = 1u << reg;
	e->goff += t->in.len;
	for (unsigned i = RAX; i <= RDX; i++) {
		emit_mark(e, MARK_DONE);
		emit_spill(e, i);
	}
	emit_mark(e, MARK_DONE);
	emit_wrpkru(e, engine.pkru[FLAVOUR_KHIGH], GATE_SLOT);
	for (unsigned i = RAX; i <= RDX; i++) {
		emit_unspill(e, i);
		emit_mark(e, MARK_DONE);
	}
	emit_unspill(e, reg);
	e->goff -= t->in.len;
}

static u32 emit_done(struct tr *t)
{
	struct emit *e = &t->e;

	e->goff += t->in.len;
	emit_mark(e, MARK_BOUNDARY);
	e->goff -= t->in.len;
	return emit_jmp(e, e->off);
}

/* In the high half after all: the direct operand of kernel-high code. */
static void emit_high(struct tr *t, unsigned reg)
{
	struct emit *e = &t->e;
	struct reenc r = { .form = MEM_KEEP, .seg = 0x65, .rsp_repl = REG_NONE, .load_to = REG_NONE };

	emit_undo(e, reg);
	e->spilled = 0;
	e->flags = MARK_ELSE;
	emit_mark(e, MARK_BOUNDARY);
	emit_reencoded(e, &t->in, &r);
	e->flags = 0;
}

unsigned translate_low(struct tr *t, bool both, u32 over[2])
{
	struct emit *e = &t->e;
	u32 high, away;
	unsigned reg, n = 0;

	if (!suits(t))
		return 0;
	reg = scratch_pick(&t->in, 0);
	emit_mark(e, MARK_BOUNDARY);
	spill(e, reg);
	emit_lea_operand(e, &t->in, reg);
	for (unsigned i = RAX; i <= RDX; i++)
		spill(e, i);
	t->b->rests_on |= BIT(PREMISE_SMAP);
	emit_checks(e, reg, t->v->cr4 & CR4_SMAP, &high, &away);
	emit_access(t, reg);
	over[n++] = emit_done(t);
	if (both) {
		emit_patch_here(e, high);
		e->spilled = 1u << reg | RAX_RCX_RDX;
		emit_mark(e, MARK_RESTART);
		emit_high(t, reg);
		over[n++] = emit_done(t);
	} else {
		emit_patch_here(e, high);
	}
	emit_patch_here(e, away);
	e->spilled = 1u << reg | RAX_RCX_RDX;
	emit_mark(e, MARK_RESTART);
	emit_undo(e, reg);
	e->spilled = 0;
	return n;
}
