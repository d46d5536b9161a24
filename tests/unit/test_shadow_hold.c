/* Held pages: when a page becomes one, what its account is charged, when it is let go. */
#include "test_shadow_fixture.h"

#define UA 0x10000400000UL
#define PA 0x300000UL
#define READY (PTE_P | PTE_US | PTE_A | PTE_D)
#define ROUNDS 4
/* Of hold.c. */
#define FIRST 64
#define MOST 128
#define EARNS 12
#define TRAP 16

static struct vcpu *v;
static u64 *entry;

static bool held(u64 pa) { return page_flags_of(pa) & PAGE_HELD; }
static bool writable(void) { return host_mapped(UA, true); }

static struct held *account_of(u64 pa)
{
	for (unsigned i = 0; i < HELD_MAX; i++)
		if (shadow_pool->held[i].pfn == pa >> PAGE_SHIFT)
			return &shadow_pool->held[i];
	return NULL;
}

static enum fill_result write_at(u64 rip, enum flavour f)
{
	v->rip = rip;
	return shadow_fill(v, map_hva(UA) + 0xff8, true, f);
}
static enum fill_result user_writes(void) { return write_at(0x401000, FLAVOUR_USER); }

/* A soft write, done. */
static void soft_write(u64 pa, u32 len)
{
	struct trace_write tw;

	trace_write_begin(&tw, gpa(pa), len);
	trace_write_end(v, &tw);
}

static void rights(u64 *e, u64 a, u64 now)
{
	guest_write_pte(v, e, now);
	mmu_invlpg(v, gla(a));
}

/* The guest takes the right to write and gives it back. */
static void one_round(void)
{
	u64 e = *entry;

	rights(entry, UA, e & ~PTE_RW);
	assert_false(writable());
	assert_int_equal(user_writes(), FILL_FAULT);
	rights(entry, UA, e | PTE_RW);
}

static void setup(u32 hold_after)
{
	v = machine_setup();
	ARENA->policy.hold_after = hold_after;
	entry = guest_entry(v->cr3, UA, 1);
	*entry = PA | READY | PTE_RW;
	assert_int_equal(guest_access(v, UA + 0xff8, true, FLAVOUR_USER, NULL), FILL_DONE);
	assert_true(writable());
}

static void setup_held(void)
{
	setup(ROUNDS);
	for (unsigned i = 0; i <= ROUNDS; i++)
		one_round();
	assert_true(held(PA));
}

static void after_rounds(void **state)
{
	(void)state;
	setup(ROUNDS);
	for (unsigned i = 0; i < ROUNDS; i++) {
		one_round();
		assert_false(held(PA));
		assert_true(writable()); /* without a fault */
	}
	one_round();
	assert_true(held(PA));
	assert_false(writable());
	assert_int_equal(v->counters[CTR_HOLD], 1);
	assert_int_equal(v->counters[CTR_TRACE_PT] + v->counters[CTR_TRACE_CODE], 4); /* the tables alone */
}

static void never(void **state)
{
	(void)state;
	for (unsigned how = 0; how < 2; how++) {
		setup(how ? 1 : 0);
		ARENA->policy.no_adaptive = how;
		for (unsigned i = 0; i < 50; i++) {
			one_round();
			assert_true(writable());
		}
		assert_int_equal(v->counters[CTR_HOLD], 0);
	}
}

static void stays_read_only(void **state)
{
	u64 val;

	(void)state;
	setup_held();
	for (unsigned i = 0; i < 200; i++) {
		one_round();
		soft_write(PA + 8 * i, 8);
		assert_true(held(PA));
		assert_false(writable());
		assert_int_equal(guest_access(v, UA + 0xff8, false, FLAVOUR_USER, &val), FILL_DONE);
		assert_true(val == stamp_of(PA));
	}
	assert_int_equal(v->counters[CTR_HOLD], 1);
	assert_int_equal(fake_hold_ended, 0);
}

/* As Linux does it behind a fault, whose address is still in CR2: out with the entry, then in. */
static void behind_a_fault(void **state)
{
	u64 e;

	(void)state;
	setup(ROUNDS);
	e = *entry;
	for (unsigned i = 0; i < 20; i++) {
		guest_write_pte(v, entry, 0);
		rights(entry, UA, e & ~PTE_RW);
		assert_false(writable());
		assert_int_equal(user_writes(), FILL_FAULT);
		v->cr2 = UA + 0xff8;
		guest_write_pte(v, entry, 0);
		rights(entry, UA, e);
		assert_int_equal(held(PA), i >= ROUNDS);
		assert_int_equal(writable(), i < ROUNDS);
	}
	assert_int_equal(v->counters[CTR_FILL_AHEAD], 0);
	assert_int_equal(account_of(PA)->credit, MOST);
}

/* Another address of the same page, which the guest never protects. */
static void alias_is_read_only(void **state)
{
	u64 *e;

	(void)state;
	setup(ROUNDS);
	e = guest_entry(v->cr3, UA + 0x40000, 1);
	*e = PA | READY | PTE_RW;
	assert_int_equal(guest_access(v, UA + 0x40ff8, true, FLAVOUR_USER, NULL), FILL_DONE);
	for (unsigned i = 0; i <= ROUNDS; i++)
		one_round();
	assert_false(host_mapped(UA + 0x40000, true));
	assert_int_equal(shadow_fill(v, UA + 0x40ff8, true, FLAVOUR_USER), FILL_ONCE);
}

static void writers(void **state)
{
	(void)state;
	setup_held();
	assert_int_equal(write_at(0x401000, FLAVOUR_USER), FILL_ONCE);
	assert_int_equal(write_at(0x401000, FLAVOUR_USER), FILL_ONCE);
	assert_int_equal(write_at(0x402000, FLAVOUR_USER), FILL_ONCE); /* another one: from the start */
	account_of(PA)->credit = MOST;
	assert_int_equal(write_at(0x401000, FLAVOUR_USER), FILL_ONCE);
	assert_int_equal(write_at(0x401000, FLAVOUR_USER), FILL_ONCE);
	assert_int_equal(write_at(0x401000, FLAVOUR_USER), FILL_TRACED);
	assert_true(held(PA));
	assert_int_equal(v->counters[CTR_FILL_TRACE], 6);
}

static void account_of_traps(void **state)
{
	(void)state;
	setup_held();
	for (unsigned i = 0; i < FIRST / TRAP; i++)
		assert_int_not_equal(user_writes(), FILL_DONE);
	assert_int_equal(user_writes(), FILL_DONE);
	assert_false(held(PA));
	assert_true(writable());
	assert_int_equal(fake_hold_ended, 1);
}

static void account_of_writes(void **state)
{
	(void)state;
	setup_held();
	for (unsigned i = 0; i < FIRST; i++)
		soft_write(PA + 8 * i, 8);
	assert_true(held(PA));
	one_round(); /* twelve more */
	for (unsigned i = 0; i < EARNS; i++)
		soft_write(PA + 8 * i, 8);
	assert_true(held(PA));
	soft_write(PA, 8);
	assert_false(held(PA));
	assert_int_equal(fake_hold_ended, 1);
	assert_false(writable()); /* until a write faults there */
	assert_int_equal(user_writes(), FILL_DONE);
	assert_true(writable());
	/* Rounds without end earn no more than MOST. */
	setup_held();
	for (unsigned i = 0; i < 45; i++)
		one_round();
	for (unsigned i = 0; i < MOST; i++)
		soft_write(PA, 8);
	assert_true(held(PA));
	soft_write(PA, 8);
	assert_false(held(PA));
}

static void long_writes(void **state)
{
	(void)state;
	setup_held();
	soft_write(PA, 64); /* costs as much as two short ones */
	assert_int_equal(account_of(PA)->credit, FIRST - 2);
	trace_bulk_write(v, gpa(PA + 0x100), 128);
	assert_int_equal(account_of(PA)->credit, FIRST - 5);
	assert_true(held(PA));
	trace_bulk_write(v, gpa(PA), PAGE_SIZE);
	assert_false(held(PA));
	assert_int_equal(fake_code.n, 0);
}

static void kernel_writes(void **state)
{
	(void)state;
	setup_held();
	account_of(PA)->credit = MOST;
	guest_map(v->cr3, 0xffffc90000000000UL, PA, 1, READY | PTE_RW);
	assert_int_equal(guest_access(v, map_hva(0xffffc90000000000UL) + 0xff8, true, FLAVOUR_KHIGH, NULL), FILL_DONE);
	assert_false(held(PA));
	assert_true(host_mapped(0xffffc90000000000UL, true));
	assert_int_equal(fake_hold_ended, 1);
}

static void next_attempt_is_later(void **state)
{
	unsigned wanted = ROUNDS;

	(void)state;
	setup_held();
	for (unsigned n = 2; n < 5; n++) {
		wanted *= 4;
		account_of(PA)->credit = 0;
		assert_int_equal(user_writes(), FILL_DONE);
		for (unsigned i = 0; i < wanted; i++) {
			one_round();
			assert_false(held(PA));
		}
		one_round();
		assert_true(held(PA));
		assert_int_equal(v->counters[CTR_HOLD], n);
	}
	/* There is an end to it, which keeps the number from wrapping. */
	account_of(PA)->rounds_wanted = 60000;
	account_of(PA)->credit = 0;
	assert_int_equal(user_writes(), FILL_DONE);
	assert_int_equal(account_of(PA)->rounds_wanted, 65536);
}

static void after_a_while(void **state)
{
	(void)state;
	setup_held();
	account_of(PA)->since -= 1UL << 30;
	one_round();
	assert_true(held(PA));
	account_of(PA)->since -= 1UL << 31;
	one_round();
	assert_false(held(PA));
	assert_true(writable());
	assert_int_equal(fake_hold_ended, 1);
	assert_int_equal(account_of(PA)->rounds_wanted, ROUNDS); /* that is no reason to wait longer */
	for (unsigned i = 0; i < ROUNDS; i++)
		one_round();
	assert_true(held(PA));
}

/* Pages that want the same place of the table: who is held keeps it, and nobody else is held without. */
static void collisions(void **state)
{
	u64 other = 0, *e = NULL, a = UA + 0x100000;
	struct held *place;

	(void)state;
	setup_held();
	place = account_of(PA);
	for (u64 pa = 0x1000000; pa < RAM_LOW && !other; pa += PAGE_SIZE) {
		*place = (struct held){ 0 };
		hold_count_round(pa);
		other = place->pfn == pa >> PAGE_SHIFT ? pa : 0;
		memset(shadow_pool->held, 0, sizeof(shadow_pool->held));
	}
	assert_true(other);
	setup_held();
	e = guest_entry(v->cr3, a, 1);
	*e = other | READY | PTE_RW;
	assert_int_equal(guest_access(v, a + 0xff8, true, FLAVOUR_USER, NULL), FILL_DONE);
	for (unsigned i = 0; i < 3 * ROUNDS; i++) {
		rights(e, a, *e & ~PTE_RW);
		rights(e, a, *e | PTE_RW);
		assert_false(held(other));
		assert_true(host_mapped(a, true));
	}
	assert_ptr_equal(account_of(PA), place);
	assert_int_equal(place->credit, FIRST);
	one_round();
	assert_true(held(PA));
	/* Once it is let go the place is free. */
	place->credit = 0;
	trace_bulk_write(v, gpa(PA), PAGE_SIZE);
	for (unsigned i = 0; i <= ROUNDS; i++) {
		assert_false(held(other));
		rights(e, a, *e & ~PTE_RW);
		rights(e, a, *e | PTE_RW);
	}
	assert_true(held(other));
	for (unsigned i = 0; i < 3 * ROUNDS; i++) {
		one_round();
		assert_false(held(PA));
		assert_true(writable());
	}
}

/* A page that has become a table or code besides is still traced when it is let go. */
static void other_traces(void **state)
{
	(void)state;
	setup_held();
	trace_code_add(v, gpa(PA));
	account_of(PA)->credit = 0;
	soft_write(PA, 8);
	assert_false(held(PA));
	assert_true(trace_is_traced(gpa(PA)));
	assert_int_equal(fake_code.n, 1);
	setup_held();
	guest_map(v->cr3, UA + 0x1000, 0x310000, 1, READY);
	*guest_entry(v->cr3, UA + 0x40000000, 2) = PA | READY | PTE_RW;
	*pte_at(PA, 0) = 0x311000 | READY;
	assert_reads(v, UA + 0x40000000, FLAVOUR_USER, 0x311000);
	assert_int_equal(page_flags_of(PA), PAGE_HELD | PAGE_PT);
	assert_int_equal(user_writes(), FILL_TRACED); /* for good: it is a table */
	account_of(PA)->credit = 0;
	assert_int_equal(user_writes(), FILL_TRACED);
	assert_false(held(PA));
	assert_false(writable());
	/* Entries of a table are followed, held or not. */
	guest_write_pte(v, pte_at(PA, 0), 0x312000 | READY);
	mmu_invlpg(v, gla(UA + 0x40000000));
	assert_reads(v, UA + 0x40000000, FLAVOUR_USER, 0x312000);
}

static void code_is_not_held(void **state)
{
	(void)state;
	setup(ROUNDS);
	trace_code_add(v, gpa(PA));
	for (unsigned i = 0; i < 3 * ROUNDS; i++)
		one_round();
	assert_int_equal(page_flags_of(PA), PAGE_CODE);
	assert_int_equal(user_writes(), FILL_DONE); /* its code goes */
	assert_true(writable());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(after_rounds), cmocka_unit_test(never), cmocka_unit_test(stays_read_only),
		cmocka_unit_test(behind_a_fault),
		cmocka_unit_test(alias_is_read_only), cmocka_unit_test(writers), cmocka_unit_test(account_of_traps),
		cmocka_unit_test(account_of_writes), cmocka_unit_test(long_writes), cmocka_unit_test(kernel_writes),
		cmocka_unit_test(next_attempt_is_later), cmocka_unit_test(after_a_while), cmocka_unit_test(collisions),
		cmocka_unit_test(other_traces), cmocka_unit_test(code_is_not_held),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);

	if (uffd_setup())
		failed += cmocka_run_group_tests_name("with userfaultfd", tests, NULL, NULL);
	return failed;
}
