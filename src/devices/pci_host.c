/* PCI configuration mechanism 1 (ports 0xcf8, 0xcfc) and bus 0: the Intel 440FX host
 * bridge at 00:00.0 and the PIIX3 ISA bridge at 00:01.0. Everything else is empty and
 * reads as all ones. Follows the PCI local bus specification 2.2 and the 82441FX and
 * 82371SB data sheets, whose chipset registers are stored where guests write them and
 * have no effect.
 *
 * Port 0xcf9 (reset control) lies among the address port's bytes and belongs to
 * acpi_pm.c. */
#include <string.h>
#include "shadowbox/log.h"
#include "shadowbox/machine.h"

#define ADDR_ENABLE 0x80000000u

enum {
	CFG_VENDOR = 0x00, CFG_DEVICE = 0x02, CFG_COMMAND = 0x04, CFG_STATUS = 0x06,
	CFG_REVISION = 0x08, CFG_PROG_IF = 0x09, CFG_CLASS = 0x0a, CFG_CACHE_LINE = 0x0c,
	CFG_LATENCY = 0x0d, CFG_IRQ_LINE = 0x3c,
};

static void put16(u8 *p, u16 val)
{
	p[0] = (u8)val;
	p[1] = (u8)(val >> 8);
}

static struct pci_func *find(struct pci_host *pci, u8 bus, u8 devfn)
{
	for (unsigned i = 0; bus == 0 && i < PCI_FUNCS; i++)
		if (pci->func[i].present && pci->func[i].devfn == devfn)
			return &pci->func[i];
	return NULL;
}

struct pci_func *pci_add(struct machine *m, u8 devfn, u16 vendor, u16 device, u32 class, u8 rev)
{
	struct pci_host *pci = &m->dev.pci;

	if (find(pci, 0, devfn))
		return NULL;
	for (unsigned i = 0; i < PCI_FUNCS; i++) {
		struct pci_func *f = &pci->func[i];

		if (f->present)
			continue;
		memset(f, 0, sizeof(*f));
		f->present = true;
		f->devfn = devfn;
		put16(f->cfg + CFG_VENDOR, vendor);
		put16(f->cfg + CFG_DEVICE, device);
		f->cfg[CFG_REVISION] = rev;
		f->cfg[CFG_PROG_IF] = (u8)class;
		put16(f->cfg + CFG_CLASS, (u16)(class >> 8));
		f->writable[CFG_CACHE_LINE] = f->writable[CFG_LATENCY] = 0xff;
		f->writable[CFG_IRQ_LINE] = 0xff;
		return f;
	}
	return NULL;
}

/* --- configuration ports ---------------------------------------------------------- */
static struct pci_func *selected(struct pci_host *pci)
{
	if (!(pci->address & ADDR_ENABLE))
		return NULL;
	return find(pci, (u8)(pci->address >> 16), (u8)(pci->address >> 8));
}

static u64 config_read(struct machine *m, struct pci_host *pci, u64 off, unsigned size)
{
	const struct pci_func *f = selected(pci);
	unsigned reg = (pci->address & 0xfc) + (unsigned)off;
	u64 val = 0;

	(void)m;
	if (!f)
		return ~0UL;
	for (unsigned i = 0; i < size; i++)
		val |= (u64)f->cfg[(reg + i) & 0xff] << (i * 8);
	return val;
}

static void config_write(struct pci_host *pci, u64 off, u64 val, unsigned size)
{
	struct pci_func *f = selected(pci);
	unsigned reg = (pci->address & 0xfc) + (unsigned)off;

	for (unsigned i = 0; f && i < size; i++) {
		u8 mask = f->writable[(reg + i) & 0xff], *p = &f->cfg[(reg + i) & 0xff];

		*p = (*p & ~mask) | ((u8)(val >> (i * 8)) & mask);
	}
}

/* off 0-3: the address port, only as a whole doubleword; off 4-7: the data port. */
static u64 pci_read(struct machine *m, void *dev, u64 off, unsigned size)
{
	struct pci_host *pci = dev;

	if (off >= 4)
		return config_read(m, pci, off - 4, size);
	if (off == 0 && size == 4)
		return pci->address;
	if (off == ACPI_RESET_PORT - 0xcf8 && size == 1)
		return acpi_reset_read(m);
	return ~0UL;
}

static void pci_write(struct machine *m, void *dev, u64 off, u64 val, unsigned size)
{
	struct pci_host *pci = dev;

	if (off >= 4)
		config_write(pci, off - 4, val, size);
	else if (off == 0 && size == 4)
		pci->address = (u32)val & 0x80fffffc;
	else if (off == ACPI_RESET_PORT - 0xcf8 && size == 1)
		acpi_reset_write(m, (u8)val);
}

/* --- the two bridges --------------------------------------------------------------- */
static int add_bridges(struct machine *m)
{
	struct pci_func *host = pci_add(m, PCI_DEVFN(0, 0), 0x8086, 0x1237, 0x060000, 0x02);
	struct pci_func *isa = pci_add(m, PCI_DEVFN(1, 0), 0x8086, 0x7000, 0x060100, 0x00);

	if (!host || !isa)
		return -1;
	put16(host->cfg + CFG_COMMAND, 0x0006); /* memory, bus master: fixed */
	put16(host->cfg + CFG_STATUS, 0x0280);
	for (unsigned i = 0x59; i <= 0x5f; i++) { /* PAM: all of 640 K - 1 M is RAM */
		host->cfg[i] = 0x33;
		host->writable[i] = 0xff;
	}
	host->cfg[0x59] = 0x30;
	host->cfg[0x72] = 0x02; /* SMRAM closed */
	host->writable[0x72] = 0xff;

	put16(isa->cfg + CFG_COMMAND, 0x0007);
	put16(isa->cfg + CFG_STATUS, 0x0200);
	isa->cfg[0x4c] = 0x4d; /* ISA recovery times */
	put16(isa->cfg + 0x4e, 0x0003);
	isa->cfg[0x60] = isa->cfg[0x61] = 10; /* PIRQA-D, as firmware routes them */
	isa->cfg[0x62] = isa->cfg[0x63] = 11;
	isa->cfg[0x69] = 0x02;
	isa->cfg[0x82] = 0x00;
	for (unsigned i = 0x40; i <= 0x82; i++)
		isa->writable[i] = 0xff;
	return 0;
}

int pci_host_init(struct machine *m)
{
	const struct bus_range r = { 0xcf8, 8, "pci config", 1, 4, pci_read, pci_write, &m->dev.pci };

	return bus_claim(&m->bus, BUS_PIO, &r);
}

void pci_host_reset(struct machine *m)
{
	memset(&m->dev.pci, 0, sizeof(m->dev.pci));
	if (add_bridges(m))
		panic("pci: no room for the bridges");
}
