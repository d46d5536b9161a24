/* Device models: state structs and start-up entry points. One chip per file in
 * src/devices, one state header per chip in dev/. Devices see the bus, irq, clock and
 * physmem contracts; the local APIC and the router also see the vCPU they serve. */
#pragma once
#include "shadowbox/bus.h"
#include "shadowbox/dev/acpi_pm.h"
#include "shadowbox/dev/hpet.h"
#include "shadowbox/dev/i8042.h"
#include "shadowbox/dev/i8254.h"
#include "shadowbox/dev/i8259.h"
#include "shadowbox/dev/ioapic.h"
#include "shadowbox/dev/irq_router.h"
#include "shadowbox/dev/isa_misc.h"
#include "shadowbox/dev/lapic.h"
#include "shadowbox/dev/mc146818.h"
#include "shadowbox/dev/pci_host.h"
#include "shadowbox/dev/uart16550.h"

/* What the machine has, chosen once at start. */
struct device_config {
	bool no_hpet;
	bool debug_exit;
	u16 debug_exit_port, debug_exit_size;
};

/* What devices need of the process they run in; set at start like the bus. */
struct device_host_ops {
	void (*console_notify)(void); /* output waits in m->tx, or the machine stops */
};

struct devices {
	struct device_config cfg;
	struct device_host_ops host;
	struct irq_router irq;
	struct lapic lapic[LAPIC_CPUS];
	struct ioapic ioapic;
	struct i8259_pair pic;
	struct i8254 pit;
	struct mc146818 rtc;
	struct i8042 kbc;
	struct uart16550 uart;
	struct hpet hpet;
	struct acpi_pm pm;
	struct pci_host pci;
	struct i8237 dma;
};

/* Claims all ranges and resets all chips. m->phys and m->clock are set up; m->bus and
 * m->dev are zero but for dev.host. 0, or the first device's negative errno (after
 * saying which). cfg NULL: defaults. */
int devices_init(struct machine *m, const struct device_config *cfg) MUST_CHECK;
/* Machine reset: registers to their power-on values as firmware leaves them; time,
 * CMOS contents and configuration stay. */
void devices_reset(struct machine *m);
