/* Generator of random user-mode sequences: integer instructions and control flow.
 *
 * A sequence always ends: jumps go forward, and loops and return points spend fuel. What
 * varies between runs of the same CPU (time stamps, random numbers, process ids) is never
 * generated; undefined flags are, since the same CPU answers the same. */
#include "difftest.h"

void emit_begin(u8 *buf, u64 at);

u32 gen_kind_last;
static u64 rng[2];

/* Forward jumps that wait for their target. */
static struct { u8 *pos; u8 size, units; } pending[8];
static u32 npending;
static u8 *limit;

void rnd_seed(u64 seed, u64 n)
{
	rng[0] = seed * 0x9e3779b97f4a7c15 + n * 0xd1342543de82ef95 + 1;
	rng[1] = n ^ 0x2545f4914f6cdd1d;
	for (int i = 0; i < 4; i++)
		rnd();
}

u64 rnd(void) /* xoroshiro128+ */
{
	u64 a = rng[0], b = rng[1], r = a + b;

	b ^= a;
	rng[0] = (a << 24 | a >> 40) ^ b ^ b << 16;
	rng[1] = b << 37 | b >> 27;
	return r;
}

u32 rn(u32 n) { return (u32)((rnd() >> 32) * n >> 32); }
bool chance(u32 pct) { return rn(100) < pct; }

u64 rnd_value(void)
{
	static const u64 odd[] = {
		0, 1, 2, 7, 8, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fffffff, 0x80000000,
		0xffffffff, 0x100000000, 0x7fffffffffffffff, 0x8000000000000000, ~0UL, -2UL,
		-128UL, 0x5555555555555555, 0xaaaaaaaaaaaaaaaa, 0x0123456789abcdef,
	};
	u32 c = rn(8);

	if (c < 2)
		return odd[rn(ARRAY_SIZE(odd))];
	if (c == 2)
		return rn(256);
	if (c == 3)
		return rnd() >> rn(64);
	if (c == 4)
		return ~(rnd() >> rn(64));
	return rnd();
}

/* A destination register: rarely RSP. */
static int dst(void)
{
	int r = rn(16);
	return r == 4 && !chance(12) ? (int)rn(4) : r;
}
static int src(void)
{
	return rn(16);
}

/* Operand size: sets prefixes; returns bytes. */
static u32 pick_size(struct insn *in, bool byte)
{
	switch (rn(byte ? 4 : 3)) {
	case 0: return 4;
	case 1: in->w = 1; return 8;
	case 2: in->p66 = 1; return 2;
	}
	in->force_rex = chance(50);
	return 1;
}

/* rm operand: memory or a register. */
static void pick_rm(struct insn *in, u32 size, u32 mem_pct)
{
	in->modrm = true;
	if (chance(mem_pct))
		pick_mem(&in->mem, size, 0);
	else
		in->rm = dst();
}

static void junk_prefix(void)
{
	static const u8 p[] = { 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x48, 0x40, 0x67 };
	u32 n = chance(6) ? 12 : 1;

	while (n--)
		emit1(p[rn(ARRAY_SIZE(p))]);
}

static void gen_alu(void)
{
	struct insn in = { .modrm = true };
	u32 alu = rn(8), form = rn(7);
	u32 size = pick_size(&in, true);

	if (form < 4) { /* rm,r and r,rm */
		bool to_reg = form & 1;
		in.op = alu << 3 | (to_reg ? 2 : 0) | (size > 1);
		pick_rm(&in, size, 45);
		in.reg = to_reg ? dst() : src();
		if (in.mem.on && !to_reg && alu != 7 && chance(25))
			in.lock = 1;
	} else if (form == 4) { /* accumulator, imm */
		in.op = alu << 3 | 4 | (size > 1);
		in.modrm = false;
		in.rm = in.op & 7;
		in.imm_len = size == 8 ? 4 : size;
		in.imm = rnd_value();
	} else {
		bool short_imm = form == 5 || size == 1;
		in.op = size == 1 ? 0x80 : short_imm ? 0x83 : 0x81;
		in.reg = alu;
		pick_rm(&in, size, 45);
		in.imm_len = short_imm ? 1 : size == 8 ? 4 : size;
		in.imm = rnd_value();
		if (in.mem.on && alu != 7 && chance(25))
			in.lock = 1;
	}
	if (chance(3))
		junk_prefix();
	emit_insn(&in);
}

static void gen_mov(void)
{
	struct insn in = { .modrm = true };
	u32 size = pick_size(&in, true);

	switch (rn(13)) {
	case 0: case 1: case 2: /* mov, test, xchg */ {
		static const u8 ops[] = { 0x88, 0x8a, 0x84, 0x86 };
		in.op = ops[rn(4)] | (size > 1);
		in.reg = in.op < 0x88 ? src() : dst();
		pick_rm(&in, size, 60);
		if (in.op >> 1 == 0x86 >> 1 && in.mem.on && chance(30))
			in.lock = 1;
		break;
	}
	case 3: /* mov rm, imm */
		in.op = 0xc6 | (size > 1);
		in.reg = 0;
		pick_rm(&in, size, 70);
		in.imm_len = size == 8 ? 4 : size;
		in.imm = rnd_value();
		break;
	case 4: /* mov r, imm */
		in.modrm = false;
		in.op = size == 1 ? 0xb0 : 0xb8;
		in.rm = dst();
		in.imm_len = size;
		in.imm = rnd_value();
		break;
	case 5: case 6: { /* movzx, movsx */
		static const u8 ops[] = { 0xb6, 0xb7, 0xbe, 0xbf };
		in.map = 1;
		in.op = ops[rn(4)];
		in.reg = dst();
		in.force_rex = chance(30);
		pick_rm(&in, in.op & 1 ? 2 : 1, 50);
		break;
	}
	case 7: /* movsxd */
		in.op = 0x63;
		in.reg = dst();
		pick_rm(&in, size < 4 ? size : 4, 50);
		break;
	case 8: /* lea */
		in.op = 0x8d;
		in.reg = dst();
		pick_mem(&in.mem, 1, 0);
		break;
	case 9: /* bswap */
		in.map = 1;
		in.p66 = 0;
		in.modrm = false;
		in.op = 0xc8;
		in.rm = dst();
		break;
	case 10: { /* one-byte forms */
		static const u8 ops[] = { 0x98, 0x99, 0xf5, 0xf8, 0xf9, 0xfc, 0xfd, 0x90, 0x9e,
					  0x9f, 0x91, 0x92, 0x93, 0x95, 0x96, 0x97 };
		in.modrm = false;
		in.op = ops[rn(ARRAY_SIZE(ops))];
		if ((in.op & 0xfe) == 0x9e && !(features & F_LAHF))
			in.op = 0xf8;
		in.rm = in.op & 7;
		if (in.op >= 0x90 && in.op <= 0x97)
			in.rm |= rn(2) << 3;
		break;
	}
	case 11: /* setcc, cmovcc */
		in.map = 1;
		if (size == 1) {
			in.op = 0x90 | rn(16);
			in.reg = 0;
		} else {
			in.op = 0x40 | rn(16);
			in.reg = dst();
		}
		pick_rm(&in, size, 40);
		break;
	default: { /* moffs */
		u64 t = pick_target(8, 0);
		u8 op = 0xa0 | rn(2) << 1 | (size > 1);
		if (in.p66)
			emit1(0x66);
		if (chance(10) && t >> 32 == 0) {
			emit1(0x67);
			if (in.w)
				emit1(0x48);
			emit1(op);
			emit4((u32)t);
			return;
		}
		if (chance(15)) {
			bool fs = chance(50);
			emit1(fs ? 0x64 : 0x65);
			t -= fs ? FS_BASE : GS_BASE;
		}
		if (in.w)
			emit1(0x48);
		emit1(op);
		emit8(t);
		return;
	}
	}
	emit_insn(&in);
}

static void gen_shift(void)
{
	struct insn in = { .modrm = true };

	if (chance(25)) { /* shld, shrd */
		static const u8 ops[] = { 0xa4, 0xa5, 0xac, 0xad };
		u32 size = pick_size(&in, false);
		in.map = 1;
		in.op = ops[rn(4)];
		in.reg = src();
		pick_rm(&in, size, 40);
		if (!(in.op & 1)) {
			in.imm_len = 1;
			in.imm = rn(size == 2 ? 17 : 256);
		} else if (size == 2) { /* counts above 16 are undefined there */
			emit_insn(&(struct insn){ .op = 0xb0, .rm = 1, .imm_len = 1, .imm = rn(17) });
		}
		emit_insn(&in);
		return;
	}
	static const u8 ops[] = { 0xc0, 0xd0, 0xd2 };
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

static void gen_muldiv(void)
{
	struct insn in = { .modrm = true };
	u32 size = pick_size(&in, true);
	u32 c = rn(10);

	if (c < 3) { /* imul r, rm [, imm] */
		if (size == 1) {
			in.w = 1;
			size = 8;
		}
		in.reg = dst();
		if (c == 0) {
			in.map = 1;
			in.op = 0xaf;
		} else {
			in.op = c == 1 ? 0x69 : 0x6b;
			in.imm_len = c == 2 ? 1 : size == 8 ? 4 : size;
			in.imm = rnd_value();
		}
		pick_rm(&in, size, 40);
	} else if (c < 5) { /* inc, dec */
		in.op = 0xfe | (size > 1);
		in.reg = rn(2);
		pick_rm(&in, size, 50);
		in.lock = in.mem.on && chance(25);
	} else if (c < 7) { /* not, neg, test */
		in.op = 0xf6 | (size > 1);
		in.reg = rn(4);
		pick_rm(&in, size, 50);
		if (in.reg < 2) {
			in.imm_len = size == 8 ? 4 : size;
			in.imm = rnd_value();
		} else {
			in.lock = in.mem.on && chance(25);
		}
	} else { /* mul, imul, div, idiv */
		in.op = 0xf6 | (size > 1);
		in.reg = c == 7 ? 4 : c == 8 ? 5 : 6 + rn(2);
		pick_rm(&in, size, 40);
		if (in.reg >= 6 && chance(75)) { /* mostly divide without overflow */
			if (size == 1)
				emit_insn(&(struct insn){ .op = 0x0f, .rm = 7, .imm_len = 2,
							  .imm = 0xc0b6 }); /* movzx eax, al */
			else if (in.reg == 6)
				INSN(.op = 0x31, .modrm = true, .reg = 2, .rm = 2);
			else
				INSN(.w = in.w, .p66 = in.p66, .op = 0x99, .rm = 1);
			if (!in.mem.on && chance(80)) /* or rm, 5 */
				INSN(.w = 1, .op = 0x83, .modrm = true, .reg = 1, .rm = in.rm,
				     .imm_len = 1, .imm = 5);
		}
	}
	emit_insn(&in);
}

static void gen_bits(void)
{
	struct insn in = { .modrm = true, .map = 1 };
	u32 size = pick_size(&in, false);
	u32 c = rn(12);

	switch (c) {
	case 0: case 1: /* bt* rm, imm */
		in.op = 0xba;
		in.reg = 4 + rn(4);
		pick_rm(&in, size, 50);
		in.imm_len = 1;
		in.imm = rnd();
		in.lock = in.mem.on && in.reg > 4 && chance(25);
		break;
	case 2: case 3: { /* bt* rm, r: the offset reaches beyond the operand */
		static const u8 ops[] = { 0xa3, 0xab, 0xb3, 0xbb };
		in.op = ops[rn(4)];
		in.reg = rn(4);
		if (chance(50)) {
			in.mem = (struct mem){ .on = true, .base = 7, .index = -1 };
			emit_mov_imm(7, DATA_LO + 1024 + rn(6144));
			emit_mov_imm(in.reg, (u64)(i64)(i32)(rn(16384) - 8192));
			in.lock = in.op != 0xa3 && chance(25);
		} else {
			in.rm = dst();
		}
		break;
	}
	case 4: case 5: /* bsf, bsr, tzcnt, lzcnt */
		in.op = 0xbc | rn(2);
		in.reg = dst();
		if (chance(50) && (features & F_LZCNT) && (features & F_BMI1))
			in.rep = 0xf3;
		pick_rm(&in, size, 40);
		break;
	case 6: /* popcnt */
		if (!(features & F_POPCNT))
			return;
		in.op = 0xb8;
		in.rep = 0xf3;
		in.reg = dst();
		pick_rm(&in, size, 40);
		break;
	case 7: /* crc32 */
		if (!(features & F_SSE42))
			return;
		in.map = 2;
		in.rep = 0xf2;
		in.op = 0xf0 | rn(2);
		in.reg = dst();
		pick_rm(&in, in.op & 1 ? size : 1, 40);
		break;
	case 8: /* movbe */
		if (!(features & F_MOVBE))
			return;
		in.map = 2;
		in.op = 0xf0 | rn(2);
		in.reg = dst();
		pick_rm(&in, size, 100);
		break;
	case 9: /* adcx, adox */
		if (!(features & F_ADX))
			return;
		in.map = 2;
		in.op = 0xf6;
		in.p66 = rn(2);
		in.rep = in.p66 ? 0 : 0xf3;
		in.w = rn(2);
		in.reg = dst();
		pick_rm(&in, in.w ? 8 : 4, 40);
		break;
	default: /* BMI */
		if (!(features & F_BMI2) || !(features & F_BMI1))
			return;
		in.vex = 1;
		in.p66 = 0;
		in.w = rn(2);
		in.map = 2;
		in.vvvv = rn(16);
		in.reg = dst();
		switch (rn(10)) {
		case 0: in.op = 0xf2; break;                    /* andn */
		case 1: in.op = 0xf3; in.reg = 1 + rn(3); break; /* blsr, blsmsk, blsi */
		case 2: in.op = 0xf5; break;                    /* bzhi */
		case 3: in.op = 0xf5; in.pp = 2; break;         /* pext */
		case 4: in.op = 0xf5; in.pp = 3; break;         /* pdep */
		case 5: in.op = 0xf6; in.pp = 3; break;         /* mulx */
		case 6: in.op = 0xf7; break;                    /* bextr */
		case 7: case 8: in.op = 0xf7; in.pp = 1 + rn(3); break; /* shlx, sarx, shrx */
		case 9: in.op = 0xf0; in.map = 3; in.pp = 3; in.vvvv = 0; in.imm_len = 1;
			in.imm = rnd(); break;                  /* rorx */
		}
		pick_rm(&in, in.w ? 8 : 4, 40);
	}
	emit_insn(&in);
}

static void gen_atomic(void)
{
	struct insn in = { .modrm = true, .map = 1 };
	u32 size = pick_size(&in, true);

	switch (rn(4)) {
	case 0: case 1: /* cmpxchg, xadd */
		in.op = (chance(50) ? 0xb0 : 0xc0) | (size > 1);
		in.reg = src();
		pick_rm(&in, size, 75);
		in.lock = in.mem.on && chance(60);
		break;
	default: /* cmpxchg8b, cmpxchg16b */
		in.op = 0xc7;
		in.reg = 1;
		in.p66 = 0;
		if (!(features & F_CX16))
			in.w = 0;
		pick_mem(&in.mem, in.w ? 16 : 8, in.w ? 16 : 0);
		in.lock = chance(60);
		if (chance(40)) { /* make it match: compare with what is there */
			struct insn ld = { .w = in.w, .op = 0x8b, .modrm = true, .reg = 0, .mem = in.mem };
			bool clobbers = in.mem.base == 0 || in.mem.index == 0;
			if (!clobbers)
				emit_insn(&ld);
		}
	}
	emit_insn(&in);
}

static void gen_stack(void)
{
	struct insn in = { 0 };

	switch (rn(13)) {
	case 0: case 1: /* push r */
		in.op = 0x50;
		in.rm = src();
		in.p66 = chance(10);
		break;
	case 2: case 3: /* pop r */
		in.op = 0x58;
		in.rm = dst();
		in.p66 = chance(10);
		break;
	case 4: /* push imm */
		in.op = chance(50) ? 0x68 : 0x6a;
		in.rm = in.op & 7;
		in.p66 = chance(10);
		in.imm_len = in.op == 0x6a ? 1 : in.p66 ? 2 : 4;
		in.imm = rnd_value();
		break;
	case 5: /* push rm */
		in.op = 0xff;
		in.reg = 6;
		pick_rm(&in, 8, 80);
		break;
	case 6: /* pop rm */
		in.op = 0x8f;
		in.reg = 0;
		pick_rm(&in, 8, 80);
		break;
	case 7: /* pushf */
		in.op = 0x9c;
		in.rm = 4;
		in.p66 = chance(10);
		break;
	case 8: { /* popf: arithmetic flags, DF, and at times TF, NT, ID, IF, IOPL, RF */
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
		in.op = 0x9d;
		in.rm = 5;
		break;
	}
	case 9: /* enter, leave */
		if (chance(60)) {
			in.op = 0xc8;
			in.imm_len = 3;
			in.imm = rn(40) * 8 | (u64)(chance(50) ? 0 : rn(4)) << 16;
			if (in.imm >> 16)
				INSN(.w = 1, .op = 0x89, .modrm = true, .reg = 4, .rm = 5);
		} else {
			INSN(.w = 1, .op = 0x89, .modrm = true, .reg = 4, .rm = 5);
			in.op = 0xc9;
			in.rm = 1;
		}
		break;
	case 10: { /* RSP as a value */
		static const u8 ops[] = { 0x89, 0x8b, 0x01, 0x29, 0x39, 0x85, 0x03, 0x2b };
		in.w = 1;
		in.modrm = true;
		in.op = ops[rn(ARRAY_SIZE(ops))];
		bool from = in.op == 0x89 || in.op == 1 || in.op == 0x29 || in.op == 0x39 || in.op == 0x85;
		if (!from && in.op != 0x8b)
			break;
		if (in.op == 0x8b) {
			in.op = 0x89;
		}
		in.reg = 4;
		pick_rm(&in, 8, 40);
		break;
	}
	case 11: { /* rsp arithmetic */
		in.w = 1;
		in.modrm = true;
		in.op = 0x83;
		static const u8 alu[] = { 0, 5, 4, 7 };
		in.reg = alu[rn(4)];
		in.rm = 4;
		in.imm_len = 1;
		in.imm = in.reg == 4 ? 0xf0 : rn(8) * 8;
		break;
	}
	default: /* lea rsp, [rsp + d] */
		in.w = 1;
		in.op = 0x8d;
		in.modrm = true;
		in.reg = chance(50) ? 4 : dst();
		in.mem = (struct mem){ .on = true, .base = 4, .index = -1, .dispsize = 1,
				       .disp = (i64)rn(16) * 8 - 64 };
	}
	if (in.op)
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

static void gen_string(void)
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

static void add_pending(u8 size, u32 units)
{
	if (npending == ARRAY_SIZE(pending)) {
		/* too many: this one goes to the next instruction */
		__builtin_memset(out - size, 0, size);
		return;
	}
	pending[npending].pos = out;
	pending[npending].size = size;
	pending[npending++].units = units;
}

/* Lets pending jumps land here when they have skipped enough or reach no further. */
static void land(bool all)
{
	u32 n = 0;

	for (u32 i = 0; i < npending; i++) {
		i64 d = out - pending[i].pos;
		bool far = pending[i].size == 1 && d > 50;
		if (all || far || pending[i].units == 0) {
			if (pending[i].size == 1)
				pending[i].pos[-1] = (u8)d;
			else {
				i32 v = (i32)d;
				__builtin_memcpy(pending[i].pos - 4, &v, 4);
			}
			continue;
		}
		pending[i].units--;
		pending[n++] = pending[i];
	}
	npending = n;
}

static void gen_simple(void);

/* Before a unit that is longer than a short jump reaches. */
static void land_short(void)
{
	for (u32 i = 0; i < npending; i++)
		if (pending[i].size == 1)
			pending[i].units = 0;
	land(false);
}

static void fuel(void) /* leaves when there is none */
{
	/* pushfq is not wanted here: flags are changed, the same way everywhere */
	emit_bytes("\xff\x0c\x25", 3); /* dec dword [CTL_FUEL] */
	emit4(CTL_FUEL);
	emit_bytes("\x79\x07\xff\x24\x25", 5); /* jns +7; jmp [CTL_EXIT] */
	emit4(CTL_EXIT);
}

static void gen_call(void)
{
	u32 how = rn(4);
	u8 *call, *skip;

	land_short();
	/* fuel; call F; fuel; A; jmp over; F: B; ret; over: */
	fuel();
	if (how == 0) { /* through a register */
		emit_bytes("\x48\x8d\x05", 3); /* lea rax, [rip + x] */
		emit4(0);
		call = out;
		emit_bytes("\xff\xd0", 2);
	} else if (how == 1) { /* through memory */
		emit_bytes("\x4c\x8d\x1d", 3); /* lea r11, [rip + x] */
		emit4(0);
		call = out;
		emit_bytes("\x4c\x89\x5c\x24\x80", 5); /* mov [rsp - 128], r11 */
		emit_bytes("\xff\x54\x24\x80", 4);
	} else {
		emit1(0xe8);
		emit4(0);
		call = out;
	}
	fuel();
	gen_simple();
	emit1(0xeb);
	emit1(0);
	skip = out;
	i32 d = (i32)(out - call);
	__builtin_memcpy(call - 4, &d, 4);
	if (how < 2) /* forget the address: no second jump to here */
		emit_mov_imm(how ? 11 : 0, rn(1 << 20));
	gen_simple();
	if (chance(15)) {
		emit1(0xc2);
		emit_bytes("\x10\0", 2);
	} else {
		if (chance(20))
			emit1(0xf3);
		emit1(0xc3);
	}
	skip[-1] = (u8)(out - skip);
}

static void gen_jump(void)
{
	u8 *p;

	land_short();
	switch (rn(9)) {
	case 0: case 1: case 2: case 3: /* jcc */
		if (chance(60)) {
			if (chance(5))
				emit1(chance(50) ? 0x2e : 0x3e);
			emit1(0x70 | rn(16));
			emit1(0);
			add_pending(1, 1);
		} else {
			emit1(0x0f);
			emit1(0x80 | rn(16));
			emit4(0);
			add_pending(4, 1 + rn(3));
		}
		break;
	case 4: /* jmp */
		emit1(0xe9);
		emit4(0);
		add_pending(4, rn(2));
		break;
	case 5: /* indirect */
		emit_bytes("\x4c\x8d\x15", 3); /* lea r10, [rip + x] */
		emit4(0);
		p = out;
		emit_bytes("\x41\xff\xe2", 3); /* jmp r10 */
		gen_simple();
		i32 d = (i32)(out - p);
		__builtin_memcpy(p - 4, &d, 4);
		emit_mov_imm(10, rn(1 << 20));
		break;
	case 6: /* loop body */
		emit_mov_imm(1, 1 + rn(6));
		p = out;
		gen_simple();
		fuel();
		emit1(0xe0 + rn(3));
		emit1((u8)(p - out - 1));
		break;
	case 7: /* jrcxz, jecxz forward */
		if (chance(50))
			emit_mov_imm(1, chance(50) ? 0 : 0xffffffff00000000);
		if (chance(40))
			emit1(0x67);
		emit1(0xe3);
		emit1(0);
		add_pending(1, 1);
		break;
	default: /* counted loop on any flags */
		p = out;
		gen_simple();
		fuel();
		emit1(0x70 | rn(16));
		emit1((u8)(p - out - 1));
	}
}

/* Faulting, privileged and odd ones. */
static void gen_rare(void)
{
	switch (rn(15)) {
	case 0: emit_bytes("\x0f\x0b", 2); break;           /* ud2 */
	case 1: emit1(0xcc); break;
	case 2: emit1(0xcd); { u8 n = rnd(); emit1(n == 0x80 ? 0x81 : n); } break;
	case 3: { /* privileged or invalid one-byte opcodes */
		static const u8 b[] = { 0xf4, 0xfa, 0xfb, 0xec, 0xed, 0xee, 0xef, 0x06, 0x0e,
					0x27, 0x37, 0x60, 0x61, 0xce, 0xd6, 0x1f, 0x6c, 0x6d,
					0x6e, 0x6f, 0xf1, 0xcf, 0xcb };
		emit1(b[rn(ARRAY_SIZE(b))]);
		break;
	}
	case 4: { /* privileged two-byte opcodes */
		static const u8 b[][3] = { { 0x0f, 0x20, 0xc0 }, { 0x0f, 0x22, 0xd8 },
			{ 0x0f, 0x06, 0x90 }, { 0x0f, 0x08, 0x90 }, { 0x0f, 0x09, 0x90 },
			{ 0x0f, 0x30, 0x90 }, { 0x0f, 0x32, 0x90 }, { 0x0f, 0x01, 0xf8 },
			{ 0x0f, 0x21, 0xc0 }, { 0x0f, 0x23, 0xc0 }, { 0x0f, 0x07, 0x90 },
			{ 0x0f, 0x01, 0x38 }, { 0x0f, 0x01, 0x10 }, { 0x0f, 0x00, 0xd0 },
			{ 0x0f, 0x00, 0xd8 }, { 0x0f, 0x35, 0x90 } };
		emit_bytes(b[rn(ARRAY_SIZE(b))], 3);
		break;
	}
	case 5: /* a system call that does not exist */
		emit_mov_imm(0, 0x7ffffff0 + rn(8));
		emit_bytes("\x0f\x05", 2);
		break;
	case 6: { /* lock where it is not allowed */
		emit1(0xf0);
		gen_mov();
		break;
	}
	case 7: { /* jump to nowhere */
		u64 t = chance(50) ? pick_target(1, 0) : rnd_value();
		emit_mov_imm(3, t);
		emit_bytes(chance(50) ? "\xff\xe3" : "\xff\xd3", 2);
		break;
	}
	case 8: emit_bytes("\x0f\xff\xc0", 3); break;       /* ud0 */
	case 9: emit_bytes("\x0f\xb9\xc8", 3); break;       /* ud1 */
	case 10: if (chance(30)) emit1(0xc3); break;        /* ret without a call */
	case 11: { /* nops and hints */
		static const u8 b[][4] = { { 0x0f, 0x1f, 0x40, 0 }, { 0xf3, 0x90, 0x90, 0x90 },
			{ 0x0f, 0xae, 0xe8, 0x90 }, { 0x0f, 0xae, 0xf0, 0x90 },
			{ 0x0f, 0xae, 0xf8, 0x90 }, { 0x0f, 0x1f, 0xc0, 0x90 },
			{ 0xf3, 0x0f, 0x1e, 0xfa }, { 0x0f, 0x18, 0xc0, 0x90 } };
		emit_bytes(b[rn(ARRAY_SIZE(b))], 4);
		break;
	}
	case 12: { /* prefetch, clflush, movnti */
		struct insn in = { .map = 1, .modrm = true, .op = chance(50) ? 0x18 : 0x0d, .reg = rn(4) };
		if (chance(30)) {
			in.op = 0xae;
			in.reg = 7;
			in.p66 = (features & F_CLFLUSHOPT) && chance(50);
		} else if (chance(40)) {
			in.op = 0xc3;
			in.reg = src();
			in.w = rn(2);
		}
		pick_mem(&in.mem, 8, 0);
		emit_insn(&in);
		break;
	}
	case 13: { /* selectors as values, null into data segments, FS and GS bases */
		if (chance(50)) {
			static const u8 seg[] = { 0, 1, 2, 3, 4, 5, 6, 7 };
			INSN(.w = rn(2), .op = 0x8c, .modrm = true, .reg = seg[rn(8)], .rm = dst());
		} else if (features & F_FSGSBASE) {
			INSN(.w = rn(2), .rep = 0xf3, .map = 1, .op = 0xae, .modrm = true,
			     .reg = rn(2), .rm = dst());
		}
		break;
	}
	default: { /* wrfsbase, wrgsbase */
		if (!(features & F_FSGSBASE))
			break;
		emit_mov_imm(8, chance(90) ? pick_target(64, 0) : rnd());
		u8 which = rn(2);
		INSN(.w = 1, .rep = 0xf3, .map = 1, .op = 0xae, .modrm = true, .reg = 2 + which, .rm = 8);
		emit1(0x64 + which);
		INSN(.w = 1, .op = 0x8b, .modrm = true, .reg = dst(),
		     .mem = { .on = true, .base = -1, .index = -1, .disp = rn(64) });
	}
	}
}

static void gen_xlat(void)
{
	emit_mov_imm(3, DATA_LO + rn(DATA_SIZE - 256));
	emit1(0xd7);
}

typedef void (*gen_fn)(void);
static const struct { gen_fn fn; u8 weight; bool simple; } kinds[] = {
	{ gen_alu, 22, true }, { gen_mov, 18, true }, { gen_shift, 8, true },
	{ gen_muldiv, 9, true }, { gen_bits, 10, true }, { gen_atomic, 4, true },
	{ gen_stack, 9, true }, { gen_string, 5, false }, { gen_xlat, 1, true },
	{ gen_vector, 26, true }, { gen_x87, 5, true }, { gen_jump, 9, false },
	{ gen_call, 3, false }, { gen_rare, 1, false },
};

static void gen_kind(bool simple)
{
	for (;;) {
		u32 c = rn(130), i = 0;
		while (c >= kinds[i].weight) {
			c -= kinds[i].weight;
			if (++i == ARRAY_SIZE(kinds))
				break;
		}
		if (i == ARRAY_SIZE(kinds) || (simple && !kinds[i].simple))
			continue;
		gen_kind_last = i;
		kinds[i].fn();
		return;
	}
}

static void gen_simple(void) { gen_kind(true); }

u32 gen_sequence(u8 *buf, u32 room, u64 at)
{
	u32 units = 3 + rn(16);

	emit_begin(buf, at);
	limit = buf + room - 200; /* no unit is longer */
	npending = 0;
	while (units-- && out < limit) {
		gen_kind(false);
		land(false);
	}
	land(true);
	emit_bytes("\xff\x24\x25", 3); /* jmp [CTL_EXIT] */
	emit4(CTL_EXIT);
	return (u32)(out - buf);
}
