/* The processor as oracle for the decoder: runs one instruction with chosen registers and
 * memory in a forked child, and says how it ended. Its bytes lie before an unmapped page,
 * so that fetching beyond them shows. Everything has a fixed low address, within reach of
 * 32-bit address size and of RIP-relative operands.
 *
 * Not modelled: instructions that would change the child's segment registers, protection
 * keys or make system calls are not run (see cpu_must_not_run). */
#pragma once
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>
#include <cmocka.h>
#include "src/dbt/decode.h"

#define CODE_PAGE 0x20000000UL
#define CODE_END (CODE_PAGE + 0x1000)
#define DATA 0x30000000UL
#define DATA_END (DATA + 0x6000)  /* readable and writable up to here, then nothing */
#define DATA_NONE (DATA + 0x7a40) /* in the unmapped part */
#define DATA_RO (DATA + 0xaa40)   /* in the read-only part */
#define DATA_RW (DATA + 0x3a40)
#define DATA_TOP (DATA + 0xc000)
#define STACK (DATA + 0x1a5a)

enum { TRAP_DE = 0, TRAP_UD = 6, TRAP_GP = 13, TRAP_PF = 14 };

struct cpu_state {
	u64 gpr[16], rflags, rip; /* numbered as in encodings */
};

struct outcome {
	struct cpu_state s;
	int sig;
	u64 trap, err, addr;
	u8 vec[16 * 16 + 160]; /* XMM0-15 and x87/MMX */
	u64 k[8];
};

struct cpu_state cpu_in;
u64 cpu_host_rsp, cpu_mask;
static struct outcome cpu_out;
u8 *cpu_template;
static unsigned cpu_k_offset;
extern char cpu_resume[];
void cpu_enter(void);

asm(".text\n"
    "cpu_enter:\n"
    "	push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
    "	mov %rsp, cpu_host_rsp(%rip)\n"
    "	mov cpu_template(%rip), %rcx\n"
    "	mov cpu_mask(%rip), %eax\n"
    "	xor %edx, %edx\n"
    "	xrstor64 (%rcx)\n"
    "	pushq cpu_in+128(%rip)\n"
    "	popfq\n"
    "	mov cpu_in+0(%rip), %rax\n"
    "	mov cpu_in+8(%rip), %rcx\n"
    "	mov cpu_in+16(%rip), %rdx\n"
    "	mov cpu_in+24(%rip), %rbx\n"
    "	mov cpu_in+32(%rip), %rsp\n"
    "	mov cpu_in+40(%rip), %rbp\n"
    "	mov cpu_in+48(%rip), %rsi\n"
    "	mov cpu_in+56(%rip), %rdi\n"
    "	mov cpu_in+64(%rip), %r8\n"
    "	mov cpu_in+72(%rip), %r9\n"
    "	mov cpu_in+80(%rip), %r10\n"
    "	mov cpu_in+88(%rip), %r11\n"
    "	mov cpu_in+96(%rip), %r12\n"
    "	mov cpu_in+104(%rip), %r13\n"
    "	mov cpu_in+112(%rip), %r14\n"
    "	mov cpu_in+120(%rip), %r15\n"
    "	jmp *cpu_in+136(%rip)\n"
    "cpu_resume:\n"
    "	pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
    "	ret\n");

/* Uses nothing that depends on the thread pointer. */
static void cpu_signal(int sig, siginfo_t *si, void *ctx)
{
	static const int order[16] = {
		REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
		REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15,
	};
	greg_t *g = ((ucontext_t *)ctx)->uc_mcontext.gregs;
	const u8 *fx = (const u8 *)((ucontext_t *)ctx)->uc_mcontext.fpregs;

	for (int i = 0; i < 16; i++)
		cpu_out.s.gpr[i] = g[order[i]];
	cpu_out.s.rflags = g[REG_EFL];
	cpu_out.s.rip = g[REG_RIP];
	cpu_out.sig = sig;
	cpu_out.trap = g[REG_TRAPNO];
	cpu_out.err = g[REG_ERR];
	cpu_out.addr = g[REG_TRAPNO] == TRAP_PF ? (u64)g[REG_CR2] : (u64)si->si_addr;
	__builtin_memcpy(cpu_out.vec, fx + 160, 256);
	__builtin_memcpy(cpu_out.vec + 256, fx, 8); /* control and status, not the last pointers */
	__builtin_memcpy(cpu_out.vec + 264, fx + 32, 128);
	if (cpu_k_offset)
		__builtin_memcpy(cpu_out.k, fx + cpu_k_offset, 64);
	g[REG_RIP] = (greg_t)cpu_resume;
	g[REG_RSP] = cpu_host_rsp;
	g[REG_EFL] = 0x202;
}

/* Vector registers all ones (every lane of a mask operand selected), masks full. */
static void cpu_fill_template(void)
{
	u32 a, b, c, d, lo, hi;

	asm volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	cpu_mask = lo & 0xe7;
	cpu_template = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memset(cpu_template, 0xff, 8192);
	memset(cpu_template, 0, 160);
	memset(cpu_template + 512, 0, 64);
	memcpy(cpu_template + 0, &(u16){ 0x37f }, 2);
	memcpy(cpu_template + 24, &(u32){ 0x1f80 }, 4);
	memset(cpu_template + 32, 0, 128);
	memcpy(cpu_template + 512, &cpu_mask, 8);
	if (!(cpu_mask & 0x20))
		return;
	asm volatile("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(0xd), "c"(5));
	cpu_k_offset = b;
}

static void cpu_map(u64 addr, u64 len, int prot)
{
	void *p = mmap((void *)addr, len, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	if (p != (void *)addr)
		abort();
}

static void cpu_open(void)
{
	static const int sigs[] = { SIGSEGV, SIGILL, SIGBUS, SIGFPE, SIGTRAP };
	stack_t alt = { .ss_sp = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
			.ss_size = 65536 };
	struct sigaction sa = { .sa_sigaction = cpu_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER };

	sigaltstack(&alt, NULL);
	for (size_t i = 0; i < ARRAY_LEN(sigs); i++)
		sigaction(sigs[i], &sa, NULL);
	cpu_map(CODE_PAGE, 0x1000, PROT_READ | PROT_WRITE | PROT_EXEC);
	cpu_map(CODE_END, 0x2000, PROT_NONE);
	cpu_map(DATA, DATA_TOP - DATA, PROT_NONE);
	mprotect((void *)DATA, DATA_TOP - DATA, PROT_READ | PROT_WRITE);
	memset((void *)DATA, 0x5a, DATA_TOP - DATA);
	mprotect((void *)DATA_END, 0x4000, PROT_NONE);
	mprotect((void *)(DATA + 0xa000), 0x2000, PROT_READ);
	cpu_fill_template();
}

/* Register values that are no address and no selector. */
static void cpu_default_regs(void)
{
	for (int i = 0; i < 16; i++)
		cpu_in.gpr[i] = 0x5a5a5a5a5a5a5a00UL + i * 2 + 1;
	cpu_in.gpr[RSP] = STACK;
	cpu_in.rflags = 0x202;
}

/* Runs the first n bytes, with nothing fetchable behind them. */
static const struct outcome *cpu_run(const u8 *bytes, unsigned n)
{
	cpu_in.rip = CODE_END - n;
	memset((void *)(CODE_END - 256), 0xcc, 256); /* for jumps backwards */
	memcpy((void *)cpu_in.rip, bytes, n);
	cpu_enter();
	return &cpu_out;
}

static bool cpu_fetch_fault(const struct outcome *r, unsigned n)
{
	return r->trap == TRAP_PF && r->s.rip == CODE_END - n && r->addr == CODE_END && (r->err & 16);
}

/* Fault of the data access in [from, from + 0x1000). */
static bool cpu_data_fault(const struct outcome *r, u64 from)
{
	return r->trap == TRAP_PF && r->addr >= from && r->addr < from + 0x1000 &&
	       r->s.rip >= CODE_PAGE && r->s.rip < CODE_END;
}

/* --- findings --------------------------------------------------------------------- */
#define FINDINGS_TEXT 60000

struct findings {
	unsigned runs, count, used;
	u8 now[16];
	u8 seen[32][4][4][2][256]; /* kind, map, mandatory prefix, vector, opcode */
	char text[FINDINGS_TEXT];
};

static struct findings *found;

static unsigned mandatory_prefix(const struct insn *in, const u8 *bytes)
{
	if (in->vex)
		return (in->vex == 2 ? bytes[in->off_prefix_end + 1] : bytes[in->off_prefix_end + 2]) & 3;
	if (in->rep)
		return in->rep == 0xf3 ? 2 : 3;
	return memchr(bytes, 0x66, in->off_prefix_end) ? 1 : 0;
}

/* One line for each kind of finding and opcode. */
__attribute__((format(printf, 4, 5)))
static void finding(unsigned kind, const struct insn *in, const u8 *bytes, const char *fmt, ...)
{
	u8 *seen = &found->seen[kind][in->map & 3][mandatory_prefix(in, bytes)][!!in->vex][in->opcode];
	unsigned room = FINDINGS_TEXT - found->used;
	char *p = found->text + found->used;
	va_list ap;
	int n = 0;

	found->count++;
	if ((*seen)++ || room < 200)
		return;
	for (int i = 0; i < 12; i++)
		n += sprintf(p + n, "%02x", bytes[i]);
	n += sprintf(p + n, " map %u op %02x vex %u /%u %s: ", in->map, in->opcode, in->vex, (in->modrm >> 3) & 7,
		     in->modrm >= 0xc0 ? "reg" : "mem");
	va_start(ap, fmt);
	n += vsnprintf(p + n, 100, fmt, ap);
	va_end(ap);
	p[n++] = '\n';
	p[n] = 0;
	found->used += n;
}

/* Runs body in a child; every finding fails the test. */
static void in_child(void (*body)(void))
{
	int status;
	pid_t pid;

	found = mmap(NULL, sizeof(*found), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(found, MAP_FAILED);
	pid = fork();
	if (!pid) {
		alarm(60);
		cpu_open();
		body();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (status) {
		print_message("child ended with %x at ", status);
		for (int i = 0; i < 15; i++)
			print_message("%02x", found->now[i]);
		print_message("\n");
	}
	if (found->used)
		fwrite(found->text, 1, found->used, stdout);
	print_message("%u instructions, %u findings\n", found->runs, found->count);
	assert_int_equal(status, 0);
	assert_int_equal(found->count, 0);
	munmap(found, sizeof(*found));
}
