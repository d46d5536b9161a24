/* Random page tables, changed at random while guest code touches memory through them:
 * after every guest flush, whatever the view has mapped must be what an independent
 * walk of the tables says, and no traced page may be writable anywhere.
 *
 * Table entries point at a small pool of pages that holds the tables themselves, so that
 * tables get shared between levels and halves, map themselves, and lie inside large
 * pages. SHADOW_SEED and SHADOW_STEPS override the defaults. */
#include "test_shadow_fixture.h"

#define POOL_BASE 0x200000UL
#define POOL_PAGES 24

/* Few indices per level, so that paths meet; 275 folds onto 3, which only protection
 * keys keep apart. */
static u16 top_index[] = { 2, 3, 273, 275 };
static u64 rng;

static u32 rnd(u32 n)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return (u32)(rng >> 20) % n;
}

static u64 random_address(void)
{
	u64 a = (u64)top_index[rnd(4)] << 39;

	for (unsigned level = 3; level >= 1; level--)
		a |= (u64)(rnd(3) == 0) << (12 + 9 * (level - 1));
	a |= a & BIT(47) ? 0xffff000000000000UL : 0;
	return a + BIT(20) * rnd(2); /* into large pages */
}

static u64 random_entry(unsigned level)
{
	u64 e = POOL_BASE + PAGE_SIZE * rnd(POOL_PAGES);

	if (rnd(6) == 0)
		return 0;
	if ((level == 2 && rnd(3) == 0) || (level == 3 && rnd(6) == 0))
		e = (level == 2 ? BIT(21) * rnd(3) : 0) | PTE_PS;
	e |= PTE_P | (rnd(4) ? PTE_RW : 0) | (rnd(3) ? PTE_US : 0) | (rnd(4) ? 0 : PTE_NX);
	return e | (rnd(2) ? PTE_A : 0) | (rnd(2) ? PTE_D : 0) | (rnd(8) ? 0 : PTE_G);
}

/* The rights and place of a; false if none. Nothing is shared with the walker. */
static bool ref_lookup(u64 root, u64 a, u64 *pa, u64 *rights)
{
	u64 table = root, e;

	*rights = PTE_RW | PTE_US;
	for (unsigned shift = 39;; shift -= 9) {
		e = *pte_at(table, a >> shift & 511);
		if (!(e & PTE_P) || (e >> 46 & 63) || (shift == 39 && (e & PTE_PS)))
			return false;
		if (shift > 12 && shift < 39 && (e & PTE_PS) && (e & (BIT(shift) - BIT(13))))
			return false;
		*rights &= e;
		if (shift == 12 || (e & PTE_PS)) {
			*pa = (e & 0x3ffffffff000UL & ~(BIT(shift) - 1)) | (a & (BIT(shift) - 1));
			*rights |= e & PTE_D;
			return true;
		}
		table = e & 0x3ffffffff000UL;
		if (table >= RAM_LOW)
			return false;
	}
}

static bool low_half_covers(u64 hva)
{
	const struct map_dir *d = &view_self->dir[HALF_LOW];

	for (u32 i = 1; i < d->fresh; i++)
		if (d->node[i].order != ORDER_FREE &&
		    hva - d->node[i].hva < BIT(12 + 9 * d->node[i].order))
			return true;
	return false;
}

/* What f can do at a without a fault must be allowed and hit the right page. */
static void check_address(struct vcpu *v, u64 a, enum flavour f)
{
	u64 pa = 0, rights = 0, val, hva = map_hva(a) & PAGE_MASK;
	bool there;

	/* Key 0 cannot be denied here: see try_access. */
	if (f == FLAVOUR_KHIGH && low_half_covers(hva))
		return;
	if (!try_access(hva + 0xff8, false, f, &val))
		return;
	there = ref_lookup(v->cr3, a, &pa, &rights);
	if (!there || val != stamp_of(pa & PAGE_MASK))
		fail_msg("%#lx flavour %d: stale, holds %#lx, should be %#lx", a, f, val, pa);
	if (f == FLAVOUR_USER && !(rights & PTE_US) && real_keys)
		fail_msg("%#lx: user code reads a supervisor page", a);
	if (!try_access(hva + 0xff8, true, f, NULL))
		return;
	if (!(rights & PTE_RW) || !(rights & PTE_D) || trace_is_traced(gpa(pa)))
		fail_msg("%#lx flavour %d: writable, rights %#lx traced %d", a, f, rights, trace_is_traced(gpa(pa)));
}

static void check_all(struct vcpu *v)
{
	for (unsigned t = 0; t < 4; t++)
		for (unsigned n = 0; n < 16; n++) {
			u64 a = (u64)top_index[t] << 39 | (u64)(n & 1) << 30 | (u64)(n >> 1 & 1) << 21 |
				(u64)(n >> 2 & 1) << 12 | (u64)(n >> 3 & 1) << 20;

			if (t < 2) {
				check_address(v, a, FLAVOUR_USER);
				check_address(v, a, FLAVOUR_KLOW);
			} else {
				check_address(v, a | 0xffff000000000000UL, FLAVOUR_KHIGH);
			}
		}
}

static void write_entry(struct vcpu *v)
{
	u64 table = rnd(4) ? POOL_BASE + PAGE_SIZE * rnd(POOL_PAGES) : v->cr3;
	unsigned level = table == v->cr3 ? 4 : 1 + rnd(3);
	unsigned i = level == 4 ? top_index[rnd(4)] : rnd(3) == 0;

	guest_write_pte(v, pte_at(table, i), random_entry(level));
}

static void bulk_write(struct vcpu *v)
{
	u64 page = rnd(8) ? POOL_BASE + PAGE_SIZE * rnd(POOL_PAGES) : v->cr3;

	if (trace_is_traced(gpa(page)))
		trace_bulk_write(v, gpa(page), PAGE_SIZE);
	for (unsigned i = 0; i < 2; i++)
		*pte_at(page, i) = rnd(2) ? random_entry(1 + rnd(3)) : 0;
}

static void touch(struct vcpu *v)
{
	u64 a = random_address();
	bool write = rnd(2);
	enum flavour f = gla_is_high(a) ? FLAVOUR_KHIGH : rnd(2) ? FLAVOUR_USER : FLAVOUR_KLOW;
	u64 hva = map_hva(a) + 0xff8;

	/* As the keys would have it, what the other half left here is a fault. */
	if (f == FLAVOUR_KHIGH && low_half_covers(hva))
		(void)shadow_fill(v, hva, write, f);
	else
		(void)guest_access(v, hva, write, f, NULL);
}

static void flush(struct vcpu *v)
{
	switch (rnd(4)) {
	case 0:
		mmu_cr3_written(v);
		break;
	case 1:
		mmu_flush_all(v);
		break;
	case 2:
		v->cr2 = random_address();
		mmu_invlpg(v, gla(random_address()));
		break;
	case 3:
		v->cr3 = rnd(2) ? BIT(20) : BIT(20) + PAGE_SIZE;
		mmu_cr3_written(v);
		break;
	}
	assert_int_equal(shadow_view_wanted(v, FLAVOUR_USER), 0);
}

static void random_changes(void **state)
{
	struct vcpu *v = machine_setup();
	const char *seed = getenv("SHADOW_SEED"), *steps = getenv("SHADOW_STEPS");
	u64 n = steps ? strtoul(steps, NULL, 0) : 60000;

	(void)state;
	rng = seed ? strtoul(seed, NULL, 0) : 0x5eed5eed5eedUL;
	print_message("seed %#lx\n", rng);
	if (getenv("SHADOW_LOG"))
		log_enabled = LOG_MMU;
	if (!real_keys)
		top_index[1] = 4;
	new_table(); /* the second root, after the first */
	for (u64 i = 0; i < 16; i++)
		write_entry(v);
	for (u64 i = 0; i < n; i++) {
		unsigned what = rnd(100);

		if (what < 55)
			touch(v);
		else if (what < 85)
			write_entry(v);
		else if (what < 88)
			bulk_write(v);
		else if (what < 90)
			trace_code_add(v, gpa(POOL_BASE + PAGE_SIZE * rnd(POOL_PAGES)));
		else
			flush(v);
		if (i % 32 == 0) {
			flush(v);
			check_all(v);
		}
	}
	assert_true(v->counters[CTR_FILL] > n / 50);
	print_message("fills %lu, true faults %lu, invalidations %lu, traced %lu\n",
		      v->counters[CTR_FILL], v->counters[CTR_FAULT_TRUE],
		      v->counters[CTR_INVALIDATE], v->counters[CTR_TRACE_PT]);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(random_changes) };

	int failed = cmocka_run_group_tests(tests, NULL, NULL);

	if (uffd_setup())
		failed += cmocka_run_group_tests_name("with userfaultfd", tests, NULL, NULL);
	return failed;
}
