/* The architectural state of one virtual CPU, and the operations on it.
 *
 * struct vcpu lives in the arena (HOT_VCPU_HVA in views). It is plain data: no
 * pointers, so it can be saved and versioned. While translated code runs, the
 * general registers, arithmetic flags and vector state live in host registers;
 * whenever C code sees a struct vcpu, gpr/rip/rflags are complete and exact at an
 * instruction boundary (rsp unfolded).  The vector state is live in the host
 * registers while C code of the engine runs (which therefore is built with
 * -mgeneral-regs-only); it is in `xsave` only across a view switch.
 *
 * Follows: Intel SDM vol. 3 chapters 2-7, 10, 13; AMD APM vol. 2. */
#pragma once
#include "shadowbox/types.h"

enum gpr { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15 };
enum seg_reg { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS, SEG_LDTR, SEG_TR, SEG_COUNT };

enum rflags {
	FL_CF = 1 << 0, FL_PF = 1 << 2, FL_AF = 1 << 4, FL_ZF = 1 << 6, FL_SF = 1 << 7,
	FL_TF = 1 << 8, FL_IF = 1 << 9, FL_DF = 1 << 10, FL_OF = 1 << 11,
	FL_IOPL = 3 << 12, FL_NT = 1 << 14, FL_RF = 1 << 16, FL_VM = 1 << 17,
	FL_AC = 1 << 18, FL_VIF = 1 << 19, FL_VIP = 1 << 20, FL_ID = 1 << 21,
	FL_ARITH = FL_CF | FL_PF | FL_AF | FL_ZF | FL_SF | FL_OF,
	FL_HOST = FL_ARITH | FL_DF, /* the flags that are live in the host while guest code runs */
};
enum cr0_bits {
	CR0_PE = 1 << 0, CR0_MP = 1 << 1, CR0_EM = 1 << 2, CR0_TS = 1 << 3, CR0_ET = 1 << 4,
	CR0_NE = 1 << 5, CR0_WP = 1 << 16, CR0_AM = 1 << 18, CR0_NW = 1 << 29, CR0_CD = 1 << 30,
};
#define CR0_PG (1UL << 31)
enum cr4_bits {
	CR4_VME = 1 << 0, CR4_PVI = 1 << 1, CR4_TSD = 1 << 2, CR4_DE = 1 << 3, CR4_PSE = 1 << 4,
	CR4_PAE = 1 << 5, CR4_MCE = 1 << 6, CR4_PGE = 1 << 7, CR4_PCE = 1 << 8,
	CR4_OSFXSR = 1 << 9, CR4_OSXMMEXCPT = 1 << 10, CR4_UMIP = 1 << 11, CR4_LA57 = 1 << 12,
	CR4_FSGSBASE = 1 << 16, CR4_PCIDE = 1 << 17, CR4_OSXSAVE = 1 << 18, CR4_SMEP = 1 << 20,
	CR4_SMAP = 1 << 21, CR4_PKE = 1 << 22,
};
enum efer_bits { EFER_SCE = 1 << 0, EFER_LME = 1 << 8, EFER_LMA = 1 << 10, EFER_NXE = 1 << 11 };

enum exception {
	EXC_DE = 0, EXC_DB = 1, EXC_NMI = 2, EXC_BP = 3, EXC_OF = 4, EXC_BR = 5, EXC_UD = 6,
	EXC_NM = 7, EXC_DF = 8, EXC_TS = 10, EXC_NP = 11, EXC_SS = 12, EXC_GP = 13, EXC_PF = 14,
	EXC_MF = 16, EXC_AC = 17, EXC_MC = 18, EXC_XM = 19,
};
enum pf_error { PF_P = 1, PF_W = 2, PF_U = 4, PF_RSVD = 8, PF_I = 16 };

/* Hidden part of a segment register. attr holds descriptor bits 40-47 in bits 0-7
 * (type, S, DPL, P) and bits 52-55 in bits 12-15 (AVL, L, D/B, G), as in VMX's
 * access-rights format. limit is in bytes, already scaled by G. */
struct seg {
	u16 sel;
	u16 attr;
	u32 limit;
	u64 base;
};
enum seg_attr {
	SEG_A_TYPE = 0xf, SEG_A_S = 1 << 4, SEG_A_DPL_SHIFT = 5, SEG_A_P = 1 << 7,
	SEG_A_L = 1 << 13, SEG_A_DB = 1 << 14, SEG_A_G = 1 << 15,
};
struct desc_table { u64 base; u16 limit; };

/* An exception that an operation wants to raise. */
struct exc {
	u8 vector;
	bool has_error;
	bool soft;   /* INT n / INT3 / INTO: DPL check applies, RIP is that of the next instruction */
	u32 error;
	u64 cr2;     /* for EXC_PF */
};

/* Vector and x87 state area, standard (non-compacted) XSAVE format. */
#define XSAVE_AREA_SIZE 4096

enum { SHADOW_NONE, SHADOW_STI, SHADOW_SS }; /* SHADOW_SS: traps of RFLAGS.TF wait as well */

struct vcpu {
	/* Registers saved and loaded by the assembly in sandbox/entry.S; offsets are
	 * generated, but keep these first: short displacements. */
	u64 gpr[16];
	u64 rip;
	u64 rflags; /* without IF, which is intr_enabled; bit 1 always set */
	u64 host_rsp;   /* engine stack while guest code runs */
	u64 gate;       /* set just before a way through a gate of entry.S, which clears it */
	u64 exit_user;  /* the exit came by the stub of user code */
	u64 enter_pkru;
	u64 enter_rsp;  /* RSP to load: folded for kernel-high code */
	u64 enter_flags; /* host flags to load, TF included when stepping */
	u64 exit_flags; /* host flags at the exit */
	u64 exit_id;    /* what left translated code: see dbt.h */
	u8 intr_enabled; /* RFLAGS.IF */
	u8 pad0[7];
	u64 event_pending; /* non-zero: the engine must look (interrupt, NMI, timer, input, stop) */
	u64 shadow_rip; /* RIP under the interrupt shadow when guest code was entered, ~0 none */
	u64 irq_waiting; /* an interrupt is pending but masked by IF or the shadow */
	u64 insn_done;  /* the last exit ended an instruction (for RFLAGS.TF) */
	u64 in_guest;   /* set while translated code runs in a view */

	/* Segments, tables, control. */
	struct seg seg[SEG_COUNT];
	struct desc_table gdtr, idtr;
	u64 cr0, cr2, cr3, cr4;
	u64 efer;
	u64 dr[8];
	u64 xcr0;
	u8 cpl;
	u8 intr_shadow;  /* the next instruction runs before any interrupt: SHADOW_STI, SHADOW_SS */
	u8 nmi_blocked;
	u8 nmi_pending;
	u8 halted;
	u8 shutdown;     /* triple fault */
	u8 id;
	u8 pad1;
	u8 break_code, break_data, break_io; /* armed breakpoints by kind: bit n is DRn (debug.c) */
	u8 break_hits; /* met by the instruction that runs */
	u8 pad2[4];

	/* MSRs. */
	u64 star, lstar, cstar, sfmask, kernel_gs_base, tsc_aux, pat;
	u64 sysenter_cs, sysenter_esp, sysenter_eip;
	u64 misc_enable, tsc_adjust, tsc_offset; /* guest TSC = host TSC + tsc_offset */
	u64 mtrr_def_type, mtrr_fixed[11], mtrr_phys[16];
	u64 spec_ctrl, debugctl, bios_sign_id;

	struct exc exc; /* filled when an operation returns CPU_FAULT */
	u64 next_rip;   /* RIP after the instruction being handled */

	u64 counters[64];
	u8 xsave[XSAVE_AREA_SIZE] __attribute__((aligned(64)));
};

static inline u64 cpu_rflags(const struct vcpu *v)
{
	return v->rflags | (v->intr_enabled ? FL_IF : 0) | 2;
}
static inline void cpu_set_rflags(struct vcpu *v, u64 fl)
{
	v->rflags = (fl & ~(u64)FL_IF) | 2;
	v->intr_enabled = (fl & FL_IF) != 0;
}
static inline bool cpu_long_mode(const struct vcpu *v) { return v->efer & EFER_LMA; }
static inline bool cpu_paging(const struct vcpu *v) { return v->cr0 & CR0_PG; }
/* 16, 32 or 64: the size of the code that CS selects. */
static inline int cpu_code_size(const struct vcpu *v)
{
	if (cpu_long_mode(v) && (v->seg[SEG_CS].attr & SEG_A_L))
		return 64;
	return (v->seg[SEG_CS].attr & SEG_A_DB) ? 32 : 16;
}

/* Result of an operation on the CPU. */
enum cpu_result {
	CPU_NEXT,  /* done; continue at v->next_rip */
	CPU_JUMP,  /* done; the operation has set v->rip (and perhaps mode and CPL) */
	CPU_FAULT, /* nothing architectural changed but what the manual says; v->exc is filled */
	CPU_AGAIN, /* restart the same instruction (REP string interrupted between iterations) */
};

/* Fill v->exc and return CPU_FAULT. */
int cpu_fault(struct vcpu *v, u8 vector);
int cpu_fault_err(struct vcpu *v, u8 vector, u32 error);
int cpu_fault_page(struct vcpu *v, gla_t addr, u32 error);
/* #NM if CR0.TS or CR0.EM keep the x87 and vector units from being used. */
int cpu_check_fpu(struct vcpu *v) MUST_CHECK;

/* Deliver v->exc / a hardware interrupt through the IDT. v->rip must be the
 * instruction to restart (faults) or the next one (traps, soft, interrupts).
 * Nested faults become #DF, then shutdown (v->shutdown set). Handles 64-bit (IST,
 * TSS RSP0, 16-byte gates) and 32-bit protected mode gates. */
void cpu_deliver_exception(struct vcpu *v);
void cpu_deliver_interrupt(struct vcpu *v, u8 vector);
void cpu_deliver_nmi(struct vcpu *v);

/* Breakpoints (debug.c): the masks of struct vcpu say whether any is armed. Accesses are noted as
 * hits, the engine traps behind the instruction. */
void cpu_note_access(struct vcpu *v, u64 a, u32 len, bool write);
void cpu_note_io(struct vcpu *v, u16 port, u32 len);
/* Code cannot run as ever: some on code or data are armed. */
static inline bool cpu_breakpoints_armed(const struct vcpu *v) { return v->break_code | v->break_data; }
bool cpu_page_is_watched(const struct vcpu *v, u64 a);
bool cpu_breakpoint_is_near(const struct vcpu *v);
bool cpu_breakpoint_at_rip(struct vcpu *v);

/* Power-on state (SDM vol. 3 table 9-1) and the 64-bit boot protocol's. */
void cpu_reset(struct vcpu *v);

/* Loads a segment register in protected or long mode with all checks (SDM vol. 2 MOV,
 * vol. 3 5.4-5.8). CS is not allowed here. */
int cpu_load_seg(struct vcpu *v, enum seg_reg reg, u16 sel);

/* CS, SS and CPL as 64-bit SYSCALL (cpl 0) or SYSRET (3) sets them from IA32_STAR. */
static inline u16 syscall_cs(u64 star, unsigned cpl) { return (u16)(cpl ? ((star >> 48) + 16) | 3 : (star >> 32) & ~3UL); }
static inline u16 syscall_ss(u64 star, unsigned cpl) { return (u16)(cpl ? ((star >> 48) + 8) | 3 : (star >> 32) + 8); }
void cpu_load_syscall_segments(struct vcpu *v, unsigned cpl);

/* Would a return to CPL 3 leave the data segment registers as they are? */
bool cpu_segments_outlive_cpl0(const struct vcpu *v);

int cpu_rdmsr(struct vcpu *v, u32 msr, u64 *val) MUST_CHECK;
int cpu_wrmsr(struct vcpu *v, u32 msr, u64 val) MUST_CHECK;
void cpu_cpuid(struct vcpu *v, u32 leaf, u32 subleaf, u32 out[4]);

/* CPU model, chosen once at start from -cpu. Returns 0, or -EINVAL with a message in
 * err: unknown model, unknown feature name, feature that the host lacks. */
struct cpu_model;
int cpu_model_parse(const char *spec, char *err, size_t errlen) MUST_CHECK;
/* Prints model names, one a line (-cpu help). */
void cpu_model_list(void (*print)(const char *line));
bool cpu_offers_smap(void); /* and so STAC and CLAC */
u64 cpu_model_xcr0(void); /* XCR0 bits that guests may set */
u64 cpu_tsc_khz(void);    /* host TSC frequency, measured or from CPUID 0x15 */

/* Called when CR0, CR3, CR4 or EFER changes what addresses mean; implemented by
 * shadow/. `flush_global` says that global translations go too. */
void mmu_cr3_written(struct vcpu *v);
void mmu_mode_changed(struct vcpu *v, bool flush_global);
void mmu_invlpg(struct vcpu *v, gla_t addr);
void mmu_flush_all(struct vcpu *v);
