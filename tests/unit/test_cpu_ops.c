/* Call-out handlers: system calls, segments, control registers, stack, branches. */
#include "cpu_fake.h"

/* --- SYSCALL, SYSRET, SYSENTER ------------------------------------------------------- */
static void test_syscall_sysret(void **state)
{
	struct insn sc = insn_of(OP_SYSCALL, 0x05), sr = insn_of(OP_SYSRET, 0x07);

	(void)state;
	v->star = (u64)(SEL_UCODE32 | 3) << 48 | (u64)SEL_KCODE << 32;
	v->lstar = 0xffffffff81000000;
	v->sfmask = FL_IF | FL_TF | FL_DF | FL_AC | FL_NT;
	load_segs(3);
	v->irq_waiting = 1;
	v->rflags |= FL_DF | FL_CF | FL_RF;
	assert_int_equal(run_op(&sc), CPU_JUMP);
	assert_int_equal(v->rip, 0xffffffff81000000);
	assert_int_equal(v->gpr[RCX], CODE + 4);
	assert_int_equal(v->gpr[R11], 2 | FL_IF | FL_DF | FL_CF);
	assert_int_equal(cpu_rflags(v), 2 | FL_CF);
	assert_int_equal(v->cpl, 0);
	assert_int_equal(v->seg[SEG_CS].sel, SEL_KCODE);
	assert_int_equal(v->seg[SEG_CS].attr, 0xa09b);
	assert_int_equal(v->seg[SEG_SS].sel, SEL_KDATA);
	assert_int_equal(v->seg[SEG_SS].attr, 0xc093);

	sr.rex = 0x48;
	assert_int_equal(run_op(&sr), CPU_JUMP);
	assert_int_equal(v->rip, CODE + 4);
	assert_int_equal(v->seg[SEG_CS].sel, SEL_UCODE | 3);
	assert_int_equal(v->seg[SEG_CS].attr, 0xa0fb);
	assert_int_equal(v->seg[SEG_SS].sel, SEL_UDATA | 3);
	assert_int_equal(v->cpl, 3);
	assert_int_equal(cpu_rflags(v), 2 | FL_IF | FL_DF | FL_CF);
	assert_int_equal(v->event_pending, 1);
	expect_fault(run_op(&sr), EXC_GP, 0);

	load_segs(0);
	v->gpr[RCX] = 0x800000000000;
	expect_fault(run_op(&sr), EXC_GP, 0);
	sr.rex = 0;
	assert_int_equal(run_op(&sr), CPU_JUMP);
	assert_int_equal(v->rip, 0);
	assert_int_equal(cpu_code_size(v), 32);

	load_segs(0);
	v->efer &= ~(u64)EFER_SCE;
	expect_fault(run_op(&sc), EXC_UD, 0);
	expect_fault(run_op(&sr), EXC_UD, 0);
}

static void test_sysenter_sysexit(void **state)
{
	struct insn se = insn_of(OP_SYSENTER, 0x34), sx = insn_of(OP_SYSEXIT, 0x35);

	(void)state;
	if (cpu_model.vendor == VENDOR_AMD)
		skip();
	load_segs(3);
	expect_fault(run_op(&se), EXC_GP, 0);
	v->sysenter_cs = SEL_KCODE;
	v->sysenter_eip = 0xffffffff81000100;
	v->sysenter_esp = STACK_RSP0;
	assert_int_equal(run_op(&se), CPU_JUMP);
	assert_int_equal(v->rip, 0xffffffff81000100);
	assert_int_equal(v->gpr[RSP], STACK_RSP0);
	assert_int_equal(v->intr_enabled, 0);
	assert_int_equal(v->cpl, 0);
	sx.rex = 0x48;
	v->gpr[RDX] = 0x401000;
	v->gpr[RCX] = 0x7000;
	assert_int_equal(run_op(&sx), CPU_JUMP);
	assert_int_equal(v->rip, 0x401000);
	assert_int_equal(v->seg[SEG_CS].sel, SEL_KCODE + 32 + 3);
	assert_int_equal(v->cpl, 3);
}

/* --- segments ---------------------------------------------------------------------------- */
static void test_load_seg(void **state)
{
	static const struct { u8 reg; u16 sel; u8 cpl, vec; u32 err; } bad[] = {
		{ SEG_DS, 0x108, 0, EXC_GP, 0x108 }, { SEG_DS, SEL_KDATA | 3, 0, EXC_GP, SEL_KDATA },
		{ SEG_DS, SEL_KDATA, 3, EXC_GP, SEL_KDATA }, { SEG_ES, SEL_ABSENT, 0, EXC_NP, SEL_ABSENT },
		{ SEG_ES, SEL_TSS, 0, EXC_GP, SEL_TSS }, { SEG_DS, 4, 0, EXC_GP, 4 },
		{ SEG_SS, 0, 3, EXC_GP, 0 }, { SEG_SS, 3, 3, EXC_GP, 0 }, { SEG_SS, 3, 0, EXC_GP, 0 },
		{ SEG_SS, SEL_UDATA | 3, 0, EXC_GP, SEL_UDATA }, { SEG_SS, SEL_KCODE, 0, EXC_GP, SEL_KCODE },
		{ SEG_SS, SEL_RODATA | 3, 3, EXC_GP, SEL_RODATA },
		{ SEG_SS, SEL_ABSENT | 3, 3, EXC_SS, SEL_ABSENT }, { SEG_CS, SEL_KCODE, 0, EXC_UD, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		load_segs(bad[i].cpl);
		expect_fault(cpu_load_seg(v, bad[i].reg, bad[i].sel), bad[i].vec, bad[i].err);
	}
	load_segs(0);
	assert_int_equal(cpu_load_seg(v, SEG_SS, 0), CPU_NEXT);
	assert_int_equal(cpu_load_seg(v, SEG_FS, SEL_BASED), CPU_NEXT);
	assert_int_equal(v->seg[SEG_FS].base, 0x12345678);
	assert_int_equal(*(u8 *)(GDT + SEL_BASED + 5), 0xf3); /* accessed was set */
	assert_int_equal(cpu_load_seg(v, SEG_FS, 0), CPU_NEXT);
	assert_int_equal(v->seg[SEG_FS].base, 0);
}

static void test_ltr_lldt(void **state)
{
	struct insn in = insn_of(OP_LTR, 0x00);

	(void)state;
	in.rm = RAX;
	v->gpr[RAX] = SEL_TSS;
	assert_int_equal(run_op(&in), CPU_NEXT);
	assert_int_equal(v->seg[SEG_TR].base, TSS);
	assert_int_equal(v->seg[SEG_TR].attr, 0x8b);
	assert_int_equal(*(u8 *)(GDT + SEL_TSS + 5), 0x8b);
	expect_fault(run_op(&in), EXC_GP, SEL_TSS); /* busy now */
	v->gpr[RAX] = 0;
	expect_fault(run_op(&in), EXC_GP, 0);
	in.op = OP_LLDT;
	assert_int_equal(run_op(&in), CPU_NEXT);
	v->gpr[RAX] = SEL_LDT;
	assert_int_equal(run_op(&in), CPU_NEXT);
	*(u64 *)(DATA + 8) = 0x00cff2000000ffff;
	assert_int_equal(cpu_load_seg(v, SEG_ES, 8 | 4 | 3), CPU_NEXT);
	v->cpl = 3;
	expect_fault(run_op(&in), EXC_GP, 0);
}

static void test_lar_lsl_match_host(void **state)
{
	struct insn lar = insn_of(OP_LAR, 0x02), lsl = insn_of(OP_LSL, 0x03), verw = insn_of(OP_VERW, 0);

	(void)state;
	load_segs(3);
	lar.rm = lsl.rm = verw.rm = RBX;
	lar.reg = lsl.reg = RCX;
	v->gpr[RBX] = SEL_UCODE | 3;
	assert_int_equal(run_op(&lar), CPU_NEXT);
	assert_int_equal(v->gpr[RCX], 0xaffb00);
	assert_true(v->rflags & FL_ZF);
	v->gpr[RBX] = SEL_CPUNODE | 3;
	assert_int_equal(run_op(&lsl), CPU_NEXT);
	assert_int_equal(v->gpr[RCX], 0x3003);
	v->gpr[RBX] = SEL_KDATA;
	assert_int_equal(run_op(&lsl), CPU_NEXT);
	assert_false(v->rflags & FL_ZF);
	assert_int_equal(v->gpr[RCX], 0x3003);
	v->gpr[RBX] = SEL_UDATA;
	assert_int_equal(run_op(&verw), CPU_NEXT);
	assert_true(v->rflags & FL_ZF);
	v->gpr[RBX] = SEL_RODATA;
	assert_int_equal(run_op(&verw), CPU_NEXT);
	assert_false(v->rflags & FL_ZF);
}

/* --- control registers ---------------------------------------------------------------------- */
static int write_reg(enum op op, u8 opcode, int reg, u64 val)
{
	struct insn in = insn_of(op, opcode);

	in.has_modrm = 1;
	in.reg = reg;
	in.rm = RAX;
	v->gpr[RAX] = val;
	return run_op(&in);
}

static int write_cr(int cr, u64 val)
{
	return write_reg(OP_MOV_CR, 0x22, cr, val);
}

static void test_mov_cr_checks(void **state)
{
	u64 cr0 = v->cr0;

	(void)state;
	expect_fault(write_cr(0, BIT(32)), EXC_GP, 0);
	expect_fault(write_cr(0, CR0_PG), EXC_GP, 0);
	expect_fault(write_cr(0, cr0 | CR0_NW), EXC_GP, 0);
	expect_fault(write_cr(0, cr0 & ~CR0_PG), EXC_GP, 0); /* from 64-bit code */
	expect_fault(write_cr(1, 0), EXC_UD, 0);
	expect_fault(write_cr(3, BIT(63)), EXC_GP, 0);
	expect_fault(write_cr(4, v->cr4 & ~(u64)CR4_PAE), EXC_GP, 0);
	expect_fault(write_cr(4, v->cr4 | CR4_UMIP), EXC_GP, 0);
	expect_fault(write_cr(4, v->cr4 | CR4_PCIDE), EXC_GP, 0);
	expect_fault(write_cr(4, v->cr4 | BIT(40)), EXC_GP, 0);
	expect_fault(write_cr(8, 16), EXC_GP, 0);
	assert_int_equal(mode_changes, 0);
	assert_int_equal(write_cr(0, (cr0 & ~(u64)CR0_WP) | CR0_TS), CPU_NEXT);
	assert_int_equal(mode_changes, 1);
	assert_int_equal(write_cr(3, 0x1234000), CPU_NEXT);
	assert_int_equal(v->cr3, 0x1234000);
	assert_int_equal(cr3_writes, 1);
	assert_int_equal(write_cr(4, v->cr4 ^ CR4_PGE), CPU_NEXT);
	assert_int_equal(mode_changes, 2);
	assert_int_equal(write_cr(4, v->cr4 | CR4_SMEP), CPU_NEXT);
	assert_int_equal(write_cr(4, v->cr4 | CR4_SMAP), CPU_NEXT);
	assert_int_equal(mode_changes, 4);
	assert_int_equal(write_cr(8, 5), CPU_NEXT);
	assert_int_equal(fake_cr8, 5);
	v->cpl = 3;
	expect_fault(write_cr(8, 5), EXC_GP, 0);
}

/* 64-bit -> compatibility -> paging off -> on -> 64-bit, as a kernel decompressor does. */
static void test_mode_switches(void **state)
{
	struct insn in = insn_of(OP_RET_FAR, 0xcb);
	u64 frame[2] = { CODE + 0x100, SEL_KCODE32 };

	(void)state;
	in.rex = 0x48;
	v->gpr[RSP] = STACK_KERNEL - 16;
	memcpy((void *)v->gpr[RSP], frame, 16);
	v->seg[SEG_SS] = (struct seg){ SEL_KDATA, 0xc093, ~0u, 0 };
	assert_int_equal(run_op(&in), CPU_JUMP);
	assert_int_equal(cpu_code_size(v), 32);
	assert_int_equal(v->rip, CODE + 0x100);
	assert_int_equal(v->gpr[RSP], STACK_KERNEL);

	assert_int_equal(write_cr(0, v->cr0 & ~CR0_PG), CPU_NEXT);
	assert_int_equal(v->efer & EFER_LMA, 0);
	assert_int_equal(v->efer & EFER_LME, EFER_LME);
	assert_int_equal(write_cr(4, v->cr4 & ~(u64)CR4_PAE), CPU_NEXT);
	expect_fault(write_cr(0, v->cr0 | CR0_PG), EXC_GP, 0); /* LME without PAE */
	assert_int_equal(write_cr(4, v->cr4 | CR4_PAE), CPU_NEXT);
	assert_int_equal(write_cr(0, v->cr0 | CR0_PG), CPU_NEXT);
	assert_true(v->efer & EFER_LMA);
	assert_int_equal(cpu_code_size(v), 32);

	u32 frame32[2] = { CODE + 0x200, SEL_KCODE };
	in.rex = 0;
	in.code_size = 32;
	v->gpr[RSP] -= 8;
	memcpy((void *)v->gpr[RSP], frame32, 8);
	assert_int_equal(run_op(&in), CPU_JUMP);
	assert_int_equal(cpu_code_size(v), 64);
	assert_int_equal(v->rip, CODE + 0x200);
}

static void test_debug_registers(void **state)
{
	(void)state;
	assert_int_equal(write_reg(OP_MOV_DR, 0x23, 7, 0xffffffff & ~BIT(13)), CPU_NEXT);
	assert_int_equal(v->dr[7], 0xffff07ff);
	assert_int_equal(write_reg(OP_MOV_DR, 0x23, 4, 0), CPU_NEXT);
	assert_int_equal(v->dr[6], 0xffff0ff0);
	expect_fault(write_reg(OP_MOV_DR, 0x23, 6, BIT(32)), EXC_GP, 0);
	v->dr[7] |= BIT(13);
	expect_fault(write_reg(OP_MOV_DR, 0x23, 0, 0), EXC_DB, 0);
	assert_true(v->dr[6] & BIT(13));
	v->cr4 |= CR4_DE;
	expect_fault(write_reg(OP_MOV_DR, 0x23, 5, 0), EXC_UD, 0);
}

static void test_xsetbv(void **state)
{
	struct insn in = insn_of(OP_XSETBV, 0x01);

	(void)state;
	expect_fault(run_op(&in), EXC_UD, 0);
	v->cr4 |= CR4_OSXSAVE;
	v->gpr[RCX] = v->gpr[RDX] = 0;
	v->gpr[RAX] = cpu_model_xcr0();
	assert_int_equal(run_op(&in), CPU_NEXT);
	assert_int_equal(v->xcr0, cpu_model_xcr0());
	v->gpr[RAX] = 2;
	expect_fault(run_op(&in), EXC_GP, 0);
	v->gpr[RAX] = 5;
	expect_fault(run_op(&in), EXC_GP, 0);
	v->gpr[RAX] = 0x203; /* PKRU */
	expect_fault(run_op(&in), EXC_GP, 0);
}

/* --- privileged odds and ends ------------------------------------------------------------------ */
static void test_privilege(void **state)
{
	static const u16 ops[] = { OP_HLT, OP_CLTS, OP_LGDT, OP_LIDT, OP_INVLPG, OP_WBINVD, OP_INVD,
				   OP_RDMSR, OP_WRMSR, OP_SWAPGS, OP_CLI, OP_STI, OP_LMSW, OP_RDPMC };

	(void)state;
	load_segs(3);
	for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
		struct insn in = insn_of(ops[i], 0);

		use_mem(&in, RBX, 0);
		v->gpr[RBX] = DATA;
		expect_fault(run_op(&in), EXC_GP, 0);
	}
	assert_null(cpu_ops[OP_MONITOR]);
	assert_null(cpu_ops[OP_WRPKRU]);
	assert_null(cpu_ops[OP_INVPCID]);
}

static void test_lgdt_sgdt(void **state)
{
	struct insn in = insn_of(OP_LGDT, 0x01);

	(void)state;
	use_mem(&in, RBX, 6);
	v->gpr[RBX] = DATA;
	*(u16 *)(DATA + 6) = 0x7f;
	*(u64 *)(DATA + 8) = 0xfffffe0000001000;
	assert_int_equal(run_op(&in), CPU_NEXT);
	assert_int_equal(v->gdtr.base, 0xfffffe0000001000);
	assert_int_equal(v->gdtr.limit, 0x7f);
	in.op = OP_SGDT;
	in.disp = 0x100;
	assert_int_equal(run_op(&in), CPU_NEXT);
	assert_memory_equal((void *)(DATA + 0x100), (void *)(DATA + 6), 10);
	in.op = OP_LGDT;
	*(u64 *)(DATA + 0x102) = BIT(48);
	expect_fault(run_op(&in), EXC_GP, 0);
	/* Stack operands that are not canonical are #SS, others #GP. */
	in.seg = SEG_SS;
	v->gpr[RBX] = BIT(50);
	expect_fault(run_op(&in), EXC_SS, 0);
	in.seg = SEG_DS;
	expect_fault(run_op(&in), EXC_GP, 0);
}

static void test_swapgs_fsgsbase(void **state)
{
	struct insn in = insn_of(OP_SWAPGS, 0x01), wr = insn_of(OP_WRGSBASE, 0xae);

	(void)state;
	v->kernel_gs_base = 0xffff888000000000;
	v->seg[SEG_GS].base = 0x1000;
	assert_int_equal(run_op(&in), CPU_NEXT);
	assert_int_equal(v->seg[SEG_GS].base, 0xffff888000000000);
	assert_int_equal(v->kernel_gs_base, 0x1000);
	wr.rm = RAX;
	wr.opsize = 8;
	v->gpr[RAX] = BIT(47);
	expect_fault(run_op(&wr), EXC_UD, 0);
	v->cr4 |= CR4_FSGSBASE;
	expect_fault(run_op(&wr), EXC_GP, 0);
	v->gpr[RAX] = 0xffffffff12345678;
	wr.opsize = 4;
	assert_int_equal(run_op(&wr), CPU_NEXT);
	assert_int_equal(v->seg[SEG_GS].base, 0x12345678);
}

static void test_sti_popf(void **state)
{
	struct insn sti = insn_of(OP_STI, 0xfb), popf = insn_of(OP_POPF, 0x9d), pushf = insn_of(OP_PUSHF, 0x9c);

	(void)state;
	v->intr_enabled = 0;
	assert_int_equal(run_op(&sti), CPU_NEXT);
	assert_int_equal(v->intr_enabled, 1);
	assert_int_equal(v->intr_shadow, 1);
	v->intr_shadow = 0;
	assert_int_equal(run_op(&sti), CPU_NEXT);
	assert_int_equal(v->intr_shadow, 0);

	v->rflags |= FL_RF;
	assert_int_equal(run_op(&pushf), CPU_NEXT);
	assert_int_equal(*(u64 *)v->gpr[RSP], 2 | FL_IF);
	*(u64 *)v->gpr[RSP] = 0xffffffff;
	assert_int_equal(run_op(&popf), CPU_NEXT);
	assert_int_equal(cpu_rflags(v), 0x247fd7);
	assert_int_equal(v->gpr[RSP], STACK_KERNEL);
	load_segs(3);
	v->rflags = 2;
	*(u64 *)v->gpr[RSP] = 2 | FL_IOPL | FL_OF;
	assert_int_equal(run_op(&popf), CPU_NEXT);
	assert_int_equal(cpu_rflags(v), 2 | FL_OF | FL_IF);
}

static void test_io_permission(void **state)
{
	struct insn in = insn_of(OP_IN, 0xed);

	(void)state;
	v->gpr[RDX] = 0x3f8;
	bus_read_value = 0x1122334455667788;
	assert_int_equal(run_op(&in), CPU_NEXT);
	assert_int_equal(v->gpr[RAX], 0x55667788);
	assert_int_equal(bus_log[0].addr, 0x3f8);
	assert_int_equal(bus_log[0].size, 4);
	load_segs(3);
	expect_fault(run_op(&in), EXC_GP, 0);
	/* A bitmap that allows 0x3f8-0x3fa, not 0x3fb. */
	v->seg[SEG_TR].limit = 104 + 0x2000;
	*(u8 *)(TSS + 104 + 0x3f8 / 8) = 0xf8;
	in.opsize = 2;
	assert_int_equal(run_op(&in), CPU_NEXT);
	in.opsize = 4;
	expect_fault(run_op(&in), EXC_GP, 0);
	v->rflags |= FL_IOPL;
	assert_int_equal(run_op(&in), CPU_NEXT);
}

/* --- stack and branches ---------------------------------------------------------------------------- */
static void test_push_pop(void **state)
{
	struct insn push = insn_of(OP_PUSH, 0x50), pop = insn_of(OP_POP, 0x8f);

	(void)state;
	push.rm = RSP;
	push.opsize = 8;
	assert_int_equal(run_op(&push), CPU_NEXT);
	assert_int_equal(*(u64 *)v->gpr[RSP], STACK_KERNEL); /* the old value */
	pop.opsize = 8;
	use_mem(&pop, RSP, -16);
	assert_int_equal(run_op(&pop), CPU_NEXT); /* addressed with the new RSP */
	assert_int_equal(*(u64 *)(STACK_KERNEL - 16), STACK_KERNEL);
	assert_int_equal(v->gpr[RSP], STACK_KERNEL);
	pop.disp = 0x100000000;
	expect_fault(run_op(&pop), EXC_PF, PF_W);
	assert_int_equal(v->gpr[RSP], STACK_KERNEL);
	v->gpr[RSP] = BIT(47) + 8;
	push.rm = RAX;
	expect_fault(run_op(&push), EXC_SS, 0);

	push = insn_of(OP_PUSH, 0x6a);
	push.opsize = 2;
	push.imm = -2;
	v->gpr[RSP] = STACK_KERNEL;
	assert_int_equal(run_op(&push), CPU_NEXT);
	assert_int_equal(v->gpr[RSP], STACK_KERNEL - 2);
	assert_int_equal(*(u16 *)v->gpr[RSP], 0xfffe);
}

static void test_enter_leave(void **state)
{
	struct insn enter = insn_of(OP_ENTER, 0xc8), leave = insn_of(OP_LEAVE, 0xc9);

	(void)state;
	enter.imm = 0x40;
	enter.imm2 = 1;
	enter.opsize = leave.opsize = 8;
	v->gpr[RBP] = 0x1234;
	assert_int_equal(run_op(&enter), CPU_NEXT);
	assert_int_equal(v->gpr[RBP], STACK_KERNEL - 8);
	assert_int_equal(v->gpr[RSP], STACK_KERNEL - 16 - 0x40);
	assert_int_equal(*(u64 *)(STACK_KERNEL - 16), STACK_KERNEL - 8);
	assert_int_equal(run_op(&leave), CPU_NEXT);
	assert_int_equal(v->gpr[RBP], 0x1234);
	assert_int_equal(v->gpr[RSP], STACK_KERNEL);
}

static void test_near_branches(void **state)
{
	struct insn call = insn_of(OP_CALL, 0xe8), ret = insn_of(OP_RET, 0xc2), loop = insn_of(OP_LOOP, 0xe0);
	struct insn ind = insn_of(OP_JMP_IND, 0xff);

	(void)state;
	call.opsize = ret.opsize = ind.opsize = 8;
	call.imm = CODE + 0x500;
	assert_int_equal(run_op(&call), CPU_JUMP);
	assert_int_equal(v->rip, CODE + 0x500);
	assert_int_equal(*(u64 *)v->gpr[RSP], CODE + 4);
	ret.imm = 0x20;
	assert_int_equal(run_op(&ret), CPU_JUMP);
	assert_int_equal(v->rip, CODE + 4);
	assert_int_equal(v->gpr[RSP], STACK_KERNEL + 0x20);
	v->gpr[RSP] = STACK_KERNEL;
	*(u64 *)STACK_KERNEL = BIT(47);
	expect_fault(run_op(&ret), EXC_GP, 0);
	assert_int_equal(v->gpr[RSP], STACK_KERNEL);
	ind.rm = RAX;
	v->gpr[RAX] = BIT(63);
	expect_fault(run_op(&ind), EXC_GP, 0);
	/* The return address is stored before the target is looked at. */
	ind.op = OP_CALL_IND;
	expect_fault(run_op(&ind), EXC_GP, 0);
	assert_int_equal(v->gpr[RSP], STACK_KERNEL);
	assert_int_equal(*(u64 *)(STACK_KERNEL - 8), v->next_rip);
	loop.imm = CODE;
	v->gpr[RCX] = 2;
	assert_int_equal(run_op(&loop), CPU_JUMP);
	assert_int_equal(run_op(&loop), CPU_NEXT);
	v->rflags |= FL_ZF;
	v->gpr[RCX] = 5;
	assert_int_equal(run_op(&loop), CPU_NEXT);
	assert_int_equal(v->gpr[RCX], 4);
}

static void test_call_gate(void **state)
{
	struct insn call = insn_of(OP_CALL_FAR, 0xff), ret = insn_of(OP_RET_FAR, 0xcb);

	(void)state;
	load_segs(3);
	use_mem(&call, RBX, 0);
	v->gpr[RBX] = DATA;
	*(u16 *)(DATA + 4) = SEL_GATE | 3;
	assert_int_equal(run_op(&call), CPU_JUMP);
	assert_int_equal(v->cpl, 0);
	assert_int_equal(v->rip, HANDLER(200));
	assert_int_equal(v->gpr[RSP], STACK_RSP0 - 32);
	assert_int_equal(*(u64 *)v->gpr[RSP], CODE + 4);
	assert_int_equal(*(u64 *)(v->gpr[RSP] + 8), SEL_UCODE | 3);
	assert_int_equal(*(u64 *)(v->gpr[RSP] + 16), STACK_USER);
	ret.rex = 0x48;
	assert_int_equal(run_op(&ret), CPU_JUMP);
	assert_int_equal(v->cpl, 3);
	assert_int_equal(v->gpr[RSP], STACK_USER);
	assert_int_equal(v->seg[SEG_SS].sel, SEL_UDATA | 3);
	/* The kernel's code segment directly. */
	*(u16 *)(DATA + 4) = SEL_KCODE | 3;
	expect_fault(run_op(&call), EXC_GP, SEL_KCODE);
	*(u16 *)(DATA + 4) = SEL_TSS;
	expect_fault(run_op(&call), EXC_GP, SEL_TSS);
	*(u16 *)(DATA + 4) = SEL_CONFORMING;
	assert_int_equal(run_op(&call), CPU_JUMP);
	assert_int_equal(v->cpl, 3);
}

static void test_decimal_adjust_matches_manual(void **state)
{
	struct insn daa = insn_of(OP_DAA, 0x27), aam = insn_of(OP_AAA, 0xd4);

	(void)state;
	expect_fault(run_op(&daa), EXC_UD, 0);
	daa.code_size = aam.code_size = 32;
	v->rflags = 2;
	v->gpr[RAX] = 0xae; /* 79h + 35h */
	assert_int_equal(run_op(&daa), CPU_NEXT);
	assert_int_equal(v->gpr[RAX] & 0xff, 0x14);
	assert_true(v->rflags & FL_CF);
	aam.len = 2;
	expect_fault(run_op(&aam), EXC_DE, 0);
	aam.bytes[1] = 10;
	v->gpr[RAX] = 79;
	assert_int_equal(run_op(&aam), CPU_NEXT);
	assert_int_equal(v->gpr[RAX], 0x709);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup(f, setup)
	const struct CMUnitTest tests[] = {
		T(test_syscall_sysret), T(test_sysenter_sysexit), T(test_load_seg), T(test_ltr_lldt),
		T(test_lar_lsl_match_host), T(test_mov_cr_checks), T(test_mode_switches),
		T(test_debug_registers), T(test_xsetbv), T(test_privilege), T(test_lgdt_sgdt),
		T(test_swapgs_fsgsbase), T(test_sti_popf), T(test_io_permission), T(test_push_pop),
		T(test_enter_leave), T(test_near_branches), T(test_call_gate),
		T(test_decimal_adjust_matches_manual),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
