/* Interrupt line router and the CPU's side of interrupt delivery.
 *
 * Line n goes to input n of the i8259 pair (0-15, but not the cascade, 2) and to pin n of
 * the IO-APIC; ISA line 0 goes to pin 2 instead, and pin 0 is not connected. Line 2 can
 * only be driven by the HPET's own routing and shares pin 2. A level-triggered pin sees
 * the OR of its lines; each rise of either is an edge of its own.
 *
 * Invariant that the engine relies on: whatever makes irq_pending() true calls
 * machine_kick(). */
#include "shadowbox/irq.h"
#include "shadowbox/cpu.h"
#include "shadowbox/log.h"
#include "shadowbox/machine.h"

#define PIN_PIT 2

void irq_router_reset(struct machine *m)
{
	m->dev.irq.level = 0;
}

void irq_set(struct machine *m, unsigned line, bool level)
{
	struct irq_router *r = &m->dev.irq;
	unsigned pin = line == IRQ_PIT ? PIN_PIT : line;
	u32 bit, pin_lines;

	sb_assert(line < IRQ_LINES);
	bit = (u32)BIT(line);
	if (((r->level & bit) != 0) == level)
		return;
	r->level ^= bit;
	if (line < 16 && line != IRQ_CASCADE)
		i8259_set_line(m, line, level);
	pin_lines = pin == PIN_PIT ? BIT(IRQ_PIT) | BIT(PIN_PIT) : bit;
	ioapic_set_pin(m, pin, (r->level & pin_lines) != 0, level);
}

/* SDM vol. 3, 11.11: message signalled interrupts. */
void irq_msi(struct machine *m, u64 addr, u32 data)
{
	struct apic_msg msg = {
		.dest = (addr >> 12) & 0xff,
		.logical = (addr & BIT(2)) != 0,
		.level = (data & BIT(15)) != 0,
		.mode = (data >> 8) & 7,
		.vector = (u8)data,
	};

	if ((addr & ~0xfffffUL) != LAPIC_BASE) {
		log_msg(LOG_GUEST_ERRORS, "irq: MSI to address 0x%lx\n", addr);
		return;
	}
	lapic_send(m, &msg);
}

bool irq_pending(struct machine *m, struct vcpu *v)
{
	if (lapic_take_nmi(m, v)) {
		v->nmi_pending = 1;
		machine_kick(m); /* the caller may have looked at it already */
	}
	return lapic_pending(m, v) >= 0 || (m->dev.pic.intr && lapic_extint(m, v));
}

int irq_ack(struct machine *m, struct vcpu *v)
{
	int vector = lapic_ack(m, v);

	if (vector < 0 && m->dev.pic.intr && lapic_extint(m, v))
		vector = i8259_ack(m);
	return vector;
}
