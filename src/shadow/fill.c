/* Hidden faults: host faults that the guest's tables can explain become mappings.
 *
 * Runs in the signal handler of a view, interrupting translated code only. Every table
 * on the path is registered (and so traced) before anything is mapped from it; only then
 * is it decided whether the page itself may be writable, for it may be one of them.
 *
 * A mapping is writable only when the guest's entries allow writes to the privilege that
 * the view keeps the page for, the dirty flag is set and the page is not traced. Writes
 * that only CR0.WP = 0 allows are left to soft operands. So are, under SMAP, user pages of
 * the high half: all pages there have one key, and kernel code may use these only while
 * RFLAGS.AC is set. */
#include "internal.h"

struct target {
	u64 a;         /* guest address */
	u64 hva;
	bool mappable; /* the host address is ours to map */
};

/* False: no guest address of this flavour's direct operands. */
static bool find_target(u64 hva, enum flavour f, struct target *t)
{
	t->hva = hva;
	t->a = f == FLAVOUR_KHIGH ? hva - ARENA->fold : hva;
	t->mappable = hva >= HVA_MIN && hva < HVA_MAX && !hva_in_zone(hva);
	return f != FLAVOUR_SOFT && (f != FLAVOUR_KHIGH || gla_is_high(t->a));
}

static u8 key_of(u64 a, bool user_page)
{
	const struct host_caps *host = &ARENA->host;

	if (!host->pkeys)
		return 0;
	if (gla_is_high(a))
		return host->key_kh;
	return user_page ? 0 : host->key_kl;
}

/* Does the instruction at RIP lie, in part, in the page pa? */
static bool executes_in(const struct vcpu *v, u64 pa)
{
	u64 at;

	for (unsigned off = 0; off < 15; off += 14)
		if (walk_peek(v, v->seg[SEG_CS].base + v->rip + off, &at) && !((at ^ pa) & PAGE_MASK))
			return true;
	return false;
}

/* A page that is traced only for its code becomes writable: its blocks go. Not while it
 * is running: the write would never get done. */
static bool release_code(struct vcpu *v, u64 pa)
{
	if (executes_in(v, pa))
		return false;
	dbt_code_written(gpa(pa & PAGE_MASK), 0, PAGE_SIZE, true);
	trace_clear(pa, PAGE_CODE);
	return true;
}

/* A write to a traced page: FILL_DONE if it is traced no more. */
static enum fill_result write_traced_page(struct vcpu *v, u64 pa, bool user)
{
	enum fill_result r = FILL_DONE;

	if (page_flags_of(pa) & PAGE_HELD)
		r = hold_trapped(v, pa, user);
	if ((page_flags_of(pa) & PAGE_PT) || ((page_flags_of(pa) & PAGE_CODE) && !release_code(v, pa)))
		r = FILL_TRACED;
	if (r != FILL_DONE)
		count(v, CTR_FILL_TRACE);
	return r == FILL_TRACED && ARENA->policy.no_adaptive ? FILL_ONCE : r;
}

static bool entry_writable(const struct path *p, u64 e)
{
	return p->rw && (e & PTE_RW) && (e & PTE_D) && !page_flags_of(e & PTE_ADDR);
}

/* May the entry e, i pages from the one that faulted, be mapped along with it? */
static bool neighbour(const struct vcpu *v, const struct path *p, u64 e, u64 a, u64 pa, bool writable)
{
	u64 same = PTE_P | PTE_A | PTE_US;
	u64 mine = p->entry[p->n - 1];

	if (((e ^ mine) & same) || pte_reserved(v, 1, e) || (e & PTE_ADDR) != pa)
		return false;
	if (entry_writable(p, e) != writable || !physmem_is_ram(&ARENA->machine.phys, gpa(pa)))
		return false;
	return map_hva(a) >= HVA_MIN && map_hva(a) < HVA_MAX && !map_present(a, pa, writable);
}

/* The page and those of its aligned group of 16 that follow on in guest RAM too. */
static bool map_around(struct vcpu *v, u64 a, u64 pa, const struct path *p, bool writable, u8 key)
{
	unsigned at = level_index(a, 1), first = at, last = at;
	const u64 *table = p->ptr[p->n - 1] - at;

	a &= PAGE_MASK;
	pa &= PAGE_MASK;
	if (ARENA->policy.no_prefill)
		return map_small(a, pa, 1, writable, key);
	while (first & 15) {
		u64 back = (at - first + 1) * PAGE_SIZE;

		if (pa < back || !neighbour(v, p, table[first - 1], a - back, pa - back, writable))
			break;
		first--;
	}
	while ((last & 15) != 15) {
		u64 on = (last - at + 1) * PAGE_SIZE;

		if (!neighbour(v, p, table[last + 1], a + on, pa + on, writable))
			break;
		last++;
	}
	return map_small(a - (at - first) * PAGE_SIZE, pa - (at - first) * PAGE_SIZE,
			 last - first + 1, writable, key);
}

static bool map_walked(struct vcpu *v, u64 a, const struct walk *w, const struct path *p)
{
	u8 key = key_of(a, w->user);
	bool writable = p->rw && w->dirty;

	log_msg(LOG_MMU, "mmu: map %#lx -> %#lx size %#lx%s\n", a, w->gpa.v, w->page_size,
		writable ? " writable" : "");
	if (w->page_size > PAGE_SIZE)
		return map_large(a, w->gpa.v, w->page_size == BIT(30) ? ORDER_1G : ORDER_2M, writable, key);
	return map_around(v, a, w->gpa.v, p, writable && !page_flags_of(w->gpa.v), key);
}

/* Somebody reads a page that runs as a patched copy: a dynamic linker the vDSO's symbols, a
 * function its constants. Mostly it is not done for each call: then the page can be mapped for
 * one or the other in turn. Where they alternate all the time, reading is left to soft operands. */
#define WAY_SHIFT 21 /* of the time stamp counter: about a millisecond */

static bool copy_gives_way(struct vcpu *v)
{
	u64 now = __builtin_ia32_rdtsc() >> WAY_SHIFT;

	if (view_self->gave_way == now)
		return false;
	view_self->gave_way = now;
	count(v, CTR_COPY_READ);
	return true;
}

enum fill_result shadow_fill(struct vcpu *v, u64 hva, bool write, enum flavour f)
{
	struct target t;
	struct walk w;
	struct path p;

	if (!find_target(hva, f, &t))
		return FILL_SOFT;
	if (walk_path(v, gla(t.a), write ? ACC_WRITE : ACC_READ, f == FLAVOUR_USER, &w, &p)) {
		count(v, CTR_FAULT_TRUE);
		return FILL_FAULT;
	}
	if (!write && map_is_copy(t.a, w.gpa.v) && !copy_gives_way(v))
		return FILL_SOFT;
	if (!t.mappable || !physmem_is_ram(&ARENA->machine.phys, w.gpa) || (write && !p.rw) ||
	    (gla_is_high(t.a) && w.user && (v->cr4 & CR4_SMAP)) || !view_can_hold(v, t.a))
		return FILL_SOFT;
	uses_add_path(v, t.a, &w);
	if (write && page_flags_of(w.gpa.v)) {
		enum fill_result r = write_traced_page(v, w.gpa.v, f == FLAVOUR_USER);

		if (r != FILL_DONE)
			return r;
	}
	if (!map_walked(v, t.a, &w, &p))
		return FILL_SOFT;
	count(v, CTR_FILL);
	return FILL_DONE;
}

/* --- code that runs as it is ---------------------------------------------------------- */
static bool code_neighbour(struct vcpu *v, const struct path *p, u64 e, u64 a, u64 pa)
{
	u64 same = PTE_P | PTE_A | PTE_US | PTE_NX;
	gpa_t from;

	return !((e ^ p->entry[p->n - 1]) & same) && !pte_reserved(v, 1, e) && (e & PTE_ADDR) == pa &&
	       a >= HVA_MIN && a < HVA_MAX && !map_is_code(a, pa) &&
	       dbt_code_at(v, gpa(pa), &from) == CODE_PLAIN;
}

/* Code is mapped in groups of 64 pages; the host populates them as they are touched. */
#define CODE_GROUP 63

static bool map_code_around(struct vcpu *v, u64 a, u64 pa, const struct path *p)
{
	unsigned at = level_index(a, 1), first = at, last = at;
	const u64 *table = p->ptr[p->n - 1] - at;

	while ((first & CODE_GROUP) && code_neighbour(v, p, table[first - 1], a - (at - first + 1) * PAGE_SIZE,
					      pa - (at - first + 1) * PAGE_SIZE))
		first--;
	while ((last & CODE_GROUP) != CODE_GROUP && code_neighbour(v, p, table[last + 1], a + (last - at + 1) * PAGE_SIZE,
						   pa + (last - at + 1) * PAGE_SIZE))
		last++;
	return map_code(a - (at - first) * PAGE_SIZE, pa - (at - first) * PAGE_SIZE, last - first + 1);
}

bool shadow_map_exec(struct vcpu *v, u64 a)
{
	struct walk w;
	struct path p;
	enum dbt_code kind;
	gpa_t from;
	u64 pa;

	if (gla_is_high(a) || a < HVA_MIN || a >= HVA_MAX || hva_in_zone(a) || !view_can_hold(v, a) ||
	    walk_path(v, gla(a), ACC_EXEC, true, &w, &p) || w.page_size != PAGE_SIZE)
		return false;
	pa = w.gpa.v & PAGE_MASK;
	kind = dbt_code_at(v, gpa(pa), &from);
	if (kind == CODE_TRANSLATED)
		return false;
	if (map_is_code(a & PAGE_MASK, pa))
		return true;
	uses_add_path(v, a, &w);
	if (kind == CODE_PATCHED)
		return map_code_copy(a & PAGE_MASK, pa, from.v);
	return map_code_around(v, a & PAGE_MASK, pa, &p);
}

static bool all_accessed(const struct path *p)
{
	for (unsigned i = 0; i < p->n; i++)
		if (!(p->entry[i] & PTE_A))
			return false;
	return true;
}

enum fill_rights fill_rights(struct vcpu *v, u64 a, u32 pfn, u8 key, bool exec)
{
	struct walk w;
	struct path p;

	if (!walk_look(v, a, &w, &p) || w.gpa.v >> PAGE_SHIFT != pfn || key_of(a, w.user) != key || !all_accessed(&p) ||
	    (exec && !(w.exec && w.user)))
		return RIGHTS_NONE;
	uses_add_path(v, a, &w);
	return p.rw && w.dirty && !page_flags_of(w.gpa.v) ? RIGHTS_WRITE : RIGHTS_READ;
}

void fill_raise(struct vcpu *v, u64 a)
{
	struct walk w;
	struct path p;

	if (ARENA->policy.no_prefill)
		return;
	/* A range is left to the faults of those pages that are really written. */
	view_self->raise_run = a == view_self->raised + PAGE_SIZE ? view_self->raise_run + 1 : 0;
	view_self->raised = a;
	if (view_self->raise_run >= RAISE_RUN_MAX || gla_is_high(a) || view_owner_low(v) < 0)
		return;
	if (!walk_look(v, a, &w, &p) || w.page_size != PAGE_SIZE || !p.rw || !w.dirty ||
	    (page_flags_of(w.gpa.v) & ~PAGE_HELD) || !physmem_is_ram(&ARENA->machine.phys, w.gpa))
		return;
	if (!hold_raises(v, w.gpa.v) && map_raise(a, w.gpa.v, key_of(a, w.user)))
		hold_count_round(w.gpa.v);
}

/* Saves the fault that would follow when the guest returns from its own handler. */
void fill_ahead(struct vcpu *v, u64 a)
{
	struct exc saved = v->exc;
	struct walk w;
	struct path p;

	if (ARENA->policy.no_prefill || user_is_soft() || gla_is_high(a) || a < HVA_MIN || a >= HVA_MAX || hva_in_zone(a) || v->cpl == 3 ||
	    !view_can_hold(v, a))
		return;
	if (walk_path(v, gla(a), ACC_READ, true, &w, &p) == 0 &&
	    physmem_is_ram(&ARENA->machine.phys, w.gpa)) {
		uses_add_path(v, a, &w);
		/* The fault was for a right: Linux takes an entry out while it changes it. */
		if (map_present(a, w.gpa.v, false))
			fill_raise(v, a);
		else if (map_walked(v, a, &w, &p))
			count(v, CTR_FILL_AHEAD);
	}
	v->exc = saved;
}
