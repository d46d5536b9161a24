/* SMEP and SMAP (SDM vol. 3, 4.6): every kind of instruction on user pages, low, high, and
 * high where addresses do not fold, with and without RFLAGS.AC; pages that change sides;
 * implicit accesses; everything that changes AC. Where they are not offered: that STAC, CLAC
 * and the bits of CR4 are not either. */
#include "lib.h"

#define SMEP (1UL << 20)
#define SMAP (1UL << 21)
#define AC 0x40000UL

static const u64 places[] = { UDATA, 0xffffc90000000000 + 0x70000000, 0xffff820000000000 };
static struct regs r;
static u64 pa;

static bool offered(void)
{
	if (has(7, 1, 7) && has(7, 1, 20))
		return true;
	skip("no SMEP or SMAP");
	return false;
}

static void set_cr4(u64 bits) { wr_cr4((rd_cr4() & ~(SMEP | SMAP)) | bits); }

/* --- operands ------------------------------------------------------------------------ */
SNIP(o_load, "mov (%rsi),%rax");
SNIP(o_byte, "movzbl (%rsi),%eax");
SNIP(o_store, "mov %rax,(%rsi)");
SNIP(o_imm, "movq $5,(%rsi)");
SNIP(o_add, "addl $3,(%rsi)");
SNIP(o_xchg, "xchg %rax,(%rsi)");
SNIP(o_lock, "lock incq (%rsi)");
SNIP(o_cmpxchg, "lock cmpxchg %rdx,(%rsi)");
SNIP(o_bts, "xor %eax,%eax; bts %rax,(%rsi)");
SNIP(o_cmp, "cmp %rax,(%rsi)");
SNIP(o_index, "xor %ecx,%ecx; mov (%rsi,%rcx,4),%edx");
SNIP(o_lods, "lodsq");
SNIP(o_movs, "lea -64(%rsp),%rdi; mov $3,%ecx; rep movsb");
SNIP(o_movs_to, "mov %rsi,%rdi; lea -64(%rsp),%rsi; mov $3,%ecx; rep movsb");
SNIP(o_stos, "mov %rsi,%rdi; mov $2,%ecx; rep stosq");
SNIP(o_scas, "mov %rsi,%rdi; scasb");
SNIP(o_cmps, "lea -64(%rsp),%rdi; cmpsb");
SNIP(o_sse, "movdqu (%rsi),%xmm1");
SNIP(o_sse_store, "movups %xmm1,(%rsi)");
SNIP(o_x87, "fildll (%rsi); fstp %st(0)");
SNIP(o_fxsave, "fxsave (%rsi)");
SNIP(o_sgdt, "sgdt (%rsi)");
SNIP(o_seg, "mov %ds,(%rsi)");
SNIP(o_jmp, "jmp *(%rsi); ud2; .globl o_jmp_to; o_jmp_to: nop");
SNIP(o_gs, "mov %gs:(%rsi),%rax");
SNIP(o_push_mem, "push (%rsi)");
SNIP(o_pop_mem, "push %rax; pop (%rsi)");
SNIP(o_push, "mov %rsi,%rsp; push %rax");
SNIP(o_push_imm, "mov %rsi,%rsp; push $7");
SNIP(o_pop, "mov %rsi,%rsp; pop %rax");
SNIP(o_pop_rsp, "mov %rsi,%rsp; pop %rsp");
SNIP(o_pushf, "mov %rsi,%rsp; pushfq");
SNIP(o_popf, "mov %rsi,%rsp; popfq");
SNIP(o_call, "mov %rsi,%rsp; call 1f; 1:");
SNIP(o_call_ind, "lea 1f(%rip),%rax; mov %rsi,%rsp; call *%rax; 1:");
SNIP(o_ret, "mov %rsi,%rsp; ret; .globl o_ret_to; o_ret_to: nop");
SNIP(o_enter, "mov %rsi,%rsp; enter $0,$0");
SNIP(o_leave, "mov %rsi,%rbp; leave");
SNIP(o_push_seg, "mov %rsi,%rsp; push %fs");
extern char o_jmp_to[], o_ret_to[];

static const struct op {
	const char *name, *code;
	bool write;
	i32 at;           /* first byte touched, from RSI */
	const char *word; /* what must lie there */
} ops[] = {
#define R(n) { #n, o_##n, false, 0, NULL }
#define W(n) { #n, o_##n, true, 0, NULL }
#define PUSH(n) { #n, o_##n, true, -8, NULL }
	R(load), R(byte), W(store), W(imm), W(add), W(xchg), W(lock), W(cmpxchg), W(bts), R(cmp), R(index),
	R(lods), R(movs), W(movs_to), W(stos), R(scas), R(cmps), R(sse), W(sse_store), R(x87), W(fxsave),
	W(sgdt), W(seg), R(gs), R(push_mem), W(pop_mem), PUSH(push), PUSH(push_imm), R(pop), R(pop_rsp),
	PUSH(pushf), R(popf), PUSH(call), PUSH(call_ind), PUSH(enter), R(leave), PUSH(push_seg),
	{ "jmp", o_jmp, false, 0, o_jmp_to }, { "ret", o_ret, false, 0, o_ret_to },
};

static void operand(const struct op *o, u64 va, bool user, u64 cr4, u64 ac)
{
	u64 *word = (u64 *)virt(pa + 0x800);
	bool deny = user && (cr4 & SMAP) && !ac;
	int v;

	*word = o->word ? (u64)o->word : 2;
	regs_init(&r);
	r.rsi = va + 0x800;
	r.rflags |= ac;
	last_cr2 = 0;
	v = run(&r, o->code);
	/* FXSAVE looks at its last byte first; QEMU calls what is read before it is written a read. */
	if (v != (deny ? 14 : VEC_EXIT) ||
	    (deny && ((r.err | (o->write && tcg() ? 2 : 0)) != (o->write ? 3 : 1) ||
		      last_cr2 - (va + 0x800 + (u64)o->at) >= (o->code == o_fxsave ? 512 : 1))))
		fail("%s at %lx user %u cr4 %lx ac %lx: vector %d error %lx cr2 %lx", o->name, va, user, cr4, ac, v,
		     r.err, last_cr2);
	if (deny && *word != (o->word ? (u64)o->word : 2))
		fail("%s at %lx: written", o->name, va);
	if (deny && (r.rflags & AC) != ac)
		fail("%s at %lx: flags %lx", o->name, va, r.rflags);
}

static void operands(void)
{
	if (!offered())
		return;
	pa = page_alloc();
	for (u32 i = 0; i < ARRAY_SIZE(ops); i++)
		for (u32 n = 0; n < 5 * ARRAY_SIZE(places) * 8; n++) {
			u64 va = places[n / 8 % ARRAY_SIZE(places)];
			bool user = n & 4;

			if (n % 8 == 0)
				set_cr4(n / 24 & 1 ? SMAP | SMEP : n / 24 == 2 ? 0 : SMAP);
			if (n % 4 == 0) {
				*pte_of(va, 1) = pa | P | RW | (user ? US : 0);
				invlpg(va);
			}
			operand(&ops[i], va, user, rd_cr4(), n & 1 ? AC : 0);
			if (n % 8 == 7)
				unmap(va);
		}
	set_cr4(0);
}

/* CR4 alone changes, between accesses by instructions that have been tried without SMAP first. */
SNIP(s_load, "mov (%rsi),%rax");
SNIP(s_store, "mov %rax,(%rsi)");
SNIP(s_movs, "lea -64(%rsp),%rdi; mov $3,%ecx; rep movsb");
static void switched(void)
{
	static const char *const code[] = { s_load, s_store, s_movs };

	if (!offered())
		return;
	for (u32 i = 0; i < ARRAY_SIZE(places) * ARRAY_SIZE(code); i++) {
		u64 va = places[i / ARRAY_SIZE(code)];

		map_new(va, RW | US);
		for (u32 n = 0; n < 24; n++) { /* with AC first, so that the page is at hand */
			if (n % 4 == 0)
				set_cr4(n & 4 ? SMAP : 0);
			regs_init(&r);
			r.rsi = va;
			r.rflags |= n & 1 ? 0 : AC;
			EQ("vector", run(&r, code[i % ARRAY_SIZE(code)]), (n & 5) == 5 ? 14 : VEC_EXIT);
		}
	}
	set_cr4(0);
}

/* --- AC ------------------------------------------------------------------------------- */
SNIP(a_stac, "stc; stac; pushfq; pop %rax; clac; pushfq; pop %rbx; stac; stac; pushfq; pop %rcx; clac; clac; pushfq; pop %rdx");
SNIP(a_pair, "stac; mov (%rsi),%rax; clac; mov (%rsi),%rbx");
SNIP(a_loop, "mov $1000,%ecx; xor %ebx,%ebx; 1: stac; add (%rsi),%rbx; incq 8(%rsi); clac; pushfq; pop %rdx; test $0x40000,%edx; jnz 2f; dec %ecx; jnz 1b; 2: nop");
SNIP(a_popf, "pushq $0x40092; popfq; mov (%rsi),%rax; pushfq; pop %rdx; pushq $0x2; popfq; mov (%rsi),%rbx");
SNIP(a_popf32, "stac; pushfw; popfw; mov (%rsi),%rax; clac; pushfw; popfw; mov (%rsi),%rbx");
SNIP(a_iret, "mov %rsp,%rdi; push $0x18; push %rdi; push %rdx; push $0x10; lea 1f(%rip),%rax; push %rax; iretq; 1: mov (%rsi),%rax");
SNIP(a_call, "stac; call 1f; jmp 2f; 1: mov (%rsi),%rax; lea 3f(%rip),%rdx; jmp *%rdx; 3: ret; 2: clac; call 1b");
SNIP(a_int, "stac; int $0x82; mov (%rsi),%rax; clac; int $0x82; mov (%rsi),%rax");
SNIP(a_sti, "stac; sti; nop; mov (%rsi),%rax; cli; clac; sti; nop; cli; mov (%rsi),%rbx");
SNIP(a_user, "stac");
SNIP(a_user2, "clac");

static u64 seen_flags[16], seen;
static void note(struct regs *f)
{
	(void)f;
	seen_flags[seen++ & 15] = flags();
}

static u64 place;

static int go(const void *code)
{
	regs_init(&r);
	r.rsi = place + 0x10;
	return run(&r, code);
}

/* AC stays what it is at a fault and in the handler of an exception or interrupt. */
static void flag(void)
{
	if (!offered())
		return;
	pa = page_alloc();
	u64 *u = virt(pa);
	set_cr4(SMAP);
	on_vector(0x82, note);
	for (u32 i = 0; i < 4 * ARRAY_SIZE(places); i++) {
		if (i % 4 == 0)
			map(place = places[i / 4], pa, RW | US);
		u[2] = 7;
		EQ("stac", go(a_stac), VEC_EXIT);
		EQ("set", r.rax & (AC | 1), AC | 1);
		EQ("clear", r.rbx & (AC | 1), 1);
		EQ("twice", r.rcx & AC, AC);
		EQ("cleared twice", r.rdx & AC, 0);
		EQ("pair", go(a_pair), 14);
		EQ("read", r.rax, 7);
		EQ("AC", r.rflags & AC, 0);
		u[3] = 0;
		EQ("loop", go(a_loop), VEC_EXIT);
		EQ("sum", r.rbx, 7000);
		EQ("count", u[3], 1000);
		EQ("left", r.rcx, 0);
		EQ("popf", go(a_popf), 14);
		EQ("read", r.rax, 7);
		EQ("flags", r.rdx, 0x40092);
		EQ("AC", r.rflags & AC, 0);
		EQ("popfw leaves AC", go(a_popf32), 14);
		EQ("read", r.rax, 7);
		regs_init(&r); r.rsi = place + 0x10; r.rdx = AC | 2;
		EQ("iret to AC", run(&r, a_iret), VEC_EXIT);
		EQ("read", r.rax, 7);
		regs_init(&r); r.rsi = place + 0x10; r.rdx = 2; r.rflags |= AC;
		EQ("iret to no AC", run(&r, a_iret), 14);
		EQ("calls and jumps", go(a_call), 14);
		EQ("read", r.rax, 7);
		seen = 0;
		EQ("int", go(a_int), 14);
		EQ("handlers", seen, 2);
		EQ("AC in handler", seen_flags[0] & AC, AC);
		EQ("no AC in handler", seen_flags[1] & AC, 0);
		EQ("read", r.rax, 7);
		EQ("sti", go(a_sti), 14);
		EQ("read", r.rax, 7);
	}
	on_vector(0x82, NULL);
	set_cr4(0);
	EQ("without SMAP", go(a_pair), VEC_EXIT);
	EQ("AC without SMAP", go(a_stac), VEC_EXIT);
	EQ("set", r.rax & AC, AC);
	regs_init(&r); EQ("user", RUN_USER(&r, a_user), 6);
	regs_init(&r); EQ("user", RUN_USER(&r, a_user2), 6);
}

/* One instruction at a time. */
static u64 steps, step_ac;
static void on_step(struct regs *f)
{
	if (steps++ < 10)
		step_ac = step_ac << 1 | (f->rflags >> 18 & 1);
}

SNIP(t_steps, "pushfq; pop %rdx; orl $0x100,%edx; push %rdx; popfq; stac; mov (%rsi),%rax; clac; nop; stac; pushfq; pop %rax; clac; andl $0xfffffeff,%eax; push %rax; popfq; mov (%rsi),%rbx; clac");
static void single_steps(void)
{
	if (!offered())
		return;
	u64 *u = virt(pa = page_alloc());
	set_cr4(SMAP);
	u[2] = 9;
	on_vector(1, on_step);
	for (u32 i = 0; i < 2 * ARRAY_SIZE(places); i++) {
		map(place = places[i / 2], pa, RW | US);
		steps = step_ac = 0;
		EQ("exit", go(t_steps), VEC_EXIT);
		EQ("AC at each", step_ac, 0x338); /* 11 0011 1000 */
		CHECK(steps >= 10, "%lu steps", steps);
		EQ("rbx", r.rbx, 9);
	}
	on_vector(1, NULL);
	set_cr4(0);
}

/* --- system calls ---------------------------------------------------------------------- */
static u64 kstack[64];
u64 call_flags, call_or, kstack_top;
LABEL(call_entry);
asm(".text\ncall_entry: mov %rsp,%rbp; mov kstack_top(%rip),%rsp\n"
    "push %r11; pushfq; pop %rax; or %rax,call_or(%rip); mov %rax,call_flags(%rip)\n"
    "stac; mov (%rsi),%rdx; pop %r11; mov %rbp,%rsp; sysretq\n"
    "call_entry_id: mov %rsp,%rbp; mov kstack_top(%rip),%rsp\n"
    "pushfq; pop %rax; or %rax,call_or(%rip)\n"
    "pushfq; orl $0x200000,(%rsp); popfq; mov %rbp,%rsp; sysretq\n");
LABEL(call_entry_id);
#define ID 0x200000UL
SNIP(u_calls, "mov $200,%ebx; xor %r8d,%r8d; 1: syscall; pushfq; pop %rax; or %rax,%r8; dec %ebx; jnz 1b");
SNIP(u_calls_ac, "mov $20,%ebx; 1: syscall; pushfq; orl $0x40000,(%rsp); popfq; syscall; pushfq; pop %r8; push $2; popfq; dec %ebx; jnz 1b; pushfq; orl $0x40000,(%rsp); popfq; syscall; nop");
SNIP(u_pages, "mov $20,%ebx; 1: str %eax; syscall; add $0x10000,%rsi; dec %ebx; jnz 1b; nop");
SNIP(u_sets_ac, "mov $3,%ebx; 1: syscall; dec %ebx; jnz 1b; pushfq; orl $0x40000,(%rsp); popfq; nop");
asm(".pushsection .snip,\"ax\"\nu_compat: mov $3,%ebx; 1: syscall; dec %ebx; jnz 1b\n"
    "sub $16,%rsp; lea 2f(%rip),%rax; mov %eax,(%rsp); movl $0x23,4(%rsp); ljmp *(%rsp)\n"
    ".code32\n2: mov $77,%ebx; int $0x81\n.code64\nu_compat_end:\n.popsection");
LABEL(u_compat);
LABEL(u_compat_end);

#define COMPAT 0xd0000000UL /* below 4 GiB and no RAM */

static void calls(void)
{
	if (!offered())
		return;
	set_cr4(SMAP | SMEP);
	kstack_top = (u64)(kstack + 60);
	*pte_of(COMPAT, 3) |= US;
	*pte_of(COMPAT, 2) = 0;
	memcpy(virt(map_new(COMPAT, US)), u_compat, (u64)(u_compat_end - u_compat));
	map_new(COMPAT + 4096, US | RW);
	memcpy(virt(map_new(COMPAT + 8192, US)), u_sets_ac, (u64)(u_sets_ac_end - u_sets_ac));
	wrmsr(0xc0000081, (u64)SEL_KCS << 32 | (u64)(SEL_UCS32 & ~3) << 48);
	wrmsr(0xc0000082, (u64)call_entry);
	for (u32 i = 0; i < 6; i++) {
		bool masks = i & 1;

		wrmsr(0xc0000082, (u64)call_entry);
		wrmsr(0xc0000084, masks ? 0x47fd5 : 0x7fd5);
		for (u32 p = 0; p < 20; p++) /* each is found in the middle of a call */
			map_new(UDATA + p * 0x10000, RW | US);
		regs_init(&r); r.rsi = UDATA;
		EQ("pages", RUN_USER(&r, u_pages), VEC_EXIT);
		EQ("the kernel's AC stays there", r.rflags & AC, 0);
		regs_init(&r); r.rsi = UDATA; call_or = 0;
		EQ("calls", RUN_USER(&r, u_calls), VEC_EXIT);
		EQ("AC of the kernel is not its own again", call_or & AC, 0);
		EQ("AC of user code", r.r8 & AC, 0);
		regs_init(&r); r.rsi = UDATA; call_or = 0;
		EQ("calls with AC", RUN_USER(&r, u_calls_ac), VEC_EXIT);
		EQ("AC by FMASK", call_or & AC, masks ? 0 : AC);
		EQ("the last", call_flags & AC, masks ? 0 : AC);
		EQ("AC comes back", r.r8 & AC, AC);
		EQ("and stays", r.rflags & AC, AC);
		regs_init(&r); r.rsi = UDATA;
		r.rsp = COMPAT + 0x1800;
		EQ("AC set after SYSRET", run_user_at(&r, COMPAT + 8192), VEC_EXIT);
		EQ("AC", r.rflags & AC, AC);
		regs_init(&r); r.rsi = UDATA;
		r.rsp = COMPAT + 0x1800;
		EQ("32-bit code after SYSRET", run_user_at(&r, COMPAT), VEC_EXIT);
		EQ("CS", r.cs, SEL_UCS32);
		EQ("ran", (u32)r.rbx, 77);
		wrmsr(0xc0000082, (u64)call_entry_id);
		regs_init(&r); r.rsi = UDATA; call_or = 0;
		EQ("calls of a kernel with ID", RUN_USER(&r, u_calls), VEC_EXIT);
		EQ("ID of user code", (r.r8 | r.rflags) & ID, 0);
		EQ("ID at the next call", call_or & ID, 0);
	}
	set_cr4(0);
}

/* --- code ------------------------------------------------------------------------------ */
/* mov $N,%ebx, repeated for half a page, then INT VEC_EXIT. */
static void write_code(u64 page, u8 n)
{
	u8 *c = virt(page);

	for (u32 i = 0; i < 400; i++, c += 5) {
		c[0] = 0xbb;
		c[1] = n;
		c[2] = c[3] = c[4] = 0;
	}
	c[0] = 0xcd;
	c[1] = VEC_EXIT;
}

static void fetch(u64 va, bool deny, const char *what)
{
	regs_init(&r);
	r.rbx = 0;
	last_cr2 = 0;
	EQ(what, run(&r, (void *)va), deny ? 14 : VEC_EXIT);
	if (deny && (r.err != 0x11 || last_cr2 != va || r.rip != va))
		fail("%s at %lx: error %lx cr2 %lx rip %lx", what, va, r.err, last_cr2, r.rip);
	EQ(what, r.rbx, deny ? 0 : 3);
}

static void code(void)
{
	if (!offered())
		return;
	u64 code_pa = page_alloc();

	write_code(code_pa, 3);
	for (u32 i = 0; i < ARRAY_SIZE(places) * 3; i++) {
		u64 va = places[i % ARRAY_SIZE(places)], *e = pte_of(va, 1);

		set_cr4(SMEP);
		map(va, code_pa, 0);
		fetch(va, false, "supervisor page");
		*e |= US;
		invlpg(va);
		fetch(va, true, "has become user");
		set_cr4(0);
		fetch(va, false, "SMEP off");
		set_cr4(SMAP);
		fetch(va, false, "SMAP alone");
		set_cr4(SMEP | SMAP);
		fetch(va, true, "SMEP on");
		if (va == UDATA) {
			regs_init(&r);
			EQ("user code", run_user_at(&r, va), VEC_EXIT);
			fetch(va, true, "runs as user code");
		}
		*e &= ~(u64)US;
		invlpg(va);
		fetch(va, false, "supervisor again");
		*e |= US;
		flush_tlb();
		fetch(va, true, "user again");
		*pte_of(va, 2) &= ~(u64)US;
		flush_tlb();
		fetch(va, false, "supervisor by the upper level");
		*pte_of(va, 2) |= US;
		flush_tlb();
		fetch(va, true, "user by the upper level");
		unmap(va);
	}
	set_cr4(0);
}

/* Code of a supervisor page that goes on in a user page: between two instructions, and in one. */
SNIP(x_to, "nop; nop; nop; nop; nop; mov $0x11223344,%eax; jmp 1f; 1: nop");
static void code_crossing(void)
{
	if (!offered())
		return;
	u64 len = (u64)(x_to_end - x_to);

	for (u32 p = 0; p < ARRAY_SIZE(places); p++) {
		u64 va = places[p], first = map_new(va, 0), second = map_new(va + 4096, 0);

		for (u32 before = 5; before < 14; before++)
			for (u32 n = 0; n < 6; n++) {
				bool user = n & 1;
				u64 at = va + 4096 - before;

				for (u64 i = 0; i < len; i++)
					((u8 *)virt(i < before ? first + 4096 - before : second - before))[i] = (u8)x_to[i];
				set_cr4(n == 4 ? 0 : SMEP);
				*pte_of(va + 4096, 1) = second | P | (user ? US : 0);
				invlpg(va + 4096);
				regs_init(&r);
				EQ("exit", run(&r, (void *)at), user ? 14 : VEC_EXIT);
				if (user && (r.err != 0x11 || last_cr2 != va + 4096))
					fail("crossing %u at %lx: error %lx cr2 %lx", before, va, r.err, last_cr2);
				if (user)
					EQ("rip", r.rip, before == 11 ? at + 10 : before > 5 && before < 10 ? at + 5 : va + 4096);
			}
		unmap(va);
		unmap(va + 4096);
	}
	set_cr4(0);
}

/* --- implicit accesses ----------------------------------------------------------------- */
SNIP(i_lldt, "mov $0x68,%eax; lldt %ax; mov $7,%eax; mov %eax,%fs");
SNIP(i_int, "int $0xd0");
SNIP(i_int_user, "int $0x82");
SNIP(i_iret, "mov %rsi,%rsp; iretq; .globl i_iret_to; i_iret_to: nop");
extern char i_iret_to[];

static void expect(const char *what, int v, bool deny, u64 err, u64 cr2)
{
	if (v != (deny ? 14 : VEC_EXIT) || (deny && (r.err != err || last_cr2 != cr2)))
		fail("%s: vector %d error %lx cr2 %lx, want %s %lx %lx", what, v, r.err, last_cr2, deny ? "fault" : "none", err, cr2);
}

/* A local descriptor table and the second half of the interrupt descriptor table, as QEMU does
 * not have it: whatever AC is. */
static void tables(u64 cr4)
{
	u64 va = UDATA + 0x10000, ldt_pa = map_new(va, RW | US), half = va + 0x2000, i0 = map_new(half - 4096, RW);
	u64 i1 = map_new(half, RW | US), base = half - 0xc0 * 16;
	struct { u16 limit; u64 base; } __attribute__((packed)) d = { 4095, base }, old = { 4095, (u64)idt };

	((u64 *)virt(ldt_pa))[0] = 0x00cff3000000ffff;
	gdt[13] = 4095 | (va & 0xffffff) << 16 | 0x82UL << 40 | (va >> 24 & 0xff) << 56;
	gdt[14] = va >> 32;
	set_gate(0xd0, (u64)trap_entries + 16 * VEC_EXIT, 0, 0xee);
	memcpy(virt(i0 + 4096 - 0xc0 * 16), idt, 0xc0 * 16);
	memcpy(virt(i1), idt + 0xc0, 0x40 * 16);
	for (u64 ac = 0; ac <= AC; ac += AC) {
		bool deny = (cr4 & SMAP) && (!ac || !tcg());

		regs_init(&r);
		r.rflags |= ac;
		expect("descriptor", run(&r, i_lldt), deny, 1, va);
		asm volatile("mov %0,%%fs; lldt %%ax" : : "r"(0), "a"(0));
		asm volatile("lidt %0" : : "m"(d));
		regs_init(&r);
		r.rflags |= ac;
		expect("gate", run(&r, i_int), deny, 1, half + 0x100);
		regs_init(&r);
		r.rflags |= ac;
		expect("gate for user code", RUN_USER(&r, i_int), cr4 & SMAP, 1, half + 0x100);
		asm volatile("lidt %0" : : "m"(old));
	}
	gdt[13] = gdt[14] = 0;
	unmap(va);
	unmap(half);
	unmap(half - 4096);
}

/* The stacks of a TSS whose first part lies in a user page. */
static void task_state(u64 cr4)
{
	u64 half = UDATA + 0x21000, a = map_new(half - 4096, RW | US), b = map_new(half, RW), t = half - 28, was[2];

	memcpy(virt(a + 4096 - 28), &tss, 28);
	memcpy(virt(b), (u8 *)&tss + 28, sizeof(tss) - 28);
	was[0] = gdt[8] & ~(2UL << 40);
	was[1] = gdt[9];
	gdt[8] = (sizeof(tss) - 1) | (t & 0xffffff) << 16 | 0x89UL << 40 | (t >> 24 & 0xff) << 56;
	gdt[9] = t >> 32;
	asm volatile("ltr %w0" : : "r"(SEL_TSS));
	set_gate(0x82, (u64)trap_entries + 16 * VEC_EXIT, 0, 0xee);
	for (u64 ac = 0; ac <= AC; ac += AC) {
		regs_init(&r);
		r.rflags |= ac;
		expect("task state", RUN_USER(&r, i_int_user), cr4 & SMAP, 1, t + 4);
	}
	gdt[8] = was[0];
	gdt[9] = was[1];
	asm volatile("ltr %w0" : : "r"(SEL_TSS));
	unmap(half);
	unmap(half - 4096);
}

/* Frames: from user code implicit, from the kernel explicit accesses. */
static void frames(u64 cr4)
{
	u64 va = UDATA + 0x30000, *u = virt(map_new(va, RW | US)), rsp0 = tss.rsp[0];

	set_gate(0x82, (u64)trap_entries + 16 * VEC_EXIT, 0, 0xee);
	for (u64 ac = 0; ac <= AC; ac += AC) {
		tss.rsp[0] = va + 0x800;
		regs_init(&r);
		r.rflags |= ac;
		if (cr4 & SMAP) { /* else the handler would have to live there */
			int v = RUN_USER(&r, i_int_user);
			CHECK(v == 14 && r.err == 3 && last_cr2 >= va + 0x800 - 40 && last_cr2 < va + 0x800,
			      "frame of user code: vector %d error %lx cr2 %lx", v, r.err, last_cr2);
		}
		tss.rsp[0] = rsp0;
		regs_init(&r);
		r.rflags |= ac;
		r.rsp = va + 0x800;
		if ((cr4 & SMAP) && !ac) {
			int v = run(&r, i_int_user);
			CHECK(v == 14 && r.err == 3 && last_cr2 >= va + 0x800 - 40 && last_cr2 < va + 0x800,
			      "frame of the kernel: vector %d error %lx cr2 %lx", v, r.err, last_cr2);
		} else {
			expect("frame of the kernel", run(&r, i_int_user), false, 0, 0);
			EQ("pushed RSP", u[0x7f0 / 8], va + 0x800);
		}
		u[0x800 / 8] = (u64)i_iret_to;
		u[0x808 / 8] = SEL_KCS;
		u[0x810 / 8] = 2;
		u[0x818 / 8] = TEST_RSP;
		u[0x820 / 8] = SEL_KDS;
		regs_init(&r);
		r.rflags |= ac;
		r.rsi = va + 0x800;
		bool deny = (cr4 & SMAP) && !ac;
		int v = run(&r, i_iret);
		CHECK(v == (deny ? 14 : VEC_EXIT) && (!deny || (r.err == 1 && last_cr2 - va - 0x800 < 40)),
		      "IRET: vector %d error %lx cr2 %lx", v, r.err, last_cr2);
	}
	unmap(va);
}

static void implicit(void)
{
	if (!offered())
		return;
	map_new(UDATA, US);
	for (u32 i = 0; i < 4; i++) {
		u64 cr4 = i & 1 ? SMAP : 0;

		set_cr4(cr4);
		tables(cr4);
		task_state(cr4);
		frames(cr4);
	}
	set_cr4(0);
}

/* --- what is not offered ----------------------------------------------------------------- */
SNIP(n_cr4, "mov %rax,%cr4");
static void not_offered(void)
{
	static const struct { u32 bit; u64 cr4; } all[] = { { 7, SMEP }, { 20, SMAP } };

	for (u32 i = 0; i < 2; i++) {
		bool there = has(7, 1, all[i].bit);

		regs_init(&r);
		r.rax = rd_cr4() | all[i].cr4;
		EQ("CR4", run(&r, n_cr4), there ? VEC_EXIT : 13);
		EQ("CR4", rd_cr4() & all[i].cr4, there ? all[i].cr4 : 0);
		set_cr4(0);
	}
	regs_init(&r); EQ("stac", run(&r, a_user), has(7, 1, 20) ? VEC_EXIT : 6);
	regs_init(&r); EQ("clac", run(&r, a_user2), has(7, 1, 20) ? VEC_EXIT : 6);
}

const struct test tests[] = {
	{ "smap.operands", operands }, { "smap.switched", switched }, { "smap.flag", flag }, { "smap.single_steps", single_steps },
	{ "smap.calls", calls }, { "smap.code", code }, { "smap.code_crossing", code_crossing },
	{ "smap.implicit", implicit }, { "smap.not_offered", not_offered }, { NULL, NULL },
};
