/* The view's side of the ptrace trap transport (trap.h): completes a frame and runs the
 * handler that signals have.
 *
 * A tracer is told less than a signal handler: neither the trap's number nor the error
 * code of a page fault. The number follows from the signal, whether a page fault was a write
 * from the instruction (dbt/access.c). */
#define _GNU_SOURCE
#include "shadowbox/access.h"
#include "shadowbox/counters.h"
#include "trap.h"

void view_signal(int sig, siginfo_t *si, ucontext_t *uc);
bool view_trap(struct trap_frame *f);
extern const u8 engine_landing[], engine_landing_plain[];

#define XSTATE_BV 512 /* in an XSAVE area */

static u32 error_code(const siginfo_t *si, const greg_t *g)
{
	const struct access_regs regs = {
		.pc = g[REG_RIP], .rsp = g[REG_RSP], .rbp = g[REG_RBP], .rsi = g[REG_RSI], .rdi = g[REG_RDI],
		.code_size = (g[REG_CSGSFS] & 0xffff) == 0x23 ? 32 : 64,
	};

	return access_error_code(&regs, (u64)si->si_addr, si->si_code == SEGV_ACCERR);
}

static unsigned trap_number(const siginfo_t *si, const greg_t *g)
{
	switch (si->si_signo) {
	case SIGSEGV:
		if (si->si_code != SI_KERNEL)
			return EXC_PF;
		return (g[REG_EFL] & FL_RF) ? EXC_GP : EXC_OF; /* a fault, or behind INT 4 */
	case SIGBUS:
		return si->si_code == SI_KERNEL ? EXC_SS : si->si_code == BUS_ADRALN ? EXC_AC : EXC_PF;
	case SIGFPE:
		if (si->si_code == FPE_INTDIV)
			return EXC_DE;
		return access_faults_x87(g[REG_RIP]) ? EXC_MF : EXC_XM;
	case SIGILL:
		return EXC_UD;
	case SIGTRAP:
		return si->si_code == SI_KERNEL ? EXC_BP : EXC_DB;
	}
	return 0;
}

/* PKRU, where a signal frame has it. */
static void store_rights(struct trap_frame *f, ucontext_t *uc)
{
	uc->uc_mcontext.fpregs = (void *)f->fp;
	*(u64 *)(f->fp + XSTATE_BV) = ARENA->host.pkeys ? BIT(9) : 0;
	if (ARENA->host.pkeys)
		*(u32 *)(f->fp + ARENA->host.pkru_offset) = f->rights;
}

/* True if the context goes to the engine, which the view can do by itself. */
bool view_trap(struct trap_frame *f)
{
	ucontext_t *uc = (ucontext_t *)f->uc;
	greg_t *g = uc->uc_mcontext.gregs;
	struct vcpu *v = VCPU;
	bool lands;

	v->counters[CTR_TRAP_TRACER]++;
	store_rights(f, uc);
	g[REG_TRAPNO] = trap_number(&f->si, g);
	g[REG_CR2] = g[REG_ERR] = 0;
	if (g[REG_TRAPNO] == EXC_PF) {
		g[REG_CR2] = (u64)f->si.si_addr;
		g[REG_ERR] = error_code(&f->si, g);
	}
	view_signal(f->si.si_signo, &f->si, uc);
	lands = g[REG_RIP] == (i64)engine_landing || g[REG_RIP] == (i64)engine_landing_plain;
	v->counters[CTR_TRAP_BACK] += !lands;
	return lands;
}
