/* Interrupt controllers and timers, as far as tests need them. */
#include "lib.h"

void pic_init(u8 base, u16 mask)
{
	static const u8 ports[] = { 0x20, 0xa0 };

	for (u32 i = 0; i < 2; i++) {
		outb(ports[i], 0x11);
		outb(ports[i] + 1, (u8)(base + 8 * i));
		outb(ports[i] + 1, i ? 2 : 4);
		outb(ports[i] + 1, 1);
		outb(ports[i] + 1, (u8)(mask >> (8 * i)));
	}
}

void pic_eoi(u8 irq)
{
	if (irq >= 8)
		outb(0xa0, 0x20);
	outb(0x20, 0x20);
}

void lapic_enable(void)
{
	wrmsr(0x1b, (rdmsr(0x1b) & ~0x400UL) | 0x800);
	lapic_wr(0xf0, 0x100 | VEC_SPURIOUS);
	lapic_wr(0x80, 0);
}

void pit_periodic(u16 divisor)
{
	outb(0x43, 0x34);
	outb(0x40, (u8)divisor);
	outb(0x40, (u8)(divisor >> 8));
}

static u16 pit_count(void)
{
	outb(0x43, 0);
	u8 lo = inb(0x40);

	return (u16)(lo | inb(0x40) << 8);
}

u64 tsc_per_ms(void)
{
	static u64 rate;

	if (rate)
		return rate;
	pit_periodic(0);
	/* Whatever the host runs meanwhile makes it too large: the least of some. */
	for (u32 tries = 0; tries < 5; tries++) {
		u16 last = pit_count();
		u64 t0 = rdtsc(), one;
		u32 ticks = 0;
		while (ticks < 1193182 / 250) { /* 4 ms */
			u16 now = pit_count();
			ticks += (u16)(last - now);
			last = now;
		}
		one = (rdtsc() - t0) * 1193182 / ((u64)ticks * 1000);
		if (!rate || one < rate)
			rate = one;
	}
	return rate;
}

bool wait_ms(volatile u64 *counter, u64 want, u32 ms)
{
	u64 end = rdtsc() + tsc_per_ms() * ms;

	sti();
	while (*counter < want && rdtsc() < end)
		asm volatile("pause");
	cli();
	return *counter >= want;
}
