/* A guest instruction, decoded: what call-out handlers and the soft-operand path
 * need. Filled by dbt/decode.c; nobody else knows the decoder library. */
#pragma once
#include "shadowbox/cpu.h"

#define REG_NONE (-1)
#define BASE_RIP 16

enum access { ACC_READ = 1, ACC_WRITE = 2, ACC_EXEC = 4, ACC_IMPLICIT_SUPERVISOR = 8 };

/* Instructions that are not simply copied: handled by emitters of the translator
 * or by call-out handlers in cpu/. OP_COPY stands for all the rest. */
#define OPS(X) \
	X(COPY) X(REFUSE) \
	/* control transfer */ \
	X(JMP) X(JCC) X(JRCXZ) X(LOOP) X(CALL) X(RET) X(JMP_IND) X(CALL_IND) \
	X(JMP_FAR) X(CALL_FAR) X(RET_FAR) X(IRET) X(INT) X(INT3) X(INT1) X(INTO) X(UD) \
	X(SYSCALL) X(SYSRET) X(SYSENTER) X(SYSEXIT) \
	/* stack */ \
	X(PUSH) X(POP) X(PUSHF) X(POPF) X(ENTER) X(LEAVE) X(PUSHA) X(POPA) X(PUSH_SEG) X(POP_SEG) \
	/* strings */ \
	X(MOVS) X(STOS) X(LODS) X(CMPS) X(SCAS) X(INS) X(OUTS) \
	/* flags, interrupts */ \
	X(CLI) X(STI) X(STAC) X(CLAC) X(HLT) X(LAHF) X(SAHF) \
	/* system */ \
	X(IN) X(OUT) X(MOV_CR) X(MOV_DR) X(CLTS) X(LMSW) X(SMSW) X(LGDT) X(LIDT) X(SGDT) X(SIDT) \
	X(LLDT) X(LTR) X(SLDT) X(STR) X(LAR) X(LSL) X(VERR) X(VERW) X(MOV_TO_SEG) X(MOV_FROM_SEG) \
	X(LOAD_FAR_PTR) X(RDMSR) X(WRMSR) X(CPUID) X(RDTSC) X(RDTSCP) X(RDPMC) X(RDPID) \
	X(SWAPGS) X(RDFSBASE) X(RDGSBASE) X(WRFSBASE) X(WRGSBASE) X(INVLPG) X(INVPCID) X(INVD) \
	X(WBINVD) X(MONITOR) X(MWAIT) X(XGETBV) X(XSETBV) X(XSAVE) X(XRSTOR) X(FXSAVE) \
	X(RDPKRU) X(WRPKRU) X(PREFETCH) X(VMCALL) \
	/* 32-bit only */ \
	X(AAA) X(DAA) X(BOUND) X(ARPL) X(SALC) \
	/* operands that the translator treats specially */ \
	X(LEA) X(NOP) X(XLAT) X(MASKMOV) X(GATHER) X(TOO_LONG)

enum op {
#define X(id) OP_##id,
	OPS(X)
#undef X
	OP_COUNT
};

struct insn {
	u16 op;         /* enum op */
	u16 cs_id;      /* decoder library's id, for traces only */
	u8 len;         /* bytes */
	u8 code_size;   /* 16, 32, 64 */
	u8 opsize;      /* effective operand size in bytes: 1, 2, 4, 8 */
	u8 addrsize;    /* effective address size in bytes: 2, 4, 8 */
	u8 rep;         /* 0, 0xf2 or 0xf3 as a prefix byte present */
	u8 lock;
	u8 seg;         /* enum seg_reg of the memory operand, override applied */
	u8 seg_override;/* a segment override prefix is present */
	u8 has_modrm, has_mem;
	i8 reg;         /* ModRM.reg with REX.R / VEX.R' */
	i8 rm;          /* ModRM.rm register with REX.B when !has_mem, else REG_NONE */
	i8 base, index; /* memory operand; REG_NONE, 0-15, base may be BASE_RIP */
	u8 scale;       /* 1, 2, 4, 8 */
	u8 vsib;        /* index is a vector register (gather, scatter) */
	u8 mem_size;    /* bytes touched by the memory operand, 0 unknown */
	u8 mem_access;  /* ACC_READ | ACC_WRITE */
	u8 cond;        /* condition code 0-15 for JCC; 0-3 for LOOP kinds / JCXZ */
	u8 rex, map, opcode, modrm; /* raw parts; map: 0 one-byte, 1 0F, 2 0F38, 3 0F3A */
	u8 vex;         /* 0 legacy, 2/3 VEX length, 4 EVEX */
	u8 vvvv;        /* VEX/EVEX second source register number, 0 when legacy */
	u8 moffs;       /* A0-A3: absolute address operand without ModRM */
	u8 high8;       /* names AH, CH, DH or BH: a REX prefix would change its meaning */
	u8 rsp_read, rsp_written; /* RSP is an explicit register operand */
	u8 bit_string;  /* BT family with a register offset: the operand is a bit string in memory */
	u8 fpu;         /* x87, MMX, SSE or AVX: #NM when CR0.TS or CR0.EM */
	i32 disp_len;
	i64 disp;
	i64 imm;        /* immediate or branch displacement target (absolute, for branches) */
	i64 imm2;       /* ENTER level, far selector */
	/* layout within bytes, for re-encoding */
	u8 off_prefix_end; /* first byte after legacy prefixes (REX/VEX/EVEX or opcode) */
	u8 off_opcode;     /* the last opcode byte */
	u8 off_modrm;
	u8 off_imm;
	u8 imm_len;
	u8 bytes[15];
};

/* Handlers of call-out instructions: cpu/ops_*.c fills the table, an empty row means
 * #UD. On entry v->rip is the instruction, v->next_rip the following one. */
typedef int (*op_handler)(struct vcpu *v, const struct insn *in);
extern const op_handler cpu_ops[OP_COUNT];

/* Effective linear address of in's memory operand (segment base added, truncated to
 * the address size; RIP-relative resolved against v->next_rip). */
gla_t cpu_ea(const struct vcpu *v, const struct insn *in);
