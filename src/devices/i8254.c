/* Intel 8254 programmable interval timer (ports 0x40-0x43) and system control port B
 * (0x61). Follows the 8254 data sheet.
 *
 * Nothing counts: a channel remembers at which tick of the 1.193182 MHz clock its count
 * was loaded, and count and output follow from the time. Channel 0's output drives ISA
 * line 0; only its rising edges are scheduled, so the line does not show the one-tick
 * low pulse of modes 2, 4 and 5 or the low half of mode 3, but each edge comes when it
 * should. Edges that pass while nobody looks are merged into one.
 *
 * A channel that was never programmed does not count (the data sheet leaves it open). */
#include "muldiv.h"
#include "shadowbox/irq.h"
#include "shadowbox/log.h"
#include "timer.h"

#define PIT_HZ 1193182UL
#define NEVER TIMER_OFF

enum { RW_LSB = 1, RW_MSB = 2, RW_WORD = 3 };
enum { STATUS_NULL = 0x40, STATUS_OUT = 0x80 };

static u64 ticks(const struct machine *m)
{
	return mul_div(clock_now(&m->clock), PIT_HZ, NS_PER_SEC);
}

static u64 tick_ns(u64 tick)
{
	return mul_div_up(tick, NS_PER_SEC, PIT_HZ);
}

static bool is_periodic(const struct i8254_channel *c)
{
	return c->mode == 2 || c->mode == 3;
}

/* A count written in modes 2 and 3 takes over at the end of the period. */
static void channel_sync(struct i8254_channel *c, u64 now)
{
	if (c->next_count && now >= c->next_at) {
		c->start = c->next_at;
		c->count = c->next_count;
		c->next_count = 0;
	}
}

/* Ticks counted since the load; 0 while waiting for the first clock pulse. */
static u64 elapsed(const struct i8254_channel *c, u64 now)
{
	if (!c->running)
		return c->paused;
	return now > c->start ? now - c->start : 0;
}

static bool channel_out(const struct i8254_channel *c, u64 now)
{
	u64 d = elapsed(c, now);

	switch (c->mode) {
	case 0:
		return c->loaded && d >= c->count;
	case 1:
		return !c->running || d >= c->count;
	case 2:
		return !c->running || d % c->count != c->count - 1;
	case 3:
		return !c->running || d % c->count < (c->count + 1) / 2;
	default: /* 4, 5: one low tick at the end */
		return !c->running || d != c->count;
	}
}

static u16 channel_count(const struct i8254_channel *c, u64 now)
{
	u32 modulus = c->bcd ? 10000 : 65536;
	u64 d = elapsed(c, now), val;

	if (!c->count)
		return 0;
	if (c->mode == 2)
		val = c->count - d % c->count;
	else if (c->mode == 3) /* counts down by two, twice in a period */
		val = c->count - 2 * (d % c->count) % c->count;
	else
		val = c->count + modulus - d % modulus;
	val %= modulus;
	if (c->bcd)
		val = val % 10 | val / 10 % 10 << 4 | val / 100 % 10 << 8 | val / 1000 << 12;
	return (u16)val;
}

/* Tick of the first rising edge of the output after now. */
static u64 next_rise(const struct i8254_channel *c, u64 now)
{
	u64 d = elapsed(c, now), at;

	if (!c->running)
		return NEVER;
	if (is_periodic(c))
		return c->start + (d / c->count + 1) * c->count;
	at = c->mode >= 4 ? c->count + 1 : c->count;
	return d < at ? c->start + at : NEVER;
}

/* --- channel 0's interrupt ------------------------------------------------------- */
static void pit_line(struct machine *m, bool level)
{
	if (!hpet_legacy(m))
		irq_set(m, IRQ_PIT, level);
}

static void pit_schedule(struct machine *m, u64 now)
{
	struct i8254 *pit = &m->dev.pit;

	channel_sync(&pit->ch[0], now);
	pit->irq_next = next_rise(&pit->ch[0], now);
	timer_arm(m, TIMER_PIT,
		  pit->irq_next == NEVER || hpet_legacy(m) ? TIMER_OFF : tick_ns(pit->irq_next));
}

/* Delivers an edge that has passed, then looks for the next. */
static void pit_catch_up(struct machine *m)
{
	struct i8254 *pit = &m->dev.pit;
	u64 now = ticks(m);

	if (pit->irq_next <= now) {
		pit_line(m, false);
		pit_line(m, true);
	}
	pit_schedule(m, now);
}

void i8254_timer(struct machine *m)
{
	pit_catch_up(m);
	if (m->clock.deadline[TIMER_PIT] != TIMER_OFF) {
		u64 soonest = clock_now(&m->clock) + TIMER_MIN_PERIOD_NS;

		if (m->clock.deadline[TIMER_PIT] < soonest)
			timer_arm(m, TIMER_PIT, soonest);
	}
}

void i8254_refresh_irq(struct machine *m)
{
	u64 now = ticks(m);

	pit_schedule(m, now);
	pit_line(m, channel_out(&m->dev.pit.ch[0], now));
}

/* --- programming ------------------------------------------------------------------ */
static void channel_start(struct i8254_channel *c, u64 now)
{
	c->running = true;
	c->start = now + 1; /* loaded by the next clock pulse */
	c->paused = 0;
	c->next_count = 0;
}

static void channel_load(struct i8254_channel *c, u32 count, u64 now)
{
	bool first = !c->loaded;

	if (!count)
		count = c->bcd ? 10000 : 65536;
	c->loaded = true;
	if (is_periodic(c) && c->running && !first) {
		c->next_count = count;
		c->next_at = c->start + (elapsed(c, now) / c->count + 1) * c->count;
		return;
	}
	if (c->mode == 1 || c->mode == 5) {
		/* Loaded by the gate; a running one-shot keeps its length. */
		if (c->running && elapsed(c, now) < c->count)
			c->next_count = count, c->next_at = NEVER;
		else
			c->count = count, c->running = false;
		return;
	}
	c->count = count;
	channel_start(c, now);
	if (!c->gate)
		c->running = false;
}

static void channel_write(struct i8254_channel *c, u8 val, u64 now)
{
	u32 count;

	if (c->rw == RW_WORD && !c->write_msb) {
		c->write_lsb = val;
		c->write_msb = true;
		/* In mode 0 the first byte stops the count and drops the output. */
		if (c->mode == 0) {
			c->running = c->loaded = false;
			c->paused = 0;
		}
		return;
	}
	c->write_msb = false;
	count = c->rw == RW_LSB ? val : (u32)val << 8 | (c->rw == RW_WORD ? c->write_lsb : 0);
	if (c->bcd)
		count = (count & 15) + (count >> 4 & 15) * 10 + (count >> 8 & 15) * 100 +
			(count >> 12 & 15) * 1000;
	if (c->bcd && count > 9999)
		count = 9999;
	channel_load(c, count, now);
}

static void channel_gate(struct i8254_channel *c, bool gate, u64 now)
{
	bool rise = gate && !c->gate, fall = !gate && c->gate;

	c->gate = gate;
	if (!c->loaded)
		return;
	if (c->mode == 0 || c->mode == 4) {
		if (fall && c->running) {
			c->paused = elapsed(c, now);
			c->running = false;
		} else if (rise && !c->running) {
			c->start = now - c->paused;
			c->running = true;
		}
	} else if (rise) {
		if (c->next_count)
			c->count = c->next_count;
		channel_start(c, now);
	} else if (fall && is_periodic(c)) {
		c->running = false;
	}
}

static void latch_count(struct i8254_channel *c, u64 now)
{
	if (c->latched)
		return;
	c->latch = channel_count(c, now);
	c->latched = c->rw == RW_WORD ? 2 : 1;
	c->read_msb = c->rw == RW_MSB;
}

static void latch_status(struct i8254_channel *c, u64 now)
{
	if (c->status_latched)
		return;
	c->status_latched = true;
	c->status = (u8)(c->rw << 4 | c->mode << 1 | (c->bcd ? 1 : 0));
	if (channel_out(c, now))
		c->status |= STATUS_OUT;
	if (!c->loaded || c->next_count || (c->running && now < c->start))
		c->status |= STATUS_NULL;
}

static void write_control(struct i8254 *pit, u8 val, u64 now)
{
	unsigned sel = val >> 6;
	struct i8254_channel *c = &pit->ch[sel];

	if (sel == 3) { /* read-back; the bits are active low */
		for (unsigned i = 0; i < 3; i++) {
			if (!(val & 2u << i))
				continue;
			if (!(val & 0x20))
				latch_count(&pit->ch[i], now);
			if (!(val & 0x10))
				latch_status(&pit->ch[i], now);
		}
		return;
	}
	if (!(val & 0x30)) {
		latch_count(c, now);
		return;
	}
	*c = (struct i8254_channel){
		.rw = val >> 4 & 3,
		.mode = val >> 1 & 7,
		.bcd = val & 1,
		.gate = c->gate,
		.count = c->count,
		.read_msb = (val >> 4 & 3) == RW_MSB,
	};
	if (c->mode > 5)
		c->mode -= 4; /* x10 and x11 */
}

static u8 channel_read(struct i8254_channel *c, u64 now)
{
	u16 val;
	bool msb;

	if (c->status_latched) {
		c->status_latched = false;
		return c->status;
	}
	val = c->latched ? c->latch : channel_count(c, now);
	msb = c->rw == RW_MSB || (c->rw == RW_WORD && c->read_msb);
	if (c->rw == RW_WORD)
		c->read_msb = !msb;
	if (c->latched)
		c->latched--;
	return (u8)(msb ? val >> 8 : val);
}

static u64 pit_read(struct machine *m, void *dev, u64 off, unsigned size)
{
	struct i8254 *pit = dev;
	u64 now = ticks(m);

	(void)size;
	if (off == 3)
		return 0xff;
	channel_sync(&pit->ch[off], now);
	return channel_read(&pit->ch[off], now);
}

static void pit_write(struct machine *m, void *dev, u64 off, u64 val, unsigned size)
{
	struct i8254 *pit = dev;
	u64 now;

	(void)size;
	pit_catch_up(m);
	now = ticks(m);
	for (unsigned i = 0; i < 3; i++)
		channel_sync(&pit->ch[i], now);
	if (off == 3)
		write_control(pit, (u8)val, now);
	else
		channel_write(&pit->ch[off], (u8)val, now);
	if (off == 0 || (off == 3 && val >> 6 == 0))
		i8254_refresh_irq(m);
}

/* --- port 0x61 --------------------------------------------------------------------- */
static u64 port61_read(struct machine *m, void *dev, u64 off, unsigned size)
{
	struct i8254 *pit = dev;
	u64 now = ticks(m);
	/* The refresh request toggles every 15 us, channel 1's usual rate. */
	u8 val = pit->port61 | (now / 18 & 1) << 4;

	(void)off, (void)size;
	channel_sync(&pit->ch[2], now);
	if (channel_out(&pit->ch[2], now))
		val |= 0x20;
	return val;
}

static void port61_write(struct machine *m, void *dev, u64 off, u64 val, unsigned size)
{
	struct i8254 *pit = dev;
	u64 now = ticks(m);

	(void)off, (void)size;
	channel_sync(&pit->ch[2], now);
	pit->port61 = val & 0x0f;
	channel_gate(&pit->ch[2], val & 1, now);
}

int i8254_init(struct machine *m)
{
	const struct bus_range pit = { 0x40, 4, "i8254", 1, 1, pit_read, pit_write, &m->dev.pit };
	const struct bus_range port61 = { 0x61, 1, "port 61h", 1, 1, port61_read, port61_write,
					  &m->dev.pit };
	int err = bus_claim(&m->bus, BUS_PIO, &pit);

	return err ? err : bus_claim(&m->bus, BUS_PIO, &port61);
}

void i8254_reset(struct machine *m)
{
	m->dev.pit = (struct i8254){ .irq_next = NEVER };
	for (unsigned i = 0; i < 3; i++)
		m->dev.pit.ch[i] = (struct i8254_channel){ .rw = RW_WORD, .mode = 3, .gate = i != 2 };
}
