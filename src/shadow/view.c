/* Views: which one shadows which root, and how they stay right while others run.
 *
 * A view's low half belongs to one root (view_slot.cr3). Its high half is a cache of
 * whatever was used there, together with the root entries that it came from; what does
 * not agree with the current root is dropped at guest TLB flushes. So kernel code runs in
 * any view, and a CR3 write alone changes no process. A root with other kernel code does not
 * count at first (high_is_foreign). The lookup table of kernel code,
 * shared by all views, is treated as one more owner of a high half.
 *
 * Changes reach a view through its slot: flags to flush a half, a queue of low address
 * ranges (guest addresses, which are host addresses there), its positions in the log of
 * high ranges and in the log of traced pages. All are applied by the view itself, when
 * it is entered and, while it runs, at guest TLB flushes (traces: at once).
 *
 * Without protection keys nothing low is mapped: code of the high half, which alone has
 * direct operands then, must not see it. */
#include "internal.h"
#include "shadowbox/sandbox.h"

#define ROOT_FREE (~0UL)

int view_owner_low(const struct vcpu *v)
{
	const struct view_slot *vs;

	if (!view_self)
		return -1;
	vs = &ARENA->view[view_self->slot];
	return vs->cr3 == cpu_root(v) ? (int)view_self->slot : -1;
}

/* --- what the high half came from ------------------------------------------------ */

static u64 high_entry(u64 root, unsigned i)
{
	u64 e = pte_read(root, 256 + i);

	return e & PTE_P ? e & ~(PTE_A | PTE_D) : 0;
}

static void high_forget(struct vcpu *v, unsigned owner, unsigned i)
{
	struct high_id *h = &shadow_pool->high[owner];
	u64 start = HIGH_BASE + ((u64)i << 39);

	h->used[i / 64] &= ~BIT(i % 64);
	h->entry[i] = 0;
	count(v, CTR_INVALIDATE);
	if (owner == OWNER_HIGH) {
		memset(shadow_pool->exec_filter[OWNER_HIGH], 0, EXEC_FILTER_BITS / 8);
		dbt_unmapped(VIEW_MAX, gla(start), BIT(39));
	} else {
		map_drop(start, BIT(39));
	}
}

/* A root entry that something was derived from and that is another one now; -1: none. */
static int high_differs(struct vcpu *v, unsigned owner)
{
	const struct high_id *h = &shadow_pool->high[owner];
	u64 root = cpu_root(v);

	for (unsigned w = 0; w < 4; w++)
		for (u64 m = h->used[w]; m; m &= m - 1) {
			unsigned i = 64 * w + __builtin_ctzl(m);

			if (h->entry[i] != high_entry(root, i))
				return (int)i;
		}
	return -1;
}

/* Drops what was derived from other root entries than the current ones. */
static void high_sync(struct vcpu *v, unsigned owner)
{
	for (int i; (i = high_differs(v, owner)) >= 0;)
		high_forget(v, owner, (unsigned)i);
}

void view_high_used(struct vcpu *v, unsigned owner, u64 a)
{
	struct high_id *h = &shadow_pool->high[owner];
	unsigned i = level_index(a, 4) - 256;
	u64 e = cpu_paging(v) ? high_entry(cpu_root(v), i) : 0;

	if (h->entry[i] == e)
		return;
	if (h->used[i / 64] & BIT(i % 64))
		high_forget(v, owner, i);
	h->entry[i] = e;
	h->used[i / 64] |= BIT(i % 64);
}

static void high_adopt(struct vcpu *v, bool code_agrees)
{
	if (!code_agrees)
		high_sync(v, OWNER_HIGH);
	if (view_self)
		high_sync(v, view_self->slot);
}

/* A kernel with page-table isolation runs a few instructions of each entry and exit with a
 * root that has hardly anything of its high half, and soon returns to the other. To drop all
 * that is derived from that, twice a system call, would cost more than anything else. So
 * while a root of other kernel code is loaded the high half counts as foreign: what is known
 * of it stays, and the engine lets kernel code of the high half run soft and an instruction
 * at a time, without it. After so many instructions, fewer each time that they were in vain,
 * the root is taken to stay. Not where user code has run in the high half: that would still be
 * found. */
#define FOREIGN_STEPS 256

static bool high_is_foreign(struct vcpu *v, bool agrees)
{
	struct shadow_pool *s = shadow_pool;

	if (s->high_user || agrees) {
		if (s->foreign && s->foreign_vain)
			s->foreign_vain--;
		s->foreign = false;
	} else if (!s->foreign && FOREIGN_STEPS >> s->foreign_vain) {
		s->foreign = true;
		s->foreign_left = FOREIGN_STEPS >> s->foreign_vain;
		v->event_pending = 1; /* other blocks from here on */
	}
	return s->foreign;
}

void view_check_high(struct vcpu *v)
{
	bool agrees;

	if (!cpu_paging(v))
		return;
	agrees = high_differs(v, OWNER_HIGH) < 0;
	if (!high_is_foreign(v, agrees))
		high_adopt(v, agrees);
}

bool shadow_high_is_foreign(void) { return shadow_pool->foreign; }

void shadow_high_step(struct vcpu *v)
{
	struct shadow_pool *s = shadow_pool;

	if (--s->foreign_left)
		return;
	s->foreign = false;
	if (FOREIGN_STEPS >> (s->foreign_vain + 1))
		s->foreign_vain++;
	high_adopt(v, false);
	view_sync(v);
}

bool view_can_hold(struct vcpu *v, u64 a)
{
	if (!view_self)
		return false;
	if (!gla_is_high(a))
		return ARENA->host.pkeys && view_owner_low(v) >= 0;
	view_high_used(v, view_self->slot, a);
	return true;
}

/* --- queues ----------------------------------------------------------------------- */

static void queue_extend(struct view_slot *vs, u32 i, u64 start, u64 len)
{
	u64 end = vs->queue[i].start + vs->queue[i].len;

	if (start < vs->queue[i].start)
		vs->queue[i].start = start;
	if (start + len > end)
		end = start + len;
	vs->queue[i].len = end - vs->queue[i].start;
}

/* Low half. When the queue is full, the entry that grows least takes the range in. */
static void queue_add(unsigned slot, u64 start, u64 len)
{
	struct view_slot *vs = &ARENA->view[slot];
	u64 best = ~0UL;
	u32 at = 0;

	if (vs->flush & VIEW_FLUSH_LOW)
		return;
	for (u32 i = 0; i < vs->queue_len; i++) {
		u64 qs = vs->queue[i].start, qe = qs + vs->queue[i].len;
		u64 lo = start < qs ? start : qs, hi = start + len > qe ? start + len : qe;

		if (hi - lo <= qe - qs + len) {
			queue_extend(vs, i, start, len);
			return;
		}
		if (hi - lo - (qe - qs) < best) {
			best = hi - lo - (qe - qs);
			at = i;
		}
	}
	if (vs->queue_len == ARRAY_LEN(vs->queue)) {
		queue_extend(vs, at, start, len);
		return;
	}
	vs->queue[vs->queue_len].start = start;
	vs->queue[vs->queue_len++].len = len;
}

/* High half: one log, which every view and the kernel lookup table follow. */
static void high_log_add(u64 start, u64 len)
{
	struct shadow_pool *s = shadow_pool;
	struct gla_range *last = &s->high_log[(s->high_pos - 1) % HIGH_LOG_SIZE];

	if (s->high_open && last->start + last->len == start) {
		last->len += len;
		return;
	}
	s->high_log[s->high_pos++ % HIGH_LOG_SIZE] = (struct gla_range){ start, len };
	s->high_open = true;
}

void inval_range(struct vcpu *v, unsigned owner, u64 start, u64 len)
{
	count(v, CTR_INVALIDATE);
	log_msg(LOG_MMU, "mmu: invalidate %#lx+%#lx owner %u\n", start, len, owner);
	if (owner == OWNER_HIGH)
		high_log_add(start, len);
	else
		queue_add(owner, start, len);
}

/* --- code: the translator need not hear of pages that never held any --------------- */

static unsigned filter_bit(u64 page)
{
	return (u32)(page ^ page >> 12) * 0x9e3779b1u >> 20;
}
_Static_assert(EXEC_FILTER_BITS == 1 << 12, "filter_bit");

void inval_exec_add(unsigned owner, u64 a)
{
	unsigned b = filter_bit(a >> PAGE_SHIFT);

	shadow_pool->exec_filter[owner][b / 64] |= BIT(b % 64);
}

/* More than the translator follows page by page: it looks at all its blocks again, and once
 * is enough for all that is pending. */
#define EXEC_RANGE_MAX (64 * PAGE_SIZE)

static bool filter_hits(unsigned owner, u64 start, u64 len)
{
	const u64 *f = shadow_pool->exec_filter[owner];

	if (len > EXEC_RANGE_MAX)
		return true;
	for (u64 off = 0; off < len; off += PAGE_SIZE) {
		unsigned b = filter_bit((start + off) >> PAGE_SHIFT);

		if (f[b / 64] & BIT(b % 64))
			return true;
	}
	return false;
}

static void exec_unmapped(unsigned owner, u64 start, u64 len)
{
	if (filter_hits(owner, start, len))
		dbt_unmapped(owner, gla(start), len);
}

/* --- applying ---------------------------------------------------------------------- */

static void flush_low(struct vcpu *v, unsigned slot)
{
	count(v, CTR_VIEW_FLUSH);
	map_flush(HALF_LOW);
	memset(shadow_pool->exec_filter[slot], 0, EXEC_FILTER_BITS / 8);
	dbt_unmapped(slot, gla(0), HALF_SIZE);
}

static void flush_high(struct vcpu *v, unsigned slot)
{
	count(v, CTR_VIEW_FLUSH);
	map_flush(HALF_HIGH);
	memset(&shadow_pool->high[slot], 0, sizeof(struct high_id));
}

static bool much_changed(u64 seen)
{
	const struct shadow_pool *s = shadow_pool;

	if (s->high_pos - seen > HIGH_LOG_SIZE)
		return true;
	for (; seen != s->high_pos; seen++)
		if (s->high_log[seen % HIGH_LOG_SIZE].len > EXEC_RANGE_MAX)
			return true;
	return false;
}

static void sync_kernel_code(void)
{
	struct shadow_pool *s = shadow_pool;
	u64 *seen = &s->high_seen[OWNER_HIGH];

	if (much_changed(*seen)) {
		*seen = s->high_pos;
		exec_unmapped(OWNER_HIGH, HIGH_BASE, HALF_SIZE);
	}
	for (; *seen != s->high_pos; ++*seen) {
		const struct gla_range *r = &s->high_log[*seen % HIGH_LOG_SIZE];

		exec_unmapped(OWNER_HIGH, r->start, r->len);
	}
}

static void sync_high(struct vcpu *v, unsigned slot)
{
	struct shadow_pool *s = shadow_pool;
	u64 *seen = &s->high_seen[slot];

	if ((ARENA->view[slot].flush & VIEW_FLUSH_HIGH) || s->high_pos - *seen > HIGH_LOG_SIZE) {
		*seen = s->high_pos;
		flush_high(v, slot);
	}
	for (; *seen != s->high_pos; ++*seen) {
		const struct gla_range *r = &s->high_log[*seen % HIGH_LOG_SIZE];

		map_drop(r->start, r->len);
	}
}

static void sync_low(struct vcpu *v, unsigned slot)
{
	struct view_slot *vs = &ARENA->view[slot];

	if (vs->flush & VIEW_FLUSH_LOW) {
		vs->queue_len = 0;
		flush_low(v, slot);
	}
	bool home = view_owner_low(v) >= 0;

	for (u32 i = 0; i < vs->queue_len; i++) {
		if (home)
			map_revalidate(v, vs->queue[i].start, vs->queue[i].len);
		else
			map_drop(vs->queue[i].start, vs->queue[i].len);
		exec_unmapped(slot, vs->queue[i].start, vs->queue[i].len);
	}
	vs->queue_len = 0;
}

void view_sync(struct vcpu *v)
{
	struct shadow_pool *s = shadow_pool;

	if (s->high_pos != s->high_seen[OWNER_HIGH] && !s->foreign) /* looks at the tables */
		sync_kernel_code();
	s->high_open = false;
	if (!view_self)
		return;
	sync_high(v, view_self->slot);
	sync_low(v, view_self->slot);
	ARENA->view[view_self->slot].flush = 0;
}

bool view_sync_high_due(void)
{
	const struct shadow_pool *s = shadow_pool;

	return s->high_pos != s->high_seen[OWNER_HIGH] ||
	       (view_self && s->high_pos != s->high_seen[view_self->slot]);
}

void view_reset_all(struct vcpu *v)
{
	struct shadow_pool *s = shadow_pool;

	s->foreign = s->high_user = false;
	uses_drop_all();
	for (unsigned i = 0; i < VIEW_MAX; i++) {
		ARENA->view[i].flush = VIEW_FLUSH_LOW | VIEW_FLUSH_HIGH;
		ARENA->view[i].queue_len = 0;
	}
	s->high_seen[OWNER_HIGH] = s->high_pos;
	memset(s->exec_filter[OWNER_HIGH], 0, EXEC_FILTER_BITS / 8);
	memset(&s->high[OWNER_HIGH], 0, sizeof(struct high_id));
	dbt_unmapped(VIEW_MAX, gla(HIGH_BASE), HALF_SIZE);
	view_sync(v);
}

/* --- choosing ---------------------------------------------------------------------- */

static void slot_release(struct view_slot *vs)
{
	vs->queue_len = 0;
	vs->flush |= VIEW_FLUSH_LOW;
	vs->in_use = 0;
	vs->cr3 = ROOT_FREE;
}

/* The root's page is written like data. The current root stays one. */
void view_root_gone(struct vcpu *v, unsigned slot)
{
	struct view_slot *vs = &ARENA->view[slot];

	uses_drop_owner(slot);
	if (vs->cr3 == cpu_root(v)) {
		vs->flush |= VIEW_FLUSH_LOW;
		return;
	}
	log_msg(LOG_MMU, "mmu: view %u: root %#lx is gone\n", slot, vs->cr3);
	slot_release(vs);
}

/* Asks for more views than are in use, in time. */
static void want_more(void)
{
	u32 in_use = 0, want, most = ARENA->policy.view_max ? ARENA->policy.view_max : VIEW_MAX;

	if (ARENA->policy.one_view)
		return;
	for (unsigned i = 0; i < VIEW_MAX; i++)
		in_use += ARENA->view[i].in_use != 0;
	want = in_use + 2 < most ? in_use + 2 : most;
	if (want > ARENA->view_wanted) {
		ARENA->view_wanted = want;
		view_notify_monitor();
	}
}

/* A free slot, the running one first; else the least recently used one. */
static unsigned slot_choose(unsigned running)
{
	const struct view_slot *view = ARENA->view;
	unsigned best = running;
	u64 oldest = ~0UL;

	if (ARENA->policy.one_view || !view[running].in_use)
		return running;
	for (unsigned i = 0; i < VIEW_MAX; i++) {
		if (view[i].state != VIEW_READY)
			continue;
		if (!view[i].in_use)
			return i;
		if (view[i].last_used < oldest) {
			oldest = view[i].last_used;
			best = i;
		}
	}
	return best;
}

static unsigned slot_claim(struct vcpu *v, unsigned running, u64 root)
{
	unsigned slot = slot_choose(running);
	struct view_slot *vs = &ARENA->view[slot];

	if (vs->in_use) {
		count(v, CTR_VIEW_RECYCLE);
		uses_drop_owner(slot);
		slot_release(vs);
	}
	log_msg(LOG_MMU, "mmu: view %u: root %#lx\n", slot, root);
	vs->in_use = 1;
	vs->cr3 = root;
	vs->life = ++shadow_pool->lives;
	vs->age = 0;
	want_more();
	if (view_self && view_self->slot == slot)
		view_sync(v);
	return slot;
}

/* Kernel-high code stays where it is: what the running view's high half held of another
 * root's is gone since the CR3 write. */
unsigned shadow_view_wanted(struct vcpu *v, enum flavour f)
{
	unsigned running = ARENA->running_view;
	u64 root = cpu_root(v), mine = ARENA->view[running].cr3;

	if (mine == root || (f == FLAVOUR_KHIGH && mine != ROOT_FREE))
		return running;
	for (unsigned i = 0; i < VIEW_MAX; i++)
		if (ARENA->view[i].cr3 == root && ARENA->view[i].state == VIEW_READY)
			return i;
	return slot_claim(v, running, root);
}

bool shadow_zone_is_free(const struct vcpu *v)
{
	return !(pte_read(cpu_root(v), level_index(ZONE_BASE, 4)) & PTE_P);
}

/* Every view forgets its low half, where alone guest code can be executable. */
void shadow_exec_revoke_all(void)
{
	for (unsigned i = 0; i < VIEW_MAX; i++)
		ARENA->view[i].flush |= VIEW_FLUSH_LOW;
	view_sync(VCPU);
}

bool shadow_view_is_home(const struct vcpu *v)
{
	return view_self && ARENA->view[view_self->slot].cr3 == cpu_root(v);
}

/* --- entering ---------------------------------------------------------------------- */

static void catch_up_traces(struct vcpu *v, struct view_slot *vs)
{
	struct shadow_pool *s = shadow_pool;

	if (s->trace_pos - vs->trace_seen > TRACE_LOG_SIZE) {
		flush_low(v, view_self->slot);
		flush_high(v, view_self->slot);
		vs->trace_seen = s->trace_pos;
	}
	for (; vs->trace_seen != s->trace_pos; vs->trace_seen++) {
		u32 pfn = s->trace_log[vs->trace_seen % TRACE_LOG_SIZE];

		if (s->page_flags[pfn])
			map_protect(pfn);
		if (!dbt_runs_native(gpa((u64)pfn << PAGE_SHIFT)))
			map_uncode(pfn);
	}
}

void shadow_view_enter(struct vcpu *v, unsigned slot)
{
	struct view_slot *vs = &ARENA->view[slot];

	sb_assert(view_self && view_self->slot == slot);
	if (!vs->last_used) { /* nothing is mapped yet */
		vs->trace_seen = shadow_pool->trace_pos;
		shadow_pool->high_seen[slot] = shadow_pool->high_pos;
	}
	vs->last_used = ++shadow_pool->use_clock;
	view_sync(v);
	catch_up_traces(v, vs);
	view_check_high(v);
}

void shadow_view_init(unsigned slot)
{
	map_init(slot);
}
