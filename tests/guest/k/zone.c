/* Addresses at which a monitor that runs the guest in its own address space would be tempted
 * to keep its memory: slot 237 of the low half, and slot 509 of the high half, which a
 * constant offset may map there. Nothing is mapped at them: every access faults. Then the
 * guest maps pages of its own there, which work like any others. */
#include "lib.h"

static struct regs r;
#define HIGH 0xffff880000000000 /* what a folded kernel address has over its host address */

static const u64 offsets[] = {
	0x768000000000, 0x768000400000, /* image */
	0x768100000000, 0x768100100000, /* shared state */
	0x768200000000, 0x768300000000, /* code */
	0x768240000000, 0x768240000100, 0x768240008000, /* CPU state, buffers */
	0x768400000000, 0x768400100ff8, 0x768400400000, 0x768410000000, /* stacks, maps */
	0x769000000000, 0x769000001000, 0x769001000000, /* all memory */
};
#define OTHER_HALF(a) ((a) + HIGH)

SNIP(z_ld, "mov (%rsi),%rax");
SNIP(z_st, "mov %rax,(%rsi)");
SNIP(z_rmw, "lock addq $1,(%rsi)");
SNIP(z_sse, "movups (%rsi),%xmm0");
SNIP(z_stos, "mov %rsi,%rdi; mov $2,%ecx; rep stosq");
SNIP(z_push, "lea 8(%rsi),%rsp; push %rax");
SNIP(z_pop, "mov %rsi,%rsp; pop %rax");
SNIP(z_call, "lea 8(%rsi),%rsp; call 1f; 1: nop");
SNIP(z_abs, "mov %gs:(%rsi),%rax");
static const struct access { const char *name, *code, *end; u32 write; } accesses[] = {
#define A(n, w) { #n, n, n##_end, w }
	A(z_ld, 0), A(z_st, 2), A(z_rmw, 2), A(z_sse, 0), A(z_stos, 2),
	A(z_push, 2), A(z_pop, 0), A(z_call, 2), A(z_abs, 0),
};

static void faults_at(const struct access *c, u64 at, bool user)
{
	int vec;

	regs_init(&r);
	r.rsi = at;
	r.rax = 0xbad;
	vec = user ? run_user(&r, c->code, c->end) : run(&r, c->code);
	if (vec != 14 || last_cr2 != at || r.err != (c->write | (user ? 4u : 0u)))
		fail("%s at %lx, %s: vector %d, CR2 %lx, error %lx", c->name, at, user ? "user" : "kernel", vec, last_cr2,
		     r.err);
}

static void absent(bool user)
{
	wrmsr(0xc0000101, 0);
	for (u32 round = 0; round < 3; round++)
		for (u32 i = 0; i < ARRAY_SIZE(offsets); i++)
			for (u32 c = 0; c < ARRAY_SIZE(accesses); c++) {
				faults_at(&accesses[c], offsets[i], user);
				if (!user)
					faults_at(&accesses[c], OTHER_HALF(offsets[i]), user);
			}
}

static void kernel_absent(void) { absent(false); }
static void user_absent(void) { absent(true); }

static void mapped_at(u64 at)
{
	u64 pa = map_new(at & ~0xfffUL, RW | US), *p = virt(pa + (at & 0xff8)), v;

	for (u32 user = 0; user < 2; user++) {
		if (user && at >> 63)
			continue;
		regs_init(&r);
		r.rsi = at;
		r.rax = v = 0x1122334455667700 + user;
		EQ("store", user ? RUN_USER(&r, z_st) : run(&r, z_st), VEC_EXIT);
		EQ("stored", *p, v);
		EQ("lock", user ? RUN_USER(&r, z_rmw) : run(&r, z_rmw), VEC_EXIT);
		EQ("incremented", *p, v + 1);
		EQ("load", user ? RUN_USER(&r, z_ld) : run(&r, z_ld), VEC_EXIT);
		EQ("loaded", r.rax, v + 1);
		regs_init(&r);
		r.rsi = at;
		*p = 77;
		EQ("pop", user ? RUN_USER(&r, z_pop) : run(&r, z_pop), VEC_EXIT);
		EQ("popped", r.rax, 77);
	}
	unmap(at);
	regs_init(&r);
	r.rsi = at;
	EQ("gone", run(&r, z_ld), 14);
}

static void mapped(void)
{
	for (u32 i = 0; i < ARRAY_SIZE(offsets); i++) {
		mapped_at(offsets[i]);
		mapped_at(OTHER_HALF(offsets[i]));
	}
}

const struct test tests[] = {
	{ "zone.kernel_absent", kernel_absent },
	{ "zone.user_absent", user_absent },
	{ "zone.mapped", mapped },
	{ NULL, NULL },
};
