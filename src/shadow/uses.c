/* The register of page tables in use: which guest page is a table of which level, for
 * which addresses of which owner (a view slot for the low half; the high half belongs
 * to all views together).
 *
 * A table may have many uses (shared kernel tables have one, as OWNER_HIGH; a table
 * that maps itself has one per level). A page carries the PT trace as long as it has a
 * use. A use too many only causes invalidations that were not needed; one too few would
 * leave stale mappings, so everything that maps registers first.
 *
 * Root tables are registered for their low half only: what of the high half was used is
 * compared with the root at every flush (view.c). */
#include "internal.h"

void uses_init(struct pt_use *use, u32 n, u32 *hash, u32 hash_size)
{
	struct shadow_pool *s = shadow_pool;

	s->use = use;
	s->use_max = n;
	s->use_fresh = 1; /* 0 ends lists */
	s->use_hash = hash;
	s->use_hash_mask = hash_size - 1;
}

static u32 *bucket(u32 pfn)
{
	return &shadow_pool->use_hash[(pfn * 0x9e3779b1u >> 12) & shadow_pool->use_hash_mask];
}

static u32 use_find(u32 pfn, unsigned level, unsigned owner, u64 base)
{
	const struct pt_use *use = shadow_pool->use;

	for (u32 i = *bucket(pfn); i; i = use[i].hash_next)
		if (use[i].pfn == pfn && use[i].level == level && use[i].owner == owner &&
		    use[i].base == base)
			return i;
	return 0;
}

static u32 use_first(u32 pfn)
{
	const struct pt_use *use = shadow_pool->use;
	u32 i = *bucket(pfn);

	while (i && use[i].pfn != pfn)
		i = use[i].hash_next;
	return i;
}

static bool use_room(u32 n)
{
	const struct shadow_pool *s = shadow_pool;
	u32 i = s->use_free;

	if (s->use_max - s->use_fresh >= n)
		return true;
	while (i && n) {
		i = s->use[i].next;
		n--;
	}
	return n == 0;
}

static u64 table_base(u64 a, unsigned level)
{
	return level == 4 ? 0 : a & ~(BIT(level_shift(level) + 9) - 1);
}

static void use_add(struct vcpu *v, u64 table, unsigned level, unsigned owner, u64 a)
{
	struct shadow_pool *s = shadow_pool;
	u32 pfn = table >> PAGE_SHIFT, i, *head = bucket(pfn), *list = &s->use_list[owner];
	u64 base = table_base(a, level);

	if (use_find(pfn, level, owner, base))
		return;
	if (s->use_free) {
		i = s->use_free;
		s->use_free = s->use[i].next;
	} else {
		i = s->use_fresh++;
	}
	s->use[i] = (struct pt_use){ .base = base, .pfn = pfn, .hash_next = *head, .next = *list,
				     .level = level, .owner = owner };
	if (*list)
		s->use[*list].prev = i;
	*list = *head = i;
	trace_set(v, table, PAGE_PT);
}

static void use_remove(u32 i)
{
	struct shadow_pool *s = shadow_pool;
	struct pt_use *u = &s->use[i];
	u32 *link = bucket(u->pfn);

	s->use_last.a = 0;
	while (*link != i)
		link = &s->use[*link].hash_next;
	*link = u->hash_next;
	if (u->prev)
		s->use[u->prev].next = u->next;
	else
		s->use_list[u->owner] = u->next;
	if (u->next)
		s->use[u->next].prev = u->prev;
	if (!use_first(u->pfn))
		trace_clear((u64)u->pfn << PAGE_SHIFT, PAGE_PT);
	u->level = 0;
	u->next = s->use_free;
	s->use_free = i;
}

/* Faults come close to each other: mostly, the tables are those of the last one. */
static bool same_path(u64 a, const struct walk *w, int owner)
{
	const struct shadow_pool *s = shadow_pool;

	if (s->use_last.a != (a >> level_shift(2) | BIT(63)) || s->use_last.owner != owner || w->levels != 4)
		return false;
	for (unsigned i = 0; i < 4; i++)
		if (s->use_last.table[i] != w->table[i].v)
			return false;
	return true;
}

void uses_add_path(struct vcpu *v, u64 a, const struct walk *w)
{
	bool high = gla_is_high(a);
	int owner = high ? OWNER_HIGH : view_owner_low(v);

	if (owner < 0 || !w->levels || same_path(a, w, owner))
		return;
	if (!use_room(w->levels)) {
		log_msg(LOG_MMU, "mmu: register of page tables is full, starting anew\n");
		view_reset_all(v);
	}
	for (unsigned i = high; i < w->levels; i++)
		use_add(v, w->table[i].v, 4 - i, owner, a);
	if (w->levels < 4)
		return;
	shadow_pool->use_last.a = a >> level_shift(2) | BIT(63);
	shadow_pool->use_last.owner = owner;
	for (unsigned i = 0; i < 4; i++)
		shadow_pool->use_last.table[i] = w->table[i].v;
}

/* Forgets the tables of levels below `level` that map [start, start + len) for owner. */
static bool drop_below(unsigned owner, unsigned level, u64 start, u64 len)
{
	struct shadow_pool *s = shadow_pool;
	bool any = false;
	u32 next;

	for (u32 i = s->use_list[owner]; i; i = next) {
		const struct pt_use *u = &s->use[i];

		next = u->next;
		if (u->level < level && u->base - start < len) {
			use_remove(i);
			any = true;
		}
	}
	return any;
}

static bool drop_child(const struct pt_use *u, u64 old, u64 start)
{
	u32 child;

	if (u->level == 1 || !(old & PTE_P) || (u->level < 4 && (old & PTE_PS)))
		return false;
	if (u->level > 2)
		return drop_below(u->owner, u->level, start, BIT(level_shift(u->level)));
	child = use_find((old & PTE_ADDR) >> PAGE_SHIFT, 1, u->owner, start);
	if (!child)
		return false;
	use_remove(child);
	return true;
}

/* Could something derived from `old` be wrong now? An entry without A was never used.
 * More rights need nothing: the fault that follows finds them. To SMEP and SMAP, U/S takes
 * rights away. */
static bool entry_lost(const struct vcpu *v, unsigned level, u64 old, u64 new_entry)
{
	u64 must_stay = PTE_ADDR | PTE_RSVD | ((v->cr4 & (CR4_SMEP | CR4_SMAP)) ? PTE_US : 0);
	u64 may_rise = PTE_RW | PTE_US | PTE_A;
	bool leaf = level == 1 || (level < 4 && (old & PTE_PS));

	if (!(old & PTE_P) || !(old & PTE_A))
		return false;
	if (!(new_entry & PTE_P))
		return true;
	if (level > 1)
		must_stay |= PTE_PS;
	if (leaf)
		may_rise |= PTE_D;
	return ((old ^ new_entry) & must_stay) || (old & ~new_entry & may_rise) ||
	       (~old & new_entry & PTE_NX);
}

/* A page that may have been mapped read-only can be written without a fault from now on. */
static bool write_gained(u64 old, u64 new_entry)
{
	u64 need = PTE_P | PTE_RW | PTE_A | PTE_D;

	return (new_entry & need) == need && (old & need) != need;
}

static bool child_lost(u64 old, u64 new_entry)
{
	return !(new_entry & PTE_P) || ((old ^ new_entry) & (PTE_ADDR | PTE_PS));
}

static u64 use_start(const struct pt_use *u, u64 pa)
{
	return u->base + ((u64)(pa >> 3 & 511) << level_shift(u->level));
}

/* The high entries of a root are not: see view.c. */
static bool is_shadowed(const struct pt_use *u, u64 pa)
{
	return u->level < 4 || (pa >> 3 & 511) < 256;
}

void uses_entry_changed(struct vcpu *v, u64 pa, u64 old, u64 new_entry)
{
	const struct pt_use *use = shadow_pool->use;
	u32 pfn = pa >> PAGE_SHIFT, i;
	u64 ahead = ~0UL, raise = ~0UL;
	bool children = false;

	for (i = *bucket(pfn); i; i = use[i].hash_next) {
		const struct pt_use *u = &use[i];

		if (u->pfn != pfn || !is_shadowed(u, pa))
			continue;
		children |= u->level > 1;
		if (entry_lost(v, u->level, old, new_entry))
			inval_range(v, u->owner, use_start(u, pa), BIT(level_shift(u->level)));
		else if (u->level == 1 && !(old & PTE_P) && use_start(u, pa) == (v->cr2 & PAGE_MASK))
			ahead = use_start(u, pa);
		if (u->level == 1 && write_gained(old, new_entry))
			raise = use_start(u, pa);
	}
	if (children && child_lost(old, new_entry)) {
again:
		for (i = *bucket(pfn); i; i = use[i].hash_next) {
			struct pt_use u = use[i];

			if (u.pfn != pfn || !is_shadowed(&u, pa) ||
			    !drop_child(&u, old, use_start(&u, pa)))
				continue;
			/* In the high half, the way down may also have been another root's. */
			if (!entry_lost(v, u.level, old, new_entry))
				inval_range(v, u.owner, use_start(&u, pa), BIT(level_shift(u.level)));
			goto again;
		}
	}
	if (ahead != ~0UL && (new_entry & PTE_P) && (new_entry & PTE_A))
		fill_ahead(v, ahead);
	else if (raise != ~0UL && view_self)
		fill_raise(v, raise);
}

void uses_drop_table(struct vcpu *v, u64 table)
{
	struct shadow_pool *s = shadow_pool;
	u32 pfn = table >> PAGE_SHIFT, i;

	while ((i = use_first(pfn))) {
		struct pt_use u = s->use[i];

		use_remove(i);
		if (u.level == 4) {
			view_root_gone(v, u.owner);
			continue;
		}
		inval_range(v, u.owner, u.base, BIT(level_shift(u.level) + 9));
		drop_below(u.owner, u.level, u.base, BIT(level_shift(u.level) + 9));
	}
}

void uses_drop_owner(unsigned owner)
{
	while (shadow_pool->use_list[owner])
		use_remove(shadow_pool->use_list[owner]);
}

void uses_drop_all(void)
{
	for (unsigned i = 0; i <= OWNER_HIGH; i++)
		uses_drop_owner(i);
}
