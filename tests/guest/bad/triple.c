/* Ends in a triple fault: no IDT, then an invalid instruction. */
#include "lib.h"

static void triple(void)
{
	struct { u16 limit; u64 base; } __attribute__((packed)) d = { 0, 0 };

	print("about to triple-fault\n");
	asm volatile("lidt %0; mov $0x7777777712345678, %%rax; ud2" : : "m"(d));
}
const struct test tests[] = { { "triple", triple }, { NULL, NULL } };
