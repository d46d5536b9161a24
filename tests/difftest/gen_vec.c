/* Generator of vector and x87 instructions, from one table.
 *
 * A row lists the encodings that an opcode has; a wrong row costs only a #UD, which must
 * be the same everywhere too. */
#include "gen.h"

enum {
	L = 1 << 0,    /* legacy SSE form */
	M = 1 << 1,    /* also without the 66 prefix: MMX */
	V = 1 << 2,    /* VEX.128 form */
	Y = 1 << 3,    /* VEX.256 form */
	N = 1 << 4,    /* VEX has a second source */
	E = 1 << 5,    /* EVEX form */
	EN = 1 << 6,   /* EVEX has a second source (as N, EVEX only) */
	W = 1 << 7,    /* W=1 in EVEX */
	VW = 1 << 8,   /* W=1 in VEX */
	WR = 1 << 9,   /* any W, in every form: general register or memory width */
	A = 1 << 10,   /* aligned in all forms */
	U = 1 << 11,   /* legacy form needs no alignment */
	RO = 1 << 12,  /* registers only */
	MO = 1 << 13,  /* memory only */
	K = 1 << 14,   /* EVEX destination is a mask register */
	B4 = 1 << 15,  /* EVEX broadcast of 4 bytes */
	B8 = 1 << 16,  /* of 8 bytes */
	NK = 1 << 17,  /* EVEX: no masking */
	L1 = 1 << 18,  /* 256 bits and up only */
	KS = 1 << 19,  /* EVEX source register is a mask register */
	X = 1 << 20,   /* scalar: any length, EVEX rounding */
};
struct row {
	u8 pp, map, op, msz; /* msz 0: the whole vector; 1-64: bytes; 128+n: vector >> n */
	u32 fl;
	u8 imm;
	i8 ext; /* ModRM.reg, -1: a register */
	u32 feat;
};

#define H(n) (128 + (n))
#define LV (L | V)
#define LVY (L | V | Y)
#define VY (V | Y)
#define INT(op, fl) { 1, 1, op, 0, L | M | V | Y | N | (fl), 0, -1, 0 }
#define FP4(op, fl) { 0, 1, op, 0, LVY | N | E | B4 | (fl), 0, -1, 0 }, \
	{ 1, 1, op, 0, LVY | N | E | W | B8 | (fl), 0, -1, 0 }, \
	{ 2, 1, op, 4, LV | N | E | X, 0, -1, 0 }, { 3, 1, op, 8, LV | N | E | W | X, 0, -1, 0 }
#define FP2(op) { 0, 1, op, 0, LVY | N | E | B4, 0, -1, 0 }, { 1, 1, op, 0, LVY | N | E | W | B8, 0, -1, 0 }
#define FMA_PS(op) { 1, 2, op, 0, VY | N | E | B4, 0, -1, F_FMA }, { 1, 2, op, 0, VY | N | VW | E | W | B8, 0, -1, F_FMA }
#define FMA_SS(op) { 1, 2, op, 4, V | N | E | X, 0, -1, F_FMA }, { 1, 2, op, 8, V | N | VW | E | W | X, 0, -1, F_FMA }
#define S3(op, fl) { 1, 2, op, 0, L | M | VY | N | (fl), 0, -1, F_SSSE3 }
#define S41(op, fl) { 1, 2, op, 0, LVY | N | (fl), 0, -1, F_SSE41 }
#define PMOV(op, sh) { 1, 2, 0x20 + op, H(sh), LVY | E | U, 0, -1, F_SSE41 }, \
	{ 1, 2, 0x30 + op, H(sh), LVY | E | U, 0, -1, F_SSE41 }
#define EV(pp, map, op, fl) { pp, map, op, 0, E | EN | (fl), 0, -1, 0 }
#define EVI(pp, map, op, fl) { pp, map, op, 0, E | EN | (fl), 1, -1, 0 }
#define DOWN(op, sh) { 2, 2, op, H(sh), E, 0, -1, 0 }, { 2, 2, (op) | 0x10, H(sh), E, 0, -1, 0 }, \
	{ 2, 2, (op) | 0x20, H(sh), E, 0, -1, 0 }

static const struct row rows[] = {
	/* moves */
	{ 0, 1, 0x10, 0, LVY | E | U, 0, -1, 0 }, { 0, 1, 0x11, 0, LVY | E | U, 0, -1, 0 },
	{ 1, 1, 0x10, 0, LVY | E | W | U, 0, -1, 0 }, { 1, 1, 0x11, 0, LVY | E | W | U, 0, -1, 0 },
	{ 2, 1, 0x10, 4, LV | E | MO | X, 0, -1, 0 }, { 2, 1, 0x11, 4, LV | E | MO | X, 0, -1, 0 },
	{ 2, 1, 0x10, 4, LV | N | RO | X, 0, -1, 0 }, { 3, 1, 0x10, 8, LV | N | RO | X, 0, -1, 0 },
	{ 3, 1, 0x10, 8, LV | E | W | MO | X, 0, -1, 0 }, { 3, 1, 0x11, 8, LV | E | W | MO | X, 0, -1, 0 },
	{ 0, 1, 0x28, 0, LVY | E | A, 0, -1, 0 }, { 0, 1, 0x29, 0, LVY | E | A, 0, -1, 0 },
	{ 1, 1, 0x28, 0, LVY | E | W | A, 0, -1, 0 }, { 1, 1, 0x29, 0, LVY | E | W | A, 0, -1, 0 },
	{ 1, 1, 0x6f, 0, LVY | E | A, 0, -1, 0 }, { 1, 1, 0x7f, 0, LVY | E | A, 0, -1, 0 },
	{ 2, 1, 0x6f, 0, LVY | E | U, 0, -1, 0 }, { 2, 1, 0x7f, 0, LVY | E | U, 0, -1, 0 },
	{ 3, 1, 0x6f, 0, E, 0, -1, 0 }, { 3, 1, 0x7f, 0, E | W, 0, -1, 0 },
	{ 0, 1, 0x12, 8, LV | N | E | U | X | NK, 0, -1, 0 }, { 1, 1, 0x12, 8, LV | N | E | W | MO | U | X | NK, 0, -1, 0 },
	{ 0, 1, 0x13, 8, LV | MO | U, 0, -1, 0 }, { 1, 1, 0x13, 8, LV | MO | U, 0, -1, 0 },
	{ 0, 1, 0x16, 8, LV | N | E | U | X | NK, 0, -1, 0 }, { 1, 1, 0x16, 8, LV | N | MO | U, 0, -1, 0 },
	{ 0, 1, 0x17, 8, LV | MO | U, 0, -1, 0 }, { 1, 1, 0x17, 8, LV | MO | U, 0, -1, 0 },
	{ 3, 1, 0x12, 8, LVY | E | W | U, 0, -1, F_SSE3 },
	{ 2, 1, 0x12, 0, LVY | E, 0, -1, F_SSE3 }, { 2, 1, 0x16, 0, LVY | E, 0, -1, F_SSE3 },
	{ 0, 1, 0x2b, 0, LVY | E | A | MO | NK, 0, -1, 0 }, { 1, 1, 0xe7, 0, LVY | E | A | MO | NK, 0, -1, 0 },
	{ 1, 2, 0x2a, 0, LVY | E | A | MO | NK, 0, -1, F_SSE41 },
	{ 3, 1, 0xf0, 0, LVY | MO | U, 0, -1, F_SSE3 }, { 0, 1, 0xe7, 8, L | MO | U, 0, -1, 0 },
	{ 1, 1, 0x6e, 4, LV | E | WR | NK | X, 0, -1, 0 }, { 1, 1, 0x7e, 4, LV | E | WR | NK | X, 0, -1, 0 },
	{ 2, 1, 0x7e, 8, LV | E | W | U | NK | X, 0, -1, 0 }, { 1, 1, 0xd6, 8, LV | E | W | U | NK | X, 0, -1, 0 },
	{ 0, 1, 0x6e, 4, L | WR, 0, -1, 0 }, { 0, 1, 0x7e, 4, L | WR, 0, -1, 0 },
	{ 0, 1, 0x6f, 8, L | U, 0, -1, 0 }, { 0, 1, 0x7f, 8, L | U, 0, -1, 0 },
	{ 2, 1, 0xd6, 0, L | RO, 0, -1, 0 }, { 3, 1, 0xd6, 0, L | RO, 0, -1, 0 },
	{ 0, 1, 0x50, 0, LVY | RO, 0, -1, 0 }, { 1, 1, 0x50, 0, LVY | RO, 0, -1, 0 },
	{ 1, 1, 0xd7, 0, LVY | M | RO, 0, -1, 0 },
	{ 1, 1, 0xc4, 2, LV | M | N | E | NK | U | X, 1, -1, 0 }, { 1, 1, 0xc5, 2, LV | M | RO, 1, -1, 0 },
	{ 0, 1, 0x77, 0, L | RO, 0, -2, 0 }, { 0, 1, 0x77, 0, VY | RO, 0, -2, 0 },
	/* floating point */
	FP4(0x58, 0), FP4(0x59, 0), FP4(0x5c, 0), FP4(0x5d, 0), FP4(0x5e, 0), FP4(0x5f, 0),
	FP2(0x54), FP2(0x55), FP2(0x56), FP2(0x57), FP2(0x14), FP2(0x15),
	{ 2, 1, 0x51, 4, LV | N | E | X, 0, -1, 0 }, { 3, 1, 0x51, 8, LV | N | E | W | X, 0, -1, 0 },
	{ 0, 1, 0x51, 0, LVY | E | B4, 0, -1, 0 }, { 1, 1, 0x51, 0, LVY | E | W | B8, 0, -1, 0 },
	{ 0, 1, 0x52, 0, LVY, 0, -1, 0 }, { 2, 1, 0x52, 4, LV | N | X, 0, -1, 0 },
	{ 0, 1, 0x53, 0, LVY, 0, -1, 0 }, { 2, 1, 0x53, 4, LV | N | X, 0, -1, 0 },
	{ 0, 1, 0xc6, 0, LVY | N | E | B4, 1, -1, 0 }, { 1, 1, 0xc6, 0, LVY | N | E | W | B8, 1, -1, 0 },
	{ 0, 1, 0xc2, 0, LVY | N | E | K | B4, 1, -1, 0 }, { 1, 1, 0xc2, 0, LVY | N | E | K | W | B8, 1, -1, 0 },
	{ 2, 1, 0xc2, 4, LV | N | E | K | X, 1, -1, 0 }, { 3, 1, 0xc2, 8, LV | N | E | K | W | X, 1, -1, 0 },
	{ 0, 1, 0x2e, 4, LV | E | NK | X, 0, -1, 0 }, { 1, 1, 0x2e, 8, LV | E | W | NK | X, 0, -1, 0 },
	{ 0, 1, 0x2f, 4, LV | E | NK | X, 0, -1, 0 }, { 1, 1, 0x2f, 8, LV | E | W | NK | X, 0, -1, 0 },
	{ 0, 1, 0x5a, H(1), LVY | E | U, 0, -1, 0 }, { 1, 1, 0x5a, 0, LVY | E | W | B8, 0, -1, 0 },
	{ 2, 1, 0x5a, 4, LV | N | E | X, 0, -1, 0 }, { 3, 1, 0x5a, 8, LV | N | E | W | X, 0, -1, 0 },
	{ 0, 1, 0x5b, 0, LVY | E | B4, 0, -1, 0 }, { 1, 1, 0x5b, 0, LVY | E | B4, 0, -1, 0 },
	{ 2, 1, 0x5b, 0, LVY | E | B4, 0, -1, 0 }, { 1, 1, 0xe6, 0, LVY | E | W | B8, 0, -1, 0 },
	{ 2, 1, 0xe6, H(1), LVY | E | U, 0, -1, 0 }, { 3, 1, 0xe6, 0, LVY | E | W | B8, 0, -1, 0 },
	{ 2, 1, 0x2a, 4, LV | N | E | WR | NK | X, 0, -1, 0 }, { 3, 1, 0x2a, 4, LV | N | E | WR | NK | X, 0, -1, 0 },
	{ 2, 1, 0x2c, 4, LV | E | WR | NK | X, 0, -1, 0 }, { 3, 1, 0x2c, 8, LV | E | WR | NK | X, 0, -1, 0 },
	{ 2, 1, 0x2d, 4, LV | E | WR | NK | X, 0, -1, 0 }, { 3, 1, 0x2d, 8, LV | E | WR | NK | X, 0, -1, 0 },
	{ 0, 1, 0x2a, 8, L | U, 0, -1, 0 }, { 1, 1, 0x2a, 8, L | U, 0, -1, 0 },
	{ 0, 1, 0x2c, 8, L | U, 0, -1, 0 }, { 1, 1, 0x2d, 0, L, 0, -1, 0 },
	{ 1, 1, 0xd0, 0, LVY | N, 0, -1, F_SSE3 }, { 3, 1, 0xd0, 0, LVY | N, 0, -1, F_SSE3 },
	{ 1, 1, 0x7c, 0, LVY | N, 0, -1, F_SSE3 }, { 3, 1, 0x7d, 0, LVY | N, 0, -1, F_SSE3 },
	/* integers */
	INT(0x60, E), INT(0x61, E), INT(0x62, E | B4), INT(0x63, E), INT(0x64, 0), INT(0x65, 0),
	INT(0x66, 0), INT(0x67, E), INT(0x68, E), INT(0x69, E), INT(0x6a, E | B4), INT(0x6b, E | B4),
	{ 1, 1, 0x6c, 0, LVY | N | E | W | B8, 0, -1, 0 }, { 1, 1, 0x6d, 0, LVY | N | E | W | B8, 0, -1, 0 },
	INT(0x74, 0), INT(0x75, 0), INT(0x76, 0), INT(0xd4, E | W | B8), INT(0xd5, E),
	INT(0xd8, E), INT(0xd9, E), INT(0xda, E), INT(0xdb, 0), INT(0xdc, E), INT(0xdd, E), INT(0xde, E),
	INT(0xdf, 0), INT(0xe0, E), INT(0xe3, E), INT(0xe4, E), INT(0xe5, E), INT(0xe8, E), INT(0xe9, E),
	INT(0xea, E), INT(0xeb, 0), INT(0xec, E), INT(0xed, E), INT(0xee, E), INT(0xef, 0),
	INT(0xf4, E | W | B8), INT(0xf5, E), INT(0xf6, E), INT(0xf8, E), INT(0xf9, E), INT(0xfa, E | B4),
	INT(0xfb, E | W | B8), INT(0xfc, E), INT(0xfd, E), INT(0xfe, E | B4),
	{ 1, 1, 0xd1, 16, L | VY | N | E, 0, -1, 0 }, { 1, 1, 0xd2, 16, LVY | N | E, 0, -1, 0 },
	{ 1, 1, 0xd3, 16, LVY | N | E | W, 0, -1, 0 }, { 1, 1, 0xe1, 16, LVY | N | E, 0, -1, 0 },
	{ 1, 1, 0xf1, 16, LVY | N | E, 0, -1, 0 }, { 1, 1, 0xf3, 16, LVY | N | E | W, 0, -1, 0 },
	{ 0, 1, 0xd1, 8, L | U, 0, -1, 0 }, { 0, 1, 0xf2, 8, L | U, 0, -1, 0 },
	{ 1, 1, 0x71, 0, L | M | RO, 1, 2, 0 }, { 1, 1, 0x71, 0, L | M | RO, 1, 4, 0 },
	{ 1, 1, 0x72, 0, L | M | RO, 1, 6, 0 }, { 1, 1, 0x73, 0, L | M | RO, 1, 2, 0 },
	{ 1, 1, 0x73, 0, L | RO, 1, 3, 0 }, { 1, 1, 0x73, 0, L | RO, 1, 7, 0 },
	{ 1, 1, 0x71, 0, VY | N | RO | E, 1, 6, 0 }, { 1, 1, 0x72, 0, VY | N | RO | E, 1, 2, 0 },
	{ 1, 1, 0x72, 0, VY | N | RO | E, 1, 4, 0 }, { 1, 1, 0x73, 0, VY | N | RO | E | W, 1, 6, 0 },
	{ 1, 1, 0x73, 0, VY | N | RO | E | NK, 1, 3, 0 },
	{ 1, 1, 0x70, 0, LVY | E | B4, 1, -1, 0 }, { 2, 1, 0x70, 0, LVY | E, 1, -1, 0 },
	{ 3, 1, 0x70, 0, LVY | E, 1, -1, 0 }, { 0, 1, 0x70, 8, L | U, 1, -1, 0 },
	/* 0F38 */
	S3(0x00, E), S3(0x01, 0), S3(0x02, 0), S3(0x03, 0), S3(0x04, E), S3(0x05, 0), S3(0x06, 0),
	S3(0x07, 0), S3(0x08, 0), S3(0x09, 0), S3(0x0a, 0), S3(0x0b, E),
	{ 1, 2, 0x1c, 0, L | M | VY | E, 0, -1, F_SSSE3 }, { 1, 2, 0x1d, 0, L | M | VY | E, 0, -1, F_SSSE3 },
	{ 1, 2, 0x1e, 0, L | M | VY | E | B4, 0, -1, F_SSSE3 },
	{ 1, 2, 0x10, 0, L, 0, -1, F_SSE41 }, { 1, 2, 0x14, 0, L, 0, -1, F_SSE41 }, { 1, 2, 0x15, 0, L, 0, -1, F_SSE41 },
	{ 1, 2, 0x17, 0, LVY, 0, -1, F_SSE41 }, PMOV(0, 1), PMOV(1, 2), PMOV(2, 3), PMOV(3, 1), PMOV(4, 2), PMOV(5, 1),
	S41(0x28, E | W | B8), S41(0x29, 0), S41(0x2b, E | B4), S41(0x37, 0), S41(0x38, E), S41(0x39, E | B4),
	S41(0x3a, E), S41(0x3b, E | B4), S41(0x3c, E), S41(0x3d, E | B4), S41(0x3e, E), S41(0x3f, E | B4),
	S41(0x40, E | B4), { 1, 2, 0x41, 0, LV, 0, -1, F_SSE41 },
	{ 1, 2, 0xdb, 0, LV, 0, -1, F_AES }, { 1, 2, 0xdc, 0, LV | N, 0, -1, F_AES },
	{ 1, 2, 0xdd, 0, LV | N, 0, -1, F_AES }, { 1, 2, 0xde, 0, LV | N, 0, -1, F_AES },
	{ 1, 2, 0xdf, 0, LV | N, 0, -1, F_AES },
	{ 1, 2, 0x18, 4, VY | E, 0, -1, 0 }, { 1, 2, 0x19, 8, Y | L1 | E | W, 0, -1, 0 },
	{ 1, 2, 0x1a, 16, Y | MO | L1 | E, 0, -1, 0 }, { 1, 2, 0x5a, 16, Y | MO | L1 | E, 0, -1, 0 },
	{ 1, 2, 0x58, 4, VY | E, 0, -1, 0 }, { 1, 2, 0x59, 8, VY | E | W, 0, -1, 0 },
	{ 1, 2, 0x78, 1, VY | E, 0, -1, 0 }, { 1, 2, 0x79, 2, VY | E, 0, -1, 0 },
	{ 1, 2, 0x0c, 0, VY | N | E | B4, 0, -1, 0 }, { 1, 2, 0x0d, 0, VY | N, 0, -1, 0 },
	{ 1, 2, 0x0e, 0, VY, 0, -1, 0 }, { 1, 2, 0x0f, 0, VY, 0, -1, 0 },
	{ 1, 2, 0x2c, 0, VY | N | MO, 0, -1, 0 }, { 1, 2, 0x2d, 0, VY | N | MO, 0, -1, 0 },
	{ 1, 2, 0x2e, 0, VY | N | MO, 0, -1, 0 }, { 1, 2, 0x2f, 0, VY | N | MO, 0, -1, 0 },
	{ 1, 2, 0x8c, 0, VY | N | MO | WR, 0, -1, 0 }, { 1, 2, 0x8e, 0, VY | N | MO | WR, 0, -1, 0 },
	{ 1, 2, 0x36, 0, Y | N | L1 | E | B4, 0, -1, 0 }, { 1, 2, 0x16, 0, Y | N | L1 | E | B4, 0, -1, 0 },
	{ 1, 2, 0x45, 0, VY | N | E | B4, 0, -1, 0 }, { 1, 2, 0x46, 0, VY | N | E | B4, 0, -1, 0 },
	{ 1, 2, 0x47, 0, VY | N | VW | E | W | B8, 0, -1, 0 }, { 1, 2, 0x13, H(1), VY | E, 0, -1, F_F16C },
	FMA_PS(0x96), FMA_PS(0x97), FMA_PS(0x98), FMA_SS(0x99), FMA_PS(0x9a), FMA_SS(0x9b), FMA_PS(0x9c), FMA_SS(0x9f),
	FMA_PS(0xa6), FMA_PS(0xa8), FMA_SS(0xa9), FMA_PS(0xac), FMA_PS(0xb6), FMA_PS(0xb8), FMA_SS(0xb9), FMA_PS(0xbe), FMA_SS(0xbd),
	{ 1, 2, 0x50, 0, E | EN | B4, 0, -1, F_VNNI }, { 1, 2, 0x52, 0, E | EN | B4, 0, -1, F_VNNI },
	/* 0F3A */
	{ 1, 3, 0x08, 0, LVY | E | B4, 1, -1, F_SSE41 }, { 1, 3, 0x09, 0, LVY | E | W | B8, 1, -1, F_SSE41 },
	{ 1, 3, 0x0a, 4, LV | N | E | X, 1, -1, F_SSE41 }, { 1, 3, 0x0b, 8, LV | N | E | W | X, 1, -1, F_SSE41 },
	{ 1, 3, 0x0c, 0, LVY | N, 1, -1, F_SSE41 }, { 1, 3, 0x0d, 0, LVY | N, 1, -1, F_SSE41 },
	{ 1, 3, 0x0e, 0, LVY | N, 1, -1, F_SSE41 }, { 1, 3, 0x0f, 0, L | M | VY | N | E, 1, -1, F_SSSE3 },
	{ 1, 3, 0x14, 1, LV | E | NK | U | X, 1, -1, F_SSE41 }, { 1, 3, 0x15, 2, LV | E | NK | U | X, 1, -1, F_SSE41 },
	{ 1, 3, 0x16, 4, LV | E | NK | WR | U | X, 1, -1, F_SSE41 }, { 1, 3, 0x17, 4, LV | E | NK | U | X, 1, -1, F_SSE41 },
	{ 1, 3, 0x20, 1, LV | N | E | NK | U | X, 1, -1, F_SSE41 }, { 1, 3, 0x21, 4, LV | N | E | NK | U | X, 1, -1, F_SSE41 },
	{ 1, 3, 0x22, 4, LV | N | E | NK | WR | U | X, 1, -1, F_SSE41 },
	{ 1, 3, 0x40, 0, LVY | N, 1, -1, F_SSE41 }, { 1, 3, 0x41, 0, LV | N, 1, -1, F_SSE41 },
	{ 1, 3, 0x42, 0, LVY | N, 1, -1, F_SSE41 }, { 1, 3, 0x44, 0, LV | N, 1, -1, F_PCLMUL },
	{ 1, 3, 0x60, 0, LV | U, 1, -1, F_SSE42 }, { 1, 3, 0x61, 0, LV | U, 1, -1, F_SSE42 },
	{ 1, 3, 0x62, 0, LV | U, 1, -1, F_SSE42 }, { 1, 3, 0x63, 0, LV | U, 1, -1, F_SSE42 },
	{ 1, 3, 0xdf, 0, LV, 1, -1, F_AES },
	{ 1, 3, 0x00, 0, Y | VW | L1 | E | W | B8, 1, -1, 0 }, { 1, 3, 0x01, 0, Y | VW | L1 | E | W | B8, 1, -1, 0 },
	{ 1, 3, 0x02, 0, VY | N, 1, -1, 0 }, { 1, 3, 0x04, 0, VY | E | B4, 1, -1, 0 },
	{ 1, 3, 0x05, 0, VY, 1, -1, 0 }, { 1, 3, 0x06, 0, Y | N | L1, 1, -1, 0 }, { 1, 3, 0x46, 0, Y | N | L1, 1, -1, 0 },
	{ 1, 3, 0x18, 16, Y | N | L1 | E, 1, -1, 0 }, { 1, 3, 0x19, 16, Y | L1 | E, 1, -1, 0 },
	{ 1, 3, 0x38, 16, Y | N | L1 | E, 1, -1, 0 }, { 1, 3, 0x39, 16, Y | L1 | E, 1, -1, 0 },
	{ 1, 3, 0x4a, 0, VY | N, 1, -1, 0 }, { 1, 3, 0x4b, 0, VY | N, 1, -1, 0 }, { 1, 3, 0x4c, 0, VY | N, 1, -1, 0 },
	{ 1, 3, 0x1d, H(1), VY | E, 1, -1, F_F16C },
	/* EVEX only */
	EV(1, 2, 0x10, W), EV(1, 2, 0x11, W), EV(1, 2, 0x12, W), EV(1, 2, 0x14, B4), EV(1, 2, 0x15, W | B8),
	EV(1, 2, 0x26, K), EV(2, 2, 0x26, K), EV(1, 2, 0x27, K | B4), EV(2, 2, 0x27, K | B4), EV(1, 2, 0x27, K | W | B8),
	{ 1, 2, 0x1f, 0, E | W | B8, 0, -1, 0 }, EV(1, 2, 0x39, W | B8), EV(1, 2, 0x3b, W | B8), EV(1, 2, 0x3d, W | B8),
	EV(1, 2, 0x3f, W | B8), EV(1, 2, 0x40, W | B8), EV(1, 2, 0x46, W | B8), EV(1, 2, 0x64, B4), EV(1, 2, 0x65, W | B8),
	EV(1, 2, 0x66, 0), EV(1, 2, 0x75, W), EV(1, 2, 0x76, B4), EV(1, 2, 0x77, W | B8), EV(1, 2, 0x7d, W),
	EV(1, 2, 0x7e, B4), EV(1, 2, 0x7f, W | B8), EV(1, 2, 0x8d, W), EV(1, 2, 0x2c, B4), EV(1, 2, 0x2c, W | B8),
	{ 1, 2, 0x88, 0, E, 0, -1, 0 }, { 1, 2, 0x89, 0, E | W, 0, -1, 0 }, { 1, 2, 0x8a, 0, E, 0, -1, 0 },
	{ 1, 2, 0x8b, 0, E | W, 0, -1, 0 }, { 1, 2, 0x42, 0, E | B4, 0, -1, 0 }, { 1, 2, 0x42, 0, E | W | B8, 0, -1, 0 },
	{ 1, 2, 0x4c, 0, E | B4, 0, -1, 0 }, { 1, 2, 0x4e, 0, E | W | B8, 0, -1, 0 },
	{ 1, 2, 0x7a, 0, E | RO, 0, -1, 0 }, { 1, 2, 0x7b, 0, E | RO, 0, -1, 0 }, { 1, 2, 0x7c, 0, E | RO | WR, 0, -1, 0 },
	{ 1, 2, 0xc4, 0, E | B4, 0, -1, 0 }, { 1, 2, 0x44, 0, E | W | B8, 0, -1, 0 },
	EVI(1, 3, 0x03, B4), EVI(1, 3, 0x03, W | B8), EVI(1, 3, 0x25, B4), EVI(1, 3, 0x25, W | B8),
	EVI(1, 3, 0x1e, K | B4), EVI(1, 3, 0x1f, K | W | B8), EVI(1, 3, 0x3e, K), EVI(1, 3, 0x3f, K | W),
	EVI(1, 3, 0x50, B4), EVI(1, 3, 0x54, W | B8), { 1, 3, 0x26, 0, E | B4, 1, -1, 0 },
	{ 1, 3, 0x56, 0, E | B4, 1, -1, 0 }, { 1, 3, 0x66, 0, E | K | B4, 1, -1, 0 },
	EVI(1, 3, 0x23, L1 | B4), EVI(1, 3, 0x43, L1 | W | B8), EVI(1, 3, 0x42, 0),
	{ 1, 3, 0x1b, 32, E | L1 | W, 1, -1, 0 }, { 1, 3, 0x3b, 32, E | L1, 1, -1, 0 },
	{ 1, 1, 0x72, 0, E | EN | RO, 1, 0, 0 }, { 1, 1, 0x72, 0, E | EN | B4, 1, 1, 0 },
	{ 1, 1, 0x72, 0, E | EN | B4, 1, 2, 0 }, { 1, 1, 0x72, 0, E | EN | W | B8, 1, 4, 0 },
	EV(1, 1, 0xdb, B4), EV(1, 1, 0xdf, W | B8), EV(1, 1, 0xeb, B4), EV(1, 1, 0xef, W | B8), EV(1, 1, 0xe2, W),
	EV(1, 1, 0x64, K), EV(1, 1, 0x66, K | B4), EV(1, 1, 0x74, K), EV(1, 1, 0x76, K | B4), EV(1, 2, 0x29, K | W | B8),
	{ 0, 1, 0x78, 0, E | B4, 0, -1, 0 }, { 1, 1, 0x7b, 0, E | W | B8, 0, -1, 0 }, { 2, 1, 0xe6, 0, E | W | B8, 0, -1, 0 },
	{ 3, 1, 0x7a, 0, E | B4, 0, -1, 0 }, DOWN(0x11, 2), DOWN(0x12, 3), DOWN(0x13, 1), DOWN(0x14, 2), DOWN(0x15, 2),
	{ 2, 2, 0x28, 0, E | RO | NK | KS | WR, 0, -1, 0 }, { 2, 2, 0x38, 0, E | RO | NK | KS | WR, 0, -1, 0 },
	{ 2, 2, 0x29, 0, E | RO | NK | K | WR, 0, -1, 0 }, { 2, 2, 0x39, 0, E | RO | NK | K | WR, 0, -1, 0 },
	{ 1, 2, 0xc4, 0, E | W | B8, 0, -1, 0 },
};

static u32 row_size(const struct row *r, u32 vlen, u8 w)
{
	u32 n = r->msz == 0 ? vlen : r->msz >= 128 ? vlen >> (r->msz - 128) : r->msz;

	return (r->fl & WR) && w && n == 4 ? 8 : n;
}

static bool in_memory(const struct row *r)
{
	return (r->fl & MO) || (!(r->fl & RO) && chance(45));
}

static void finish(struct insn *in, const struct row *r)
{
	in->imm_len = r->imm;
	in->imm = rnd();
	emit_insn(in);
}

/* What legacy and VEX forms end with: 16 registers, and reg may be RSP. */
static void finish_16(struct insn *in, const struct row *r, u32 size, u32 align)
{
	if (in_memory(r))
		pick_mem(&in->mem, size, align);
	else
		in->rm = rn(16);
	if (in->reg == 4 && chance(80))
		in->reg = 12;
	finish(in, r);
}

static void legacy(const struct row *r)
{
	static const u8 rep[] = { 0, 0, 0xf3, 0xf2 };
	struct insn in = { .modrm = true, .map = r->map, .op = r->op, .rep = rep[r->pp] };
	bool mmx = (r->fl & M) && chance(25);

	in.p66 = r->pp == 1 && !mmx;
	in.w = (r->fl & WR) && rn(2);
	if (r->ext == -2) {
		emit_bytes("\x0f\x77", 2);
		return;
	}
	in.reg = r->ext >= 0 ? r->ext : (int)rn(16);
	u32 size = row_size(r, mmx ? 8 : 16, in.w);
	finish_16(&in, r, size, size == 16 && !(r->fl & U) ? 16 : 0);
}

static void vex(const struct row *r)
{
	struct insn in = { .modrm = true, .map = r->map, .op = r->op, .vex = 1, .pp = r->pp };
	u32 can = r->fl;

	in.l = (can & L1) ? 1 : (can & Y) && (features & F_AVX2) ? rn(2) : 0;
	if ((can & Y) && !(can & V))
		in.l = 1;
	in.w = (can & WR) ? rn(2) : (can & VW) ? 1 : 0;
	if (r->ext == -2) {
		emit_bytes(in.l && chance(50) ? "\xc5\xfc\x77" : "\xc5\xf8\x77", 3);
		return;
	}
	in.reg = r->ext >= 0 ? r->ext : (int)rn(16);
	in.vvvv = (can & N) ? rn(16) : 0;
	u32 vlen = in.l ? 32 : 16;
	u32 size = row_size(r, vlen, in.w);
	finish_16(&in, r, size, (can & A) && size == vlen ? vlen : 0);
}

static void evex(const struct row *r)
{
	struct insn in = { .modrm = true, .map = r->map, .op = r->op, .vex = 2, .pp = r->pp };
	u32 can = r->fl;

	in.l = (can & L1) ? 1 + rn(2) : (can & X) ? 0 : rn(3);
	if (r->msz == 32)
		in.l = 2;
	in.w = (can & WR) ? rn(2) : (can & W) ? 1 : 0;
	in.reg = r->ext >= 0 ? r->ext : (can & K) ? (int)rn(8) : (int)rn(32);
	if ((can & NK) && (can & X) && in.reg > 15) /* a general register */
		in.reg -= 16;
	in.vvvv = (can & (N | EN)) ? rn(32) : 0;
	if (!(can & NK) && chance(60)) {
		in.aaa = rn(8);
		in.z = in.aaa && !(can & K) && chance(40);
	}
	u32 vlen = 16 << in.l;
	u32 size = row_size(r, vlen, in.w);
	if (in_memory(r)) {
		u32 bc = (can & B4) ? 4 : (can & B8) ? 8 : 0;
		if (bc && chance(35)) {
			in.b = 1;
			size = bc;
		}
		if (r->op == 0x11 || r->op == 0x29 || r->op == 0x7f || r->op == 0x1d ||
		    r->op == 0x19 || r->op == 0x39 || r->op == 0x1b || r->op == 0x3b ||
		    r->op == 0x8a || r->op == 0x8b || (r->pp == 2 && r->map == 2))
			in.z = 0; /* stores merge */
		pick_mem(&in.mem, size, (can & A) && size == vlen ? vlen : 0);
	} else {
		in.rm = (can & KS) ? (int)rn(8) : (can & NK) && (can & X) ? (int)rn(16) : (int)rn(32);
		if ((can & X) && !(can & NK) && chance(20) && r->op >= 0x51 && r->op <= 0x5e) {
			in.b = 1; /* embedded rounding */
			in.l = rn(4);
		}
	}
	finish(&in, r);
}

/* Gathers and scatters with indices made small; some of their elements lie behind the
 * data, and some of their registers are the same. */
static void gather(void)
{
	struct insn in = { .modrm = true, .map = 2, .pp = 1, .vex = 1 };
	int idx = 1 + rn(5), dst = 8 + rn(4), mask = 12 + rn(4);
	bool ev = (features & F_AVX512) && chance(50);

	bool quad = chance(40);

	/* vpsrld or vpsrlq idx, idx, 21 or 53: each index under 2048 */
	INSN(.vex = ev ? 2 : 1, .map = 1, .pp = 1, .op = quad ? 0x73 : 0x72, .modrm = true, .reg = 2, .rm = idx,
	     .vvvv = idx, .l = ev ? 2 : 1, .w = ev && quad, .imm_len = 1, .imm = quad ? 53 : 21);
	u64 at = chance(70) ? DATA_LO + rn(4000) : DATA_LO + DATA_SIZE - rn(3000);
	in.mem = (struct mem){ .on = true, .base = 6, .index = idx, .scale_log = rn(2), .vsib = 1 };
	if (chance(10)) {
		at = pick_segment(&in.mem.seg, at);
	} else if (chance(10)) {
		in.mem.a32 = true;
		at |= rnd() << 32;
	}
	emit_mov_imm(6, at);
	if (chance(6))
		dst = rn(16);
	if (chance(6))
		mask = rn(16);
	in.reg = dst;
	if (ev) {
		in.vex = 2;
		in.l = rn(3);
		in.aaa = 1 + rn(7);
		in.op = (chance(70) ? 0x90 : 0xa0) | (chance(50) ? 2 : 0) | quad;
		in.w = rn(2);
	} else {
		in.op = 0x90 | (chance(50) ? 2 : 0) | quad;
		in.w = rn(2);
		in.l = rn(2);
		in.vvvv = mask;
	}
	emit_insn(&in);
}

static void mask_ops(void)
{
	static const u8 ops[] = { 0x41, 0x42, 0x45, 0x46, 0x47, 0x4a, 0x4b };
	struct insn in = { .modrm = true, .map = 1, .vex = 1, .w = rn(2) };

	in.reg = rn(8);
	in.vvvv = rn(8);
	in.rm = rn(8);
	switch (rn(6)) {
	case 0: case 1: /* logic */
		in.op = ops[rn(7)];
		in.l = 1;
		in.pp = rn(2);
		if (in.op == 0x4b)
			in.pp = in.w ? 0 : rn(2);
		break;
	case 2: /* load, store */
		in.op = 0x90 | rn(2);
		in.vvvv = 0;
		in.pp = rn(2);
		pick_mem(&in.mem, 8, 0);
		break;
	case 3: /* to and from general registers */
		in.op = 0x92 | rn(2);
		in.vvvv = 0;
		in.pp = 3;
		if (in.op == 0x93)
			in.reg = rn(4);
		break;
	case 4: /* kortest, ktest */
		in.op = chance(50) ? 0x98 : 0x99;
		in.vvvv = 0;
		in.pp = rn(2);
		break;
	default: /* shifts */
		in.map = 3;
		in.op = 0x30 | rn(4);
		in.vvvv = 0;
		in.pp = 1;
		in.imm_len = 1;
		in.imm = rn(70);
	}
	emit_insn(&in);
}

/* Stores a constant of len bytes; returns the operand that it is. */
static struct mem store_imm(u64 at, u32 len, u64 v)
{
	INSN(.p66 = len == 2, .op = 0xc7, .modrm = true, .mem = MEM_AT(at), .imm_len = len, .imm = v);
	return MEM_AT(at);
}

static void control(void)
{
	struct insn in = { .modrm = true, .map = 1, .op = 0xae };

	if (chance(50)) { /* stmxcsr */
		in.reg = 3;
		pick_mem(&in.mem, 4, 0);
	} else { /* ldmxcsr of something mostly valid */
		u64 at = DATA_LO + rn(2000) * 4;
		u32 v = chance(80) ? 0x1f80 | (rnd() & 0xe07f) : chance(80) ? rnd() & 0xffff : (u32)rnd();
		in.reg = 2;
		in.mem = store_imm(at, 4, v);
	}
	emit_insn(&in);
}

static void maskmov(void) /* maskmovdqu, maskmovq */
{
	emit_mov_imm(7, pick_target(16, 0));
	INSN(.p66 = rn(2), .map = 1, .op = 0xf7, .modrm = true, .reg = rn(16), .rm = rn(16));
}

void gen_vector(void)
{
	u32 c = rn(100);

	if (c < 2) {
		control();
		return;
	}
	if (c < 3) {
		maskmov();
		return;
	}
	if (c < 6 && (features & F_AVX2)) {
		gather();
		return;
	}
	if (c < 11 && (features & F_AVX512)) {
		mask_ops();
		return;
	}
	for (;;) {
		const struct row *r = &rows[rn(ARRAY_SIZE(rows))];
		u32 form = rn(3);
		if (r->feat & ~features)
			continue;
		if (form == 0 && (r->fl & L)) {
			legacy(r);
			return;
		}
		if (form == 1 && (r->fl & (V | Y)) && (features & F_AVX) &&
		    ((r->fl & V) || (features & F_AVX2))) {
			vex(r);
			return;
		}
		if (form == 2 && (r->fl & E) && (features & F_AVX512)) {
			evex(r);
			return;
		}
	}
}

void gen_x87(void)
{
	struct insn in = { .modrm = true };

	for (;;) {
		in.op = 0xd8 | rn(8);
		in.reg = rn(8);
		if (chance(40)) { /* registers */
			u8 rm = rn(8);
			if (in.op == 0xdb && in.reg == 4 && rm == 3 && chance(90))
				continue; /* fninit */
			if (in.op == 0xdb && in.reg == 4 && (rm == 1 || rm == 0))
				continue;
			if (in.op == 0xdf && in.reg == 4 && rm == 0)
				rm = 0; /* fnstsw ax */
			in.rm = rm;
			emit_insn(&in);
			return;
		}
		if (in.op == 0xd9 && in.reg == 6 && !(features & F_STRICT))
			continue; /* fnstenv shows the instruction pointer */
		if (in.op == 0xdd && in.reg == 6 && !(features & F_STRICT))
			continue; /* fnsave too */
		if ((in.op == 0xd9 || in.op == 0xdd) && in.reg == 4 && chance(80))
			continue; /* fldenv, frstor of random state */
		if (in.op == 0xd9 && in.reg == 5) { /* fldcw: mostly masked */
			u64 at = DATA_LO + rn(4000) * 2;
			u64 v = chance(90) ? 0x7f | (rnd() & 0xf00) : rnd();
			in.mem = store_imm(at, 2, v);
			emit_insn(&in);
			return;
		}
		u32 size = in.op == 0xdd && in.reg == 4 ? 108 : in.op == 0xd9 && in.reg == 4 ? 28 :
			   in.op == 0xdb && (in.reg == 5 || in.reg == 7) ? 10 : 8;
		pick_mem(&in.mem, size, 0);
		emit_insn(&in);
		return;
	}
}
