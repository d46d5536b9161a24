/* Between the engine loop (engine.c), the exits (exits.c), the fault handler (fault.c) and
 * entry.S. All of it is private to one view process but what lies in the vCPU. */
#pragma once
#include "cache.h"

/* What a soft operand needs after its instruction has run. */
enum soft_after { SOFT_AFTER_NONE, SOFT_AFTER_TRACE, SOFT_AFTER_MMIO, SOFT_AFTER_BOUNCE };

/* A soft operand that cannot be resolved, while the processor is asked what that means. */
struct trial {
	bool on;
	bool have[2];            /* which of the operand's pages are there, in the bounce buffer */
	const struct insn *in;
	u32 exit, len;
	u64 ea;
	i64 offset;              /* of the operand from the address in the pointer register */
	u64 at;                  /* host address of the operand */
	u64 cr2;                 /* of the host's page fault */
	struct exc exc;          /* what resolving it found */
};

struct engine {
	unsigned slot;
	u64 host_fs;
	u64 cur_fs, cur_gs;      /* what the registers hold now */
	u32 pkru[4];             /* by flavour */
	u32 pkru_closed;         /* kernel-low code in MODE_CLOSED */
	u32 pkru_low;            /* kernel-high code while it accesses the low half */
	u32 pkru_inside[4];      /* while a soft operand's pointer is in use */
	u64 slots_cr3;           /* whose user registers this view's user slots may hold */
	u64 armed;               /* deadline that this view's host timer is armed for */
	u64 fold;
	bool use_soft;           /* no mapping could serve: soft operands for one run */
	bool single;             /* the next instruction runs translated and alone */
	u64 resume_pc;           /* EXIT_ID_RESUME: host PC */
	u64 exec_fault;          /* EXIT_ID_EXEC: the address that cannot be executed */
	bool soft_once;          /* the next instruction shall be soft, for this time (adaptive=off) */
	bool stepping;           /* TF is set in the host context, see fault.c */
	unsigned steps;          /* taken since the last asynchronous signal */
	u64 passed;              /* RIP of an instruction whose code breakpoint RFLAGS.RF has let pass, ~0 none */
	unsigned boundaries;     /* instruction boundaries seen since stepping began */
	u8 flavour;              /* of the code that was entered; after an exit, of what left */
	u8 doing;                /* enum profile_kind */
	enum soft_after after;
	struct trace_write tw;
	u64 bounce_ea;
	u32 bounce_len;
	gpa_t mmio;
	void *bounce;
	struct trial trial;
};
extern struct engine engine;

void cpu_dump_registers(const struct vcpu *v); /* dump.c: the general ones, RIP and flags */

/* context.c: between struct vcpu and what translated code holds. */
void context_load(struct vcpu *v, u8 flavour, u64 host_pc);
void context_store(struct vcpu *v);
/* FS.base of kernel code whose GS.base cannot be folded: operands that use it hit an unmapped
 * part of the zone, fault, and become soft. */
#define FS_POISON (CODE_RW_HVA + 0x80000000UL)
void context_stored(struct vcpu *v); /* follows what translated code has written to page tables */
void context_host_fs(void); /* libc's FS.base, for library code */
bool context_kernel_ac(void); /* RFLAGS.AC while kernel-high code runs */
/* User code from which SYSCALL may be taken in line (MODE_FAST). */
bool context_fast_user(const struct vcpu *v);

/* entry.S: loads the guest state of v and runs; returns when something left for the
 * engine, with v->exit_id and the guest's registers stored. */
void engine_enter(struct vcpu *v, u64 tail);
void engine_enter_inside(struct vcpu *v, u64 tail);
extern const u8 engine_enter_begin[], engine_enter_end[], engine_landing[], engine_landing_plain[];
extern const u8 engine_xrstor_insn[], engine_xrstor_fixup[], gate_refused[];

/* GO_RESUME: at a boundary, go on at *host_pc; GO_INSIDE: in the middle of an
 * instruction whose soft operand is ready, enter at *host_pc at once. */
enum after_exit { GO_DISPATCH, GO_RESUME, GO_INSIDE };
/* PKRU of each kind of code, from the keys that the host gave. */
void engine_rights_init(void);

/* native.c: user code that runs as it is. */
size_t native_init(void *base, size_t room); /* its table at base; bytes used */
void native_written(u64 page); /* bytes of the page change */
void native_seen(const struct insn *in, u64 gpa); /* user code has this instruction there */
void native_forget(u64 page);  /* it will no longer be traced, if it does not run natively */
bool native_allowed(const struct vcpu *v);
bool native_after_sysret(const struct vcpu *v); /* the same of what SYSRET in line leads to */
/* Makes the page of address a executable here if its code may run. */
bool native_map(struct vcpu *v, u64 a);
/* Native code has come to a page that is translated: if that happens often, the one or the
 * other page is better left to the translator too. */
void native_left(struct vcpu *v);
/* Native code is entered at RIP: is it what was looked for? */
bool native_hunted(struct vcpu *v);
/* User code at RIP is interrupted. */
void native_tick(struct vcpu *v);
void native_special(struct vcpu *v); /* does the instruction at RIP, or has it run translated */
int native_syscall(struct vcpu *v);

struct ucontext_t;
bool fault_runs_native(const struct ucontext_t *uc); /* interrupted: user code as it is? */

u32 soft_operand_size(const struct insn *in); /* bytes that it touches */
/* Handles the exit recorded in v->exit_id. */
enum after_exit exit_handle(struct vcpu *v, u64 *host_pc);
/* The block at v->rip, translated if need be; mode: engine_mode(), perhaps with MODE_STEP or
 * MODE_LATE_GS. 0: an exception has been delivered instead. */
u32 engine_find_block(struct vcpu *v, u8 mode);
/* To be called during a translation before library code is. */
void engine_use_library(void);
u8 engine_flavour(const struct vcpu *v);
u8 engine_mode(const struct vcpu *v);
u32 engine_rights(u8 flavour, u8 mode); /* PKRU of such code */

void fpu_save(void *area);
void fpu_restore(const void *area);
/* trial.c. begin: v->exc says why the operand at ea cannot be resolved. True: go inside at
 * *pc; false: deliver v->exc. */
bool trial_begin(struct vcpu *v, u32 exit, gla_t ea, i64 offset, u32 len, u64 *pc);
bool trial_fault(struct vcpu *v, u64 *pc); /* EXIT_ID_TRIAL: the same choice */
void trial_exception(struct vcpu *v);     /* the processor raised v->exc */
void trial_end(struct vcpu *v);            /* the instruction ran to its end */
bool trial_covers(u64 hva);                /* is a page fault there the answer? */

int gather_scatter(struct vcpu *v, const struct insn *in);
u32 xsave_offset(unsigned component); /* in the standard format; 2 and up */
int xsave_family(struct vcpu *v, const struct insn *in); /* XSAVE, XSAVEC, XSAVEOPT, XRSTOR */
int fpu_xrstor(const void *area, u64 mask); /* entry.S; -1: #GP */
void cpu_dump(const struct vcpu *v);
enum flight_kind { FLIGHT_EXCEPTION = 1, FLIGHT_INTERRUPT, FLIGHT_CALLOUT, FLIGHT_FILL, FLIGHT_SOFTEN };
void flight_record(u32 kind, u32 arg, u64 rip, u64 a, u64 b);
