/* Where a machine's CPU time goes (-d prof): samples, taken by a timer of the views' CPU time.
 *
 * A sample is counted by what ran and for which guest instruction: one of the kinds below,
 * and RIP. Views write, the monitor reads when they are gone and trusts nothing in it. */
#pragma once
#include "shadowbox/types.h"

#define PROFILE_KINDS(X) \
	X(USER, "user", "user code as it is") \
	X(USER_DBT, "user-dbt", "user code, translated") \
	X(KERNEL, "kernel", "kernel code, translated") \
	X(SOFT_CODE, "soft-code", "code whose operands are all soft") \
	X(STUBS, "stubs", "ways in and out, lookup of branch targets") \
	X(TRAPS, "traps", "host signals and their handlers") \
	X(LOOP, "loop", "engine: loop, interrupts, devices") \
	X(EXCEPTIONS, "exceptions", "engine: exceptions, native system calls and branches") \
	X(BLOCKS, "blocks", "engine: finding and chaining blocks") \
	X(TRANSLATE, "translate", "engine: decoding and translating") \
	X(CALLOUT, "callout", "engine: instructions handled by call-out") \
	X(SOFT, "soft", "engine: soft operands") \
	X(SWITCH, "switch", "engine: changing views")

enum profile_kind {
#define X(id, name, what) PROF_##id,
	PROFILE_KINDS(X)
#undef X
	PROF_KINDS
};

#define PROFILE_SLOTS 16384u
#define PROFILE_NS 1000000u /* CPU time between samples, if the host's clock is as fine */

struct profile_slot { u64 rip; u32 count, kind; };
struct profile {
	u64 samples, lost; /* lost: no slot was free, so counted in `kind` alone */
	u64 kind[PROF_KINDS];
	struct profile_slot slot[PROFILE_SLOTS];
};

const struct profile *dbt_profile(void);
