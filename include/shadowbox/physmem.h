/* Guest physical memory: which gpa ranges are RAM, and checked access to them.
 * All RAM is one memfd mapped at PHYS_HVA; the file offset equals the gpa (the hole
 * below 4 GiB is a hole in the file too). */
#pragma once
#include "shadowbox/layout.h"
#include "shadowbox/types.h"

struct physmem {
	u64 low_end;  /* RAM is [0, low_end) ... */
	u64 high_end; /* ... and [4 GiB, high_end), empty if high_end == 4 GiB */
};
#define PHYS_LOW_MAX 0xc0000000UL /* RAM below this; PCI and chipset registers up to 4 GiB */
#define PHYS_4G 0x100000000UL

void physmem_layout(struct physmem *pm, u64 ram_bytes);
static inline bool physmem_is_ram(const struct physmem *pm, gpa_t a)
{
	return a.v < pm->low_end || (a.v >= PHYS_4G && a.v < pm->high_end);
}
/* Bytes of RAM that are contiguous from a, 0 if a is not RAM. */
u64 physmem_run(const struct physmem *pm, gpa_t a);
static inline void *physmem_ptr(gpa_t a) { return (void *)(PHYS_HVA + a.v); }
/* Copies for devices (DMA): false, nothing done, if any byte is not RAM. Writes go
 * through the trace hooks (a device may write page tables or code). */
bool physmem_read(const struct physmem *pm, gpa_t a, void *buf, size_t len) MUST_CHECK;
