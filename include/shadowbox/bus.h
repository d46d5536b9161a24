/* The bus: port I/O and memory-mapped registers. A device claims ranges at start-up;
 * overlap is refused. Unclaimed reads return all ones and are traced
 * (LOG_GUEST_ERRORS); unclaimed writes are dropped and traced. The table is built by
 * code at start (before views are forked) so it may hold pointers; device *state*
 * may not. */
#pragma once
#include "shadowbox/types.h"

struct machine;
enum bus_space { BUS_PIO, BUS_MMIO };

/* off: offset in the claimed range; size 1, 2, 4 or 8 bytes. */
typedef u64 (*bus_read_fn)(struct machine *m, void *dev, u64 off, unsigned size);
typedef void (*bus_write_fn)(struct machine *m, void *dev, u64 off, u64 val, unsigned size);

struct bus_range {
	u64 start, len;
	const char *name;
	u8 min_size, max_size; /* access sizes that the device takes; the bus splits or refuses */
	bus_read_fn read;
	bus_write_fn write;
	void *dev;
};
#define BUS_RANGES 64
struct bus {
	struct bus_range range[2][BUS_RANGES]; /* sorted by start, per space */
	unsigned count[2];
};

/* 0, -EEXIST on overlap, -ENOSPC. */
int bus_claim(struct bus *b, enum bus_space s, const struct bus_range *r) MUST_CHECK;
u64 bus_read(struct machine *m, enum bus_space s, u64 addr, unsigned size);
void bus_write(struct machine *m, enum bus_space s, u64 addr, u64 val, unsigned size);
