/* The ptrace trap transport: what the tracer (tracer.c) and the traced view (trap_entry.S,
 * view_traps.c) agree on.
 *
 * The frame is laid out as the kernel's signal frame, so that the handlers do not know
 * which transport they serve. It lies on the view's signal stack, which is shared with the
 * tracer; the tracer writes it while the view is stopped, and reads back from it where
 * the view shall go on. `state` says whose turn it is:
 *
 *   TRAP_FREE  translated code or the engine runs; the next trap may be sent
 *   TRAP_SENT  the tracer has written the frame; the view is about to run at its entry
 *   TRAP_RUNS  the handler runs: asynchronous signals are held back, any other is fatal
 *
 * A view can write what it likes there. What the tracer takes from it are the view's own
 * next registers, which the host's kernel checks. */
#pragma once

#define TRAP_STACK_SIZE 0x20000
#define TRAP_FRAME_OFF 0x1e000 /* in the stack; the handler's own use begins below */
#define TRAP_FRAME_ADDRESS 0x76840041e000 /* VIEW_SIGSTACK_HVA + TRAP_FRAME_OFF */

#define TRAP_FREE 0
#define TRAP_SENT 1
#define TRAP_RUNS 2

/* Offsets in struct trap_frame, for assembly. */
#define TRAP_STATE 440
#define TRAP_HELD 444
#define TRAP_RIGHTS 448

#ifndef __ASSEMBLER__
#include <signal.h>
#include <stddef.h>
#include <ucontext.h>
#include "shadowbox/sandbox.h"

#define TRAP_UC_SIZE 304 /* the kernel's struct ucontext: the beginning of libc's */
#define TRAP_FP_SIZE 4096

struct trap_frame {
	u64 return_address; /* not used: the handler's entry finds it here */
	u8 uc[TRAP_UC_SIZE];
	siginfo_t si;
	u32 state;
	u32 held;   /* the asynchronous signal that came last while the handler ran, or 0 */
	u32 rights; /* PKRU of the interrupted code */
	/* As far as handlers look at it: which parts are there, and PKRU. The rest of the
	 * guest's vector state is where it was, in the registers. */
	u8 fp[TRAP_FP_SIZE] __attribute__((aligned(64)));
};
_Static_assert(offsetof(struct trap_frame, state) == TRAP_STATE, "see above");
_Static_assert(offsetof(struct trap_frame, held) == TRAP_HELD, "see above");
_Static_assert(offsetof(struct trap_frame, rights) == TRAP_RIGHTS, "see above");
_Static_assert(TRAP_FRAME_ADDRESS == VIEW_SIGSTACK_HVA + TRAP_FRAME_OFF, "see above");
_Static_assert(TRAP_FRAME_OFF + sizeof(struct trap_frame) <= TRAP_STACK_SIZE, "it does not fit");

#define TRAP_FRAME ((struct trap_frame *)TRAP_FRAME_ADDRESS)

/* trap_entry.S: where a trapped view goes on; the plain variant is for hosts without
 * protection keys. The handler returns by a breakpoint that ends at trap_exit_end. */
extern const u8 trap_entry[], trap_entry_plain[], trap_exit_end[];
#endif
