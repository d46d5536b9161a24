/* PCI configuration mechanism 1, host bridge and ISA bridge. */
#pragma once
#include "shadowbox/types.h"

struct machine;

#define PCI_FUNCS 16
#define PCI_DEVFN(dev, fn) ((u8)((dev) << 3 | (fn)))

/* One function on bus 0: its configuration space, and which bits the guest may write. */
struct pci_func {
	bool present;
	u8 devfn;
	u8 cfg[256];
	u8 writable[256];
};

struct pci_host {
	u32 address; /* port 0xcf8 */
	struct pci_func func[PCI_FUNCS];
};

int pci_host_init(struct machine *m);
void pci_host_reset(struct machine *m);
/* Adds a function with its identification; NULL if the table is full or the place is
 * taken. class is base class << 16 | sub-class << 8 | interface. */
struct pci_func *pci_add(struct machine *m, u8 devfn, u16 vendor, u16 device, u32 class, u8 rev);
