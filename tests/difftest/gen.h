/* Inside the generator: an instruction under construction, the choice of its operands,
 * and the classes of instructions. The harness sees difftest.h only. */
#pragma once
#include "difftest.h"

/* emit.c: one instruction under construction */
struct mem {
	bool on;
	int base, index, scale_log; /* -1: none; base 16: RIP */
	i64 disp;
	u8 dispsize;  /* 0, 1, 4 */
	u64 target;   /* for RIP-relative */
	u8 seg;       /* prefix byte or 0 */
	bool a32;
	u8 vsib;      /* index is a vector register */
};
struct insn {
	u8 p66, rep, lock, w, force_rex;
	u8 map;       /* 0: one byte, 1: 0F, 2: 0F38, 3: 0F3A */
	u8 op;
	bool modrm;
	int reg, rm;  /* rm unused when mem.on */
	struct mem mem;
	u8 imm_len;
	u64 imm;
	/* VEX and EVEX */
	u8 vex;       /* 0, 1: VEX, 2: EVEX */
	u8 pp, l;
	int vvvv;
	u8 aaa, z, b;
};
extern u8 *out;
void emit_begin(u8 *buf, u64 at);
void emit_bytes(const void *p, u32 n);
void emit1(u8 b);
void emit4(u32 v);
void emit8(u64 v);
void emit_insn(struct insn *in);
void emit_mov_imm(int reg, u64 v);
#define INSN(...) emit_insn(&(struct insn){ __VA_ARGS__ })
#define MEM_AT(at) ((struct mem){ .on = true, .base = -1, .index = -1, .disp = (i64)(at) })

/* Picks a memory operand of size bytes and emits what sets up its registers. */
void pick_mem(struct mem *m, u32 size, u32 align);
u64 pick_target(u32 size, u32 align);
u64 pick_segment(u8 *seg, u64 t); /* FS or GS; returns the offset of t in it */

/* gen.c: the operands of general instructions */
int pick_dst(void);
int pick_src(void);
u32 pick_size(struct insn *in, bool byte);
void pick_rm(struct insn *in, u32 size, u32 mem_pct);
void pick_imm(struct insn *in, u32 size);
void pick_lock(struct insn *in, u32 pct);
void gen_simple(void); /* one unit that neither jumps nor runs long */

/* gen_flow.c: jumps that wait for their target */
void flow_begin(void);
void flow_land(bool all);
void flow_leave(void);

/* The classes: each call emits one unit, what sets up its operands included. */
void gen_alu(void);    /* gen_int.c */
void gen_mov(void);
void gen_shift(void);
void gen_muldiv(void);
void gen_bits(void);   /* gen_bits.c */
void gen_atomic(void);
void gen_stack(void);  /* gen_stack.c */
void gen_string(void);
void gen_xlat(void);
void gen_jump(void);   /* gen_flow.c */
void gen_call(void);
void gen_rare(void);   /* gen_rare.c */
void gen_vector(void); /* gen_vec.c */
void gen_x87(void);
