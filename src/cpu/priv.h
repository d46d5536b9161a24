/* Shared by the files of src/cpu only: register and operand access, segment-checked
 * addresses, the stack, and segment descriptors.
 *
 * Every int function returns enum cpu_result: CPU_NEXT when it worked, CPU_FAULT with
 * v->exc filled when the guest gets an exception. A function that faults has changed
 * nothing architectural but memory that the real CPU may have changed too. */
#pragma once
#include <string.h>
#include "shadowbox/cpu.h"
#include "shadowbox/dev/lapic.h"
#include "shadowbox/insn.h"
#include "shadowbox/mem.h"
#include "shadowbox/vm.h"

#define TRY(expr) \
	do { \
		int try_ret_ = (expr); \
		if (unlikely(try_ret_ != CPU_NEXT)) \
			return try_ret_; \
	} while (0)

static inline struct machine *cpu_machine(void) { return &ARENA->machine; }

static inline bool is_canonical(u64 a) { return (u64)((i64)(a << 16) >> 16) == a; }
static inline bool in_64bit(const struct vcpu *v) { return cpu_code_size(v) == 64; }
static inline bool protected_mode(const struct vcpu *v) { return v->cr0 & CR0_PE; }
static inline unsigned cpu_iopl(const struct vcpu *v) { return (v->rflags >> 12) & 3; }
static inline bool rex_w(const struct insn *in) { return in->rex & 8; }
/* A mask of the low `bytes` bytes. */
static inline u64 size_mask(unsigned bytes) { return bytes >= 8 ? ~0UL : BIT(bytes * 8) - 1; }

/* --- registers and operands (operand.c) ------------------------------------------ */
/* r is 0-15; byte registers are not decoded here. 32-bit writes clear the upper half. */
static inline u64 reg_read(const struct vcpu *v, int r, unsigned size)
{
	return v->gpr[r & 15] & size_mask(size);
}
void reg_write(struct vcpu *v, int r, u64 val, unsigned size);
/* The linear address of [off, off+len) in a segment, with the segment's own checks
 * (SDM vol. 3 5.3, 5.5): #SS(0) for SS, #GP(0) for the others. */
int seg_linear(struct vcpu *v, enum seg_reg seg, u64 off, u32 len, u32 acc, gla_t *out) MUST_CHECK;
/* The memory operand of in, moved by disp bytes. */
int operand_addr(struct vcpu *v, const struct insn *in, u64 disp, u32 len, u32 acc, gla_t *out) MUST_CHECK;
int operand_read(struct vcpu *v, const struct insn *in, u64 disp, void *buf, u32 len) MUST_CHECK;
int operand_write(struct vcpu *v, const struct insn *in, const void *buf, u32 len) MUST_CHECK;
/* The r/m operand, register or memory. */
int rm_read(struct vcpu *v, const struct insn *in, u64 *val, unsigned size) MUST_CHECK;
int rm_write(struct vcpu *v, const struct insn *in, u64 val, unsigned size) MUST_CHECK;
/* May control go to off in the code segment cs? #GP(0) if not. */
int code_target_check(struct vcpu *v, const struct seg *cs, u64 off) MUST_CHECK;
static inline bool seg_is_64(const struct vcpu *v, const struct seg *cs)
{
	return cpu_long_mode(v) && (cs->attr & SEG_A_L);
}

/* --- stack (operand.c) ------------------------------------------------------------ */
/* A stack being used: committed to RSP by stack_commit() only when all has worked. */
struct stack {
	u64 sp;      /* full register value */
	u64 mask;    /* of the stack address size */
	u64 base;    /* of the stack segment, 0 in 64-bit code */
	u32 limit;
	bool checked_limit, expand_down;
	u32 acc;     /* ACC_IMPLICIT_SUPERVISOR when privilege is about to rise */
	u8 fault;    /* EXC_SS, or EXC_TS on a switch through the TSS */
	u32 error;
};
void stack_current(const struct vcpu *v, struct stack *s);
int stack_push(struct vcpu *v, struct stack *s, u64 val, unsigned size) MUST_CHECK;
int stack_pop(struct vcpu *v, struct stack *s, u64 *val, unsigned size) MUST_CHECK;
static inline void stack_adjust(struct stack *s, i64 by)
{
	s->sp = (s->sp & ~s->mask) | ((s->sp + (u64)by) & s->mask);
}
static inline void stack_commit(struct vcpu *v, const struct stack *s) { v->gpr[RSP] = s->sp; }
/* Operand size of a near stack instruction: 64-bit code knows only 2 and 8. */
static inline unsigned stack_opsize(const struct insn *in)
{
	return in->code_size == 64 ? (in->opsize == 2 ? 2 : 8) : in->opsize;
}
/* Operand size of far transfers: 32 bits unless prefixed, in 64-bit code too. */
static inline unsigned far_opsize(const struct insn *in)
{
	return rex_w(in) ? 8 : in->opsize == 2 ? 2 : 4;
}

/* --- descriptors (desc.c) --------------------------------------------------------- */
struct desc {
	u32 lo, hi;
	u32 base_hi;  /* upper half of a 16-byte system descriptor's base or offset */
	u32 reserved; /* its last dword */
	u64 addr;     /* linear address, for the accessed and busy bits */
};
enum desc_type {
	DT_LDT = 2, DT_TASK_GATE = 5, DT_TSS16 = 1, DT_TSS16_BUSY = 3, DT_CALL16 = 4,
	DT_INT16 = 6, DT_TRAP16 = 7, DT_TSS = 9, DT_TSS_BUSY = 11, DT_CALL = 12,
	DT_INT = 14, DT_TRAP = 15,
};
enum { DESC_CODE = 8, DESC_CONFORMING = 4, DESC_EXPAND_DOWN = 4, DESC_RW = 2, DESC_ACCESSED = 1 };
static inline unsigned desc_type(const struct desc *d) { return (d->hi >> 8) & 15; }
static inline bool desc_is_segment(const struct desc *d) { return d->hi & (1 << 12); }
static inline unsigned desc_dpl(const struct desc *d) { return (d->hi >> 13) & 3; }
static inline bool desc_present(const struct desc *d) { return d->hi & (1 << 15); }
static inline bool desc_long(const struct desc *d) { return d->hi & (1 << 21); }
static inline bool desc_db(const struct desc *d) { return d->hi & (1 << 22); }
static inline bool desc_is_code(const struct desc *d)
{
	return desc_is_segment(d) && (desc_type(d) & DESC_CODE);
}
static inline bool desc_is_data(const struct desc *d)
{
	return desc_is_segment(d) && !(desc_type(d) & DESC_CODE);
}
static inline bool desc_conforming(const struct desc *d)
{
	return desc_is_code(d) && (desc_type(d) & DESC_CONFORMING);
}
static inline bool desc_writable_data(const struct desc *d)
{
	return desc_is_data(d) && (desc_type(d) & DESC_RW);
}
static inline u16 sel_error(u16 sel) { return sel & 0xfffc; }
static inline bool sel_null(u16 sel) { return !(sel & 0xfffc); }
u64 desc_base(const struct desc *d);  /* 64-bit for system descriptors in long mode */
u32 desc_limit(const struct desc *d); /* in bytes */
u16 desc_attr(const struct desc *d);
void seg_from_desc(struct seg *s, u16 sel, const struct desc *d);
/* *found says whether the selector lies within its table; null selectors do not. */
int desc_find(struct vcpu *v, u16 sel, struct desc *d, bool *found) MUST_CHECK;
/* As desc_find; outside the table is fault `vector` with the selector and ext (0 or 1)
 * as error code. */
int desc_fetch(struct vcpu *v, u16 sel, u8 vector, u32 ext, struct desc *d) MUST_CHECK;
/* Reads the second half of a 16-byte system descriptor. */
int desc_fetch_upper(struct vcpu *v, u16 sel, struct desc *d) MUST_CHECK;
int desc_set_accessed(struct vcpu *v, const struct desc *d) MUST_CHECK;

/* --- segments (segload.c) --------------------------------------------------------- */
/* Checks and reads a stack segment for code that will run at privilege cpl; faults
 * with `vector` (#GP, or #TS on a stack switch) and ext in the error code. */
int ss_check(struct vcpu *v, u16 sel, unsigned cpl, u8 vector, u32 ext, struct seg *out) MUST_CHECK;
/* The null SS that 64-bit code runs with. */
struct seg ss_null(unsigned cpl);
/* After a return to an outer privilege: data segments that cpl may not use become null. */
void seg_drop_privileged(struct vcpu *v);
/* The innermost stack from the TSS: RSP0-2, or IST1-7 (64-bit TSS). */
int tss_stack64(struct vcpu *v, unsigned slot_offset, u32 ext, u64 *rsp) MUST_CHECK;
int tss_stack32(struct vcpu *v, unsigned cpl, u32 ext, u16 *ss, u32 *esp) MUST_CHECK;

/* --- exceptions (exception.c) ------------------------------------------------------ */
/* Delivers INT n, INT3, INTO (soft) or INT1 of the instruction at v->rip, ending at
 * v->next_rip, with all that may go wrong on the way. */
void deliver_software(struct vcpu *v, u8 vector, bool privileged);

/* --- flags (flags.c) ---------------------------------------------------------------- */
/* RFLAGS as POPF and IRET load them: `size` operand bytes, privilege `cpl` and IOPL
 * decide which bits change. */
void flags_load(struct vcpu *v, u64 val, unsigned size, unsigned cpl);
void flags_of_sub(struct vcpu *v, u64 a, u64 b, unsigned size);
/* IF may have become 1: an interrupt that waited for it must be looked at. */
static inline void flags_if_changed(struct vcpu *v)
{
	if (v->intr_enabled && v->irq_waiting)
		v->event_pending = 1;
}
/* The condition cc of Jcc, SETcc, CMOVcc holds. */
bool flags_condition(const struct vcpu *v, unsigned cc);

/* --- I/O permission (io.c) ------------------------------------------------------------ */
int io_check(struct vcpu *v, u16 port, unsigned size) MUST_CHECK;

/* --- CPU model (model.c) --------------------------------------------------------------- */
enum feature_word {
	FW_1_ECX, FW_1_EDX, FW_7_EBX, FW_7_ECX, FW_7_EDX, FW_7_1_EAX, FW_7_2_EDX, FW_D_1_EAX,
	FW_80000001_ECX, FW_80000001_EDX, FW_80000007_EDX, FW_80000008_EBX, FW_80000021_EAX,
	FW_80000021_ECX, FW_COUNT
};
enum cpu_vendor { VENDOR_INTEL, VENDOR_AMD, VENDOR_OTHER };
struct cpuid_leaf { u32 eax, ebx, ecx, edx; };
/* What CPUID says, but for what depends on the vCPU. Set once by cpu_model_parse(),
 * before any view is forked. */
struct cpu_model {
	enum cpu_vendor vendor;
	u32 vendor_id[3]; /* EBX, ECX, EDX of leaf 0 */
	u32 signature;    /* leaf 1 EAX */
	u32 feat[FW_COUNT];
	u64 xcr0;
	u32 phys_bits;
	u32 max_basic, max_ext;
	u32 tsc_num, tsc_den; /* leaf 0x15: TSC = crystal * num / den */
	u64 tsc_khz;
	char brand[48];
	struct cpuid_leaf cache4[8]; /* leaf 4 */
	struct cpuid_leaf leaf2, ext5, ext6;
	struct cpuid_leaf xstate[10]; /* leaf 0xD subleaves: size, offset, flags */
};
extern struct cpu_model cpu_model;
/* The crystal of leaf 0x15 also feeds the local APIC's timer. */
#define CRYSTAL_KHZ (LAPIC_TIMER_HZ / 1000)
static inline bool cpu_has(enum feature_word w, unsigned bit)
{
	return cpu_model.feat[w] >> bit & 1;
}
static inline void host_cpuid(u32 leaf, u32 sub, struct cpuid_leaf *out)
{
	__asm__ volatile("cpuid"
			 : "=a"(out->eax), "=b"(out->ebx), "=c"(out->ecx), "=d"(out->edx)
			 : "a"(leaf), "c"(sub));
}
static inline u64 host_rdtsc(void)
{
	u32 lo, hi;

	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
	return (u64)hi << 32 | lo;
}
/* How frames for code of privilege cpl are pushed: those of user code that goes there are
 * accesses of the supervisor whatever RFLAGS.AC is; from CPL < 3 they are explicit, for they
 * are no system data structures (SDM vol. 3 4.6). */
static inline u32 frame_access(const struct vcpu *v, unsigned cpl)
{
	return v->cpl == 3 && cpl < 3 ? ACC_IMPLICIT_SUPERVISOR : 0;
}
/* Bits of CR4 that this model's guests may set. */
u64 model_cr4_mask(void);
static inline u64 model_phys_mask(void) { return BIT(cpu_model.phys_bits) - 1; }

/* --- handlers of cpu_ops, by file ----------------------------------------------------- */
#define OP_HANDLERS(X) \
	/* stack.c */ \
	X(op_push) X(op_pop) X(op_pusha) X(op_popa) X(op_enter) X(op_leave) \
	/* branch.c */ \
	X(op_jmp) X(op_jcc) X(op_jrcxz) X(op_loop) X(op_call) X(op_ret) X(op_jmp_ind) X(op_call_ind) \
	/* far.c */ \
	X(op_jmp_far) X(op_call_far) X(op_ret_far) \
	/* iret.c, exception.c, syscall.c */ \
	X(op_iret) X(op_int) X(op_int3) X(op_int1) X(op_into) \
	X(op_syscall) X(op_sysret) X(op_sysenter) X(op_sysexit) \
	/* flags.c */ \
	X(op_pushf) X(op_popf) X(op_cli) X(op_sti) X(op_stac) X(op_clac) X(op_lahf) X(op_sahf) \
	/* string.c, io.c */ \
	X(op_movs) X(op_stos) X(op_lods) X(op_cmps) X(op_scas) X(op_ins) X(op_outs) X(op_in) X(op_out) \
	/* control.c */ \
	X(op_mov_cr) X(op_clts) X(op_lmsw) X(op_smsw) X(op_xgetbv) X(op_xsetbv) \
	/* debug.c */ \
	X(op_mov_dr) \
	/* sys.c */ \
	X(op_hlt) X(op_lgdt) X(op_lidt) X(op_sgdt) X(op_sidt) X(op_sldt) X(op_str) X(op_invlpg) \
	X(op_wbinvd) X(op_rdtsc) X(op_rdtscp) X(op_rdpmc) X(op_rdpid) X(op_swapgs) \
	X(op_rdfsbase) X(op_rdgsbase) X(op_wrfsbase) X(op_wrgsbase) X(op_prefetch) \
	/* msr.c, cpuid.c */ \
	X(op_rdmsr) X(op_wrmsr) X(op_cpuid) \
	/* segload.c, segquery.c */ \
	X(op_mov_to_seg) X(op_mov_from_seg) X(op_push_seg) X(op_pop_seg) X(op_load_far_ptr) \
	X(op_lldt) X(op_ltr) X(op_lar) X(op_lsl) X(op_verr) X(op_verw) X(op_arpl) \
	/* legacy.c */ \
	X(op_ascii) X(op_bound) X(op_salc)
#define X(name) int name(struct vcpu *v, const struct insn *in) MUST_CHECK;
OP_HANDLERS(X)
#undef X
