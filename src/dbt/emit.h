/* Emitting host code: a cursor into the code cache, primitive encoders, re-encoding of
 * guest instructions with other operands, and the common stubs. */
#pragma once
#include "cache.h"

struct emit {
	u32 off, end;  /* code cache offset of the next byte, and of what must not be reached */
	struct block *b;
	u32 block;     /* its index */
	bool overflow;
	/* What the current mark says; changes are recorded by emit_mark. */
	u16 goff;
	u16 spilled;
	u8 flags;
	u16 shadow_goff; /* the boundary here follows STI; 0 none */
};

void emit_u8(struct emit *e, u8 b);
void emit_u32(struct emit *e, u32 v);
void emit_u64(struct emit *e, u64 v);
void emit_bytes(struct emit *e, const void *p, unsigned n);
#define EMIT(e, ...) \
	do { \
		static const u8 bytes_[] = { __VA_ARGS__ }; \
		emit_bytes(e, bytes_, sizeof(bytes_)); \
	} while (0)

/* Records that from here on the host PC means this (cache.h, struct mark). */
void emit_mark(struct emit *e, enum mark_kind kind);

void emit_store_abs(struct emit *e, unsigned reg, u64 addr); /* mov [rip+..], reg (64-bit) */
void emit_load_abs(struct emit *e, unsigned reg, u64 addr);
void emit_load16_abs(struct emit *e, unsigned reg, u64 addr); /* its low half word alone */
void emit_lea_abs(struct emit *e, unsigned reg, u64 addr);
void emit_sub_abs(struct emit *e, unsigned reg, u64 addr);   /* these two change flags */
void emit_cmp_abs(struct emit *e, unsigned reg, u64 addr);
void emit_store_imm(struct emit *e, u64 addr, i32 imm);      /* mov qword [rip+..], simm32 */
void emit_cmp_zero(struct emit *e, u64 addr);                /* cmp qword [rip+..], 0 */
void emit_mov_imm(struct emit *e, unsigned reg, u64 val);    /* shortest form, no flags */
void emit_lea_sum(struct emit *e, unsigned dst, unsigned a, unsigned b, i32 disp); /* dst = a + b + disp */
/* WRPKRU; clobbers RAX, RCX, RDX, changes no flags. Nothing on a host without keys.
 * Whoever jumps at it (entry.S, gates) must gain nothing. GATE_VALUE: whoever comes here gets
 * `rights` and no others, and the code that follows is right for anyone. GATE_SLOT: only
 * kernel code, which can write its slots, passes. */
enum gate { GATE_VALUE, GATE_SLOT };
void emit_wrpkru(struct emit *e, u32 rights, enum gate gate);
void emit_select(struct emit *e, u8 value); /* the system call selector; where user code may run as it is */
/* Do the bytes from `start` to the next one to be emitted give rights anywhere but at the
 * gates emitted since emit_gates_begin? */
void emit_gates_begin(void);
bool emit_gives_rights(const struct emit *e, u32 start);
bool code_gives_rights(const u8 *p); /* WRPKRU, XRSTOR */
void emit_spill(struct emit *e, unsigned reg);
void emit_unspill(struct emit *e, unsigned reg);
u32 emit_jmp(struct emit *e, u32 target); /* returns the offset of rel32 */
u32 emit_jcc(struct emit *e, u8 cond);    /* forward: returns the offset of rel32, to be patched */
void emit_jmp_slot(struct emit *e, u8 flavour); /* jmp [target slot] */
void emit_patch_here(struct emit *e, u32 rel32_at);
u32 emit_jrcxz(struct emit *e);           /* forward, over 127 bytes at most: for emit_patch8_here */
void emit_patch8_here(struct emit *e, u32 jump_end);

static inline bool is_segment_prefix(u8 p) { return (p & 0xe7) == 0x26 || p == 0x64 || p == 0x65; }

enum mem_form { MEM_KEEP, MEM_BASE, MEM_ABS32, MEM_NONE };
struct reenc {
	u8 seg;        /* prefix byte 0x64/0x65, 0 none */
	u8 form;       /* enum mem_form */
	u8 base;       /* MEM_BASE: the register that holds the address */
	i8 rsp_repl;   /* register that stands in for RSP as a value, REG_NONE */
	i8 load_to;    /* emit `mov load_to, [mem]` instead of the instruction, REG_NONE */
	i32 abs;       /* MEM_ABS32 */
};
void emit_reencoded(struct emit *e, const struct insn *in, const struct reenc *r);
/* lea to, [the operand as it is written]; not RIP-relative. 32-bit addresses are cut. */
void emit_lea_operand(struct emit *e, const struct insn *in, unsigned to);
/* A register that the instruction does not name, not in `taken`. */
unsigned scratch_pick(const struct insn *in, u16 taken);
