/* Jumps into pages of pseudo-random bytes with the kernel's exception handlers gone: what
 * happens is undefined but for one thing, the machine ends without harm to the host. */
#include "lib.h"

static void garbage(void)
{
	u64 x = 88172645463325252;
	u64 *p = virt(0x3000000);

	print("executing garbage\n");
	for (u32 i = 0; i < 0x100000 / 8; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		p[i] = x;
	}
	for (u32 i = 0; i < 4096; i++) /* handlers are garbage too */
		((u8 *)idt)[i] = (u8)(p[i] >> 9);
	((void (*)(void))(virt(0x3000000)))();
}
const struct test tests[] = { { "garbage", garbage }, { NULL, NULL } };
