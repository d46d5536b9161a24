/* Traces: which pages of guest RAM are shadowed (page tables) or translated (code), and
 * what a write to one of them means.
 *
 * A traced page is mapped writable in no view. The running view is made to agree at
 * once; the others follow a log of pages that became traced when they are entered
 * (view.c). A page whose trace ends stays read-only where it is mapped until a write
 * faults there.
 *
 * Order: page flags first, then the log, then the mappings. */
#include "internal.h"

struct shadow_pool *shadow_pool;
u64 shadow_pages;

u8 page_flags_of(u64 pa)
{
	u64 pfn = pa >> PAGE_SHIFT;

	return shadow_pool && pfn < shadow_pool->pages ? shadow_pool->page_flags[pfn] : 0;
}

bool trace_is_traced(gpa_t a)
{
	return page_flags_of(a.v) != 0;
}

void trace_set(struct vcpu *v, u64 pa, u8 flag)
{
	static const struct { enum counter counter; const char *name; } kinds[] = {
		[PAGE_PT] = { CTR_TRACE_PT, "table" }, [PAGE_CODE] = { CTR_TRACE_CODE, "code" }, [PAGE_HELD] = { CTR_HOLD, "held" },
	};
	struct shadow_pool *s = shadow_pool;
	u32 pfn = pa >> PAGE_SHIFT;
	u8 old = s->page_flags[pfn];

	if (old & flag)
		return;
	s->page_flags[pfn] = old | flag;
	count(v, kinds[flag].counter);
	log_msg(LOG_MMU, "mmu: trace %s %#lx\n", kinds[flag].name, pa & PAGE_MASK);
	quick_traced(pfn);
	if (old)
		return;
	s->region_traced[pfn >> 9]++;
	s->trace_log[s->trace_pos++ % TRACE_LOG_SIZE] = pfn;
	if (view_self) {
		map_protect(pfn);
		ARENA->view[view_self->slot].trace_seen = s->trace_pos;
	}
}

void trace_clear(u64 pa, u8 flag)
{
	u64 pfn = pa >> PAGE_SHIFT;
	u8 *f = &shadow_pool->page_flags[pfn];

	if (!(*f & flag))
		return;
	*f &= ~flag;
	if (!*f)
		shadow_pool->region_traced[pfn >> 9]--;
}

u64 trace_next(u64 pa, u64 end)
{
	const struct shadow_pool *s = shadow_pool;
	u64 pfn = pa >> PAGE_SHIFT, last = end >> PAGE_SHIFT;

	while (pfn < last) {
		if (!s->region_traced[pfn >> 9])
			pfn = (pfn | 511) + 1;
		else if (s->page_flags[pfn])
			return pfn << PAGE_SHIFT;
		else
			pfn++;
	}
	return end;
}

static unsigned entries_touched(const struct trace_write *tw)
{
	return ((tw->gpa.v & 7) + tw->len + 7) / 8;
}

void trace_write_begin(struct trace_write *tw, gpa_t a, u32 len)
{
	const u64 *pte = physmem_ptr(gpa(a.v & ~7UL));

	sb_assert((a.v & (PAGE_SIZE - 1)) + len <= PAGE_SIZE);
	tw->gpa = a;
	tw->len = len;
	for (unsigned i = 0; i < entries_touched(tw); i++)
		tw->old[i] = pte[i];
}

void trace_write_end(struct vcpu *v, struct trace_write *tw)
{
	u64 first = tw->gpa.v & ~7UL, page = tw->gpa.v & PAGE_MASK;
	const u64 *pte = physmem_ptr(gpa(first));

	if (page_flags_of(page) & PAGE_HELD)
		hold_written(page, tw->len);
	if (page_flags_of(page) & PAGE_CODE)
		dbt_code_written(gpa(page), tw->gpa.v - page, tw->len, false);
	if (!(page_flags_of(page) & PAGE_PT))
		return;
	count(v, CTR_PT_WRITE);
	for (unsigned i = 0; i < entries_touched(tw); i++)
		if (pte[i] != tw->old[i])
			uses_entry_changed(v, first + 8 * i, tw->old[i], pte[i]);
}

void shadow_stored(struct vcpu *v, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		u64 pa = (TABLE_STORES[i].hva & ~7UL) - PHYS_HVA, old = TABLE_STORES[i].old, now;

		/* Kernel code could have spoilt the number of stores. */
		if (!physmem_is_ram(&ARENA->machine.phys, gpa(pa)) || !(page_flags_of(pa) & PAGE_PT))
			continue;
		count(v, CTR_PT_WRITE);
		count(v, CTR_PT_STORE);
		now = *(u64 *)physmem_ptr(gpa(pa));
		if (now != old)
			uses_entry_changed(v, pa, old, now);
	}
}

void trace_bulk_write(struct vcpu *v, gpa_t a, u32 len)
{
	u64 page = a.v & PAGE_MASK;
	u8 f = page_flags_of(page);

	if (!f)
		return;
	log_msg(LOG_MMU, "mmu: bulk write to traced page %#lx\n", page);
	if (f & PAGE_HELD)
		hold_written(page, len);
	if (f & PAGE_PT)
		uses_drop_table(v, page);
	if (f & PAGE_CODE) {
		dbt_code_written(gpa(page), 0, PAGE_SIZE, true);
		trace_clear(page, PAGE_CODE);
	}
}

static void revoke(u32 pfn)
{
	struct shadow_pool *s = shadow_pool;

	s->trace_log[s->trace_pos++ % TRACE_LOG_SIZE] = pfn;
	if (view_self) {
		map_uncode(pfn);
		ARENA->view[view_self->slot].trace_seen = s->trace_pos;
	}
}

void shadow_exec_revoke(gpa_t page)
{
	if ((page.v >> PAGE_SHIFT) < shadow_pool->pages)
		revoke(page.v >> PAGE_SHIFT);
}

void trace_code_add(struct vcpu *v, gpa_t page)
{
	if ((page.v >> PAGE_SHIFT) < shadow_pool->pages)
		trace_set(v, page.v, PAGE_CODE);
}

void trace_code_remove(gpa_t page)
{
	if ((page.v >> PAGE_SHIFT) < shadow_pool->pages)
		trace_clear(page.v, PAGE_CODE);
}

/* --- the pool -------------------------------------------------------------------- */

static void *carve(u8 **at, u64 bytes)
{
	void *p = *at;

	*at += (bytes + 63) & ~63UL;
	return p;
}

/* The pools come zeroed; slots may be left from before a reset of the machine. */
size_t shadow_init(void *base, size_t size)
{
	const struct physmem *pm = &ARENA->machine.phys;
	u64 end = pm->high_end > PHYS_4G ? pm->high_end : pm->low_end;
	u8 *at = base;
	struct shadow_pool *s = carve(&at, sizeof(*s));
	u32 n_use = 65536, n_hash = 16384;
	struct pt_use *use;
	u32 *hash;

	s->pages = shadow_pages = end >> PAGE_SHIFT;
	s->page_flags = carve(&at, s->pages);
	s->region_traced = carve(&at, 2 * (s->pages / 512 + 1));
	s->trace_log = carve(&at, TRACE_LOG_SIZE * sizeof(u32));
	use = carve(&at, n_use * sizeof(*use));
	hash = carve(&at, n_hash * sizeof(u32));
	if ((size_t)(at - (u8 *)base) > size)
		panic("shadow: the arena is too small: %lu bytes of %lu", (u64)(at - (u8 *)base),
		      (u64)size);
	shadow_pool = s;
	s->tlb.clock = 1;
	quick_init();
	soft_tlb_flush(true);
	uses_init(use, n_use, hash, n_hash);
	for (unsigned i = 0; i < VIEW_MAX; i++) {
		struct view_slot *vs = &ARENA->view[i];

		vs->cr3 = ~0UL;
		vs->in_use = vs->flush = vs->queue_len = 0;
		vs->last_used = vs->trace_seen = 0;
	}
	return (at - (u8 *)base + PAGE_SIZE - 1) & PAGE_MASK;
}
