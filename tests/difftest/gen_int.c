/* Integer instructions: arithmetic and logic, moves and conversions, shifts,
 * multiplication and division. */
#include "gen.h"

static void junk_prefix(void)
{
	static const u8 p[] = { 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x48, 0x40, 0x67 };
	u32 n = chance(6) ? 12 : 1;

	while (n--)
		emit1(p[rn(ARRAY_SIZE(p))]);
}

void gen_alu(void)
{
	struct insn in = { .modrm = true };
	u32 alu = rn(8), form = rn(7);
	u32 size = pick_size(&in, true);

	if (form < 4) { /* rm,r and r,rm */
		bool to_reg = form & 1;
		in.op = alu << 3 | (to_reg ? 2 : 0) | (size > 1);
		pick_rm(&in, size, 45);
		in.reg = to_reg ? pick_dst() : pick_src();
		if (!to_reg && alu != 7)
			pick_lock(&in, 25);
	} else if (form == 4) { /* accumulator, imm */
		in.op = alu << 3 | 4 | (size > 1);
		in.modrm = false;
		in.rm = in.op & 7;
		pick_imm(&in, size);
	} else {
		bool short_imm = form == 5 || size == 1;
		in.op = size == 1 ? 0x80 : short_imm ? 0x83 : 0x81;
		in.reg = alu;
		pick_rm(&in, size, 45);
		pick_imm(&in, short_imm ? 1 : size);
		if (alu != 7)
			pick_lock(&in, 25);
	}
	if (chance(3))
		junk_prefix();
	emit_insn(&in);
}

/* Forms of gen_mov: each gets an instruction that has the prefixes of its operand size. */
static void mov_rm_reg(struct insn *in, u32 size) /* mov, test, xchg */
{
	static const u8 ops[] = { 0x88, 0x8a, 0x84, 0x86 };

	in->op = ops[rn(4)] | (size > 1);
	in->reg = in->op < 0x88 ? pick_src() : pick_dst();
	pick_rm(in, size, 60);
	if (in->op >> 1 == 0x86 >> 1)
		pick_lock(in, 30);
	emit_insn(in);
}

static void mov_rm_imm(struct insn *in, u32 size)
{
	in->op = 0xc6 | (size > 1);
	pick_rm(in, size, 70);
	pick_imm(in, size);
	emit_insn(in);
}

static void mov_reg_imm(struct insn *in, u32 size)
{
	in->modrm = false;
	in->op = size == 1 ? 0xb0 : 0xb8;
	in->rm = pick_dst();
	in->imm_len = size;
	in->imm = rnd_value();
	emit_insn(in);
}

static void mov_extend(struct insn *in, u32 size) /* movzx, movsx */
{
	static const u8 ops[] = { 0xb6, 0xb7, 0xbe, 0xbf };

	(void)size; /* the source has its own */
	in->map = 1;
	in->op = ops[rn(4)];
	in->reg = pick_dst();
	in->force_rex = chance(30);
	pick_rm(in, in->op & 1 ? 2 : 1, 50);
	emit_insn(in);
}

static void movsxd(struct insn *in, u32 size)
{
	in->op = 0x63;
	in->reg = pick_dst();
	pick_rm(in, size < 4 ? size : 4, 50);
	emit_insn(in);
}

static void lea(struct insn *in, u32 size)
{
	(void)size; /* nothing is read */
	in->op = 0x8d;
	in->reg = pick_dst();
	pick_mem(&in->mem, 1, 0);
	emit_insn(in);
}

static void bswap(struct insn *in, u32 size)
{
	(void)size; /* 16 bits are undefined: no 66 prefix */
	in->map = 1;
	in->p66 = 0;
	in->modrm = false;
	in->op = 0xc8;
	in->rm = pick_dst();
	emit_insn(in);
}

/* Without operands, or with RAX and a register in the opcode. */
static void one_byte(struct insn *in, u32 size)
{
	static const u8 ops[] = { 0x98, 0x99, 0xf5, 0xf8, 0xf9, 0xfc, 0xfd, 0x90, 0x9e,
				  0x9f, 0x91, 0x92, 0x93, 0x95, 0x96, 0x97 };

	(void)size; /* the prefixes say it */
	in->modrm = false;
	in->op = ops[rn(ARRAY_SIZE(ops))];
	if ((in->op & 0xfe) == 0x9e && !(features & F_LAHF))
		in->op = 0xf8;
	in->rm = in->op & 7;
	if (in->op >= 0x90 && in->op <= 0x97)
		in->rm |= rn(2) << 3;
	emit_insn(in);
}

static void on_condition(struct insn *in, u32 size) /* setcc, cmovcc */
{
	in->map = 1;
	in->op = (size == 1 ? 0x90 : 0x40) | rn(16);
	if (size > 1)
		in->reg = pick_dst();
	pick_rm(in, size, 40);
	emit_insn(in);
}

static void mov_moffs(struct insn *in, u32 size)
{
	u64 t = pick_target(8, 0);
	u8 op = 0xa0 | rn(2) << 1 | (size > 1);

	if (in->p66)
		emit1(0x66);
	bool a32 = chance(10) && t >> 32 == 0;
	if (a32) {
		emit1(0x67);
	} else if (chance(15)) {
		u8 seg;
		t = pick_segment(&seg, t);
		emit1(seg);
	}
	if (in->w)
		emit1(0x48);
	emit1(op);
	if (a32)
		emit4((u32)t);
	else
		emit8(t);
}

void gen_mov(void)
{
	static void (*const forms[])(struct insn *in, u32 size) = {
		mov_rm_reg, mov_rm_reg, mov_rm_reg, mov_rm_imm, mov_reg_imm, mov_extend,
		mov_extend, movsxd, lea, bswap, one_byte, on_condition, mov_moffs,
	};
	struct insn in = { .modrm = true };
	u32 size = pick_size(&in, true);

	forms[rn(ARRAY_SIZE(forms))](&in, size);
}

static void gen_double_shift(void) /* shld, shrd */
{
	static const u8 ops[] = { 0xa4, 0xa5, 0xac, 0xad };
	struct insn in = { .map = 1 };
	u32 size = pick_size(&in, false);

	in.op = ops[rn(4)];
	in.reg = pick_src();
	pick_rm(&in, size, 40);
	if (!(in.op & 1)) {
		in.imm_len = 1;
		in.imm = rn(size == 2 ? 17 : 256);
	} else if (size == 2) { /* counts above 16 are undefined there */
		INSN(.op = 0xb0, .rm = 1, .imm_len = 1, .imm = rn(17));
	}
	emit_insn(&in);
}

void gen_shift(void)
{
	static const u8 ops[] = { 0xc0, 0xd0, 0xd2 };
	struct insn in = { 0 };

	if (chance(25)) {
		gen_double_shift();
		return;
	}
	u32 size = pick_size(&in, true);
	in.op = ops[rn(3)] | (size > 1);
	in.reg = rn(8);
	pick_rm(&in, size, 40);
	if (in.op < 0xd0) {
		in.imm_len = 1;
		in.imm = chance(50) ? rn(66) : rn(256);
	}
	emit_insn(&in);
}

static void pick_imul(struct insn *in, u32 size, u32 form) /* imul r, rm [, imm] */
{
	if (size == 1) {
		in->w = 1;
		size = 8;
	}
	in->reg = pick_dst();
	if (form == 0) {
		in->map = 1;
		in->op = 0xaf;
	} else {
		in->op = form == 1 ? 0x69 : 0x6b;
		pick_imm(in, form == 2 ? 1 : size);
	}
	pick_rm(in, size, 40);
}

/* Before a division: the upper half follows from the lower one, the divisor is not small. */
static void tame_division(const struct insn *in, u32 size)
{
	if (size == 1)
		INSN(.op = 0x0f, .rm = 7, .imm_len = 2, .imm = 0xc0b6); /* movzx eax, al */
	else if (in->reg == 6)
		INSN(.op = 0x31, .modrm = true, .reg = 2, .rm = 2);
	else
		INSN(.w = in->w, .p66 = in->p66, .op = 0x99, .rm = 1);
	if (!in->mem.on && chance(80)) /* or rm, 5 */
		INSN(.w = 1, .op = 0x83, .modrm = true, .reg = 1, .rm = in->rm, .imm_len = 1,
		     .imm = 5);
}

void gen_muldiv(void)
{
	struct insn in = { 0 };
	u32 size = pick_size(&in, true);
	u32 c = rn(10);

	if (c < 3) {
		pick_imul(&in, size, c);
	} else if (c < 5) { /* inc, dec */
		in.op = 0xfe | (size > 1);
		in.reg = rn(2);
		pick_rm(&in, size, 50);
		pick_lock(&in, 25);
	} else if (c < 7) { /* not, neg, test */
		in.op = 0xf6 | (size > 1);
		in.reg = rn(4);
		pick_rm(&in, size, 50);
		if (in.reg < 2)
			pick_imm(&in, size);
		else
			pick_lock(&in, 25);
	} else { /* mul, imul, div, idiv */
		in.op = 0xf6 | (size > 1);
		in.reg = c == 7 ? 4 : c == 8 ? 5 : 6 + rn(2);
		pick_rm(&in, size, 40);
		if (in.reg >= 6 && chance(75)) /* mostly divide without overflow */
			tame_division(&in, size);
	}
	emit_insn(&in);
}
