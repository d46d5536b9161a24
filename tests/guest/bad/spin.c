/* Says hello and spins with interrupts off. */
#include "lib.h"

static void spin(void)
{
	print("spinning\n");
	cli();
	for (;;)
		asm volatile("" : : : "memory");
}
const struct test tests[] = { { "spin", spin }, { NULL, NULL } };
