/* Between translate.c, which translates a block, and the files that hold the translations
 * of single instructions. */
#pragma once
#include "emit.h"

#define BLOCK_INSNS 64 /* most guest instructions in a block */

struct pending_soft {
	struct insn in;
	u32 exit, back; /* exit record; where to go on afterwards */
	u16 goff;
	u8 reg, reg2;
};

/* A lookup in the quick TLB jumps away (rel32 at `at`), to leave by `exit`. */
struct miss { u32 at, exit; u16 goff, spilled; };

struct tr {
	struct emit e;
	struct block *b;
	struct vcpu *v;
	struct insn in;
	u64 rip, next_rip, fold;
	u64 gpa;         /* of the instruction */
	bool end, all_soft;
	bool apart;      /* a byte between instructions, so that two do not make up a third */
	bool last;       /* the block ends behind this instruction in any case */
	bool gs_late;    /* kernel-high: FS.base is not yet what slots.gs_host says */
	unsigned n_pending;
	struct pending_soft pending[BLOCK_INSNS];
	unsigned n_miss;
	struct miss miss[4 * BLOCK_INSNS];
};

static inline bool khigh(const struct tr *t) { return t->b->flavour == FLAVOUR_KHIGH; }

/* Addresses of what is in the slots of kernel and user code (cache.h). */
#define K(field) (HOT_SLOTS_K_HVA + offsetof(struct slots, field))
#define U(field) (HOT_SLOTS_U_HVA + offsetof(struct slots, field))
#define UR(r) spill_slot(FLAVOUR_USER, r)
#define KR(r) spill_slot(FLAVOUR_KHIGH, r)

static inline void spill(struct emit *e, unsigned reg)
{
	emit_spill(e, reg);
	emit_mark(e, MARK_RESTART);
}

u32 new_exit(struct tr *t, enum exit_kind kind);
/* At an instruction's boundary: an exit to its call-out. */
u32 callout_exit(struct tr *t);
u32 keep_insn(struct tr *t); /* for its exit record */
u64 rip_target(const struct tr *t); /* what a RIP-relative operand addresses */
/* Leaves through exit `id`. The caller has marked the first byte. */
void emit_exit(struct tr *t, u32 id);
void emit_exit_as(struct tr *t, u32 id, u8 flavour); /* in the state of that flavour's code */
/* Leaves for cpu_ops[]; resume: the block goes on behind it. */
void callout(struct tr *t, bool resume);

/* operand.c */
bool is_soft(const struct tr *t); /* its memory operand must be */
void emit_soft(struct tr *t);
void finish_soft(struct tr *t, struct pending_soft *p); /* at the block's end */
bool khigh_direct(const struct insn *in); /* can kernel-high code run it as gs:[...] or [rsp...]? */
/* The instruction with its memory operand as this flavour addresses it. load_to: see
 * struct reenc; that register is then free to hold the address. The instruction's own
 * mark has been set by the caller; returns with spills undone and marked. */
void emit_direct(struct tr *t, i8 load_to, i8 rsp_repl);
void rsp_value(struct tr *t); /* an instruction of kernel-high code that uses RSP as a value */
void translate_lea(struct tr *t);

/* branch.c: the stack, and control transfer, which ends the block. */
/* The code at a branch's target side. patch_off is the rel32 that jumps here and that a
 * chain redirects; 0: emit a jump of our own (marked `kind`). */
void branch_to(struct tr *t, u64 target, u32 patch_off, enum mark_kind kind);
void translate_jmp(struct tr *t);
void translate_push_pop(struct tr *t);
void translate_leave(struct tr *t);
void translate_call(struct tr *t);
void translate_ret(struct tr *t);
void translate_indirect(struct tr *t);
void translate_jcc(struct tr *t);
void translate_loop(struct tr *t);

/* low.c: an access of kernel-high code to the low half or, if `both`, to either, before the
 * soft operand that stands in for it. Returns how many rel32 in `over` jump over that one;
 * 0: nothing emitted. */
unsigned translate_low(struct tr *t, bool both, u32 over[2]);

/* quick.c: soft operands by the quick TLB. False: nothing emitted, C must do it. */
/* The operand's pointer in reg, which is spilled; else it leaves by `exit`. */
bool quick_operand(struct tr *t, unsigned reg, u32 exit);
/* All of the instruction. */
bool quick_push(struct tr *t);
bool quick_pop(struct tr *t);
bool quick_leave(struct tr *t);
/* All but the branch: quick_ret, quick_indirect have spilled RAX and put the target there. */
bool quick_call(struct tr *t);
bool quick_ret(struct tr *t, i32 drop);
bool quick_indirect(struct tr *t, bool call);
void quick_finish(struct tr *t); /* what misses do, at the block's end */

/* system.c: privileged instructions in line. False: nothing emitted, call out. */
bool translate_system(struct tr *t);
/* At an instruction's boundary: loads FS.base if that has been put off. */
void sync_gs(struct tr *t);
void translate_pop_rsp(struct tr *t);
/* The instruction is done: what follows is at the next boundary, but for these registers
 * (b: or -1). */
void unspill_done(struct tr *t, unsigned a, int b);
