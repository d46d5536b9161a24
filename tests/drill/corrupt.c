/* Random bytes where the monitor reads, and where other views do. Runs inside views. */
#include <string.h>
#include "shadowbox/log.h"
#include "shadowbox/sys.h"
#include "tests/drill/drill.h"

/* A value that is likely to hurt. */
static u64 hostile(u64 *state)
{
	static const u64 favourites[] = {
		0, 1, ~0UL, 0x7fffffffffffffff, 0x8000000000000000, 0xffffffff, 0x80000000, 65536, 65537,
		ZONE_BASE, ARENA_HVA, PHYS_HVA, 0x4141414141414141,
	};
	u64 r = next_random(state);

	return r & 1 ? next_random(state) : favourites[(r >> 8) % ARRAY_LEN(favourites)];
}

static void scribble(u64 start, u64 len, u64 *state, u64 writes)
{
	for (u64 i = 0; i < writes; i++) {
		u64 at = start + next_random(state) % len, val = hostile(state);
		switch (next_random(state) & 3) {
		case 0: *(volatile u8 *)at = (u8)val; break;
		case 1: *(volatile u32 *)(at & ~3UL) = (u32)val; break;
		default: *(volatile u64 *)(at & ~7UL) = val;
		}
	}
}

static u64 seed_of_boot(void)
{
	return (drill.seed + drill.boots) * 0x9e3779b97f4a7c15UL | 1;
}

static void scribble_for_ever(u64 start, u64 len, bool keep_stop)
{
	u64 state = seed_of_boot();
	const u64 one = 1;

	for (;;) {
		scribble(start, len, &state, 1000);
		if (keep_stop)
			__atomic_store_n(&ARENA->machine.stop, STOP_NONE, __ATOMIC_SEQ_CST);
		__atomic_store_n(&ARENA->monitor_idle, 1, __ATOMIC_SEQ_CST);
		sys_write(VIEW_NOTIFY_FD, &one, sizeof(one));
		if (next_random(&state) % 64 == 0)
			sys_clock_nanosleep(1, 0, &(struct sys_timespec){ 0, 100000 });
	}
}

static void bend_arena(unsigned slot)
{
	(void)slot;
	scribble_for_ever(ARENA_HVA, __builtin_offsetof(struct arena, shadow_area), false);
}

/* The same without ending at once by a random stop request. */
static void bend_arena_on(unsigned slot)
{
	(void)slot;
	scribble_for_ever(ARENA_HVA, __builtin_offsetof(struct arena, shadow_area), true);
}

static void bend_pools(unsigned slot)
{
	(void)slot;
	scribble_for_ever((u64)ARENA->shadow_area, 256UL << 20, true);
}

static void bend_code(unsigned slot)
{
	(void)slot;
	scribble_for_ever(CODE_RW_HVA, 1 << 20, true);
}

static void bend_vcpu(unsigned slot)
{
	(void)slot;
	scribble_for_ever(HOT_VCPU_HVA, sizeof(struct vcpu), true);
}

static void bend_memory(unsigned slot)
{
	(void)slot;
	scribble_for_ever(PHYS_HVA, 64UL << 20, true);
}

/* The machine starts again on what we leave of it. */
static void bend_and_reset(unsigned slot)
{
	u64 state = seed_of_boot();
	const u64 one = 1;

	(void)slot;
	/* All but the stop request, which is to be one for a reset. */
	scribble(ARENA_HVA, __builtin_offsetof(struct arena, machine.stop), &state, 200000);
	scribble((u64)&ARENA->machine.tx, (u64)ARENA->shadow_area - (u64)&ARENA->machine.tx, &state, 20000);
	scribble(HOT_VCPU_HVA, sizeof(struct vcpu), &state, 20000);
	ARENA->machine.clock.mult = next_random(&state) & 1 ? 0 : ARENA->machine.clock.mult;
	__atomic_store_n(&ARENA->machine.stop, STOP_RESET, __ATOMIC_SEQ_CST);
	sys_write(VIEW_NOTIFY_FD, &one, sizeof(one));
	for (;;)
		sys_futex_wait(&ARENA->view[1].wake, ARENA->view[1].wake, NULL);
}

const struct attack corruptions[] = {
	{ "random bytes: machine, views, rings", "ends, or ends when asked", bend_arena, END_ASKED, SEEDED | QUIET | WITH_STATS, NULL },
	{ "the same, stop requests taken back", "ends, or ends when asked", bend_arena_on, END_ASKED, SEEDED | QUIET | WITH_STATS, NULL },
	{ "random bytes: shadow and code tables", "ends, or ends when asked", bend_pools, END_ASKED, SEEDED, NULL },
	{ "random bytes: translated code", "ends, or ends when asked", bend_code, END_ASKED, SEEDED, NULL },
	{ "random bytes: vCPU", "ends, or ends when asked", bend_vcpu, END_ASKED, SEEDED, NULL },
	{ "random bytes: guest memory", "ends, or ends when asked", bend_memory, END_ASKED, SEEDED, NULL },
	{ "random bytes, then resets", "starts again; ends when asked", bend_and_reset, END_ASKED, SEEDED | QUIET | WITH_RESET, NULL },
	{ NULL, NULL, NULL, 0, 0, NULL },
};
