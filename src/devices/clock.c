/* Machine time and device timers.
 *
 * Time is the host TSC since the VM started, scaled to nanoseconds by a 32.32
 * multiplier; every clock of the machine (PIT, RTC, HPET, PM timer, local APIC) is
 * derived from it, so they never drift against each other or against the guest's TSC.
 * A timer slot holds only a deadline: which code runs is in the table below.
 *
 * Not modelled: hosts whose TSC stops or varies. */
#include "shadowbox/clock.h"
#include <string.h>
#include "muldiv.h"
#include "shadowbox/log.h"
#include "shadowbox/machine.h"

#define NS_PER_MS 1000000UL

typedef void (*timer_fn)(struct machine *m);

static const timer_fn timer_table[TIMER_COUNT] = {
	[TIMER_PIT] = i8254_timer,
	[TIMER_RTC] = mc146818_timer,
	[TIMER_LAPIC] = lapic_timer,
	[TIMER_HPET0] = hpet_timer0,
	[TIMER_HPET1] = hpet_timer1,
	[TIMER_HPET2] = hpet_timer2,
	[TIMER_PM] = acpi_pm_timer,
	[TIMER_UART] = uart16550_timer,
};

static u64 host_tsc(void)
{
	return __builtin_ia32_rdtsc();
}

void clock_init(struct clock *c, u64 tsc_khz, i64 wall_ns)
{
	sb_assert(tsc_khz != 0);
	memset(c, 0, sizeof(*c));
	c->tsc_khz = tsc_khz;
	c->mult = (NS_PER_MS << 32) / tsc_khz;
	c->wall_offset = wall_ns;
	for (unsigned i = 0; i < TIMER_COUNT; i++)
		c->deadline[i] = TIMER_OFF;
	c->tsc_start = host_tsc();
}

u64 clock_now(const struct clock *c)
{
	u64 delta = host_tsc() - c->tsc_start;

	return (u64)(((unsigned __int128)delta * c->mult) >> 32);
}

u64 clock_tsc_at(const struct clock *c, u64 ns)
{
	u64 delta = mul_div_up(ns, 1UL << 32, c->mult);

	if (delta > ~0UL - c->tsc_start)
		return ~0UL;
	return c->tsc_start + delta;
}

u64 clock_ns_at_tsc(const struct clock *c, u64 tsc)
{
	unsigned __int128 ns;

	if ((i64)(tsc - c->tsc_start) <= 0)
		return 0;
	ns = (((unsigned __int128)(tsc - c->tsc_start) * c->mult) + 0xffffffffUL) >> 32;
	return ns >= TIMER_OFF ? TIMER_OFF - 1 : (u64)ns;
}

void clock_arm(struct clock *c, enum timer_id id, u64 deadline_ns)
{
	sb_assert(id < TIMER_COUNT);
	c->deadline[id] = deadline_ns;
}

u64 clock_next_deadline(const struct clock *c)
{
	u64 next = TIMER_OFF;

	for (unsigned i = 0; i < TIMER_COUNT; i++)
		if (c->deadline[i] < next)
			next = c->deadline[i];
	return next;
}

void clock_run(struct machine *m)
{
	u64 now = clock_now(&m->clock);

	for (unsigned i = 0; i < TIMER_COUNT; i++) {
		if (m->clock.deadline[i] > now)
			continue;
		m->clock.deadline[i] = TIMER_OFF;
		timer_table[i](m);
	}
}
