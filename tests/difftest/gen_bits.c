/* Bit instructions (tests, scans, counts, BMI), their neighbours in the opcode maps
 * (CRC32, MOVBE, ADX), and compare-and-exchange. */
#include "gen.h"

static void bt_imm(struct insn *in, u32 size)
{
	in->op = 0xba;
	in->reg = 4 + rn(4);
	pick_rm(in, size, 50);
	in->imm_len = 1;
	in->imm = rnd();
	if (in->reg > 4)
		pick_lock(in, 25);
}

static void bt_reg(struct insn *in, u32 size) /* the offset reaches beyond the operand */
{
	static const u8 ops[] = { 0xa3, 0xab, 0xb3, 0xbb };

	(void)size;
	in->op = ops[rn(4)];
	in->reg = rn(4);
	if (chance(50)) {
		in->mem = (struct mem){ .on = true, .base = 7, .index = -1 };
		emit_mov_imm(7, DATA_LO + 1024 + rn(6144));
		emit_mov_imm(in->reg, (u64)(i64)(i32)(rn(16384) - 8192));
		if (in->op != 0xa3)
			pick_lock(in, 25);
	} else {
		in->rm = pick_dst();
	}
}

static void bit_scan(struct insn *in, u32 size) /* bsf, bsr, tzcnt, lzcnt */
{
	in->op = 0xbc | rn(2);
	in->reg = pick_dst();
	if (chance(50) && (features & F_LZCNT) && (features & F_BMI1))
		in->rep = 0xf3;
	pick_rm(in, size, 40);
}

static void popcnt(struct insn *in, u32 size)
{
	in->op = 0xb8;
	in->rep = 0xf3;
	in->reg = pick_dst();
	pick_rm(in, size, 40);
}

static void crc32(struct insn *in, u32 size)
{
	in->map = 2;
	in->rep = 0xf2;
	in->op = 0xf0 | rn(2);
	in->reg = pick_dst();
	pick_rm(in, in->op & 1 ? size : 1, 40);
}

static void movbe(struct insn *in, u32 size)
{
	in->map = 2;
	in->op = 0xf0 | rn(2);
	in->reg = pick_dst();
	pick_rm(in, size, 100);
}

static void adx(struct insn *in, u32 size) /* adcx, adox */
{
	(void)size;
	in->map = 2;
	in->op = 0xf6;
	in->p66 = rn(2);
	in->rep = in->p66 ? 0 : 0xf3;
	in->w = rn(2);
	in->reg = pick_dst();
	pick_rm(in, in->w ? 8 : 4, 40);
}

static void bmi(struct insn *in, u32 size)
{
	(void)size;
	in->vex = 1;
	in->p66 = 0;
	in->w = rn(2);
	in->map = 2;
	in->vvvv = rn(16);
	in->reg = pick_dst();
	switch (rn(10)) {
	case 0: in->op = 0xf2; break;                     /* andn */
	case 1: in->op = 0xf3; in->reg = 1 + rn(3); break; /* blsr, blsmsk, blsi */
	case 2: in->op = 0xf5; break;                     /* bzhi */
	case 3: in->op = 0xf5; in->pp = 2; break;         /* pext */
	case 4: in->op = 0xf5; in->pp = 3; break;         /* pdep */
	case 5: in->op = 0xf6; in->pp = 3; break;         /* mulx */
	case 6: in->op = 0xf7; break;                     /* bextr */
	case 7: case 8: in->op = 0xf7; in->pp = 1 + rn(3); break; /* shlx, sarx, shrx */
	case 9: in->op = 0xf0; in->map = 3; in->pp = 3; in->vvvv = 0; in->imm_len = 1;
		in->imm = rnd(); break;                   /* rorx */
	}
	pick_rm(in, in->w ? 8 : 4, 40);
}

void gen_bits(void)
{
	static const struct { void (*pick)(struct insn *in, u32 size); u32 needs; } forms[] = {
		{ bt_imm, 0 }, { bt_imm, 0 }, { bt_reg, 0 }, { bt_reg, 0 },
		{ bit_scan, 0 }, { bit_scan, 0 }, { popcnt, F_POPCNT }, { crc32, F_SSE42 },
		{ movbe, F_MOVBE }, { adx, F_ADX },
		{ bmi, F_BMI1 | F_BMI2 }, { bmi, F_BMI1 | F_BMI2 },
	};
	struct insn in = { .modrm = true, .map = 1 };
	u32 size = pick_size(&in, false);
	u32 c = rn(ARRAY_SIZE(forms));

	if ((features & forms[c].needs) != forms[c].needs)
		return;
	forms[c].pick(&in, size);
	emit_insn(&in);
}

static void cmpxchg_wide(struct insn *in) /* cmpxchg8b, cmpxchg16b */
{
	in->op = 0xc7;
	in->reg = 1;
	in->p66 = 0;
	if (!(features & F_CX16))
		in->w = 0;
	pick_mem(&in->mem, in->w ? 16 : 8, in->w ? 16 : 0);
	pick_lock(in, 60);
	if (chance(40)) { /* make it match: compare with what is there */
		bool clobbers = in->mem.base == 0 || in->mem.index == 0;
		if (!clobbers)
			INSN(.w = in->w, .op = 0x8b, .modrm = true, .reg = 0, .mem = in->mem);
	}
}

void gen_atomic(void)
{
	struct insn in = { .modrm = true, .map = 1 };
	u32 size = pick_size(&in, true);

	if (rn(4) < 2) { /* cmpxchg, xadd */
		in.op = (chance(50) ? 0xb0 : 0xc0) | (size > 1);
		in.reg = pick_src();
		pick_rm(&in, size, 75);
		pick_lock(&in, 60);
	} else {
		cmpxchg_wide(&in);
	}
	emit_insn(&in);
}
