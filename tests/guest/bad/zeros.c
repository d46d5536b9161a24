/* Runs through zeroed memory to the end of RAM and beyond. */
#include "lib.h"

static void zeros(void)
{
	print("executing zeros\n");
	asm volatile("lea 1f(%%rip), %%rax; jmp *%0; 1:" : : "r"(virt(0x7000000)) : "rax");
}
const struct test tests[] = { { "zeros", zeros }, { NULL, NULL } };
