/* Shared between the harness, the generator and the assembly of the differential test.
 *
 * Everything lies at fixed addresses, so that a run is a pure function of the seed. The
 * two windows on the data pages are mappings of one file: stores through one must be
 * seen through the other. */
#pragma once

#define DATA_LO 0x20010000
#define DATA_HI 0x123456780000
#define DATA_SIZE 0x2000
#define RO_PAGE 0x20020000
#define NONE_PAGE 0x20030000
#define HOLE 0x20040000
#define STACK_BASE 0x30010000
#define STACK_SIZE 0x2000
#define CODE_BASE 0x40000000
#define CODE_SLOT 0x3000 /* two pages of code and a hole */
#define CODE_ROOM 0x2000
#define CODE_SLOTS 32
#define CTL_BASE 0x50000000
#define FS_BASE 0x20010fc0
#define GS_BASE 0x1234567807f0

/* Offsets in struct ctl, for the assembly; checked in difftest.c. */
#define CTL_IN CTL_BASE
#define CTL_OUT (CTL_BASE + 0x1000)
#define CTL_MISC (CTL_BASE + 0x2000)
#define ST_GPR 0
#define ST_FLAGS 128
#define ST_MXCSR 136
#define ST_FPU 144
#define ST_K 256
#define ST_ZMM 320
#define CTL_ENTRY CTL_MISC
#define CTL_EXIT (CTL_MISC + 8)
#define CTL_HOST_RSP (CTL_MISC + 16)
#define CTL_FUEL (CTL_MISC + 24)
#define CTL_FEAT (CTL_MISC + 32)

/* Features: what the generator may use; printed, and settable with -features. */
#define F_SSE3 0x1
#define F_SSSE3 0x2
#define F_SSE41 0x4
#define F_SSE42 0x8
#define F_AVX 0x10
#define F_AVX2 0x20
#define F_FMA 0x40
#define F_F16C 0x80
#define F_BMI1 0x100
#define F_BMI2 0x200
#define F_ADX 0x400
#define F_MOVBE 0x800
#define F_POPCNT 0x1000
#define F_LZCNT 0x2000
#define F_AES 0x4000
#define F_PCLMUL 0x8000
#define F_CX16 0x10000
#define F_FSGSBASE 0x20000
#define F_AVX512 0x40000 /* F, BW, DQ, VL and CD together */
#define F_VNNI 0x80000
#define F_LAHF 0x100000
#define F_CLFLUSHOPT 0x200000
/* Options that widen the test beyond what every engine has to do. */
#define F_STRICT 0x40000000 /* x87 instruction pointers, alignment checks */

#ifndef __ASSEMBLER__
#pragma GCC visibility push(hidden) /* no GOT: all is linked together */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;
typedef signed char i8;
typedef int i32;
typedef long i64;
typedef _Bool bool;
#define true 1
#define false 0
#define NULL ((void *)0)
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

struct state {
	u64 gpr[16];
	u64 rflags;
	u32 mxcsr, pad;
	u8 fpu[112]; /* FNSAVE image, 108 bytes used */
	u64 k[8];
	u8 zmm[32][64];
	/* how the sequence ended */
	u64 signo, code, addr, rip, trapno, err, cr2, efl;
};

extern u32 features;

/* gen.c: the generator, and its random source for all else that a seed decides */
void rnd_seed(u64 seed, u64 n);
u64 rnd(void);
u32 rn(u32 n);        /* 0 .. n-1 */
bool chance(u32 pct);
u64 rnd_value(void);  /* biased to interesting values */
/* Writes sequence code for address `at` into buf; returns its length. */
u32 gen_sequence(u8 *buf, u32 room, u64 at);
#endif
