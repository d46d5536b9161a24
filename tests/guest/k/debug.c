/* Breakpoints by debug registers: on data, on code, on ports; lengths, privileges, RFLAGS.RF,
 * together with single steps; and that nothing traps when they are off again. */
#include "lib.h"

#define EXEC 0
#define WRITE 1
#define IO 2
#define ACCESS 3
#define DR7(i, kind, len) (2UL << 2 * (i) | (u64)(kind) << (16 + 4 * (i)) | (u64)(len) << (18 + 4 * (i)))
enum { LEN1, LEN2, LEN8, LEN4 };
#define RF (1UL << 16)
#define TF (1UL << 8)
#define DR6_INIT 0xffff0ff0UL
#define HITS 64

static struct regs r;
static u32 hits;
static struct { u64 rip, dr6, rflags; } hit[HITS];
static bool resume_flag;
static u8 *data; /* a page of its own, for both privileges */

/* Notes what came. A code breakpoint's handler sets RF, or it would come again. */
static void note(struct regs *f)
{
	if (hits < HITS) {
		hit[hits].rip = f->rip;
		hit[hits].dr6 = rd_dr6();
		hit[hits].rflags = f->rflags;
	}
	hits++;
	wr_dr6(DR6_INIT);
	if (resume_flag)
		f->rflags |= RF;
}

static void arm(u64 dr7)
{
	hits = 0;
	wr_dr6(DR6_INIT);
	wr_dr7(dr7 | 0x400);
}

static void off(void) { wr_dr7(0x400); }

static int go(bool user, const char *from, const char *to)
{
	regs_init(&r);
	r.rsi = user ? UDATA : (u64)data;
	r.rdi = r.rsi + 0x100;
	if (user)
		return run_user(&r, from, to);
	return run(&r, from);
}

/* --- data ------------------------------------------------------------------------- */
#define W_COUNT 7
SNIP(w_many,
     "movl $5,(%rsi)\nw1: movb $1,3(%rsi)\nw2: movb $1,4(%rsi)\n mov (%rsi),%eax\n"
     "lock; addl $1,(%rsi)\nw3: movq $1,-1(%rsi)\nw4: mov $7,%ecx; mov %rsi,%rdi; sub $4,%rdi; mov %ecx,-4(%rsi)\n"
     "mov $2,%ecx; cld; rep stosl\nw5: movq %rsi,%xmm0; movups %xmm0,-12(%rsi)\nw6: lea 4(%rsi),%rbx; xchg %rsp,%rbx; push %rax\n"
     "w7: xchg %rsp,%rbx; nop");
LABEL(w1); LABEL(w2); LABEL(w3); LABEL(w4); LABEL(w5); LABEL(w6); LABEL(w7);

static void writes_at(bool user)
{
	char *const want[W_COUNT] = { w1, w2, w3, w4, w5, w6, w7 };
	u64 base = user ? UCODE : (u64)w_many;

	resume_flag = false;
	wr_dr0(user ? UDATA : (u64)data);
	arm(DR7(0, WRITE, LEN4));
	EQ("end", go(user, w_many, w_many_end), VEC_EXIT);
	off();
	EQ("hits", hits, W_COUNT);
	for (u32 i = 0; i < W_COUNT && i < hits; i++) {
		EQ("rip", hit[i].rip - base, want[i] - w_many);
		EQ("dr6", hit[i].dr6, DR6_INIT | 1);
	}
	hits = 0;
	EQ("end when off", go(user, w_many, w_many_end), VEC_EXIT);
	EQ("hits when off", hits, 0);
}

static void writes(void) { writes_at(false); }
static void user_writes(void) { writes_at(true); }

SNIP(rw, "mov (%rsi),%rax\nr1: mov %rax,(%rsi)\nr2: testb $1,7(%rsi)\nr3: cmpb $1,8(%rsi)\n pushq (%rsi)\nr4: pop %rbx\n"
     "mov %rsi,%rcx; xchg %rsp,%rcx; push %rbx; pop %rbx; pop %rax\nr5: xchg %rsp,%rcx; nop");
LABEL(r1); LABEL(r2); LABEL(r3); LABEL(r4); LABEL(r5);

static void accesses(void)
{
	char *const want[] = { r1, r2, r3, r4, r5 };

	for (u32 user = 0; user < 2; user++) {
		u64 base = user ? UCODE : (u64)rw;

		wr_dr2((user ? UDATA : (u64)data) + 5); /* rounded down */
		arm(DR7(2, ACCESS, LEN8));
		EQ("end", go(user, rw, rw_end), VEC_EXIT);
		off();
		EQ("hits", hits, 5);
		for (u32 i = 0; i < 5 && i < hits; i++) {
			EQ("rip", hit[i].rip - base, want[i] - rw);
			EQ("dr6", hit[i].dr6, DR6_INIT | 4);
		}
	}
}

SNIP(stepped, "mov %eax,(%rsi)\ns1: nop\ns2: mov (%rsi),%ebx; nop");
LABEL(s1); LABEL(s2);

static void with_steps(void)
{
	wr_dr1((u64)data);
	arm(DR7(1, WRITE, LEN1));
	regs_init(&r);
	r.rsi = (u64)data;
	r.rflags |= TF;
	EQ("end", run(&r, stepped), VEC_EXIT);
	off();
	EQ("hits", hits, 4);
	EQ("both", hit[0].dr6, DR6_INIT | 2 | 1 << 14);
	EQ("rip", hit[0].rip, s1);
	EQ("step alone", hit[1].dr6, DR6_INIT | 1 << 14);
}

/* Single steps end between the elements of a repeated instruction, and not behind a load of SS. */
SNIP(repeated, "rep movsb\nq1: mov %ss,%eax; mov %eax,%ss; nop\nq2: nop");
LABEL(q1); LABEL(q2);

static void steps_of_strings(void)
{
	static const struct { u64 rcx; u32 within; } of[] = { { 3, 2 }, { 1, 0 }, { 0, 0 } };

	for (u32 i = 0; i < ARRAY_SIZE(of); i++) {
		u32 n = of[i].within;

		arm(0);
		regs_init(&r);
		r.rsi = (u64)data;
		r.rdi = (u64)data + 64;
		r.rcx = of[i].rcx;
		r.rflags |= TF;
		EQ("end", run(&r, repeated), VEC_EXIT);
		off();
		EQ("hits", hits, n + 4); /* ..., behind it, MOV from SS, MOV to SS and NOP, NOP */
		for (u32 k = 0; k < n; k++)
			EQ("within", hit[k].rip, repeated);
		EQ("behind", hit[n].rip, q1);
		EQ("SS and what follows", hit[n + 2].rip, q2);
	}
}

/* A loop that is translated, chained and hot before the breakpoint comes and after it goes. */
SNIP(hot, "mov $3000,%ecx; 1: addl $1,(%rdi); addq $1,8(%rdi); dec %ecx; jnz 1b");

static void many_times(void)
{
	for (u32 i = 0; i < 20; i++) {
		wr_dr3((i & 2 ? UDATA : (u64)data) + 0x100 + 8);
		arm(i & 1 ? DR7(3, WRITE, LEN8) : 0);
		EQ("end", go(i & 2, hot, hot_end), VEC_EXIT);
		off();
		EQ("hits", hits, i & 1 ? 3000 : 0);
	}
}

/* --- code ------------------------------------------------------------------------- */
SNIP(code, "xor %eax,%eax; mov $10,%ecx; 1: inc %eax\nc1: inc %eax\nc2: dec %ecx; jnz 1b\nc3: mov (%rsi),%ebx\nc4: nop");
LABEL(c1); LABEL(c2); LABEL(c3); LABEL(c4);

static void code_at(bool user)
{
	u64 base = user ? UCODE : (u64)code;

	resume_flag = true;
	EQ("before", go(user, code, code_end), VEC_EXIT);
	wr_dr0(base + (u64)(c1 - code));
	wr_dr1(base + (u64)(c3 - code));
	wr_dr2(base + (u64)(c2 - code) + 1); /* within an instruction */
	arm(DR7(0, EXEC, LEN1) | DR7(1, EXEC, LEN1) | DR7(2, EXEC, LEN1));
	EQ("end", go(user, code, code_end), VEC_EXIT);
	off();
	EQ("hits", hits, 11);
	EQ("rax", r.rax, 20);
	for (u32 i = 0; i < 11 && i < hits; i++) {
		EQ("rip", hit[i].rip, base + (u64)((i < 10 ? c1 : c3) - code));
		EQ("dr6", hit[i].dr6, DR6_INIT | (i < 10 ? 1 : 2));
		EQ("rf", hit[i].rflags & RF, 0);
	}
	resume_flag = false;
	hits = 0;
	EQ("after", go(user, code, code_end), VEC_EXIT);
	EQ("hits when off", hits, 0);
}

static void kernel_code(void) { code_at(false); }
static void user_code(void) { code_at(true); }

static u32 faults;
static u64 fault_flags;

static void page_comes(struct regs *f)
{
	faults++;
	fault_flags = f->rflags;
	map_new(UDATA + 0x5000, P | RW | US);
}

/* The instruction at the breakpoint faults: the frame has RF, and it does not meet it again. */
static void fault_resumes(void)
{
	resume_flag = true;
	faults = 0;
	on_vector(14, page_comes);
	wr_dr1(UCODE + (u64)(c3 - code));
	arm(DR7(1, EXEC, LEN1));
	regs_init(&r);
	r.rsi = UDATA + 0x5000;
	EQ("end", RUN_USER(&r, code), VEC_EXIT);
	off();
	on_vector(14, NULL);
	EQ("faults", faults, 1);
	EQ("rf of the fault", fault_flags & RF, RF);
	EQ("hits", hits, 1);
	resume_flag = false;
}

/* Breakpoints of the kernel's half while user code runs. */
LABEL(entry_of);
asm(".text\nentry_of: mov $0x77,%eax\nentry_second: sysretq\n");
LABEL(entry_second);
SNIP(u_call, "mov $50,%ebx; 1: syscall; dec %ebx; jnz 1b");

static void system_call_entry(void)
{
	wrmsr(0xc0000080, rdmsr(0xc0000080) | 1);
	wrmsr(0xc0000081, (u64)SEL_KCS << 32 | (u64)(SEL_UCS32 & ~3) << 48);
	wrmsr(0xc0000082, (u64)entry_of);
	wrmsr(0xc0000084, 0x47fd5 & ~0x100UL);
	resume_flag = true;
	for (u32 i = 0; i < 6; i++) {
		wr_dr0(i & 2 ? UCODE + 5 : (u64)entry_second);
		arm(i & 1 ? DR7(0, EXEC, LEN1) : 0);
		regs_init(&r);
		r.rsp = USTACK_TOP - 0x100;
		EQ("end", RUN_USER(&r, u_call), VEC_EXIT);
		off();
		EQ("hits", hits, i & 1 ? 50 : 0);
	}
	resume_flag = false;
}

/* --- ports ------------------------------------------------------------------------- */
SNIP(ports, "mov $0x80,%dx; out %al,%dx\np1: in %dx,%al\np2: mov $0x84,%dx; out %al,%dx; nop");
LABEL(p1); LABEL(p2);

static void on_ports(void)
{
	wr_cr4(rd_cr4() | 8);
	wr_dr3(0x80);
	arm(DR7(3, IO, LEN4));
	EQ("end", go(false, ports, ports_end), VEC_EXIT);
	off();
	wr_cr4(rd_cr4() & ~8UL);
	EQ("hits", hits, 2);
	EQ("rip", hit[0].rip, p1);
	EQ("rip", hit[1].rip, p2);
	EQ("dr6", hit[0].dr6, DR6_INIT | 8);
}

static void prepare(void)
{
	u64 pa = map_new(UDATA, P | RW | US);

	map(KTEST, pa, P | RW);
	map_new(KTEST - 0x1000, P | RW);
	map_new(UDATA - 0x1000, P | RW | US);
	data = (u8 *)KTEST;
	on_vector(1, note);
}

const struct test tests[] = {
	{ "debug.prepare", prepare }, { "debug.writes", writes }, { "debug.user_writes", user_writes },
	{ "debug.accesses", accesses }, { "debug.with_steps", with_steps }, { "debug.many_times", many_times },
	{ "debug.steps_of_strings", steps_of_strings },
	{ "debug.kernel_code", kernel_code }, { "debug.user_code", user_code }, { "debug.fault_resumes", fault_resumes },
	{ "debug.system_call_entry", system_call_entry }, { "debug.on_ports", on_ports }, { NULL, NULL }
};
