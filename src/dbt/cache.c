/* Blocks and their indexes. See cache.h. */
#include <string.h>
#include "cache.h"
#include "decode.h"
#include "emit.h"
#include "engine.h"
#include "shadowbox/log.h"
#include "shadowbox/sandbox.h"

struct cache *cache;

static u32 hash_u64(u64 x)
{
	return (u32)((x * 0x9e3779b97f4a7c15UL) >> 48) & (HASH_SIZE - 1);
}

static struct table_entry *table_kernel(void) { return (void *)HOT_TABLE_K_HVA; }
static struct table_entry *table_user(void) { return (void *)HOT_TABLE_U_HVA; }
static struct table_entry *table_user_of(unsigned slot)
{
	return (void *)(PRIVATE_HVA + 0x40000000UL + (u64)slot * TABLE_SIZE);
}

/* An empty entry must match no target that is looked for there: gva 0 has index 0. */
static void table_clear_entry(struct table_entry *t, u32 i)
{
	t[i].host = 0;
	t[i].neg_gva = i <= 1 ? 1 : 0;
}

/* --- regions ------------------------------------------------------------------------------ */
/* What one block may need. */
static const u32 pool_reserve[POOLS] = {
	[POOL_BLOCK] = 1, [POOL_EXIT] = 1024, [POOL_INSN] = 512, [POOL_MARK] = 8192, [POOL_CODE] = 65536 + 64,
};

/* Cuts the pools; the first region begins behind what is not given away. */
static void regions_init(void)
{
	const u32 code = ARENA->policy.cache_max ? ARENA->policy.cache_max << 10 : CODE_SIZE;
	const u32 size[POOLS] = {
		[POOL_BLOCK] = MAX_BLOCKS, [POOL_EXIT] = MAX_EXITS, [POOL_INSN] = MAX_INSNS, [POOL_MARK] = MAX_MARKS,
		[POOL_CODE] = code,
	};

	for (u32 r = 0; r <= REGIONS; r++)
		for (unsigned p = 0; p < POOLS; p++)
			cache->first[r][p] = size[p] / REGIONS * r;
	cache->first[0][POOL_BLOCK] = cache->first[0][POOL_INSN] = 1;
	cache->first[0][POOL_EXIT] = EXIT_FIRST;
	emit_stubs(cache->first[1][POOL_CODE]);
	memcpy(cache->next, cache->first, sizeof(cache->next));
}

/* The region in which this place of the pool is in use; REGIONS: it is not. */
static u32 region_of(enum pool p, u64 at)
{
	u32 r = 0;

	while (r < REGIONS && !(at >= cache->first[r][p] && at < cache->next[r][p]))
		r++;
	return r;
}

struct exit_rec *cache_exit(u64 id)
{
	return region_of(POOL_EXIT, id) < REGIONS ? &cache->exit[id] : NULL;
}

size_t dbt_init(void *base, size_t size)
{
	if (size < sizeof(struct cache) || decode_init() < 0)
		return 0;
	cache = base;
	engine_rights_init();
	regions_init();
	for (u32 i = 0; i <= 1; i++) {
		table_clear_entry(table_kernel(), i);
		for (unsigned s = 0; s < VIEW_MAX; s++)
			table_clear_entry(table_user_of(s), i);
	}
	return sizeof(struct cache) + native_init(cache + 1, size - sizeof(struct cache));
}

/* --- lists --------------------------------------------------------------------------------- */
static u32 *list_head(enum block_list l, u64 key) { return &cache->list[l][hash_u64(key)]; }

/* Where the block belongs in a list of that kind; NULL: nowhere. */
static u32 *list_of(const struct block *b, enum block_list l)
{
	switch (l) {
	case BY_GVA: return list_head(l, b->gva);
	case BY_GVA_PAGE: return list_head(l, b->gva & PAGE_MASK);
	case BY_PAGE0: return list_head(l, b->page0);
	case BY_PAGE1: return b->page1 == ~0UL ? NULL : list_head(l, b->page1);
	case BY_NO_VIEW: return !(b->mode & MODE_CPL3) || b->gva >> 63 ? list_head(l, 0) : NULL;
	default: return NULL;
	}
}

static void list_add(u32 id)
{
	struct block *b = &cache->block[id];

	for (unsigned l = 0; l < LISTS; l++) {
		u32 *head = list_of(b, l);
		if (!head)
			continue;
		b->link[l].next = *head;
		b->link[l].prev = 0;
		if (*head)
			cache->block[*head].link[l].prev = id;
		*head = id;
	}
}

static void list_remove(const struct block *b)
{
	for (unsigned l = 0; l < LISTS; l++) {
		u32 *head = list_of(b, l), next = b->link[l].next, prev = b->link[l].prev;
		if (!head)
			continue;
		*(prev ? &cache->block[prev].link[l].next : head) = next;
		if (next)
			cache->block[next].link[l].prev = prev;
	}
}

/* The block may be dropped meanwhile: it keeps its links. */
#define for_each_block(id, l, key) \
	for (u32 id = *list_head(l, key); id; id = cache->block[id].link[l].next)

static bool has_blocks(u64 page)
{
	for_each_block(id, BY_PAGE0, page)
		if (cache->block[id].page0 == page)
			return true;
	for_each_block(id, BY_PAGE1, page)
		if (cache->block[id].page1 == page)
			return true;
	return false;
}

static void table_clear(struct table_entry *t, struct table_used *u)
{
	for (u32 i = 0; i < u->count; i++)
		table_clear_entry(t, u->idx[i]);
	u->count = 0;
}

u32 cache_find(u64 gva, u64 gpa, u64 page1, u8 flavour, u8 mode)
{
	for_each_block(id, BY_GVA, gva) {
		const struct block *b = &cache->block[id];
		if (b->gva == gva && b->page0 == (gpa & PAGE_MASK) && b->page1 == page1 &&
		    b->flavour == flavour && b->mode == mode)
			return id;
	}
	return 0;
}

void cache_insert(u32 id)
{
	const struct block *b = &cache->block[id];

	list_add(id);
	trace_code_add(VCPU, gpa(b->page0));
	if (b->page1 != ~0UL)
		trace_code_add(VCPU, gpa(b->page1));
}

struct block *cache_block_at(u64 host_pc)
{
	u64 off = host_pc - CODE_RX_HVA;
	u32 r = region_of(POOL_CODE, off), lo, hi;

	if (r == REGIONS)
		return NULL;
	lo = cache->first[r][POOL_BLOCK];
	hi = cache->next[r][POOL_BLOCK];
	while (hi - lo > 1) {
		u32 mid = (lo + hi) / 2;
		if (cache->block[mid].code_off <= off)
			lo = mid;
		else
			hi = mid;
	}
	return off - cache->block[lo].code_off < cache->block[lo].code_len ? &cache->block[lo] : NULL;
}

const struct mark *cache_mark(const struct block *b, u64 host_pc)
{
	u32 off = (u32)(host_pc - CODE_RX_HVA) - b->code_off;
	const struct mark *m = &cache->mark[b->marks];
	u32 lo = 0, hi = b->n_marks;

	while (hi - lo > 1) {
		u32 mid = (lo + hi) / 2;
		if (m[mid].off <= off)
			lo = mid;
		else
			hi = mid;
	}
	return &m[lo];
}

u64 cache_boundary(const struct block *b, u16 goff)
{
	const struct mark *m = &cache->mark[b->marks];

	for (u32 i = 0; i < b->n_marks; i++)
		if (m[i].kind == MARK_BOUNDARY && m[i].goff == goff)
			return CODE_RX_HVA + b->code_off + m[i].off;
	return 0;
}

const struct mark *cache_stub_mark(u64 host_pc)
{
	u32 off = (u32)(host_pc - CODE_RX_HVA);

	if (host_pc < CODE_RX_HVA + cache->lookup_user || off >= cache_stubs_end())
		return NULL;
	for (u32 i = cache->n_stub_marks; i-- > 0;)
		if (cache->stub_mark[i].off <= off)
			return &cache->stub_mark[i];
	return NULL;
}

static void patch_rel32(u32 at, u32 target)
{
	i32 rel = (i32)(target - (at + 4));

	memcpy((u8 *)CODE_RW_HVA + at, &rel, 4);
}

static bool rel32_gives_rights(u32 at)
{
	const u8 *p = (const u8 *)CODE_RW_HVA + at - 2;

	for (unsigned i = 0; i < 6; i++)
		if (code_gives_rights(p + i))
			return true;
	return false;
}

void cache_chain(u32 exit_id, u32 block)
{
	struct exit_rec *x = &cache->exit[exit_id];
	struct block *to = &cache->block[block];

	if (x->linked || !x->patch_off)
		return;
	patch_rel32(x->patch_off, to->code_off);
	if (ARENA->host.native && rel32_gives_rights(x->patch_off)) {
		patch_rel32(x->patch_off, x->stub_off);
		return;
	}
	x->linked = block;
	x->next_in = to->incoming;
	x->prev_in = 0;
	if (to->incoming)
		cache->exit[to->incoming].prev_in = exit_id;
	to->incoming = exit_id;
}

/* The block that the exit belongs to leaves through its stub again. */
static void unchain(struct exit_rec *x)
{
	if (!x->linked)
		return;
	*(x->prev_in ? &cache->exit[x->prev_in].next_in : &cache->block[x->linked].incoming) = x->next_in;
	if (x->next_in)
		cache->exit[x->next_in].prev_in = x->prev_in;
	x->linked = x->next_in = x->prev_in = 0;
	patch_rel32(x->patch_off, x->stub_off);
}

static void unchain_incoming(const struct block *b)
{
	while (b->incoming)
		unchain(&cache->exit[b->incoming]);
}

/* Nothing finds it any more but the lookup tables. */
static void kill(struct block *b)
{
	b->dead = 1;
	list_remove(b);
	unchain_incoming(b);
	for (u32 e = b->exits; e < b->exits + b->n_exits; e++) /* it may be running */
		unchain(&cache->exit[e]);
}

static struct table_entry *table_find(struct table_entry *t, u64 gva)
{
	struct table_entry *e = &t[gva & (TABLE_ENTRIES - 1)];

	if (e[0].neg_gva == -gva)
		return e;
	return e[1].neg_gva == -gva ? e + 1 : NULL;
}

static void table_purge(struct table_entry *t, u64 gva)
{
	struct table_entry *e = table_find(t, gva);

	if (e)
		table_clear_entry(t, (u32)(e - t));
}

static void table_purge_block(const struct block *b)
{
	if (!(b->mode & MODE_CPL3)) {
		table_purge(table_kernel(), b->gva);
		return;
	}
	for (unsigned s = 0; s < VIEW_MAX; s++)
		if (cache->used_user[s].count)
			table_purge(table_user_of(s), b->gva);
}

void cache_drop(u32 id)
{
	struct block *b = &cache->block[id];

	if (b->dead)
		return;
	VCPU->counters[CTR_BLOCK_DROP]++;
	kill(b);
	table_purge_block(b);
}

/* --- giving space back ---------------------------------------------------------------------- */
static void table_purge_code(struct table_entry *t, struct table_used *u, u64 start, u64 end)
{
	u32 kept = 0;

	for (u32 i = 0; i < u->count; i++) {
		struct table_entry *e = &t[u->idx[i]];
		if (e->host >= start && e->host < end)
			table_clear_entry(t, u->idx[i]);
		if (e->host)
			u->idx[kept++] = u->idx[i];
	}
	u->count = kept;
}

/* A page without translated code is no longer traced for it. */
static void leave_page(u64 page)
{
	if (page == ~0UL || has_blocks(page))
		return;
	native_forget(page);
	if (!dbt_runs_native(gpa(page)))
		trace_code_remove(gpa(page));
}

static void evict(u32 r)
{
	const u32 *first = cache->first[r], *next = cache->next[r];
	const u64 start = CODE_RX_HVA + first[POOL_CODE], end = CODE_RX_HVA + next[POOL_CODE];

	for (u32 id = first[POOL_BLOCK]; id < next[POOL_BLOCK]; id++) {
		struct block *b = &cache->block[id];
		if (b->dead)
			continue;
		kill(b);
		leave_page(b->page0);
		leave_page(b->page1);
	}
	table_purge_code(table_kernel(), &cache->used_kernel, start, end);
	for (unsigned s = 0; s < VIEW_MAX; s++)
		table_purge_code(table_user_of(s), &cache->used_user[s], start, end);
	/* Gates of old code must not lead into the middle of new code. */
	if (ARENA->host.native)
		memset((u8 *)CODE_RW_HVA + first[POOL_CODE], 0xcc, end - start);
	memcpy(cache->next[r], first, sizeof(cache->next[r]));
	cache->generation++;
}

static bool has_room(void)
{
	for (unsigned p = 0; p < POOLS; p++)
		if (*cache_next(p) + pool_reserve[p] > cache->first[cache->region + 1][p])
			return false;
	return true;
}

void cache_make_room(void)
{
	if (has_room())
		return;
	cache->region = (cache->region + 1) % REGIONS;
	if (*cache_next(POOL_BLOCK) == cache->first[cache->region][POOL_BLOCK])
		return;
	VCPU->counters[CTR_CACHE_EVICT]++;
	evict(cache->region);
	sb_assert(has_room());
}

void cache_flush(void)
{
	VCPU->counters[CTR_CACHE_FLUSH]++;
	table_flush(false);
	table_flush(true);
	for (u32 r = 0; r < REGIONS; r++)
		evict(r);
}

#define SYSCALL_PREMISES (BIT(PREMISE_LSTAR) | BIT(PREMISE_STAR) | BIT(PREMISE_SFMASK))

void cache_check_premises(const struct vcpu *v)
{
	const u64 now[PREMISE_COUNT] = {
		[PREMISE_VECTOR] = (v->cr4 & (CR4_OSFXSR | CR4_OSXSAVE)) | (v->cr0 & CR0_EM) | v->xcr0 << 32,
		[PREMISE_LSTAR] = v->lstar,
		[PREMISE_STAR] = (v->star & ~0xffffffffUL) | (v->efer & EFER_SCE),
		[PREMISE_SFMASK] = v->sfmask,
		[PREMISE_SMAP] = v->cr4 & CR4_SMAP,
		[PREMISE_FSGSBASE] = v->cr4 & CR4_FSGSBASE,
		[PREMISE_TSC] = (u32)v->tsc_aux | (v->cr4 & CR4_TSD) << 32 | (u64)(v->tsc_offset != 0) << 63,
	};

	for (unsigned p = 0; p < PREMISE_COUNT; p++) {
		if (cache->premise[p] == now[p])
			continue;
		/* A gate to kernel code that is none any more must not stay behind. */
		if (ARENA->host.native && (BIT(p) & SYSCALL_PREMISES))
			cache_flush();
		for (u32 r = 0; r < REGIONS; r++)
			for (u32 id = cache->first[r][POOL_BLOCK]; id < cache->next[r][POOL_BLOCK]; id++)
				if (cache->block[id].rests_on & BIT(p))
					cache_drop(id);
		cache->premise[p] = now[p];
	}
}

static void put_entry(struct table_entry *t, struct table_used *u, u32 i, struct table_entry e)
{
	if (!t[i].host) {
		if (u->count == TABLE_PLACES)
			table_clear(t, u);
		u->idx[u->count++] = i;
	}
	t[i] = e;
}

static void table_set_entry(struct table_entry *t, struct table_used *u, u64 gva, u64 host)
{
	u32 i = gva & (TABLE_ENTRIES - 1);
	struct table_entry old = t[i];

	table_purge(t, gva);
	put_entry(t, u, i, (struct table_entry){ -gva, host });
	/* Two targets 64 KiB apart would drive each other out for ever. */
	if (old.host && old.neg_gva != -gva && (-old.neg_gva & (TABLE_ENTRIES - 1)) == i)
		put_entry(t, u, i + 1, old);
}

void table_set(struct vcpu *v, u64 gva, u32 block)
{
	u64 host = CODE_RX_HVA + cache->block[block].code_off;

	(void)v;
	if (cache->block[block].mode & MODE_CPL3)
		table_set_entry(table_user(), &cache->used_user[ARENA->running_view], gva, host);
	else
		table_set_entry(table_kernel(), &cache->used_kernel, gva, host);
}

void table_set_native(u64 gva)
{
	table_set_entry(table_user(), &cache->used_user[ARENA->running_view], gva, gva);
}

void table_forget_native(void)
{
	const struct table_used *u = &cache->used_user[ARENA->running_view];
	struct table_entry *t = table_user();

	for (u32 i = 0; i < u->count; i++)
		if (t[u->idx[i]].host == -t[u->idx[i]].neg_gva)
			table_clear_entry(t, u->idx[i]);
}

void table_forget(u64 gva) { table_purge(table_user(), gva); }

void table_flush(bool user)
{
	if (!user) {
		table_clear(table_kernel(), &cache->used_kernel);
		return;
	}
	for (unsigned s = 0; s < VIEW_MAX; s++)
		table_clear(table_user_of(s), &cache->used_user[s]);
}

void table_flush_own(void) { table_clear(table_user(), &cache->used_user[engine.slot]); }

u64 table_get(bool user, u64 gva)
{
	struct table_entry *t = user ? table_user() : table_kernel();
	const struct table_entry *e = table_find(t, gva);

	return e ? e->host : 0;
}

bool table_has_low(void)
{
	u8 flavour = kind_flavour(cache->table_kind[false]);

	return flavour == FLAVOUR_KLOW || flavour == FLAVOUR_SOFT;
}

/* --- callbacks from the shadow layer ---------------------------------------------------- */
void cache_drop_range(gpa_t page, u32 off, u32 len, bool all)
{
	u64 pg = page.v & PAGE_MASK, end = off + len;

	for_each_block(id, BY_PAGE0, pg) {
		const struct block *b = &cache->block[id];
		u64 start = b->gva & ~PAGE_MASK;
		if (b->page0 == pg && (all || (start < end && off < start + b->guest_len)))
			cache_drop(id);
	}
	for_each_block(id, BY_PAGE1, pg) {
		const struct block *b = &cache->block[id];
		u64 stop = (b->gva & ~PAGE_MASK) + b->guest_len - PAGE_SIZE;
		if (b->page1 == pg && (all || off < stop))
			cache_drop(id);
	}
}

static void forget_block_mapping(const struct block *b, unsigned slot)
{
	if (!(b->mode & MODE_CPL3)) {
		table_purge(table_kernel(), b->gva);
		unchain_incoming(b);
	} else if (slot == VIEW_MAX) {
		table_purge_block(b);
	} else if (cache->used_user[slot].count) {
		table_purge(table_user_of(slot), b->gva);
	}
}

/* All blocks that begin in the page, or only those that go on in the next one. */
static void forget_page(u64 page, unsigned slot, bool crossing)
{
	for_each_block(id, BY_GVA_PAGE, page) {
		const struct block *b = &cache->block[id];
		if ((b->gva & PAGE_MASK) == page && (!crossing || b->page1 != ~0UL))
			forget_block_mapping(b, slot);
	}
}

/* Kernel code stays chained across a wholesale flush as long as its page still maps
 * where it did. User code in the high half is rare and only forgotten. */
static void revalidate_high(struct vcpu *v)
{
	u64 last_page = 1, last_gpa = ~0UL;
	struct walk w;

	for_each_block(id, BY_NO_VIEW, 0) {
		const struct block *b = &cache->block[id];
		if (b->mode & MODE_CPL3) {
			if (b->gva >> 63)
				forget_block_mapping(b, VIEW_MAX);
			continue;
		}
		if ((b->gva & PAGE_MASK) != last_page) {
			struct exc saved = v->exc;
			last_page = b->gva & PAGE_MASK;
			last_gpa = walk_gla(v, gla(b->gva), ACC_EXEC, false, &w) == CPU_NEXT
					   ? w.gpa.v & PAGE_MASK : ~0UL;
			v->exc = saved;
		}
		if (b->page0 != last_gpa || b->page1 != ~0UL)
			forget_block_mapping(b, VIEW_MAX);
	}
}

void dbt_unmapped(unsigned slot, gla_t start, u64 len)
{
	bool high = start.v >> 63;

	if (len > 64 * PAGE_SIZE) {
		if (high) {
			revalidate_high(VCPU);
			return;
		}
		for (unsigned s = 0; s < VIEW_MAX; s++)
			if (s == slot || slot == VIEW_MAX)
				table_clear(table_user_of(s), &cache->used_user[s]);
		if (table_has_low())
			table_flush(false);
		return;
	}
	for (u64 page = start.v & PAGE_MASK; page - (start.v & PAGE_MASK) < len + (start.v & ~PAGE_MASK);
	     page += PAGE_SIZE) {
		forget_page(page, slot, false);
		forget_page(page - PAGE_SIZE, slot, true);
	}
}

/* --- guilty instructions ------------------------------------------------------------------ */
#define SOFT_CLASS_SHIFT 61
#define SOFT_KEY(entry) ((entry) & (BIT(SOFT_CLASS_SHIFT) - 1))

static u32 soft_slot(u64 gpa)
{
	u32 i = (u32)((gpa * 0x9e3779b97f4a7c15UL) >> 48) & (SOFT_SIZE - 1);

	while (cache->soft[i] && SOFT_KEY(cache->soft[i]) != gpa + 1)
		i = (i + 1) & (SOFT_SIZE - 1);
	return i;
}

static u64 *soft_page_bit(u64 gpa, u64 *bit)
{
	u32 h = hash_u64(gpa >> PAGE_SHIFT);

	*bit = BIT(h % 64);
	return &cache->soft_pages[h / 64];
}

/* Other bytes at [start, end): what stood there may have been guilty, what comes is not. */
static void soft_forget(u64 start, u64 end)
{
	u64 bit, *word = soft_page_bit(start, &bit);

	if (!(*word & bit))
		return;
	for (u64 a = start; a < end; a++) {
		u32 i = soft_slot(a);
		if (cache->soft[i])
			cache->soft[i] = a + 1; /* stays as a link of its chain, class SOFT_NO */
	}
}

void dbt_code_written(gpa_t page, u32 off, u32 len, bool all)
{
	u64 pg = page.v & PAGE_MASK;

	/* An instruction that was changed may begin up to 14 bytes before. */
	if (all)
		soft_forget(pg, pg + PAGE_SIZE);
	else
		soft_forget(pg + (off > 14 ? off - 14 : 0), pg + off + len);
	cache_drop_range(page, off, len, all);
	native_written(pg);
}

enum soft_class soft_wanted(u64 gpa)
{
	return cache->soft[soft_slot(gpa)] >> SOFT_CLASS_SHIFT;
}

void dbt_hold_ended(void)
{
	while (cache->n_held_writers) {
		u64 at = cache->held_writers[--cache->n_held_writers];

		if (soft_wanted(at) != SOFT_HELD)
			continue;
		cache->soft[soft_slot(at)] = at + 1; /* class SOFT_NO */
		cache_drop_range(gpa(at & PAGE_MASK), at & ~PAGE_MASK, 1, false);
	}
}

void soft_add(u64 gpa, enum soft_class c)
{
	u64 bit, *word;

	if (c == SOFT_HELD) {
		if (cache->n_held_writers == HELD_WRITERS_MAX)
			dbt_hold_ended();
		cache->held_writers[cache->n_held_writers++] = gpa;
	}
	if (cache->n_soft > SOFT_SIZE / 2) {
		memset(cache->soft, 0, sizeof(cache->soft));
		memset(cache->soft_pages, 0, sizeof(cache->soft_pages));
		cache->n_soft = 0;
	}
	word = soft_page_bit(gpa, &bit);
	*word |= bit;
	u32 i = soft_slot(gpa);
	if (!cache->soft[i]) {
		cache->n_soft++;
		VCPU->counters[CTR_SOFTEN]++;
	}
	cache->soft[i] = (gpa + 1) | (u64)c << SOFT_CLASS_SHIFT;
}
