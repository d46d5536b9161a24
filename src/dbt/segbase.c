/* Segment bases and selectors in line: SWAPGS, RDFSBASE to WRGSBASE, MOV from a segment register,
 * which kernels execute at every switch of processes.
 *
 * Kernel-high code finds them in its slots; context.c copies them from struct vcpu and back.
 * FS.base of the host, which stands for the guest's GS there, is loaded late: before
 * something uses it (sync_gs). */
#include "engine.h"
#include "system.h"

void emit_wrfsbase_rax(struct emit *e) { EMIT(e, 0xf3, 0x48, 0x0f, 0xae, 0xd0); }

void emit_load_gs(struct emit *e)
{
	emit_load_abs(e, RAX, K(gs_host));
	emit_wrfsbase_rax(e);
}

/* --- GS and its twin ------------------------------------------------------------------------- */
static void emit_swap_slots(struct emit *e, u64 a, u64 b)
{
	emit_load_abs(e, RDX, a);
	emit_load_abs(e, RAX, b);
	emit_store_abs(e, RDX, b);
	emit_store_abs(e, RAX, a);
}

bool translate_swapgs(struct tr *t)
{
	struct emit *e = &t->e;

	if (!khigh(t) || !ARENA->host.fsgsbase)
		return false;
	emit_mark(e, MARK_BOUNDARY);
	spill(e, RAX);
	spill(e, RDX);
	emit_mark(e, MARK_STEP);
	emit_swap_slots(e, K(gs_base), K(kernel_gs_base));
	emit_swap_slots(e, K(gs_host), K(kernel_gs_host));
	unspill_done(t, RAX, RDX);
	t->gs_late = true; /* SYSRET may follow, and load it for user code */
	return true;
}

void sync_gs(struct tr *t)
{
	struct emit *e = &t->e;

	if (!t->gs_late)
		return;
	t->gs_late = false;
	emit_mark(e, MARK_BOUNDARY);
	spill(e, RAX);
	emit_load_gs(e);
	emit_unspill(e, RAX);
}

/* --- reading --------------------------------------------------------------------------------- */
static bool reads_64(const struct insn *in) { return !in->has_mem && in->opsize == 8 && in->rm != RSP; }

static bool has_fsgsbase(struct tr *t)
{
	t->b->rests_on |= BIT(PREMISE_FSGSBASE);
	return t->v->cr4 & CR4_FSGSBASE;
}

bool translate_read_base(struct tr *t)
{
	if (!khigh(t) || !reads_64(&t->in) || !has_fsgsbase(t))
		return false;
	emit_mark(&t->e, MARK_BOUNDARY);
	emit_load_abs(&t->e, (unsigned)t->in.rm, t->in.op == OP_RDFSBASE ? K(fs_base) : K(gs_base));
	return true;
}

/* In kernel code all change by C alone, but that SYSCALL in line loads CS and SS. Into 32 bits it is
 * as into 64. */
bool translate_read_sel(struct tr *t)
{
	const struct insn *in = &t->in;
	unsigned seg = in->modrm >> 3 & 7;

	if (!khigh(t) || in->has_mem || in->rm == RSP || seg > SEG_GS)
		return false;
	emit_mark(&t->e, MARK_BOUNDARY);
	if (in->opsize == 2)
		emit_load16_abs(&t->e, (unsigned)in->rm, K(sel[seg]));
	else
		emit_load_abs(&t->e, (unsigned)in->rm, K(sel[seg]));
	return true;
}

/* --- writing --------------------------------------------------------------------------------- */
/* Jumps by JRCXZ if RAX >> bits is 0; clobbers RCX. Returns where. */
static u32 emit_if_below(struct emit *e, unsigned bits)
{
	emit_mov_imm(e, RCX, bits);
	EMIT(e, 0xc4, 0xe2, 0xf3, 0xf7, 0xc8); /* shrx rcx, rax, rcx */
	return emit_jrcxz(e);
}

/* What FS.base will be: as folded() of context.c. */
static void emit_set_gs(struct tr *t)
{
	struct emit *e = &t->e;
	u32 folds;

	emit_store_abs(e, RAX, K(gs_base));
	emit_mov_imm(e, RCX, t->fold);
	emit_lea_sum(e, RAX, RAX, RCX, 0);
	folds = emit_if_below(e, 47);
	emit_mov_imm(e, RAX, FS_POISON);
	emit_patch8_here(e, folds);
	emit_store_abs(e, RAX, K(gs_host));
	t->gs_late = true;
}

bool translate_write_base(struct tr *t)
{
	struct emit *e = &t->e;
	u32 canonical;

	if (!khigh(t) || !reads_64(&t->in) || !has_fsgsbase(t) || !ARENA->host.bmi2 || !ARENA->host.fsgsbase)
		return false;
	emit_mark(e, MARK_BOUNDARY);
	spill(e, RAX);
	spill(e, RCX);
	emit_store_abs(e, (unsigned)t->in.rm, K(address));
	emit_mov_imm(e, RAX, BIT(47));
	emit_load_abs(e, RCX, K(address));
	emit_lea_sum(e, RAX, RAX, RCX, 0);
	canonical = emit_if_below(e, 48);
	emit_unspill(e, RCX);
	emit_mark(e, MARK_RESTART);
	emit_unspill(e, RAX);
	leave(t);
	emit_patch8_here(e, canonical);
	e->spilled = 1u << RAX | 1u << RCX;
	emit_mark(e, MARK_RESTART);
	emit_load_abs(e, RAX, K(address));
	emit_mark(e, MARK_STEP);
	if (t->in.op == OP_WRGSBASE)
		emit_set_gs(t);
	else
		emit_store_abs(e, RAX, K(fs_base));
	unspill_done(t, RAX, RCX);
	return true;
}
