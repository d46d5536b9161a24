/* View processes: creation, confinement, hand-off. See docs/architecture.md for the
 * threat model.  Monitor side unless said. */
#pragma once
#include "shadowbox/vm.h"

/* Descriptors of a view: guest RAM (offset = gpa), the eventfd that wakes the monitor, and,
 * with trace=uffd, its userfaultfd. */
#define VIEW_RAM_FD 3
#define VIEW_NOTIFY_FD 4
#define VIEW_UFFD_FD 5
/* Signals that a view gets (34 is the first real-time signal that libc leaves free): its
 * own timer, and the monitor's "look at event_pending". */
#define VIEW_TIMER_SIGNAL 34
#define VIEW_KICK_SIGNAL 35
#define VIEW_PROF_SIGNAL 36 /* -d prof */

/* Private memory of a view at PRIVATE_HVA; gaps are guards. From 0x10000000 on it is
 * shadow/'s, from 0x40000000 the user lookup tables of all views (shared). */
#define VIEW_LOCAL ((struct view_local *)PRIVATE_HVA)
#define VIEW_STACK_HVA (PRIVATE_HVA + 0x100000UL)
#define VIEW_STACK_SIZE 0x100000UL
#define VIEW_SIGSTACK_HVA (PRIVATE_HVA + 0x400000UL) /* host_caps.sigstack_size bytes */
#define ZYGOTE_STACK_HVA (PRIVATE_HVA + 0x800000UL)
#define ZYGOTE_STACK_SIZE 0x40000UL
#define TABLES_U_HVA (PRIVATE_HVA + 0x40000000UL)
#define TABLE_SIZE 0x101000UL /* of one lookup table */

struct view_local {
	u64 sig_frame; /* where the kernel puts signal frames, all of them (entry.S) */
	u32 slot;
	i32 timer_id;
	bool timer_on;
};

/* Creates the arena, code-cache and RAM memfds and maps them at their fixed places in
 * this process; probes the host into ARENA->host. 0 or negative errno with a message. */
int sandbox_create(u64 ram_bytes, const struct policy *policy, char *err, size_t errlen) MUST_CHECK;
/* Forks the zygote. From here on the monitor starts views on demand. */
int sandbox_start(char *err, size_t errlen) MUST_CHECK;
/* Starts the view of a slot, inspects it from outside (ptrace, /proc), sets it READY. */
int sandbox_start_view(unsigned slot, char *err, size_t errlen) MUST_CHECK;
/* Has the slot's view been started since sandbox_start? Dead or alive: only the monitor knows. */
bool sandbox_view_started(unsigned slot);
/* Ends all views and the zygote and waits for them. After it sandbox_start may be called
 * again. */
void sandbox_kill_all(void);
/* Zeroes all guest RAM, the lookup tables, the code cache, the vCPU, and the arena from
 * view[] on but for the log ring. No view may be running. */
void sandbox_clear(void);
/* Makes the running view look at event_pending, wherever it is. */
void sandbox_kick(void);
/* Now and then (sandbox_balances: twice a second): moves the views off a CPU on
 * which they have to wait. */
void sandbox_balance(void);
bool sandbox_balances(void);
/* Bytes of the arena from shadow_area on. */
size_t sandbox_arena_room(void);
/* Readable when the zygote has died. */
int sandbox_zygote_fd(void);
/* Readable when a view has called view_notify_monitor. */
int sandbox_event_fd(void);
/* Takes one dead child: true and what happened (a line without the newline), false if
 * there is none. Ends that were asked for by sandbox_kill_all are not told. */
bool sandbox_reap(char *what, size_t len);

/* --- inside views ------------------------------------------------------------- */
/* System calls from anywhere in this view raise SIGSYS while this byte is SELECT_BLOCK. */
#define VIEW_SELECTOR ((volatile u8 *)HOT_SELECT_HVA)
enum { SELECT_ALLOW, SELECT_BLOCK };
/* Makes `slot` the running view and sleeps until this view is made the running one
 * again. The caller has saved the vector state in VCPU->xsave and restores it after. */
void view_handoff(unsigned slot);
/* Sleeps until *event_pending, a wake of ARENA->hlt_futex, or the deadline. */
void view_halt(u64 deadline_ns);
/* Arms this view's host timer signal for the deadline (TIMER_OFF: disarm). */
void view_arm_timer(u64 deadline_ns);
/* Wakes the monitor if it sleeps (console output, view wanted, stop). */
void view_notify_monitor(void);
NORETURN void view_exit(int code);

/* Implemented by dbt/engine.c: runs the vCPU in this view for ever; called in every
 * view when it has been checked and becomes the running one for the first time. */
NORETURN void engine_main(unsigned slot);
/* Implemented by sandbox/signals (entry.S + handlers): installs handlers and the
 * alternate stack in this view. */
void signals_install(unsigned slot);
