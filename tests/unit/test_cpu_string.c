/* String instructions: against the real CPU on random inputs, then faults, devices,
 * traces and interruption. */
#include "cpu_fake.h"

#define AREA (MEM_BASE + 16 * PAGE_SIZE) /* four pages of play */
#define AREA_SIZE (4 * PAGE_SIZE)
#define SEED 20240229u

static u32 rng_state = SEED;
static u32 rng(u32 n)
{
	rng_state = rng_state * 1664525 + 1013904223;
	return (rng_state >> 8) % n;
}

struct regs { u64 rax, rcx, rsi, rdi, flags; };

#define NATIVE(text) \
	__asm__ volatile("leaq -256(%%rsp), %%rsp\n\tpushq %5\n\tpopfq\n\t" text \
			 "\n\tpushfq\n\tpopq %0\n\tcld\n\tleaq 256(%%rsp), %%rsp" \
			 : "=&r"(r->flags), "+a"(r->rax), "+c"(r->rcx), "+S"(r->rsi), "+D"(r->rdi) \
			 : "r"(r->flags) : "memory", "cc")
#define SIZES(p, op) \
	switch (size) { \
	case 1: NATIVE(p op "b"); break; \
	case 2: NATIVE(p op "w"); break; \
	case 4: NATIVE(p op "l"); break; \
	default: NATIVE(p op "q"); break; \
	}
#define ADDRS(p, op) \
	do { \
		if (asize == 4) { \
			SIZES("addr32 " p, op) \
		} else { \
			SIZES(p, op) \
		} \
	} while (0)
#define REPS(op) \
	do { \
		if (rep == 0xf3) \
			ADDRS("repe ", op); \
		else if (rep == 0xf2) \
			ADDRS("repne ", op); \
		else \
			ADDRS("", op); \
	} while (0)

/* The real CPU. NATIVE steps over the red zone before it pushes. */
__attribute__((noinline)) static void native(u8 opcode, unsigned size, unsigned asize, u8 rep, struct regs *r)
{
	switch (opcode & ~1) {
	case 0xa4: REPS("movs"); break;
	case 0xa6: REPS("cmps"); break;
	case 0xaa: REPS("stos"); break;
	case 0xac: REPS("lods"); break;
	case 0xae: REPS("scas"); break;
	}
}

static const struct { u8 op, opcode; } kinds[] = {
	{ OP_MOVS, 0xa4 }, { OP_CMPS, 0xa6 }, { OP_STOS, 0xaa }, { OP_LODS, 0xac }, { OP_SCAS, 0xae },
};

static u64 random_pointer(unsigned room, bool back)
{
	u64 off = rng(AREA_SIZE - room);

	/* Often near a page boundary, where chunks end. */
	if (rng(3) == 0)
		off = (1 + rng(3)) * PAGE_SIZE - 8 + rng(16);
	if (back && off < room)
		off += room;
	else if (!back && off + room > AREA_SIZE)
		off = AREA_SIZE - room;
	return AREA + off;
}

static void one_random_case(void)
{
	static u8 before[AREA_SIZE], after[AREA_SIZE];
	unsigned kind = rng(ARRAY_LEN(kinds)), size = 1 << rng(4), asize = rng(2) ? 8 : 4;
	u8 rep = rng(4) == 0 ? 0 : rng(2) ? 0xf3 : 0xf2;
	unsigned count = rng(4) == 0 ? rng(1000) : rng(20), room = (count + 2) * size;
	bool back = rng(2);
	struct insn in = insn_of(kinds[kind].op, kinds[kind].opcode | (size > 1));
	struct regs r;

	for (unsigned i = 0; i < AREA_SIZE; i++)
		before[i] = rng(64) ? 0x55 : rng(256);
	in.opsize = size;
	in.addrsize = asize;
	in.rep = rep;
	r.rax = rng(2) ? 0x5555555555555555 : (u64)rng(0x1000000) << 32 | rng(0x1000000);
	r.rcx = count;
	r.rsi = random_pointer(room, back);
	r.rdi = rng(4) ? random_pointer(room, back) : r.rsi + rng(33) - 16;
	if (r.rdi < AREA + room || r.rdi + room > AREA + AREA_SIZE)
		r.rdi = random_pointer(room, back);
	if (asize == 4) {
		r.rcx |= (u64)rng(1000) << 32;
		r.rsi |= (u64)rng(1000) << 32;
		r.rdi |= (u64)rng(1000) << 32;
	}
	r.flags = 2 | (back ? FL_DF : 0) | (rng(2) ? FL_ARITH : 0);

	memcpy((void *)AREA, before, AREA_SIZE);
	v->gpr[RAX] = r.rax, v->gpr[RCX] = r.rcx, v->gpr[RSI] = r.rsi, v->gpr[RDI] = r.rdi;
	v->rflags = r.flags;
	v->event_pending = rng(2);
	int ret;
	while ((ret = run_op(&in)) == CPU_AGAIN)
		;
	assert_int_equal(ret, CPU_NEXT);
	memcpy(after, (void *)AREA, AREA_SIZE);

	memcpy((void *)AREA, before, AREA_SIZE);
	native(in.opcode, size, asize, rep, &r);
	assert_memory_equal(after, (void *)AREA, AREA_SIZE);
	assert_int_equal(v->gpr[RAX], r.rax);
	assert_int_equal(v->gpr[RCX], r.rcx);
	assert_int_equal(v->gpr[RSI], r.rsi);
	assert_int_equal(v->gpr[RDI], r.rdi);
	assert_int_equal(v->rflags & (FL_ARITH | FL_DF), r.flags & (FL_ARITH | FL_DF));
}

static void test_matches_real_cpu(void **state)
{
	(void)state;
	for (int i = 0; i < 20000; i++)
		one_random_case();
}

static struct insn rep_insn(enum op op, u8 opcode, unsigned size)
{
	struct insn in = insn_of(op, opcode);

	in.opsize = size;
	in.rep = 0xf3;
	return in;
}

static void test_fault_is_precise(void **state)
{
	struct insn in = rep_insn(OP_STOS, 0xab, 8);

	(void)state;
	page_kind[page_of(AREA) + 1] = PAGE_READ_ONLY;
	v->gpr[RDI] = AREA + PAGE_SIZE - 24 - 4; /* the fourth element crosses */
	v->gpr[RCX] = 100;
	v->gpr[RAX] = 0x1122334455667788;
	expect_fault(run_op(&in), EXC_PF, PF_W | PF_P);
	assert_int_equal(v->exc.cr2, AREA + PAGE_SIZE);
	assert_int_equal(v->gpr[RCX], 97);
	assert_int_equal(v->gpr[RDI], AREA + PAGE_SIZE - 4);
	assert_int_equal(*(u64 *)(AREA + PAGE_SIZE - 12), 0x1122334455667788);
	assert_int_equal(*(u32 *)(AREA + PAGE_SIZE - 4), 0);
}

static void test_backward_fault_address(void **state)
{
	struct insn in = rep_insn(OP_MOVS, 0xa5, 4);

	(void)state;
	page_kind[page_of(AREA) + 1] = PAGE_ABSENT;
	v->rflags |= FL_DF;
	v->gpr[RSI] = AREA + 2 * PAGE_SIZE + 4;
	v->gpr[RDI] = AREA + 3 * PAGE_SIZE + 0x100;
	v->gpr[RCX] = 50;
	expect_fault(run_op(&in), EXC_PF, 0);
	assert_int_equal(v->exc.cr2, AREA + 2 * PAGE_SIZE - 4);
	assert_int_equal(v->gpr[RCX], 48);
}

/* CMPS reads ES:RDI first, also where the element crosses a page. */
static void test_compare_fault_order(void **state)
{
	struct insn in = rep_insn(OP_CMPS, 0xa7, 4);

	(void)state;
	page_kind[page_of(AREA) + 1] = PAGE_ABSENT;
	v->gpr[RCX] = 5;
	v->gpr[RSI] = AREA + PAGE_SIZE + 0x10;
	v->gpr[RDI] = AREA + PAGE_SIZE + 0x20;
	expect_fault(run_op(&in), EXC_PF, 0);
	assert_int_equal(v->exc.cr2, AREA + PAGE_SIZE + 0x20);
	v->gpr[RDI] = AREA + PAGE_SIZE - 1;
	expect_fault(run_op(&in), EXC_PF, 0);
	assert_int_equal(v->exc.cr2, AREA + PAGE_SIZE);
}

/* The flags of a comparison are set at its end, not by the elements before a fault. */
static void test_compare_fault_keeps_flags(void **state)
{
	struct insn in = rep_insn(OP_SCAS, 0xae, 1);

	(void)state;
	page_kind[page_of(AREA) + 1] = PAGE_ABSENT;
	memset((void *)AREA, 0x55, PAGE_SIZE);
	v->gpr[RAX] = 0x55;
	v->gpr[RCX] = 10;
	v->gpr[RDI] = AREA + PAGE_SIZE - 4;
	v->rflags = (v->rflags & ~(u64)FL_ARITH) | FL_CF | FL_SF;
	expect_fault(run_op(&in), EXC_PF, 0);
	assert_int_equal(v->gpr[RCX], 6);
	assert_int_equal(v->rflags & FL_ARITH, FL_CF | FL_SF);
}

/* Upper halves go before the first element of a repeated move with 32-bit addresses. */
static void test_fault_with_short_addresses(void **state)
{
	struct insn in = rep_insn(OP_STOS, 0xaa, 1);
	bool intel = cpu_model.vendor == VENDOR_INTEL;

	(void)state;
	in.addrsize = 4;
	page_kind[page_of(AREA)] = PAGE_ABSENT;
	v->gpr[RCX] = 7UL << 32 | 3;
	v->gpr[RDI] = 9UL << 32 | AREA;
	expect_fault(run_op(&in), EXC_PF, PF_W);
	assert_int_equal(v->gpr[RCX], intel ? 3 : 7UL << 32 | 3);
	assert_int_equal(v->gpr[RDI], intel ? AREA : 9UL << 32 | AREA);
}

static void test_interrupted(void **state)
{
	struct insn in = rep_insn(OP_MOVS, 0xa4, 1);

	(void)state;
	v->event_pending = 1;
	v->gpr[RSI] = AREA;
	v->gpr[RDI] = AREA + 2 * PAGE_SIZE;
	v->gpr[RCX] = 2 * PAGE_SIZE;
	assert_int_equal(run_op(&in), CPU_AGAIN);
	assert_int_equal(v->gpr[RCX], PAGE_SIZE);
	assert_int_equal(run_op(&in), CPU_NEXT);
	assert_int_equal(v->gpr[RCX], 0);
}

/* RFLAGS.TF: an element at a time; a comparison's flags are those of its end. */
static void test_single_steps(void **state)
{
	struct insn in = rep_insn(OP_CMPS, 0xa6, 1);
	u64 flags;

	(void)state;
	in.rep = 0xf3;
	v->rflags = flags = 2 | FL_TF | FL_CF;
	v->gpr[RSI] = AREA;
	v->gpr[RDI] = AREA + PAGE_SIZE;
	v->gpr[RCX] = 2;
	memset((void *)AREA, 7, 2);
	memset((void *)(AREA + PAGE_SIZE), 7, 2);
	v->insn_done = 0;
	assert_int_equal(run_op(&in), CPU_AGAIN);
	assert_int_equal(v->gpr[RCX], 1);
	assert_int_equal(v->gpr[RDI], AREA + PAGE_SIZE + 1);
	assert_int_equal(v->insn_done, 1);
	assert_int_equal(v->rflags, flags);
	assert_int_equal(run_op(&in), CPU_NEXT);
	assert_int_equal(v->gpr[RCX], 0);
	assert_int_equal(v->rflags & FL_ARITH, FL_ZF | FL_PF);
}

static void test_traced_pages(void **state)
{
	struct insn in = rep_insn(OP_STOS, 0xab, 8);

	(void)state;
	page_kind[page_of(AREA)] = PAGE_TRACED;
	v->gpr[RDI] = AREA;
	v->gpr[RCX] = 512;
	assert_int_equal(run_op(&in), CPU_NEXT);
	assert_int_equal(traced_bulks, 1);
	v->gpr[RDI] = AREA;
	v->gpr[RCX] = 8;
	assert_int_equal(run_op(&in), CPU_NEXT);
	assert_int_equal(traced_brackets, 1);
	assert_int_equal(traced_bulks, 1);
}

static void test_mmio(void **state)
{
	struct insn in = rep_insn(OP_MOVS, 0xa5, 4);

	(void)state;
	page_kind[page_of(AREA)] = PAGE_MMIO;
	bus_read_value = 0x100;
	v->gpr[RSI] = AREA + 8;
	v->gpr[RDI] = DATA;
	v->gpr[RCX] = 3;
	assert_int_equal(run_op(&in), CPU_NEXT);
	assert_int_equal(bus_count, 3);
	assert_int_equal(bus_log[2].addr, AREA + 16);
	assert_int_equal(((u32 *)DATA)[2], 0x102);
}

static void test_ins_outs(void **state)
{
	struct insn in = rep_insn(OP_INS, 0x6d, 4), out = rep_insn(OP_OUTS, 0x6e, 4);

	(void)state;
	v->gpr[RDX] = 0x1f0;
	v->gpr[RDI] = AREA + PAGE_SIZE - 4;
	v->gpr[RCX] = 3;
	page_kind[page_of(AREA) + 1] = PAGE_ABSENT;
	expect_fault(run_op(&in), EXC_PF, PF_W);
	assert_int_equal(bus_count, 1); /* nothing lost of the port's data */
	v->gpr[RSI] = AREA;
	v->gpr[RCX] = 2;
	*(u8 *)(AREA + 1) = 0x41;
	assert_int_equal(run_op(&out), CPU_NEXT);
	assert_int_equal(bus_count, 3);
	assert_int_equal(bus_log[2].val, 0x41);
	assert_int_equal(bus_log[2].size, 1);
	load_segs(3);
	v->gpr[RCX] = 1;
	expect_fault(run_op(&out), EXC_GP, 0);
}

static void test_fs_source_and_16bit_wrap(void **state)
{
	struct insn in = rep_insn(OP_MOVS, 0xa4, 1);

	(void)state;
	in.seg = SEG_FS;
	in.seg_override = 1;
	v->seg[SEG_FS].base = AREA;
	*(u8 *)(AREA + 5) = 0x77;
	v->gpr[RSI] = 5;
	v->gpr[RDI] = DATA;
	v->gpr[RCX] = 1;
	assert_int_equal(run_op(&in), CPU_NEXT);
	assert_int_equal(*(u8 *)DATA, 0x77);

	/* 16-bit addresses in a 16-bit segment wrap from 0xffff to 0. */
	v->efer = 0;
	v->seg[SEG_CS] = (struct seg){ 0, 0x009b, 0xffff, 0 };
	v->seg[SEG_ES] = (struct seg){ 0, 0x0093, 0xffff, MEM_BASE };
	in = rep_insn(OP_STOS, 0xaa, 1);
	in.addrsize = 2;
	in.code_size = 16;
	v->gpr[RAX] = 0x99;
	v->gpr[RDI] = 0xabcdfffe;
	v->gpr[RCX] = 4;
	assert_int_equal(run_op(&in), CPU_NEXT);
	assert_int_equal(v->gpr[RDI], 0xabcd0002);
	assert_int_equal(*(u8 *)(MEM_BASE + 0xffff), 0x99);
	assert_int_equal(*(u8 *)(MEM_BASE + 1), 0x99);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup(f, setup)
	const struct CMUnitTest tests[] = {
		T(test_matches_real_cpu), T(test_fault_is_precise), T(test_backward_fault_address),
		T(test_compare_fault_order), T(test_compare_fault_keeps_flags), T(test_fault_with_short_addresses),
		T(test_interrupted), T(test_single_steps), T(test_traced_pages), T(test_mmio), T(test_ins_outs),
		T(test_fs_source_and_16bit_wrap),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
