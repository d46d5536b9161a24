/* Control flow: calls and returns that do not match, indirect jumps, deep recursion, code
 * that crosses pages, instructions whose second page is absent. */
#include "lib.h"

static struct regs r;
#define CODE (KTEST + 0x900000)

SNIP(c_mismatch, "lea 1f(%rip),%rax; push %rax; ret; ud2; 1: mov $1,%ebx");
SNIP(c_ret_twice, "lea 2f(%rip),%rax; push %rax; call 1f; ud2; 1: add $8,%rsp; ret; ud2; 2: mov $2,%ebx");
SNIP(c_longjmp, "mov %rsp,%rbp; call 1f; ud2; 1: call 2f; ud2; 2: call 3f; ud2; 3: mov %rbp,%rsp; mov $3,%ebx");
SNIP(c_change, "call 1f; ud2; jmp 2f; 1: addq $2,(%rsp); ret; 2: mov $4,%ebx");
SNIP(c_jmp_mem, "lea 1f(%rip),%rax; mov %rax,-8(%rsp); jmp *-8(%rsp); ud2; 1: mov $5,%ebx");
SNIP(c_call_mem, "lea 1f(%rip),%rax; mov %rax,-128(%rsp); call *-128(%rsp); jmp 2f; 1: ret; 2: mov $6,%ebx");
SNIP(c_call_rsp, "lea 1f(%rip),%rax; push %rax; call *(%rsp); jmp 2f; 1: mov 8(%rsp),%rdx; ret; 2: pop %rcx; mov $7,%ebx");
SNIP(c_table, "xor %ebx,%ebx; mov $999,%ecx; lea 9f(%rip),%rsi; 1: mov %ecx,%eax; and $3,%eax; movslq (%rsi,%rax,4),%rax;"
     "add %rsi,%rax; jmp *%rax; .balign 4; 9: .long 2f-9b,3f-9b,4f-9b,5f-9b; 2: add $1,%ebx; jmp 6f; 3: add $10,%ebx; jmp 6f;"
     "4: add $100,%ebx; jmp 6f; 5: add $1000,%ebx; 6: dec %ecx; jnz 1b");
SNIP(c_loops, "xor %ebx,%ebx; mov $10,%ecx; 1: inc %ebx; loop 1b; mov $10,%ecx; 2: add $100,%ebx; cmp $5,%ecx; loopne 2b;"
     "mov $0x100000003,%rcx; 3: add $10000,%ebx; addr32 loop 3b; jrcxz 4f; ud2; 4: mov $0x100000000,%rcx; jecxz 5f; ud2; 5: nop");
SNIP(c_pushret, "mov %rsp,%rbp; push $0; lea 1f(%rip),%rax; xchg %rax,(%rsp); ret; 1: cmp %rsp,%rbp; sete %bl; movzbl %bl,%ebx");
SNIP(c_jcc, "xor %ebx,%ebx; mov $1,%eax; cmp $2,%eax; jb 1f; ud2; 1: jl 2f; ud2; 2: jne 3f; ud2; 3: js 4f; ud2; 4: jnp 5f; jmp 6f; 5: inc %ebx; 6: mov $-1,%rax; add $1,%rax; jc 7f; ud2; 7: jz 8f; ud2; 8: jno 9f; ud2; 9: inc %ebx");
SNIP(c_spin, "mov $3000000,%ecx; 1: call 2f; dec %ecx; jnz 1b; jmp 3f; 2: inc %rbx; ret; 3: nop");

static void mismatches(void)
{
	static const struct { const char *code; u64 rbx; } all[] = {
		{ c_mismatch, 1 }, { c_ret_twice, 2 }, { c_longjmp, 3 }, { c_change, 4 }, { c_jmp_mem, 5 },
		{ c_call_mem, 6 }, { c_call_rsp, 7 }, { c_table, 249 + 250 * 10 + 250 * 100 + 250 * 1000 },
		{ c_pushret, 1 }, { c_loops, 10 + 600 + 30000 }, { c_jcc, 1 },
	};

	for (u32 pass = 0; pass < 3; pass++)
		for (u32 i = 0; i < ARRAY_SIZE(all); i++) {
			regs_init(&r);
			EQ("exit", run(&r, all[i].code), VEC_EXIT);
			if (r.rbx != all[i].rbx)
				fail("case %u: %lu, want %lu", i, r.rbx, all[i].rbx);
			EQ("rsp", r.rsp, TEST_RSP);
		}
	regs_init(&r);
	r.rbx = 0;
	run(&r, c_spin);
	EQ("calls", r.rbx, 3000000);
	regs_init(&r);
	r.rbx = 0;
	RUN_USER(&r, c_spin);
	EQ("user calls", r.rbx, 3000000);
}

/* A run of code laid over a page boundary at every offset. */
SNIP(x_body, "mov $0x1122334455667788,%rax; movabs $0x1111111111111111,%rbx; add %rbx,%rax; lock addq $5,-8(%rsp);"
     "movq $7,0x10(%rdi,%rcx,8); vzeroupper; call 1f; jmp 2f; 1: ret; 2: lea 0x12345678(%rax,%rbx,2),%rdx");
static void page_crossing(void)
{
	u64 len = (u64)(x_body_end - x_body);
	static u64 data[8];
	u64 first = 0;

	map_new(CODE, RW);
	page_alloc();
	map_new(CODE + 4096, RW);
	for (u64 off = 0; off <= len; off++) {
		u64 at = CODE + 4096 - off;
		memcpy((void *)at, x_body, len);
		regs_init(&r);
		r.rdi = (u64)data;
		r.rcx = 1;
		EQ("exit", run(&r, (void *)at), VEC_EXIT);
		if (!off)
			first = r.rdx;
		EQ("rdx", r.rdx, first);
		EQ("end", r.rip, at + len);
	}
	/* the second page goes away: the fault comes at the instruction that needs it */
	u64 *e = pte_of(CODE + 4096, 1), old = *e;
	for (u32 k = 1; k < 10; k++) {
		u64 at = CODE + 4096 - k; /* a 10-byte mov, k bytes of it in the first page */
		*e = old;
		invlpg(CODE + 4096);
		memcpy((void *)at, x_body, len);
		*e = 0;
		invlpg(CODE + 4096);
		regs_init(&r);
		EQ("vector", run(&r, (void *)at), 14);
		EQ("rip", r.rip, at);
		EQ("cr2", last_cr2, CODE + 4096);
		EQ("error", r.err, 16);
		EQ("nothing done", r.rax, 0x0f0f0f0f0f0f0f0f);
		*e = old;
		regs_init(&r);
		r.rdi = (u64)data;
		r.rcx = 1;
		EQ("present again", run(&r, (void *)at), VEC_EXIT);
		*e = old | NX;
		invlpg(CODE + 4096);
		regs_init(&r);
		EQ("NX", run(&r, (void *)at), 14);
		EQ("NX error", r.err, 17);
		EQ("NX cr2", last_cr2, CODE + 4096);
	}
	/* straight-line code runs up to the absent page */
	*e = old;
	invlpg(CODE + 4096);
	memset((void *)CODE, 0x90, 4096);
	*e = 0;
	invlpg(CODE + 4096);
	regs_init(&r);
	EQ("falls off", run(&r, (void *)CODE), 14);
	EQ("rip", r.rip, CODE + 4096);
	EQ("cr2", last_cr2, CODE + 4096);
}

/* Jumps to bad places: state is that of the target, or of the jump for #GP. */
SNIP(j_noncanon, "mov $0x8000000000000000,%rax; jn_at: jmp *%rax");
SNIP(j_ret_noncanon, "mov $0x8000000000000000,%rax; push %rax; jr_at: ret");
LABEL(jn_at); LABEL(jr_at);
static void bad_targets(void)
{
	regs_init(&r);
	EQ("vector", run(&r, j_noncanon), 13);
	if (!tcg())
		EQ("rip", r.rip, (u64)jn_at);
	regs_init(&r);
	EQ("vector", run(&r, j_ret_noncanon), 13);
	if (!tcg()) {
		EQ("rip", r.rip, (u64)jr_at);
		EQ("rsp", r.rsp, TEST_RSP - 8);
	}
}

static u64 ack(u64 m, u64 n)
{
	return !m ? n + 1 : !n ? ack(m - 1, 1) : ack(m - 1, ack(m, n - 1));
}
static u64 fib(u64 n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }
static void recursion(void)
{
	EQ("ack", ack(2, 200), 403);
	EQ("fib", fib(22), 17711);
}

/* Many distinct targets, more than lookup tables hold. */
static void many_targets(void)
{
	u64 sum = 0, want = 0;

	for (u32 i = 0; i < 16; i++)
		map_new(CODE + 0x100000 + i * 4096, RW);
	u8 *c = (u8 *)CODE + 0x100000;
	for (u32 i = 0; i < 8192; i++) { /* mov $i, %eax; ret */
		c[8 * i] = 0xb8;
		*(u32 *)(c + 8 * i + 1) = i;
		c[8 * i + 5] = 0xc3;
	}
	for (u32 pass = 0; pass < 3; pass++)
		for (u32 i = 0; i < 8192; i++) {
			u32 n = (i * 2731 + pass) & 8191;
			sum += ((u64(*)(void))(c + 8 * n))();
			want += n;
		}
	EQ("sum", sum, want);
}

const struct test tests[] = {
	{ "control.mismatches", mismatches }, { "control.page_crossing", page_crossing },
	{ "control.bad_targets", bad_targets }, { "control.recursion", recursion },
	{ "control.many_targets", many_targets }, { NULL, NULL },
};
