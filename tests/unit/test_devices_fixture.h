/* A machine without CPU or monitor for device tests. Its time stands still (the clock's
 * multiplier is so small that real time does not move it) until advance() is called. */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "shadowbox/cpu.h"
#include "shadowbox/irq.h"
#include "shadowbox/machine.h"

#define US 1000UL
#define MS 1000000UL
#define SEC 1000000000UL

static struct machine *m;
static struct vcpu *cpu;
static unsigned notified;

static inline void on_notify(void) { notified++; }

static inline void advance(u64 ns)
{
	m->clock.tsc_start -= ns << 24;
}

/* Lets time pass as the engine would see it: every timer at its deadline. */
static inline void run_for(u64 ns)
{
	u64 end = clock_now(&m->clock) + ns, next;

	while ((next = clock_next_deadline(&m->clock)) <= end) {
		u64 now = clock_now(&m->clock);

		if (next > now)
			advance(next - now);
		clock_run(m);
	}
	if (end > clock_now(&m->clock))
		advance(end - clock_now(&m->clock));
}

static inline u64 in(u16 port, unsigned size) { return bus_read(m, BUS_PIO, port, size); }
static inline void out(u16 port, u64 val, unsigned size) { bus_write(m, BUS_PIO, port, val, size); }
static inline u8 inb(u16 port) { return (u8)in(port, 1); }
static inline void outb(u16 port, u8 val) { out(port, val, 1); }
static inline u32 rd32(u64 a) { return (u32)bus_read(m, BUS_MMIO, a, 4); }
static inline void wr32(u64 a, u32 v) { bus_write(m, BUS_MMIO, a, v, 4); }

static inline int fixture_setup(void **state)
{
	/* 2023-03-15 12:34:56 UTC */
	const i64 wall = 1678883696L * (i64)SEC;

	(void)state;
	m = calloc(1, sizeof(*m));
	cpu = aligned_alloc(64, sizeof(*cpu));
	memset(cpu, 0, sizeof(*cpu));
	m->phys.low_end = 0x8000000;
	m->phys.high_end = PHYS_4G;
	clock_init(&m->clock, 1000000, wall);
	m->clock.mult = 1 << 8;
	m->event_pending = &cpu->event_pending;
	m->dev.host.console_notify = on_notify;
	notified = 0;
	return devices_init(m, &(struct device_config){
				       .debug_exit = true, .debug_exit_port = 0xf4, .debug_exit_size = 4 });
}

static inline int fixture_teardown(void **state)
{
	(void)state;
	free(m);
	free(cpu);
	return 0;
}

/* Programs the i8259 pair as operating systems do: vectors 0x30 and 0x38, mask. */
static inline void pic_program(u16 mask)
{
	outb(0x20, 0x11);
	outb(0x21, 0x30);
	outb(0x21, 0x04);
	outb(0x21, 0x01);
	outb(0xa0, 0x11);
	outb(0xa1, 0x38);
	outb(0xa1, 0x02);
	outb(0xa1, 0x01);
	outb(0x21, (u8)mask);
	outb(0xa1, (u8)(mask >> 8));
}

static inline void ioapic_write_entry(unsigned pin, u64 e)
{
	wr32(IOAPIC_BASE, 0x10 + 2 * pin + 1);
	wr32(IOAPIC_BASE + 0x10, (u32)(e >> 32));
	wr32(IOAPIC_BASE, 0x10 + 2 * pin);
	wr32(IOAPIC_BASE + 0x10, (u32)e);
}

static inline u64 ioapic_read_entry(unsigned pin)
{
	u64 low;

	wr32(IOAPIC_BASE, 0x10 + 2 * pin);
	low = rd32(IOAPIC_BASE + 0x10);
	wr32(IOAPIC_BASE, 0x10 + 2 * pin + 1);
	return low | (u64)rd32(IOAPIC_BASE + 0x10) << 32;
}

static inline void eoi(void) { wr32(LAPIC_BASE + 0xb0, 0); }
