/* Soft operands in line: translated code looks into the quick TLB (shadow.h) by itself, and
 * leaves for C only where that knows nothing of the address.
 *
 * For code that runs with access to guest RAM wherever it lies (key P): soft blocks, all of
 * whose memory operands are pointers found this way or by C; and, where there are no keys,
 * what operands of kernel code are soft.
 *
 * A lookup changes no flags: RORX, SHRX (BMI2), LEA and JRCXZ. Its registers are spilled
 * before the first of them changes, so up to the access itself every host PC leads back to
 * the instruction's beginning. A miss leaves by an exit out of line, with the registers as
 * they were there. PUSH, POP, CALL, RET and LEAVE of soft code are such operands too. */
#include "engine.h"
#include "shadowbox/shadow.h"
#include "translate.h"

_Static_assert(sizeof(struct quick_entry) == 64, "the lookup's shift counts");
/* SHRX takes its count from the low six bits of the entry's address plus this. */
#define ENTRY_BIAS PAGE_SHIFT

static bool suits(const struct tr *t)
{
	return ARENA->host.bmi2 && t->in.code_size == 64 && (t->b->flavour == FLAVOUR_SOFT || !ARENA->host.pkeys);
}

static bool can_address(const struct tr *t)
{
	const struct insn *in = &t->in;

	return in->has_mem && !in->vsib && !in->bit_string && in->op != OP_MASKMOV &&
	       !(khigh(t) && in->base == RSP && in->addrsize != 8);
}

/* --- the lookup ------------------------------------------------------------------------- */
static void emit_lea_disp(struct emit *e, unsigned to, unsigned base, i32 disp)
{
	emit_u8(e, 0x48 | (to >= 8 ? 4 : 0) | (base >= 8 ? 1 : 0));
	emit_u8(e, 0x8d);
	emit_u8(e, 0x80 | (to & 7) << 3 | (base & 7));
	if ((base & 7) == RSP)
		emit_u8(e, 0x24);
	emit_u32(e, (u32)disp);
}

/* mov rcx, [rdx + disp8] */
static void emit_load_entry(struct emit *e, size_t field)
{
	EMIT(e, 0x48, 0x8b, 0x4a);
	emit_u8(e, (u8)(field - ENTRY_BIAS));
}

/* Out of the way: what the lookup needs, and reg. Nothing has changed afterwards. */
static void lookup_begin(struct emit *e, unsigned reg)
{
	const unsigned need[] = { reg, RCX, RDX };

	for (unsigned i = 0; i < ARRAY_LEN(need); i++) {
		if (e->spilled & (1u << need[i]))
			continue;
		emit_store_abs(e, need[i], spill_slot(e->b->flavour, need[i]));
		emit_mark(e, MARK_RESTART);
	}
}

static u16 spilled_by_lookup(const struct emit *e, unsigned reg)
{
	return e->spilled | 1u << reg | 1u << RCX | 1u << RDX;
}

/* reg = linear address of the operand. */
static void emit_address(struct tr *t, unsigned reg)
{
	const struct insn *in = &t->in;
	struct emit *e = &t->e;

	if (in->moffs)
		emit_mov_imm(e, reg, (u64)in->disp);
	else if (in->base == BASE_RIP)
		emit_mov_imm(e, reg, rip_target(t));
	else
		emit_lea_operand(e, in, reg);
	e->spilled = spilled_by_lookup(e, reg);
	emit_mark(e, MARK_RESTART);
	if (khigh(t) && in->base == RSP) {
		emit_mov_imm(e, RCX, -t->fold);
		emit_lea_sum(e, reg, reg, RCX, 0);
	}
	if (!in->seg_override || (in->seg != SEG_FS && in->seg != SEG_GS))
		return;
	emit_load_abs(e, RCX, in->seg == SEG_FS ? K(fs_base) : K(gs_base));
	emit_lea_sum(e, reg, reg, RCX, 0);
}

static void emit_stack_address(struct emit *e, unsigned reg, unsigned base, i32 disp)
{
	emit_lea_disp(e, reg, base, disp);
	e->spilled = spilled_by_lookup(e, reg);
	emit_mark(e, MARK_RESTART);
}

static void emit_miss(struct tr *t, u32 exit)
{
	struct emit *e = &t->e;

	t->miss[t->n_miss++] = (struct miss){ .at = emit_jmp(e, e->off), .exit = exit, .goff = e->goff, .spilled = e->spilled };
}

/* reg: from address to pointer. Misses leave by `exit`. */
static void emit_find(struct tr *t, unsigned reg, u32 len, enum quick_use use, u32 exit)
{
	bool user = t->b->mode & MODE_CPL3;
	struct emit *e = &t->e;

	emit_u8(e, 0xc4); /* rorx ecx, reg, 12 */
	emit_u8(e, reg >= 8 ? 0xc3 : 0xe3);
	EMIT(e, 0x7b, 0xf0);
	emit_u8(e, 0xc8 | (reg & 7));
	emit_u8(e, PAGE_SHIFT);
	EMIT(e, 0x0f, 0xb7, 0xc9,                           /* movzx ecx, cx */
	     0x48, 0x8d, 0x0c, 0xcd, 0, 0, 0, 0);           /* lea rcx, [rcx*8] */
	emit_lea_abs(e, RDX, HOT_QUICK_HVA + ENTRY_BIAS);
	EMIT(e, 0x48, 0x8d, 0x14, 0xca);                    /* lea rdx, [rdx+rcx*8] */
	emit_load_entry(e, offsetof(struct quick_entry, of[user].neg_page[use]));
	emit_lea_sum(e, RCX, RCX, reg, (i32)len - 1);
	EMIT(e, 0xc4, 0xe2, 0xeb, 0xf7, 0xc9,               /* shrx rcx, rcx, rdx: by 12 */
	     0xe3, 0x05);                                   /* jrcxz over the jump */
	emit_miss(t, exit);
	emit_load_entry(e, offsetof(struct quick_entry, of[user].delta));
	emit_lea_sum(e, reg, reg, RCX, 0);
}

/* RCX and RDX are the guest's again. */
static void lookup_end(struct emit *e)
{
	emit_load_abs(e, RDX, spill_slot(e->b->flavour, RDX));
	emit_load_abs(e, RCX, spill_slot(e->b->flavour, RCX));
	e->spilled &= ~(1u << RCX | 1u << RDX);
	emit_mark(e, MARK_RESTART);
}

void quick_finish(struct tr *t)
{
	struct emit *e = &t->e;

	for (unsigned i = 0; i < t->n_miss; i++) {
		const struct miss *m = &t->miss[i];

		emit_patch_here(e, m->at);
		e->goff = m->goff;
		e->spilled = m->spilled;
		emit_mark(e, MARK_RESTART);
		for (u16 left = m->spilled; left; left &= left - 1)
			emit_load_abs(e, __builtin_ctz(left), spill_slot(t->b->flavour, __builtin_ctz(left)));
		e->spilled = 0;
		emit_mark(e, MARK_RESTART); /* exact, but not a second boundary of this instruction */
		emit_exit(t, m->exit);
	}
}

/* Loads and stores of eight bytes at [reg], one of those that scratch_pick gives. */
static void emit_at(struct emit *e, u8 opcode, unsigned reg, unsigned at)
{
	emit_u8(e, 0x48 | (reg >= 8 ? 4 : 0) | (at >= 8 ? 1 : 0));
	emit_u8(e, opcode);
	emit_u8(e, (reg & 7) << 3 | (at & 7));
}

/* --- writes to page tables --------------------------------------------------------------- */
/* By direct code too, which opens key P for it: the write is noted, and followed before it
 * matters (struct table_store). */
static bool stores(const struct tr *t)
{
	const struct insn *in = &t->in;
	u32 len = soft_operand_size(in);

	return khigh(t) && ARENA->host.bmi2 && !ARENA->policy.no_stores && !t->all_soft && in->op == OP_COPY && !in->fpu &&
	       (in->mem_access & ACC_WRITE) && len <= 8 && !(len & (len - 1)) && soft_wanted(t->gpa) == SOFT_TABLE;
}

/* rcx = the last bits of reg, zero if an operand of this length is aligned; misses if not. */
static void emit_check_aligned(struct tr *t, unsigned reg, u32 len, u32 exit)
{
	struct emit *e = &t->e;

	emit_mov_imm(e, RDX, 64 - __builtin_ctz(len));
	emit_u8(e, 0xc4); /* shlx rcx, reg, rdx */
	emit_u8(e, reg >= 8 ? 0xc2 : 0xe2);
	EMIT(e, 0xe9, 0xf7);
	emit_u8(e, 0xc8 | (reg & 7));
	EMIT(e, 0xe3, 0x05); /* jrcxz over the jump */
	emit_miss(t, exit);
}

/* rdx = the entry that [reg] is part of. */
static void emit_load_old(struct emit *e, unsigned reg, u32 len)
{
	if (len == 8) {
		emit_at(e, 0x8b, RDX, reg);
		return;
	}
	emit_mov_imm(e, RDX, 3);
	emit_u8(e, 0xc4); /* shrx rdx, reg, rdx */
	emit_u8(e, reg >= 8 ? 0xc2 : 0xe2);
	EMIT(e, 0xeb, 0xf7);
	emit_u8(e, 0xd0 | (reg & 7));
	EMIT(e, 0x48, 0x8b, 0x14, 0xd5, 0, 0, 0, 0); /* mov rdx, [rdx*8] */
}

static void emit_load_stored(struct emit *e)
{
	EMIT(e, 0x0f, 0xb6, 0x0d); /* movzx ecx, byte [stored] */
	emit_u32(e, (u32)(K(stored) - (CODE_RX_HVA + e->off + 4)));
}

/* Notes that the entry at [reg] will be written. A kernel that spoils the number of stores
 * writes within their page, whatever it is. */
static void emit_note(struct tr *t, unsigned reg, u32 len, u32 exit)
{
	struct emit *e = &t->e;

	if (len > 1)
		emit_check_aligned(t, reg, len, exit);
	emit_load_stored(e);
	emit_lea_disp(e, RCX, RCX, -(i32)STORES_MAX);
	EMIT(e, 0xe3, 0x02, 0xeb, 0x05); /* jrcxz to the jump, jmp over it */
	emit_miss(t, exit);
	emit_load_old(e, reg, len);
	emit_lea_abs(e, RAX, HOT_STORES_HVA + STORES_MAX * sizeof(struct table_store));
	EMIT(e, 0x48, 0x8d, 0x0c, 0x09); /* lea rcx, [rcx+rcx] */
	emit_u8(e, reg >= 8 ? 0x4c : 0x48);     /* mov [rax+rcx*8], reg */
	EMIT(e, 0x89);
	emit_u8(e, 0x04 | (reg & 7) << 3);
	EMIT(e, 0xc8, 0x48, 0x89, 0x54, 0xc8, 0x08); /* mov [rax+rcx*8+8], rdx */
	emit_load_stored(e);
	emit_lea_disp(e, RCX, RCX, 1);
	EMIT(e, 0x88, 0x0d); /* mov [stored], cl */
	emit_u32(e, (u32)(K(stored) - (CODE_RX_HVA + e->off + 4)));
}

static void open_rights(struct emit *e)
{
	emit_store_abs(e, RAX, spill_slot(e->b->flavour, RAX));
	e->spilled |= 1u << RAX;
	emit_mark(e, MARK_RESTART);
	emit_wrpkru(e, engine.pkru_inside[e->b->flavour], GATE_SLOT);
}

bool quick_operand(struct tr *t, unsigned reg, u32 exit)
{
	u32 len = soft_operand_size(&t->in);
	bool store = stores(t);
	struct emit *e = &t->e;

	if (!(store || suits(t)) || !can_address(t))
		return false;
	emit_mark(e, MARK_BOUNDARY);
	lookup_begin(e, reg);
	emit_address(t, reg);
	if (store)
		open_rights(e);
	emit_find(t, reg, len, store ? QUICK_STORE : t->in.mem_access & ACC_WRITE ? QUICK_WRITE : QUICK_READ, exit);
	if (store)
		emit_note(t, reg, len, exit);
	lookup_end(e);
	if (store) {
		emit_unspill(e, RAX);
		emit_mark(e, MARK_RESTART);
	}
	return true;
}

/* --- the stack, branches ------------------------------------------------------------------ */
/* RCX is free until the lookup is closed. */
static void open_push(struct tr *t, unsigned reg, u32 exit)
{
	lookup_begin(&t->e, reg);
	emit_stack_address(&t->e, reg, RSP, -8);
	emit_find(t, reg, 8, QUICK_WRITE, exit);
}

static void push_imm(struct tr *t, unsigned reg, u64 val, u32 exit)
{
	open_push(t, reg, exit);
	emit_mov_imm(&t->e, RCX, val);
	emit_at(&t->e, 0x89, RCX, reg);
	lookup_end(&t->e);
}

/* Pointer to what [base] holds. */
static void open_pop(struct tr *t, unsigned reg, unsigned base, u32 exit)
{
	lookup_begin(&t->e, reg);
	emit_stack_address(&t->e, reg, base, 0);
	emit_find(t, reg, 8, QUICK_READ, exit);
	lookup_end(&t->e);
}

/* RSP changes: no way back. */
static void move_sp(struct emit *e, unsigned base, i32 disp)
{
	emit_lea_disp(e, RSP, base, disp);
	emit_mark(e, MARK_STEP);
}

/* Done but for reg; behind it goes on what misses do by call-out. */
static void close_stack(struct tr *t, unsigned reg, u32 exit)
{
	unspill_done(t, reg, -1);
	cache->exit[exit].resume_a = t->e.off;
}

static bool stack_suits(const struct tr *t)
{
	return suits(t) && t->b->flavour == FLAVOUR_SOFT && t->in.opsize == 8 && !t->in.map &&
	       !(t->in.has_mem && !can_address(t));
}

bool quick_push(struct tr *t)
{
	const struct insn *in = &t->in;
	unsigned reg = scratch_pick(in, 0);
	u32 exit;

	if (!stack_suits(t) || in->has_mem)
		return false;
	exit = callout_exit(t);
	if (in->opcode == 0x68 || in->opcode == 0x6a) {
		push_imm(t, reg, in->opcode == 0x68 ? (u64)(i64)(i32)in->imm : (u64)(i64)(i8)in->imm, exit);
	} else {
		open_push(t, reg, exit);
		lookup_end(&t->e);
		emit_at(&t->e, 0x89, in->rm, reg);
	}
	move_sp(&t->e, RSP, -8);
	close_stack(t, reg, exit);
	return true;
}

bool quick_pop(struct tr *t)
{
	unsigned reg = scratch_pick(&t->in, 0);
	u32 exit;

	if (!stack_suits(t) || t->in.has_mem || t->in.rm == RSP)
		return false;
	exit = callout_exit(t);
	open_pop(t, reg, RSP, exit);
	move_sp(&t->e, RSP, 8);
	emit_at(&t->e, 0x8b, t->in.rm, reg);
	close_stack(t, reg, exit);
	return true;
}

bool quick_leave(struct tr *t)
{
	u32 exit;

	if (!stack_suits(t))
		return false;
	exit = callout_exit(t);
	open_pop(t, R8, RBP, exit);
	move_sp(&t->e, RBP, 8);
	emit_at(&t->e, 0x8b, RBP, R8);
	close_stack(t, R8, exit);
	return true;
}

static void push_return(struct tr *t, unsigned reg, u32 exit)
{
	push_imm(t, reg, t->next_rip, exit);
	move_sp(&t->e, RSP, -8);
	emit_unspill(&t->e, reg);
}

bool quick_call(struct tr *t)
{
	if (!stack_suits(t))
		return false;
	push_return(t, R8, callout_exit(t));
	return true;
}

bool quick_ret(struct tr *t, i32 drop)
{
	struct emit *e = &t->e;

	if (!stack_suits(t))
		return false;
	open_pop(t, R8, RSP, callout_exit(t));
	emit_spill(e, RAX);
	emit_mark(e, MARK_RESTART);
	emit_at(e, 0x8b, RAX, R8);
	move_sp(e, RSP, drop);
	emit_unspill(e, R8);
	return true;
}

bool quick_indirect(struct tr *t, bool call)
{
	const struct insn *in = &t->in;
	unsigned reg = scratch_pick(in, 0);
	struct emit *e = &t->e;
	u32 exit;

	if (!stack_suits(t))
		return false;
	exit = callout_exit(t);
	if (in->has_mem) {
		lookup_begin(e, reg);
		emit_address(t, reg);
		emit_find(t, reg, 8, QUICK_READ, exit);
		lookup_end(e);
	}
	emit_spill(e, RAX);
	emit_mark(e, MARK_RESTART);
	if (in->has_mem)
		emit_at(e, 0x8b, RAX, reg);
	else
		emit_lea_disp(e, RAX, in->rm, 0);
	if (call)
		push_return(t, reg, exit);
	else if (in->has_mem)
		emit_unspill(e, reg);
	return true;
}
