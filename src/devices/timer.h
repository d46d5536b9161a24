/* Arming of device timers: the slot, and the engine's attention. */
#pragma once
#include "shadowbox/machine.h"

#define NS_PER_SEC 1000000000UL

/* A periodic timer that the guest sets faster than this is coalesced: the guest would
 * have no time to do anything but take its interrupts. */
#define TIMER_MIN_PERIOD_NS 20000UL

static inline void timer_arm(struct machine *m, enum timer_id id, u64 deadline_ns)
{
	if (m->clock.deadline[id] == deadline_ns)
		return;
	clock_arm(&m->clock, id, deadline_ns);
	if (deadline_ns != TIMER_OFF)
		machine_kick(m);
}
