/* Clock, i8254, MC146818, HPET and the ACPI PM timer. */
#include "test_devices_fixture.h"

#define PIT_NS(ticks) ((u64)(ticks) * SEC / 1193182)

static void clock_scales_and_arms(void **state)
{
	struct clock c;
	u64 a, b;

	(void)state;
	clock_init(&c, 2500000, 5);
	assert_true(clock_next_deadline(&c) == TIMER_OFF);
	a = clock_now(&c);
	b = clock_now(&c);
	assert_true(b >= a && a < 10 * SEC);
	c.tsc_start = 0;
	assert_true(clock_tsc_at(&c, SEC) - 2500000000UL <= 3);
	for (u64 ns = 1; ns < 1000 * SEC; ns = ns * 3 + 1) {
		u64 tsc = clock_tsc_at(&c, ns);

		assert_true((u64)(((unsigned __int128)tsc * c.mult) >> 32) >= ns);
		assert_true((u64)(((unsigned __int128)(tsc - 1) * c.mult) >> 32) < ns);
		assert_true(clock_ns_at_tsc(&c, tsc) >= ns);
	}
	assert_int_equal(clock_ns_at_tsc(&c, 0), 0);
	assert_true(clock_tsc_at(&c, ~0UL) == ~0UL);
	clock_arm(&c, TIMER_PM, 10);
	clock_arm(&c, TIMER_RTC, 5);
	assert_int_equal(clock_next_deadline(&c), 5);
	clock_arm(&c, TIMER_RTC, TIMER_OFF);
	assert_int_equal(clock_next_deadline(&c), 10);
}

/* --- i8254 ------------------------------------------------------------------------- */
static unsigned pit_interrupts(u64 ns, u64 step)
{
	unsigned n = 0;

	for (u64 t = 0; t < ns; t += step) {
		run_for(step);
		if (irq_ack(m, cpu) == 0x30) {
			n++;
			outb(0x20, 0x20);
		}
	}
	return n;
}

static void pit_silent_until_programmed(void **state)
{
	(void)state;
	pic_program(0);
	assert_int_equal(pit_interrupts(SEC, 10 * MS), 0);
	assert_true(clock_next_deadline(&m->clock) == TIMER_OFF);
}

static void pit_periodic(void **state)
{
	(void)state;
	pic_program(0);
	for (int mode = 2; mode <= 3; mode++) {
		outb(0x43, (u8)(0x30 | mode << 1));
		outb(0x40, 11932 & 0xff); /* 100 Hz */
		outb(0x40, 11932 >> 8);
		(void)pit_interrupts(MS, MS);
		assert_in_range(pit_interrupts(SEC, MS), 99, 101);
	}
	/* A new count takes over at the end of the period. */
	outb(0x43, 0x34);
	outb(0x40, 0x00);
	outb(0x40, 0x10);
	(void)pit_interrupts(10 * US, 10 * US);
	outb(0x40, 0x00);
	outb(0x40, 0x20);
	assert_int_equal(pit_interrupts(PIT_NS(0x1000), 10 * US), 1);
	assert_int_equal(pit_interrupts(PIT_NS(0x1f00), 10 * US), 0);
	assert_int_equal(pit_interrupts(PIT_NS(0x100), 10 * US), 1);
}

static void pit_oneshot(void **state)
{
	(void)state;
	pic_program(0);
	for (int mode = 0; mode <= 4; mode += 4) {
		outb(0x43, (u8)(0x30 | mode << 1));
		(void)pit_interrupts(US, US);
		outb(0x40, 0x00);
		outb(0x40, 0x10);
		assert_int_equal(pit_interrupts(PIT_NS(0xff0), 10 * US), 0);
		assert_int_equal(pit_interrupts(PIT_NS(0x20), US), 1);
		assert_int_equal(pit_interrupts(SEC, MS), 0);
		assert_true(clock_next_deadline(&m->clock) == TIMER_OFF);
	}
}

/* What operating systems do to measure their clocks. */
static void pit_channel2_gate(void **state)
{
	u8 hi;

	(void)state;
	outb(0x61, (inb(0x61) & ~2) | 1);
	outb(0x43, 0xb0);
	outb(0x42, 0x9b);
	outb(0x42, 0x2e); /* 11931: 10 ms */
	assert_int_equal(inb(0x61) & 0x20, 0);
	advance(9 * MS);
	assert_int_equal(inb(0x61) & 0x20, 0);
	advance(MS + 2 * US);
	assert_int_equal(inb(0x61) & 0x20, 0x20);
	/* LSB, MSB pairs count down without latching. */
	outb(0x43, 0xb0);
	outb(0x42, 0xff);
	outb(0x42, 0xff);
	advance(PIT_NS(0x180) + US);
	(void)inb(0x42);
	hi = inb(0x42);
	assert_int_equal(hi, 0xfe);
	/* The gate stops the count and lets it go on. */
	outb(0x61, 0);
	advance(SEC);
	(void)inb(0x42);
	assert_int_equal(inb(0x42), 0xfe);
	outb(0x61, 1);
	advance(PIT_NS(0x100));
	(void)inb(0x42);
	assert_int_equal(inb(0x42), 0xfd);
	hi = inb(0x61) & 0x10;
	advance(16 * US);
	assert_int_not_equal(inb(0x61) & 0x10, hi);
}

static void pit_latch_readback_bcd(void **state)
{
	(void)state;
	outb(0x43, 0x34);
	outb(0x40, 0x00);
	outb(0x40, 0x80);
	advance(PIT_NS(0x1000) + 2 * US);
	outb(0x43, 0x00);
	advance(MS);
	assert_in_range(inb(0x40), 0xfc, 0xff);
	assert_int_equal(inb(0x40), 0x6f);
	outb(0x43, 0xe2); /* status of channel 0 */
	assert_int_equal(inb(0x40) & 0x7f, 0x34);
	outb(0x43, 0xc2); /* status, then count */
	assert_int_equal(inb(0x40) & 0x3f, 0x34);
	(void)inb(0x40);
	(void)inb(0x40);
	outb(0x43, 0x34);
	outb(0x43, 0xe2);
	assert_int_equal(inb(0x40) & 0x40, 0x40); /* null count */
	outb(0x43, 0x35); /* BCD: 5000, after 1000 ticks 4000 */
	outb(0x40, 0x00);
	outb(0x40, 0x50);
	advance(PIT_NS(1000) + 2 * US);
	outb(0x43, 0x00);
	assert_in_range(inb(0x40), 0x97, 0x99);
	assert_int_equal(inb(0x40), 0x39);
}

static void pit_odd_programming_is_harmless(void **state)
{
	u32 seed = 1;

	(void)state;
	for (int i = 0; i < 200000; i++) {
		seed = seed * 1664525 + 1013904223;
		if (seed >> 31)
			outb((u16)(0x40 + (seed >> 20 & 3)), (u8)(seed >> 8));
		else
			(void)inb((u16)(0x40 + (seed >> 20 & 3)));
		if ((seed & 15) == 0)
			outb(0x61, (u8)(seed >> 8));
		if ((seed & 7) == 0)
			run_for(seed >> 12);
	}
}

/* --- MC146818 ---------------------------------------------------------------------- */
static u8 cmos(u8 reg)
{
	outb(0x70, reg);
	return inb(0x71);
}

static void set_cmos(u8 reg, u8 val)
{
	outb(0x70, reg);
	outb(0x71, val);
}

static void rtc_reads_time(void **state)
{
	(void)state;
	assert_int_equal(cmos(0), 0x56);
	assert_int_equal(cmos(2), 0x34);
	assert_int_equal(cmos(4), 0x12);
	assert_int_equal(cmos(6), 4); /* Wednesday */
	assert_int_equal(cmos(7), 0x15);
	assert_int_equal(cmos(8), 0x03);
	assert_int_equal(cmos(9), 0x23);
	assert_int_equal(cmos(0x32), 0x20);
	assert_int_equal(cmos(13), 0x80);
	advance(5 * SEC);
	assert_int_equal(cmos(0), 0x01);
	assert_int_equal(cmos(2), 0x35);
	set_cmos(11, 0x04); /* binary, 12 hours */
	assert_int_equal(cmos(2), 35);
	assert_int_equal(cmos(4), 12 | 0x80);
	set_cmos(4, 1);
	assert_int_equal(cmos(4), 1);
	set_cmos(11, 0x06);
	assert_int_equal(cmos(4), 1);
}

static void rtc_sets_time(void **state)
{
	static const u8 when[][2] = { { 0, 0x59 }, { 2, 0x59 }, { 4, 0x23 }, { 7, 0x28 },
				      { 8, 0x02 }, { 9, 0x24 }, { 0x32, 0x20 } };

	(void)state;
	set_cmos(11, 0x82);
	set_cmos(10, 0x76); /* divider in reset */
	for (unsigned i = 0; i < ARRAY_LEN(when); i++)
		set_cmos(when[i][0], when[i][1]);
	advance(10 * SEC);
	assert_int_equal(cmos(0), 0x59);
	set_cmos(11, 0x02);
	set_cmos(10, 0x26);
	advance(499 * MS);
	assert_int_equal(cmos(0), 0x59);
	assert_int_equal(cmos(10) & 0x80, 0);
	advance(MS - 100 * US);
	assert_int_equal(cmos(10) & 0x80, 0x80); /* update in progress */
	advance(200 * US);
	assert_int_equal(cmos(10) & 0x80, 0);
	assert_int_equal(cmos(0), 0);
	assert_int_equal(cmos(4), 0);
	assert_int_equal(cmos(7), 0x29); /* leap year */
	assert_int_equal(cmos(8), 0x02);
	assert_int_equal(cmos(6), 5);
	devices_reset(m); /* keeps the time */
	assert_int_equal(cmos(7), 0x29);
}

static void rtc_interrupts(void **state)
{
	unsigned n = 0;

	(void)state;
	pic_program(0);
	set_cmos(10, 0x26); /* 1024 Hz */
	set_cmos(11, 0x42);
	(void)cmos(12);
	for (int i = 0; i < 4000; i++) {
		run_for(250 * US);
		if (irq_ack(m, cpu) == 0x38) {
			n++;
			assert_int_equal(cmos(12) & 0xc0, 0xc0);
			outb(0xa0, 0x20);
			outb(0x20, 0x20);
		}
	}
	assert_in_range(n, 1022, 1026);
	set_cmos(11, 0x12); /* update ended */
	(void)cmos(12);
	run_for(1001 * MS);
	assert_int_equal(irq_ack(m, cpu), 0x38);
	outb(0xa0, 0x20);
	outb(0x20, 0x20);
	assert_true(clock_next_deadline(&m->clock) == TIMER_OFF); /* not before C is read */
	assert_int_equal(cmos(12) & 0x90, 0x90);
	set_cmos(11, 0x22); /* alarm at 12:35:10 */
	set_cmos(1, 0x10);
	set_cmos(3, 0x35);
	set_cmos(5, 0xff);
	(void)cmos(12);
	run_for(3600 * SEC);
	assert_int_equal(irq_ack(m, cpu), 0x38);
	assert_int_equal(cmos(12) & 0xa0, 0xa0);
	outb(0xa0, 0x20);
	outb(0x20, 0x20);
	set_cmos(1, 0x77); /* never */
	assert_true(clock_next_deadline(&m->clock) == TIMER_OFF);
}

static void rtc_flags_without_interrupts(void **state)
{
	(void)state;
	(void)cmos(12);
	advance(1100 * MS);
	assert_int_equal(cmos(12) & 0xd0, 0x50);
	assert_int_equal(cmos(12) & 0x10, 0);
}

static void rtc_memory_sizes(void **state)
{
	(void)state;
	assert_int_equal(cmos(0x15) | cmos(0x16) << 8, 640);
	assert_int_equal(cmos(0x17) | cmos(0x18) << 8, 0xffff);
	assert_int_equal(cmos(0x34) | cmos(0x35) << 8, (128 - 16) * 16);
	assert_int_equal(cmos(0x5b) | cmos(0x5c) << 8 | cmos(0x5d) << 16, 0);
}

static void rtc_garbage_is_harmless(void **state)
{
	u32 seed = 7;

	(void)state;
	for (int i = 0; i < 100000; i++) {
		seed = seed * 1664525 + 1013904223;
		if (seed & 1)
			set_cmos(seed >> 20 & 15, (u8)(seed >> 8));
		else
			(void)cmos(seed >> 20 & 0x7f);
		if ((seed & 0x3f) == 2)
			run_for(seed >> 4);
	}
}

/* --- HPET -------------------------------------------------------------------------- */
static void hpet_counts(void **state)
{
	u64 a;

	(void)state;
	assert_true(bus_read(m, BUS_MMIO, HPET_BASE, 8) == (10000000UL << 32 | 0x8086a201));
	assert_int_equal(rd32(HPET_BASE + 4), 10000000);
	assert_int_equal(rd32(HPET_BASE + 0xf0), 0);
	advance(MS);
	assert_int_equal(rd32(HPET_BASE + 0xf0), 0);
	bus_write(m, BUS_MMIO, HPET_BASE + 0xf0, 0x1234567890UL, 8);
	wr32(HPET_BASE + 0x10, 1);
	advance(MS);
	a = bus_read(m, BUS_MMIO, HPET_BASE + 0xf0, 8);
	assert_int_equal(a, 0x1234567890UL + 100000);
	assert_int_equal(rd32(HPET_BASE + 0xf4), 0x12);
	wr32(HPET_BASE + 0x10, 0);
	advance(MS);
	assert_true(bus_read(m, BUS_MMIO, HPET_BASE + 0xf0, 8) == a);
}

static void hpet_legacy_oneshot(void **state)
{
	(void)state;
	ioapic_write_entry(2, 0x30);
	wr32(HPET_BASE + 0x10, 3);
	wr32(HPET_BASE + 0x100, 0x104); /* 32-bit, enabled */
	assert_false(irq_pending(m, cpu)); /* the old comparator does not fire */
	wr32(HPET_BASE + 0x108, rd32(HPET_BASE + 0xf0) + 1000);
	run_for(9 * US);
	assert_false(irq_pending(m, cpu));
	run_for(2 * US);
	assert_int_equal(irq_ack(m, cpu), 0x30);
	eoi();
	run_for(SEC);
	assert_false(irq_pending(m, cpu));
	wr32(HPET_BASE + 0x100, 0x104); /* rewriting the configuration does not either */
	run_for(MS);
	assert_false(irq_pending(m, cpu));
	/* Armed too late: fires at once. */
	wr32(HPET_BASE + 0x108, rd32(HPET_BASE + 0xf0) - 5);
	run_for(US);
	assert_int_equal(irq_ack(m, cpu), 0x30);
	eoi();
	/* The PIT is cut off from the line until legacy mode ends. */
	outb(0x43, 0x34);
	outb(0x40, 0);
	outb(0x40, 0x10);
	run_for(10 * MS);
	assert_false(irq_pending(m, cpu));
	wr32(HPET_BASE + 0x10, 1);
	run_for(10 * MS);
	assert_true(irq_pending(m, cpu));
}

static void hpet_periodic(void **state)
{
	unsigned n = 0;
	u32 start;

	(void)state;
	ioapic_write_entry(8, 0x38);
	wr32(HPET_BASE + 0x10, 3);
	start = rd32(HPET_BASE + 0xf0);
	wr32(HPET_BASE + 0x120, 0x14c); /* periodic, set value, 32-bit, enabled */
	wr32(HPET_BASE + 0x128, start + 100000);
	wr32(HPET_BASE + 0x128, 100000);
	assert_int_equal(rd32(HPET_BASE + 0x128), start + 100000);
	assert_int_equal(rd32(HPET_BASE + 0x120) & 0x40, 0);
	for (int i = 0; i < 1000; i++) {
		run_for(500 * US);
		if (irq_ack(m, cpu) == 0x38) {
			n++;
			eoi();
		}
	}
	assert_in_range(n, 499, 500);
	advance(50 * MS); /* late: merged, and the phase stays */
	run_for(US);
	assert_int_equal((rd32(HPET_BASE + 0x128) - start) % 100000, 0);
}

static void hpet_level(void **state)
{
	(void)state;
	ioapic_write_entry(2, 0x8045);
	wr32(HPET_BASE + 0x10, 1);
	wr32(HPET_BASE + 0x140, 0x106 | 2 << 9); /* timer 2 to line 2, level */
	wr32(HPET_BASE + 0x148, rd32(HPET_BASE + 0xf0) + 100);
	run_for(2 * US);
	assert_int_equal(rd32(HPET_BASE + 0x20), 4);
	assert_int_equal(irq_ack(m, cpu), 0x45);
	eoi();
	assert_int_equal(irq_ack(m, cpu), 0x45);
	wr32(HPET_BASE + 0x20, 4);
	eoi();
	assert_int_equal(rd32(HPET_BASE + 0x20), 0);
	assert_false(irq_pending(m, cpu));
}

/* --- PM timer ---------------------------------------------------------------------- */
static void pm_timer_counts(void **state)
{
	u32 a = (u32)in(0x608, 4), b;

	(void)state;
	advance(SEC);
	b = (u32)in(0x608, 4);
	assert_in_range((b - a) & 0xffffff, 3579545 - 1, 3579545 + 1);
	assert_int_equal(b >> 24, 0);
}

static void pm_timer_overflow_event(void **state)
{
	(void)state;
	ioapic_write_entry(9, 0x8049);
	out(0x602, 1, 2);
	run_for(10 * SEC);
	assert_int_equal(in(0x600, 2) & 1, 1);
	assert_false(irq_pending(m, cpu)); /* SCI_EN is off */
	outb(0xb2, 0xf1);
	assert_int_equal(in(0x604, 2) & 1, 1);
	assert_int_equal(irq_ack(m, cpu), 0x49);
	out(0x600, 1, 2);
	eoi();
	assert_false(irq_pending(m, cpu));
	run_for(2400 * MS);
	assert_true(irq_pending(m, cpu));
	outb(0xb2, 0xf0);
	assert_int_equal(in(0x604, 2) & 1, 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, fixture_setup, fixture_teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(clock_scales_and_arms), T(pit_silent_until_programmed), T(pit_periodic), T(pit_oneshot),
		T(pit_channel2_gate), T(pit_latch_readback_bcd), T(pit_odd_programming_is_harmless),
		T(rtc_reads_time), T(rtc_sets_time), T(rtc_interrupts), T(rtc_flags_without_interrupts),
		T(rtc_memory_sizes), T(rtc_garbage_is_harmless), T(hpet_counts), T(hpet_legacy_oneshot),
		T(hpet_periodic), T(hpet_level), T(pm_timer_counts), T(pm_timer_overflow_event),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
