/* System instructions in line: CLI, STI, STAC, CLAC, PUSHF, POPF, SYSCALL, SYSRET, IRET to user
 * code, reads of control registers, POP RSP; those of segments are in segbase.c.
 *
 * They work on the kernel's slots (cache.h), which context.c copies from struct vcpu and
 * back; what is unusual leaves for the call-out of the same instruction. Up to the first
 * change every host PC is marked so that the instruction can begin anew; from then on
 * MARK_STEP, until it is done. SDM vol. 2; the host's flags are set by ADD and SAHF, for
 * POPF would lose the trap flag of a single step.
 *
 * Not in line: kernel-low and 16/32-bit code, other operand sizes. */
#include "engine.h"
#include "shadowbox/sandbox.h"
#include "system.h"

#define CC_E 4
#define CC_NE 5

/* All that POPF and SYSRET load beside FL_HOST and IF. */
#define FL_SYSTEM (FL_TF | FL_IOPL | FL_NT | FL_AC | FL_VIF | FL_VIP | FL_ID)

/* EAX and EDX are scratch, the flags to come (without DF) are in reg. */
static void emit_set_flags(struct emit *e, unsigned reg)
{
	if (reg == R11)
		EMIT(e, 0x44, 0x89, 0xda); /* mov edx, r11d */
	else
		EMIT(e, 0x89, 0xc2); /* mov edx, eax */
	EMIT(e, 0x89, 0xd0,            /* mov eax, edx */
	     0xc1, 0xe8, 0x0b,         /* shr eax, 11: OF */
	     0x83, 0xe0, 0x01,         /* and eax, 1 */
	     0x88, 0xd4,               /* mov ah, dl */
	     0xfc,                     /* cld */
	     0x04, 0x7f,               /* add al, 0x7f: sets OF if AL was 1 */
	     0x9e);                    /* sahf */
}

static void emit_and_eax(struct emit *e, u32 imm)
{
	emit_u8(e, 0x25);
	emit_u32(e, imm);
}

static void emit_cmp_eax(struct emit *e, u32 imm)
{
	emit_u8(e, 0x3d);
	emit_u32(e, imm);
}

void unspill_done(struct tr *t, unsigned a, int b)
{
	struct emit *e = &t->e;

	e->goff += t->in.len;
	emit_mark(e, MARK_DONE);
	emit_unspill(e, a);
	if (b >= 0) {
		emit_mark(e, MARK_DONE);
		emit_unspill(e, (unsigned)b);
	}
	e->goff -= t->in.len;
}

void leave(struct tr *t)
{
	emit_exit(t, callout_exit(t));
}

/* --- the interrupt flag ------------------------------------------------------------------- */
static bool translate_cli(struct tr *t)
{
	if (t->b->mode & MODE_CPL3)
		return false;
	emit_mark(&t->e, MARK_BOUNDARY);
	emit_store_imm(&t->e, K(intr), 0);
	return true;
}

/* The boundary behind it is in its shadow: the next instruction must be of the same block. */
static bool translate_sti(struct tr *t)
{
	struct emit *e = &t->e;
	u32 at;

	if (!khigh(t) || t->last)
		return false;
	emit_mark(e, MARK_BOUNDARY);
	spill(e, RCX);
	emit_load_abs(e, RCX, K(hold));
	at = emit_jrcxz(e);
	emit_unspill(e, RCX);
	leave(t);
	emit_patch8_here(e, at);
	e->spilled = 1u << RCX;
	emit_mark(e, MARK_RESTART);
	emit_store_imm(e, K(intr), FL_IF);
	emit_mark(e, MARK_STEP);
	emit_unspill(e, RCX);
	e->shadow_goff = e->goff + t->in.len;
	return true;
}

/* Who accesses user memory looks at it (low.c, soft operands). */
static bool translate_ac(struct tr *t)
{
	if (!khigh(t) || !cpu_offers_smap())
		return false;
	emit_mark(&t->e, MARK_BOUNDARY);
	emit_store_imm(&t->e, K(no_ac), t->in.op == OP_STAC ? 0 : -FL_AC);
	return true;
}

/* --- RFLAGS ----------------------------------------------------------------------------------- */
/* PUSHF of the host gives FL_HOST and IF; the rest is added. */
static bool translate_pushf(struct tr *t)
{
	struct emit *e = &t->e;

	if (t->in.opsize != 8)
		return false;
	if (t->b->mode & MODE_FAST) {
		emit_mark(e, MARK_BOUNDARY);
		emit_bytes(e, t->in.bytes, t->in.len);
		return true;
	}
	if (!khigh(t))
		return false;
	emit_mark(e, MARK_BOUNDARY);
	EMIT(e, 0x9c); /* pushfq */
	e->flags |= MARK_PUSHED;
	emit_mark(e, MARK_RESTART);
	spill(e, RAX);
	spill(e, RDX);
	EMIT(e, 0x48, 0x8b, 0x04, 0x24); /* mov rax, [rsp] */
	emit_load_abs(e, RDX, K(intr));
	emit_lea_sum(e, RAX, RAX, RDX, -0x202);
	emit_load_abs(e, RDX, K(sysflags));
	emit_lea_sum(e, RAX, RAX, RDX, 0);
	emit_load_abs(e, RDX, K(no_ac));
	emit_lea_sum(e, RAX, RAX, RDX, 0);
	EMIT(e, 0x48, 0x89, 0x04, 0x24); /* mov [rsp], rax */
	e->flags &= ~MARK_PUSHED;
	unspill_done(t, RAX, RDX);
	return true;
}

/* IF may change, and the flags of FL_HOST but DF; what else differs is for C. The flags
 * that are lost on the way there are those that POPF loads in any case. */
static bool translate_popf(struct tr *t)
{
	struct emit *e = &t->e;
	u32 odd, off, on;

	if (!khigh(t) || t->in.opsize != 8)
		return false;
	emit_mark(e, MARK_BOUNDARY);
	spill(e, RAX);
	spill(e, RDX);
	EMIT(e, 0x48, 0x8b, 0x04, 0x24, /* mov rax, [rsp] */
	     0x48, 0x89, 0xc2);         /* mov rdx, rax */
	emit_mark(e, MARK_STEP);
	emit_and_eax(e, FL_SYSTEM | FL_DF | 2);
	EMIT(e, 0x83, 0xc8, 0x02); /* or eax, 2 */
	emit_sub_abs(e, RAX, K(no_ac));
	emit_cmp_abs(e, RAX, K(sysflags));
	odd = emit_jcc(e, CC_NE);
	EMIT(e, 0x81, 0xe2); /* and edx, IF */
	emit_u32(e, FL_IF);
	off = emit_jcc(e, CC_E);
	emit_cmp_zero(e, K(hold));
	on = emit_jcc(e, CC_NE);
	emit_patch_here(e, off);
	emit_store_abs(e, RDX, K(intr));
	EMIT(e, 0x48, 0x8b, 0x04, 0x24);       /* mov rax, [rsp] */
	EMIT(e, 0x48, 0x8d, 0x64, 0x24, 0x08); /* lea rsp, [rsp+8] */
	emit_set_flags(e, RAX);
	unspill_done(t, RAX, RDX);
	off = emit_jmp(e, e->off);
	emit_patch_here(e, odd);
	emit_patch_here(e, on);
	e->spilled = 1u << RAX | 1u << RDX;
	emit_mark(e, MARK_RESTART);
	emit_unspill(e, RDX);
	emit_mark(e, MARK_RESTART);
	emit_unspill(e, RAX);
	leave(t);
	emit_patch_here(e, off);
	return true;
}

/* --- privilege ---------------------------------------------------------------------------------- */
static void emit_wrgsbase_rax(struct emit *e) { EMIT(e, 0xf3, 0x48, 0x0f, 0xae, 0xd8); }

static bool syscall_premises(struct tr *t)
{
	t->b->rests_on |= BIT(PREMISE_LSTAR) | BIT(PREMISE_STAR) | BIT(PREMISE_SFMASK);
	return (t->v->efer & EFER_SCE) && ARENA->host.fsgsbase && !ARENA->policy.no_chain;
}

/* The flags that SYSCALL leaves when FMASK covers all of FL_HOST: none. */
static void emit_clear_flags(struct emit *e)
{
	EMIT(e, 0xb8, 0, 0, 0, 0, /* mov eax, 0 */
	     0xfc,                /* cld */
	     0x83, 0xc0, 0x01);   /* add eax, 1: clears CF, PF, AF, ZF, SF, OF */
}

/* To kernel-high code at LSTAR. The user's flags are IF and those of FL_HOST (MODE_FAST). */
static bool translate_syscall(struct tr *t)
{
	struct emit *e = &t->e;
	u64 lstar = t->v->lstar;
	u32 id;

	if (!(t->b->mode & MODE_FAST) || !syscall_premises(t) || (t->v->sfmask & FL_HOST) != FL_HOST ||
	    !(lstar >> 63) || (lstar + t->fold) >> 47)
		return false;
	emit_mark(e, MARK_BOUNDARY);
	spill(e, RAX);
	spill(e, RCX);
	spill(e, RDX);
	spill(e, R11);
	spill(e, RSP);
	emit_wrpkru(e, engine.pkru[FLAVOUR_KHIGH], GATE_VALUE);
	emit_select(e, SELECT_ALLOW);
	emit_lea_abs(e, RSP, U(stack_end));
	EMIT(e, 0x9c, 0x41, 0x5b); /* pushfq; pop r11 */
	emit_load_abs(e, RSP, UR(RSP));
	emit_mark(e, MARK_STEP);
	if (ARENA->host.native) { /* AC would stay set; only code that jumped here has it */
		EMIT(e, 0x41, 0xf7, 0xc3); /* test r11d, AC */
		emit_u32(e, FL_AC);
		EMIT(e, 0x74, 0x02, 0x0f, 0x0b); /* jz over; ud2 */
	}
	EMIT(e, 0x41, 0x81, 0xe3); /* and r11d, FL_HOST */
	emit_u32(e, FL_HOST);
	EMIT(e, 0x41, 0x81, 0xcb); /* or r11d, IF and bit 1 */
	emit_u32(e, FL_IF | 2);
	if (t->v->sfmask & FL_IF)
		emit_store_imm(e, K(intr), 0);
	emit_store_imm(e, K(sel[SEG_CS]), syscall_cs(t->v->star, 0));
	emit_store_imm(e, K(sel[SEG_SS]), syscall_ss(t->v->star, 0));
	emit_mov_imm(e, RAX, t->fold);
	emit_wrgsbase_rax(e);
	emit_lea_sum(e, RSP, RSP, RAX, 0);
	emit_clear_flags(e);
	emit_mov_imm(e, RCX, t->next_rip);
	emit_load_abs(e, RDX, UR(RDX));
	emit_load_abs(e, RAX, UR(RAX));
	e->spilled = 0;
	id = new_exit(t, EXIT_CHAIN);
	cache->exit[id].target = lstar;
	cache->exit[id].flavour = FLAVOUR_KHIGH;
	cache->exit[id].mode = (t->b->mode & MODE_FPU_TRAP) | MODE_LATE_GS;
	cache->exit[id].patch_off = emit_jmp(e, e->off + 5);
	cache->exit[id].stub_off = e->off;
	emit_mark(e, MARK_EXIT);
	emit_exit_as(t, id, FLAVOUR_KHIGH);
	t->end = true;
	return true;
}

/* In: RCX = guest target. Out: its host PC in the user's target slot; jumps away if the
 * user lookup table lacks it (its entries are canonical). */
static u32 emit_user_lookup(struct emit *e)
{
	u32 miss, hit;

	EMIT(e, 0x0f, 0xb7, 0xc1); /* movzx eax, cx */
	emit_lea_abs(e, RDX, HOT_TABLE_U_HVA);
	EMIT(e, 0x48, 0x8d, 0x14, 0xc2, /* lea rdx, [rdx+rax*8], twice */
	     0x48, 0x8d, 0x14, 0xc2,
	     0x48, 0x8b, 0x02,          /* mov rax, [rdx] */
	     0x48, 0x01, 0xc8);         /* add rax, rcx */
	hit = emit_jcc(e, CC_E);
	EMIT(e, 0x48, 0x83, 0xc2, sizeof(struct table_entry), /* add rdx, 16 */
	     0x48, 0x8b, 0x02, 0x48, 0x01, 0xc8);
	miss = emit_jcc(e, CC_NE);
	emit_patch_here(e, hit);
	EMIT(e, 0x48, 0x8b, 0x42, 0x08); /* mov rax, [rdx+8] */
	emit_store_abs(e, RAX, U(target));
	return miss;
}

static void save_flags(struct emit *e)
{
	EMIT(e, 0x9f, 0x0f, 0x90, 0xc0); /* lahf; seto al */
	emit_store_abs(e, RAX, K(flags));
	emit_mark(e, MARK_STEP);
}

/* Flags and registers (a mask) as they were. */
static void take_back(struct tr *t, u16 spilled)
{
	struct emit *e = &t->e;

	if (t->gs_late)
		emit_load_gs(e);
	emit_load_abs(e, RAX, K(flags));
	EMIT(e, 0x04, 0x7f, 0x9e); /* add al, 0x7f; sahf */
	e->spilled = spilled;
	for (unsigned r = R15 + 1; r-- > 0;) {
		if (!(spilled & 1u << r))
			continue;
		emit_mark(e, MARK_RESTART);
		emit_unspill(e, r);
	}
}

/* Out of line: the call-out instead. */
static void return_slow(struct tr *t, const u32 *from, unsigned n, u16 spilled)
{
	while (n--)
		emit_patch_here(&t->e, from[n]);
	take_back(t, spilled);
	leave(t);
}

/* Out of line: once more, from `start`, when page tables that were written are followed. Then
 * the page that was missing is mapped before user code comes back to it. */
static void follow_stores(struct tr *t, u32 from, u32 start, u16 spilled)
{
	u32 id = new_exit(t, EXIT_STORES);

	cache->exit[id].resume_a = start;
	emit_patch_here(&t->e, from);
	take_back(t, spilled);
	emit_mark(&t->e, MARK_BOUNDARY);
	emit_exit(t, id);
}

/* Kernel code spilled it: the user's slot gets it. RAX is scratch. */
static void pass_register(struct emit *e, unsigned reg)
{
	emit_load_abs(e, RAX, KR(reg));
	emit_store_abs(e, RAX, UR(reg));
}

/* Into user code: its registers but RAX, RCX and RDX, which are in its slots, and the flags, in
 * R11, are loaded; its host PC is in its target slot. */
static void emit_to_user(struct emit *e, bool r11_in_slot)
{
	emit_store_imm(e, K(intr), FL_IF);
	emit_store_imm(e, K(no_ac), -FL_AC);
	emit_load_abs(e, RAX, K(fs_base));
	emit_wrfsbase_rax(e);
	emit_load_abs(e, RAX, K(gs_base));
	emit_wrgsbase_rax(e);
	emit_select(e, SELECT_BLOCK);
	emit_wrpkru(e, engine.pkru[FLAVOUR_USER], GATE_VALUE);
	emit_set_flags(e, R11);
	if (r11_in_slot)
		emit_load_abs(e, R11, UR(R11));
	for (unsigned r = RAX; r <= RDX; r++)
		emit_load_abs(e, r, UR(r));
	emit_jmp_slot(e, FLAVOUR_USER);
}

static bool translate_sysret(struct tr *t)
{
	struct emit *e = &t->e;
	u32 slow[3];

	if (!khigh(t) || t->in.opsize != 8 || !syscall_premises(t))
		return false;
	emit_mark(e, MARK_BOUNDARY);
	spill(e, RAX);
	spill(e, RDX);
	save_flags(e);
	emit_cmp_zero(e, K(user_ready));
	slow[0] = emit_jcc(e, CC_E);
	EMIT(e, 0x44, 0x89, 0xd8); /* mov eax, r11d */
	emit_and_eax(e, FL_SYSTEM | FL_IF | FL_DF);
	emit_cmp_eax(e, FL_IF);
	slow[1] = emit_jcc(e, CC_NE);
	slow[2] = emit_user_lookup(e);
	pass_register(e, RAX);
	pass_register(e, RDX);
	emit_store_abs(e, RCX, UR(RCX));
	emit_mov_imm(e, RAX, -t->fold);
	emit_lea_sum(e, RSP, RSP, RAX, 0);
	emit_to_user(e, false);
	return_slow(t, slow, 3, 1u << RAX | 1u << RDX);
	t->end = true;
	return true;
}

/* Descriptors of flat 64-bit user code and data, as SYSRET sets them, that have been used. */
#define DESC_USER_CS 0x00affb000000ffffUL
#define DESC_USER_SS 0x00cff3000000ffffUL

static void emit_frame_load(struct emit *e, unsigned reg, u8 word)
{
	emit_u8(e, reg > 7 ? 0x4c : 0x48); /* mov reg, [rsp+8*word] */
	emit_u8(e, 0x8b);
	emit_u8(e, 0x44 | (reg & 7) << 3);
	emit_u8(e, 0x24);
	emit_u8(e, 8 * word);
}

static u32 emit_check_sel(struct emit *e, unsigned reg, u16 sel)
{
	EMIT(e, 0x48, 0x81); /* cmp reg, sel */
	emit_u8(e, 0xf8 | reg);
	emit_u32(e, sel);
	return emit_jcc(e, CC_NE);
}

static u32 emit_check_desc(struct emit *e, u64 desc, u64 slot)
{
	emit_mov_imm(e, RAX, desc);
	emit_cmp_abs(e, RAX, slot);
	return emit_jcc(e, CC_NE);
}

static void emit_fetch_desc(struct emit *e, u64 at, u64 to)
{
	emit_load_abs(e, RAX, at);
	EMIT(e, 0x48, 0x8b, 0x00); /* mov rax, [rax] */
	emit_store_abs(e, RAX, to);
}

/* To user code whose segments and flags are those that SYSRET loads. The descriptors are read
 * as the processor reads them: the guest may have changed them. All that can fault comes
 * before the first change. */
static bool translate_iret(struct tr *t)
{
	struct emit *e = &t->e;
	u16 spilled = 1u << RAX | 1u << RCX | 1u << RDX | 1u << R11;
	u32 slow[7], stored, start = e->off;

	if (!khigh(t) || t->in.opsize != 8 || !syscall_premises(t))
		return false;
	emit_mark(e, MARK_BOUNDARY);
	spill(e, RAX);
	spill(e, RCX);
	spill(e, RDX);
	spill(e, R11);
	emit_frame_load(e, R11, 2);
	emit_frame_load(e, RDX, 1);
	emit_frame_load(e, RCX, 4);
	emit_fetch_desc(e, K(gdt_cs), K(desc_cs));
	emit_fetch_desc(e, K(gdt_ss), K(desc_ss));
	save_flags(e);
	emit_cmp_zero(e, K(stored));
	stored = emit_jcc(e, CC_NE);
	emit_cmp_zero(e, K(iret_ready));
	slow[0] = emit_jcc(e, CC_E);
	slow[1] = emit_check_sel(e, RDX, syscall_cs(t->v->star, 3));
	slow[2] = emit_check_sel(e, RCX, syscall_ss(t->v->star, 3));
	slow[3] = emit_check_desc(e, DESC_USER_CS, K(desc_cs));
	slow[4] = emit_check_desc(e, DESC_USER_SS, K(desc_ss));
	EMIT(e, 0x44, 0x89, 0xd8); /* mov eax, r11d */
	emit_and_eax(e, FL_SYSTEM | FL_IF | FL_DF | FL_VM);
	emit_cmp_eax(e, FL_IF);
	slow[5] = emit_jcc(e, CC_NE);
	emit_frame_load(e, RCX, 0);
	slow[6] = emit_user_lookup(e);
	pass_register(e, RAX);
	pass_register(e, RCX);
	pass_register(e, RDX);
	pass_register(e, R11);
	emit_frame_load(e, RSP, 3);
	emit_to_user(e, true);
	return_slow(t, slow, 7, spilled);
	follow_stores(t, stored, start, spilled);
	t->end = true;
	return true;
}

/* context.c keeps copies of what can be read without side effects. */
static bool translate_read_cr(struct tr *t)
{
	const struct insn *in = &t->in;

	if (!khigh(t) || in->lock || (in->opcode & 2) || in->rm == RSP || in->reg == 1 || in->reg > 4)
		return false;
	emit_mark(&t->e, MARK_BOUNDARY);
	emit_load_abs(&t->e, (unsigned)in->rm, K(cr[in->reg]));
	return true;
}

bool translate_system(struct tr *t)
{
	if (t->all_soft || t->in.code_size != 64 || (t->b->mode & MODE_STEP))
		return t->in.op == OP_CLI && translate_cli(t);
	switch (t->in.op) {
	case OP_CLI: return translate_cli(t);
	case OP_STI: return translate_sti(t);
	case OP_STAC: case OP_CLAC: return translate_ac(t);
	case OP_PUSHF: return !is_soft(t) && translate_pushf(t);
	case OP_POPF: return !is_soft(t) && translate_popf(t);
	case OP_SWAPGS: return translate_swapgs(t);
	case OP_RDFSBASE: case OP_RDGSBASE: return translate_read_base(t);
	case OP_WRFSBASE: case OP_WRGSBASE: return translate_write_base(t);
	case OP_MOV_FROM_SEG: return translate_read_sel(t);
	case OP_SYSCALL: return translate_syscall(t);
	case OP_SYSRET: return translate_sysret(t);
	case OP_IRET: return !is_soft(t) && translate_iret(t);
	case OP_MOV_CR: return translate_read_cr(t);
	}
	return false;
}

/* --- stack pointer ------------------------------------------------------------------------------ */
/* The new RSP is a guest address and is held folded. */
void translate_pop_rsp(struct tr *t)
{
	struct emit *e = &t->e;

	emit_mark(e, MARK_BOUNDARY);
	spill(e, RAX);
	EMIT(e, 0x48, 0x8b, 0x04, 0x24); /* mov rax, [rsp] */
	emit_mov_imm(e, RSP, t->fold);
	emit_mark(e, MARK_STEP);
	emit_lea_sum(e, RSP, RSP, RAX, 0);
	unspill_done(t, RAX, -1);
}
