/* Interrupt lines. A device drives an ISA/GSI line level; the router passes it to the
 * i8259 pair (0-15) and the IO-APIC (0-23; ISA IRQ 0 is GSI 2, as the MADT says).
 * MSIs go to the local APIC directly. */
#pragma once
#include "shadowbox/types.h"

struct machine;
struct vcpu;

void irq_set(struct machine *m, unsigned line, bool level);
void irq_msi(struct machine *m, u64 addr, u32 data);

/* Does the CPU have a maskable interrupt to take now (ignoring IF)? Honours the local
 * APIC's priorities and, in virtual-wire mode, the i8259's INTR. */
bool irq_pending(struct machine *m, struct vcpu *v);
/* Acknowledge: returns the vector and moves it to in-service; -1 if none after all. */
int irq_ack(struct machine *m, struct vcpu *v);
