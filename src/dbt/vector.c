/* Vector instructions by structure: what the memory operand of a VEX, EVEX, SSE or MMX
 * instruction is, and which of its register fields are general registers. The encodings
 * are regular and none is privileged, so that a table of tuple types (SDM vol. 2, 2.7.5
 * and chapters 3 to 5) is enough to copy them; the processor raises #UD for what it does
 * not have itself. Not here, and so #UD: AMX tiles, EVEX maps 4 to 7 (APX, FP16), XOP. */
#include <string.h>
#include "vector.h"

/* How much memory is touched: VL is the vector length, W the element that VEX.W selects. */
enum tuple {
	FULL, HALF, QUARTER, EIGHTH, /* of VL, or one element when broadcast */
	B1, B2, B4, B8, B16, B32,
	ELEM,    /* W ? 8 : 4 */
	SPREAD,  /* VL, displacement scaled by ELEM (expand, compress, gather) */
	SPREAD2, /* the same with W ? 2 : 1 */
	DUP,     /* 8 of 16, else VL */
	MASK,    /* KMOV: pp and W select 1, 2, 4, 8 */
};

enum flags {
	STORE = 1, KEEP = 2,        /* writes; leaves unselected lanes alone */
	RG = 4, MG = 8, VG = 16,    /* ModRM.reg, ModRM.rm, vvvv is a general register ... */
	RW = 32, MW = 64, VW = 128, /* ... and written */
	GPR = 256,                  /* no vector state at all */
	LEG = 512, VEX = 1024,      /* this encoding alone */
};

#define NP 1
#define P66 2
#define PF3 4
#define PF2 8
#define ANY 15

struct row {
	u8 map, pp, first, last, tuple;
	u16 flags;
};

/* First match counts. What has no row is FULL and only read. */
static const struct row rows[] = {
	{ 1, ANY, 0x0f, 0x0f, B8, LEG },
	{ 1, PF3, 0x10, 0x10, B4, 0 }, { 1, PF2, 0x10, 0x10, B8, 0 },
	{ 1, PF3, 0x11, 0x11, B4, STORE }, { 1, PF2, 0x11, 0x11, B8, STORE },
	{ 1, ANY, 0x11, 0x11, FULL, STORE },
	{ 1, PF2, 0x12, 0x12, DUP, 0 }, { 1, NP | P66, 0x12, 0x12, B8, 0 },
	{ 1, NP | P66, 0x13, 0x13, B8, STORE },
	{ 1, NP | P66, 0x16, 0x16, B8, 0 }, { 1, NP | P66, 0x17, 0x17, B8, STORE },
	{ 1, ANY, 0x29, 0x29, FULL, STORE },
	{ 1, NP | P66, 0x2a, 0x2a, B8, LEG }, { 1, PF3 | PF2, 0x2a, 0x2a, ELEM, MG },
	{ 1, PF3, 0x2b, 0x2b, B4, STORE }, { 1, PF2, 0x2b, 0x2b, B8, STORE }, { 1, ANY, 0x2b, 0x2b, FULL, STORE },
	{ 1, NP, 0x2c, 0x2d, B8, LEG }, { 1, P66, 0x2c, 0x2d, B16, LEG },
	{ 1, PF3, 0x2c, 0x2d, B4, RG | RW }, { 1, PF2, 0x2c, 0x2d, B8, RG | RW },
	{ 1, NP, 0x2e, 0x2f, B4, 0 }, { 1, P66, 0x2e, 0x2f, B8, 0 },
	{ 1, ANY, 0x50, 0x50, FULL, RG | RW },
	{ 1, NP, 0x5a, 0x5a, HALF, 0 },
	{ 1, PF3, 0x51, 0x5a, B4, 0 }, { 1, PF3, 0x5c, 0x5f, B4, 0 }, { 1, PF2, 0x51, 0x5f, B8, 0 },
	{ 1, NP, 0x60, 0x62, B4, LEG },
	{ 1, NP | P66, 0x6e, 0x6e, ELEM, MG },
	{ 1, NP | P66, 0x7e, 0x7e, ELEM, STORE | MG | MW }, { 1, PF3, 0x7e, 0x7e, B8, 0 },
	{ 1, ANY, 0x7f, 0x7f, FULL, STORE },
	{ 1, ANY, 0x90, 0x90, MASK, 0 }, { 1, ANY, 0x91, 0x91, MASK, STORE },
	{ 1, ANY, 0x92, 0x92, FULL, MG }, { 1, ANY, 0x93, 0x93, FULL, RG | RW },
	{ 1, PF3, 0xc2, 0xc2, B4, 0 }, { 1, PF2, 0xc2, 0xc2, B8, 0 },
	{ 1, NP, 0xc3, 0xc3, ELEM, STORE | RG | GPR | LEG },
	{ 1, ANY, 0xc4, 0xc4, B2, MG }, { 1, ANY, 0xc5, 0xc5, FULL, RG | RW },
	{ 1, P66, 0xd1, 0xd3, B16, 0 }, { 1, P66, 0xe1, 0xe2, B16, 0 }, { 1, P66, 0xf1, 0xf3, B16, 0 },
	{ 1, P66, 0xd6, 0xd6, B8, STORE }, { 1, ANY, 0xd7, 0xd7, FULL, RG | RW },
	{ 1, PF3, 0xe6, 0xe6, HALF, 0 }, { 1, ANY, 0xe7, 0xe7, FULL, STORE },

	{ 2, PF3, 0x10, 0x10, HALF, STORE }, { 2, PF3, 0x13, 0x13, HALF, STORE }, { 2, PF3, 0x15, 0x15, HALF, STORE },
	{ 2, PF3, 0x11, 0x11, QUARTER, STORE }, { 2, PF3, 0x14, 0x14, QUARTER, STORE },
	{ 2, PF3, 0x12, 0x12, EIGHTH, STORE },
	{ 2, PF3, 0x20, 0x20, HALF, STORE }, { 2, PF3, 0x23, 0x23, HALF, STORE }, { 2, PF3, 0x25, 0x25, HALF, STORE },
	{ 2, PF3, 0x21, 0x21, QUARTER, STORE }, { 2, PF3, 0x24, 0x24, QUARTER, STORE },
	{ 2, PF3, 0x22, 0x22, EIGHTH, STORE },
	{ 2, PF3, 0x30, 0x30, HALF, STORE }, { 2, PF3, 0x33, 0x33, HALF, STORE }, { 2, PF3, 0x35, 0x35, HALF, STORE },
	{ 2, PF3, 0x31, 0x31, QUARTER, STORE }, { 2, PF3, 0x34, 0x34, QUARTER, STORE },
	{ 2, PF3, 0x32, 0x32, EIGHTH, STORE },
	{ 2, P66, 0x13, 0x13, HALF, 0 },
	{ 2, P66, 0x18, 0x18, B4, 0 }, { 2, P66, 0x19, 0x19, B8, 0 }, { 2, P66, 0x1a, 0x1a, B16, 0 },
	{ 2, P66, 0x1b, 0x1b, B32, 0 },
	{ 2, P66, 0x20, 0x20, HALF, 0 }, { 2, P66, 0x23, 0x23, HALF, 0 }, { 2, P66, 0x25, 0x25, HALF, 0 },
	{ 2, P66, 0x21, 0x21, QUARTER, 0 }, { 2, P66, 0x24, 0x24, QUARTER, 0 }, { 2, P66, 0x22, 0x22, EIGHTH, 0 },
	{ 2, P66, 0x30, 0x30, HALF, 0 }, { 2, P66, 0x33, 0x33, HALF, 0 }, { 2, P66, 0x35, 0x35, HALF, 0 },
	{ 2, P66, 0x31, 0x31, QUARTER, 0 }, { 2, P66, 0x34, 0x34, QUARTER, 0 }, { 2, P66, 0x32, 0x32, EIGHTH, 0 },
	{ 2, P66, 0x2c, 0x2d, FULL, VEX }, { 2, P66, 0x2e, 0x2f, FULL, STORE | KEEP | VEX },
	{ 2, P66, 0x2d, 0x2d, ELEM, 0 },
	{ 2, P66, 0x43, 0x43, ELEM, 0 }, { 2, P66, 0x4d, 0x4d, ELEM, 0 }, { 2, P66, 0x4f, 0x4f, ELEM, 0 },
	{ 2, PF2, 0x52, 0x53, B16, 0 },
	{ 2, P66, 0x58, 0x58, B4, 0 }, { 2, P66, 0x59, 0x59, B8, 0 }, { 2, P66, 0x5a, 0x5a, B16, 0 },
	{ 2, P66, 0x5b, 0x5b, B32, 0 },
	{ 2, P66, 0x62, 0x62, SPREAD2, 0 }, { 2, P66, 0x63, 0x63, SPREAD2, STORE },
	{ 2, P66, 0x78, 0x78, B1, 0 }, { 2, P66, 0x79, 0x79, B2, 0 }, { 2, P66, 0x7a, 0x7c, FULL, MG },
	{ 2, P66, 0x88, 0x89, SPREAD, 0 }, { 2, P66, 0x8a, 0x8b, SPREAD, STORE },
	{ 2, P66, 0x8e, 0x8e, FULL, STORE | KEEP | VEX },
	{ 2, P66, 0x90, 0x93, SPREAD, 0 }, { 2, P66, 0xa0, 0xa3, SPREAD, STORE | KEEP }, { 2, P66, 0xc6, 0xc7, SPREAD, 0 },
	{ 2, PF2, 0x9a, 0x9b, B16, 0 }, { 2, PF2, 0xaa, 0xab, B16, 0 },
	{ 2, P66, 0x99, 0x99, ELEM, 0 }, { 2, P66, 0x9b, 0x9b, ELEM, 0 }, { 2, P66, 0x9d, 0x9d, ELEM, 0 },
	{ 2, P66, 0x9f, 0x9f, ELEM, 0 }, { 2, P66, 0xa9, 0xa9, ELEM, 0 }, { 2, P66, 0xab, 0xab, ELEM, 0 },
	{ 2, P66, 0xad, 0xad, ELEM, 0 }, { 2, P66, 0xaf, 0xaf, ELEM, 0 }, { 2, P66, 0xb9, 0xb9, ELEM, 0 },
	{ 2, P66, 0xbb, 0xbb, ELEM, 0 }, { 2, P66, 0xbd, 0xbd, ELEM, 0 }, { 2, P66, 0xbf, 0xbf, ELEM, 0 },
	{ 2, P66 | PF3, 0xb1, 0xb1, B2, VEX },
	{ 2, P66, 0xcb, 0xcb, ELEM, 0 }, { 2, P66, 0xcd, 0xcd, ELEM, 0 },
	{ 2, NP, 0xf2, 0xf2, ELEM, RG | MG | VG | RW | GPR }, { 2, NP, 0xf3, 0xf3, ELEM, MG | VG | VW | GPR },
	{ 2, NP | PF3 | PF2, 0xf5, 0xf5, ELEM, RG | MG | VG | RW | GPR },
	{ 2, PF2, 0xf6, 0xf6, ELEM, RG | MG | VG | RW | VW | GPR },
	{ 2, ANY, 0xf7, 0xf7, ELEM, RG | MG | VG | RW | GPR },

	{ 3, P66, 0x0a, 0x0a, B4, 0 }, { 3, P66, 0x0b, 0x0b, B8, 0 },
	{ 3, P66, 0x14, 0x14, B1, STORE | MG | MW }, { 3, P66, 0x15, 0x15, B2, STORE | MG | MW },
	{ 3, P66, 0x16, 0x16, ELEM, STORE | MG | MW }, { 3, P66, 0x17, 0x17, B4, STORE | MG | MW },
	{ 3, P66, 0x18, 0x18, B16, 0 }, { 3, P66, 0x38, 0x38, B16, 0 },
	{ 3, P66, 0x19, 0x19, B16, STORE }, { 3, P66, 0x39, 0x39, B16, STORE },
	{ 3, P66, 0x1a, 0x1a, B32, 0 }, { 3, P66, 0x3a, 0x3a, B32, 0 },
	{ 3, P66, 0x1b, 0x1b, B32, STORE }, { 3, P66, 0x3b, 0x3b, B32, STORE },
	{ 3, P66, 0x1d, 0x1d, HALF, STORE },
	{ 3, P66, 0x20, 0x20, B1, MG }, { 3, P66, 0x21, 0x21, B4, 0 }, { 3, P66, 0x22, 0x22, ELEM, MG },
	{ 3, P66, 0x27, 0x27, ELEM, 0 }, { 3, P66, 0x51, 0x51, ELEM, 0 }, { 3, P66, 0x55, 0x55, ELEM, 0 },
	{ 3, P66, 0x57, 0x57, ELEM, 0 }, { 3, P66, 0x67, 0x67, ELEM, 0 },
	{ 3, P66, 0x6a, 0x6a, B4, VEX }, { 3, P66, 0x6b, 0x6b, B8, VEX }, { 3, P66, 0x6e, 0x6e, B4, VEX },
	{ 3, P66, 0x6f, 0x6f, B8, VEX }, { 3, P66, 0x7a, 0x7a, B4, VEX }, { 3, P66, 0x7b, 0x7b, B8, VEX },
	{ 3, P66, 0x7e, 0x7e, B4, VEX }, { 3, P66, 0x7f, 0x7f, B8, VEX },
	{ 3, PF2, 0xf0, 0xf0, ELEM, RG | MG | RW | GPR },
};

/* Conversions between integers and floating point that only EVEX has (0F 78 to 7B): the
 * type depends on prefix and W. */
static const struct { u8 op, pp, w, tuple; u16 flags; } conversions[] = {
	{ 0x78, P66, 0, HALF, 0 }, { 0x79, P66, 0, HALF, 0 }, { 0x7a, P66 | PF3, 0, HALF, 0 }, { 0x7b, P66, 0, HALF, 0 },
	{ 0x78, PF3, 2, B4, RG | RW }, { 0x78, PF2, 2, B8, RG | RW },
	{ 0x79, PF3, 2, B4, RG | RW }, { 0x79, PF2, 2, B8, RG | RW }, { 0x7b, PF3 | PF2, 2, ELEM, MG },
};

/* Opcodes that VEX or EVEX have; one word per 16 opcodes, one bit each. */
static const u16 known[4][16] = {
	[1] = { 0, 0x00ff, 0xff00, 0, 0x0cf6, 0xffff, 0xffff, 0xffff, 0, 0x030f, 0x4000, 0, 0x0074, 0xffff, 0xffff, 0x7fff },
	[2] = { 0xffff, 0xffff, 0xffff, 0xffff, 0xffff, 0x0fff, 0x017c, 0xffef, 0xff08, 0xffff, 0xffff, 0xffff, 0xffd0,
		0xfc0c, 0, 0x00ec },
	[3] = { 0xff7f, 0xeff0, 0x00ef, 0xcf0f, 0x1f5f, 0xf0f3, 0xffcf, 0xff0f, 0, 0, 0, 0, 0xc000, 0xc000, 0, 0x0001 },
};

static bool is_known(const struct insn *in)
{
	if (in->map < 1 || in->map > 3)
		return false;
	return known[in->map][in->opcode >> 4] >> (in->opcode & 15) & 1;
}

static const struct row *find_row(const struct insn *in, unsigned pp)
{
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct row *r = &rows[i];
		if (r->map == in->map && (r->pp >> pp & 1) && in->opcode >= r->first && in->opcode <= r->last &&
		    !((r->flags & LEG) && in->vex) && !((r->flags & VEX) && in->vex != 2 && in->vex != 3))
			return r;
	}
	return NULL;
}

/* The parts of the prefix that matter here. */
struct prefix { unsigned pp, vl; bool w, broadcast, masked; };

static struct prefix prefix_of(const struct insn *in, const u8 *bytes)
{
	const u8 *p = bytes + in->off_prefix_end;
	struct prefix x = { .vl = 16, .w = in->rex & 8 };

	if (in->vex == 4) {
		x = (struct prefix){ p[2] & 3, 16u << ((p[3] >> 5) & 3), p[2] & 0x80, p[3] & 0x10, p[3] & 7 };
	} else if (in->vex) {
		u8 last = in->vex == 3 ? p[2] : p[1];
		x = (struct prefix){ last & 3, (last & 4) ? 32 : 16, in->vex == 3 && (last & 0x80), false, false };
	} else if (in->rep) {
		x.pp = in->rep == 0xf3 ? 2 : 3;
	} else {
		for (unsigned i = 0; i < in->off_prefix_end; i++)
			if (bytes[i] == 0x66)
				x.pp = 1;
	}
	/* MMX; not CMPPS and SHUFPS */
	bool mmx = in->map == 1 ? in->opcode >= 0x60 && in->opcode != 0xc2 && in->opcode != 0xc6
				: in->map == 2 ? in->opcode < 0x20 : in->opcode == 0x0f;
	if (mmx && !in->vex && x.pp == 0)
		x.vl = 8;
	return x;
}

static unsigned element_of(unsigned tuple, const struct prefix *x)
{
	return tuple == SPREAD2 ? (x->w ? 2 : 1) : x->w ? 8 : 4;
}

static unsigned size_of(unsigned tuple, const struct prefix *x)
{
	static const u8 mask_size[2][4] = { { 2, 1, 0, 0 }, { 8, 4, 0, 0 } };

	if (tuple <= EIGHTH && x->broadcast)
		return element_of(tuple, x);
	if (tuple <= EIGHTH)
		return x->vl >> (tuple - FULL);
	if (tuple <= B32)
		return 1u << (tuple - B1);
	switch (tuple) {
	case ELEM: return element_of(tuple, x);
	case DUP: return x->vl == 16 ? 8 : x->vl;
	case MASK: return mask_size[x->w][x->pp & 3];
	}
	return x->vl;
}

static void fill_mem(struct insn *in, const struct prefix *x, unsigned tuple, unsigned flags)
{
	unsigned scale;

	in->mem_size = size_of(tuple, x);
	in->mem_access = !(flags & STORE) ? ACC_READ : (x->masked || (flags & KEEP)) ? ACC_READ | ACC_WRITE : ACC_WRITE;
	in->vsib = in->map == 2 && in->vex && x->pp == 1 &&
		   ((in->opcode >= 0x90 && in->opcode <= 0x93) || (in->opcode >= 0xa0 && in->opcode <= 0xa3) ||
		    in->opcode == 0xc6 || in->opcode == 0xc7);
	if (in->vex == 4 && in->disp_len == 1) {
		scale = tuple == SPREAD || tuple == SPREAD2 ? element_of(tuple, x) : in->mem_size;
		in->disp *= scale;
	}
}

static void fill_rsp(struct insn *in, unsigned flags)
{
	in->rsp_read = ((flags & RG) && in->reg == RSP) || ((flags & MG) && in->rm == RSP) ||
		       ((flags & VG) && in->vvvv == RSP);
	in->rsp_written = ((flags & RW) && in->reg == RSP) || ((flags & MW) && in->rm == RSP) ||
			  ((flags & VW) && in->vvvv == RSP);
}

static void fill_from_rows(struct insn *in, const u8 *bytes)
{
	struct prefix x = prefix_of(in, bytes);
	const struct row *r = find_row(in, x.pp);
	unsigned tuple = r ? r->tuple : FULL, flags = r ? r->flags : 0;

	if (in->map == 1 && in->opcode == 0xae) { /* VLDMXCSR, VSTMXCSR */
		tuple = B4;
		flags = (in->modrm & 0x38) == 0x18 ? STORE : 0;
	}
	/* The packed forms with 64-bit elements are full ones. */
	if (in->vex == 4 && in->map == 1 && in->opcode == 0xe6 && x.w)
		tuple = FULL;
	for (size_t i = 0; in->vex == 4 && in->map == 1 && i < ARRAY_LEN(conversions); i++)
		if (conversions[i].op == in->opcode && (conversions[i].pp >> x.pp & 1) &&
		    (conversions[i].w == 2 || conversions[i].w == x.w)) {
			tuple = conversions[i].tuple;
			flags = conversions[i].flags;
		}
	in->fpu = !(flags & GPR);
	if (in->has_mem)
		fill_mem(in, &x, tuple, flags);
	fill_rsp(in, flags);
}

bool vector_is_sse(const struct insn *in, const u8 *bytes)
{
	u8 op = in->opcode;

	if (in->vex || in->map == 0)
		return false;
	if (in->map == 2)
		return op < 0x42 || (op >= 0xc8 && op <= 0xcf) || (op >= 0xdb && op <= 0xdf);
	if (in->map == 3)
		return op != 0xf0;
	if (op == 0x78 || op == 0x79) /* VMREAD, VMWRITE without a prefix */
		return prefix_of(in, bytes).pp != 0;
	return op == 0x0e || op == 0x0f || (op >= 0x10 && op <= 0x17) || (op >= 0x28 && op <= 0x2f) ||
	       (op >= 0x50 && op <= 0x7f) || (op >= 0xc2 && op <= 0xc6) || (op >= 0xd0 && op <= 0xfe);
}

void vector_fill_sse(struct insn *in, const u8 *bytes)
{
	fill_from_rows(in, bytes);
}

bool vector_decode(struct insn *in, const u8 *bytes)
{
	const u8 *p = bytes + in->off_prefix_end;

	if (!is_known(in) || (in->vex == 4 && ((p[1] & 8) || !(p[2] & 4))))
		return false;
	if (in->vex == 4 && in->has_mem && (p[3] & 0x60) == 0x60)
		return false;
	/* VLDMXCSR and VSTMXCSR alone. */
	if (in->map == 1 && in->opcode == 0xae &&
	    (in->vex == 4 || !in->has_mem || ((in->modrm & 0x38) != 0x10 && (in->modrm & 0x38) != 0x18)))
		return false;
	/* A legacy mandatory prefix, LOCK or REX before it makes it invalid. */
	if (in->rep || in->lock || memchr_u8(bytes, 0x66, in->off_prefix_end))
		return false;
	/* Map 3 without 66 is FP16. AMX tiles share map 2 with EVEX-only opcodes; EVEX masks have no VEX form. */
	if (in->vex == 4 ? in->map == 3 && (p[2] & 3) != 1
			 : in->map == 2 && in->opcode >= 0x48 && in->opcode <= 0x4f)
		return false;
	in->op = in->map == 1 && in->opcode == 0xf7 ? OP_MASKMOV : OP_COPY;
	fill_from_rows(in, bytes);
	return true;
}
