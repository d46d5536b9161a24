/* Hardware interrupts: PIC and PIT, local APIC timer, HLT, STI's shadow, windows, TPR. */
#include "lib.h"

static struct regs r;
static volatile u64 ticks, lapic_ticks, log_len;
static volatile u8 order[64];
static volatile u64 at_rip;

static void on_pit(struct regs *f)
{
	at_rip = f->rip;
	ticks++;
	pic_eoi(0);
}

static void on_lapic(struct regs *f)
{
	at_rip = f->rip;
	lapic_ticks++;
	if (log_len < sizeof(order))
		order[log_len++] = (u8)f->vec;
	lapic_wr(0xb0, 0);
}

static void pit(void)
{
	tsc_per_ms(); /* uses the PIT */
	pic_init(0x20, 0xfffe);
	on_vector(0x20, on_pit);
	pit_periodic(11932); /* 100 Hz */
	u64 ms = 0;
	/* A busy host may hold the machine up, and ticks that come meanwhile are one. */
	for (u32 tries = 0; tries < 10 && !(ms > 150 && ms < 400); tries++) {
		ticks = 0;
		u64 t0 = rdtsc();
		CHECK(wait_ms(&ticks, 20, 5000), "only %lu ticks", ticks);
		ms = (rdtsc() - t0) / tsc_per_ms();
	}
	CHECK(ms > 150 && ms < 400, "20 ticks at 100 Hz took %lu ms", ms);
	u64 before = ticks;
	for (u64 end = rdtsc() + tsc_per_ms() * 30; rdtsc() < end;) /* cli: nothing arrives */
		;
	EQ("masked by IF", ticks, before);
	sti();
	asm volatile("nop; nop");
	cli();
	EQ("one pending", ticks, before + 1);
	outb(0x21, 0xff);
}

static void pit_modes(void)
{
	outb(0x43, 0x30); /* mode 0: one shot */
	outb(0x40, 0xff);
	outb(0x40, 0xff);
	outb(0x43, 0xe2); /* read back status of channel 0 */
	u8 st = inb(0x40);
	EQ("mode", st & 0x3f, 0x30);
	EQ("out low", st >> 7, 0);
	outb(0x43, 0x00);
	u16 a = inb(0x40);
	a |= (u16)(inb(0x40) << 8);
	for (u32 i = 0; i < 1000; i++)
		inb(0x61);
	outb(0x43, 0x00);
	u16 b = inb(0x40);
	b |= (u16)(inb(0x40) << 8);
	CHECK(b < a, "count does not fall: %x %x", a, b);
	/* channel 2 gated by port 0x61, out readable */
	outb(0x61, (inb(0x61) & ~2) | 1);
	outb(0x43, 0xb0);
	outb(0x42, 0x00);
	outb(0x42, 0x10);
	u32 n = 0;
	while (!(inb(0x61) & 0x20) && n < 50000000)
		n++;
	CHECK(inb(0x61) & 0x20, "channel 2 output never rose");
}

static void lapic_setup(u32 vec)
{
	lapic_enable();
	lapic_wr(0x3e0, 0xb); /* divide by 1 */
	on_vector((u8)vec, on_lapic);
	lapic_ticks = 0;
}

static void lapic_one_shot(void)
{
	lapic_setup(0x50);
	lapic_wr(0x320, 0x50);
	for (u32 i = 1; i <= 10; i++) {
		lapic_wr(0x380, 100000 * i);
		CHECK(wait_ms(&lapic_ticks, i, 5000), "one-shot %u never came", i);
		EQ("stops", lapic_rd(0x390), 0);
	}
	wait_ms(&lapic_ticks, 11, 20);
	EQ("exactly", lapic_ticks, 10);
	lapic_wr(0x380, 1000000000);
	u32 a = lapic_rd(0x390), b = lapic_rd(0x390);
	CHECK(b <= a && a > 900000000, "current count %x then %x", a, b);
	lapic_wr(0x380, 0);
	lapic_wr(0x320, 0x10050); /* masked */
	lapic_wr(0x380, 1000);
	wait_ms(&lapic_ticks, 11, 10);
	EQ("masked", lapic_ticks, 10);
	lapic_wr(0x380, 0);
}

static void lapic_periodic(void)
{
	lapic_setup(0x51);
	/* measure the timer's rate, then 1 ms */
	lapic_wr(0x320, 0x10051);
	lapic_wr(0x380, ~0u);
	u64 t0 = rdtsc();
	while (rdtsc() - t0 < tsc_per_ms() * 10)
		;
	u32 per_ms = (~0u - lapic_rd(0x390)) / 10;
	CHECK(per_ms > 1000, "LAPIC timer runs at %u per ms", per_ms);
	lapic_wr(0x320, 0x20051);
	lapic_wr(0x380, per_ms * 2);
	CHECK(wait_ms(&lapic_ticks, 50, 5000), "only %lu periodic ticks", lapic_ticks);
	lapic_wr(0x380, 0);
	u64 n = lapic_ticks;
	wait_ms(&lapic_ticks, n + 1, 10);
	CHECK(lapic_ticks <= n + 1, "still ticking: %lu after %lu", lapic_ticks, n);
}

static void tsc_deadline(void)
{
	if (!has(1, 2, 24)) {
		skip("no TSC deadline timer");
		return;
	}
	lapic_setup(0x52);
	lapic_wr(0x320, 0x40052);
	for (u32 i = 1; i <= 20; i++) {
		u64 want = rdtsc() + tsc_per_ms() * 3;
		wrmsr(0x6e0, want);
		CHECK(wait_ms(&lapic_ticks, i, 5000), "deadline %u never came", i);
		CHECK(rdtsc() >= want, "early");
		EQ("cleared", rdmsr(0x6e0), 0);
	}
	wrmsr(0x6e0, rdtsc() - 1000); /* in the past: at once */
	CHECK(wait_ms(&lapic_ticks, 21, 5000), "past deadline never came");
	wrmsr(0x6e0, rdtsc() + tsc_per_ms() * 5);
	wrmsr(0x6e0, 0); /* disarmed */
	wait_ms(&lapic_ticks, 22, 15);
	EQ("disarmed", lapic_ticks, 21);
	lapic_wr(0x320, 0x10052);
}

SNIP(k_hlt, "sti; hlt; kh_after: cli");
LABEL(kh_after);
static void hlt(void)
{
	lapic_setup(0x53);
	lapic_wr(0x320, 0x53);
	for (u32 i = 1; i <= 20; i++) {
		lapic_wr(0x380, i & 1 ? 2000000 : 10);
		regs_init(&r);
		EQ("exit", run(&r, k_hlt), VEC_EXIT);
		EQ("woken once", lapic_ticks, i);
		EQ("return address", at_rip, (u64)kh_after);
	}
}

/* An interrupt pending before STI comes after the following instruction. */
SNIP(k_shadow, "sti; ks_1: nop; ks_2: nop; nop; cli");
SNIP(k_shadow2, "sti; k2_1: sti; k2_2: nop; nop; cli");
SNIP(k_shadow_cli, "sti; cli; nop");
SNIP(k_popf, "push $0x202; popfq; kp_1: nop; cli");
SNIP(k_ss, "mov %ss,%eax; sti; nop; cli; mov %eax,%ss; nop");
SNIP(k_iret_if, "mov %rsp,%rbx; push $0x18; push %rbx; push $0x202; push $0x10; lea ki_1(%rip),%rax; push %rax; iretq; ki_1: nop; cli");
LABEL(ks_2); LABEL(k2_2); LABEL(kp_1); LABEL(ki_1); LABEL(ks_1); LABEL(k2_1);
static void pend(void)
{
	u64 n = lapic_ticks;

	cli();
	lapic_wr(0x380, 10);
	for (u64 end = rdtsc() + tsc_per_ms(); rdtsc() < end || lapic_rd(0x390);)
		;
	CHECK(lapic_rd(0x220) & 1u << 20, "timer not in IRR");
	EQ("not yet", lapic_ticks, n);
}

static void shadow(void)
{
	lapic_setup(0x54);
	lapic_wr(0x320, 0x54);
	for (u32 i = 0; i < 10; i++) {
		pend(); regs_init(&r); run(&r, k_shadow); EQ("sti", at_rip, (u64)ks_2);
		pend(); regs_init(&r); run(&r, k_shadow2); EQ("sti sti", at_rip, (u64)k2_2);
		u64 n = lapic_ticks;
		pend(); regs_init(&r); run(&r, k_shadow_cli); EQ("sti cli", lapic_ticks, n);
		regs_init(&r); run(&r, k_popf); EQ("popf", at_rip, (u64)kp_1);
		pend(); regs_init(&r); run(&r, k_iret_if); EQ("iret", at_rip, (u64)ki_1);
		pend(); regs_init(&r); run(&r, k_ss); EQ("taken", lapic_ticks, n + 3);
	}
}

/* One that comes at any time, while the window is opened and closed again and again: never
 * between STI and the instruction behind it, and that one is done when it comes. */
SNIP(k_window, "1: incq %rax; sti; kw_1: mov %rsp,(%rsi); kw_2: mov %rax,8(%rsi); kw_3: push %rax; kw_4: pop %rcx; kw_5: cli; "
     "movq $0,(%rsi); dec %rbx; jnz 1b; jmp 2f; "
     "k_window2: sti; kw_6: push %rax; kw_7: pop %rcx; kw_8: cli; dec %rbx; jnz k_window2; 2:");
LABEL(kw_2); LABEL(kw_3); LABEL(kw_4); LABEL(kw_5); LABEL(kw_7); LABEL(kw_8); LABEL(k_window2);
static u64 window[4];
static u64 window_ticks, window_bad;
static bool window_on;

static void on_window(struct regs *f)
{
	u64 rip = f->rip;
	bool inside = rip == (u64)kw_2 || rip == (u64)kw_3 || rip == (u64)kw_4 || rip == (u64)kw_5;

	lapic_wr(0xb0, 0);
	if (!window_on)
		return;
	window_ticks++;
	if (!(inside || rip == (u64)kw_7 || rip == (u64)kw_8))
		fail("interrupt at +%lx", rip - (u64)k_window);
	window_bad += inside && window[0] != TEST_RSP;
	window_bad += inside && (rip == (u64)kw_2) == (window[1] == f->rax);
}

static void any_time(void)
{
	lapic_enable();
	on_vector(0x54, on_window);
	lapic_wr(0x3e0, 0xb);
	lapic_wr(0x320, 0x20054);
	window_ticks = 0;
	for (u64 part = 0, end = rdtsc() + 5000 * tsc_per_ms(); window_ticks < 400 && rdtsc() < end; part++) {
		regs_init(&r);
		lapic_wr(0x380, 100003 + part * 17); /* some 100 microseconds */
		r.rsi = (u64)window;
		r.rax = 0;
		r.rbx = 200000;
		window_on = true;
		EQ("exit", run(&r, part & 1 ? k_window2 : k_window), VEC_EXIT);
		window_on = false;
		lapic_wr(0x380, 0);
		sti(); asm volatile("nop;nop"); cli(); /* the last one may still wait */
	}
	lapic_wr(0x320, 0x10054);
	EQ("half done", window_bad, 0);
	CHECK(window_ticks > 50, "only %lu interrupts", window_ticks);
}

/* Single steps while one comes at any time: #DB behind each instruction all the same. */
SNIP(k_steps, ".rept 64; mov %rax,(%rsi); .endr");
#define STEP_LEN 3
static u64 steps, step_base;

static void on_step(struct regs *f)
{
	steps++;
	if (f->rip != step_base + steps * STEP_LEN)
		fail("step %lu ends at +%lx", steps, f->rip - step_base);
	steps = (f->rip - step_base) / STEP_LEN;
	wr_dr6(0xffff0ff0);
}

static void any_time_in_steps(void)
{
	u32 parts = 0;

	lapic_setup(0x54);
	on_vector(1, on_step);
	map_new(UDATA, P | RW | US);
	lapic_wr(0x320, 0x20054);
	for (u64 end = rdtsc() + 5000 * tsc_per_ms(); (lapic_ticks < 1000 || parts < 8) && rdtsc() < end; parts++) {
		bool user = parts & 1;

		lapic_wr(0x380, 20003 + parts * 17); /* some 20 microseconds */
		for (u32 i = 0; i < 50; i++) {
			regs_init(&r);
			r.rsi = user ? UDATA : (u64)window;
			r.rflags |= 0x300;
			steps = 0;
			step_base = user ? UCODE : (u64)k_steps;
			EQ("exit", user ? RUN_USER(&r, k_steps) : run(&r, k_steps), VEC_EXIT);
			EQ("steps", steps, (k_steps_end - k_steps) / STEP_LEN);
		}
		lapic_wr(0x380, 0);
		sti(); asm volatile("nop;nop"); cli();
	}
	lapic_wr(0x320, 0x10054);
	CHECK(lapic_ticks > 50, "only %lu interrupts", lapic_ticks);
}

/* Priorities: self-IPIs at several vectors, TPR and CR8. */
static void ipi(u32 vec)
{
	lapic_wr(0x310, 0);
	lapic_wr(0x300, 0x40000 | vec); /* self */
}

static void priorities(void)
{
	lapic_enable();
	for (u32 v = 0x60; v < 0xa0; v += 0x10)
		on_vector((u8)v, on_lapic);
	log_len = 0;
	ipi(0x70); ipi(0x60); ipi(0x90); ipi(0x80);
	EQ("IRR", lapic_rd(0x200 + 0x10 * 3), 1u << 0 | 1u << 16);
	sti(); asm volatile("nop;nop;nop"); cli();
	EQ("all", log_len, 4);
	for (u32 i = 0; i < 4; i++)
		EQ("order", order[i], 0x90 - 0x10 * i);
	wr_cr8(7);
	EQ("TPR", lapic_rd(0x80), 0x70);
	log_len = 0;
	ipi(0x70); ipi(0x80);
	sti(); asm volatile("nop;nop;nop"); cli();
	EQ("above TPR only", log_len, 1);
	EQ("which", order[0], 0x80);
	sti(); wr_cr8(0); asm volatile("nop;nop"); cli();
	EQ("after CR8=0", log_len, 2);
	lapic_wr(0x80, 0x90);
	EQ("CR8", rd_cr8(), 9);
	lapic_wr(0x80, 0);
	EQ("bad CR8 kept", rd_cr8(), 0);
}

/* In service: a lower one waits for EOI. */
static volatile u64 in_high, low_ran, low_in_high;
static void on_low(struct regs *f)
{
	(void)f;
	low_ran++;
	if (in_high)
		low_in_high++;
	lapic_wr(0xb0, 0);
}
static void on_high(struct regs *f)
{
	(void)f;
	in_high = 1;
	ipi(0x61);
	EQ("ISR", lapic_rd(0x100 + 0x10 * 4), 1u << 17);
	sti();
	asm volatile("nop;nop;nop");
	cli();
	in_high = 0;
	lapic_wr(0xb0, 0);
}
static void in_service(void)
{
	on_vector(0x61, on_low);
	on_vector(0x91, on_high);
	low_ran = low_in_high = 0;
	for (u32 i = 0; i < 20; i++) {
		ipi(0x91);
		sti(); asm volatile("nop;nop;nop"); cli();
	}
	EQ("ran", low_ran, 20);
	EQ("never nested", low_in_high, 0);
}

/* Registers and flags of interrupted code survive: checksum while the timer ticks. */
SNIP(k_work, "1: mov %rcx,%rax; imul %rbx,%rax; add %rdx,%rax; adc $0,%rsi; rol $7,%rdx; xor %rax,%rdx; pushfq; pop %r8; and $0x8c1,%r8d; add %r8,%rdi; push %rdx; pop %r9; lea (%r9,%rdi,2),%rbp; dec %rcx; jnz 1b");
static void survive(void)
{
	struct regs a, b;

	lapic_setup(0x55);
	lapic_wr(0x320, 0x20055);
	lapic_wr(0x380, 0);
	regs_init(&a);
	a.rcx = 2000000;
	run(&a, k_work);
	lapic_wr(0x380, 100000);
	regs_init(&b);
	b.rcx = 2000000;
	b.rflags |= 0x200;
	run(&b, k_work);
	regs_init(&r);
	r.rcx = 2000000;
	r.rflags |= 0x200;
	RUN_USER(&r, k_work);
	lapic_wr(0x380, 0);
	CHECK(lapic_ticks > 5, "only %lu ticks", lapic_ticks);
	EQ("rdx", b.rdx, a.rdx); EQ("rsi", b.rsi, a.rsi); EQ("rdi", b.rdi, a.rdi); EQ("rbp", b.rbp, a.rbp);
	EQ("user rdx", r.rdx, a.rdx); EQ("user rdi", r.rdi, a.rdi); EQ("user rsp", r.rsp, USTACK_TOP - 0x1000);
}

static void ioapic_route(void)
{
	volatile u32 *io = mmio(IOAPIC);

	lapic_enable();
	on_vector(0x58, on_lapic);
	lapic_ticks = 0;
	outb(0x21, 0xff);
	/* the PIT is on pin 2 (override) or pin 0 */
	for (u32 pin = 0; pin < 3; pin += 2) {
		io[0] = 0x11 + 2 * pin; io[4] = 0;
		io[0] = 0x10 + 2 * pin; io[4] = 0x58;
	}
	pit_periodic(11932);
	CHECK(wait_ms(&lapic_ticks, 5, 5000), "no PIT ticks through the IO-APIC: %lu", lapic_ticks);
	for (u32 pin = 0; pin < 3; pin += 2) {
		io[0] = 0x10 + 2 * pin; io[4] = 0x10058;
	}
	u64 n = lapic_ticks;
	wait_ms(&lapic_ticks, n + 2, 40);
	CHECK(lapic_ticks <= n + 1, "masked pin still delivers");
}

const struct test tests[] = {
	{ "interrupts.pit", pit }, { "interrupts.pit_modes", pit_modes },
	{ "interrupts.lapic_one_shot", lapic_one_shot }, { "interrupts.lapic_periodic", lapic_periodic },
	{ "interrupts.tsc_deadline", tsc_deadline }, { "interrupts.hlt", hlt },
	{ "interrupts.shadow", shadow }, { "interrupts.any_time", any_time },
	{ "interrupts.any_time_in_steps", any_time_in_steps }, { "interrupts.priorities", priorities },
	{ "interrupts.in_service", in_service }, { "interrupts.survive", survive },
	{ "interrupts.ioapic", ioapic_route }, { NULL, NULL },
};
