/* The arena: the one block of memory that the monitor and all views of a VM share,
 * mapped at ARENA_HVA everywhere. */
#pragma once
#include "shadowbox/cpu.h"
#include "shadowbox/layout.h"
#include "shadowbox/machine.h"

#define VIEW_MAX 64

enum view_state { VIEW_NONE, VIEW_STARTING, VIEW_CHECKED, VIEW_READY, VIEW_DEAD };

/* One view process, as all processes see it. */
struct view_slot {
	u32 state;      /* enum view_state */
	i32 pid;        /* as the monitor sees it */
	u32 wake;       /* futex: bumped to wake this view (generation count) */
	u32 in_use;
	u64 cr3;        /* root that this view shadows, ~0 when free */
	u32 life;       /* number of the address space that has cr3 */
	u32 age;        /* and what its user code has done so far: dbt/native.c */
	u64 last_used;  /* for recycling: the least recently used goes first */
	u64 trace_seen; /* position in the trace log up to which this view has applied it */
	u32 flush;      /* VIEW_FLUSH_*: to be done before the view runs next */
	u32 queue_len;
	struct { u64 start, len; } queue[64]; /* pending invalidations (hva ranges) */
};

/* How host traps (faults, timer) reach the handlers of a view. */
enum trap_transport {
	TRAPS_AUTO,   /* signals, unless the host cannot deliver them */
	TRAPS_SIGNAL, /* the kernel interrupts the view */
	TRAPS_PTRACE, /* a tracer stops the view and sends it to the handler: sandbox/trap.h */
};

#define HOLD_MOST 65536u /* policy.hold_after, and what the pages' own counts go up to */

/* Engine policy, from -accel sub-options; read-only after start. */
struct policy {
	bool all_soft;   /* every memory operand soft */
	bool user_soft;  /* those of user code */
	bool no_chain;   /* no direct chaining, no inline indirect lookup */
	bool one_view;   /* one view for all CR3s, flushed at each switch */
	bool no_pkeys;   /* pretend that the host lacks protection keys */
	bool no_fsgsbase;
	bool no_native;  /* user code is translated, never run as it is */
	bool no_pku_signals; /* pretend that no signal reaches a stack whose key is denied */
	u8 traps;        /* enum trap_transport */
	bool no_bind;    /* leave it to the host's scheduler on which CPU each view runs */
	bool uffd;       /* traces of large mappings by userfaultfd, if the host can */
	bool no_adaptive;/* instructions that hit traces stay direct, and hit them again */
	bool no_stores;  /* every write to a page table is done by C */
	bool no_prefill; /* a fault maps one page, and nothing is mapped without one */
	u32 block_max;   /* most guest instructions in a block */
	u32 hold_after;  /* rounds of protecting and unprotecting after which a page is held; 0: never */
	u32 view_max;    /* most views, 0: VIEW_MAX */
	u32 map_max;     /* most host mappings of a view, 0: as the host allows */
	u32 cache_max;   /* most KiB of translated code, 0: as the layout allows */
};

struct host_caps {
	bool denied_sigstack; /* signals reach a stack whose key is denied */
	bool pkeys, bmi2, fsgsbase, avx512, tsc_invariant, uffd_wp;
	bool native;     /* user code may run as it is: see dbt/native.c */
	u8 key_zone, key_kl, key_kh, key_p; /* guest-user pages use key 0 */
	u8 key_s, key_t, key_ks, key_kt; /* slots and lookup tables of user and of kernel code */
	u8 key_d;        /* the system call selector: user code may read it, kernel code write */
	u8 traps;        /* TRAPS_SIGNAL or TRAPS_PTRACE */
	u8 key_sigstack; /* of the alternate signal stack: key_zone, or key_s if the kernel
	                  * writes signal frames with the interrupted code's rights */
	u32 max_map_count;
	u32 sigstack_size;
	u32 pkru_offset; /* of PKRU in the XSAVE area of a signal frame */
	u64 xcr0;
};

#define FLIGHT_EVENTS 64
struct flight_event { u64 tsc; u32 kind; u32 arg; u64 rip, a, b; };

struct arena {
	struct machine machine;
	struct policy policy;
	struct host_caps host;
	struct view_slot view[VIEW_MAX];
	u32 view_wanted;     /* view slots that the monitor shall have started (low-water) */
	u32 running_view;    /* slot that owns the vCPU */
	u32 monitor_idle;    /* the monitor sleeps in poll(): post to the eventfd */
	u32 hlt_futex;       /* bumped to wake a halted vCPU */
	u64 fold;            /* FOLD of this VM */
	struct ring log;     /* text for the monitor to print */
	struct flight_event flight[FLIGHT_EVENTS];
	u64 flight_next;
	char death[1024];    /* why the VM died, if it did */
	u8 shadow_area[] __attribute__((aligned(4096))); /* shadow/ and dbt/ carve their pools from here */
};

#define ARENA ((struct arena *)ARENA_HVA)
/* Where keys do not keep user code in bounds, every operand is checked. */
static inline bool user_is_soft(void)
{
	return ARENA->policy.all_soft || ARENA->policy.user_soft || !ARENA->host.pkeys;
}
#define VCPU ((struct vcpu *)HOT_VCPU_HVA)
