/* Guest physical memory: where RAM is, and checked copies out of it.
 *
 * RAM is low [0, low_end) and, when there is more than fits below the hole for PCI and
 * chipset registers, high [4 GiB, high_end). Host address = PHYS_HVA + gpa, always. */
#include <string.h>
#include "shadowbox/physmem.h"

void physmem_layout(struct physmem *pm, u64 ram_bytes)
{
	ram_bytes &= PAGE_MASK;
	if (ram_bytes <= PHYS_LOW_MAX) {
		pm->low_end = ram_bytes;
		pm->high_end = PHYS_4G;
	} else {
		pm->low_end = PHYS_LOW_MAX;
		pm->high_end = PHYS_4G + (ram_bytes - PHYS_LOW_MAX);
	}
}

u64 physmem_run(const struct physmem *pm, gpa_t a)
{
	if (a.v < pm->low_end)
		return pm->low_end - a.v;
	if (a.v >= PHYS_4G && a.v < pm->high_end)
		return pm->high_end - a.v;
	return 0;
}

bool physmem_read(const struct physmem *pm, gpa_t a, void *buf, size_t len)
{
	if (physmem_run(pm, a) < len)
		return false;
	memcpy(buf, physmem_ptr(a), len);
	return true;
}
