/* Bus, interrupt router, i8259, IO-APIC and local APIC. */
#include <stddef.h>
#include "test_devices_fixture.h"

/* --- bus --------------------------------------------------------------------------- */
static u64 log_off[16], log_val[16];
static unsigned log_size[16], log_n;

static u64 fake_read(struct machine *mm, void *dev, u64 off, unsigned size)
{
	(void)mm, (void)dev;
	log_off[log_n] = off;
	log_size[log_n++] = size;
	return 0x8877665544332211UL >> (off * 8);
}

static void fake_write(struct machine *mm, void *dev, u64 off, u64 val, unsigned size)
{
	(void)mm, (void)dev;
	log_off[log_n] = off;
	log_val[log_n] = val;
	log_size[log_n++] = size;
}

static struct bus_range fake(u64 start, u64 len, u8 min, u8 max)
{
	return (struct bus_range){ start, len, "fake", min, max, fake_read, fake_write, NULL };
}

static void bus_refuses_overlap(void **state)
{
	struct bus_range a = fake(0x1000, 8, 1, 4), b = fake(0x1007, 2, 1, 1),
			 c = fake(0x0fff, 2, 1, 1), d = fake(0x1008, 1, 1, 1), e = fake(0x0ff0, 0x100, 1, 1);

	(void)state;
	assert_int_equal(bus_claim(&m->bus, BUS_PIO, &a), 0);
	assert_int_equal(bus_claim(&m->bus, BUS_PIO, &b), -17);
	assert_int_equal(bus_claim(&m->bus, BUS_PIO, &c), -17);
	assert_int_equal(bus_claim(&m->bus, BUS_PIO, &e), -17);
	assert_int_equal(bus_claim(&m->bus, BUS_PIO, &d), 0);
	assert_int_equal(bus_claim(&m->bus, BUS_MMIO, &b), 0);
	for (unsigned i = 0; m->bus.count[BUS_PIO] < BUS_RANGES; i++) {
		struct bus_range r = fake(0x2000 + i, 1, 1, 1);

		assert_int_equal(bus_claim(&m->bus, BUS_PIO, &r), 0);
	}
	a = fake(0x3000, 1, 1, 1);
	assert_int_equal(bus_claim(&m->bus, BUS_PIO, &a), -28);
}

static void bus_unclaimed_reads_ones(void **state)
{
	(void)state;
	assert_int_equal(in(0x5000, 1), 0xff);
	assert_int_equal(in(0x5000, 2), 0xffff);
	assert_int_equal(in(0x5000, 4), 0xffffffff);
	assert_true(bus_read(m, BUS_MMIO, 0xd0000000, 8) == ~0UL);
	out(0x5000, 1, 4);
}

static void bus_splits_accesses(void **state)
{
	struct bus_range bytes = fake(0x1000, 4, 1, 1), wide = fake(0x1004, 4, 4, 4);

	(void)state;
	assert_int_equal(bus_claim(&m->bus, BUS_PIO, &bytes), 0);
	assert_int_equal(bus_claim(&m->bus, BUS_PIO, &wide), 0);
	log_n = 0;
	assert_int_equal(in(0x1000, 4), 0x44332211);
	assert_int_equal(log_n, 4);
	log_n = 0;
	out(0x1000, 0xa1b2, 2);
	assert_int_equal(log_n, 2);
	assert_int_equal(log_val[0], 0xb2);
	assert_int_equal(log_val[1], 0xa1);
	assert_int_equal(log_off[1], 1);
	/* Too narrow for the device: refused. */
	log_n = 0;
	assert_int_equal(in(0x1004, 2), 0xffff);
	assert_int_equal(log_n, 0);
	assert_int_equal(in(0x1004, 4), 0x44332211);
	/* Runs over the end of what is claimed. */
	log_n = 0;
	assert_int_equal(in(0x0fff, 2), 0x11ff);
	assert_int_equal(log_n, 1);
}

/* --- i8259 ------------------------------------------------------------------------- */
static void pic_delivers_by_priority(void **state)
{
	(void)state;
	pic_program(0);
	cpu->event_pending = 0;
	irq_set(m, 4, true);
	assert_int_equal(cpu->event_pending, 1);
	irq_set(m, 1, true);
	assert_true(irq_pending(m, cpu));
	assert_int_equal(irq_ack(m, cpu), 0x31);
	assert_false(irq_pending(m, cpu)); /* 4 is lower than 1 in service */
	outb(0x20, 0x20);
	assert_int_equal(irq_ack(m, cpu), 0x34);
	outb(0x20, 0x20);
	assert_int_equal(irq_ack(m, cpu), -1);
	/* Still high: no new edge. */
	assert_false(irq_pending(m, cpu));
	irq_set(m, 4, false);
	irq_set(m, 4, true);
	assert_int_equal(irq_ack(m, cpu), 0x34);
}

static void pic_cascade_and_mask(void **state)
{
	(void)state;
	pic_program(0xffff);
	irq_set(m, 8, true);
	assert_false(irq_pending(m, cpu));
	outb(0xa1, 0xfe);
	assert_false(irq_pending(m, cpu));
	cpu->event_pending = 0;
	outb(0x21, 0xfb);
	assert_int_equal(cpu->event_pending, 1);
	assert_int_equal(irq_ack(m, cpu), 0x38);
	outb(0xa0, 0x0b);
	assert_int_equal(inb(0xa0), 1); /* in-service register */
	outb(0x20, 0x0b);
	assert_int_equal(inb(0x20), 4);
	outb(0xa0, 0x20);
	outb(0x20, 0x20);
	assert_int_equal(inb(0x20), 0);
	assert_int_equal(inb(0xa1), 0xfe);
}

static void pic_level_triggered(void **state)
{
	(void)state;
	pic_program(0);
	outb(0x4d1, 0x02);
	assert_int_equal(inb(0x4d1), 0x02);
	irq_set(m, 9, true);
	assert_int_equal(irq_ack(m, cpu), 0x39);
	outb(0xa0, 0x20);
	outb(0x20, 0x20);
	assert_int_equal(irq_ack(m, cpu), 0x39); /* still asserted */
	irq_set(m, 9, false);
	outb(0xa0, 0x20);
	outb(0x20, 0x20);
	assert_false(irq_pending(m, cpu));
}

static void pic_specific_eoi_rotate_auto(void **state)
{
	(void)state;
	pic_program(0);
	outb(0x20, 0xc3); /* lowest priority is 3: 4 comes first */
	irq_set(m, 0, true);
	irq_set(m, 4, true);
	assert_int_equal(irq_ack(m, cpu), 0x34);
	outb(0x20, 0x64);
	assert_int_equal(irq_ack(m, cpu), 0x30);
	outb(0x20, 0x60);
	outb(0x20, 0x11);
	outb(0x21, 0x40);
	outb(0x21, 0x04);
	outb(0x21, 0x03); /* automatic EOI */
	irq_set(m, 5, true);
	assert_int_equal(irq_ack(m, cpu), 0x45);
	outb(0x20, 0x0b);
	assert_int_equal(inb(0x20), 0);
}

static void pic_auto_eoi_slave_keeps_requests(void **state)
{
	(void)state;
	pic_program(0);
	for (int i = 0; i < 2; i++) {
		u16 base = i ? 0xa0 : 0x20;

		outb(base, 0x11);
		outb(base + 1, i ? 0x38 : 0x30);
		outb(base + 1, i ? 2 : 4);
		outb(base + 1, 0x03);
	}
	irq_set(m, 8, true);
	irq_set(m, 12, true);
	assert_int_equal(irq_ack(m, cpu), 0x38);
	assert_int_equal(irq_ack(m, cpu), 0x3c);
	assert_false(irq_pending(m, cpu));
}

static void pic_poll(void **state)
{
	(void)state;
	pic_program(0);
	irq_set(m, 3, true);
	outb(0x20, 0x0c);
	assert_int_equal(inb(0x20), 0x83);
	outb(0x20, 0x0c);
	assert_int_equal(inb(0x20), 0);
}

/* --- IO-APIC and local APIC -------------------------------------------------------- */
static void ioapic_registers(void **state)
{
	(void)state;
	wr32(IOAPIC_BASE, 1);
	assert_int_equal(rd32(IOAPIC_BASE + 0x10), 0x00170020);
	assert_true(ioapic_read_entry(5) == 0x10000);
	ioapic_write_entry(5, ~0UL);
	/* Delivery status and remote IRR cannot be written. */
	assert_true(ioapic_read_entry(5) == (0xff0000000001ffffUL & ~0x5000UL));
}

static void ioapic_edge_and_masked_edge(void **state)
{
	(void)state;
	ioapic_write_entry(4, 0x10041);
	irq_set(m, 4, true); /* masked: lost */
	ioapic_write_entry(4, 0x41);
	assert_false(irq_pending(m, cpu));
	irq_set(m, 4, false);
	cpu->event_pending = 0;
	irq_set(m, 4, true);
	assert_int_equal(cpu->event_pending, 1);
	assert_int_equal(irq_ack(m, cpu), 0x41);
	assert_false(irq_pending(m, cpu));
	eoi();
	assert_false(irq_pending(m, cpu));
}

static void ioapic_level_eoi(void **state)
{
	(void)state;
	ioapic_write_entry(9, 0x8051);
	irq_set(m, 9, true);
	assert_true(ioapic_read_entry(9) & 0x4000);
	assert_int_equal(irq_ack(m, cpu), 0x51);
	cpu->event_pending = 0;
	eoi(); /* still asserted: comes again */
	assert_int_equal(cpu->event_pending, 1);
	assert_int_equal(irq_ack(m, cpu), 0x51);
	irq_set(m, 9, false);
	eoi();
	assert_false(ioapic_read_entry(9) & 0x4000);
	assert_false(irq_pending(m, cpu));
	/* Unmasking while asserted delivers. */
	ioapic_write_entry(9, 0x18051);
	irq_set(m, 9, true);
	assert_false(irq_pending(m, cpu));
	ioapic_write_entry(9, 0x8051);
	assert_int_equal(irq_ack(m, cpu), 0x51);
}

static void isa_irq0_is_gsi2(void **state)
{
	(void)state;
	ioapic_write_entry(0, 0x40);
	ioapic_write_entry(2, 0x42);
	irq_set(m, 0, true);
	assert_int_equal(irq_ack(m, cpu), 0x42);
	eoi();
	assert_int_equal(irq_ack(m, cpu), -1);
}

static void lapic_priorities(void **state)
{
	(void)state;
	irq_msi(m, 0xfee00000, 0x4041);
	irq_msi(m, 0xfee00000, 0x4061);
	assert_int_equal(irq_ack(m, cpu), 0x61);
	assert_int_equal(rd32(LAPIC_BASE + 0xa0), 0x60);
	assert_false(irq_pending(m, cpu));
	irq_msi(m, 0xfee00000, 0x4062); /* same class: waits */
	assert_false(irq_pending(m, cpu));
	irq_msi(m, 0xfee00000, 0x4071);
	assert_int_equal(irq_ack(m, cpu), 0x71);
	eoi();
	eoi();
	assert_int_equal(irq_ack(m, cpu), 0x62);
	eoi();
	lapic_cr8_write(m, cpu, 4);
	assert_int_equal(rd32(LAPIC_BASE + 0x80), 0x40);
	assert_false(irq_pending(m, cpu));
	cpu->event_pending = 0;
	lapic_cr8_write(m, cpu, 3);
	assert_int_equal(cpu->event_pending, 1);
	assert_int_equal(lapic_cr8_read(m, cpu), 3);
	assert_int_equal(irq_ack(m, cpu), 0x41);
}

static void lapic_logical_destinations(void **state)
{
	(void)state;
	wr32(LAPIC_BASE + 0xd0, 0x01000000);
	irq_msi(m, 0xfee01004, 0x50); /* logical 1 */
	assert_int_equal(irq_ack(m, cpu), 0x50);
	eoi();
	irq_msi(m, 0xfee02004, 0x50); /* logical 2: nobody */
	assert_false(irq_pending(m, cpu));
	irq_msi(m, 0xfee02000, 0x50); /* physical 2: nobody */
	assert_false(irq_pending(m, cpu));
	irq_msi(m, 0xfeeff000, 0x50);
	assert_int_equal(irq_ack(m, cpu), 0x50);
	eoi();
	wr32(LAPIC_BASE + 0xe0, 0x0fffffff); /* cluster */
	wr32(LAPIC_BASE + 0xd0, 0x21000000);
	irq_msi(m, 0xfee21004, 0x150); /* lowest priority */
	assert_int_equal(irq_ack(m, cpu), 0x50);
	eoi();
	irq_msi(m, 0xfee11004, 0x50);
	assert_false(irq_pending(m, cpu));
}

static void lapic_self_ipi_and_nmi(void **state)
{
	(void)state;
	wr32(LAPIC_BASE + 0x300, 0x00040000 | 0xfd);
	assert_int_equal(irq_ack(m, cpu), 0xfd);
	eoi();
	wr32(LAPIC_BASE + 0x300, 0x00080000 | 0xfc); /* all, with self */
	assert_int_equal(irq_ack(m, cpu), 0xfc);
	eoi();
	wr32(LAPIC_BASE + 0x300, 0x000c0000 | 0xfc); /* all but self */
	assert_false(irq_pending(m, cpu));
	wr32(LAPIC_BASE + 0x300, 0x00040400);
	assert_false(irq_pending(m, cpu));
	assert_int_equal(cpu->nmi_pending, 1);
	/* INIT and start-up IPIs do nothing to the only processor. */
	wr32(LAPIC_BASE + 0x300, 0x000c4500);
	wr32(LAPIC_BASE + 0x300, 0x000c4608);
	assert_int_equal(m->stop, STOP_NONE);
}

static void lapic_errors(void **state)
{
	(void)state;
	wr32(LAPIC_BASE + 0x370, 0xfe); /* error LVT */
	wr32(LAPIC_BASE + 0x300, 0x00040000 | 0x05);
	assert_int_equal(irq_ack(m, cpu), 0xfe);
	eoi();
	assert_int_equal(rd32(LAPIC_BASE + 0x280), 0);
	wr32(LAPIC_BASE + 0x280, 0);
	assert_int_equal(rd32(LAPIC_BASE + 0x280), 0x20);
	wr32(LAPIC_BASE + 0x280, 0);
	assert_int_equal(rd32(LAPIC_BASE + 0x280), 0);
	wr32(LAPIC_BASE + 0x370, 0x05); /* an error vector that is an error itself */
	wr32(LAPIC_BASE + 0x300, 0x00040000 | 0x06);
	wr32(LAPIC_BASE + 0x280, 0);
	assert_int_equal(rd32(LAPIC_BASE + 0x280), 0x20);
}

static void lapic_software_disable(void **state)
{
	(void)state;
	assert_int_equal(rd32(LAPIC_BASE + 0x30), 0x00050014);
	wr32(LAPIC_BASE + 0x320, 0xec);
	wr32(LAPIC_BASE + 0xf0, 0xff);
	assert_int_equal(rd32(LAPIC_BASE + 0x320), 0x100ec);
	irq_msi(m, 0xfee00000, 0x50);
	assert_false(irq_pending(m, cpu));
	wr32(LAPIC_BASE + 0xf0, 0x1ff);
	assert_int_equal(rd32(LAPIC_BASE + 0x320), 0x100ec); /* stays masked */
	irq_msi(m, 0xfee00000, 0x50);
	assert_true(irq_pending(m, cpu));
}

static void lapic_extint_and_fixed_lint0(void **state)
{
	(void)state;
	pic_program(0xfffb & ~0x10);
	wr32(LAPIC_BASE + 0x350, 0x10700); /* masked */
	irq_set(m, 4, true);
	assert_false(irq_pending(m, cpu));
	cpu->event_pending = 0;
	wr32(LAPIC_BASE + 0x350, 0x700);
	assert_int_equal(cpu->event_pending, 1);
	assert_int_equal(irq_ack(m, cpu), 0x34);
	outb(0x20, 0x20);
	irq_set(m, 4, false);
	wr32(LAPIC_BASE + 0x350, 0x31); /* fixed: the local APIC's own vector */
	irq_set(m, 4, true);
	assert_int_equal(irq_ack(m, cpu), 0x31);
}

static u64 msr(u32 n)
{
	u64 val = 0;

	assert_true(lapic_msr_read(m, cpu, n, &val));
	return val;
}

static void x2apic_interface(void **state)
{
	u64 val;

	(void)state;
	assert_true(msr(0x1b) == 0xfee00900);
	assert_false(lapic_msr_read(m, cpu, 0x802, &val));
	assert_false(lapic_msr_write(m, cpu, 0x1b, 0xfee00500)); /* EXTD without EN */
	assert_true(lapic_msr_write(m, cpu, 0x1b, 0xfee00d00));
	assert_false(lapic_msr_write(m, cpu, 0x1b, 0xfee00900)); /* back to xAPIC */
	assert_int_equal(rd32(LAPIC_BASE + 0x30), 0xffffffff);
	assert_int_equal(msr(0x802), 0);
	assert_int_equal(msr(0x803), 0x00050014);
	assert_int_equal(msr(0x80d), 1);
	assert_false(lapic_msr_write(m, cpu, 0x802, 1));
	assert_false(lapic_msr_read(m, cpu, 0x80b, &val));
	assert_false(lapic_msr_read(m, cpu, 0x80e, &val)); /* no DFR */
	assert_false(lapic_msr_read(m, cpu, 0x831, &val)); /* no ICR high */
	assert_false(lapic_msr_write(m, cpu, 0x80b, 1));
	assert_true(lapic_msr_write(m, cpu, 0x83f, 0x77));
	assert_int_equal(irq_ack(m, cpu), 0x77);
	assert_true(lapic_msr_write(m, cpu, 0x80b, 0));
	assert_true(lapic_msr_write(m, cpu, 0x830, 0x78)); /* physical, to CPU 0 */
	assert_int_equal(irq_ack(m, cpu), 0x78);
	assert_true(lapic_msr_write(m, cpu, 0x80b, 0));
	assert_true(lapic_msr_write(m, cpu, 0x830, 0xffffffff00000079UL));
	assert_int_equal(irq_ack(m, cpu), 0x79);
	assert_true(msr(0x830) == 0xffffffff00000079UL);
	assert_true(lapic_msr_write(m, cpu, 0x80b, 0));
	assert_true(lapic_msr_write(m, cpu, 0x1b, 0xfee00100)); /* off, then xAPIC */
	assert_false(lapic_msr_write(m, cpu, 0x1b, 0xfee00d00));
	assert_true(lapic_msr_write(m, cpu, 0x1b, 0xfee00900));
	assert_int_equal(rd32(LAPIC_BASE + 0xf0), 0xff);
}

/* --- local APIC timer -------------------------------------------------------------- */
static void lapic_timer_oneshot(void **state)
{
	(void)state;
	wr32(LAPIC_BASE + 0x3e0, 0x3); /* by 16 */
	wr32(LAPIC_BASE + 0x320, 0xec);
	wr32(LAPIC_BASE + 0x380, 1000);
	assert_int_equal(clock_next_deadline(&m->clock) - clock_now(&m->clock), 16000);
	advance(8000);
	assert_int_equal(rd32(LAPIC_BASE + 0x390), 500);
	run_for(7000);
	assert_false(irq_pending(m, cpu));
	run_for(1000);
	assert_int_equal(irq_ack(m, cpu), 0xec);
	eoi();
	assert_int_equal(rd32(LAPIC_BASE + 0x390), 0);
	assert_true(clock_next_deadline(&m->clock) == TIMER_OFF);
}

static void lapic_timer_periodic(void **state)
{
	unsigned ticks = 0;

	(void)state;
	wr32(LAPIC_BASE + 0x3e0, 0xb); /* by 1 */
	wr32(LAPIC_BASE + 0x320, 0x200ec);
	wr32(LAPIC_BASE + 0x380, MS);
	for (int i = 0; i < 100; i++) {
		run_for(MS / 2);
		if (irq_ack(m, cpu) == 0xec) {
			ticks++;
			eoi();
		}
	}
	assert_int_equal(ticks, 50);
	wr32(LAPIC_BASE + 0x320, 0x300ec & ~0x20000u); /* masked: nobody is woken */
	assert_true(clock_next_deadline(&m->clock) == TIMER_OFF);
	wr32(LAPIC_BASE + 0x320, 0x200ec);
	assert_true(clock_next_deadline(&m->clock) != TIMER_OFF);
	wr32(LAPIC_BASE + 0x380, 0);
	assert_true(clock_next_deadline(&m->clock) == TIMER_OFF);
}

static void lapic_timer_storm_is_bounded(void **state)
{
	(void)state;
	wr32(LAPIC_BASE + 0x3e0, 0xb);
	wr32(LAPIC_BASE + 0x320, 0x200ec);
	wr32(LAPIC_BASE + 0x380, 1);
	run_for(100);
	assert_true(clock_next_deadline(&m->clock) >= clock_now(&m->clock) + 10 * US);
}

/* One TSC tick of the fixture's clock is 2^-24 ns. */
static void lapic_tsc_deadline(void **state)
{
	u64 now;

	(void)state;
	cpu->tsc_offset = 0x123456789UL;
	wr32(LAPIC_BASE + 0x320, 0x400ec);
	assert_true(lapic_msr_write(m, cpu, 0x6e0, 0));
	assert_true(clock_next_deadline(&m->clock) == TIMER_OFF);
	now = clock_tsc_at(&m->clock, clock_now(&m->clock) + 50 * US) + cpu->tsc_offset;
	assert_true(lapic_msr_write(m, cpu, 0x6e0, now));
	assert_true(msr(0x6e0) == now);
	run_for(49 * US);
	assert_false(irq_pending(m, cpu));
	run_for(2 * US);
	assert_int_equal(irq_ack(m, cpu), 0xec);
	eoi();
	assert_true(msr(0x6e0) == 0);
	/* In the past: at once. */
	assert_true(lapic_msr_write(m, cpu, 0x6e0, 1 + cpu->tsc_offset));
	run_for(0);
	assert_int_equal(irq_ack(m, cpu), 0xec);
	eoi();
	/* The guest sets its TSC back: an armed deadline moves away. */
	now = clock_tsc_at(&m->clock, clock_now(&m->clock) + 50 * US) + cpu->tsc_offset;
	assert_true(lapic_msr_write(m, cpu, 0x6e0, now));
	cpu->tsc_offset -= (100 * US) << 24;
	lapic_tsc_changed(m, cpu);
	run_for(149 * US);
	assert_false(irq_pending(m, cpu));
	run_for(2 * US);
	assert_true(irq_pending(m, cpu));
	/* Leaving the mode disarms. */
	assert_true(lapic_msr_write(m, cpu, 0x6e0, ~0UL >> 8));
	wr32(LAPIC_BASE + 0x320, 0xec);
	assert_true(msr(0x6e0) == 0);
	assert_true(clock_next_deadline(&m->clock) == TIMER_OFF);
}

static void lapic_timer_seen_before_its_callback(void **state)
{
	(void)state;
	wr32(LAPIC_BASE + 0x3e0, 0xb);
	wr32(LAPIC_BASE + 0x320, 0xec);
	wr32(LAPIC_BASE + 0x380, 1000);
	advance(2000);
	wr32(LAPIC_BASE + 0x320, 0x100ec); /* masks after the expiry: it counts */
	assert_int_equal(irq_ack(m, cpu), 0xec);
	eoi();
	clock_run(m);
	assert_false(irq_pending(m, cpu));
}

/* --- stop requests ----------------------------------------------------------------- */
static void first_stop_wins(void **state)
{
	(void)state;
	machine_request_stop(m, STOP_DEBUG_EXIT, 7);
	machine_request_stop(m, STOP_RESET, 9);
	assert_int_equal(m->stop, STOP_DEBUG_EXIT);
	assert_int_equal(m->stop_code, 7);
	assert_int_equal(notified, 1);
	m->stop = STOP_NONE;
	machine_request_stop(m, STOP_RESET, 0);
	assert_int_equal(m->stop, STOP_RESET);
}

#define T(f) cmocka_unit_test_setup_teardown(f, fixture_setup, fixture_teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(bus_refuses_overlap), T(bus_unclaimed_reads_ones), T(bus_splits_accesses),
		T(pic_delivers_by_priority), T(pic_cascade_and_mask), T(pic_level_triggered),
		T(pic_specific_eoi_rotate_auto), T(pic_auto_eoi_slave_keeps_requests), T(pic_poll),
		T(ioapic_registers), T(ioapic_edge_and_masked_edge), T(ioapic_level_eoi),
		T(isa_irq0_is_gsi2), T(lapic_priorities), T(lapic_logical_destinations),
		T(lapic_self_ipi_and_nmi), T(lapic_errors), T(lapic_software_disable),
		T(lapic_extint_and_fixed_lint0), T(x2apic_interface), T(lapic_timer_oneshot),
		T(lapic_timer_periodic), T(lapic_timer_storm_is_bounded), T(lapic_tsc_deadline),
		T(lapic_timer_seen_before_its_callback), T(first_stop_wins),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
