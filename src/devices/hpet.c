/* High Precision Event Timer at 0xfed00000: three timers, 64-bit counter, 100 MHz.
 * Follows the IA-PC HPET specification 1.0a.
 *
 * The running counter is machine time in units of 10 ns plus an offset. A comparator
 * that lies behind the counter by less than half its range has expired: a guest that
 * arms too late gets its interrupt at once instead of after the counter has wrapped.
 *
 * Not modelled: FSB (MSI) routing, and routing to lines other than 2 outside legacy mode
 * (the routing capability says so). */
#include "shadowbox/irq.h"
#include "shadowbox/log.h"
#include "timer.h"

#define TICK_NS 10UL
#define PERIOD_FS 10000000UL

enum { REG_ID = 0x00, REG_CONFIG = 0x10, REG_STATUS = 0x20, REG_COUNTER = 0xf0, REG_TIMER = 0x100 };
enum { TIMER_REGS = 0x20, TN_CONFIG = 0x00, TN_CMP = 0x08, TN_FSB = 0x10 };

#define CFG_ENABLE BIT(0)
#define CFG_LEGACY BIT(1)
#define TN_LEVEL BIT(1)
#define TN_ENABLE BIT(2)
#define TN_PERIODIC BIT(3)
#define TN_PERIODIC_CAP BIT(4)
#define TN_64BIT_CAP BIT(5)
#define TN_SETVAL BIT(6)
#define TN_32BIT BIT(8)
#define TN_ROUTE_SHIFT 9
#define TN_ROUTE (0x1fUL << TN_ROUTE_SHIFT)
#define TN_WRITABLE (TN_LEVEL | TN_ENABLE | TN_PERIODIC | TN_SETVAL | TN_32BIT | TN_ROUTE)
#define TN_ROUTE_CAP (BIT(2) << 32)

bool hpet_legacy(const struct machine *m)
{
	return (m->dev.hpet.config & (CFG_ENABLE | CFG_LEGACY)) == (CFG_ENABLE | CFG_LEGACY);
}

static u64 counter_at(const struct machine *m, u64 ns)
{
	const struct hpet *h = &m->dev.hpet;

	return h->config & CFG_ENABLE ? h->counter + ns / TICK_NS : h->counter;
}

static u64 counter(const struct machine *m)
{
	return counter_at(m, clock_now(&m->clock));
}

/* Counter ticks until the comparator matches; <= 0: it has. */
static i64 ticks_left(const struct hpet_timer *t, u64 now)
{
	if (t->config & TN_32BIT)
		return (i32)((u32)t->cmp - (u32)now);
	return (i64)(t->cmp - now);
}

static int timer_line(const struct machine *m, unsigned n)
{
	u64 route = (m->dev.hpet.timer[n].config & TN_ROUTE) >> TN_ROUTE_SHIFT;

	if (hpet_legacy(m) && n < 2)
		return n ? IRQ_RTC : IRQ_PIT;
	return TN_ROUTE_CAP >> 32 & BIT(route) ? (int)route : -1;
}

static void timer_interrupt(struct machine *m, unsigned n)
{
	struct hpet *h = &m->dev.hpet;
	const struct hpet_timer *t = &h->timer[n];
	int line = timer_line(m, n);

	if (t->config & TN_LEVEL)
		h->status |= BIT(n);
	if (!(t->config & TN_ENABLE) || line < 0)
		return;
	irq_set(m, (unsigned)line, true);
	if (!(t->config & TN_LEVEL))
		irq_set(m, (unsigned)line, false);
}

/* Whoever finds a comparator behind the counter fires only if it was written since it
 * matched last (armed): turning a timer on does not repeat an old match. */
static void timer_schedule(struct machine *m, unsigned n)
{
	struct hpet *h = &m->dev.hpet;
	const struct hpet_timer *t = &h->timer[n];
	u64 ns = clock_now(&m->clock), at = TIMER_OFF;
	i64 left = ticks_left(t, counter_at(m, ns));

	/* A level-triggered timer sets its status bit even with the interrupt off. */
	if ((h->config & CFG_ENABLE) && (t->config & (TN_ENABLE | TN_LEVEL))) {
		ns -= ns % TICK_NS; /* the counter steps at multiples of TICK_NS */
		if (left <= 0)
			at = t->armed ? ns : TIMER_OFF;
		else if ((u64)left < (TIMER_OFF - ns) / TICK_NS)
			at = ns + (u64)left * TICK_NS;
	}
	timer_arm(m, TIMER_HPET0 + n, at);
}

static void timer_expired(struct machine *m, unsigned n)
{
	struct hpet_timer *t = &m->dev.hpet.timer[n];
	i64 left = ticks_left(t, counter(m));

	if (left > 0) { /* moved since the slot was armed */
		timer_schedule(m, n);
		return;
	}
	t->armed = false;
	if ((t->config & TN_PERIODIC) && t->period) {
		u64 step = t->period;

		if (step < TIMER_MIN_PERIOD_NS / TICK_NS)
			step = TIMER_MIN_PERIOD_NS / TICK_NS;
		t->cmp += ((u64)-left / step + 1) * step;
		if (t->config & TN_32BIT)
			t->cmp = (u32)t->cmp;
		timer_schedule(m, n);
	}
	timer_interrupt(m, n);
}

void hpet_timer0(struct machine *m) { timer_expired(m, 0); }
void hpet_timer1(struct machine *m) { timer_expired(m, 1); }
void hpet_timer2(struct machine *m) { timer_expired(m, 2); }

/* --- registers --------------------------------------------------------------------- */
static void write_config(struct machine *m, u64 val)
{
	struct hpet *h = &m->dev.hpet;
	bool was_legacy = hpet_legacy(m);
	u64 now = counter(m);

	val &= CFG_ENABLE | CFG_LEGACY;
	if ((val ^ h->config) & CFG_ENABLE)
		h->counter = val & CFG_ENABLE ? now - clock_now(&m->clock) / TICK_NS : now;
	h->config = val;
	if (hpet_legacy(m) != was_legacy) {
		irq_set(m, IRQ_PIT, false);
		irq_set(m, IRQ_RTC, false);
		i8254_refresh_irq(m);
		mc146818_refresh_irq(m);
	}
	for (unsigned n = 0; n < HPET_TIMERS; n++)
		timer_schedule(m, n);
}

static void write_status(struct machine *m, u64 val)
{
	struct hpet *h = &m->dev.hpet;

	for (unsigned n = 0; n < HPET_TIMERS; n++) {
		int line = timer_line(m, n);

		if (!(h->status & val & BIT(n)))
			continue;
		h->status &= ~BIT(n);
		if (line >= 0)
			irq_set(m, (unsigned)line, false);
	}
}

static void write_timer_config(struct machine *m, unsigned n, u64 val)
{
	struct hpet_timer *t = &m->dev.hpet.timer[n];
	int line = timer_line(m, n);

	/* Turned off or made edge-triggered while asserted: the line falls. */
	if ((m->dev.hpet.status & BIT(n)) && line >= 0 &&
	    (!(val & TN_ENABLE) || !(val & TN_LEVEL)))
		irq_set(m, (unsigned)line, false);
	t->config = (t->config & ~TN_WRITABLE) | (val & TN_WRITABLE);
	if (t->config & TN_32BIT) {
		t->cmp = (u32)t->cmp;
		t->period = (u32)t->period;
	}
	timer_schedule(m, n);
}

static void write_comparator(struct machine *m, unsigned n, u64 val, u64 mask)
{
	struct hpet_timer *t = &m->dev.hpet.timer[n];

	if (t->config & TN_32BIT) {
		if (!(mask & 0xffffffff))
			return;
		mask &= 0xffffffff;
	}
	if (!(t->config & TN_PERIODIC) || (t->config & TN_SETVAL))
		t->cmp = (t->cmp & ~mask) | (val & mask);
	if (t->config & TN_PERIODIC)
		t->period = (t->period & ~mask) | (val & mask);
	t->config &= ~TN_SETVAL;
	t->armed = true;
	timer_schedule(m, n);
}

static u64 reg_read(struct machine *m, u64 reg)
{
	struct hpet *h = &m->dev.hpet;

	if (reg >= REG_TIMER && reg < REG_TIMER + HPET_TIMERS * TIMER_REGS) {
		const struct hpet_timer *t = &h->timer[(reg - REG_TIMER) / TIMER_REGS];

		switch (reg % TIMER_REGS) {
		case TN_CONFIG:
			return t->config;
		case TN_CMP:
			return t->cmp;
		}
		return 0;
	}
	switch (reg) {
	case REG_ID:
		return PERIOD_FS << 32 | HPET_ID;
	case REG_CONFIG:
		return h->config;
	case REG_STATUS:
		return h->status;
	case REG_COUNTER:
		return counter(m);
	}
	return 0;
}

static u64 hpet_read(struct machine *m, void *dev, u64 off, unsigned size)
{
	u64 val = reg_read(m, off & ~7UL);

	(void)dev;
	return size == 4 && (off & 4) ? val >> 32 : val;
}

/* mask: which bits of the 64-bit register the access covers. */
static void reg_write(struct machine *m, u64 reg, u64 val, u64 mask)
{
	struct hpet *h = &m->dev.hpet;
	u64 merged = (reg_read(m, reg) & ~mask) | (val & mask);

	if (reg >= REG_TIMER && reg < REG_TIMER + HPET_TIMERS * TIMER_REGS) {
		unsigned n = (unsigned)(reg - REG_TIMER) / TIMER_REGS;

		if (reg % TIMER_REGS == TN_CONFIG)
			write_timer_config(m, n, merged);
		else if (reg % TIMER_REGS == TN_CMP)
			write_comparator(m, n, val, mask);
		return;
	}
	switch (reg) {
	case REG_CONFIG:
		write_config(m, merged);
		break;
	case REG_STATUS:
		write_status(m, val & mask);
		break;
	case REG_COUNTER:
		if (!(h->config & CFG_ENABLE))
			h->counter = merged;
		else
			log_msg(LOG_GUEST_ERRORS, "hpet: write to the running counter\n");
		break;
	}
}

static void hpet_write(struct machine *m, void *dev, u64 off, u64 val, unsigned size)
{
	unsigned shift = off & 4 ? 32 : 0;

	(void)dev;
	reg_write(m, off & ~7UL, val << shift, size == 8 ? ~0UL : 0xffffffffUL << shift);
}

int hpet_init(struct machine *m)
{
	const struct bus_range r = { HPET_BASE, 0x400, "hpet", 4, 8, hpet_read, hpet_write, NULL };

	return m->dev.cfg.no_hpet ? 0 : bus_claim(&m->bus, BUS_MMIO, &r);
}

void hpet_reset(struct machine *m)
{
	struct hpet *h = &m->dev.hpet;

	*h = (struct hpet){ 0 };
	for (unsigned n = 0; n < HPET_TIMERS; n++) {
		h->timer[n].config = TN_PERIODIC_CAP | TN_64BIT_CAP | TN_ROUTE_CAP;
		h->timer[n].cmp = ~0UL;
	}
}
