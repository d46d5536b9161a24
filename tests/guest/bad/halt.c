/* Says hello and sleeps for ever: for tests of idling and of signals to the monitor. */
#include "lib.h"

static void halt(void)
{
	print("halting\n");
	for (;;)
		asm volatile("sti; hlt");
}
const struct test tests[] = { { "halt", halt }, { NULL, NULL } };
