/* Signals that find guest user code where it should not be: in code of other rights that it
 * has jumped to. It is never taken for what runs there by right. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <ucontext.h>
#include <cmocka.h>
#include "test_dbt_fixture.h"
#include <sys/auxv.h> /* last: elf.h defines names of cpu.h */

void fault_async(ucontext_t *uc);

static u8 frame_area[4096] __attribute__((aligned(64)));
#define PKRU_OFFSET 2688

static int machine_setup(void **state)
{
	struct host_caps *h;

	(void)state;
	dbt_map();
	h = &ARENA->host;
	*h = (struct host_caps){ .pkeys = true, .native = true, .fsgsbase = true, .key_zone = 1, .key_kl = 2, .key_kh = 3, .key_p = 4,
				 .key_s = 5, .key_t = 6, .key_ks = 7, .key_kt = 8, .key_d = 9, .pkru_offset = PKRU_OFFSET };
	ARENA->fold = engine.fold = FOLD_DEFAULT;
	return dbt_start() ? 0 : -1;
}

/* Interrupted at off of the code cache with the rights of this flavour. */
static void interrupt(u32 off, u8 rights)
{
	ucontext_t uc = { 0 };

	*(u64 *)(frame_area + 512) = BIT(9);
	*(u32 *)(frame_area + PKRU_OFFSET) = engine.pkru[rights];
	uc.uc_mcontext.fpregs = (void *)frame_area;
	uc.uc_mcontext.gregs[REG_RIP] = (greg_t)(CODE_RX_HVA + off);
	uc.uc_mcontext.gregs[REG_RAX] = (greg_t)0xffffffff81234567UL;
	uc.uc_mcontext.gregs[REG_EFL] = 0x202;
	VCPU->exit_id = 0;
	VCPU->rip = 0;
	engine.stepping = false;
	engine.slot = ARENA->running_view;
	fault_async(&uc);
}

/* A target that user code has chosen must not become kernel code's. */
static void user_code_in_a_kernel_stub(void **state)
{
	const u32 stubs[] = { cache->lookup_kernel, cache->lookup_soft_user };

	(void)state;
	if (!(getauxval(AT_HWCAP2) & 2)) /* without FSGSBASE no user code runs natively */
		skip();
	for (size_t i = 0; i < ARRAY_LEN(stubs); i++) {
		engine.flavour = FLAVOUR_USER;
		interrupt(stubs[i], FLAVOUR_USER);
		assert_int_equal(engine.flavour, FLAVOUR_USER);
		assert_int_equal(VCPU->exit_id, EXIT_ID_RETRY);
		assert_true(VCPU->rip == CODE_RX_HVA + stubs[i]);
	}
}

static void leaves_at_its_target(u32 stub, u8 flavour)
{
	engine.flavour = flavour;
	interrupt(stub, flavour);
	assert_int_equal(VCPU->exit_id, EXIT_ID_ASYNC);
	assert_int_equal(engine.flavour, flavour);
	assert_true(VCPU->rip == 0xffffffff81234567UL);
}

static void kernel_code_in_its_stub(void **state)
{
	(void)state;
	leaves_at_its_target(cache->lookup_kernel, FLAVOUR_KHIGH);
	leaves_at_its_target(cache->lookup_soft_user, FLAVOUR_SOFT);
}

static void user_code_in_its_stub(void **state)
{
	(void)state;
	leaves_at_its_target(cache->lookup_user, FLAVOUR_USER);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(user_code_in_a_kernel_stub),
		cmocka_unit_test(kernel_code_in_its_stub),
		cmocka_unit_test(user_code_in_its_stub),
	};

	return cmocka_run_group_tests(tests, machine_setup, NULL);
}
