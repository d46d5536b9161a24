/* Start-up and reset of all devices, in one explicit order. */
#include "shadowbox/devices.h"
#include "shadowbox/log.h"
#include "shadowbox/machine.h"

struct device_row {
	const char *name;
	int (*init)(struct machine *m);   /* claims ranges; state that reset keeps */
	void (*reset)(struct machine *m); /* NULL: no registers */
};

/* Interrupt sinks come before the sources, so that a source's reset finds its line's
 * way already reset. */
static const struct device_row device_table[] = {
	{ "irq", NULL, irq_router_reset },
	{ "lapic", lapic_init, lapic_reset },
	{ "ioapic", ioapic_init, ioapic_reset },
	{ "i8259", i8259_init, i8259_reset },
	{ "hpet", hpet_init, hpet_reset },
	{ "i8254", i8254_init, i8254_reset },
	{ "mc146818", mc146818_init, mc146818_reset },
	{ "i8042", i8042_init, i8042_reset },
	{ "uart16550", uart16550_init, uart16550_reset },
	{ "acpi-pm", acpi_pm_init, acpi_pm_reset },
	{ "pci-host", pci_host_init, pci_host_reset },
	{ "i8237", i8237_init, i8237_reset },
	{ "isa-debug-exit", debug_exit_init, NULL },
};

int devices_init(struct machine *m, const struct device_config *cfg)
{
	if (cfg)
		m->dev.cfg = *cfg;
	for (unsigned i = 0; i < ARRAY_LEN(device_table); i++) {
		int err = device_table[i].init ? device_table[i].init(m) : 0;

		if (err) {
			log_printf("shadowbox: device %s: cannot claim its addresses (error %d)\n",
				   device_table[i].name, -err);
			return err;
		}
	}
	devices_reset(m);
	return 0;
}

void devices_reset(struct machine *m)
{
	for (unsigned i = 0; i < TIMER_COUNT; i++)
		clock_arm(&m->clock, i, TIMER_OFF);
	for (unsigned i = 0; i < ARRAY_LEN(device_table); i++)
		if (device_table[i].reset)
			device_table[i].reset(m);
}
