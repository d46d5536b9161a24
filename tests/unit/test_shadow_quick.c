/* The quick TLB: what translated code would find there is what C code would answer. The
 * lookup is written out here as the translator emits it (dbt/quick.c). */
#include "test_shadow_fixture.h"

static bool hits(u64 a, u32 len, bool write, bool user, u64 *host)
{
	const struct quick_entry *e = &QUICK_TLB[(u16)(a >> 12)];

	*host = a + e->of[user].delta;
	return (e->of[user].neg_page[write] + a + len - 1) >> 12 == 0;
}

static bool found(u64 a, u32 len, bool write, bool user)
{
	u64 host;

	return hits(a, len, write, user, &host);
}

static void resolve(struct vcpu *v, u64 a, u32 len, u32 acc, int want)
{
	struct soft_ref ref;

	assert_int_equal(soft_resolve(v, gla(a), len, acc, &ref), want);
}

/* Of entries that were never filled, and of those that were and are empty again. */
static void nothing_hits(struct vcpu *v)
{
	static const u64 pages[] = { 0, 0x1000, 0xfffff000, 0x10000000, 0x7ffffffff000, 0x800000000000, 0x8000000000000000UL,
				     0xffff800000000000UL, 0xffffffff80000000UL, 0xffffffff88000000UL, 0x8000000,
				     0xfffffffffffff000UL, 0xfffffffff8000000UL, 0xfffffffff7fff000UL };

	(void)v;
	for (size_t i = 0; i < ARRAY_LEN(pages); i++)
		for (unsigned k = 0; k < 4; k++)
			for (u32 off = 0; off < PAGE_SIZE; off += 0xff1) {
				assert_false(found(pages[i] + off, 1, k & 1, k >> 1));
				assert_false(found(pages[i] + off, 64, k & 1, k >> 1));
				assert_false(found(pages[i] + off, PAGE_SIZE, k & 1, k >> 1));
			}
}

static void empty_never_hits(void **state)
{
	struct vcpu *v = machine_setup();

	(void)state;
	nothing_hits(v);
	guest_map(v->cr3, 0, 0x300000, 1, E_USER);
	guest_map(v->cr3, 0xfffffffffffff000UL, 0x301000, 1, E_USER);
	guest_map(v->cr3, 0x7ffffffff000, 0x302000, 1, E_USER);
	for (u32 acc = ACC_READ; acc <= ACC_WRITE; acc++) {
		resolve(v, 0, 8, acc, 0);
		resolve(v, 0xfffffffffffff000UL, 8, acc, 0);
	}
	assert_true(found(0xff8, 8, true, false));
	assert_true(found(0xfffffffffffffff8UL, 8, true, false));
	assert_false(found(0xfffffffffffffff9UL, 8, true, false)); /* on to page 0, which is there */
	resolve(v, 0x7ffffffff000, 8, ACC_READ, 0);
	assert_true(found(0x7ffffffffff8, 8, false, false));
	assert_false(found(0x7ffffffffff9, 8, false, false));
	assert_false(found(0x8000000000000000UL, 8, false, false));
	assert_false(found(0x0001000000000000UL, 8, false, false));
	mmu_flush_all(v);
	nothing_hits(v);
}

static void rights(void **state)
{
	struct vcpu *v = machine_setup();
	u64 host;

	(void)state;
	guest_map(v->cr3, 0x400000, 0x300000, 1, E_USER);
	guest_map(v->cr3, 0x401000, 0x301000, 1, PTE_P | PTE_US);
	guest_map(v->cr3, 0x402000, 0x302000, 1, E_KERNEL);
	guest_map(v->cr3, 0x403000, 1UL << 40, 1, E_KERNEL); /* no RAM there */
	resolve(v, 0x400123, 4, ACC_READ, 0);
	assert_true(hits(0x400abc, 8, false, false, &host));
	assert_true(host == PHYS_HVA + 0x300abc);
	assert_false(found(0x400abc, 8, true, false)); /* D is not set */
	assert_false(found(0x400abc, 8, false, true));
	assert_true(found(0x400ff8, 8, false, false));
	assert_false(found(0x400ff9, 8, false, false));
	assert_false(found(0x10400abc, 8, false, false)); /* the same entry */
	resolve(v, 0x403000, 8, ACC_READ, 0);
	assert_false(found(0x403000, 8, false, false));
	v->cpl = 3;
	resolve(v, 0x400000, 8, ACC_READ | ACC_WRITE, 0);
	assert_true(found(0x400000, 8, true, true) && found(0x400000, 8, false, true));
	assert_false(found(0x400000, 8, true, false));
	resolve(v, 0x401000, 8, ACC_READ, 0);
	resolve(v, 0x401000, 8, ACC_WRITE, CPU_FAULT);
	assert_true(found(0x401000, 8, false, true));
	assert_false(found(0x401000, 8, true, true));
	resolve(v, 0x402000, 8, ACC_READ, CPU_FAULT);
	resolve(v, 0x402000, 8, ACC_READ | ACC_IMPLICIT_SUPERVISOR, 0);
	assert_false(found(0x402000, 8, false, true));
	/* Another page in the same entry: nothing of the first one stays. */
	guest_map(v->cr3, 0x10400000, 0x304000, 1, E_USER);
	resolve(v, 0x10400000, 8, ACC_READ, 0);
	assert_false(found(0x400000, 8, true, true) || found(0x400000, 8, false, true));
	assert_false(found(0x10400000, 8, true, true));
}

static void flushes(void **state)
{
	struct vcpu *v = machine_setup();
	u64 other = new_table();

	(void)state;
	guest_map(v->cr3, 0x400000, 0x300000, 1, E_USER);
	guest_map(v->cr3, 0x500000, 0x301000, 1, E_USER);
	resolve(v, 0x400000, 8, ACC_WRITE, 0);
	resolve(v, 0x500000, 8, ACC_WRITE, 0);
	*guest_entry(v->cr3, 0x400000, 1) = 0;
	mmu_invlpg(v, gla(0x400fff));
	assert_false(found(0x400000, 8, false, false) || found(0x400000, 8, true, false));
	assert_true(found(0x500000, 8, true, false));
	v->cr3 = other;
	mmu_cr3_written(v);
	assert_false(found(0x500000, 8, false, false));
}

static void traced_pages_are_not_written(void **state)
{
	struct vcpu *v = machine_setup();

	(void)state;
	guest_map(v->cr3, 0x400000, 0x300000, 1, E_USER);
	resolve(v, 0x400000, 8, ACC_WRITE, 0);
	assert_true(found(0x400000, 8, true, false));
	trace_code_add(v, gpa(0x300000));
	assert_false(found(0x400000, 8, true, false));
	resolve(v, 0x400000, 8, ACC_WRITE, 0);
	assert_false(found(0x400000, 8, true, false));
	resolve(v, 0x400000, 8, ACC_READ, 0);
	assert_true(found(0x400000, 8, false, false));
	trace_code_remove(gpa(0x300000));
	resolve(v, 0x400000, 8, ACC_WRITE, 0);
	assert_true(found(0x400000, 8, true, false));
}

static void smap_is_left_out(void **state)
{
	struct vcpu *v = machine_setup();

	(void)state;
	guest_map(v->cr3, 0x400000, 0x300000, 1, E_USER);
	v->cr4 |= CR4_SMAP;
	mmu_mode_changed(v, false);
	v->rflags |= FL_AC;
	resolve(v, 0x400000, 8, ACC_READ, 0);
	assert_false(found(0x400000, 8, false, false));
}

static u32 rnd(u32 n)
{
	static u64 x = 88172645463325252UL;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return (u32)(x >> 32) % n;
}

/* Pages that share entries with others, more of them than the list of entries holds. */
static u64 random_page(void)
{
	return (u64)rnd(3) << 28 | (u64)rnd(rnd(20) ? 20 : 6000) << 12 | (rnd(2) ? 0xffff900000000000UL : 0);
}

/* Whatever hits, C code says the same; what the guest flushes for is gone. */
static void agrees_with_c(void **state)
{
	struct vcpu *v = machine_setup();
	unsigned n_hits = 0;

	(void)state;
	for (unsigned step = 0; step < 200000; step++) {
		u64 page = random_page(), a = page + rnd(PAGE_SIZE), host;
		bool write = rnd(2), user = rnd(2);
		u32 len = 1 + rnd(64);
		struct soft_ref ref;
		struct exc exc;

		v->cpl = user ? 3 : 0;
		switch (rnd(8)) {
		case 0:
			guest_map(v->cr3, page, RAM_LOW / 2 + PAGE_SIZE * rnd(256), 1, rnd(4) ? E_USER | PTE_A | PTE_D : E_KERNEL);
			mmu_invlpg(v, gla(a));
			break;
		case 1:
			if (rnd(100) == 0)
				mmu_cr3_written(v);
			else if (rnd(10) == 0)
				trace_code_add(v, gpa(RAM_LOW / 2 + PAGE_SIZE * rnd(256)));
			else if (rnd(4) == 0)
				trace_code_remove(gpa(RAM_LOW / 2 + PAGE_SIZE * rnd(256)));
			break;
		default:
			if (hits(a, len, write, user, &host)) {
				n_hits++;
				assert_int_equal(soft_resolve(v, gla(a), len, write ? ACC_WRITE : ACC_READ, &ref), 0);
				assert_int_equal(ref.kind, SOFT_RAM);
				assert_true((u64)ref.ptr == host);
			}
			exc = v->exc;
			if (soft_resolve(v, gla(a), len, write ? ACC_WRITE : ACC_READ, &ref) == 0 && ref.kind == SOFT_RAM)
				assert_true(hits(a, len, write, user, &host) && host == (u64)ref.ptr);
			v->exc = exc;
		}
	}
	assert_true(n_hits > 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(empty_never_hits),
		cmocka_unit_test(rights),
		cmocka_unit_test(flushes),
		cmocka_unit_test(traced_pages_are_not_written),
		cmocka_unit_test(smap_is_left_out),
		cmocka_unit_test(agrees_with_c),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
