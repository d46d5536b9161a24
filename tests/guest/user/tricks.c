/* Classical tricks of user code against a kernel or a monitor that shares its address space:
 * what each raises is printed, trap number, error code and address as the kernel saw them, so
 * that a run inside a guest can be compared with one on the real processor.
 *
 * usage: tricks [all|brief]   all: also those whose result depends on the processor's features;
 *                             brief: a loop that takes long, where every branch does, is shorter */
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

static sigjmp_buf back;
static uint8_t *code, *low; /* executable; low: below 4 GiB */
static uint64_t *stack, *data;
static struct { int sig, code; unsigned long trap, err, cr2; long rip; } got;
/* Single steps that go on: where each trap was, what it left to repeat, and the flags. */
#define STEPS 12
static struct { int on, n; struct { long rip, rcx, flags; } at[STEPS]; } steps;
uint64_t result_rax, result_flags, saved_rsp;

static void on_signal(int sig, siginfo_t *si, void *p)
{
	ucontext_t *uc = p;
	greg_t *g = uc->uc_mcontext.gregs;

	__asm__ volatile("pushq $0x202\n\tpopfq" : : : "memory", "cc");
	if (steps.on && sig == SIGTRAP && steps.n < STEPS) {
		steps.at[steps.n].rip = g[REG_RIP] - (greg_t)code;
		steps.at[steps.n].rcx = g[REG_RCX];
		steps.at[steps.n++].flags = g[REG_EFL] & 0x8d5;
		if (steps.n < steps.on)
			return;
	}
	got.sig = sig;
	got.code = si->si_code;
	got.trap = (unsigned long)g[REG_TRAPNO];
	got.err = (unsigned long)g[REG_ERR];
	got.cr2 = got.trap == 14 ? (unsigned long)g[REG_CR2] : 0;
	got.rip = g[REG_RIP] - (greg_t)code;
	if (got.rip < 0 || got.rip > 4096)
		got.rip = -1;
	siglongjmp(back, 1);
}

/* Where a snippet ends that raises nothing. */
extern uint8_t finished[];
__asm__("finished:\n\tmov %rax, result_rax(%rip)\n\tmov saved_rsp(%rip), %rsp\n\tpushfq\n\tpopq result_flags(%rip)\n\t"
	"pushq $0x202\n\tpopfq\n\tcld\n\tjmp finished_c");
void finished_c(void);
void finished_c(void) { siglongjmp(back, 2); }

static void put_snippet(const void *bytes, size_t len)
{
	static const uint8_t jmp[] = { 0xff, 0x25, 0, 0, 0, 0 };
	uint64_t to = (uint64_t)finished;

	code += 4096; /* code that was never written since it ran */
	memcpy(code, bytes, len);
	memcpy(code + len, jmp, 6);
	memcpy(code + len + 6, &to, 8);
}

static void enter(uint64_t rax, uint64_t rcx, uint64_t rdx, uint64_t rsi, uint64_t rdi, uint64_t rsp)
{
	static uint64_t regs[8];

	regs[0] = rax, regs[1] = rcx, regs[2] = rdx, regs[3] = rsi, regs[4] = rdi, regs[5] = rsp, regs[6] = (uint64_t)code;
	__asm__ volatile("mov %0, %%rbx\n\tmov %%rsp, %%rax\n\tsub $256, %%rax\n\tmov %%rax, saved_rsp(%%rip)\n\t"
			 "mov (%%rbx), %%rax\n\tmov 8(%%rbx), %%rcx\n\tmov 16(%%rbx), %%rdx\n\tmov 24(%%rbx), %%rsi\n\t"
			 "mov 32(%%rbx), %%rdi\n\tmov 40(%%rbx), %%rsp\n\tjmp *48(%%rbx)"
			 : : "r"(regs) : "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "memory");
}

static void try(const char *name, uint64_t arg, const void *bytes, size_t len, uint64_t rax, uint64_t rcx, uint64_t rdx,
		uint64_t rsi, uint64_t rdi, uint64_t rsp)
{
	put_snippet(bytes, len);
	memset(&got, 0, sizeof(got));
	if (sigsetjmp(back, 1) == 0)
		enter(rax, rcx, rdx, rsi, rdi, rsp);
	__asm__ volatile("mov %0, %%ds\n\tmov %0, %%es" : : "r"(0));
	if (got.sig)
		printf("%s %lx: signal %d code %d trap %lu error %lx cr2 %lx at %ld\n", name, arg, got.sig, got.code, got.trap,
		       got.err, got.cr2, got.rip);
	else
		printf("%s %lx: ok\n", name, arg);
}

#define B(...) (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ })
#define STACK_MIDDLE ((uint64_t)(stack + 512))

/* --- addresses ------------------------------------------------------------------------------ */
static const uint64_t addresses[] = {
	0, 0x1000, 0xffffffff81000000, 0xffff888000000000, 0xffff800000000000, 0xffffffffff5ff000, 0xfffffe0000000000,
	0x77ff81000000, 0x8000000000, 0x77ffffffffff, 0x7fffffffefff, 0x7ffffffff000, 0x7fffffffffff, 0x800000000000, 0x8000000000000000,
	0xffff7fffffffffff, 0x780000001000, 0x7fff80000000, 0x768000000000, 0x768000001000, 0x768100000000, 0x768100100000,
	0x768200000000, 0x768200001000, 0x768207ffffff, 0x768240000000, 0x768240000100, 0x768300000000, 0x768400000000, 0x768400100ff8,
	0x768400400000, 0x768500000000, 0x769000000000, 0x769001000000, 0x76fffffff000, 0x76ffffffffff, 0xfffffe8000000000,
	0xfffffe8200000000, 0xfffffe9000000000,
};

static void touch(void)
{
	static const struct { const char *name; uint8_t len, code[12]; } ways[] = {
		{ "read", 3, { 0x48, 0x8b, 0x06 } },
		{ "write", 3, { 0x48, 0x89, 0x06 } },
		{ "lock-add", 4, { 0xf0, 0x48, 0x01, 0x06 } },
		{ "movups", 3, { 0x0f, 0x10, 0x06 } },
		{ "fxrstor", 3, { 0x0f, 0xae, 0x0e } },
		{ "jump", 2, { 0xff, 0xe6 } },
		{ "call", 2, { 0xff, 0xd6 } },
		{ "ret", 2, { 0x56, 0xc3 } },
		{ "push", 4, { 0x48, 0x89, 0xf4, 0x50 } },
		{ "pop", 4, { 0x48, 0x89, 0xf4, 0x58 } },
		{ "rep-movsb", 2, { 0xf3, 0xa4 } },
		{ "rep-stosb", 5, { 0x48, 0x89, 0xf7, 0xf3, 0xaa } },
		{ "prefetch", 3, { 0x0f, 0x18, 0x0e } },
		{ "gs-read", 4, { 0x65, 0x48, 0x8b, 0x06 } },
		{ "xlat", 4, { 0x48, 0x89, 0xf3, 0xd7 } },
		{ "cmpxchg16b", 4, { 0x48, 0x0f, 0xc7, 0x0e } },
		{ "jump-through", 2, { 0xff, 0x26 } },
		{ "far-jump-through", 3, { 0x48, 0xff, 0x2e } },
	};

	for (unsigned w = 0; w < sizeof(ways) / sizeof(*ways); w++)
		for (unsigned a = 0; a < sizeof(addresses) / sizeof(*addresses); a++)
			try(ways[w].name, addresses[a], ways[w].code, ways[w].len, 0, 1, 0, addresses[a], (uint64_t)data, STACK_MIDDLE);
}

/* What writes to a stack that is not there, without an operand that it writes. */
static void pushes(void)
{
	static const struct { const char *name; uint8_t len, code[8]; } ways[] = {
		{ "push-rax", 1, { 0x50 } }, { "push-imm", 2, { 0x6a, 1 } }, { "push-memory", 2, { 0xff, 0x36 } },
		{ "push-fs", 2, { 0x0f, 0xa0 } }, { "pushf", 1, { 0x9c } }, { "near-call", 5, { 0xe8, 0, 0, 0, 0 } },
		{ "call-memory", 2, { 0xff, 0x16 } }, { "far-call", 3, { 0x48, 0xff, 0x1e } }, { "enter", 4, { 0xc8, 8, 0, 0 } },
		{ "pop-memory", 2, { 0x8f, 0x06 } },
	};
	struct __attribute__((packed)) { uint64_t off; uint16_t sel; } far = { (uint64_t)finished, 0x33 };

	memcpy(data, &far, sizeof(far));
	for (unsigned w = 0; w < sizeof(ways) / sizeof(*ways); w++)
		try(ways[w].name, 0x5000, ways[w].code, ways[w].len, 0, 0, 0, (uint64_t)data, 0, 0x5000);
}

/* --- segments --------------------------------------------------------------------------------- */
static const uint16_t selectors[] = {
	0, 1, 2, 3, 4, 7, 8, 0xb, 0x10, 0x13, 0x18, 0x1b, 0x20, 0x23, 0x28, 0x2b, 0x30, 0x33, 0x38, 0x40, 0x43, 0x48, 0x60, 0x63, 0x6b,
	0x73, 0x80, 0x83, 0x88, 0x100, 0xff8, 0xfff8, 0xffff,
};

static void segments(void)
{
	for (unsigned i = 0; i < sizeof(selectors) / sizeof(*selectors); i++) {
		uint16_t s = selectors[i];
		struct __attribute__((packed)) { uint64_t off; uint16_t sel; } far = { 0x1234, s };

		try("mov-ds", s, B(0x8e, 0xd8), s, 0, 0, 0, 0, STACK_MIDDLE);
		try("mov-es", s, B(0x8e, 0xc0), s, 0, 0, 0, 0, STACK_MIDDLE);
		try("mov-gs", s, B(0x8e, 0xe8), s, 0, 0, 0, 0, STACK_MIDDLE);
		if (s != 0x23 && s != 0x63 && s != 0x6b && s != 0x73) /* a stack of another kind of code */
			try("mov-ss", s, B(0x8e, 0xd0), s, 0, 0, 0, 0, STACK_MIDDLE);
		try("verr", s, B(0x0f, 0x00, 0xe0, 0x0f, 0x94, 0xc0), s, 0, 0, 0, 0, STACK_MIDDLE);
		printf("  %lx\n", result_rax & 1);
		try("verw", s, B(0x0f, 0x00, 0xe8, 0x0f, 0x94, 0xc0), s, 0, 0, 0, 0, STACK_MIDDLE);
		printf("  %lx\n", result_rax & 1);
		try("lar", s, B(0x31, 0xd2, 0x0f, 0x02, 0xd0, 0x89, 0xd0), s, 0, 0, 0, 0, STACK_MIDDLE);
		printf("  %lx\n", result_rax);
		try("lsl", s, B(0x31, 0xd2, 0x0f, 0x03, 0xd0, 0x89, 0xd0), s, 0, 0, 0, 0, STACK_MIDDLE);
		printf("  %lx\n", result_rax);
		if (s == 0x33 || s == 0x23)
			continue;
		memcpy(data, &far, sizeof(far));
		try("far-jump", s, B(0x48, 0xff, 0x2e), 0, 0, 0, (uint64_t)data, 0, STACK_MIDDLE);
		try("far-call", s, B(0x48, 0xff, 0x1e), 0, 0, 0, (uint64_t)data, 0, STACK_MIDDLE);
		stack[512] = 0x1234, stack[513] = s;
		try("far-return", s, B(0x48, 0xcb), 0, 0, 0, 0, 0, STACK_MIDDLE);
	}
}

/* --- frames of IRET ------------------------------------------------------------------------------ */
static void iret_frame(const char *name, uint64_t rip, uint64_t cs, uint64_t flags, uint64_t rsp, uint64_t ss)
{
	const uint64_t frame[5] = { rip, cs, flags, rsp, ss };

	memcpy(stack + 512, frame, sizeof(frame));
	try(name, cs << 16 | ss, B(0x48, 0xcf), 0, 0, 0, 0, 0, STACK_MIDDLE);
}

static void irets(void)
{
	uint64_t sp = STACK_MIDDLE, to = (uint64_t)finished;

	iret_frame("iret", to, 0x33, 0x202, sp, 0x2b);
	iret_frame("iret-iopl", to, 0x33, 0x3202, sp, 0x2b);
	printf("  %lx\n", result_flags);
	iret_frame("iret-no-if", to, 0x33, 0x002, sp, 0x2b);
	printf("  %lx\n", result_flags);
	iret_frame("iret-vm", to, 0x33, 0x20202, sp, 0x2b);
	printf("  %lx\n", result_flags);
	iret_frame("iret-rip", 0x800000000000, 0x33, 0x202, sp, 0x2b);
	iret_frame("iret-rip-kernel", 0xffffffff81000000, 0x33, 0x202, sp, 0x2b);
	for (unsigned i = 0; i < sizeof(selectors) / sizeof(*selectors); i++) {
		if (selectors[i] != 0x23)
			iret_frame("iret-cs", selectors[i] == 0x33 ? to : 0x1234, selectors[i], 0x202, sp, 0x2b);
		if (selectors[i] != 0x23 && selectors[i] != 0x63 && selectors[i] != 0x6b && selectors[i] != 0x73)
			iret_frame("iret-ss", to, 0x33, 0x202, sp, selectors[i]);
	}
}

/* --- privileged, reserved, and what changes rights ------------------------------------------------- */
static void instructions(void)
{
	static const struct { const char *name; uint8_t len, code[8]; uint32_t rcx; } list[] = {
		{ "hlt", 1, { 0xf4 }, 0 }, { "cli", 1, { 0xfa }, 0 }, { "sti", 1, { 0xfb }, 0 }, { "in", 1, { 0xec }, 0 }, { "out", 1, { 0xee }, 0 },
		{ "insb", 1, { 0x6c }, 0 }, { "rep-outsb", 2, { 0xf3, 0x6e }, 1 }, { "rdmsr", 2, { 0x0f, 0x32 }, 0xc0000080 },
		{ "wrmsr", 2, { 0x0f, 0x30 }, 0xc0000082 }, { "rdpmc", 2, { 0x0f, 0x33 }, 0 }, { "invd", 2, { 0x0f, 0x08 }, 0 },
		{ "wbinvd", 2, { 0x0f, 0x09 }, 0 }, { "clts", 2, { 0x0f, 0x06 }, 0 }, { "mov-cr0", 3, { 0x0f, 0x20, 0xc0 }, 0 },
		{ "mov-to-cr3", 3, { 0x0f, 0x22, 0xd8 }, 0 }, { "mov-cr1", 3, { 0x0f, 0x20, 0xc8 }, 0 }, { "mov-dr7", 3, { 0x0f, 0x21, 0xf8 }, 0 },
		{ "lgdt", 3, { 0x0f, 0x01, 0x17 }, 0 }, { "lidt", 3, { 0x0f, 0x01, 0x1f }, 0 }, { "lmsw", 3, { 0x0f, 0x01, 0xf0 }, 0 },
		{ "invlpg", 3, { 0x0f, 0x01, 0x3f }, 0 }, { "swapgs", 3, { 0x0f, 0x01, 0xf8 }, 0 }, { "lldt", 3, { 0x0f, 0x00, 0xd0 }, 0 },
		{ "ltr", 3, { 0x0f, 0x00, 0xd8 }, 0 }, { "sysret", 3, { 0x48, 0x0f, 0x07 }, 0 }, { "sysexit", 3, { 0x48, 0x0f, 0x35 }, 0 },
		{ "xsetbv", 3, { 0x0f, 0x01, 0xd1 }, 0 }, { "xgetbv-9", 3, { 0x0f, 0x01, 0xd0 }, 9 },
		{ "vmxon", 4, { 0xf3, 0x0f, 0xc7, 0x37 }, 0 }, { "monitor", 3, { 0x0f, 0x01, 0xc8 }, 0 }, { "ud0", 3, { 0x0f, 0xff, 0xc0 }, 0 },
		{ "ud1", 3, { 0x0f, 0xb9, 0xc0 }, 0 }, { "ud2", 2, { 0x0f, 0x0b }, 0 }, { "lock-mov", 4, { 0xf0, 0x48, 0x89, 0x07 }, 0 },
		{ "push-es", 1, { 0x06 }, 0 }, { "into", 1, { 0xce }, 0 }, { "bound", 2, { 0x62, 0x07 }, 0 }, { "les", 2, { 0xc4, 0x07 }, 0 },
		{ "salc", 1, { 0xd6 }, 0 }, { "rsm", 2, { 0x0f, 0xaa }, 0 }, { "int1", 1, { 0xf1 }, 0 }, { "int3", 1, { 0xcc }, 0 },
		
		{ "getsec", 2, { 0x0f, 0x37 }, 0 },
		{ "too-long", 8, { 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66 }, 0 },
	};

	for (unsigned i = 0; i < sizeof(list) / sizeof(*list); i++)
		try(list[i].name, 0, list[i].code, list[i].len, 0, list[i].rcx, 0x3f8, (uint64_t)data, (uint64_t)data, STACK_MIDDLE);
	try("wrfsbase", 1, B(0xf3, 0x48, 0x0f, 0xae, 0xd1), 0, 0x800000000000, 0, 0, 0, STACK_MIDDLE);
	try("wrgsbase", 1, B(0xf3, 0x48, 0x0f, 0xae, 0xd9), 0, 0x8000000000000000, 0, 0, 0, STACK_MIDDLE);
	try("wrgsbase", 2, B(0xf3, 0x48, 0x0f, 0xae, 0xd9), 0, 0xfffffe8200000000, 0, 0, 0, STACK_MIDDLE);
	for (unsigned n = 0; n < 256; n++)
		if (n != 0x80)
			try("int", n, B(0xcd, n), 0, 0, 0, 0, 0, STACK_MIDDLE);
}

/* --- flags --------------------------------------------------------------------------------------- */
static void flags(void)
{
	/* pushfq; or dword [rsp], imm; popfq */
#define POPF(imm) 0x9c, 0x81, 0x0c, 0x24, (uint8_t)(imm), (uint8_t)((imm) >> 8), (uint8_t)((imm) >> 16), 0, 0x9d
	try("tf-nop", 0, B(POPF(0x100), 0x90, 0x90), 0, 0, 0, 0, 0, STACK_MIDDLE);
	try("tf-movsb", 0, B(POPF(0x100), 0xf3, 0xa4), 0, 5, 0, (uint64_t)data, (uint64_t)data + 64, STACK_MIDDLE);
	try("tf-ss", 0, B(POPF(0x100), 0x8e, 0xd0, 0x90, 0x90), 0x2b, 0, 0, 0, 0, STACK_MIDDLE);
	try("tf-fault", 0, B(POPF(0x100), 0x48, 0x8b, 0x06), 0, 0, 0, 0x768000000000, 0, STACK_MIDDLE);
	try("tf-jump", 0, B(POPF(0x100), 0xff, 0xe6), 0, 0, 0, 0x768000001000, 0, STACK_MIDDLE);
	try("tf-ud2", 0, B(POPF(0x100), 0x0f, 0x0b), 0, 0, 0, 0, 0, STACK_MIDDLE);
	try("tf-int3", 0, B(POPF(0x100), 0xcc), 0, 0, 0, 0, 0, STACK_MIDDLE);
	try("ac-read", 0, B(POPF(0x40000), 0x48, 0x8b, 0x46, 0x01), 0, 0, 0, (uint64_t)data, 0, STACK_MIDDLE);
	try("ac-write", 0, B(POPF(0x40000), 0x66, 0x89, 0x46, 0x01), 0, 0, 0, (uint64_t)data, 0, STACK_MIDDLE);
	try("ac-zone", 0, B(POPF(0x40000), 0x48, 0x8b, 0x46, 0x01), 0, 0, 0, 0x768000000000, 0, STACK_MIDDLE);
	try("iopl", 0, B(POPF(0x3000), 0x9c, 0x58), 0, 0, 0, 0, 0, STACK_MIDDLE);
	printf("  %lx\n", result_rax & 0x3200);
	try("vif-vip", 0, B(POPF(0x180000), 0x9c, 0x58), 0, 0, 0, 0, 0, STACK_MIDDLE);
	printf("  %lx\n", result_rax & 0x180000);
}

/* n traps of repeated instructions: between two elements, and behind the last. */
static void stepped(const char *name, int n, const void *bytes, size_t len, uint64_t rax, uint64_t rcx)
{
	memset(&steps, 0, sizeof(steps));
	steps.on = n;
	memcpy(data, "aaab....aaac....", 16);
	try(name, rcx, bytes, len, rax, rcx, 0, (uint64_t)data, (uint64_t)data + 8, STACK_MIDDLE);
	steps.on = 0;
	for (int i = 0; i < steps.n; i++)
		printf("  at %ld rcx %lx flags %lx\n", steps.at[i].rip, steps.at[i].rcx, steps.at[i].flags);
}

static void single_steps(void)
{
	/* test ecx, ecx: flags that are the same in each run */
#define STEP 0x85, 0xc9, POPF(0x100)
	stepped("step-movsb", 4, B(STEP, 0xf3, 0xa4, 0x90, 0x90), 0, 3);
	stepped("step-movsb", 2, B(STEP, 0xf3, 0xa4, 0x90, 0x90), 0, 0);
	stepped("step-stosq", 4, B(STEP, 0xf3, 0x48, 0xab, 0x90, 0x90), 0x55, 3);
	stepped("step-lodsb", 3, B(STEP, 0xf3, 0xac, 0x90, 0x90), 0, 2);
	stepped("step-cmpsb", 6, B(STEP, 0xf3, 0xa6, 0x90, 0x90, 0x90), 0, 5);
	stepped("step-scasb", 6, B(STEP, 0xf2, 0xae, 0x90, 0x90, 0x90), 'c', 6);
	stepped("step-ss", 3, B(STEP, 0x8e, 0xd0, 0x90, 0x90, 0x90), 0x2b, 0);
}

/* --- 32-bit code of the same process --------------------------------------------------------------- */
/* Far return to it (CS 0x23), and back by a far jump; code32 runs between. */
static void in_32(const char *name, uint64_t arg, const uint8_t *code32, size_t len)
{
	static const uint8_t there[] = { 0x48, 0xcb };
	/* jmp far 0x33:low + 0x800 */
	uint32_t to = (uint32_t)(uintptr_t)low + 0x800;
	uint8_t *p = low, *q = low + 0x800;
	uint64_t fin = (uint64_t)finished;

	memcpy(p, code32, len);
	p += len;
	*p++ = 0xea;
	memcpy(p, &to, 4);
	p[4] = 0x33, p[5] = 0;
	memcpy(q, (uint8_t[]){ 0x49, 0xba }, 2); /* mov r10, finished; jmp r10 */
	memcpy(q + 2, &fin, 8);
	memcpy(q + 10, (uint8_t[]){ 0x41, 0xff, 0xe2 }, 3);
	stack[512] = (uint64_t)low, stack[513] = 0x23;
	try(name, arg, there, sizeof(there), 0x11223344, 5, 6, 0, (uint64_t)low + 0x1800, STACK_MIDDLE);
}
#define IN_32(name, ...) in_32(name, 0, (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))

static void narrow(int all, int brief)
{
	IN_32("32-nop", 0x90);
	IN_32("32-inc", 0x40, 0x40); /* INC EAX; a REX prefix in 64-bit code */
	printf("  %lx\n", result_rax);
	IN_32("32-loop", 0xb9, 0x00, 0x00, 0x10, brief ? 0x00 : 0x10, 0x49, 0x75, 0xfd);
#define FLAT_DS 0xba, 0x2b, 0, 0, 0, 0x8e, 0xda
	IN_32("32-write", FLAT_DS, 0x89, 0x07, 0x8b, 0x07);
	printf("  %lx\n", result_rax);
	IN_32("32-fault", FLAT_DS, 0xa1, 0x00, 0x00, 0x00, 0xf0);
#define NO_STACK 0xbc, 0x00, 0x50, 0x00, 0x00
	IN_32("32-push", NO_STACK, 0x50);
	IN_32("32-pusha", NO_STACK, 0x60);
	IN_32("32-push-cs", NO_STACK, 0x0e);
	IN_32("32-les", FLAT_DS, 0xc4, 0x05, 0x00, 0x00, 0x00, 0xf0);
	IN_32("32-stos", 0xba, 0x2b, 0, 0, 0, 0x8e, 0xc2, 0xbf, 0x00, 0x00, 0x00, 0xf0, 0xab);
	IN_32("32-ud2", 0x0f, 0x0b);
	IN_32("32-hlt", 0xf4);
	IN_32("32-div", 0x31, 0xc9, 0xf7, 0xf1);
	IN_32("32-int3", 0xcc);
	IN_32("32-jump", 0xb8, 0x00, 0x00, 0x00, 0xf0, 0xff, 0xe0);
	IN_32("32-into", 0xb0, 0x7f, 0x04, 0x01, 0xce);
	IN_32("32-aaa", 0xb8, 0x0f, 0x00, 0x00, 0x00, 0x37);
	printf("  %lx\n", result_rax & 0xffff);
	if (!all)
		return;
	IN_32("32-null-ds", 0x89, 0x07);
	IN_32("32-wrpkru", 0x31, 0xc0, 0x31, 0xc9, 0x31, 0xd2, 0x0f, 0x01, 0xef);
}

/* --- pages touched for the first time -------------------------------------------------------------- */
/* They are in the kernel's tables, but a monitor that maps late has a fault of its own to mend:
 * flags and mode are to be the same behind it. Far apart, lest it maps several at once. */
static uint64_t fresh_page(void)
{
	static uint64_t at = 0x20000000;
	uint8_t *p = mmap((void *)at, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_POPULATE, -1, 0);

	at += 2 << 20;
	return p == MAP_FAILED ? 0 : (uint64_t)p;
}

static void in_32_fresh(const char *name, uint64_t page)
{
	/* mov edi, page; mov eax, [edi]; inc eax (64-bit code: a REX prefix); mov eax, eax */
	uint8_t c[] = { FLAT_DS, 0xbf, 0, 0, 0, 0, 0x8b, 0x07, 0x40, 0x89, 0xc0 };

	memcpy(c + 8, &page, 4);
	in_32(name, 0, c, sizeof(c));
	printf("  %lx\n", result_rax);
}

static void fresh(void)
{
	for (unsigned i = 0; i < 4; i++) {
		try("fresh-tf-read", i, B(POPF(0x100), 0x48, 0x8b, 0x06, 0x90), 0, 0, 0, fresh_page(), 0, STACK_MIDDLE);
		try("fresh-tf-write", i, B(POPF(0x100), 0x48, 0x89, 0x06, 0x90), 0, 0, 0, fresh_page(), 0, STACK_MIDDLE);
		try("fresh-ac", i, B(POPF(0x40000), 0x48, 0x8b, 0x06, 0x48, 0x8b, 0x46, 0x01), 0, 0, 0, fresh_page(), 0, STACK_MIDDLE);
		try("fresh-id", i, B(POPF(0x200000), 0x48, 0x89, 0x06), 0, 0, 0, fresh_page(), 0, STACK_MIDDLE);
		printf("  %lx\n", result_flags & 0x200000);
		in_32_fresh("fresh-32", fresh_page());
	}
}

/* --- rights ------------------------------------------------------------------------------------------ */
static void rights(void)
{
	uint64_t *x = (uint64_t *)((uint64_t)data + 2048);

	try("wrpkru", 0, B(0x0f, 0x01, 0xef), 0, 0, 0, 0, 0, STACK_MIDDLE);
	try("rdpkru", 0, B(0x0f, 0x01, 0xee), 0, 0, 0, 0, 0, STACK_MIDDLE);
	try("wrpkru-inside", 0, B(0xeb, 0x01, 0xb8, 0x0f, 0x01, 0xef, 0x00, 0x90), 0, 0, 0, 0, 0, STACK_MIDDLE);
	memset(x, 0, 1024);
	x[64] = 1 << 9; /* PKRU, which the guest has not */
	try("xrstor-pkru", 0, B(0x0f, 0xae, 0x2f), ~0u, 0, ~0u, 0, (uint64_t)x, STACK_MIDDLE);
	x[64] = 0;
	try("xrstor-all", 0, B(0x0f, 0xae, 0x2f), ~0u, 0, ~0u, 0, (uint64_t)x, STACK_MIDDLE);
	try("umip", 0, B(0x0f, 0x01, 0x07, 0x0f, 0x01, 0x0f, 0x0f, 0x01, 0xe0, 0x0f, 0x00, 0xc8, 0x0f, 0x00, 0xc0), 0, 0, 0, 0,
	    (uint64_t)data, STACK_MIDDLE);
}

static void *map(void *at, size_t len, int flags)
{
	void *p = mmap(at, len, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);

	if (p == MAP_FAILED)
		exit(1);
	return p;
}

int main(int argc, char **argv)
{
	int all = argc > 1 && !strcmp(argv[1], "all"), brief = argc > 1 && !strcmp(argv[1], "brief");
	static const int caught[] = { SIGSEGV, SIGBUS, SIGILL, SIGTRAP, SIGFPE, SIGSYS };
	static uint8_t alt[65536];
	const stack_t st = { .ss_sp = alt, .ss_size = sizeof(alt) };
	struct sigaction sa = { .sa_sigaction = on_signal, .sa_flags = SA_ONSTACK | SA_SIGINFO };

	setvbuf(stdout, NULL, _IOLBF, 1 << 16);
	code = map(NULL, 3000 * 4096, 0);
	stack = map((void *)0x10000000, 8192, MAP_FIXED);
	data = map((void *)0x10010000, 8192, MAP_FIXED);
	low = map((void *)0x10020000, 8192, MAP_FIXED);
	sigaltstack(&st, NULL);
	for (unsigned i = 0; i < sizeof(caught) / sizeof(*caught); i++)
		sigaction(caught[i], &sa, NULL);
	touch();
	pushes();
	segments();
	irets();
	instructions();
	flags();
	single_steps();
	narrow(all, brief);
	fresh();
	if (all)
		rights();
	printf("tricks done\n");
	return 0;
}
