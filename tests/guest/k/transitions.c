/* Ways between privileges and code segments: SYSCALL, SYSRET, IRET, SWAPGS, INT n, far
 * jumps; segment registers; FS and GS bases. */
#include "lib.h"

static struct regs r;
#define STAR ((u64)SEL_UCS32 << 48 | (u64)SEL_KCS << 32)

asm(".text\n"
    "sys_entry: mov %rsp, sys_rsp(%rip)\n"
    "	lea sys_stack_end(%rip), %rsp\n"
    "	pushfq\n	pop sys_flags(%rip)\n"
    "	mov %cs, sys_cs(%rip)\n	mov %ss, sys_ss(%rip)\n"
    "	incq sys_count(%rip)\n"
    "	mov %rcx, sys_rcx(%rip)\n	mov %r11, sys_r11(%rip)\n"
    "	mov sys_rsp(%rip), %rsp\n"
    "	sysretq\n"
    "sys_entry_iret: lea sys_stack_end(%rip), %rsp\n"
    "	swapgs\n"
    "	mov %gs:0, %rax\n"
    "	swapgs\n"
    "	pushq $0x2b\n	push %rbx\n	push %r11\n	pushq $0x33\n	push %rcx\n"
    "	iretq\n"
    "sys_entry_read: mov %cs, %edx\n	mov %ss, %r8\n"
    "	mov %rsp, sys_rsp(%rip)\n"
    "	lea sys_stack_end(%rip), %rsp\n"
    "	push %rsp\n	pop %r9\n"
    "	mov sys_rsp(%rip), %rsp\n"
    "	sysretq\n"
    ".bss\n.balign 16\n.fill 4096\nsys_stack_end:\n"
    "sys_rsp: .quad 0\nsys_flags: .quad 0\nsys_cs: .quad 0\nsys_ss: .quad 0\nsys_count: .quad 0\n"
    "sys_rcx: .quad 0\nsys_r11: .quad 0\n.text\n");
extern char sys_entry[], sys_entry_iret[], sys_entry_read[], sys_stack_end[];
extern u64 sys_flags, sys_cs, sys_ss, sys_count, sys_rcx, sys_r11;

SNIP(u_sys, "syscall; us_after: nop");
LABEL(us_after);
SNIP(u_sys_many, "mov $2000, %ebx; 1: syscall; dec %ebx; jnz 1b");
SNIP(u_sys_cmp, "mov %rsp,%rbx; syscall; cmp %rsp,%rbx; sete %al");
SNIP(u_sys_read, "mov $100,%r14d; xor %r12d,%r12d; xor %r13d,%r13d; "
     "1: cpuid; syscall; add %rdx,%r12; add %r8,%r13; dec %r14d; jnz 1b");
SNIP(u_gs, "mov %gs:8,%rax; mov %fs:16,%rbx; syscall; mov %gs:8,%rcx");
SNIP(k_sysret_bad, "mov $0x8000000000000000,%rcx; sysretq");

static void init(void)
{
	wrmsr(0xc0000081, STAR);
	wrmsr(0xc0000082, (u64)sys_entry);
	wrmsr(0xc0000084, 0x47700);
}

static void syscall_basic(void)
{
	init();
	regs_init(&r);
	r.rflags = 0x8d7;
	EQ("exit", RUN_USER(&r, u_sys), VEC_EXIT);
	u64 after = UCODE + (u64)us_after - (u64)u_sys;
	EQ("rcx", r.rcx, after);
	EQ("rcx in kernel", sys_rcx, after);
	EQ("r11", r.r11 & ~0x10000UL, 0x8d7 | user_if);
	if (!tcg())
		EQ("flags in kernel", sys_flags & 0xfd5 & ~0x400UL, 0x8d5); /* arithmetic kept */
	EQ("cs", sys_cs & 0xffff, SEL_KCS);
	EQ("ss", sys_ss & 0xffff, SEL_KDS);
	EQ("user cs", r.cs, SEL_UCS);
	EQ("user ss", r.ss, SEL_UDS);
	EQ("flags back", r.rflags & 0xfd5, 0x8d5 | user_if);
	regs_init(&r);
	r.rflags = 0xe02; /* OF, DF, IF */
	RUN_USER(&r, u_sys);
	EQ("masked in kernel", sys_flags & 0x700, 0);
	if (!tcg())
		EQ("OF stays", sys_flags & 0x800, 0x800);
	EQ("all back", r.rflags & 0xf02, 0xe02);
	regs_init(&r);
	RUN_USER(&r, u_sys_cmp);
	EQ("rsp kept", r.rax & 0xff, 1);
	u64 c = sys_count;
	regs_init(&r);
	EQ("exit", RUN_USER(&r, u_sys_many), VEC_EXIT);
	EQ("count", sys_count - c, 2000);
}

/* Where SYSCALL needs no monitor: interrupts on, and FMASK as systems set it. */
static void syscall_reads_segments(void)
{
	init();
	wrmsr(0xc0000082, (u64)sys_entry_read);
	wrmsr(0xc0000084, 0x257fd5);
	regs_init(&r);
	r.rflags |= 0x200;
	EQ("exit", RUN_USER(&r, u_sys_read), VEC_EXIT);
	EQ("cs", r.r12, 100 * SEL_KCS);
	EQ("ss", r.r13, 100 * SEL_KDS);
	EQ("rsp", r.r9, (u64)sys_stack_end);
	init();
}

static void syscall_disabled(void)
{
	wrmsr(0xc0000080, rdmsr(0xc0000080) & ~1UL);
	regs_init(&r);
	EQ("vector", RUN_USER(&r, u_sys), 6);
	wrmsr(0xc0000080, rdmsr(0xc0000080) | 1);
	regs_init(&r);
	EQ("sysret in user", RUN_USER(&r, k_sysret_bad), 13);
	if (!tcg()) {
		regs_init(&r);
		EQ("sysret to non-canonical", run(&r, k_sysret_bad), 13);
		EQ("cpl", r.cs, SEL_KCS);
	}
}

static void swapgs(void)
{
	static u64 kdata[4] = { 0x1111, 0x2222 };
	u64 pa = map_new(UDATA, US | RW), *u = virt(pa);

	init();
	wrmsr(0xc0000082, (u64)sys_entry_iret);
	u[1] = 0xaaaa;
	u[2] = 0xbbbb;
	for (u32 i = 0; i < 300; i++) {
		wrmsr(0xc0000100, UDATA);
		wrmsr(0xc0000101, UDATA);
		wrmsr(0xc0000102, (u64)kdata);
		regs_init(&r);
		kdata[0] = 0x1111 + i;
		r.rsp = USTACK_TOP - 0x100;
		EQ("exit", RUN_USER(&r, u_gs), VEC_EXIT);
		EQ("kernel gs", r.rax, 0x1111 + i);
		EQ("user fs", r.rbx, 0xbbbb);
		EQ("user gs", r.rcx, 0xaaaa);
		EQ("GS base", rdmsr(0xc0000101), UDATA);
		EQ("kernel GS base", rdmsr(0xc0000102), (u64)kdata);
	}
	wrmsr(0xc0000082, (u64)sys_entry);
	wrmsr(0xc0000101, 0);
}

SNIP(k_iret, "mov %rsp,%rbx; push $0x18; lea -64(%rbx),%rax; push %rax; push $0x8d7; push $0x10; lea 1f(%rip),%rax; push %rax; iretq; 1: mov %rsp,%rcx; pushfq; pop %rdx");
SNIP(k_iret_bad_cs, "mov %rsp,%rbx; push $0x18; push %rbx; push $2; push $0x48; lea 1f(%rip),%rax; push %rax; iretq; 1:");
SNIP(k_iret_null_cs, "mov %rsp,%rbx; push $0x18; push %rbx; push $2; push $0; lea 1f(%rip),%rax; push %rax; iretq; 1:");
SNIP(k_iret_rip, "mov %rsp,%rbx; push $0x18; push %rbx; push $2; push $0x10; mov $0x8000000000000000,%rax; push %rax; iretq");

SNIP(k_iret_nullss, "mov %rsp,%rbx; push $0; push %rbx; push $2; push $0x10; lea 1f(%rip),%rax; push %rax; iretq; 1: mov %ss,%ecx");
SNIP(u_iret, "mov %rsp,%rbx; push $0x2b; push %rbx; push $0x246; push $0x33; lea 1f(%rip),%rax; push %rax; iretq; 1: pushfq; pop %rdx");
SNIP(u_iret_k, "mov %rsp,%rbx; push $0x18; push %rbx; push $2; push $0x10; lea 1f(%rip),%rax; push %rax; iretq; 1: nop");

static void iret(void)
{
	regs_init(&r);
	EQ("exit", run(&r, k_iret), VEC_EXIT);
	EQ("rsp", r.rcx, TEST_RSP - 64);
	EQ("flags", r.rdx, 0x8d7);
	regs_init(&r); EQ("bad cs", run(&r, k_iret_bad_cs), 13); EQ("err", r.err, 0x48);
	regs_init(&r); EQ("null cs", run(&r, k_iret_null_cs), 13); EQ("err", r.err, 0);
	if (!tcg()) {
		regs_init(&r); EQ("rip", run(&r, k_iret_rip), 13); EQ("err", r.err, 0);
	}
	regs_init(&r); EQ("null ss at CPL 0", run(&r, k_iret_nullss), VEC_EXIT); EQ("ss", r.rcx, 0);
	regs_init(&r); EQ("user", RUN_USER(&r, u_iret), VEC_EXIT); EQ("IF kept", r.rdx & 0x200, user_if);
	EQ("other flags", r.rdx & 0x44, 0x44);
	regs_init(&r); EQ("user to kernel", RUN_USER(&r, u_iret_k), 13); EQ("err", r.err, 0x10);
}

SNIP(k_lret, "push $0x10; lea 1f(%rip),%rax; push %rax; lretq; 1: mov %rsp,%rcx");
SNIP(k_lret_imm, "mov %rsp,%rbx; sub $32,%rsp; push $0x10; lea 1f(%rip),%rax; push %rax; lretq $32; 1: mov %rsp,%rcx");
SNIP(k_ljmp, "sub $16,%rsp; lea 1f(%rip),%rax; mov %rax,(%rsp); movw $0x10,8(%rsp); rex.w ljmp *(%rsp); ud2; 1: add $16,%rsp; mov $7,%ecx");
SNIP(k_lcall, "sub $16,%rsp; lea 1f(%rip),%rax; mov %rax,(%rsp); movw $0x10,8(%rsp); rex.w lcall *(%rsp); mov $9,%edx; jmp 2f; 1: mov $8,%ecx; mov (%rsp),%rsi; mov 8(%rsp),%rdi; lretq; 2:");
SNIP(k_conform, "push $0x50; lea 1f(%rip),%rax; push %rax; lretq; 1: mov %cs,%ecx; push $0x10; lea 1f(%rip),%rax; push %rax; lretq; 1:");
SNIP(k_lret_user, "mov %rsp,%rbx; push $0x2b; push %rsi; push $0x33; push %rdi; lretq");
SNIP(k_ljmp_bad, "sub $16,%rsp; lea 1f(%rip),%rax; mov %rax,(%rsp); movw $0x18,8(%rsp); rex.w ljmp *(%rsp); 1:");
SNIP(u_exit, "nop");
SNIP(u_seg, "mov %cs,%eax; mov %ss,%ebx; mov %ds,%ecx; mov $0x2b,%edx; mov %edx,%ds; mov %edx,%es; mov %ds,%esi; mov $0x63,%edx; mov %edx,%es");
SNIP(u_seg_bad, "mov $0x18,%edx; mov %edx,%ds");
SNIP(u_seg_ro, "mov $0x63,%edx; mov %edx,%ss");

static void far_transfers(void)
{
	regs_init(&r); EQ("lret", run(&r, k_lret), VEC_EXIT); EQ("rsp", r.rcx, TEST_RSP);
	regs_init(&r); EQ("lret imm", run(&r, k_lret_imm), VEC_EXIT); EQ("rsp", r.rcx, TEST_RSP);
	regs_init(&r); EQ("ljmp", run(&r, k_ljmp), VEC_EXIT); EQ("rcx", r.rcx, 7);
	regs_init(&r); EQ("lcall", run(&r, k_lcall), VEC_EXIT); EQ("rcx", r.rcx, 8); EQ("rdx", r.rdx, 9);
	EQ("pushed cs", r.rdi, SEL_KCS);
	regs_init(&r); EQ("conforming", run(&r, k_conform), VEC_EXIT); EQ("cs", r.rcx, SEL_CONF);
	regs_init(&r); EQ("ljmp to data", run(&r, k_ljmp_bad), 13); EQ("err", r.err, 0x18);
	regs_init(&r); RUN_USER(&r, u_exit); /* loads the user page */
	regs_init(&r); r.rdi = UCODE; r.rsi = USTACK_TOP - 64;
	EQ("lret to user", run(&r, k_lret_user), VEC_EXIT);
	EQ("cs", r.cs, SEL_UCS); EQ("rsp", r.rsp, USTACK_TOP - 64); EQ("ss", r.ss, SEL_UDS);
}

static void segments(void)
{
	regs_init(&r); EQ("user", RUN_USER(&r, u_seg), VEC_EXIT);
	EQ("cs", r.rax, SEL_UCS); EQ("ss", r.rbx, SEL_UDS); EQ("ds", r.rsi, 0x2b);
	regs_init(&r); EQ("DPL", RUN_USER(&r, u_seg_bad), 13); EQ("err", r.err, 0x18);
	regs_init(&r); EQ("read-only ss", RUN_USER(&r, u_seg_ro), 13); EQ("err", r.err, 0x60);
	u64 v;
	u16 t;
	asm volatile("str %0" : "=r"(v)); EQ("str", v & 0xffff, SEL_TSS);
	asm volatile("sldt %w0" : "=r"(t)); EQ("sldt", t, 0);
	struct { u16 l; u64 b; } __attribute__((packed)) d;
	asm volatile("sgdt %0" : "=m"(d)); EQ("gdt", d.b, (u64)gdt); EQ("limit", d.l, sizeof(gdt) - 1);
	asm volatile("sidt %0" : "=m"(d)); EQ("idt", d.b, (u64)idt); EQ("limit", d.l, 4095);
	asm volatile("smsw %0" : "=r"(v)); EQ("smsw", v & 0xffff, rd_cr0() & 0xffff);
	u32 ar = 0; u8 zf;
	asm volatile("lar %2,%0; setz %1" : "=r"(ar), "=q"(zf) : "r"(SEL_KDS)); EQ("lar ok", zf, 1); EQ("lar", ar & 0xff00, 0x9300);
	asm volatile("lar %2,%0; setz %1" : "+r"(ar), "=q"(zf) : "r"(0x1230)); EQ("lar bad", zf, 0);
	asm volatile("lsl %2,%0; setz %1" : "=r"(ar), "=q"(zf) : "r"(SEL_TSS)); EQ("lsl", ar, sizeof(tss) - 1);
	asm volatile("verr %w1; setz %0" : "=q"(zf) : "r"(SEL_KDS)); EQ("verr", zf, 1);
	asm volatile("verw %w1; setz %0" : "=q"(zf) : "r"(SEL_KCS)); EQ("verw", zf, 0);
	EQ("tss busy", gdt[8] >> 40 & 0xff, 0x8b);
}

static void bases(void)
{
	static u64 a[64], b[64];

	for (u32 i = 0; i < 64; i++)
		a[i] = 1000 + i, b[i] = 2000 + i;
	for (u32 i = 0; i < 20; i++) {
		wrmsr(0xc0000100, (u64)&a[i]);
		wrmsr(0xc0000101, (u64)&b[i]);
		u64 x, y;
		asm volatile("mov %%fs:8, %0; mov %%gs:16, %1" : "=r"(x), "=r"(y));
		EQ("fs", x, 1001 + i);
		EQ("gs", y, 2002 + i);
		asm volatile("addq $5, %%gs:0; movq $3, %%fs:0" : : : "memory");
		EQ("gs store", b[i], 2005 + i);
		EQ("fs store", a[i], 3);
		b[i] = 2000 + i;
		a[i] = 1000 + i;
		asm volatile("mov %%gs:(%1,%2,8), %0" : "=r"(x) : "r"((u64)8), "r"((u64)2));
		EQ("gs index", x, 2003 + i);
		asm volatile(".byte 0x65; lea 8(%1), %0" : "=r"(x) : "r"((u64)5));
		EQ("lea ignores gs", x, 13);
		if (has(7, 1, 0)) {
			asm volatile("rdfsbase %0; rdgsbase %1" : "=r"(x), "=r"(y));
			EQ("rdfsbase", x, (u64)&a[i]);
			EQ("rdgsbase", y, (u64)&b[i]);
			asm volatile("wrgsbase %1; mov %%gs:0, %0" : "=r"(y) : "r"(&a[10]));
			EQ("wrgsbase", y, 1010);
		}
		wrmsr(0xc0000102, (u64)&a[20]);
		asm volatile("swapgs; mov %%gs:0, %0; swapgs" : "=r"(x));
		EQ("swapgs", x, 1020);
	}
	/* addresses that wrap and negative displacements */
	wrmsr(0xc0000101, 0x1000);
	u64 x;
	asm volatile("mov %%gs:(%1), %0" : "=r"(x) : "r"((u64)&a[3] - 0x1000));
	EQ("gs wraps", x, 1003);
	asm volatile("mov %%gs:-0x1000(%1), %0" : "=r"(x) : "r"((u64)&a[4]));
	EQ("gs negative", x, 1004);
	wrmsr(0xc0000101, 0);
	wrmsr(0xc0000100, 0);
	/* selector loads set the base */
	asm volatile("mov %0, %%gs" : : "r"(SEL_KDS));
	EQ("gs base by selector", rdmsr(0xc0000101), 0);
	asm volatile("mov %0, %%gs" : : "r"(0));
	if (!tcg())
		EQ("non-canonical base", try_wrmsr(0xc0000101, 1UL << 63), 13);
}

SNIP(u_int, "mov $1000,%ebx; 1: int $0x42; dec %ebx; jnz 1b");
static u64 ints;
static void count(struct regs *f)
{
	ints++;
	f->rcx = ints;
}

static void int_n(void)
{
	set_gate(0x42, (u64)trap_entries + 16 * 0x42, 0, 0xee);
	on_vector(0x42, count);
	ints = 0;
	regs_init(&r);
	EQ("user", RUN_USER(&r, u_int), VEC_EXIT);
	EQ("count", ints, 1000);
	EQ("rcx", r.rcx, 1000);
	regs_init(&r);
	EQ("kernel", run(&r, u_int), VEC_EXIT);
	EQ("count", ints, 2000);
}

SNIP(u_iretq, "mov %rsi,%rsp; iretq"); SNIP(u_iretd, "mov %rsi,%rsp; iretl");
SNIP(u_retfq, "mov %rsi,%rsp; lretq"); SNIP(u_retfd, "mov %rsi,%rsp; lretl");
/* IRET reads flags, CS and RIP in this order, far RET reads CS first. */
static void return_read_order(void)
{
	u64 absent = UDATA + 0x5000;

	unmap(absent);
	unmap(absent - 4096);
	for (u32 i = 0; i < 3; i++) { /* at the page, with its last slots before it, in the page before */
		u64 at = absent - 8 * i;
		if (tcg())
			break;
		if (i)
			map_new(absent - 4096, US | RW);
		regs_init(&r); r.rsi = at;
		EQ("iretq", RUN_USER(&r, u_iretq), 14); EQ("flags of iretq", last_cr2, at + 16);
		regs_init(&r); r.rsi = absent - 4 * i;
		EQ("iretd", RUN_USER(&r, u_iretd), 14); EQ("flags of iretd", last_cr2, absent - 4 * i + 8);
	}
	unmap(absent - 4096);
	regs_init(&r); r.rsi = absent;
	EQ("retfq", RUN_USER(&r, u_retfq), 14); EQ("cs of retfq", last_cr2, absent + (tcg() ? 0 : 8));
	regs_init(&r); r.rsi = absent;
	EQ("retfd", RUN_USER(&r, u_retfd), 14); EQ("cs of retfd", last_cr2, absent + (tcg() ? 0 : 4));
}

/* The same place holds an instruction whose operand is a device, then another one. */
SNIP(k_place, "mov (%rsi),%rax");
static void softness_forgotten(void)
{
	u64 code = KTEST + 0x900000, pa = map_new(code, RW);

	(void)pa;
	for (u32 i = 0; i < 3; i++) {
		memcpy((void *)code, k_place, (u64)(k_place_end - k_place));
		regs_init(&r);
		r.rsi = DIRECT + 0xfee00030; /* local APIC version */
		EQ("device", run(&r, (void *)code), VEC_EXIT);
		*(u64 *)(code + 0x800) = 0x1234 + i;
		regs_init(&r);
		r.rsi = code + 0x800;
		EQ("memory", run(&r, (void *)code), VEC_EXIT);
		EQ("loaded", r.rax, 0x1234 + i);
		*(u8 *)(code + 1) = 0x89; /* mov %rax, (%rsi) */
		regs_init(&r);
		r.rsi = code + 0x808;
		r.rax = i;
		EQ("other instruction", run(&r, (void *)code), VEC_EXIT);
		EQ("stored", *(u64 *)(code + 0x808), i);
	}
}

/* Bases written by kernel code, in every place where that can be noticed. */
SNIP(k_wrfs, "wrfsbase %rax; rdfsbase %rbx");
SNIP(k_wrgs, "wrgsbase %rax; rdgsbase %rbx");
SNIP(k_bases, "mov %rax,%rdx; mov $0x40,%ecx\n"
     "1: wrgsbase %rax; cmp %gs:0,%rsi; jne 9f; swapgs; wrgsbase %rdi; swapgs; cmp %gs:0,%rsi; jne 9f\n"
     "swapgs; rdgsbase %rbx; cmp %gs:8,%rsi; je 9f; swapgs; cmp %rbx,%rdi; jne 9f; rdgsbase %rbx; cmp %rax,%rbx; jne 9f\n"
     "wrfsbase %rdi; cmpq $2,%fs:0; jne 9f; wrfsbase %rcx; rdfsbase %rbx; cmp %rcx,%rbx; jne 9f; dec %ecx; jnz 1b; 9: nop");
SNIP(k_sels, "mov $-1,%rax; mov $-1,%rbx; mov $-1,%rcx; mov $-1,%rdx; mov %ds,%eax; mov %es,%rbx; mov %fs,%ecx; mov %gs,%dx");

static void written_bases(void)
{
	static u64 one[2] = { 1, 1 }, two[2] = { 2, 2 };
	u64 fs = rdmsr(0xc0000100), gs = rdmsr(0xc0000101);

	for (u32 i = 0; i < 20; i++) {
		regs_init(&r);
		asm volatile("mov %0, %%ds; mov %0, %%es; mov %0, %%fs; mov %1, %%gs" : : "r"(SEL_KDS), "r"(i & 1 ? SEL_KDS : 0));
		EQ("selectors", run(&r, k_sels), VEC_EXIT);
		EQ("ds", r.rax, SEL_KDS); EQ("es", r.rbx, SEL_KDS); EQ("fs", r.rcx, SEL_KDS);
		EQ("gs", r.rdx, 0xffffffffffff0000 | (i & 1 ? SEL_KDS : 0));
		asm volatile("mov %0, %%ds; mov %0, %%es; mov %0, %%fs; mov %0, %%gs" : : "r"(0));
		if (!has(7, 1, 0))
			continue;
		for (u32 k = 0; k < 4; k++) {
			static const u64 to[] = { 0x7fffffffffff, 0x800000000000, 0xffff7fffffffffff, 0xffff800000000000 };
			for (u32 g = 0; g < 2; g++) {
				regs_init(&r);
				r.rax = to[k];
				r.rbx = 7;
				EQ("canonical?", run(&r, g ? k_wrgs : k_wrfs), k % 3 ? 13 : VEC_EXIT);
				EQ("read", r.rbx, k % 3 ? 7 : to[k]);
				EQ("msr", rdmsr(0xc0000100 + g) == to[k], k % 3 == 0);
			}
		}
		regs_init(&r);
		r.rax = (u64)one;
		r.rdi = (u64)two;
		r.rsi = 1;
		EQ("bases", run(&r, k_bases), VEC_EXIT);
		EQ("to go", r.rcx, 0);
		wr_cr4(rd_cr4() & ~(1UL << 16));
		regs_init(&r); EQ("not enabled", run(&r, k_wrfs), 6);
		regs_init(&r); EQ("not enabled", run(&r, k_wrgs), 6);
		wr_cr4(rd_cr4() | 1UL << 16);
	}
	wrmsr(0xc0000100, fs);
	wrmsr(0xc0000101, gs);
}

const struct test tests[] = {
	{ "transitions.return_read_order", return_read_order },
	{ "transitions.softness_forgotten", softness_forgotten },
	{ "transitions.syscall", syscall_basic }, { "transitions.syscall_reads_segments", syscall_reads_segments },
	{ "transitions.syscall_disabled", syscall_disabled },
	{ "transitions.swapgs", swapgs }, { "transitions.iret", iret },
	{ "transitions.far", far_transfers }, { "transitions.segments", segments },
	{ "transitions.bases", bases }, { "transitions.written_bases", written_bases }, { "transitions.int_n", int_n }, { NULL, NULL },
};
