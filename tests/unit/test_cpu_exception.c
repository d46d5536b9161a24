/* Exception and interrupt delivery, IRET, escalation to #DF and shutdown. */
#include "cpu_fake.h"

static u64 stack64(u64 at)
{
	return *(u64 *)at;
}

static void check_frame(u64 sp, u64 rip, u16 cs, u64 rflags, u64 rsp, u16 ss)
{
	assert_int_equal(stack64(sp), rip);
	assert_int_equal(stack64(sp + 8), cs);
	assert_int_equal(stack64(sp + 16), rflags);
	assert_int_equal(stack64(sp + 24), rsp);
	assert_int_equal(stack64(sp + 32), ss);
}

static void test_fault_same_privilege(void **state)
{
	(void)state;
	v->gpr[RSP] = STACK_KERNEL - 8; /* not aligned to 16 */
	v->rflags |= FL_TF | FL_NT;
	cpu_fault_err(v, EXC_GP, 0x18);
	cpu_deliver_exception(v);
	assert_int_equal(v->rip, HANDLER(EXC_GP));
	assert_int_equal(v->gpr[RSP], STACK_KERNEL - 16 - 48);
	assert_int_equal(stack64(v->gpr[RSP]), 0x18);
	check_frame(v->gpr[RSP] + 8, CODE, SEL_KCODE, 2 | FL_IF | FL_TF | FL_NT | FL_RF, STACK_KERNEL - 8,
		    SEL_KDATA);
	assert_int_equal(cpu_rflags(v), 2);
	assert_int_equal(v->seg[SEG_SS].sel, SEL_KDATA);
}

static void test_page_fault_from_user(void **state)
{
	(void)state;
	load_segs(3);
	cpu_fault_page(v, gla(0xdead000), PF_U | PF_W);
	cpu_deliver_exception(v);
	assert_int_equal(v->cpl, 0);
	assert_int_equal(v->cr2, 0xdead000);
	assert_int_equal(v->gpr[RSP], STACK_RSP0 - 48);
	assert_int_equal(stack64(v->gpr[RSP]), PF_U | PF_W);
	check_frame(v->gpr[RSP] + 8, CODE, SEL_UCODE | 3, 2 | FL_IF | FL_RF, STACK_USER, SEL_UDATA | 3);
	assert_int_equal(v->seg[SEG_SS].sel, 0);
	assert_int_equal(v->seg[SEG_CS].sel, SEL_KCODE);
	assert_int_equal(v->intr_enabled, 0);
}

static void test_ist(void **state)
{
	(void)state;
	set_gate(EXC_NMI, HANDLER(2), SEL_KCODE, DT_INT, 0, 1, true);
	v->halted = 1;
	v->nmi_pending = 1;
	cpu_deliver_nmi(v);
	assert_int_equal(v->gpr[RSP], STACK_IST1 - 40);
	check_frame(v->gpr[RSP], CODE, SEL_KCODE, 2 | FL_IF, STACK_KERNEL, SEL_KDATA);
	assert_int_equal(v->nmi_blocked, 1);
	assert_int_equal(v->nmi_pending, 0);
	assert_int_equal(v->halted, 0);
}

static void test_interrupt_and_trap_gate(void **state)
{
	(void)state;
	v->intr_shadow = 1;
	set_gate(0x40, HANDLER(0x40), SEL_KCODE, DT_TRAP, 0, 0, true);
	cpu_deliver_interrupt(v, 0x40);
	assert_int_equal(v->rip, HANDLER(0x40));
	assert_int_equal(v->intr_enabled, 1);
	assert_int_equal(v->intr_shadow, 0);
	cpu_deliver_interrupt(v, 0x41);
	assert_int_equal(v->intr_enabled, 0);
}

static void test_soft_interrupt(void **state)
{
	struct insn in = insn_of(OP_INT, 0xcd);

	(void)state;
	load_segs(3);
	in.imm = 0x80;
	set_gate(0x80, HANDLER(0x80), SEL_KCODE, DT_INT, 3, 0, true);
	assert_int_equal(run_op(&in), CPU_JUMP);
	assert_int_equal(v->rip, HANDLER(0x80));
	check_frame(v->gpr[RSP], CODE + 4, SEL_UCODE | 3, 2 | FL_IF, STACK_USER, SEL_UDATA | 3);
}

static void test_soft_interrupt_dpl(void **state)
{
	struct insn in = insn_of(OP_INT, 0xcd);

	(void)state;
	load_segs(3);
	in.imm = EXC_PF;
	assert_int_equal(run_op(&in), CPU_JUMP);
	assert_int_equal(v->rip, HANDLER(EXC_GP));
	assert_int_equal(stack64(v->gpr[RSP]), EXC_PF * 8 + 2); /* EXT = 0 */
	assert_int_equal(stack64(v->gpr[RSP] + 8), CODE);
}

static void test_not_present_gate(void **state)
{
	(void)state;
	set_gate(0x50, 0, SEL_KCODE, DT_INT, 0, 0, false);
	cpu_deliver_interrupt(v, 0x50);
	assert_int_equal(v->rip, HANDLER(EXC_NP));
	assert_int_equal(stack64(v->gpr[RSP]), 0x50 * 8 + 3);
}

static void test_bad_handler_segment(void **state)
{
	(void)state;
	set_gate(0x50, HANDLER(0x50), SEL_KCODE32, DT_INT, 0, 0, true);
	cpu_deliver_interrupt(v, 0x50);
	assert_int_equal(v->rip, HANDLER(EXC_GP));
	assert_int_equal(stack64(v->gpr[RSP]), SEL_KCODE32 | 1);
}

static void test_double_fault(void **state)
{
	(void)state;
	/* #GP whose gate is not present: contributory on contributory. */
	set_gate(EXC_GP, 0, SEL_KCODE, DT_INT, 0, 0, false);
	set_gate(EXC_DF, HANDLER(EXC_DF), SEL_KCODE, DT_INT, 0, 1, true);
	cpu_fault_err(v, EXC_GP, 0);
	cpu_deliver_exception(v);
	assert_int_equal(v->rip, HANDLER(EXC_DF));
	assert_int_equal(v->gpr[RSP], STACK_IST1 - 48);
	assert_int_equal(stack64(v->gpr[RSP]), 0);
	assert_int_equal(v->shutdown, 0);
}

static void test_page_fault_on_stack_is_double_fault(void **state)
{
	(void)state;
	set_gate(EXC_DF, HANDLER(EXC_DF), SEL_KCODE, DT_INT, 0, 1, true);
	v->gpr[RSP] = MEM_BASE + MEM_SIZE + 0x1000; /* not mapped */
	cpu_fault_page(v, gla(0x1234), 0);
	cpu_deliver_exception(v);
	assert_int_equal(v->rip, HANDLER(EXC_DF));
	/* CR2 is that of the second fault. */
	assert_int_equal(v->cr2, MEM_BASE + MEM_SIZE + 0x1000 - 48);
}

static void test_contributory_then_page_fault(void **state)
{
	(void)state;
	/* #GP whose handler stack faults: the page fault is delivered, on its own IST. */
	set_gate(EXC_PF, HANDLER(EXC_PF), SEL_KCODE, DT_INT, 0, 1, true);
	v->gpr[RSP] = MEM_BASE + MEM_SIZE + 0x1000;
	cpu_fault_err(v, EXC_GP, 0);
	cpu_deliver_exception(v);
	assert_int_equal(v->rip, HANDLER(EXC_PF));
	assert_int_equal(stack64(v->gpr[RSP]), PF_W);
}

static void test_triple_fault(void **state)
{
	(void)state;
	v->idtr.limit = 0;
	cpu_fault(v, EXC_UD);
	cpu_deliver_exception(v);
	assert_int_equal(v->shutdown, 1);
	assert_int_equal(v->rip, CODE);
}

static void test_tss_limit(void **state)
{
	(void)state;
	load_segs(3);
	v->seg[SEG_TR].limit = 10;
	cpu_deliver_interrupt(v, 0x50);
	/* #TS, then #TS again while delivering it, then #DF: shutdown. */
	assert_int_equal(v->shutdown, 1);
}

/* --- IRET --------------------------------------------------------------------------- */
static struct insn iretq(void)
{
	struct insn in = insn_of(OP_IRET, 0xcf);

	in.rex = 0x48;
	in.opsize = 8;
	return in;
}

static void push_frame(u64 rip, u16 cs, u64 rflags, u64 rsp, u16 ss)
{
	u64 frame[5] = { rip, cs, rflags, rsp, ss };

	v->gpr[RSP] = STACK_KERNEL - sizeof(frame);
	memcpy((void *)v->gpr[RSP], frame, sizeof(frame));
}

static void test_iretq_to_user(void **state)
{
	struct insn in = iretq();

	(void)state;
	v->nmi_blocked = 1;
	v->intr_enabled = 0;
	v->seg[SEG_FS] = (struct seg){ 0, 0, 0, 0x7f1234567000 };
	v->seg[SEG_DS] = (struct seg){ SEL_KDATA, 0xc093, ~0u, 0 };
	v->seg[SEG_ES] = (struct seg){ SEL_UDATA | 3, 0xc0f3, ~0u, 0 };
	push_frame(0x401000, SEL_UCODE | 3, 2 | FL_IF | FL_RF | FL_ZF | FL_IOPL, 0x7ffc0000, SEL_UDATA | 3);
	assert_int_equal(run_op(&in), CPU_JUMP);
	assert_int_equal(v->rip, 0x401000);
	assert_int_equal(v->cpl, 3);
	assert_int_equal(v->gpr[RSP], 0x7ffc0000);
	assert_int_equal(cpu_rflags(v), 2 | FL_IF | FL_RF | FL_ZF | FL_IOPL);
	assert_int_equal(v->nmi_blocked, 0);
	assert_int_equal(v->seg[SEG_FS].base, 0x7f1234567000); /* null already: base kept */
	assert_int_equal(v->seg[SEG_DS].sel, 0);
	assert_int_equal(v->seg[SEG_ES].sel, SEL_UDATA | 3);
}

static void test_iretq_same_privilege(void **state)
{
	struct insn in = iretq();

	(void)state;
	push_frame(CODE + 8, SEL_KCODE, 2, STACK_KERNEL - 0x100, 0);
	assert_int_equal(run_op(&in), CPU_JUMP);
	assert_int_equal(v->gpr[RSP], STACK_KERNEL - 0x100);
	assert_int_equal(v->seg[SEG_SS].sel, 0);
	assert_int_equal(v->cpl, 0);
}

static void test_iretq_faults(void **state)
{
	static const struct { u64 rip; u16 cs, ss; u8 vec; u32 err; } cases[] = {
		{ 0x800000000000, SEL_UCODE | 3, SEL_UDATA | 3, EXC_GP, 0 },
		{ 0x1000, 0, SEL_UDATA | 3, EXC_GP, 0 },
		{ 0x1000, SEL_UDATA | 3, SEL_UDATA | 3, EXC_GP, SEL_UDATA },
		{ 0x1000, SEL_KCODE | 3, SEL_UDATA | 3, EXC_GP, SEL_KCODE },
		{ 0x1000, 0x108 | 3, SEL_UDATA | 3, EXC_GP, 0x108 },
		{ 0x1000, SEL_UCODE | 3, 0, EXC_GP, 0 },
		{ 0x1000, SEL_UCODE | 3, SEL_UDATA, EXC_GP, SEL_UDATA },
		{ 0x1000, SEL_UCODE | 3, SEL_RODATA | 3, EXC_GP, SEL_RODATA },
		{ 0x1000, SEL_UCODE | 3, SEL_ABSENT | 3, EXC_SS, SEL_ABSENT },
		{ 0x100000000, SEL_UCODE32 | 3, SEL_UDATA | 3, EXC_GP, 0 },
	};
	struct insn in = iretq();
	u64 rsp;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		push_frame(cases[i].rip, cases[i].cs, 2, 0x7000, cases[i].ss);
		rsp = v->gpr[RSP];
		expect_fault(run_op(&in), cases[i].vec, cases[i].err);
		assert_int_equal(v->gpr[RSP], rsp);
		assert_int_equal(v->cpl, 0);
	}
	v->rflags |= FL_NT;
	push_frame(0x1000, SEL_UCODE | 3, 2, 0x7000, SEL_UDATA | 3);
	expect_fault(run_op(&in), EXC_GP, 0);
}

static void test_iret_to_compatibility_mode(void **state)
{
	struct insn in = iretq();

	(void)state;
	push_frame(0x8048000, SEL_UCODE32 | 3, 2, 0x1ffff0000, SEL_UDATA | 3);
	assert_int_equal(run_op(&in), CPU_JUMP);
	assert_int_equal(cpu_code_size(v), 32);
	assert_int_equal(v->gpr[RSP], 0xffff0000);
}

static void test_iret_user_keeps_iopl_and_if(void **state)
{
	struct insn in = iretq();

	(void)state;
	load_segs(3);
	push_frame(0x1000, SEL_UCODE | 3, 2 | FL_IOPL | FL_CF, 0x7000, SEL_UDATA | 3);
	assert_int_equal(run_op(&in), CPU_JUMP);
	assert_int_equal(cpu_rflags(v), 2 | FL_IF | FL_CF);
}

/* --- 32-bit protected mode ------------------------------------------------------------ */
static void enter_protected_mode(unsigned cpl)
{
	v->efer = 0;
	v->cr0 = CR0_PE | CR0_ET;
	v->cpl = cpl;
	v->seg[SEG_CS] = (struct seg){ cpl ? SEL_UCODE32 | 3 : SEL_KCODE32, cpl ? 0xc0fb : 0xc09b, ~0u, 0 };
	v->seg[SEG_SS] = (struct seg){ cpl ? SEL_UDATA | 3 : SEL_KDATA, cpl ? 0xc0f3 : 0xc093, ~0u, 0 };
	v->gpr[RSP] = cpl ? STACK_USER : STACK_KERNEL;
	*(u32 *)(TSS + 4) = STACK_RSP0;
	*(u16 *)(TSS + 8) = SEL_KDATA;
	for (unsigned n = 0; n < 256; n++) {
		*(u32 *)(IDT + n * 8) = SEL_KCODE32 << 16 | (HANDLER(n) & 0xffff);
		*(u32 *)(IDT + n * 8 + 4) = (HANDLER(n) & 0xffff0000) | 0x8e00;
	}
}

static void test_protected_mode_round_trip(void **state)
{
	struct insn in = insn_of(OP_IRET, 0xcf);

	(void)state;
	enter_protected_mode(3);
	in.code_size = 32;
	cpu_fault_err(v, EXC_GP, 4);
	cpu_deliver_exception(v);
	assert_int_equal(v->rip, HANDLER(EXC_GP));
	assert_int_equal(v->gpr[RSP], STACK_RSP0 - 24);
	assert_int_equal(v->seg[SEG_SS].sel, SEL_KDATA);
	assert_int_equal(*(u32 *)(STACK_RSP0 - 24), 4);
	assert_int_equal(*(u32 *)(STACK_RSP0 - 20), CODE);
	assert_int_equal(*(u32 *)(STACK_RSP0 - 8), STACK_USER);
	v->gpr[RSP] += 4;
	assert_int_equal(run_op(&in), CPU_JUMP);
	assert_int_equal(v->cpl, 3);
	assert_int_equal(v->rip, CODE);
	assert_int_equal(v->gpr[RSP], STACK_USER);
	assert_int_equal(v->seg[SEG_SS].sel, SEL_UDATA | 3);
	assert_int_equal(v->intr_enabled, 1);
}

static void test_protected_mode_same_privilege(void **state)
{
	struct insn in = insn_of(OP_IRET, 0xcf);

	(void)state;
	enter_protected_mode(0);
	in.code_size = 32;
	cpu_deliver_interrupt(v, 0x21);
	assert_int_equal(v->gpr[RSP], STACK_KERNEL - 12);
	assert_int_equal(run_op(&in), CPU_JUMP);
	assert_int_equal(v->gpr[RSP], STACK_KERNEL);
	assert_int_equal(v->rip, CODE);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup(f, setup)
	const struct CMUnitTest tests[] = {
		T(test_fault_same_privilege), T(test_page_fault_from_user), T(test_ist),
		T(test_interrupt_and_trap_gate), T(test_soft_interrupt), T(test_soft_interrupt_dpl),
		T(test_not_present_gate), T(test_bad_handler_segment), T(test_double_fault),
		T(test_page_fault_on_stack_is_double_fault), T(test_contributory_then_page_fault),
		T(test_triple_fault), T(test_tss_limit), T(test_iretq_to_user),
		T(test_iretq_same_privilege), T(test_iretq_faults), T(test_iret_to_compatibility_mode),
		T(test_iret_user_keeps_iopl_and_if), T(test_protected_mode_round_trip),
		T(test_protected_mode_same_privilege),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
