/* Addresses at which a monitor that runs the guest in its own address space would be tempted
 * to keep its memory: slot 237 of the low half, and slot 509 of the high half, which a
 * constant offset may map there. Nothing is mapped at them: every access faults. Then the
 * guest maps pages of its own there, which work like any others. keys=0: without protection
 * keys slot 509 is not kept from kernel code. */
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
static bool other_half_is_kept(void) { return knob("keys", 1); }

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
				if (!user && other_half_is_kept())
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
		if (other_half_is_kept())
			mapped_at(OTHER_HALF(offsets[i]));
	}
}

/* User code jumps there: nothing is mapped for it, so it faults, sooner or later; whatever it
 * comes across does not make it more than user code. The registers are such as would please
 * code that loads rights or state from them. */
SNIP(z_jump, "lock subl $1,(%rbp); js 1f; jmp *%rsi; 1:");
#define UAREA (UDATA + 0x10000) /* a user page that looks like saved state, all ones and zeros */
#define CANARY 0x5ca1ab1e0ddba11UL
static volatile u64 canary = CANARY;
/* It may run in circles there: the clock ends that. */
static bool clock_is_on;

static void on_tick(struct regs *f)
{
	lapic_wr(0xb0, 0);
	if ((f->cs & 3) == 3 && clock_is_on) {
		f->rip = UCODE + (u64)(z_jump_end - z_jump) - 2;
		f->rsp = USTACK_TOP - 0x1000;
	}
}

static void clock_on(bool on)
{
	clock_is_on = on;
	lapic_enable();
	lapic_wr(0x3e0, 0xb);
	on_vector(0x53, on_tick);
	lapic_wr(0x320, (on ? 0x20000 : 0x10000) | 0x53);
	lapic_wr(0x380, on ? 2000000 : 0);
}

static u32 jump_to(u64 at, u32 kind, u32 *count)
{
	regs_init(&r);
	*count = 3; /* it may come back */
	r.rsi = at;
	r.rbp = UAREA + 0xff0;
	r.rax = kind ? ~0UL : 0;
	r.rdx = kind ? ~0UL : 0;
	r.rcx = 0;
	r.rdi = r.rbx = r.r8 = UAREA;
	if (kind == 2)
		r.rsp = 0x768400400000 + 0x1000;
	return (u32)run_user_at(&r, UCODE); /* where run_user has put it */
}

static void jumps_in(u64 from, u64 to, u64 step, u32 *count)
{
	for (u64 at = from; at < to; at += step)
		for (u32 kind = 0; kind < 3; kind++) {
			u32 vec = jump_to(at, kind, count);

			if (vec == 14 && last_cr2 == at && (r.err & ~0x10UL) == 4)
				continue;
			if ((r.cs & 3) != 3 && vec != VEC_EXIT)
				fail("at %lx kind %u: CPL %lu after vector %u", at, kind, r.cs & 3, vec);
		}
}

static void jump_first(void)
{
	regs_init(&r);
	r.rbp = UAREA + 0xff0; /* 0: it does not jump */
	EQ("no jump", RUN_USER(&r, z_jump), VEC_EXIT);
}

static void jumps(void)
{
	u64 pa = map_new(UAREA, RW | US), step = knob("stride", 1);
	u32 *count = (u32 *)((char *)virt(pa) + 0xff0);

	memset(virt(pa), 0, 4096);
	memset(virt(pa), 0xff, 512);
	((u64 *)virt(pa))[64] = 0x200; /* of XSAVE: PKRU is there, and allows all */
	jump_first();
	clock_on(true);
	jumps_in(0x768200000000, 0x768200000c00, 1, count);
	jumps_in(0x768000001000, 0x768000030000, 7 * step, count);
	jumps_in(0x768000030000, 0x7680001a0000, 1021 * step, count);
	clock_on(false);
	EQ("canary", canary, CANARY);
	regs_init(&r);
	r.rsi = (u64)&canary;
	EQ("still user code", RUN_USER(&r, z_st), 14);
	unmap(UAREA);
}

const struct test tests[] = {
	{ "zone.jumps", jumps },
	{ "zone.kernel_absent", kernel_absent },
	{ "zone.user_absent", user_absent },
	{ "zone.mapped", mapped },
	{ NULL, NULL },
};
