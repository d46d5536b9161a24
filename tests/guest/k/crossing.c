/* System calls without a pause, with a timer that interrupts them everywhere: in SYSCALL and
 * SYSRET, between SWAPGS and the change of stacks, in the shadow of STI, between STAC and CLAC, in
 * accesses of the kernel to user memory. Every register and flag must come through. */
#include "lib.h"

static struct regs r;
static u64 kdata[4], kstack[512];
static volatile u64 ticks;
u64 cross_bad;
LABEL(cross_entry);
LABEL(cross_stac);
LABEL(cross_clac);

/* GS: [1] the user's RSP, [2] a kernel stack. RSI: a user counter. */
asm(".text\ncross_entry:\n"
    "swapgs; mov %rsp,%gs:8; mov %gs:16,%rsp; push %rcx; push %r11; push %rax; push %rdx\n"
    "sti; nop\n"
    "cross_stac: nopl (%rax); mov (%rsi),%rax; lea 1(%rax),%rax; mov %rax,(%rsi); movzbl 1(%rsi),%edx; nop\n"
    "cross_clac: nopl (%rax)\n"
    "cmp %dl,%ah; je 1f; incq cross_bad(%rip)\n"
    "1: pushfq; pop %rax; test $0x200,%eax; jnz 1f; incq cross_bad(%rip)\n"
    "1: test $0x40000,%eax; jz 1f; incq cross_bad(%rip)\n"
    "1: cli; pushfq; pop %rdx; test $0x200,%edx; jz 1f; incq cross_bad(%rip)\n"
    "1: xor %edx,%eax; and $0xfffffffffffff72a,%rax; cmp $0x200,%rax; je 1f; incq cross_bad(%rip)\n"
    "1: push $0x2d7; popfq; pushfq; pop %rax; cmp $0x2d7,%rax; je 1f; incq cross_bad(%rip)\n"
    "1: push $0xa02; popfq; jno 2f; jnc 1f; 2: incq cross_bad(%rip)\n"
    "1: cli; pop %rdx; pop %rax; pop %r11; pop %rcx; mov %gs:8,%rsp; swapgs; sysretq\n");

SNIP(u_cross,
     "mov $0x1111,%r8; mov $0x2222,%r9; mov $0x3333,%r10; mov $0x4444,%r12; mov $0x5555,%r13\n"
     "mov $0x6666,%r14; mov $0x7777,%r15; mov $0x8888,%edi; mov $0x9999,%edx; mov %rsp,%rbp; xor %r13d,%r13d\n"
     "1: mov %ebx,%eax; stc; syscall\n"
     "jnc 9f; cmp %ebx,%eax; jne 9f; cmp %rsp,%rbp; jne 9f; cmp $0x9999,%edx; jne 9f; cmp $0x8888,%edi; jne 9f\n"
     "cmp $0x1111,%r8; jne 9f; cmp $0x2222,%r9; jne 9f; cmp $0x3333,%r10; jne 9f; cmp $0x4444,%r12; jne 9f\n"
     "cmp $0x6666,%r14; jne 9f; cmp $0x7777,%r15; jne 9f\n"
     "mov $0x7fffffff,%eax; add $1,%eax; syscall; jno 9f; jc 9f; js 2f; 9: inc %r13\n"
     "2: cmpl $7,%fs:16; jne 9b; cmpl $9,%gs:24; jne 9b; dec %ebx; jnz 1b");

static void on_tick(struct regs *f)
{
	(void)f;
	ticks++;
	lapic_wr(0xb0, 0);
}

static void timer(u32 vec, u32 count)
{
	lapic_enable();
	lapic_wr(0x3e0, 0xb); /* divide by 1 */
	on_vector((u8)vec, on_tick);
	lapic_wr(0x320, (count ? 0x20000 : 0x10000) | vec);
	lapic_wr(0x380, count);
}

static u32 timer_per_ms(void)
{
	timer(0x53, 0);
	lapic_wr(0x380, ~0u);
	for (u64 t0 = rdtsc(); rdtsc() - t0 < tsc_per_ms() * 10;)
		;
	return (~0u - lapic_rd(0x390)) / 10;
}

static void calls(void)
{
	u64 *u = virt(map_new(UDATA, US | RW)), n = knob("calls", 60000);
	u32 per_ms = timer_per_ms();

	if (has(7, 1, 20)) {
		memcpy(cross_stac, "\x0f\x01\xcb", 3);
		memcpy(cross_clac, "\x0f\x01\xca", 3);
		wr_cr4(rd_cr4() | 1 << 21);
	}
	wrmsr(0xc0000080, rdmsr(0xc0000080) | 1);
	wrmsr(0xc0000081, (u64)SEL_KCS << 32 | (u64)(SEL_UCS32 & ~3) << 48);
	wrmsr(0xc0000082, (u64)cross_entry);
	wrmsr(0xc0000084, 0x47fd5);
	wrmsr(0xc0000100, UDATA);
	wrmsr(0xc0000101, UDATA);
	wrmsr(0xc0000102, (u64)kdata);
	kdata[2] = (u64)(kstack + ARRAY_SIZE(kstack));
	u[2] = 7;
	u[3] = 9;
	for (u32 part = 0; part < 4 || (ticks <= 20 && part < 400); part++) {
		/* About 150 microseconds, and never in step with the loop. */
		timer(0x53, per_ms / 7 + part * 13);
		regs_init(&r);
		r.rflags = 0x202;
		r.rbx = n / 4;
		r.rsi = UDATA + 8;
		r.rsp = USTACK_TOP - 0x100;
		u[1] = 0;
		EQ("exit", RUN_USER(&r, u_cross), VEC_EXIT);
		timer(0x53, 0);
		EQ("registers and flags", r.r13, 0);
		EQ("kernel's flags", cross_bad, 0);
		EQ("calls", u[1], n / 4 * 2);
		EQ("GS", rdmsr(0xc0000101), UDATA);
		EQ("kernel GS", rdmsr(0xc0000102), (u64)kdata);
	}
	CHECK(ticks > 20, "only %lu interrupts", ticks);
	wrmsr(0xc0000101, 0);
	wr_cr4(rd_cr4() & ~(1UL << 21));
}

/* GS between SYSCALL and SWAPGS, between SWAPGS and SYSRET, and behind both, in all orders. Each
 * entry leaves in RAX what it has read by GS. */
LABEL(gs_first);
LABEL(gs_jumps);
LABEL(gs_twice);
LABEL(gs_both);
LABEL(gs_flags);
LABEL(gs_taken);
asm(".text\n"
    "gs_first: mov %gs:0,%rax; swapgs; swapgs; sysretq\n"
    "gs_jumps: nop; jmp 1f; ud2; 1: xor %edx,%edx; swapgs; jmp 2f; ud2; 2: mov %gs:0,%rax; swapgs; jmp 3f; ud2; 3: sysretq\n"
    "gs_twice: swapgs; swapgs; nop; mov %gs:(%rdx),%rax; sysretq\n"
    "gs_both: swapgs; mov %gs:0,%rax; swapgs; add %gs:0,%rax; sysretq\n"
    "gs_flags: swapgs; mov %gs:0,%rax; swapgs; or $0x200000,%r11; sysretq\n"
    "gs_taken: swapgs; test %ebx,%ebx; jnz 1f; mov %gs:8,%rax; 1: mov %gs:0,%rax; swapgs; cmp $3,%ebx; jb 2f; sysretq; 2: nop; sysretq\n");

SNIP(u_gs, "1: xor %edx,%edx; syscall; cmp %r12,%rax; jne 9f; cmpl $7,%fs:16; jne 9f\n"
	   "xor %edx,%edx; mov $0x3ffff,%eax; dec %ebx; jnz 1b; jmp 8f; 9: inc %r13; 8: nop");

static void gs_order(void)
{
	static u64 kernel_gs[2] = { 0x1111, 0xbad }, user_gs[1] = { 0x2222 };
	static const struct { const char *name; char *entry; u64 want; } try[] = {
		{ "used first", gs_first, 0x2222 }, { "jumps", gs_jumps, 0x1111 }, { "swapped twice", gs_twice, 0x2222 },
		{ "both", gs_both, 0x3333 }, { "unusual flags", gs_flags, 0x1111 }, { "branches", gs_taken, 0x1111 },
	};
	u64 *u = virt(map_new(UDATA, US | RW));

	wrmsr(0xc0000080, rdmsr(0xc0000080) | 1);
	wrmsr(0xc0000081, (u64)SEL_KCS << 32 | (u64)(SEL_UCS32 & ~3) << 48);
	wrmsr(0xc0000084, 0x47fd5);
	wrmsr(0xc0000100, UDATA);
	wrmsr(0xc0000101, (u64)user_gs);
	wrmsr(0xc0000102, (u64)kernel_gs);
	u[2] = 7;
	for (u32 i = 0; i < 3 * ARRAY_SIZE(try); i++) {
		u32 k = i % ARRAY_SIZE(try);
		wrmsr(0xc0000082, (u64)try[k].entry);
		regs_init(&r);
		r.rflags = 0x202;
		r.rbx = 200;
		r.r12 = try[k].want;
		r.r13 = 0;
		EQ("exit", RUN_USER(&r, u_gs), VEC_EXIT);
		CHECK(!r.r13 && !r.rbx, "%s: %lx, %lu to go", try[k].name, r.rax, r.rbx);
		EQ("GS", rdmsr(0xc0000101), (u64)user_gs);
		EQ("kernel GS", rdmsr(0xc0000102), (u64)kernel_gs);
	}
	wrmsr(0xc0000101, 0);
}

/* What SYSRET loads into RFLAGS, by way of R11; single steps begin at once. */
SNIP(k_sysret, "mov %rsp,%rbp; mov %rbx,%rsp; sysretq");
SNIP(u_flags, "pushfq; pop %rax");
static void sysret_flags(void)
{
	static const u64 try[] = { 0x202, 0x246, 0x2d7, 0xa02, 0x602, 0x4202, 0x40202, 0x200202, 0x3202, 0x40e97 };

	map_new(UCODE, US | RW);
	map_new(USTACK_TOP - 4096, US | RW);
	memcpy((void *)UCODE, u_flags, (u64)(u_flags_end - u_flags));
	for (u32 round = 0; round < 3; round++)
		for (u32 i = 0; i < ARRAY_SIZE(try); i++) {
			regs_init(&r);
			r.rcx = UCODE;
			r.r11 = try[i];
			r.rbx = USTACK_TOP - 0x200;
			EQ("exit", run(&r, k_sysret), VEC_EXIT);
			EQ("flags", r.rax, try[i]);
			EQ("rcx", r.rcx, UCODE);
			EQ("cs", r.cs, SEL_UCS);
		}
}

const struct test tests[] = {
	{ "crossing.calls", calls },
	{ "crossing.gs_order", gs_order },
	{ "crossing.sysret_flags", sysret_flags },
	{ NULL, NULL },
};
