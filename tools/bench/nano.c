/* nano: cycles of single operations that a virtual machine monitor must take care of, on
 * bare metal. The first seven rows are the nanobenchmarks of Adams and Agesen, "A comparison
 * of software and hardware techniques for x86 virtualization" (2006); kernel mode unless the
 * name says user. One operation includes the loop around it, about one cycle. Prints the
 * lines that tools/bench/run prints. */
#include "lib.h"

#define SAMPLES 5
#define WANT 20000000UL /* cycles for a sample */
#define MISSING (KTEST + 0x7ff000)
#define UMISSING (UDATA + 0x7ff000)
#define TABLE (KTEST + 0x40000000) /* 2 MiB, all of one page table */

/* Time stamp counter before and after a loop of RBX rounds; the difference in RAX. */
#define LOOP(name, setup, code) \
	SNIP(name, "push %rbx; pop %r15\n" setup "\n" \
	     "rdtsc; shl $32, %rdx; lea (%rax, %rdx), %r8\n" \
	     "77:\n" code "\n" \
	     "dec %r15; jnz 77b\n" \
	     "rdtsc; shl $32, %rdx; or %rdx, %rax; sub %r8, %rax")

LOOP(s_syscall, "", "syscall");
LOOP(s_in, "", "mov $0x80, %edx; in %dx, %al");
LOOP(s_cr8wr, "xor %esi, %esi", "mov %rsi, %cr8");
LOOP(s_callret, "jmp 2f; 1: ret; 2:", "call 1b");
LOOP(s_touch, "", "mov (%rsi), %al"); /* the handlers know that it is 2 bytes long */
LOOP(s_div, "xor %ecx, %ecx; xor %edx, %edx", "div %ecx");
LOOP(s_cr3wr, "mov %cr3, %rsi", "mov %rsi, %cr3");
LOOP(s_cr3touch, "mov %cr3, %rsi", "mov %rsi, %cr3; mov (%rdi), %al");
LOOP(s_invlpg, "", "invlpg (%rsi)");
LOOP(s_clisti, "", "cli; sti");
LOOP(s_popf, "", "pushf; popf");
LOOP(s_swapgs, "", "swapgs; swapgs");
LOOP(s_iret, "mov %rsp, %rsi",
     "pushq $0x18; push %rsi; pushf; pushq $0x10; lea 1f(%rip), %rax; push %rax; iretq; 1:");
LOOP(s_rdtsc, "", "rdtsc");
LOOP(s_cpuid, "", "xor %eax, %eax; push %rbx; cpuid; pop %rbx");

/* PTEs of a whole table are written, round and round, to the one frame or the other. */
LOOP(s_ptemod, "xor %ecx, %ecx",
     "mov %rdi, (%rsi, %rcx, 8); xor %r9, %rdi; inc %ecx; and $511, %ecx");
/* A PTE is written, flushed, and the page touched. */
LOOP(s_remap, "", "mov %rdi, (%rsi); xor %r9, %rdi; invlpg (%r10); mov (%r10), %al");

asm(".text\n"
    "nano_sys: sysretq\n"
    "nano_pf: add $8, %rsp\n	addq $2, (%rsp)\n	iretq\n"
    "nano_de: addq $2, (%rsp)\n	iretq\n");
extern char nano_sys[], nano_pf[], nano_de[];

static u64 frames[2];

static void init(void)
{
	wrmsr(0xc0000081, (u64)SEL_UCS32 << 48 | (u64)SEL_KCS << 32);
	wrmsr(0xc0000082, (u64)nano_sys);
	wrmsr(0xc0000084, 0x47700);
	set_gate(14, (u64)nano_pf, 0, 0x8e);
	set_gate(0, (u64)nano_de, 0, 0x8e);
	frames[0] = page_alloc();
	frames[1] = page_alloc();
	for (u32 i = 0; i < 512; i++) {
		map(TABLE + 4096UL * i, frames[0], P | RW | A | D);
		(void)*(volatile u8 *)(TABLE + 4096UL * i);
	}
}

enum where { KERNEL, USER };
static const struct row {
	const char *name;
	enum where where;
	const char *code, *end;
	u64 rsi;
} rows[] = {
	{ "syscall", USER, s_syscall, s_syscall_end, 0 },
	{ "in", KERNEL, s_in, s_in_end, 0 },
	{ "cr8wr", KERNEL, s_cr8wr, s_cr8wr_end, 0 },
	{ "callret", KERNEL, s_callret, s_callret_end, 0 },
	{ "pgfault", KERNEL, s_touch, s_touch_end, MISSING },
	{ "divzero", KERNEL, s_div, s_div_end, 0 },
	{ "ptemod", KERNEL, s_ptemod, s_ptemod_end, 0 },
	{ "callret-user", USER, s_callret, s_callret_end, 0 },
	{ "pgfault-user", USER, s_touch, s_touch_end, UMISSING },
	{ "divzero-user", USER, s_div, s_div_end, 0 },
	{ "remap", KERNEL, s_remap, s_remap_end, 0 },
	{ "invlpg", KERNEL, s_invlpg, s_invlpg_end, TABLE },
	{ "cr3wr", KERNEL, s_cr3wr, s_cr3wr_end, 0 },
	{ "cr3wr-touch", KERNEL, s_cr3touch, s_cr3touch_end, 0 },
	{ "clisti", KERNEL, s_clisti, s_clisti_end, 0 },
	{ "pushf-popf", KERNEL, s_popf, s_popf_end, 0 },
	{ "swapgs-twice", KERNEL, s_swapgs, s_swapgs_end, 0 },
	{ "iret", KERNEL, s_iret, s_iret_end, 0 },
	{ "rdtsc", KERNEL, s_rdtsc, s_rdtsc_end, 0 },
	{ "cpuid", KERNEL, s_cpuid, s_cpuid_end, 0 },
};

/* Cycles of n operations. */
static u64 timed(const struct row *row, u64 n)
{
	static struct regs r;

	regs_init(&r);
	r.rbx = n;
	r.rsi = row->rsi;
	if (!r.rsi) { /* those that use it work on the table */
		r.rsi = (u64)pte_of(TABLE, 1);
		r.r9 = frames[0] ^ frames[1];
		r.r10 = TABLE;
		r.rdi = row->code == s_cr3touch ? TABLE : (frames[1] | P | RW | A | D);
	}
	int v = row->where == USER ? run_user(&r, row->code, row->end) : run(&r, row->code);
	if (v != VEC_EXIT)
		fail("%s: vector %d at %lx", row->name, v, r.rip);
	return r.rax ? r.rax : 1;
}

static void measure(const struct row *row)
{
	u64 n = 16, took = timed(row, n);

	print("@begin nano.%s\n", row->name);
	while (took < WANT / 10)
		took = timed(row, n *= 4);
	n = n * WANT / took + 1;
	for (u32 i = 0; i < SAMPLES; i++) {
		u64 tenths = timed(row, n) * 10 / n;
		print("@row nano.%s %lu.%lu cycles\n", row->name, tenths / 10, tenths % 10);
	}
	print("@end nano.%s 0\n", row->name);
}

static void nano(void)
{
	init();
	print("@start 0\n");
	for (u32 i = 0; i < ARRAY_SIZE(rows); i++)
		measure(&rows[i]);
	print("@done -\n");
}

const struct test tests[] = { { "nano", nano }, { NULL, NULL } };
