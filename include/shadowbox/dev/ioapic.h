/* Intel 82093AA I/O APIC. */
#pragma once
#include "shadowbox/types.h"

struct machine;

#define IOAPIC_BASE 0xfec00000UL
#define IOAPIC_PINS 24

struct ioapic {
	u8 select;
	u8 id;
	u32 line;  /* levels of the pins */
	u64 entry[IOAPIC_PINS];
};

int ioapic_init(struct machine *m);
void ioapic_reset(struct machine *m);
/* edge: the input rose. line: its level now (several lines may share a pin). */
void ioapic_set_pin(struct machine *m, unsigned pin, bool level, bool edge);
/* A local APIC has ended a level-triggered interrupt. */
void ioapic_eoi(struct machine *m, u8 vector);
