/* Pages of user code that are left to the translator since they cost many signals, and taken back
 * when that makes a process come to translated pages all the time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>
#include "test_dbt_fixture.h"
#include "shadowbox/shadow.h"

#define RAM (16UL << 20)
#define POOL (64UL << 20)
#define CODE 0x200000UL  /* guest addresses are physical ones: paging is off */
#define CALLER 0x300000UL
#define STACK 0x400100UL
/* Of native.c. */
#define EVENTS_MAX 512
#define EVENTS_LESS 2048
#define TIRED 3000
#define PATIENCE 100 /* times as many: what was counted long ago does not count */

static bool runs(u64 page)
{
	gpa_t from;

	return dbt_code_at(VCPU, gpa(page), &from) != CODE_TRANSLATED;
}

/* A system call, say. How many it takes until the page is left, at most `most`. */
static unsigned specials_until_left(u64 page, unsigned most)
{
	unsigned n = 0;

	while (dbt_runs_native(gpa(page)) && n++ < most) {
		VCPU->rip = page;
		native_special(VCPU);
	}
	return n;
}

/* Native code of many pages, in turn, calls the page. */
static void crossings(u64 page, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		u64 *stack = physmem_ptr(gpa(STACK - 8));

		stack[0] = 0;
		stack[1] = CALLER + (i % 256 << PAGE_SHIFT);
		VCPU->gpr[RSP] = STACK;
		VCPU->rip = page;
		native_left(VCPU);
	}
}

static int machine_setup(void **state)
{
	(void)state;
	dbt_map();
	map_fixed(PHYS_HVA, RAM);
	ARENA->machine.phys = (struct physmem){ RAM, PHYS_4G };
	memset((void *)PHYS_HVA, 0x90, RAM);
	shadow_init((u8 *)ARENA->shadow_area + DBT_ROOM, POOL);
	VCPU->cpl = 3;
	ARENA->view[0].life = 1;
	return dbt_start() ? 0 : -1;
}

static void test_left_and_taken_back(void **state)
{
	u64 back = VCPU->counters[CTR_NATIVE_BACK];
	unsigned tries = 0;

	(void)state;
	assert_true(runs(CODE));
	assert_in_range(specials_until_left(CODE, PATIENCE * EVENTS_MAX), EVENTS_MAX, PATIENCE * EVENTS_MAX);
	assert_false(runs(CODE));
	while (VCPU->counters[CTR_NATIVE_BACK] == back && tries++ < PATIENCE)
		crossings(CODE, TIRED);
	assert_int_equal(VCPU->counters[CTR_NATIVE_BACK], back + 1);
	assert_true(runs(CODE));
	/* From now on that takes longer. */
	assert_in_range(specials_until_left(CODE, PATIENCE * EVENTS_LESS), EVENTS_LESS, PATIENCE * EVENTS_LESS);
	assert_false(runs(CODE));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_left_and_taken_back) };

	return cmocka_run_group_tests(tests, machine_setup, NULL);
}
