/* The machine: everything guest-visible but the CPU, in one struct that lies in the
 * arena, shared by the monitor and all views. Device state structs are plain data
 * (pointers only in `bus`, which is rebuilt at start). */
#pragma once
#include "shadowbox/bus.h"
#include "shadowbox/clock.h"
#include "shadowbox/devices.h"
#include "shadowbox/physmem.h"
#include "shadowbox/ring.h"

enum machine_stop {
	STOP_NONE = 0,
	STOP_POWEROFF,   /* ACPI S5 */
	STOP_RESET,      /* reset register, i8042, port 0xcf9, triple fault without -no-reboot */
	STOP_TRIPLE_FAULT,
	STOP_DEBUG_EXIT, /* isa-debug-exit; exit status is stop_code */
	STOP_MONITOR,    /* asked for by the user */
	STOP_INTERNAL,   /* our bug */
};

struct machine {
	struct physmem phys;
	struct clock clock;
	struct bus bus;
	struct devices dev;
	/* Requests that end or reset the machine; the engine loop looks after each exit. */
	u32 stop;      /* enum machine_stop */
	u32 stop_code;
	/* Console: bytes to and from the monitor. */
	struct ring tx, rx;
	/* Set when device state changed so that the engine must call irq_pending(). */
	u64 *event_pending; /* -> vcpu.event_pending; set by attach */
};

/* Ends the machine as soon as the current instruction is done. The first caller wins. */
void machine_request_stop(struct machine *m, enum machine_stop why, u32 code);
/* A device changed an interrupt line or armed a timer: the engine shall look. */
static inline void machine_kick(struct machine *m)
{
	if (m->event_pending)
		__atomic_store_n(m->event_pending, 1, __ATOMIC_SEQ_CST);
}
