/* Fills, invalidations, traces and the choice of views, on real host mappings. */
#include "test_shadow_fixture.h"
#include <sys/wait.h>

#define UA 0x10000400000UL          /* a user address */
#define KA 0xffff888000000000UL     /* the kernel's direct map */
#define KV 0xffffc90000000000UL     /* and another kernel area */

static u64 reads(struct vcpu *v, u64 a, enum flavour f)
{
	u64 val = 0;

	assert_int_equal(guest_access(v, map_hva(a) + 0xff8, false, f, &val), FILL_DONE);
	return val;
}
static enum fill_result writes(struct vcpu *v, u64 a, enum flavour f)
{
	return guest_access(v, map_hva(a) + 0xff8, true, f, NULL);
}

static void fill_user_page(void **state)
{
	struct vcpu *v = machine_setup();
	u64 *e = guest_entry(v->cr3, UA, 1);

	(void)state;
	*e = 0x300000 | E_USER;
	assert_true(reads(v, UA, FLAVOUR_USER) == stamp_of(0x300000));
	assert_int_equal(*e & (PTE_A | PTE_D), PTE_A);
	assert_false(host_mapped(UA, true)); /* until D is set */
	assert_int_equal(writes(v, UA, FLAVOUR_USER), FILL_DONE);
	assert_true(*e & PTE_D);
	assert_true(host_mapped(UA, true));
	assert_true(trace_is_traced(gpa(v->cr3)));
	assert_true(trace_is_traced(gpa(gpa_of(e))));
	assert_false(trace_is_traced(gpa(0x300000)));
	assert_int_equal(v->counters[CTR_FILL], 2);
}

static void fill_around(void **state)
{
	struct vcpu *v = machine_setup();

	(void)state;
	for (unsigned i = 0; i < 16; i++)
		guest_map(v->cr3, UA + i * PAGE_SIZE, 0x300000 + i * PAGE_SIZE, 1, E_USER | PTE_A | PTE_D);
	*guest_entry(v->cr3, UA + 3 * PAGE_SIZE, 1) = 0x380000 | E_USER | PTE_A | PTE_D; /* elsewhere */
	*guest_entry(v->cr3, UA + 12 * PAGE_SIZE, 1) &= ~PTE_A;
	assert_true(reads(v, UA + 8 * PAGE_SIZE, FLAVOUR_USER) == stamp_of(0x308000));
	for (unsigned i = 0; i < 16; i++)
		assert_int_equal(host_mapped(UA + i * PAGE_SIZE, true), i >= 4 && i < 12);
	assert_true(reads(v, UA + 3 * PAGE_SIZE, FLAVOUR_USER) == stamp_of(0x380000));
}

static void fill_true_faults(void **state)
{
	struct vcpu *v = machine_setup();

	(void)state;
	assert_int_equal(writes(v, UA, FLAVOUR_USER), FILL_FAULT);
	assert_true(v->exc.vector == EXC_PF && v->exc.cr2 == UA + 0xff8);
	assert_int_equal(v->exc.error, PF_U | PF_W);
	guest_map(v->cr3, UA, 0x300000, 1, E_KERNEL);
	assert_true(reads(v, UA, FLAVOUR_KLOW) == stamp_of(0x300000));
	if (real_keys) {
		assert_int_equal(writes(v, UA, FLAVOUR_USER), FILL_FAULT);
		assert_int_equal(v->exc.error, PF_U | PF_P | PF_W);
	}
	guest_map(v->cr3, UA + PAGE_SIZE, 0x301000, 1, PTE_P | PTE_US);
	assert_true(reads(v, UA + PAGE_SIZE, FLAVOUR_USER) == stamp_of(0x301000));
	assert_int_equal(writes(v, UA + PAGE_SIZE, FLAVOUR_USER), FILL_FAULT);
	assert_int_equal(v->exc.error, PF_U | PF_P | PF_W);
	/* The high half from user code: the host faults with an address of its own. */
	assert_int_equal(shadow_fill(v, KA, false, FLAVOUR_USER), FILL_FAULT);
	assert_true(v->exc.cr2 == KA);
}

static void fill_soft_cases(void **state)
{
	struct vcpu *v = machine_setup();

	(void)state;
	guest_map(v->cr3, ZONE_BASE + 0x5000, 0x300000, 1, E_USER);
	assert_int_equal(shadow_fill(v, ZONE_BASE + 0x5000, false, FLAVOUR_USER), FILL_SOFT);
	assert_int_equal(shadow_fill(v, ZONE_BASE + 0x6000, false, FLAVOUR_USER), FILL_FAULT);
	guest_map(v->cr3, 0x1000, 0x300000, 1, E_USER);
	assert_int_equal(shadow_fill(v, 0x1000, false, FLAVOUR_USER), FILL_SOFT);
	guest_map(v->cr3, UA, 0xfee00000, 1, E_KERNEL);
	assert_int_equal(shadow_fill(v, UA, false, FLAVOUR_KLOW), FILL_SOFT);
	assert_int_equal(shadow_fill(v, UA + v->cr3, false, FLAVOUR_SOFT), FILL_SOFT);
	/* A kernel dereferencing a user pointer; an address that the fold leaves out. */
	assert_int_equal(shadow_fill(v, UA + FOLD_DEFAULT, false, FLAVOUR_KHIGH), FILL_SOFT);
	guest_map(v->cr3, HIGH_BASE, 0x300000, 1, E_KERNEL);
	assert_int_equal(shadow_fill(v, HIGH_BASE + FOLD_DEFAULT, false, FLAVOUR_KHIGH), FILL_SOFT);
	guest_map(v->cr3, KA + 0x20000, 0x301000, 1, PTE_P);
	v->cr0 &= ~(u64)CR0_WP;
	assert_int_equal(shadow_fill(v, map_hva(KA + 0x20000), true, FLAVOUR_KHIGH), FILL_SOFT);
}

static void fill_high_half(void **state)
{
	struct vcpu *v = machine_setup();

	(void)state;
	guest_map(v->cr3, KV, 0x300000, 1, E_KERNEL);
	assert_true(reads(v, KV, FLAVOUR_KHIGH) == stamp_of(0x300000));
	assert_int_equal(writes(v, KV, FLAVOUR_KHIGH), FILL_DONE);
	if (real_keys) {
		assert_false(try_access(map_hva(KV), false, FLAVOUR_USER, NULL));
		assert_false(try_access(map_hva(KV), false, FLAVOUR_KLOW, NULL));
	}
	assert_false(trace_is_traced(gpa(v->cr3))); /* for the low half only */
}

static int key_at(u64 hva)
{
	FILE *f = fopen("/proc/self/smaps", "r");
	char line[256];
	u64 lo, hi;
	bool in = false;
	int key = -1;

	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &lo, &hi) == 2)
			in = hva >= lo && hva < hi;
		if (in)
			sscanf(line, "ProtectionKey: %d", &key);
	}
	fclose(f);
	return key;
}

/* A user and a kernel page that fold onto one host address take turns. */
static void fill_folding_clash(void **state)
{
	struct vcpu *v = machine_setup();
	u64 low = map_hva(KA + 0x200000);

	(void)state;
	if (!real_keys)
		skip();
	guest_map(v->cr3, low, 0x300000, 1, E_USER);
	guest_map(v->cr3, KA, 0x400000, 2, E_KERNEL);
	guest_map(v->cr3, KA + 0x200000, 0x600000, 2, E_KERNEL);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(shadow_fill(v, low, true, FLAVOUR_USER), FILL_DONE);
		assert_int_equal(key_at(low), 0);
		assert_true(reads(v, low, FLAVOUR_USER) == stamp_of(0x300000));
		assert_int_equal(shadow_fill(v, low, true, FLAVOUR_KHIGH), FILL_DONE);
		assert_int_equal(key_at(low), ARENA->host.key_kh);
		assert_true(reads(v, KA + 0x200000, FLAVOUR_KHIGH) == stamp_of(0x600000));
	}
	/* Dropping one half spares the other. */
	assert_true(reads(v, KA + 0x201000, FLAVOUR_KHIGH) == stamp_of(0x601000));
	map_flush(HALF_LOW);
	assert_true(host_mapped(KA + 0x201000, true));
	map_flush(HALF_HIGH);
	assert_false(host_mapped(KA + 0x201000, false));
}

static void invlpg_after_change(void **state)
{
	struct vcpu *v = machine_setup();
	u64 *e = guest_entry(v->cr3, UA, 1);

	(void)state;
	*e = 0x300000 | E_USER;
	assert_int_equal(writes(v, UA, FLAVOUR_USER), FILL_DONE);
	guest_write_pte(v, e, 0x310000 | E_USER);
	assert_true(reads(v, UA, FLAVOUR_USER) == stamp_of(0x300000)); /* as a TLB may */
	mmu_invlpg(v, gla(UA + 0x123));
	assert_false(host_mapped(UA, false));
	assert_true(reads(v, UA, FLAVOUR_USER) == stamp_of(0x310000));
	guest_write_pte(v, e, 0);
	mmu_cr3_written(v);
	assert_int_equal(writes(v, UA, FLAVOUR_USER), FILL_FAULT);
}

static void entry_changes(void **state)
{
	static const struct { u64 from, to; bool lost; } rows[] = {
		{ 0, E_USER, false },
		{ E_USER | PTE_A, E_USER | PTE_A | PTE_D, false },
		{ PTE_P | PTE_A, PTE_P | PTE_A | PTE_RW | PTE_US, false },
		{ PTE_P | PTE_A | PTE_NX, PTE_P | PTE_A, false },
		{ E_USER, 0, false }, /* never accessed */
		{ E_USER | PTE_A, 0, true },
		{ E_USER | PTE_A, E_USER, true },
		{ E_USER | PTE_A | PTE_D, E_USER | PTE_A, true },
		{ E_USER | PTE_A, PTE_P | PTE_US | PTE_A, true },
		{ E_USER | PTE_A, PTE_P | PTE_RW | PTE_A, true },
		{ E_USER | PTE_A, E_USER | PTE_A | PTE_NX, true },
		{ E_USER | PTE_A, E_USER | PTE_A | 0x1000, true },
		{ E_USER | PTE_A, E_USER | PTE_A | BIT(50), true },
		{ E_USER | PTE_A, E_USER | PTE_A | BIT(9) | PTE_G, false },
	};
	struct vcpu *v = machine_setup();
	u64 *e = guest_entry(v->cr3, UA, 1), *other = guest_entry(v->cr3, UA + 0x5000, 1);

	(void)state;
	*other = 0x340000 | E_USER;
	reads(v, UA + 0x5000, FLAVOUR_USER);
	for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
		ARENA->view[0].queue_len = 0;
		*e = rows[i].from ? rows[i].from | 0x300000 : 0;
		guest_write_pte(v, e, rows[i].to ? rows[i].to | 0x300000 : 0);
		if ((ARENA->view[0].queue_len == 1) != rows[i].lost)
			fail_msg("row %u", i);
	}
}

static void unaligned_entry_write(void **state)
{
	struct vcpu *v = machine_setup();
	u64 *e = guest_entry(v->cr3, UA, 1);
	struct trace_write tw;

	(void)state;
	e[0] = 0x300000 | E_USER;
	e[1] = 0x310000 | E_USER;
	reads(v, UA, FLAVOUR_USER);
	reads(v, UA + 0x1000, FLAVOUR_USER);
	trace_write_begin(&tw, gpa(gpa_of(e) + 4), 8);
	*(u64 *)((u8 *)e + 4) = 0;
	trace_write_end(v, &tw);
	mmu_cr3_written(v);
	assert_true(host_mapped(UA, false)); /* upper half of the entry was zero anyway */
	assert_false(host_mapped(UA + 0x1000, false));
}

static void table_is_replaced(void **state)
{
	struct vcpu *v = machine_setup();
	u64 *pd = guest_entry(v->cr3, UA, 2), pt, other = new_table();

	(void)state;
	guest_map(v->cr3, UA, 0x300000, 1, E_USER);
	pt = *pd & PTE_ADDR;
	*pte_at(other, level_index(UA, 1)) = 0x320000 | E_USER;
	assert_true(reads(v, UA, FLAVOUR_USER) == stamp_of(0x300000));
	assert_true(trace_is_traced(gpa(pt)));
	guest_write_pte(v, pd, other | E_USER);
	assert_false(trace_is_traced(gpa(pt))); /* nobody uses it any more */
	mmu_invlpg(v, gla(UA));
	assert_true(reads(v, UA, FLAVOUR_USER) == stamp_of(0x320000));
	assert_true(trace_is_traced(gpa(other)));
	/* A whole subtree. */
	guest_write_pte(v, guest_entry(v->cr3, UA, 4), 0);
	assert_false(trace_is_traced(gpa(other)));
	assert_true(trace_is_traced(gpa(v->cr3)));
	mmu_cr3_written(v);
	assert_false(host_mapped(UA, false));
}

static void bulk_write_to_table(void **state)
{
	struct vcpu *v = machine_setup();
	u64 pt, *e = guest_entry(v->cr3, UA, 1);

	(void)state;
	guest_map(v->cr3, KA, 0, 2, E_KERNEL | PTE_D);
	*e = 0x300000 | E_USER;
	pt = gpa_of(e) & PAGE_MASK;
	reads(v, UA, FLAVOUR_USER);
	assert_int_equal(writes(v, KA + pt, FLAVOUR_KHIGH), FILL_TRACED);
	trace_bulk_write(v, gpa(pt), PAGE_SIZE);
	memset(physmem_ptr(gpa(pt)), 0, PAGE_SIZE);
	assert_false(trace_is_traced(gpa(pt)));
	assert_int_equal(writes(v, KA + pt, FLAVOUR_KHIGH), FILL_DONE);
	mmu_cr3_written(v);
	assert_false(host_mapped(UA, false));
	assert_int_equal(shadow_fill(v, UA, false, FLAVOUR_USER), FILL_FAULT);
}

static void code_trace(void **state)
{
	struct vcpu *v = machine_setup();

	(void)state;
	guest_map(v->cr3, UA, 0x300000, 1, E_USER);
	assert_int_equal(writes(v, UA, FLAVOUR_USER), FILL_DONE);
	trace_code_add(v, gpa(0x300000));
	assert_false(host_mapped(UA, true)); /* at once */
	assert_true(host_mapped(UA, false));
	/* A soft write names the bytes and leaves the trace. */
	v->cpl = 3;
	assert_int_equal(mem_write(v, gla(UA + 0x10), "abc", 3, ACC_WRITE), CPU_NEXT);
	assert_true(fake_code.n == 1 && fake_code.off == 0x10 && fake_code.len == 3 && !fake_code.all);
	assert_true(trace_is_traced(gpa(0x300000)));
	/* The instruction that writes lies in the page itself, perhaps through an alias. */
	guest_map(v->cr3, UA + 0x7000, 0x300000, 1, E_USER);
	v->rip = UA + 0x7123;
	assert_int_equal(writes(v, UA, FLAVOUR_USER), FILL_TRACED);
	v->rip = UA + 0x7000 - 3;
	assert_int_equal(writes(v, UA, FLAVOUR_USER), FILL_TRACED);
	assert_int_equal(v->counters[CTR_FILL_TRACE], 2);
	v->rip = UA + 0x9000;
	assert_int_equal(writes(v, UA, FLAVOUR_USER), FILL_DONE);
	assert_true(fake_code.n == 2 && fake_code.all && fake_code.page.v == 0x300000);
	assert_false(trace_is_traced(gpa(0x300000)));
	trace_code_add(v, gpa(0x300000));
	trace_bulk_write(v, gpa(0x300800), 16);
	assert_true(fake_code.n == 3 && fake_code.all && !trace_is_traced(gpa(0x300000)));
}

static void unmapped_code_is_reported(void **state)
{
	struct vcpu *v = machine_setup();
	u64 *e = guest_entry(v->cr3, UA, 1), *k = guest_entry(v->cr3, KV, 1), home = v->cr3, other = new_table();
	struct walk w;

	(void)state;
	*e = 0x300000 | E_USER;
	*k = 0x310000 | E_KERNEL;
	assert_int_equal(walk_gla(v, gla(UA), ACC_EXEC, true, &w), 0);
	assert_int_equal(walk_gla(v, gla(KV), ACC_EXEC, false, &w), 0);
	guest_write_pte(v, e, 0);
	assert_int_equal(fake_unmapped.n, 0);
	mmu_invlpg(v, gla(UA));
	assert_true(fake_unmapped.n == 1 && fake_unmapped.slot == 0 && fake_unmapped.start == UA);
	guest_write_pte(v, k, 0);
	mmu_cr3_written(v);
	assert_true(fake_unmapped.n == 2 && fake_unmapped.slot == VIEW_MAX && fake_unmapped.start == KV);
	/* Data only: the translator is not bothered. */
	guest_map(v->cr3, UA + 0x1000, 0x300000, 1, E_USER);
	reads(v, UA + 0x1000, FLAVOUR_USER);
	guest_write_pte(v, e + 1, 0);
	mmu_cr3_written(v);
	assert_int_equal(fake_unmapped.n, 2);
	/* Another root with another kernel: what is known stays, until that has run for a while. */
	for (unsigned i = 0; i < 20; i++) {
		v->cr3 = i % 2 ? other : home;
		mmu_cr3_written(v);
		assert_int_equal(shadow_high_is_foreign(), i % 2);
	}
	assert_int_equal(fake_unmapped.n, 2);
	for (unsigned i = 0; shadow_high_is_foreign(); i++) {
		assert_true(i < 1000);
		shadow_high_step(v);
	}
	assert_true(fake_unmapped.n == 3 && fake_unmapped.slot == VIEW_MAX && fake_unmapped.len == BIT(39));
}

static void large_page_with_tables_inside(void **state)
{
	static const struct { unsigned level; u64 a; } kind[] = { { 2, KA }, { 3, KA + BIT(30) } };

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct vcpu *v = machine_setup();
		u64 base = kind[i].a, *e = guest_entry(v->cr3, UA, 1), pt = gpa_of(e) & PAGE_MASK;

		guest_map(v->cr3, base, 0, kind[i].level, E_KERNEL);
		*e = 0x300000 | E_USER;
		reads(v, UA, FLAVOUR_USER); /* traces three tables */
		assert_int_equal(writes(v, base + 0x110000, FLAVOUR_KHIGH), FILL_DONE);
		assert_true(host_mapped(base + 0x111000, true));
		assert_true(host_mapped(base + 0x1ff000, true));
		assert_false(host_mapped(base + pt, true));
		assert_true(host_mapped(base + pt, false));
		assert_int_equal(writes(v, base + pt, FLAVOUR_KHIGH), FILL_TRACED);
		/* One more becomes traced, one goes. */
		guest_map(v->cr3, UA + BIT(21), 0x301000, 1, E_USER);
		reads(v, UA + BIT(21), FLAVOUR_USER);
		assert_false(host_mapped(base + gpa_of(guest_entry(v->cr3, UA + BIT(21), 1)), true));
		guest_write_pte(v, guest_entry(v->cr3, UA, 2), 0);
		assert_int_equal(writes(v, base + pt, FLAVOUR_KHIGH), FILL_DONE);
		assert_true(host_mapped(base + pt, true));
		assert_false(host_mapped(base + gpa_of(guest_entry(v->cr3, UA + BIT(21), 1)), true));
		/* The page goes as a whole. */
		guest_write_pte(v, guest_entry(v->cr3, base, kind[i].level), 0);
		mmu_invlpg(v, gla(base + 0x5000));
		assert_false(host_mapped(base + 0x111000, false));
	}
}

static void large_page_clipped(void **state)
{
	struct vcpu *v = machine_setup();
	u64 base = 0xffff880000000000UL; /* folds to 0 */

	(void)state;
	guest_map(v->cr3, base, PHYS_4G, 3, E_KERNEL | PTE_D); /* 16 MiB of it are RAM */
	guest_map(v->cr3, 0, 0, 2, E_KERNEL | PTE_D);
	assert_true(reads(v, base + RAM_HIGH - PAGE_SIZE, FLAVOUR_KHIGH) == stamp_of(PHYS_4G + RAM_HIGH - PAGE_SIZE));
	assert_int_equal(shadow_fill(v, map_hva(base + RAM_HIGH), false, FLAVOUR_KHIGH), FILL_SOFT);
	assert_int_equal(shadow_fill(v, map_hva(base), false, FLAVOUR_KHIGH), FILL_SOFT); /* host address 0 */
	assert_true(reads(v, base + HVA_MIN, FLAVOUR_KHIGH) == stamp_of(PHYS_4G + HVA_MIN));
	/* The identity map of a boot loader folds onto it here; both work in turn. */
	assert_int_equal(shadow_fill(v, 0x20000, true, FLAVOUR_KLOW), FILL_DONE);
	assert_true(reads(v, 0x20000, FLAVOUR_KLOW) == stamp_of(0x20000));
	assert_int_equal(shadow_fill(v, 0x5000, true, FLAVOUR_KLOW), FILL_SOFT);
}

static void aliases(void **state)
{
	struct vcpu *v = machine_setup();

	(void)state;
	guest_map(v->cr3, UA, 0x300000, 1, E_USER);
	guest_map(v->cr3, UA + 0x20000, 0x300000, 1, E_USER);
	guest_map(v->cr3, KV, 0x300000, 1, E_KERNEL);
	guest_map(v->cr3, KA + BIT(21), 0x200000, 2, E_KERNEL);
	writes(v, UA, FLAVOUR_USER);
	writes(v, UA + 0x20000, FLAVOUR_USER);
	writes(v, KV, FLAVOUR_KHIGH);
	assert_int_equal(writes(v, KA + 0x300000, FLAVOUR_KHIGH), FILL_DONE);
	trace_code_add(v, gpa(0x300000));
	assert_false(host_mapped(UA, true));
	assert_false(host_mapped(UA + 0x20000, true));
	assert_false(host_mapped(KV, true));
	assert_false(host_mapped(KA + 0x300000, true));
	assert_true(host_mapped(KA + 0x301000, true));
}

/* Slot 5 of the root is the root itself. */
static void recursive_tables(void **state)
{
	struct vcpu *v = machine_setup();
	u64 rec = 5UL << 39, pte_va = rec + (UA >> 9 & ~7UL), val;
	u64 *e = guest_entry(v->cr3, UA, 1);

	(void)state;
	*pte_at(v->cr3, 5) = v->cr3 | E_KERNEL;
	*e = 0x300000 | E_USER;
	reads(v, UA, FLAVOUR_USER);
	assert_int_equal(guest_access(v, pte_va, false, FLAVOUR_KLOW, &val), FILL_DONE);
	assert_true(val == *e);
	assert_int_equal(guest_access(v, pte_va, true, FLAVOUR_KLOW, NULL), FILL_TRACED);
	assert_int_equal(mem_write64(v, pte_va, 0x310000 | E_USER, 0), CPU_NEXT);
	mmu_invlpg(v, gla(UA));
	assert_true(reads(v, UA, FLAVOUR_USER) == stamp_of(0x310000));
	/* The root as a leaf: the page that holds the root's entries. */
	val = rec | 5UL << 30 | 5UL << 21 | 5UL << 12;
	assert_int_equal(guest_access(v, val + 8 * 5, false, FLAVOUR_KLOW, &val), FILL_DONE);
	assert_true((val & PTE_ADDR) == v->cr3);
	guest_write_pte(v, pte_at(v->cr3, 5), 0);
	mmu_cr3_written(v);
	assert_int_equal(shadow_fill(v, pte_va, false, FLAVOUR_KLOW), FILL_FAULT);
	assert_true(reads(v, UA, FLAVOUR_USER) == stamp_of(0x310000));
}

/* The handler of a #PF makes the entry present: mapped before the guest asks again. */
static void fill_ahead_of_fault(void **state)
{
	struct vcpu *v = machine_setup();
	u64 *e = guest_entry(v->cr3, UA, 1);

	(void)state;
	*(e + 1) = 0x310000 | E_USER;
	reads(v, UA + PAGE_SIZE, FLAVOUR_USER);
	assert_int_equal(writes(v, UA, FLAVOUR_USER), FILL_FAULT);
	v->cr2 = v->exc.cr2;
	guest_write_pte(v, e, 0x300000 | E_USER | PTE_A | PTE_D);
	assert_true(host_mapped(UA, true));
}

static void mode_change_voids_all(void **state)
{
	struct vcpu *v = machine_setup();

	(void)state;
	guest_map(v->cr3, UA, 0x300000, 1, E_USER);
	guest_map(v->cr3, KV, 0x310000, 1, E_KERNEL);
	reads(v, UA, FLAVOUR_USER);
	reads(v, KV, FLAVOUR_KHIGH);
	v->cr4 ^= CR4_PGE; /* a flush, no change of meaning */
	mmu_mode_changed(v, true);
	assert_true(host_mapped(UA, false) && host_mapped(KV, false));
	v->cr0 &= ~CR0_PG;
	mmu_mode_changed(v, true);
	assert_false(host_mapped(UA, false) || host_mapped(KV, false));
	assert_false(trace_is_traced(gpa(v->cr3)));
	assert_true(reads(v, 0x300000, FLAVOUR_KLOW) == stamp_of(0x300000)); /* identity */
}

static void register_overflow(void **state)
{
	struct vcpu *v = machine_setup();

	(void)state;
	shadow_pool->use_max = 12;
	for (u64 i = 0; i < 20; i++)
		guest_map(v->cr3, UA + i * BIT(30), 0x300000 + i * PAGE_SIZE, 1, E_USER);
	for (u64 n = 0; n < 60; n++) {
		u64 i = n * 7 % 20;

		assert_true(reads(v, UA + i * BIT(30), FLAVOUR_USER) == stamp_of(0x300000 + i * PAGE_SIZE));
		assert_true(trace_is_traced(gpa(gpa_of(guest_entry(v->cr3, UA + i * BIT(30), 1)))));
	}
	assert_true(v->counters[CTR_VIEW_FLUSH] > 2);
}

static void directory_overflow(void **state)
{
	struct vcpu *v = machine_setup();

	(void)state;
	view_self->dir[HALF_LOW].max = 40;
	for (u64 n = 0; n < 200; n++) {
		guest_map(v->cr3, UA + n * PAGE_SIZE, 0x300000 + n * 17 % 200 * PAGE_SIZE, 1, E_USER);
		assert_true(reads(v, UA + n * PAGE_SIZE, FLAVOUR_USER) == stamp_of(0x300000 + n * 17 % 200 * PAGE_SIZE));
	}
	assert_true(host_mapped(UA + 199 * PAGE_SIZE, false));
	assert_false(host_mapped(UA, false));
}

/* n pages of user memory, no two of which can share a mapping. */
static u64 scattered(u64 i) { return 0x300000 + i * 37 % 400 * PAGE_SIZE; }

static void map_scattered(struct vcpu *v, u64 n)
{
	for (u64 i = 0; i < n; i++)
		guest_map(v->cr3, UA + 2 * i * PAGE_SIZE, scattered(i), 1, E_USER | PTE_D);
}

static void check_scattered(struct vcpu *v, u64 n)
{
	for (u64 i = 0; i < n; i++)
		assert_true(reads(v, UA + 2 * i * PAGE_SIZE, FLAVOUR_USER) == stamp_of(scattered(i)));
}

static void cap_on_mappings(void **state)
{
	struct vcpu *v = machine_setup();
	unsigned mapped = 0;

	(void)state;
	ARENA->policy.map_max = 100;
	map_scattered(v, 250);
	check_scattered(v, 250);
	assert_true(v->counters[CTR_VIEW_FLUSH] >= 2);
	for (u64 i = 0; i < 250; i++)
		mapped += host_mapped(UA + 2 * i * PAGE_SIZE, false);
	assert_true(mapped > 0 && mapped <= 101);
	/* What revalidation drops does not count any more. */
	map_flush(HALF_LOW);
	check_scattered(v, 90);
	for (u64 i = 0; i < 90; i++)
		guest_write_pte(v, guest_entry(v->cr3, UA + 2 * i * PAGE_SIZE, 1), 0);
	mmu_cr3_written(v);
	assert_int_equal(view_self->dir[HALF_LOW].vmas, 0);
}

#define FILLERS (ZONE_BASE + BIT(38)) /* nothing of ours is there */

static unsigned read_max_map_count(void)
{
	FILE *f = fopen("/proc/sys/vm/max_map_count", "r");
	unsigned n = 0;

	if (f && fscanf(f, "%u", &n) != 1)
		n = 0;
	if (f)
		fclose(f);
	return n;
}

/* Takes all mappings that the host allows. */
static u64 fill_up(unsigned most)
{
	for (u64 i = 0; i < most; i++)
		if (mmap((void *)(FILLERS + 2 * i * PAGE_SIZE), PAGE_SIZE, PROT_NONE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == MAP_FAILED)
			return i;
	return 0;
}

/* The host refuses one more mapping, whatever was counted: views let go of what they have. */
static void host_out_of_mappings(void **state)
{
	struct vcpu *v = machine_setup();
	unsigned most = read_max_map_count();
	u64 n;

	(void)state;
	if (!most || most > 200000)
		skip();
	map_scattered(v, 150);
	guest_map(v->cr3, KA, 0, 2, E_KERNEL);
	check_scattered(v, 50);
	assert_int_equal(writes(v, KA + 0x110000, FLAVOUR_KHIGH), FILL_DONE);
	n = fill_up(most);
	assert_true(n);
	check_scattered(v, 150);
	/* Splitting the large page for a trace: not possible either. */
	guest_map(v->cr3, UA + BIT(30), scattered(7), 1, E_USER);
	reads(v, UA + BIT(30), FLAVOUR_USER);
	for (unsigned level = 1; level <= 3; level++)
		assert_false(host_mapped(KA + (gpa_of(guest_entry(v->cr3, UA + BIT(30), level)) & PAGE_MASK), true));
	guest_write_pte(v, guest_entry(v->cr3, UA, 1), 0);
	mmu_invlpg(v, gla(UA));
	assert_false(host_mapped(UA, false));
	munmap((void *)FILLERS, 2 * n * PAGE_SIZE);
	assert_int_equal(shadow_fill(v, UA, false, FLAVOUR_USER), FILL_FAULT);
}

static void queue_overflow(void **state)
{
	struct vcpu *v = machine_setup();

	(void)state;
	for (u64 n = 0; n < 200; n++) {
		guest_map(v->cr3, UA + n * 3 * PAGE_SIZE, 0x300000 + n * PAGE_SIZE, 1, E_USER);
		reads(v, UA + n * 3 * PAGE_SIZE, FLAVOUR_USER);
	}
	for (u64 n = 0; n < 200; n++)
		guest_write_pte(v, guest_entry(v->cr3, UA + n * 37 % 200 * 3 * PAGE_SIZE, 1), 0);
	assert_true(ARENA->view[0].queue_len <= 64);
	mmu_cr3_written(v);
	for (u64 n = 0; n < 200; n++)
		assert_false(host_mapped(UA + n * 3 * PAGE_SIZE, false));
}

static u64 root_like(u64 root)
{
	u64 r = new_table();

	for (unsigned i = 256; i < 511; i++)
		*pte_at(r, i) = *pte_at(root, i);
	return r;
}

static void choice_of_views(void **state)
{
	struct vcpu *v = machine_setup();
	u64 r0 = v->cr3, r1, r2;

	(void)state;
	guest_map(r0, KV, 0x310000, 1, E_KERNEL);
	guest_map(r0, UA, 0x300000, 1, E_USER);
	reads(v, KV, FLAVOUR_KHIGH);
	reads(v, UA, FLAVOUR_USER);
	r1 = root_like(r0);
	r2 = root_like(r0);
	ARENA->view[1].state = VIEW_READY;
	assert_int_equal(ARENA->view_wanted, 3);
	assert_true(fake_notified > 0);
	v->cr3 = r1;
	mmu_cr3_written(v);
	assert_int_equal(shadow_view_wanted(v, FLAVOUR_KHIGH), 0); /* same kernel */
	assert_int_equal(shadow_fill(v, UA, false, FLAVOUR_USER), FILL_FAULT);
	guest_map(r1, UA, 0x301000, 1, E_USER);
	assert_int_equal(shadow_fill(v, UA, false, FLAVOUR_USER), FILL_SOFT); /* not this view */
	assert_int_equal(shadow_view_wanted(v, FLAVOUR_USER), 1);
	assert_true(ARENA->view[1].cr3 == r1);
	assert_int_equal(shadow_view_wanted(v, FLAVOUR_KLOW), 1);
	/* No third view: the least recently used one is taken. */
	ARENA->view[1].last_used = 1000;
	v->cr3 = r2;
	mmu_cr3_written(v);
	assert_int_equal(shadow_view_wanted(v, FLAVOUR_USER), 0);
	assert_int_equal(v->counters[CTR_VIEW_RECYCLE], 1);
	assert_false(host_mapped(UA, false)); /* the running one: at once */
	assert_true(host_mapped(KV, false));
	/* A root with another kernel. */
	*pte_at(r1, level_index(KV, 4)) = 0;
	guest_map(r1, KV, 0x311000, 1, E_KERNEL);
	v->cr3 = r1;
	mmu_cr3_written(v);
	assert_int_equal(shadow_view_wanted(v, FLAVOUR_KHIGH), 0);
	assert_true(reads(v, KV, FLAVOUR_KHIGH) == stamp_of(0x311000));
}

static void root_becomes_data(void **state)
{
	struct vcpu *v = machine_setup();
	u64 r0 = v->cr3;

	(void)state;
	guest_map(r0, UA, 0x300000, 1, E_USER);
	reads(v, UA, FLAVOUR_USER);
	trace_bulk_write(v, gpa(r0), 8); /* the current root stays one */
	assert_true(ARENA->view[0].cr3 == r0);
	mmu_cr3_written(v);
	assert_false(host_mapped(UA, false));
	reads(v, UA, FLAVOUR_USER);
	v->cr3 = root_like(r0);
	mmu_cr3_written(v);
	trace_bulk_write(v, gpa(r0), PAGE_SIZE);
	assert_int_equal(ARENA->view[0].in_use, 0);
	assert_false(trace_is_traced(gpa(r0)));
	assert_false(trace_is_traced(gpa(gpa_of(guest_entry(r0, UA, 1)))));
	assert_int_equal(shadow_view_wanted(v, FLAVOUR_USER), 0);
	assert_false(host_mapped(UA, false));
}

static void one_view(void **state)
{
	struct vcpu *v = machine_setup();
	u64 r0 = v->cr3, r1 = root_like(r0);

	(void)state;
	ARENA->policy.one_view = true;
	ARENA->view[1].state = VIEW_READY;
	guest_map(r0, UA, 0x300000, 1, E_USER);
	guest_map(r1, UA, 0x301000, 1, E_USER);
	for (unsigned i = 0; i < 4; i++) {
		v->cr3 = i & 1 ? r1 : r0;
		mmu_cr3_written(v);
		assert_int_equal(shadow_view_wanted(v, FLAVOUR_USER), 0);
		assert_true(reads(v, UA, FLAVOUR_USER) == stamp_of(i & 1 ? 0x301000 : 0x300000));
	}
}

/* Two processes: what view 0 learns while it runs reaches view 1 when it is entered. */
static void second_view(void **state)
{
	struct vcpu *v = machine_setup();
	u64 r0 = v->cr3, r1;
	int to[2], from[2], status;
	char c;
	pid_t pid;

	(void)state;
	guest_map(r0, KV, 0x310000, 1, E_KERNEL);
	guest_map(r0, KV + 0x8000, 0x311000, 1, E_KERNEL);
	r1 = root_like(r0);
	guest_map(r1, UA, 0x300000, 1, E_USER);
	guest_map(r1, UA + 0x8000, 0x301000, 1, E_USER);
	assert_true(pipe(to) == 0 && pipe(from) == 0);
	pid = fork();
	if (pid == 0) {
		bool ok = !close(from[0]) && !close(to[1]) && read(to[0], &c, 1) == 1;

		alarm(20);
		view_self = NULL;
		munmap((void *)VIEW_MAPS_HVA, sizeof(struct view_maps));
		shadow_view_init(1);
		ARENA->running_view = 1;
		shadow_view_enter(v, 1);
		ok = ok && writes(v, UA, FLAVOUR_USER) == FILL_DONE && writes(v, KV, FLAVOUR_KHIGH) == FILL_DONE;
		reads(v, UA + 0x8000, FLAVOUR_USER);
		reads(v, KV + 0x8000, FLAVOUR_KHIGH);
		ok = ok && write(from[1], "", 1) == 1 && read(to[0], &c, 1) == 1;
		shadow_view_enter(v, 1);
		ok = ok && host_mapped(UA, false) && !host_mapped(UA, true) && host_mapped(KV, true) &&
		     !host_mapped(UA + 0x8000, false) && !host_mapped(KV + 0x8000, false);
		_exit(!ok);
	}
	close(from[1]);
	close(to[0]);
	ARENA->view[1].state = VIEW_READY;
	v->cr3 = r1;
	mmu_cr3_written(v);
	assert_int_equal(shadow_view_wanted(v, FLAVOUR_USER), 1);
	assert_true(write(to[1], "", 1) == 1 && read(from[0], &c, 1) == 1);
	ARENA->running_view = 0;
	v->cr3 = r0;
	mmu_cr3_written(v);
	shadow_view_enter(v, 0);
	trace_code_add(v, gpa(0x300000));
	guest_write_pte(v, guest_entry(r1, UA + 0x8000, 1), 0);
	guest_write_pte(v, guest_entry(r1, KV + 0x8000, 1), 0);
	v->cr3 = r1;
	mmu_cr3_written(v);
	assert_int_equal(shadow_view_wanted(v, FLAVOUR_USER), 1);
	assert_true(write(to[1], "", 1) == 1);
	assert_true(waitpid(pid, &status, 0) == pid);
	assert_int_equal(status, 0);
}

/* Without protection keys nothing low is mapped, where all see it; the high half has key 0. */
static void no_keys(void **state)
{
	struct vcpu *v = machine_setup();

	(void)state;
	ARENA->host.pkeys = false;
	assert_int_equal(shadow_view_wanted(v, FLAVOUR_USER), 0);
	assert_int_equal(shadow_view_wanted(v, FLAVOUR_KHIGH), 0);
	guest_map(v->cr3, UA, 0x300000, 1, E_KERNEL);
	assert_int_equal(shadow_fill(v, UA, false, FLAVOUR_KLOW), FILL_SOFT);
	assert_int_equal(shadow_fill(v, UA, false, FLAVOUR_USER), FILL_FAULT);
	guest_map(v->cr3, UA + 0x1000, 0x301000, 1, E_USER);
	assert_int_equal(shadow_fill(v, UA + 0x1000, true, FLAVOUR_USER), FILL_SOFT);
	assert_false(host_mapped(UA, false) || host_mapped(UA + 0x1000, false));
	guest_map(v->cr3, KV, 0x302000, 1, E_KERNEL);
	assert_reads(v, KV, FLAVOUR_KHIGH, 0x302000);
	/* Nor ahead of a fault. */
	v->cr2 = UA + 0x2008;
	guest_write_pte(v, guest_entry(v->cr3, UA + 0x2000, 1), 0x303000 | E_USER | PTE_A);
	assert_false(host_mapped(UA + 0x2000, false));
	ARENA->host.pkeys = true;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fill_user_page), cmocka_unit_test(fill_around),
		cmocka_unit_test(fill_true_faults), cmocka_unit_test(fill_soft_cases),
		cmocka_unit_test(fill_high_half), cmocka_unit_test(fill_folding_clash),
		cmocka_unit_test(invlpg_after_change), cmocka_unit_test(entry_changes),
		cmocka_unit_test(unaligned_entry_write), cmocka_unit_test(table_is_replaced),
		cmocka_unit_test(bulk_write_to_table), cmocka_unit_test(code_trace),
		cmocka_unit_test(unmapped_code_is_reported), cmocka_unit_test(large_page_with_tables_inside),
		cmocka_unit_test(large_page_clipped), cmocka_unit_test(aliases),
		cmocka_unit_test(recursive_tables), cmocka_unit_test(fill_ahead_of_fault),
		cmocka_unit_test(mode_change_voids_all), cmocka_unit_test(register_overflow),
		cmocka_unit_test(cap_on_mappings), cmocka_unit_test(host_out_of_mappings),
		cmocka_unit_test(directory_overflow), cmocka_unit_test(queue_overflow),
		cmocka_unit_test(choice_of_views), cmocka_unit_test(root_becomes_data),
		cmocka_unit_test(one_view), cmocka_unit_test(second_view), cmocka_unit_test(no_keys),
	};

	int failed = cmocka_run_group_tests(tests, NULL, NULL);

	if (uffd_setup())
		failed += cmocka_run_group_tests_name("with userfaultfd", tests, NULL, NULL);
	return failed;
}
