/* Instructions with implied memory operands: the stack, strings, table look-up. */
#include "gen.h"

static void push_reg(struct insn *in)
{
	in->op = 0x50;
	in->rm = pick_src();
	in->p66 = chance(10);
}

static void pop_reg(struct insn *in)
{
	in->op = 0x58;
	in->rm = pick_dst();
	in->p66 = chance(10);
}

static void push_imm(struct insn *in)
{
	in->op = chance(50) ? 0x68 : 0x6a;
	in->rm = in->op & 7;
	in->p66 = chance(10);
	in->imm_len = in->op == 0x6a ? 1 : in->p66 ? 2 : 4;
	in->imm = rnd_value();
}

static void push_rm(struct insn *in)
{
	in->op = 0xff;
	in->reg = 6;
	pick_rm(in, 8, 80);
}

static void pop_rm(struct insn *in)
{
	in->op = 0x8f;
	pick_rm(in, 8, 80);
}

static void pushf(struct insn *in)
{
	in->op = 0x9c;
	in->rm = 4;
	in->p66 = chance(10);
}

/* Arithmetic flags, DF, and at times TF, NT, ID, IF, IOPL, RF. */
static void popf(struct insn *in)
{
	u64 fl = rnd() & 0x8d5;

	if (chance(10))
		fl |= 0x400;
	if (chance(25))
		fl |= rnd() & 0x217200;
	if (chance(6))
		fl |= 0x100;
	if ((features & F_STRICT) && chance(5))
		fl |= 0x40000;
	INSN(.op = 0x68, .imm_len = 4, .imm = fl);
	in->op = 0x9d;
	in->rm = 5;
}

static void enter_leave(struct insn *in)
{
	bool enter = chance(60);

	if (enter) {
		in->op = 0xc8;
		in->imm_len = 3;
		in->imm = rn(40) * 8 | (u64)(chance(50) ? 0 : rn(4)) << 16;
	} else {
		in->op = 0xc9;
		in->rm = 1;
	}
	if (!enter || in->imm >> 16) /* mov rbp, rsp: both read through RBP */
		INSN(.w = 1, .op = 0x89, .modrm = true, .reg = 4, .rm = 5);
}

static void rsp_as_value(struct insn *in)
{
	static const u8 ops[] = { 0x89, 0x89, 0x01, 0x29, 0x39, 0x85, 0x03, 0x2b };

	in->w = 1;
	in->modrm = true;
	in->op = ops[rn(ARRAY_SIZE(ops))];
	if (in->op & 2) /* these write a register: RAX, not RSP */
		return;
	in->reg = 4;
	pick_rm(in, 8, 40);
}

static void rsp_arithmetic(struct insn *in)
{
	static const u8 alu[] = { 0, 5, 4, 7 };

	in->w = 1;
	in->modrm = true;
	in->op = 0x83;
	in->reg = alu[rn(4)];
	in->rm = 4;
	in->imm_len = 1;
	in->imm = in->reg == 4 ? 0xf0 : rn(8) * 8;
}

static void lea_rsp(struct insn *in) /* lea rsp, [rsp + d] */
{
	in->w = 1;
	in->op = 0x8d;
	in->modrm = true;
	in->reg = chance(50) ? 4 : pick_dst();
	in->mem = (struct mem){ .on = true, .base = 4, .index = -1, .dispsize = 1,
				.disp = (i64)rn(16) * 8 - 64 };
}

void gen_stack(void)
{
	static void (*const forms[])(struct insn *in) = {
		push_reg, push_reg, pop_reg, pop_reg, push_imm, push_rm, pop_rm, pushf, popf,
		enter_leave, rsp_as_value, rsp_arithmetic, lea_rsp,
	};
	struct insn in = { 0 };

	forms[rn(ARRAY_SIZE(forms))](&in);
	emit_insn(&in);
}

/* Moves a data address to one of the two windows. REP MOVS between aliases of one page is
 * not repeatable on hardware: fast strings compare linear addresses only. */
static u64 in_window(u64 t, bool hi)
{
	if (t - DATA_LO <= DATA_SIZE && hi)
		return t - DATA_LO + DATA_HI;
	if (t - DATA_HI <= DATA_SIZE && !hi)
		return t - DATA_HI + DATA_LO;
	return t;
}

void gen_string(void)
{
	static const u8 ops[] = { 0xa4, 0xa6, 0xaa, 0xac, 0xae };
	u8 op = ops[rn(5)] | rn(2);
	u32 size = op & 1 ? 1 << (1 + rn(3)) : 1;
	u32 count = chance(70) ? rn(24) : rn(400);
	bool df = chance(30), hi = chance(30);

	emit1(df ? 0xfd : 0xfc);
	for (int r = 6; r <= 7; r++) {
		u64 t = in_window(pick_target(8, 0), hi);
		if (chance(60) && df && (t & 0xfff) < count * size)
			t += 4096 - size;
		emit_mov_imm(r, t);
	}
	if (chance(15)) { /* overlapping */
		u64 t = in_window(DATA_LO + 1000 + rn(6000), hi);
		emit_mov_imm(6, t);
		emit_mov_imm(7, t + rn(33) - 16);
	}
	u32 rep = rn(4);
	if (rep)
		emit_mov_imm(1, count);
	if (chance(8))
		emit1(0x67);
	if (chance(8) && (op & 0xfe) != 0xaa && (op & 0xfe) != 0xae) {
		u64 t = in_window(pick_target(8, 0), hi);
		emit_mov_imm(6, t - (hi ? GS_BASE : FS_BASE));
		emit1(hi ? 0x65 : 0x64);
	}
	if (rep)
		emit1(rep == 1 ? 0xf2 : 0xf3);
	if (size == 2)
		emit1(0x66);
	if (size == 8)
		emit1(0x48);
	emit1(op);
	if (df && chance(80))
		emit1(0xfc);
}

void gen_xlat(void)
{
	emit_mov_imm(3, DATA_LO + rn(DATA_SIZE - 256));
	emit1(0xd7);
}
