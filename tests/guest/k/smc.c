/* Code that changes: in its own page, another page, through an alias, across blocks, in a
 * loop, by string instructions, by user code on user pages; remapped code pages. */
#include "lib.h"

static struct regs r;
#define CODE (KTEST + 0x500000)
typedef u64 (*fn)(void);

/* mov $imm32, %eax; ret */
static void put(u8 *at, u32 v)
{
	at[0] = 0xb8;
	__builtin_memcpy(at + 1, &v, 4);
	at[5] = 0xc3;
}

static void same_alias(void)
{
	map_new(CODE, RW);
	for (u32 i = 0; i < 2000; i++) {
		put((u8 *)CODE + (i % 3) * 64, i);
		EQ("value", ((fn)(CODE + (i % 3) * 64))(), i);
	}
}

static void other_alias(void)
{
	u64 pa = map_new(CODE, 0);

	map(CODE + 0x7000, pa, RW | NX);
	for (u32 i = 0; i < 500; i++) {
		put((u8 *)CODE + 0x7000, i);
		EQ("by alias", ((fn)CODE)(), i);
		put(virt(pa), i + 5000);
		EQ("by direct map", ((fn)CODE)(), i + 5000);
		*(volatile u8 *)(CODE + 0x7001) = (u8)i; /* one byte of an immediate */
		EQ("one byte", ((fn)CODE)() & 0xff, (u8)i);
	}
}

static void remap(void)
{
	u64 a = page_alloc(), b = page_alloc();

	put(virt(a), 1);
	put(virt(b), 2);
	for (u32 i = 0; i < 200; i++) {
		map(CODE, i & 1 ? a : b, 0);
		EQ("page", ((fn)CODE)(), i & 1 ? 1 : 2);
	}
	/* the same page at two addresses: RIP-relative code must differ */
	u8 rip[] = { 0x48, 0x8d, 0x05, 0, 0, 0, 0, 0xc3 };
	memcpy(virt(a), rip, sizeof(rip));
	map(CODE, a, 0);
	map(CODE + 0x3000, a, 0);
	for (u32 i = 0; i < 10; i++) {
		EQ("rip", ((fn)CODE)(), CODE + 7);
		EQ("rip", ((fn)(CODE + 0x3000))(), CODE + 0x3007);
	}
}

/* Code next to data that is written all the time. */
static void data_in_code_page(void)
{
	map_new(CODE, RW);
	put((u8 *)CODE, 77);
	volatile u64 *data = (u64 *)(CODE + 0x800);
	for (u32 i = 0; i < 5000; i++) {
		*data += i;
		EQ("code", ((fn)CODE)(), 77);
	}
	EQ("sum", *data, 4999UL * 5000 / 2);
}

/* The instruction changes the one behind it. On hardware the next instruction is fetched
 * anew after a branch; CPUs since P6 see it at once. */
SNIP(modify_next, "lea 1f+1(%rip),%rdi; movb $0x42,(%rdi); jmp 1f; 1: mov $0x11,%al; movzbl %al,%eax");
SNIP(modify_adjacent, "lea 1f+1(%rip),%rdi; movb $0x33,(%rdi); 1: mov $0x11,%al");
SNIP(unroll, "mov $200,%ecx; xor %eax,%eax; 1: lea 2f+3(%rip),%rdi; mov %cl,(%rdi); jmp 2f; 2: add $0x10,%rax; dec %ecx; jnz 1b");

static void self(void)
{
	u64 pa = map_new(CODE, RW);

	for (u32 i = 0; i < 5; i++) {
		memcpy(virt(pa), modify_next, 64);
		regs_init(&r);
		EQ("exit", run(&r, (void *)CODE), VEC_EXIT);
		EQ("next", r.rax, 0x42);
		memcpy(virt(pa), modify_adjacent, 64);
		regs_init(&r);
		EQ("exit", run(&r, (void *)CODE), VEC_EXIT);
		EQ("adjacent", r.rax & 0xff, 0x33);
		memcpy(virt(pa) + 0xfe0, unroll, 64); /* crosses into the next page */
		map_new(CODE + 4096, RW);
		memcpy((void *)(CODE + 0xfe0), unroll, (u64)(unroll_end - unroll));
		regs_init(&r);
		EQ("exit", run(&r, (void *)(CODE + 0xfe0)), VEC_EXIT);
		u64 sum = 0;
		for (u32 j = 1; j <= 200; j++)
			sum += (u64)(i8)j;
		EQ("unrolled", r.rax, sum);
	}
}

static void cross_blocks(void)
{
	u64 pa = map_new(CODE, RW);
	u8 *c = (u8 *)CODE;

	(void)pa;
	/* A at 0 jumps to B at 0x100, which jumps to C at 0x200; then B is moved */
	c[0] = 0xe9; *(u32 *)(c + 1) = 0x100 - 5;
	put(c + 0x200, 200);
	put(c + 0x300, 300);
	for (u32 i = 0; i < 100; i++) {
		u32 to = i & 1 ? 0x200 : 0x300;
		c[0x100] = 0xe9;
		*(u32 *)(c + 0x101) = to - 0x105;
		EQ("chain", ((fn)CODE)(), i & 1 ? 200 : 300);
		*(u32 *)(c + 1) = (i & 2 ? 0x100 : to) - 5;
		EQ("direct", ((fn)CODE)(), i & 1 ? 200 : 300);
		c[0] = 0xe8; /* call: then ret, add */
		c[5] = 0xff; c[6] = 0xc0; c[7] = 0xc3;
		EQ("call", ((fn)CODE)(), (i & 1 ? 200 : 300) + 1);
		c[0] = 0xe9;
		*(u32 *)(c + 1) = 0x100 - 5; /* the next round changes B only */
	}
	/* int3 poking as Linux does: breakpoint, tail, first byte */
	for (u32 i = 0; i < 50; i++) {
		volatile u8 *p = c + 0x200;
		p[0] = 0xcc;
		p[1] = (u8)i;
		p[0] = 0xb8;
		EQ("poked", ((fn)(CODE + 0x200))() & 0xff, (u8)i);
	}
}

static void by_strings(void)
{
	static u8 image[4096];

	map_new(CODE, RW);
	for (u32 i = 0; i < 60; i++) {
		for (u32 o = 0; o < 4096; o += 512)
			put(image + o, i * 100 + o);
		memcpy((void *)CODE, image, 4096);
		for (u32 o = 0; o < 4096; o += 512)
			EQ("copied", ((fn)(CODE + o))(), i * 100 + o);
		asm volatile("movdqu (%0), %%xmm0; movdqu %%xmm0, (%1)" : : "r"(image + 512), "r"(CODE) : "memory");
		EQ("by sse", ((fn)CODE)(), i * 100 + 512);
	}
	/* an instruction that straddles two pages; each half changes */
	map_new(CODE + 4096, RW);
	u8 *p = (u8 *)CODE + 4094;
	put(p, 0);
	for (u32 i = 0; i < 100; i++) {
		p[1] = (u8)i;
		EQ("first half", ((fn)p)() & 0xff, (u8)i);
		p[4] = (u8)(i + 1);
		EQ("second half", ((fn)p)(), (u64)(u8)i | (u64)(i + 1) << 24);
		u64 pb = page_alloc(); /* remap the second page */
		memcpy(virt(pb), (void *)(CODE + 4096), 4096);
		((u8 *)virt(pb))[1] = 0x55;
		map(CODE + 4096, pb, RW);
		EQ("second remapped", ((fn)p)() >> 16 & 0xff, 0x55);
		((u8 *)virt(pb))[1] = 0;
	}
}

/* User code generates code on a writable and executable page. */
SNIP(u_jit, "mov $300,%r12d; xor %r13d,%r13d; 1: movb $0xb8,(%rdi); mov %r12d,1(%rdi); movb $0xc3,5(%rdi);"
	    "call *%rdi; add %rax,%r13; dec %r12d; jnz 1b");
static void user(void)
{
	map_new(UDATA, US | RW);
	for (u32 i = 0; i < 3; i++) {
		regs_init(&r);
		r.rdi = UDATA + 100 * i;
		EQ("exit", RUN_USER(&r, u_jit), VEC_EXIT);
		EQ("sum", r.r13, 300 * 301 / 2);
	}
	/* kernel rewrites user code */
	u64 pa = map_new(UDATA, US);
	for (u32 i = 0; i < 100; i++) {
		u8 *p = virt(pa);
		p[0] = 0xb8;
		*(u32 *)(p + 1) = i;
		p[5] = 0xcd;
		p[6] = VEC_EXIT;
		regs_init(&r);
		EQ("exit", run_user_at(&r, UDATA), VEC_EXIT);
		EQ("value", r.rax, i);
	}
}

const struct test tests[] = {
	{ "smc.same_alias", same_alias }, { "smc.other_alias", other_alias }, { "smc.remap", remap },
	{ "smc.data_in_code_page", data_in_code_page }, { "smc.self", self },
	{ "smc.cross_blocks", cross_blocks }, { "smc.by_strings", by_strings }, { "smc.user", user },
	{ NULL, NULL },
};
