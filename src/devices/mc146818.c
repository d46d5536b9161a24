/* Motorola MC146818 real-time clock with 128 bytes of CMOS memory (ports 0x70, 0x71).
 * Follows the MC146818A data sheet; CMOS locations beyond it as PC firmware uses them.
 *
 * While the clock runs, its time is machine time plus an offset and the time registers
 * are computed when read. While it is stopped (SET bit, or divider held in reset) they
 * live in cmos[]. The flags in register C are brought up to date from the time that has
 * passed since they were last looked at, so no timer runs for a guest that does not
 * enable interrupts, and none while the interrupt line is already up.
 *
 * Not modelled: years before 1970 and after 2199, daylight saving, the square wave
 * output, a day of the week that disagrees with the date. */
#include <string.h>
#include "muldiv.h"
#include "shadowbox/irq.h"
#include "shadowbox/log.h"
#include "timer.h"

enum {
	R_SEC = 0, R_SEC_ALARM = 1, R_MIN = 2, R_MIN_ALARM = 3, R_HOUR = 4, R_HOUR_ALARM = 5,
	R_WDAY = 6, R_MDAY = 7, R_MONTH = 8, R_YEAR = 9, R_A = 10, R_B = 11, R_C = 12, R_D = 13,
	R_CENTURY = 0x32,
};
enum { A_UIP = 0x80, A_DIV_RESET = 0x60, A_DIV_32K = 0x20, A_RATE = 0x0f };
enum { B_SET = 0x80, B_PIE = 0x40, B_AIE = 0x20, B_UIE = 0x10, B_BINARY = 0x04, B_24H = 0x02 };
enum { C_IRQF = 0x80, C_PF = 0x40, C_AF = 0x20, C_UF = 0x10, C_FLAGS = 0x70 };
enum { D_VALID = 0x80, PM = 0x80, WILDCARD = 0xc0 };

#define RTC_HZ 32768UL
#define UIP_NS 244000 /* update in progress is set this long before a second ends */
#define SEC_NS ((i64)NS_PER_SEC)
#define DAY_SEC 86400
/* What nanoseconds in 64 bits can hold with room to subtract; a century register with
 * anything else in it counts as 20. */
#define YEAR_MIN 1970
#define YEAR_MAX 2199

struct civil { i64 year; int month, mday, wday, hour, min, sec; };

/* --- calendar -------------------------------------------------------------------- */
static i64 floor_div(i64 a, i64 b)
{
	i64 q = a / b;

	return a % b < 0 ? q - 1 : q;
}

/* Days since 1970-01-01 of a proleptic Gregorian date; years are counted from March, so
 * that the leap day is the last of its year. */
static i64 days_from_civil(i64 y, int month, int mday)
{
	int shifted = (month + 9) % 12;
	i64 era, doy;

	y -= month <= 2;
	era = floor_div(y, 400);
	y -= era * 400;
	doy = (153 * shifted + 2) / 5 + mday - 1;
	return era * 146097 + y * 365 + y / 4 - y / 100 + doy - 719468;
}

static void civil_from_sec(i64 sec, struct civil *c)
{
	i64 days = floor_div(sec, DAY_SEC), z = days + 719468, era = floor_div(z, 146097);
	i64 doe = z - era * 146097;
	i64 yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	i64 doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	int tod = (int)(sec - days * DAY_SEC), mp = (int)((5 * doy + 2) / 153);

	c->mday = (int)(doy - (153 * mp + 2) / 5 + 1);
	c->month = mp < 10 ? mp + 3 : mp - 9;
	c->year = yoe + era * 400 + (c->month <= 2);
	c->wday = (int)(days + 4 - 7 * floor_div(days + 4, 7)) + 1;
	c->hour = tod / 3600;
	c->min = tod / 60 % 60;
	c->sec = tod % 60;
}

/* --- register formats -------------------------------------------------------------- */
static u8 encode(const struct mc146818 *s, int val)
{
	return (u8)(s->cmos[R_B] & B_BINARY ? val : val / 10 % 10 << 4 | val % 10);
}

static int decode(const struct mc146818 *s, u8 val)
{
	return s->cmos[R_B] & B_BINARY ? val : (val >> 4) * 10 + (val & 15);
}

static u8 encode_hour(const struct mc146818 *s, int hour)
{
	if (s->cmos[R_B] & B_24H)
		return encode(s, hour);
	return encode(s, hour % 12 ? hour % 12 : 12) | (hour >= 12 ? PM : 0);
}

static int decode_hour(const struct mc146818 *s, u8 val)
{
	if (s->cmos[R_B] & B_24H)
		return decode(s, val);
	return decode(s, val & ~PM) % 12 + (val & PM ? 12 : 0);
}

static void store_time(struct mc146818 *s, i64 sec)
{
	struct civil c;

	civil_from_sec(sec, &c);
	s->cmos[R_SEC] = encode(s, c.sec);
	s->cmos[R_MIN] = encode(s, c.min);
	s->cmos[R_HOUR] = encode_hour(s, c.hour);
	s->cmos[R_WDAY] = encode(s, c.wday);
	s->cmos[R_MDAY] = encode(s, c.mday);
	s->cmos[R_MONTH] = encode(s, c.month);
	s->cmos[R_YEAR] = encode(s, (int)(c.year % 100));
	s->cmos[R_CENTURY] = encode(s, (int)(c.year / 100));
}

static i64 load_time(const struct mc146818 *s)
{
	int month = (decode(s, s->cmos[R_MONTH]) + 11) % 12 + 1;
	i64 year = decode(s, s->cmos[R_CENTURY]) * 100 + decode(s, s->cmos[R_YEAR]) % 100;

	if (year < YEAR_MIN || year > YEAR_MAX)
		year = 2000 + year % 100;
	return days_from_civil(year, month, decode(s, s->cmos[R_MDAY])) * DAY_SEC +
	       decode_hour(s, s->cmos[R_HOUR]) * 3600 + decode(s, s->cmos[R_MIN]) * 60 +
	       decode(s, s->cmos[R_SEC]);
}

/* --- running and stopped ------------------------------------------------------------ */
static bool stopped(const struct mc146818 *s)
{
	return (s->cmos[R_B] & B_SET) || (s->cmos[R_A] & A_DIV_RESET) == A_DIV_RESET;
}

static i64 rtc_ns(const struct machine *m, u64 now)
{
	return m->clock.wall_offset + (i64)now + m->dev.rtc.offset_ns;
}

/* Makes the clock show the time in the registers. frac_ns < 0: the second goes on as it
 * was; else this much of it has passed. */
static void set_clock(struct machine *m, u64 now, i64 frac_ns)
{
	struct mc146818 *s = &m->dev.rtc;
	i64 t = rtc_ns(m, now);

	if (frac_ns < 0)
		frac_ns = t - floor_div(t, SEC_NS) * SEC_NS;
	s->offset_ns += load_time(s) * SEC_NS + frac_ns - t;
	s->seen_rtc_ns = rtc_ns(m, now);
	s->seen_clock_ns = now;
}

/* --- alarm ----------------------------------------------------------------------- */
static bool field_match(u8 alarm, int want, int val)
{
	return (alarm & WILDCARD) == WILDCARD || want == val;
}

/* First second >= from at which the alarm matches, within two days; -1 if none. */
static i64 next_alarm(const struct mc146818 *s, i64 from)
{
	const u8 *r = s->cmos;
	int hour = decode_hour(s, r[R_HOUR_ALARM]), min = decode(s, r[R_MIN_ALARM]);
	int sec = decode(s, r[R_SEC_ALARM]);
	i64 day = floor_div(from, DAY_SEC) * DAY_SEC;

	if (!field_match(r[R_MIN_ALARM], min % 60, min) || !field_match(r[R_SEC_ALARM], sec % 60, sec))
		return -1;
	for (int h = 0; h < 48; h++) {
		if (!field_match(r[R_HOUR_ALARM], hour, h % 24) || day + (h + 1) * 3600 <= from)
			continue;
		for (int mi = 0; mi < 60; mi++) {
			i64 base = day + h * 3600 + mi * 60;

			if (!field_match(r[R_MIN_ALARM], min, mi) || base + 60 <= from)
				continue;
			if ((r[R_SEC_ALARM] & WILDCARD) == WILDCARD)
				return base > from ? base : from;
			if (base + sec >= from)
				return base + sec;
		}
	}
	return -1;
}

/* --- flags and interrupt ----------------------------------------------------------- */
/* Ticks of the 32768 Hz clock between periodic interrupts, 0: none. */
static u64 period_ticks(const struct mc146818 *s)
{
	unsigned rate = s->cmos[R_A] & A_RATE;

	if (!rate || (s->cmos[R_A] & A_DIV_RESET) == A_DIV_RESET)
		return 0;
	return 1UL << (rate <= 2 ? rate + 6 : rate - 1);
}

static u64 rtc_ticks(u64 ns)
{
	return mul_div(ns, RTC_HZ, NS_PER_SEC);
}

static void rtc_line(struct machine *m)
{
	if (!hpet_legacy(m))
		irq_set(m, IRQ_RTC, (m->dev.rtc.cmos[R_C] & C_IRQF) != 0);
}

static void rtc_sync(struct machine *m, u64 now)
{
	struct mc146818 *s = &m->dev.rtc;
	i64 t = rtc_ns(m, now), sec = floor_div(t, SEC_NS), seen = floor_div(s->seen_rtc_ns, SEC_NS);
	u64 period = period_ticks(s);

	if (period && rtc_ticks(now) / period != rtc_ticks(s->seen_clock_ns) / period)
		s->cmos[R_C] |= C_PF;
	if (!stopped(s) && sec > seen) {
		i64 alarm = next_alarm(s, seen + 1);

		s->cmos[R_C] |= C_UF;
		if (alarm >= 0 && alarm <= sec)
			s->cmos[R_C] |= C_AF;
	}
	s->seen_rtc_ns = t;
	s->seen_clock_ns = now;
	if (s->cmos[R_C] & s->cmos[R_B] & C_FLAGS)
		s->cmos[R_C] |= C_IRQF;
	else
		s->cmos[R_C] &= ~C_IRQF;
	rtc_line(m);
}

static u64 sooner(u64 best, const struct machine *m, i64 rtc_sec)
{
	i64 ns = rtc_sec * SEC_NS - m->clock.wall_offset - m->dev.rtc.offset_ns;

	return ns >= 0 && (u64)ns < best ? (u64)ns : best;
}

static void rtc_schedule(struct machine *m, u64 now)
{
	struct mc146818 *s = &m->dev.rtc;
	u8 want = s->cmos[R_B] & C_FLAGS & ~s->cmos[R_C];
	i64 sec = floor_div(rtc_ns(m, now), SEC_NS);
	u64 next = TIMER_OFF, period = period_ticks(s);

	if (s->cmos[R_C] & C_IRQF)
		want = 0;
	if ((want & C_PF) && period)
		next = mul_div_up((rtc_ticks(now) / period + 1) * period, NS_PER_SEC, RTC_HZ);
	if ((want & C_UF) && !stopped(s))
		next = sooner(next, m, sec + 1);
	if ((want & C_AF) && !stopped(s)) {
		i64 alarm = next_alarm(s, sec + 1);

		if (alarm >= 0)
			next = sooner(next, m, alarm);
	}
	timer_arm(m, TIMER_RTC, next);
}

void mc146818_timer(struct machine *m)
{
	u64 now = clock_now(&m->clock);

	rtc_sync(m, now);
	rtc_schedule(m, now);
}

void mc146818_refresh_irq(struct machine *m)
{
	rtc_line(m);
}

/* --- ports ------------------------------------------------------------------------- */
static bool is_time(u8 reg)
{
	return reg == R_SEC || reg == R_MIN || reg == R_HOUR || (reg >= R_WDAY && reg <= R_YEAR) ||
	       reg == R_CENTURY;
}

static u8 rtc_read(struct machine *m, u8 reg, u64 now)
{
	struct mc146818 *s = &m->dev.rtc;
	i64 t = rtc_ns(m, now), sec = floor_div(t, SEC_NS);
	u8 val;

	if (is_time(reg) && !stopped(s))
		store_time(s, sec);
	if (reg == R_A && !stopped(s) && t - sec * SEC_NS >= SEC_NS - UIP_NS)
		return s->cmos[R_A] | A_UIP;
	if (reg != R_C)
		return s->cmos[reg];
	rtc_sync(m, now);
	val = s->cmos[R_C];
	s->cmos[R_C] = 0;
	rtc_line(m);
	rtc_schedule(m, now);
	return val;
}

/* Registers A and B stop, start and reformat the clock. */
static void write_control(struct machine *m, u8 reg, u8 val, u64 now)
{
	struct mc146818 *s = &m->dev.rtc;
	bool was_stopped = stopped(s);
	bool div_was_reset = (s->cmos[R_A] & A_DIV_RESET) == A_DIV_RESET;

	if (!was_stopped)
		store_time(s, floor_div(rtc_ns(m, now), SEC_NS));
	if (reg == R_A)
		s->cmos[R_A] = val & ~A_UIP;
	else /* SET also clears the update interrupt's enable bit */
		s->cmos[R_B] = val & B_SET ? val & ~B_UIE : val;
	/* After the divider is released, the first update comes half a second later. */
	if (was_stopped && !stopped(s))
		set_clock(m, now, div_was_reset ? SEC_NS / 2 : -1);
}

static void rtc_write(struct machine *m, u8 reg, u8 val, u64 now)
{
	struct mc146818 *s = &m->dev.rtc;

	rtc_sync(m, now);
	if (reg == R_A || reg == R_B) {
		write_control(m, reg, val, now);
	} else if (reg == R_C || reg == R_D) {
		return;
	} else if (is_time(reg) && !stopped(s)) {
		store_time(s, floor_div(rtc_ns(m, now), SEC_NS));
		s->cmos[reg] = val;
		set_clock(m, now, -1);
	} else {
		s->cmos[reg] = val;
	}
	rtc_sync(m, now);
	rtc_schedule(m, now);
}

static u64 port_read(struct machine *m, void *dev, u64 off, unsigned size)
{
	struct mc146818 *s = dev;

	(void)size;
	return off ? rtc_read(m, s->index, clock_now(&m->clock)) : 0xff;
}

static void port_write(struct machine *m, void *dev, u64 off, u64 val, unsigned size)
{
	struct mc146818 *s = dev;

	(void)size;
	if (off)
		rtc_write(m, s->index, (u8)val, clock_now(&m->clock));
	else
		s->index = val & 0x7f; /* bit 7 masks NMI, of which the board has none */
}

/* --- start -------------------------------------------------------------------------- */
static void put16(u8 *cmos, u8 lo, u8 hi, u64 val)
{
	if (val > 0xffff)
		val = 0xffff;
	cmos[lo] = (u8)val;
	cmos[hi] = (u8)(val >> 8);
}

/* Memory sizes where PC firmware has always kept them. */
static void fill_cmos(struct machine *m)
{
	u8 *c = m->dev.rtc.cmos;
	u64 low = m->phys.low_end, high = m->phys.high_end;
	u64 ext_kib = low > 0x100000 ? (low - 0x100000) >> 10 : 0;

	c[0x14] = 0x06; /* equipment: FPU, PS/2 mouse */
	put16(c, 0x15, 0x16, 640);
	put16(c, 0x17, 0x18, ext_kib);
	put16(c, 0x30, 0x31, ext_kib);
	put16(c, 0x34, 0x35, low > 0x1000000 ? (low - 0x1000000) >> 16 : 0);
	high = high > PHYS_4G ? (high - PHYS_4G) >> 16 : 0;
	put16(c, 0x5b, 0x5c, high & 0xffff);
	c[0x5d] = (u8)(high >> 16);
	c[0x5f] = LAPIC_CPUS - 1;
}

int mc146818_init(struct machine *m)
{
	struct mc146818 *s = &m->dev.rtc;
	const struct bus_range r = { 0x70, 2, "mc146818", 1, 1, port_read, port_write, s };

	memset(s, 0, sizeof(*s));
	s->cmos[R_A] = A_DIV_32K | 6;
	s->cmos[R_B] = B_24H;
	s->cmos[R_D] = D_VALID;
	fill_cmos(m);
	return bus_claim(&m->bus, BUS_PIO, &r);
}

/* RESET clears interrupt enables and flags; the time is not touched. */
void mc146818_reset(struct machine *m)
{
	struct mc146818 *s = &m->dev.rtc;
	u64 now = clock_now(&m->clock);

	s->index = 0;
	s->cmos[R_B] &= ~(B_PIE | B_AIE | B_UIE);
	s->cmos[R_C] = 0;
	s->seen_rtc_ns = rtc_ns(m, now);
	s->seen_clock_ns = now;
	rtc_schedule(m, now);
}
