/* The bus: finds the device that claimed an address and splits accesses that it does
 * not take as they come.
 *
 * Ranges are sorted and never overlap, so a binary search finds the owner. An access is
 * cut where a range ends and where it is wider than the device's widest register (a
 * word write to two byte ports becomes two byte writes, as on ISA). An access narrower
 * than the device's narrowest register is refused: reads give all ones, writes vanish. */
#include "shadowbox/bus.h"
#include "shadowbox/log.h"
#include "shadowbox/machine.h"

#define EEXIST 17
#define ENOSPC 28
#define EINVAL 22

static const char *const space_name[] = { [BUS_PIO] = "port", [BUS_MMIO] = "mmio" };

static bool size_ok(unsigned size)
{
	return size == 1 || size == 2 || size == 4 || size == 8;
}

/* Index of the first range that ends after addr. */
static unsigned bus_lower(const struct bus *b, enum bus_space s, u64 addr)
{
	unsigned lo = 0, hi = b->count[s];

	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;
		const struct bus_range *r = &b->range[s][mid];

		if (r->start + (r->len - 1) < addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

int bus_claim(struct bus *b, enum bus_space s, const struct bus_range *r)
{
	unsigned at = bus_lower(b, s, r->start);

	if (!r->len || r->start + (r->len - 1) < r->start || !size_ok(r->min_size) ||
	    !size_ok(r->max_size) || r->min_size > r->max_size || !r->read || !r->write)
		return -EINVAL;
	if (at < b->count[s] && b->range[s][at].start <= r->start + (r->len - 1))
		return -EEXIST;
	if (b->count[s] == BUS_RANGES)
		return -ENOSPC;
	for (unsigned i = b->count[s]; i > at; i--)
		b->range[s][i] = b->range[s][i - 1];
	b->range[s][at] = *r;
	b->count[s]++;
	return 0;
}

/* Cuts the next piece off an access of size bytes at addr. Returns its length, and in
 * *out the range that takes it or NULL. */
static unsigned bus_piece(const struct bus *b, enum bus_space s, u64 addr, unsigned size,
			  const struct bus_range **out)
{
	unsigned at = bus_lower(b, s, addr);
	const struct bus_range *r = at < b->count[s] ? &b->range[s][at] : NULL;
	unsigned len = size;

	*out = NULL;
	if (!r || r->start > addr) {
		if (r && r->start - addr < len)
			len = (unsigned)(r->start - addr);
		return len;
	}
	if (len > r->max_size)
		len = r->max_size;
	if (r->start + r->len - addr < len)
		len = (unsigned)(r->start + r->len - addr);
	while (len & (len - 1))
		len &= len - 1;
	if (len >= r->min_size)
		*out = r;
	return len;
}

static u64 ones(unsigned size)
{
	return size >= 8 ? ~0UL : (1UL << (size * 8)) - 1;
}

u64 bus_read(struct machine *m, enum bus_space s, u64 addr, unsigned size)
{
	u64 val = 0;
	const struct bus_range *r;

	for (unsigned done = 0, len; done < size; done += len) {
		u64 part;

		len = bus_piece(&m->bus, s, addr + done, size - done, &r);
		if (r) {
			part = r->read(m, r->dev, addr + done - r->start, len) & ones(len);
		} else {
			part = ones(len);
			log_msg(LOG_GUEST_ERRORS, "%s: unclaimed read of %u bytes at 0x%lx\n",
				space_name[s], len, addr + done);
		}
		val |= part << (done * 8);
	}
	return val;
}

void bus_write(struct machine *m, enum bus_space s, u64 addr, u64 val, unsigned size)
{
	const struct bus_range *r;

	for (unsigned done = 0, len; done < size; done += len) {
		u64 part = val >> (done * 8);

		len = bus_piece(&m->bus, s, addr + done, size - done, &r);
		part &= ones(len);
		if (r)
			r->write(m, r->dev, addr + done - r->start, part, len);
		else
			log_msg(LOG_GUEST_ERRORS,
				"%s: unclaimed write of 0x%lx, %u bytes, at 0x%lx\n",
				space_name[s], part, len, addr + done);
	}
}
