/* What this view process has mapped of guest RAM, and the system calls that change it.
 *
 * One directory per half of the guest's addresses; a node is one guest page (4 KiB,
 * 2 MiB or 1 GiB). Invariants:
 *  - every writable mapping of a page of RAM is covered by a node with `writable` set,
 *    found by gpa, and has its bit in maybe_writable; so a trace misses none;
 *  - at a host page there is nothing, or the contents of some node that covers it: the
 *    halves may fold onto each other and 4 KiB pages may lie over a hole in a large one.
 *    Rights are therefore only ever raised in place where a single node covers a page.
 *
 * Removing a node removes its mapping too; the opposite need not hold (a mapping may be
 * missing: the access faults and comes back here). When nodes, or the host's limit of
 * mappings per process, run short, a half is flushed: a view is only a cache.
 *
 * The two halves share the host's address space; flushing one spares the other's
 * 512 GiB slots as far as they are distinct. Executable is only what map_code maps, and
 * that is never writable. */
#include "internal.h"
#include "shadowbox/sys.h"
#include <errno.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif

#define RAM_FD 3 /* in every view: the memfd of guest RAM; offset = gpa */
#define UFFD 5   /* and, with policy.uffd, its userfaultfd */
#define LOW_NODES 98304u
#define HIGH_NODES 32768u
#define SLOT_SHIFT 39

struct view_maps *view_self;

static u64 order_size(unsigned order) { return BIT(PAGE_SHIFT + 9 * order); }

static struct map_dir *dir_of(u64 a) { return &view_self->dir[gla_is_high(a)]; }
static struct map_dir *other_dir(const struct map_dir *d)
{
	return &view_self->dir[d == &view_self->dir[0]];
}

/* --- the directory ---------------------------------------------------------------- */

/* Keeps 16 neighbours in one cache line of heads. */
static u32 hash_page(u64 page, unsigned order)
{
	u64 block = (page >> 4) * 4 + order;

	return (block * 0x9e3779b97f4a7c15UL >> (64 - MAP_HASH_BITS + 4)) << 4 | (page & 15);
}
static u32 *hva_head(struct map_dir *d, unsigned order, u64 hva)
{
	return &d->hva_head[hash_page(hva >> (PAGE_SHIFT + 9 * order), order)];
}
static u32 *gpa_head(struct map_dir *d, unsigned order, u32 pfn)
{
	return &d->gpa_head[hash_page(pfn >> (9 * order), order)];
}

static struct map_node *dir_find(struct map_dir *d, unsigned order, u64 hva)
{
	hva &= ~(order_size(order) - 1);
	for (u32 i = *hva_head(d, order, hva); i; i = d->node[i].hva_next)
		if (d->node[i].hva == hva && d->node[i].order == order)
			return &d->node[i];
	return NULL;
}

static void gpa_unlink(struct map_dir *d, struct map_node *n)
{
	u32 *link = gpa_head(d, n->order, n->pfn), i = n - d->node;

	while (*link != i)
		link = &d->node[*link].gpa_next;
	*link = n->gpa_next;
}

static void gpa_link(struct map_dir *d, struct map_node *n)
{
	u32 *head = gpa_head(d, n->order, n->pfn);

	n->gpa_next = *head;
	*head = n - d->node;
}

static void dir_remove(struct map_dir *d, struct map_node *n)
{
	u32 *link = hva_head(d, n->order, n->hva), i = n - d->node;

	while (*link != i)
		link = &d->node[*link].hva_next;
	*link = n->hva_next;
	gpa_unlink(d, n);
	d->count[n->order]--;
	n->order = ORDER_FREE;
	n->hva_next = d->free;
	d->free = i;
	d->n_free++;
}

/* The caller has made sure of room. */
static void dir_put(struct map_dir *d, unsigned order, u64 hva, u32 pfn, bool writable, u8 key)
{
	struct map_node *n = dir_find(d, order, hva);
	u32 i;

	if (n) {
		gpa_unlink(d, n);
		n->pfn = pfn;
		n->writable = writable;
		n->exec = n->copy = n->uffd = false;
		n->key = key;
		gpa_link(d, n);
		return;
	}
	if (d->free) {
		i = d->free;
		d->free = d->node[i].hva_next;
		d->n_free--;
	} else {
		i = d->fresh++;
	}
	n = &d->node[i];
	*n = (struct map_node){ .hva = hva, .pfn = pfn, .order = order, .writable = writable, .key = key };
	n->hva_next = *hva_head(d, order, hva);
	*hva_head(d, order, hva) = i;
	gpa_link(d, n);
	d->count[order]++;
}

static u32 dir_nodes(const struct map_dir *d)
{
	return d->count[0] + d->count[1] + d->count[2];
}

static bool slot_set(const struct map_dir *d, unsigned i) { return d->slots[i / 64] >> i % 64 & 1; }

static bool dir_has_slots(const struct map_dir *d, u64 start, u64 end)
{
	for (u64 i = start >> SLOT_SHIFT; i <= (end - 1) >> SLOT_SHIFT; i++)
		if (slot_set(d, i))
			return true;
	return false;
}

/* --- the host --------------------------------------------------------------------- */

static void host_unmap(u64 start, u64 end)
{
	if (start < ZONE_BASE && end > ZONE_END) {
		host_unmap(start, ZONE_BASE);
		start = ZONE_END;
	}
	if (end > HVA_MAX)
		end = HVA_MAX;
	if (start >= end || hva_in_zone(start))
		return;
	count(VCPU, CTR_HOST_UNMAP);
	if (sys_munmap(start, end - start) == -ENOMEM) {
		/* No VMA left to split one: whole ones can always go. */
		map_flush(HALF_LOW);
		map_flush(HALF_HIGH);
	}
}

static int data_prot(bool writable) { return PROT_READ | (writable ? PROT_WRITE : 0); }

/* A new mapping has key 0; it is given another before it has pages, which costs less. */
static bool host_map(u64 hva, u64 len, u64 pa, int prot, u8 key, bool populate)
{
	int flags = MAP_SHARED | MAP_FIXED | (populate && !key ? MAP_POPULATE : 0);
	long r = (long)sys_mmap(hva, len, prot, flags, RAM_FD, pa);

	count(VCPU, CTR_HOST_MAP);
	if (r == -ENOMEM) {
		map_flush(HALF_LOW);
		map_flush(HALF_HIGH);
		r = (long)sys_mmap(hva, len, prot, flags, RAM_FD, pa);
	}
	if (r < 0 && r >= -4095)
		return false;
	if (!key)
		return true;
	count(VCPU, CTR_HOST_PROTECT);
	if (sys_pkey_mprotect(hva, len, prot, key) < 0) {
		host_unmap(hva, hva + len);
		return false;
	}
	if (populate) /* refused before Linux 5.14: then the access itself does it */
		sys_madvise(hva, len, (prot & PROT_WRITE) ? MADV_POPULATE_WRITE : MADV_POPULATE_READ);
	return true;
}

static void set_writable(u64 pa, u64 len, bool on)
{
	u64 *bits = view_self->maybe_writable;
	u64 pfn = pa >> PAGE_SHIFT, end = pfn + (len >> PAGE_SHIFT);

	while (pfn < end) {
		u64 n = 64 - pfn % 64, mask;

		if (n > end - pfn)
			n = end - pfn;
		mask = (n == 64 ? ~0UL : BIT(n) - 1) << pfn % 64;
		bits[pfn / 64] = on ? bits[pfn / 64] | mask : bits[pfn / 64] & ~mask;
		pfn += n;
	}
}

static void host_protect(u64 hva, u64 len)
{
	count(VCPU, CTR_HOST_PROTECT);
	if (sys_mprotect(hva, len, PROT_READ) < 0)
		host_unmap(hva, hva + len); /* a hole, or no VMA left */
}

static bool host_release(u64 hva)
{
	count(VCPU, CTR_HOST_PROTECT);
	return sys_mprotect(hva, PAGE_SIZE, PROT_READ | PROT_WRITE) == 0;
}

/* Traces in large mappings. userfaultfd takes the right to write from single pages, which
 * mprotect can do only by splitting the mapping. Where that fails, as in a piece that was
 * mapped later and is not registered, the page is unmapped instead. */
static void uffd_register(u64 hva, u64 len)
{
	struct uffdio_register r = { .range = { hva, len }, .mode = UFFDIO_REGISTER_MODE_WP };

	count(VCPU, CTR_HOST_WP);
	sys_ioctl(UFFD, UFFDIO_REGISTER, &r);
}

static bool uffd_protect(u64 hva, u64 len, bool on)
{
	struct uffdio_writeprotect w = { .range = { hva, len }, .mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0 };

	count(VCPU, CTR_HOST_WP);
	return sys_ioctl(UFFD, UFFDIO_WRITEPROTECT, &w) == 0;
}

static void uffd_take(u64 hva, u64 len)
{
	if (!uffd_protect(hva, len, true))
		host_unmap(hva, hva + len);
}

/* Takes the right to write from a part of a large mapping. */
static void piece_protect(struct map_dir *d, u64 hva, u64 len)
{
	if (ARENA->policy.uffd) {
		uffd_take(hva, len);
		return;
	}
	host_protect(hva, len);
	d->vmas += 2;
}

/* Gives it back. */
static bool piece_release(u64 hva)
{
	if (ARENA->policy.uffd)
		return uffd_protect(hva, PAGE_SIZE, false);
	return host_release(hva);
}

/* --- dropping ---------------------------------------------------------------------- */

struct take {
	u64 lo, hi;
	u32 n;
	bool each; /* unmap node by node */
};

static void take_node(struct map_dir *d, struct map_node *n, struct take *t)
{
	u64 start = n->hva, end = start + order_size(n->order);

	dir_remove(d, n);
	t->n++;
	if (start < t->lo)
		t->lo = start;
	if (end > t->hi)
		t->hi = end;
	if (t->each)
		host_unmap(start, end);
}

/* taken of the nodes that there were before are gone, and so, most likely, is their share
 * of the mappings. */
static void vmas_less(struct map_dir *d, u32 before, u32 taken)
{
	if (taken)
		d->vmas -= (u64)d->vmas * taken / before;
}

/* Removes the nodes of up to max_order that overlap [start, end). */
static void dir_take(struct map_dir *d, u64 start, u64 end, unsigned max_order, struct take *t)
{
	u32 before = dir_nodes(d), first = t->n;

	for (unsigned order = 0; order <= max_order; order++) {
		u64 size = order_size(order), hva = start & ~(size - 1);
		struct map_node *n;

		if (!d->count[order])
			continue;
		if ((end - hva) / size <= 2 * (u64)d->count[order] + 16) {
			for (; hva < end; hva += size)
				if ((n = dir_find(d, order, hva)))
					take_node(d, n, t);
			continue;
		}
		for (u32 i = 1; i < d->fresh; i++) {
			n = &d->node[i];
			if (n->order == order && n->hva < end && n->hva + size > start)
				take_node(d, n, t);
		}
	}
	vmas_less(d, before, t->n - first);
}

void map_drop(u64 start, u64 len)
{
	struct map_dir *d = dir_of(start);
	i64 lo = map_hva(start), hi = lo + (i64)len;
	struct take t = { .lo = ~0UL };

	if (lo < 0)
		lo = 0;
	if (hi > (i64)HALF_SIZE)
		hi = HALF_SIZE;
	if (lo >= hi || !dir_nodes(d))
		return;
	t.each = hi - lo > (i64)order_size(ORDER_2M) && dir_has_slots(other_dir(d), lo, hi);
	dir_take(d, lo, hi, ORDER_1G, &t);
	if (t.n && !t.each)
		host_unmap(t.lo, t.hi);
}

/* A run of neighbouring pages that are to be treated alike. */
struct run { u64 lo, hi; };

static void run_add(struct run *r, u64 hva, void (*apply)(u64 start, u64 len))
{
	if (hva != r->hi) {
		if (r->hi > r->lo)
			apply(r->lo, r->hi - r->lo);
		r->lo = hva;
	}
	r->hi = hva + PAGE_SIZE;
}

static void unmap_run(u64 start, u64 len) { host_unmap(start, start + len); }

static void uffd_begin(u64 start, u64 len)
{
	uffd_register(start, len);
	uffd_take(start, len);
}

enum { RUN_GONE, RUN_PROTECT, RUN_UFFD_NEW, RUN_UFFD, RUN_COUNT };
static void (*const run_apply[RUN_COUNT])(u64 start, u64 len) = {
	unmap_run, host_protect, uffd_begin, uffd_take,
};

/* A small page loses the right to write. One that lost it once is likely to get it again
 * and lose it again: userfaultfd does that at half of mprotect's cost. */
static unsigned lower_page(struct map_node *n)
{
	unsigned run = !ARENA->policy.uffd ? RUN_PROTECT : n->uffd ? RUN_UFFD : RUN_UFFD_NEW;

	n->writable = false;
	n->uffd = ARENA->policy.uffd;
	return run;
}

void map_revalidate(struct vcpu *v, u64 start, u64 len)
{
	struct map_dir *d = &view_self->dir[HALF_LOW];
	struct run run[RUN_COUNT] = { 0 };
	u32 before = dir_nodes(d);
	u64 end = start + len;

	if (len > order_size(ORDER_2M) || d->count[ORDER_2M] || d->count[ORDER_1G]) {
		map_drop(start, len);
		return;
	}
	for (u64 hva = start & PAGE_MASK; hva < end; hva += PAGE_SIZE) {
		struct map_node *n = dir_find(d, ORDER_4K, hva);
		enum fill_rights now;

		if (!n)
			continue;
		now = fill_rights(v, hva, n->pfn, n->key, n->exec);
		if (now == RIGHTS_NONE) {
			dir_remove(d, n);
			run_add(&run[RUN_GONE], hva, unmap_run);
		} else if (now == RIGHTS_READ && n->writable) {
			unsigned i = lower_page(n);
			run_add(&run[i], hva, run_apply[i]);
		}
	}
	for (unsigned i = 0; i < RUN_COUNT; i++)
		if (run[i].hi > run[i].lo)
			run_apply[i](run[i].lo, run[i].hi - run[i].lo);
	vmas_less(d, before, before - dir_nodes(d));
}

/* Slots that only this half uses go in one piece, the others node by node. */
static void unmap_slots(struct map_dir *d, const struct map_dir *other)
{
	unsigned i = 0, j;
	bool shared = false;

	for (; i < 256; i = j) {
		j = i + 1;
		if (!slot_set(d, i))
			continue;
		if (slot_set(other, i)) {
			shared = true;
			continue;
		}
		while (j < 256 && slot_set(d, j) && !slot_set(other, j))
			j++;
		host_unmap((u64)i << SLOT_SHIFT, (u64)j << SLOT_SHIFT);
	}
	for (i = 1; shared && i < d->fresh; i++) {
		const struct map_node *n = &d->node[i];

		if (n->order != ORDER_FREE && slot_set(other, n->hva >> SLOT_SHIFT))
			host_unmap(n->hva, n->hva + order_size(n->order));
	}
}

void map_flush(enum half h)
{
	struct map_dir *d = &view_self->dir[h];

	if (dir_nodes(d))
		unmap_slots(d, other_dir(d));
	for (u32 i = 1; i < d->fresh; i++) {
		const struct map_node *n = &d->node[i];

		if (n->order == ORDER_FREE)
			continue;
		*hva_head(d, n->order, n->hva) = 0;
		*gpa_head(d, n->order, n->pfn) = 0;
	}
	d->fresh = 1;
	d->free = d->n_free = d->vmas = 0;
	memset(d->count, 0, sizeof(d->count));
	memset(d->slots, 0, sizeof(d->slots));
}

/* --- mapping ----------------------------------------------------------------------- */

/* Some of what the host allows is left for what is not counted exactly. */
static u32 map_limit(void)
{
	u32 host = ARENA->host.max_map_count ? ARENA->host.max_map_count / 4 * 3 : 49000;
	u32 asked = ARENA->policy.map_max;

	return asked && asked < host ? asked : host;
}

static void make_room(struct map_dir *d, u32 nodes)
{
	u32 limit = map_limit();

	if (d->max - d->fresh + d->n_free < nodes) {
		count(VCPU, CTR_VIEW_FLUSH);
		map_flush(d == &view_self->dir[HALF_HIGH]);
	}
	if (d->vmas + other_dir(d)->vmas > limit) {
		count(VCPU, CTR_VIEW_FLUSH);
		map_flush(HALF_LOW);
		if (view_self->dir[HALF_HIGH].vmas > limit / 2)
			map_flush(HALF_HIGH);
	}
}

static void forget_under(struct map_dir *d, u64 hva, u64 len, unsigned max_order)
{
	struct take t = { .lo = ~0UL };

	dir_take(d, hva, hva + len, max_order, &t);
}

static void mark_slot(struct map_dir *d, u64 hva)
{
	d->slots[(hva >> SLOT_SHIFT) / 64] |= BIT((hva >> SLOT_SHIFT) % 64);
}

static unsigned covers(struct map_dir *d, u64 hva)
{
	return !!dir_find(d, ORDER_4K, hva) + !!dir_find(d, ORDER_2M, hva) +
	       !!dir_find(d, ORDER_1G, hva);
}

/* The page is there and only the right to write is missing. */
static bool raise_page(struct map_dir *d, u64 hva, u64 pa, u8 key)
{
	struct map_node *n = dir_find(d, ORDER_4K, hva);

	if (!n || n->copy || n->pfn != pa >> PAGE_SHIFT || n->key != key || n->writable || covers(d, hva) != 1 ||
	    covers(other_dir(d), hva))
		return false;
	if (n->uffd ? !uffd_protect(hva, PAGE_SIZE, false) : !host_release(hva))
		return false;
	n->writable = true;
	n->exec = n->copy = false;
	set_writable(pa, PAGE_SIZE, true);
	return true;
}

bool map_raise(u64 a, u64 pa, u8 key)
{
	return raise_page(dir_of(a), map_hva(a), pa, key);
}

bool map_small(u64 a, u64 pa, unsigned n, bool writable, u8 key)
{
	struct map_dir *d = dir_of(a);
	u64 hva = map_hva(a);

	if (n == 1 && writable && raise_page(d, hva, pa, key))
		return true;
	make_room(d, n);
	if (!host_map(hva, n * PAGE_SIZE, pa, data_prot(writable), key, true))
		return false;
	forget_under(other_dir(d), hva, n * PAGE_SIZE, ORDER_4K);
	for (unsigned i = 0; i < n; i++)
		dir_put(d, ORDER_4K, hva + i * PAGE_SIZE, (pa >> PAGE_SHIFT) + i, writable, key);
	if (writable)
		set_writable(pa, n * PAGE_SIZE, true);
	mark_slot(d, hva);
	d->vmas++;
	return true;
}

bool map_code(u64 a, u64 pa, unsigned n)
{
	struct map_dir *d = &view_self->dir[HALF_LOW];

	make_room(d, n);
	if (!host_map(a, n * PAGE_SIZE, pa, PROT_READ | PROT_EXEC, 0, false))
		return false;
	forget_under(other_dir(d), a, n * PAGE_SIZE, ORDER_4K);
	for (unsigned i = 0; i < n; i++) {
		dir_put(d, ORDER_4K, a + i * PAGE_SIZE, (pa >> PAGE_SHIFT) + i, false, 0);
		dir_find(d, ORDER_4K, a + i * PAGE_SIZE)->exec = true;
	}
	mark_slot(d, a);
	d->vmas++;
	return true;
}

bool map_code_copy(u64 a, u64 pa, u64 copy)
{
	struct map_dir *d = &view_self->dir[HALF_LOW];
	struct map_node *n;

	make_room(d, 1);
	if (!host_map(a, PAGE_SIZE, copy, PROT_READ | PROT_EXEC, ARENA->host.key_zone, true))
		return false;
	forget_under(other_dir(d), a, PAGE_SIZE, ORDER_4K);
	dir_put(d, ORDER_4K, a, pa >> PAGE_SHIFT, false, 0);
	n = dir_find(d, ORDER_4K, a);
	n->exec = n->copy = true;
	mark_slot(d, a);
	d->vmas++;
	return true;
}

bool map_is_copy(u64 a, u64 pa)
{
	const struct map_node *n = view_self && !gla_is_high(a) ?
		dir_find(&view_self->dir[HALF_LOW], ORDER_4K, a & PAGE_MASK) : NULL;

	return n && n->copy && n->pfn == pa >> PAGE_SHIFT;
}

bool map_is_code(u64 a, u64 pa)
{
	const struct map_node *n = dir_find(&view_self->dir[HALF_LOW], ORDER_4K, a);

	return n && n->exec && n->pfn == pa >> PAGE_SHIFT;
}

bool shadow_is_exec(u64 hva)
{
	const struct map_node *n = dir_find(&view_self->dir[HALF_LOW], ORDER_4K, hva & PAGE_MASK);

	return n && n->exec;
}

/* The page's code may not run here any more. */
void map_uncode(u32 pfn)
{
	struct map_dir *d = &view_self->dir[HALF_LOW];
	u32 i = *gpa_head(d, ORDER_4K, pfn);

	while (i) {
		struct map_node *n = &d->node[i];

		i = n->gpa_next;
		if (n->order != ORDER_4K || n->pfn != pfn || !n->exec)
			continue;
		host_unmap(n->hva, n->hva + PAGE_SIZE);
		dir_remove(d, n);
	}
}

bool map_present(u64 a, u64 pa, bool writable)
{
	const struct map_node *n = dir_find(dir_of(a), ORDER_4K, map_hva(a));

	return n && n->pfn == pa >> PAGE_SHIFT && (n->writable || !writable);
}

/* One page of a large mapping: it is missing, was traced, or something lies over it. */
static bool map_piece(struct map_dir *d, u64 hva, u64 pa, bool writable, u8 key)
{
	if (writable && covers(d, hva) == 1 && !covers(other_dir(d), hva) && piece_release(hva)) {
		set_writable(pa, PAGE_SIZE, true);
		return true;
	}
	make_room(d, 0);
	if (!host_map(hva, PAGE_SIZE, pa, data_prot(writable), key, true))
		return false;
	forget_under(d, hva, PAGE_SIZE, ORDER_4K);
	forget_under(other_dir(d), hva, PAGE_SIZE, ORDER_4K);
	if (writable)
		set_writable(pa, PAGE_SIZE, true);
	d->vmas += 2;
	return true;
}

/* Takes back write access to the traced pages of a new writable mapping. */
static void protect_traced(struct map_dir *d, u64 hva, u64 pa, u64 len)
{
	u64 end = pa + len, at = trace_next(pa, end);

	while (at < end) {
		u64 stop = at + PAGE_SIZE;

		while (stop < end && page_flags_of(stop))
			stop += PAGE_SIZE;
		piece_protect(d, hva + (at - pa), stop - at);
		set_writable(at, stop - at, false);
		at = trace_next(stop, end);
	}
}

bool map_large(u64 a, u64 pa, unsigned order, bool writable, u8 key)
{
	struct map_dir *d = dir_of(a);
	u64 size = order_size(order), hva = map_hva(a), base = hva & ~(size - 1);
	u64 pa_base = pa & ~(size - 1), end = base + size, start = base < HVA_MIN ? HVA_MIN : base;
	u64 run = physmem_run(&ARENA->machine.phys, gpa(pa_base));
	const struct map_node *n = dir_find(d, order, hva);

	if (n && n->pfn == pa_base >> PAGE_SHIFT && n->writable == writable && n->key == key)
		return map_piece(d, hva & PAGE_MASK, pa & PAGE_MASK, writable && !page_flags_of(pa), key);
	if (run < size)
		end = base + run;
	if (end > HVA_MAX)
		end = HVA_MAX;
	make_room(d, 1);
	forget_under(d, base, size, order);
	forget_under(other_dir(d), base, size, order);
	if (end - start < size)
		host_unmap(base, base + size);
	if (!host_map(start, end - start, pa_base + (start - base), data_prot(writable), key, false))
		return false;
	dir_put(d, order, base, pa_base >> PAGE_SHIFT, writable, key);
	mark_slot(d, hva);
	d->vmas++;
	if (writable) {
		if (ARENA->policy.uffd)
			uffd_register(start, end - start);
		set_writable(pa_base + (start - base), end - start, true);
		protect_traced(d, start, pa_base + (start - base), end - start);
	}
	return true;
}

/* The page became traced: no mapping here may allow writes any more. */
void map_protect(u32 pfn)
{
	u64 *word = &view_self->maybe_writable[pfn / 64];

	if (!(*word & BIT(pfn % 64)))
		return;
	*word &= ~BIT(pfn % 64);
	for (unsigned h = 0; h < 2; h++)
		for (unsigned order = 0; order <= ORDER_1G; order++) {
			struct map_dir *d = &view_self->dir[h];
			u32 first = pfn & ~(u32)((1u << 9 * order) - 1), i;

			for (i = *gpa_head(d, order, pfn); i; i = d->node[i].gpa_next) {
				struct map_node *n = &d->node[i];
				u64 hva = n->hva + ((u64)(pfn - first) << PAGE_SHIFT);

				if (n->order != order || n->pfn != first || !n->writable)
					continue;
				if (order != ORDER_4K) {
					piece_protect(d, hva, PAGE_SIZE);
					continue;
				}
				n->writable = false;
				if (n->uffd)
					uffd_take(hva, PAGE_SIZE);
				else
					host_protect(hva, PAGE_SIZE);
			}
		}
}

static u64 page_up(u64 n) { return (n + PAGE_SIZE - 1) & PAGE_MASK; }

/* Private memory, only touched as it is used. The view is not confined yet: what it relies on
 * must not be in the arena. */
void map_init(unsigned slot)
{
	const u32 max[2] = { LOW_NODES, HIGH_NODES };
	u64 bits = page_up(shadow_pages / 8 + 8), total = page_up(sizeof(struct view_maps)), at;
	struct view_maps *m = (struct view_maps *)VIEW_MAPS_HVA;
	int prot = PROT_READ | PROT_WRITE;
	long r;

	at = VIEW_MAPS_HVA + total;
	for (int h = 0; h < 2; h++)
		total += page_up(max[h] * sizeof(struct map_node));
	total += bits;
	r = (long)sys_mmap(VIEW_MAPS_HVA, total, prot,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
	if (r == (long)VIEW_MAPS_HVA && ARENA->host.pkeys && ARENA->host.key_zone)
		r = sys_pkey_mprotect(VIEW_MAPS_HVA, total, prot, ARENA->host.key_zone);
	if (r < 0 && r >= -4095)
		panic("shadow: no memory for a view's maps: error %ld", r);
	m->slot = slot;
	for (int h = 0; h < 2; h++) {
		m->dir[h].node = (struct map_node *)at;
		m->dir[h].max = max[h];
		m->dir[h].fresh = 1;
		at += page_up(max[h] * sizeof(struct map_node));
	}
	m->maybe_writable = (u64 *)at;
	view_self = m;
}
