/* The lookup tables of branch targets: two targets of the same low 16 bits live side by side. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "test_dbt_fixture.h"

#define KIB64 0x10000UL

static int machine_setup(void **state)
{
	(void)state;
	dbt_map();
	if (!dbt_start())
		return -1;
	*(u64 *)HOT_TABLE_U_HVA = *(u64 *)(HOT_TABLE_U_HVA + sizeof(struct table_entry)) = 1; /* as dbt_init leaves the views' own */
	return 0;
}

static bool has(u64 gva) { return table_get(true, gva) == gva; }

static void test_two_places(void **state)
{
	static const u64 first[] = { 0x401234, 0x40ffff, 0x400000, 0x400001 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(first); i++) {
		u64 a = first[i], b = a + KIB64, c = b + KIB64;

		table_set_native(a);
		table_set_native(b);
		assert_true(has(a) && has(b));
		table_set_native(a); /* known already: nothing is lost */
		assert_true(has(a) && has(b));
		table_set_native(c); /* the one before the last gives way */
		assert_true(has(c) && has(a) && !has(b));
		table_forget(a);
		assert_true(has(c) && !has(a));
		table_forget(c);
		assert_false(has(c));
	}
}

static void test_neighbours(void **state)
{
	(void)state;
	table_set_native(0x500010);
	table_set_native(0x510010); /* moves the first to the next place */
	table_set_native(0x500011); /* whose own this is */
	assert_true(has(0x510010) && has(0x500011) && !has(0x500010));
	table_forget_native();
	assert_false(has(0x510010) || has(0x500011));
}

static void test_empty(void **state)
{
	(void)state;
	table_set_native(0x600000);
	table_set_native(0x610000);
	table_forget_native();
	assert_int_equal(table_get(true, 0), 0);
	assert_int_equal(table_get(true, ~0UL), 0);
	assert_int_equal(table_get(true, 0x600000), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_two_places), cmocka_unit_test(test_neighbours), cmocka_unit_test(test_empty),
	};

	return cmocka_run_group_tests(tests, machine_setup, NULL);
}
