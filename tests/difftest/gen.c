/* Generator of random user-mode sequences: the random source, the operands of general
 * instructions, the table of classes, and the sequence made from them.
 *
 * A sequence always ends: jumps go forward, and loops and return points spend fuel. What
 * varies between runs of the same CPU (time stamps, random numbers, process ids) is never
 * generated; undefined flags are, since the same CPU answers the same. Which random number
 * is drawn when is part of the format: a seed and a number name a sequence in the cases. */
#include "gen.h"

static u64 rng[2];

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
int pick_dst(void)
{
	int r = rn(16);
	return r == 4 && !chance(12) ? (int)rn(4) : r;
}

int pick_src(void)
{
	return rn(16);
}

/* Operand size: sets prefixes; returns bytes. */
u32 pick_size(struct insn *in, bool byte)
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
void pick_rm(struct insn *in, u32 size, u32 mem_pct)
{
	in->modrm = true;
	if (chance(mem_pct))
		pick_mem(&in->mem, size, 0);
	else
		in->rm = pick_dst();
}

/* An immediate of the operand's size, where 64 bits have 32. */
void pick_imm(struct insn *in, u32 size)
{
	in->imm_len = size == 8 ? 4 : size;
	in->imm = rnd_value();
}

/* A lock prefix, where there is memory to lock. */
void pick_lock(struct insn *in, u32 pct)
{
	in->lock = in->mem.on && chance(pct);
}

static const struct { void (*fn)(void); u8 weight; bool simple; } kinds[] = {
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
		kinds[i].fn();
		return;
	}
}

void gen_simple(void) { gen_kind(true); }

u32 gen_sequence(u8 *buf, u32 room, u64 at)
{
	u32 units = 3 + rn(16);
	u8 *limit = buf + room - 200; /* no unit is longer */

	emit_begin(buf, at);
	flow_begin();
	while (units-- && out < limit) {
		gen_kind(false);
		flow_land(false);
	}
	flow_land(true);
	flow_leave();
	return (u32)(out - buf);
}
