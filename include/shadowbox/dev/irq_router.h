/* Interrupt line router: levels of the lines 0-23. */
#pragma once
#include "shadowbox/types.h"

struct machine;

#define IRQ_LINES 24
enum isa_irq {
	IRQ_PIT = 0, IRQ_KBD = 1, IRQ_CASCADE = 2, IRQ_UART = 4, IRQ_RTC = 8, IRQ_SCI = 9,
	IRQ_AUX = 12,
};

struct irq_router {
	u32 level; /* bit per line */
};

void irq_router_reset(struct machine *m);
