/* Encoding of one instruction, and the choice of memory operands.
 *
 * Addresses are mostly made good by loading the base and index registers just before the
 * instruction; a few stay wild on purpose. Instruction forms follow SDM vol. 2 chapter 2. */
#include "gen.h"

u8 *out;
static u8 *out_start;
static u64 out_at;

void emit_begin(u8 *buf, u64 at)
{
	out = out_start = buf;
	out_at = at;
}

/* The run-time address of out. */
static u64 emit_address(void) { return out_at + (u64)(out - out_start); }

void emit1(u8 b) { *out++ = b; }

void emit_bytes(const void *p, u32 n)
{
	const u8 *b = p;
	while (n--)
		*out++ = *b++;
}
void emit4(u32 v) { emit_bytes(&v, 4); }
void emit8(u64 v) { emit_bytes(&v, 8); }

/* ModRM, SIB and displacement; returns where a RIP-relative displacement is, or NULL. */
static u8 *emit_modrm(const struct insn *in)
{
	int reg = (in->reg & 7) << 3;
	const struct mem *m = &in->mem;

	if (!m->on) {
		emit1(0xc0 | reg | (in->rm & 7));
		return NULL;
	}
	if (m->base == 16) {
		emit1(0x05 | reg);
		emit4(0);
		return out - 4;
	}
	if (m->base < 0) { /* absolute, or index only: always a disp32 */
		emit1(0x04 | reg);
		emit1(m->scale_log << 6 | (m->index < 0 ? 4 : (m->index & 7)) << 3 | 5);
		emit4((u32)m->disp);
		return NULL;
	}
	u8 size = m->dispsize;
	if (!size && (m->base & 7) == 5)
		size = 1;
	u8 mod = size == 0 ? 0 : size == 1 ? 0x40 : 0x80;
	if (m->index >= 0 || (m->base & 7) == 4) {
		emit1(mod | reg | 4);
		emit1(m->scale_log << 6 | (m->index < 0 ? 4 : (m->index & 7)) << 3 |
		      (m->base & 7));
	} else {
		emit1(mod | reg | (m->base & 7));
	}
	if (size == 1)
		emit1((u8)m->disp);
	else if (size == 4)
		emit4((u32)m->disp);
	return NULL;
}

static void emit_vex(const struct insn *in, u8 r, u8 x, u8 b)
{
	u8 vvvv = ~in->vvvv & 15;

	if (in->vex == 2) {
		u8 r2 = (in->reg >> 4) & 1;
		u8 v2 = (in->vvvv >> 4) & 1;
		u8 xx = x;
		if (!in->mem.on)
			xx = (in->rm >> 4) & 1;
		else if (in->mem.vsib)
			v2 = (in->mem.index >> 4) & 1;
		emit1(0x62);
		emit1(!r << 7 | !xx << 6 | !b << 5 | !r2 << 4 | in->map);
		emit1(in->w << 7 | vvvv << 3 | 4 | in->pp);
		emit1(in->z << 7 | in->l << 5 | in->b << 4 | !v2 << 3 | in->aaa);
		return;
	}
	if (in->map == 1 && !x && !b && !in->w && !in->force_rex) {
		emit1(0xc5);
		emit1(!r << 7 | vvvv << 3 | in->l << 2 | in->pp);
		return;
	}
	emit1(0xc4);
	emit1(!r << 7 | !x << 6 | !b << 5 | in->map);
	emit1(in->w << 7 | vvvv << 3 | in->l << 2 | in->pp);
}

static void emit_prefixes(const struct insn *in)
{
	u8 p[8];
	u32 n = 0;

	if (in->lock)
		p[n++] = 0xf0;
	if (in->p66)
		p[n++] = 0x66;
	if (in->rep)
		p[n++] = in->rep;
	if (in->mem.on && in->mem.seg)
		p[n++] = in->mem.seg;
	if (in->mem.on && in->mem.a32)
		p[n++] = 0x67;
	while (n) { /* the order of prefixes is free */
		u32 i = rn(n);
		emit1(p[i]);
		p[i] = p[--n];
	}
}

void emit_insn(struct insn *in)
{
	const struct mem *m = &in->mem;
	u8 r = (in->reg >> 3) & 1;
	u8 x = m->on && m->index >= 0 ? (m->index >> 3) & 1 : 0;
	u8 b = m->on ? (m->base >= 0 && m->base < 16 ? (m->base >> 3) & 1 : 0)
		     : (in->rm >> 3) & 1;
	u8 rex = in->w << 3 | r << 2 | x << 1 | b;

	emit_prefixes(in);
	if (in->vex) {
		emit_vex(in, r, x, b);
	} else {
		if (rex || in->force_rex)
			emit1(0x40 | rex);
		if (in->map)
			emit1(0x0f);
		if (in->map == 2)
			emit1(0x38);
		if (in->map == 3)
			emit1(0x3a);
	}
	emit1(in->modrm ? in->op : in->op | (in->rm & 7));
	u8 *rip = in->modrm ? emit_modrm(in) : NULL;
	emit_bytes(&in->imm, in->imm_len);
	if (rip) {
		u32 d = (u32)(m->target - emit_address());
		__builtin_memcpy(rip, &d, 4);
	}
}

void emit_mov_imm(int reg, u64 v)
{
	if ((u32)v == v && chance(70)) {
		INSN(.op = 0xb8, .rm = reg, .imm_len = 4, .imm = v);
	} else if ((u64)(i64)(i32)v == v) {
		INSN(.w = 1, .op = 0xc7, .modrm = true, .rm = reg, .imm_len = 4, .imm = v);
	} else {
		INSN(.w = 1, .op = 0xb8, .rm = reg, .imm_len = 8, .imm = v);
	}
}

u64 pick_target(u32 size, u32 align)
{
	u32 c = rn(200);
	u64 base = chance(70) ? DATA_LO : DATA_HI;
	u64 off;

	if (c < 50 && size > 1 && !align) /* crosses a page */
		off = 4096 - size + 1 + rn(size - 1);
	else if (c < 2) /* runs over the end */
		off = DATA_SIZE - rn(size ? size : 1);
	else
		off = rn(DATA_SIZE - size + 1);
	if (align && chance(98))
		off &= ~(u64)(align - 1);
	if (c >= 195) {
		static const u64 odd[] = { RO_PAGE, NONE_PAGE, HOLE, 0, RO_PAGE + 0xff8,
					   0x800000000000, 0xffff888000001000,
					   0xffffffff81000000, 0xfffffffffffffff9,
					   0xdeadbeef00000000, RO_PAGE + 64, RO_PAGE + 512,
					   RO_PAGE + 128, 0x7ffffffffffc };
		return odd[rn(ARRAY_SIZE(odd))];
	}
	return base + off;
}

u64 pick_segment(u8 *seg, u64 t)
{
	bool fs = chance(50);

	*seg = fs ? 0x64 : 0x65;
	return t - (fs ? FS_BASE : GS_BASE);
}

static int pick_gpr_not_rsp(void)
{
	int r = rn(15);
	return r >= 4 ? r + 1 : r;
}

/* Splits target into base + index * scale + disp and emits the loads. */
static void split_target(struct mem *m, u64 t)
{
	static const u8 sizes[] = { 0, 1, 4 };
	u64 idx = 0;

	m->base = pick_gpr_not_rsp();
	m->dispsize = sizes[rn(3)];
	m->disp = m->dispsize == 1 ? (i8)rnd() : m->dispsize == 4 ? (i32)rnd() : 0;
	if (!m->dispsize)
		m->disp = 0;
	if (chance(45)) {
		do
			m->index = pick_gpr_not_rsp();
		while (m->index == m->base);
		m->scale_log = rn(4);
		idx = chance(50) ? rn(256) : rnd_value();
	}
	if (m->index < 0 && m->a32 == false && chance(15)) { /* index without base */
		u64 d = t - (u64)m->disp;
		m->scale_log = rn(2);
		if (m->scale_log == 0 || !(d & 1)) {
			m->index = m->base;
			m->base = -1;
			m->disp = (i32)m->disp;
			if (m->dispsize != 4)
				m->disp = (i32)rn(1 << 20);
			d = t - (u64)m->disp;
			if (!(d & ((1 << m->scale_log) - 1))) {
				emit_mov_imm(m->index, (u64)((i64)d >> m->scale_log));
				return;
			}
			m->scale_log = 0;
			emit_mov_imm(m->index, d);
			return;
		}
		m->scale_log = 0;
	}
	u64 b = t - (u64)m->disp - (idx << m->scale_log);
	if (m->a32) {
		b = (u32)b | (chance(60) ? rnd() << 32 : 0);
		if (m->index >= 0 && chance(60))
			idx ^= rnd() << 32;
	}
	emit_mov_imm(m->base, b);
	if (m->index >= 0)
		emit_mov_imm(m->index, idx);
}

void pick_mem(struct mem *m, u32 size, u32 align)
{
	u64 t = pick_target(size, align);
	u32 c = rn(100);

	*m = (struct mem){ .on = true, .base = -1, .index = -1 };
	if (chance(3)) { /* ignored overrides */
		static const u8 ign[] = { 0x26, 0x2e, 0x36, 0x3e };
		m->seg = ign[rn(4)];
	}
	if (c < 2) { /* whatever is in the registers */
		m->base = rn(16);
		m->index = chance(50) ? pick_gpr_not_rsp() : -1;
		m->scale_log = rn(4);
		m->dispsize = 1;
		m->disp = (i8)rnd();
		return;
	}
	if (c < 13) { /* the stack */
		m->base = 4;
		m->dispsize = chance(50) ? 1 : 4;
		m->disp = (i64)(rn(15)) * 8 - 56;
		if (align)
			m->disp &= ~(i64)(align - 1);
		if (chance(30)) {
			m->index = pick_gpr_not_rsp();
			m->scale_log = rn(4);
			emit_mov_imm(m->index, rn(9));
		}
		return;
	}
	if (c < 25 && t >> 31 == 0) {
		m->base = 16;
		m->target = t;
		m->index = -1;
		if (chance(5))
			m->a32 = true;
		return;
	}
	if (c < 33 && t >> 31 == 0) {
		m->disp = (i64)t;
		m->dispsize = 4;
		if (chance(10))
			m->a32 = true;
		return;
	}
	if (c < 43) {
		t = pick_segment(&m->seg, t);
		if ((u32)t == t && chance(30))
			m->a32 = true;
		else if ((u64)(i32)t == t && chance(30)) {
			m->disp = (i32)t;
			m->dispsize = 4;
			return;
		}
	} else if (t >> 32 == 0 && chance(10)) {
		m->a32 = true;
	}
	split_target(m, t);
}
