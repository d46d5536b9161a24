/* The code cache in regions: what is left of blocks, chains and lookup tables when a region is
 * evicted. Real translations of a few pages of branches, in a cache that is cut small; after
 * many random steps all lists, records and tables must agree with each other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "test_dbt_fixture.h"

#define CODE_PAGES 64u
#define CODE_BYTES (CODE_PAGES * PAGE_SIZE)
#define LINE 64u /* a block begins at each */
#define VIEWS 3u
#define KERNEL_GVA 0xffffffff81000000UL
#define USER_GVA 0x400000UL

static bool traced[CODE_PAGES];
static int tables_fd;
static u64 rnd = 88172645463325252UL;

/* In place of the shadow layer's. */
void trace_code_add(struct vcpu *v, gpa_t page)
{
	(void)v;
	traced[page.v >> PAGE_SHIFT] = true;
}

void trace_code_remove(gpa_t page) { traced[page.v >> PAGE_SHIFT] = false; }

static u32 pick(u32 n)
{
	rnd ^= rnd << 13;
	rnd ^= rnd >> 7;
	rnd ^= rnd << 17;
	return (u32)(rnd >> 20) % n;
}

/* --- the machine ------------------------------------------------------------------------------ */
/* NOPs, or CPUID, and a conditional branch to another line, mostly of the page; the last one goes
 * on in the next page. */
static void write_code(void)
{
	u8 *code = physmem_ptr(gpa(0));

	memset(code, 0x90, CODE_BYTES);
	for (u32 at = 0; at < CODE_BYTES; at += LINE) {
		u32 jcc = at + ((at + LINE) % PAGE_SIZE ? 2 + pick(LINE - 8) : LINE - 3);
		u32 target = pick(4) ? (at & PAGE_MASK) + pick(PAGE_SIZE / LINE) * LINE : pick(CODE_BYTES / LINE) * LINE;
		i32 rel = (i32)(target - (jcc + 6));

		if (jcc + 6 > CODE_BYTES)
			break;
		if (pick(2))
			memcpy(code + at, "\x0f\xa2", 2);
		code[jcc] = 0x0f;
		code[jcc + 1] = 0x84;
		memcpy(code + jcc + 2, &rel, 4);
	}
}

/* Each view has its own part of the tables at the same address. */
static void run_view(unsigned slot)
{
	ARENA->running_view = slot;
	if (mmap((void *)HOT_TABLE_U_HVA, TABLE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, tables_fd,
		 slot * TABLE_SIZE) == MAP_FAILED)
		exit(1);
}

static struct table_entry *table_of(unsigned slot)
{
	return slot == VIEWS ? (void *)HOT_TABLE_K_HVA : (void *)(PRIVATE_HVA + 0x40000000UL + slot * TABLE_SIZE);
}

static int machine_setup(void **state)
{
	(void)state;
	tables_fd = memfd_create("tables", 0);
	if (tables_fd < 0 || ftruncate(tables_fd, VIEW_MAX * TABLE_SIZE))
		return -1;
	return 0;
}

/* An empty cache with so little of one pool that it alone is what makes room needed. */
static int cache_setup(enum pool p, u32 region_size)
{
	dbt_map();
	map_fixed(PHYS_HVA, CODE_BYTES);
	if (mmap((void *)(PRIVATE_HVA + 0x40000000UL), VIEW_MAX * TABLE_SIZE, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_FIXED, tables_fd, 0) == MAP_FAILED)
		return -1;
	memset((void *)(PRIVATE_HVA + 0x40000000UL), 0, VIEWS * TABLE_SIZE);
	memset(traced, 0, sizeof(traced));
	ARENA->host = (struct host_caps){ .pkeys = true, .native = true, .fsgsbase = true, .key_zone = 1, .key_kl = 2,
					  .key_kh = 3, .key_p = 4, .key_s = 5, .key_t = 6, .key_ks = 7, .key_kt = 8, .key_d = 9 };
	ARENA->fold = engine.fold = FOLD_DEFAULT;
	ARENA->machine.phys = (struct physmem){ CODE_BYTES, PHYS_4G };
	__asm__ volatile("mov %%fs:0, %0" : "=r"(engine.host_fs));
	engine.cur_fs = engine.host_fs;
	run_view(0);
	write_code();
	if (!dbt_start())
		return -1;
	for (u32 r = 1; r <= REGIONS; r++)
		cache->first[r][p] = r * region_size;
	memcpy(cache->next, cache->first, sizeof(cache->next));
	return 0;
}

/* --- what the engine does ---------------------------------------------------------------------- */
static u64 gva_of(u8 flavour, u32 at) { return (flavour == FLAVOUR_USER ? USER_GVA : KERNEL_GVA) + at; }
static u32 gpa_of(u64 gva) { return (u32)(gva >> 63 ? gva - KERNEL_GVA : gva - USER_GVA); }
static u8 mode_of_flavour(u8 flavour) { return flavour == FLAVOUR_USER ? MODE_CPL3 : 0; }

static u32 try_block(u8 flavour, u32 at, u64 page1)
{
	u32 id = cache_find(gva_of(flavour, at), at, page1, flavour, mode_of_flavour(flavour));

	if (id)
		return id;
	cache_make_room();
	return translate_block(VCPU, flavour, mode_of_flavour(flavour), gva_of(flavour, at), at, page1);
}

static u32 find_block(u8 flavour, u32 at)
{
	u32 id = try_block(flavour, at, ~0UL);

	return id ? id : try_block(flavour, at, (at & PAGE_MASK) + PAGE_SIZE);
}

static u32 block_in_table(u8 flavour, u32 at)
{
	u32 id = find_block(flavour, at);

	assert_true(id);
	table_set(VCPU, gva_of(flavour, at), id);
	return id;
}

static bool is_live(u32 id)
{
	for (u32 r = 0; r < REGIONS; r++)
		if (id >= cache->first[r][POOL_BLOCK] && id < cache->next[r][POOL_BLOCK])
			return !cache->block[id].dead;
	return false;
}

/* Follows the first branch of the block, and chains it if nothing has moved. */
static u32 chain_from(u32 from, unsigned n)
{
	u32 id = cache->block[from].exits + n, to;
	struct exit_rec *x = &cache->exit[id];
	u64 generation = cache->generation;

	if (n >= cache->block[from].n_exits || x->kind != EXIT_CHAIN || gpa_of(x->target) >= CODE_BYTES - PAGE_SIZE)
		return 0;
	to = find_block(x->flavour, gpa_of(x->target));
	if (generation == cache->generation && cache->block[to].page1 == ~0UL)
		cache_chain(id, to);
	return to;
}

/* --- does all agree? ---------------------------------------------------------------------------- */
static u8 seen[LISTS][MAX_BLOCKS], chained[MAX_EXITS];

static void check_lists(void)
{
	memset(seen, 0, sizeof(seen));
	for (unsigned l = 0; l < LISTS; l++)
		for (u32 h = 0; h < HASH_SIZE; h++)
			for (u32 id = cache->list[l][h], prev = 0; id; prev = id, id = cache->block[id].link[l].next) {
				assert_true(is_live(id));
				assert_int_equal(cache->block[id].link[l].prev, prev);
				assert_int_equal(seen[l][id]++, 0);
			}
}

static void check_chains(const struct block *b, u32 id)
{
	for (u32 e = b->exits; e < b->exits + b->n_exits; e++) {
		const struct exit_rec *x = cache_exit(e);
		i32 rel;

		assert_non_null(x);
		assert_int_equal(x->block, id);
		if (!x->patch_off) {
			assert_int_equal(x->linked, 0);
			continue;
		}
		memcpy(&rel, (u8 *)CODE_RW_HVA + x->patch_off, 4);
		assert_int_equal(x->patch_off + 4 + (u32)rel, x->linked ? cache->block[x->linked].code_off : x->stub_off);
		assert_true(!x->linked || (!b->dead && is_live(x->linked)));
	}
	for (u32 e = b->incoming, prev = 0; e; prev = e, e = cache->exit[e].next_in) {
		assert_int_equal(cache->exit[e].linked, id);
		assert_int_equal(cache->exit[e].prev_in, prev);
		assert_int_equal(chained[e]++, 0);
	}
}

static void check_block(const struct block *b, u32 id, u32 r)
{
	bool crosses = b->page1 != ~0UL;

	assert_true(b->code_off >= cache->first[r][POOL_CODE] && b->code_off + b->code_len <= cache->next[r][POOL_CODE]);
	assert_ptr_equal(cache_block_at(CODE_RX_HVA + b->code_off), b);
	assert_ptr_equal(cache_block_at(CODE_RX_HVA + b->code_off + b->code_len - 1), b);
	for (unsigned l = 0; l < LISTS; l++) {
		bool in = !b->dead && (l != BY_PAGE1 || crosses) && (l != BY_NO_VIEW || !(b->mode & MODE_CPL3));
		assert_int_equal(seen[l][id], in);
	}
	check_chains(b, id);
	if (b->dead)
		return;
	assert_int_equal(cache_find(b->gva, b->page0, b->page1, b->flavour, b->mode), id);
	assert_true(traced[b->page0 >> PAGE_SHIFT] && (!crosses || traced[b->page1 >> PAGE_SHIFT]));
}

static void check_table(const struct table_entry *t, const struct table_used *u)
{
	static bool listed[TABLE_PLACES];

	memset(listed, 0, sizeof(listed));
	for (u32 i = 0; i < u->count; i++)
		listed[u->idx[i]] = true;
	for (u32 i = 0; i < TABLE_PLACES; i++) {
		const struct block *b = t[i].host ? cache_block_at(t[i].host) : NULL;

		if (!t[i].host)
			continue;
		assert_true(listed[i] && b && !b->dead);
		assert_true(t[i].host == CODE_RX_HVA + b->code_off && t[i].neg_gva == -b->gva);
	}
}

static void check_all(void)
{
	u32 n_linked = 0, n_chained = 0;

	memset(chained, 0, sizeof(chained));
	check_lists();
	for (u32 r = 0; r < REGIONS; r++) {
		for (unsigned p = 0; p < POOLS; p++)
			assert_true(cache->first[r][p] <= cache->next[r][p] && cache->next[r][p] <= cache->first[r + 1][p]);
		for (u32 id = cache->first[r][POOL_BLOCK]; id < cache->next[r][POOL_BLOCK]; id++)
			check_block(&cache->block[id], id, r);
		for (u32 e = cache->first[r][POOL_EXIT]; e < cache->next[r][POOL_EXIT]; e++)
			n_linked += cache->exit[e].linked != 0;
		assert_null(cache_block_at(CODE_RX_HVA + cache->next[r][POOL_CODE]));
		assert_null(cache_exit(cache->next[r][POOL_EXIT]));
	}
	for (u32 e = 0; e < MAX_EXITS; e++)
		n_chained += chained[e];
	assert_int_equal(n_linked, n_chained);
	for (unsigned s = 0; s < VIEWS; s++)
		check_table(table_of(s), &cache->used_user[s]);
	check_table(table_of(VIEWS), &cache->used_kernel);
}

/* --- tests --------------------------------------------------------------------------------------- */
static u32 line(u32 i) { return i % (CODE_BYTES / LINE - 1) * LINE; } /* none ends beyond the last page */

static void random_step(void)
{
	static u32 last;
	u8 flavour = pick(2) ? FLAVOUR_USER : FLAVOUR_KHIGH;
	u32 at = line(pick(CODE_BYTES / LINE)), to;

	switch (pick(40)) {
	case 0:
		cache_drop_range(gpa(at & PAGE_MASK), at & ~PAGE_MASK, 1 + pick(100), false);
		break;
	case 1:
		dbt_unmapped(pick(VIEWS), gla(gva_of(flavour, at)), PAGE_SIZE);
		break;
	case 2:
		run_view(pick(VIEWS));
		break;
	case 3:
		if (!pick(50))
			cache_flush();
		break;
	default:
		to = is_live(last) ? chain_from(last, pick(3)) : 0;
		last = to ? to : block_in_table(flavour, at);
	}
}

/* With each of the pools as the one that is short. */
static void test_random_steps(void **state)
{
	static const u32 size[POOLS] = { 200, 1024 + 500, 512 + 100, 8192 + 3000, 65536 + 20000 };

	(void)state;
	for (unsigned p = 0; p < POOLS; p++) {
		assert_int_equal(cache_setup(p, size[p]), 0);
		for (u32 i = 0; i < 30000; i++) {
			random_step();
			if (i % 500 == 0)
				check_all();
		}
		check_all();
		assert_true(VCPU->counters[CTR_CACHE_EVICT] > 20);
	}
}

/* Fills the current region; the next one is current then. */
static void fill_region(u32 *at)
{
	u32 r = cache->region;

	while (cache->region == r)
		assert_true(find_block(FLAVOUR_KHIGH, line((*at)++)));
}

/* The exit by which the block's branch leaves. */
static u32 branch_of(u32 id)
{
	u32 e = cache->block[id].exits;

	while (cache->exit[e].kind != EXIT_CHAIN)
		e++;
	return e;
}

static void test_one_region_goes(void **state)
{
	u32 at = 1, old, young, x;
	u64 old_gva, young_gva = gva_of(FLAVOUR_KHIGH, 0);

	(void)state;
	assert_int_equal(cache_setup(POOL_BLOCK, 100), 0);
	/* The branch's target in the oldest region, the branch in the one after. */
	young = find_block(FLAVOUR_KHIGH, 0);
	old_gva = cache->exit[branch_of(young)].target;
	old = find_block(FLAVOUR_KHIGH, gpa_of(old_gva));
	cache_drop(young);
	fill_region(&at);
	young = find_block(FLAVOUR_KHIGH, 0);
	assert_true(young >= cache->first[1][POOL_BLOCK] && old < cache->first[1][POOL_BLOCK]);
	x = branch_of(young);
	cache_chain(x, old);
	assert_int_equal(cache->exit[x].linked, old);
	table_set(VCPU, old_gva, old);
	table_set(VCPU, young_gva, young);
	for (unsigned r = 1; r < REGIONS; r++) {
		assert_int_equal(cache_find(old_gva, gpa_of(old_gva), ~0UL, FLAVOUR_KHIGH, 0), old);
		check_all();
		fill_region(&at);
	}
	assert_int_equal(cache->region, 0);
	assert_int_equal(VCPU->counters[CTR_CACHE_EVICT], 1);
	check_all();
	assert_int_equal(cache_find(young_gva, 0, ~0UL, FLAVOUR_KHIGH, 0), young);
	assert_int_equal(cache->exit[x].linked, 0);
	assert_int_equal(table_get(false, old_gva), 0);
	assert_true(table_get(false, young_gva) == CODE_RX_HVA + cache->block[young].code_off);
}

/* An exit that user code names must be one that there is. */
static void test_numbers_of_the_evicted(void **state)
{
	u32 at = 0, first, exit;
	u64 generation;

	(void)state;
	assert_int_equal(cache_setup(POOL_CODE, 65536 + 8192), 0);
	first = find_block(FLAVOUR_KHIGH, LINE);
	exit = cache->first[0][POOL_EXIT] + 40;
	fill_region(&at);
	assert_non_null(cache_exit(exit));
	generation = cache->generation;
	for (unsigned r = 1; r < REGIONS; r++)
		fill_region(&at);
	assert_true(cache->generation != generation);
	assert_null(cache_exit(exit));
	assert_null(cache_exit(0));
	assert_null(cache_exit(EXIT_ID_ASYNC));
	assert_null(cache_exit(MAX_EXITS));
	assert_null(cache_exit(~0UL));
	assert_true(cache->next[0][POOL_BLOCK] - first < 3);
	/* Nothing of the old code is left where none is yet. */
	for (u32 i = cache->next[0][POOL_CODE]; i < cache->next[0][POOL_CODE] + 1000; i++)
		assert_int_equal(*((u8 *)CODE_RW_HVA + i), 0xcc);
}

static void test_trace_ends_with_the_last_block(void **state)
{
	u32 at = 0, shared = line(20 * PAGE_SIZE / LINE), lonely = line(30 * PAGE_SIZE / LINE);

	(void)state;
	assert_int_equal(cache_setup(POOL_BLOCK, 50), 0);
	find_block(FLAVOUR_KHIGH, lonely);
	find_block(FLAVOUR_KHIGH, shared);
	fill_region(&at);
	find_block(FLAVOUR_KHIGH, shared + LINE);
	for (unsigned r = 1; r < REGIONS; r++) {
		assert_true(traced[lonely >> PAGE_SHIFT] && traced[shared >> PAGE_SHIFT]);
		fill_region(&at);
	}
	assert_true(!traced[lonely >> PAGE_SHIFT] && traced[shared >> PAGE_SHIFT]);
	fill_region(&at);
	assert_false(traced[shared >> PAGE_SHIFT]);
}

static void test_flush(void **state)
{
	(void)state;
	assert_int_equal(cache_setup(POOL_BLOCK, 300), 0);
	for (unsigned i = 0; i < 3000; i++)
		chain_from(block_in_table(pick(2) ? FLAVOUR_USER : FLAVOUR_KHIGH, line(pick(CODE_BYTES / LINE))), pick(3));
	cache_flush();
	check_all();
	assert_memory_equal(cache->next, cache->first, sizeof(cache->next));
	for (unsigned i = 0; i < CODE_PAGES; i++)
		assert_false(traced[i]);
	for (unsigned s = 0; s <= VIEWS; s++)
		for (u32 i = 0; i < TABLE_PLACES; i++)
			assert_true(!table_of(s)[i].host);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_steps),
		cmocka_unit_test(test_one_region_goes),
		cmocka_unit_test(test_numbers_of_the_evicted),
		cmocka_unit_test(test_trace_ends_with_the_last_block),
		cmocka_unit_test(test_flush),
	};

	return cmocka_run_group_tests(tests, machine_setup, NULL);
}
