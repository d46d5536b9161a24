/* Machine time. One gate for every source of time, so that it can be recorded.
 *
 * clock_now() is nanoseconds since the VM was started, monotonic, derived from the
 * host TSC (a host whose TSC is not invariant uses clock_gettime). Device timers are
 * named slots: state holds a deadline, the callback is found in a static table, so
 * that timers can be saved. */
#pragma once
#include "shadowbox/types.h"

struct machine;

enum timer_id { TIMER_PIT, TIMER_RTC, TIMER_LAPIC, TIMER_HPET0, TIMER_HPET1, TIMER_HPET2, TIMER_PM, TIMER_UART, TIMER_COUNT };
#define TIMER_OFF (~0ULL)

struct clock {
	u64 tsc_start;   /* host TSC at time 0 */
	u64 tsc_khz;
	u64 mult;        /* ns = (tsc - tsc_start) * mult >> 32 */
	i64 wall_offset; /* UTC ns since 1970 at time 0 */
	u64 deadline[TIMER_COUNT];
};

void clock_init(struct clock *c, u64 tsc_khz, i64 wall_ns);
u64 clock_now(const struct clock *c);
/* (Re)arm or, with TIMER_OFF, disarm. The callback runs in the engine loop, never in
 * a signal handler, at or after the deadline; then the slot is off unless re-armed. */
void clock_arm(struct clock *c, enum timer_id id, u64 deadline_ns);
u64 clock_next_deadline(const struct clock *c); /* TIMER_OFF if none */
/* Runs the callbacks whose deadlines have passed. */
void clock_run(struct machine *m);
/* Host TSC value at which clock_now() reaches ns (for arming). */
u64 clock_tsc_at(const struct clock *c, u64 ns);
/* The reverse, rounded up: when clock_now() has reached it, the host TSC has reached tsc. */
u64 clock_ns_at_tsc(const struct clock *c, u64 tsc);
