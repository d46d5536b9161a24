/* The isolation drill: views run code that is the attacker's, and the driver looks whether
 * the monitor and the host take harm.
 *
 *   driver.c   what is tried, and the table of results
 *   world.c    the namespaces that the drill locks itself into, and what is seen there
 *   machine.c  one run of a whole machine with an attack in one of its views
 *   calls.c    system calls, one by one, from a confined view
 *   model.c    which of them may pass: written from the document, not from the filter
 *   hook.c, attacks.c, corrupt.c   what runs inside views: no libc */
#pragma once
#include "shadowbox/sandbox.h"

/* --- what runs in a view -------------------------------------------------------------- */
enum attack_end {
	END_ITSELF,  /* the machine ends with exit code 1 and one line */
	END_ASKED,   /* it goes on, or ends: SIGTERM and Ctrl-A X must end it at once */
};
enum attack_flags {
	IN_VIEW_0 = 1,   /* in place of the guest; otherwise in view 1, beside it */
	WITH_RESET = 2,  /* the machine may start again */
	WITH_STATS = 4,
	ANY_CODE = 8,    /* what the machine's exit code is, is the guest's to say */
	SEEDED = 16,     /* runs with many seeds */
	QUIET = 32,      /* may end without a word, as isa-debug-exit does */
	SLOW = 64,       /* takes some seconds to do its worst */
};
struct attack {
	const char *name, *expected;
	void (*run)(unsigned slot);
	u32 end, flags;
	const char *want; /* in the line that reports the end */
};
extern const struct attack attacks[], corruptions[];

/* Set by the driver before the machine starts; views inherit a copy. */
struct drill {
	const struct attack *attack;
	u64 seed;
	u32 boots;        /* of this machine so far */
	bool serve_calls; /* calls.c: views run what is asked of them */
	i32 monitor;
	u32 *monitor_panics; /* shared with the driver */
};
extern struct drill drill;

/* --- calls.c and the views that serve it ------------------------------------------------ */
enum call_abi { ABI_64, ABI_32, ABI_COUNT };
struct call { i64 nr; u64 arg[6]; u32 abi; };
/* Behind all that the program uses of the arena. */
#define CALLS ((struct calls_shared *)(ARENA_HVA + 0x3f000000UL))
struct calls_shared {
	u32 asked, done; /* futexes: counts */
	struct call call;
	i64 result;
	u8 scratch[4096] __attribute__((aligned(4096)));
};
void serve_calls(void);

static inline u64 next_random(u64 *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* --- the driver -------------------------------------------------------------------------- */
struct outcome { bool ok; char got[200]; };
/* world.c: locks this process into namespaces of its own; returns in their first process,
 * with the guest kernel in GUEST_FILE. Prints why and exits with 77 where it cannot. */
#define GUEST_FILE "/guest"
#define ERROR_FILE "/stderr"
void world_enter(const char *guest);
/* Processes but this one, its helper and the zombies. */
unsigned world_processes(void);
/* Takes zombies that nobody waits for. */
void world_reap(void);
/* A process with a secret that views shall neither read, change nor signal. */
void world_start_victim(void);
extern i32 victim_pid;
bool victim_unharmed(void);

/* machine.c: one run; by_key: ended by Ctrl-A X instead of SIGTERM. */
void machine_run(const struct attack *a, u64 seed, bool by_key, struct outcome *o);

/* calls.c */
void calls_run(void);
/* model.c: whether a view may make this call. */
enum verdict { V_KILL, V_PASS, V_ENDS };
enum verdict model_verdict(const struct call *c);
extern const u32 model_numbers[];
extern const u32 model_count;

/* driver.c: a row of the table. */
void row(bool ok, const char *attack, const char *expected, const char *got);
u64 drill_runs(u64 usual, u64 with_long);
u64 drill_seed(void);
bool drill_without_keys(void); /* SBX_NOKEYS=1: the table of system calls of such a host */
