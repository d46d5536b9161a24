/* A guest's user program that jumps to where a virtual machine monitor may have its code: to
 * each byte near given addresses, and to random ones of given ranges, with hostile registers,
 * flags and stacks. On real hardware there is nothing: each jump is a SIGSEGV. Here some may
 * run a few instructions with the program's own rights; what they must not do is change the
 * kernel, end the machine, or leave system calls to the host: each attempt is followed by one.
 *
 * usage: wild SEED COUNT ADDRESS... START-END...
 * The alarm ends what runs on. A jump may also lead to translated code of this very program, or to
 * where that has returned to last, with any registers: children have nothing to print to, no time
 * without end, and a wrong answer counts if it is given again. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#define FL_TF 0x100u
#define FL_DF 0x400u
#define FL_NT 0x4000u
#define FL_AC 0x40000u
#define FL_ID 0x200000u

/* Loaded by jump(), in this order. */
struct registers { uint64_t rax, rbx, rcx, rdx, rsi, rdi, rbp, rsp, r8, r9, r10, r11, r12, r13, r14, r15, flags, rip; };

static sigjmp_buf back;
static volatile int jumping;
/* Shared by the children that jump: what they run may well ruin them, or end them. */
static struct counts { volatile unsigned long signals[65], returned, died, bad, mask_of_winner; } *counts;
static uint64_t state;
static uint8_t *buffer;      /* user memory that pointers name */
static uint64_t *stack;      /* return addresses, and a signal frame */
#define BUFFER_SIZE 65536
#define STACK_WORDS 4096
#define CHUNK 250
#define CHILD_SECONDS 10
#define MARK_FD 100 /* open once main() has run */
#define BLOCKED (1ul << (SIGUSR2 - 1) | 1ul << (SIGCHLD - 1)) /* signals, in children */
#define R8_OF_FRAME 0x1234567890abcdef
enum { EXIT_WRONG_PID = 6, EXIT_BEGAN_ANEW = 7 };
static pid_t self;
static volatile unsigned wrong_in_a_row;

static uint64_t next_random(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

/* Do system calls come to the kernel that we belong to? */
static void check_pid(void)
{
	wrong_in_a_row = 0;
	while (syscall(SYS_getpid) != self)
		if (++wrong_in_a_row > 2)
			_exit(EXIT_WRONG_PID);
}

static void on_signal(int sig)
{
	/* The kernel leaves some of the flags. */
	__asm__ volatile("pushq $0x202\n\tpopfq" : : : "memory", "cc");
	if (!jumping && sig == SIGALRM)
		return;
	if (!jumping)
		_exit(1);
	counts->signals[sig]++;
	siglongjmp(back, sig);
}

/* Where code that returns comes to: the very next instruction is a system call. */
void came_back(void);
__asm__(".globl came_back\ncame_back:\n\tmov $39, %eax\n\tsyscall\n\tmov came_back_stack(%rip), %rsp\n\tpushq $0x202\n\tpopfq\n\tjmp came_back_c");
uint64_t *came_back_stack;
void came_back_c(void);
void came_back_c(void)
{
	counts->returned++;
	check_pid();
	siglongjmp(back, 64);
}

/* Where a forged signal frame leads. Code that pops and returns may have found the way, too; then
 * R8 is not the frame's. Or a system call instruction of this program, translated, has given the
 * frame to our own kernel; then the signal mask is the frame's. Jumps may lead to the middle of
 * this: what the kernel says about the mask is the proof. */
void win(void);
__asm__("win:\n\tmov %r8, r8_of_winner(%rip)\n\tjmp win_c");
volatile uint64_t r8_of_winner;
void win_c(void);
void win_c(void)
{
	uint64_t mask = 0;

	if (r8_of_winner == R8_OF_FRAME) {
		syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &mask, sizeof(mask));
		counts->mask_of_winner = mask;
	}
	siglongjmp(back, 64);
}

/* What jumps has a page of its own, of which there are many: code that is at the host for each
 * signal would soon be translated, and not jump itself any more. */
struct registers jump_to;
extern const uint8_t thunk[], thunk_plain[], thunk_end[];
__asm__(".pushsection .text\n\t.balign 64\n"
	"thunk:\tmov $jump_to, %esp\n\tpop %rax\n\tpop %rbx\n\tpop %rcx\n\tpop %rdx\n\tpop %rsi\n\tpop %rdi\n\t"
	"pop %rbp\n\tpop %r8\n\tpop %r8\n\tpop %r9\n\tpop %r10\n\tpop %r11\n\tpop %r12\n\t"
	"pop %r13\n\tpop %r14\n\tpop %r15\n\t"
	"mov jump_to+7*8, %rsp\n\tpushq jump_to+16*8\n\tpopfq\n\tjmp *jump_to+17*8\n"
	"thunk_plain:\tmov $jump_to, %esp\n\tpop %rax\n\tpop %rbx\n\tpop %rcx\n\tpop %rdx\n\tpop %rsi\n\tpop %rdi\n\t"
	"pop %rbp\n\tpop %r8\n\tpop %r8\n\tpop %r9\n\tpop %r10\n\tpop %r11\n\tpop %r12\n\t"
	"pop %r13\n\tpop %r14\n\tpop %r15\n\tmov jump_to+7*8, %rsp\n\tjmp *jump_to+17*8\n"
	"thunk_end:\n.popsection");
#define THUNKS 256
static uint8_t *thunks;

static void *map(size_t len, int flags)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		exit(1);
	return p;
}

static void make_thunks(void)
{
	thunks = map(THUNKS * 4096, MAP_PRIVATE);
	for (unsigned i = 0; i < THUNKS; i++)
		memcpy(thunks + i * 4096, thunk, (size_t)(thunk_end - thunk));
	mprotect(thunks, THUNKS * 4096, PROT_READ | PROT_EXEC);
}

static void jump(const struct registers *r)
{
	uint8_t *at = thunks + next_random() % THUNKS * 4096;

	jump_to = *r;
	if (r->flags == 0x202)
		at += thunk_plain - thunk;
	((void (*)(void))at)();
}

/* --- what the registers hold ------------------------------------------------------------------ */
/* A frame for rt_sigreturn, at the stack's pointer, that goes to win(). */
static void forge_frame(uint64_t *at)
{
	ucontext_t *uc = (ucontext_t *)at;

	memset(at, 0, 512);
	uc->uc_mcontext.gregs[REG_RIP] = (greg_t)win;
	uc->uc_mcontext.gregs[REG_RSP] = (greg_t)(stack + STACK_WORDS - 64);
	uc->uc_mcontext.gregs[REG_EFL] = 0x202;
	uc->uc_mcontext.gregs[REG_R8] = R8_OF_FRAME;
	uc->uc_mcontext.gregs[REG_CSGSFS] = 0x2b000000000033;
}

static void fill_stack(int frame)
{
	for (unsigned i = 0; i < STACK_WORDS; i++)
		stack[i] = (uint64_t)came_back;
	if (frame)
		forge_frame(stack + STACK_WORDS / 2);
}

static uint64_t hostile(void)
{
	static const uint64_t values[] = {
		0, 1, 15, 39, ~0ul, 0x55555554, 0x5555555c, 0x768100000000, 0x768240000000, 0x768240100000, 0x768240180000,
		0x7682401c0000, 0x768400000000, 0x768400400000, 0x769000000000, 0xffffffff81000000, 0x780000000000,
		0x8000000000000000, 4096,
	};
	uint64_t r = next_random();

	switch (r & 3) {
	case 0: return values[(r >> 8) % (sizeof(values) / sizeof(*values))];
	case 1: return (uint64_t)buffer + (r >> 8) % BUFFER_SIZE;
	case 2: return (r >> 8) & 0xfff;
	default: return (uint64_t)came_back;
	}
}

static const uint64_t flag_choice[] = { 0x202, 0x202, 0x202 | FL_TF, 0x202 | FL_AC, 0x202 | FL_NT | FL_ID, 0x202 | FL_DF, 0xad7 | FL_TF };
#define N_FLAGS (sizeof(flag_choice) / sizeof(*flag_choice))

static void random_registers(struct registers *r, uint64_t rip)
{
	uint64_t *p = &r->rax;

	for (unsigned i = 0; i < 16; i++)
		p[i] = hostile();
	if (next_random() & 1) /* what WRPKRU asks for */
		r->rax = next_random() & 1 ? 0 : next_random() & 0x55555555, r->rcx = r->rdx = 0;
	if (next_random() % 8)
		r->rsp = (uint64_t)(stack + STACK_WORDS / 2);
	r->flags = flag_choice[next_random() % N_FLAGS];
	r->rip = rip;
}

static void attempt(const struct registers *r, int frame)
{
	fill_stack(frame);
	r8_of_winner = 0;
	if (sigsetjmp(back, 1) == 0) {
		jumping = 1;
		jump(r);
	}
	jumping = 0;
	check_pid();
}

/* --- where to -------------------------------------------------------------------------------------- */
static void around(uint64_t addr)
{
	struct registers r;

	for (int64_t d = -16; d < 48; d++)
		for (unsigned f = 1; f < N_FLAGS; f++)
			for (unsigned k = 0; k < 3; k++) {
				random_registers(&r, addr + (uint64_t)d);
				r.flags = flag_choice[f];
				r.rsp = (uint64_t)(stack + STACK_WORDS / 2);
				if (k)
					r.rax = k == 1 ? 0 : 15, r.rcx = r.rdx = 0;
				attempt(&r, 1);
			}
}

static void within(uint64_t start, uint64_t end, unsigned long count)
{
	struct registers r;

	while (count--) {
		random_registers(&r, start + next_random() % (end - start));
		attempt(&r, count & 1);
	}
}

static void catch_signals(void)
{
	static const int caught[] = { SIGSEGV, SIGBUS, SIGILL, SIGTRAP, SIGFPE, SIGSYS, SIGALRM };
	static uint8_t alt[65536];
	const stack_t st = { .ss_sp = alt, .ss_size = sizeof(alt) };
	const struct itimerval it = { { 0, 20000 }, { 0, 20000 } };
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = SA_ONSTACK };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2); /* for win() */
	sigprocmask(SIG_BLOCK, &set, NULL);
	sigaltstack(&st, NULL);
	sigfillset(&sa.sa_mask);
	for (unsigned i = 0; i < sizeof(caught) / sizeof(*caught); i++)
		sigaction(caught[i], &sa, NULL);
	setitimer(ITIMER_REAL, &it, NULL);
}

/* SIGCHLD is blocked. */
static int wait_for(pid_t pid)
{
	const struct timespec limit = { CHILD_SECONDS, 0 };
	int status = 0;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	if (sigtimedwait(&set, NULL, &limit) < 0)
		kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	return status;
}

/* end 0: around start. */
static void in_child(uint64_t start, uint64_t end, unsigned long count)
{
	pid_t pid = fork();
	int status;

	state = (state * 6364136223846793005 + 1442695040888963407) | 1; /* far from where it was */
	if (pid == 0) {
		self = getpid();
		close(1);
		close(2);
		catch_signals();
		if (end)
			within(start, end, count);
		else
			around(start);
		_exit(0);
	}
	status = wait_for(pid);
	counts->died += status != 0;
	counts->bad += WIFEXITED(status) && WEXITSTATUS(status) == EXIT_WRONG_PID;
	if (counts->mask_of_winner == BLOCKED) {
		printf("ESCAPED: the host has taken a signal frame of ours\n");
		counts->bad++;
	}
	counts->mask_of_winner = 0;
}

int main(int argc, char **argv)
{
	unsigned long count = argc > 2 ? strtoul(argv[2], NULL, 0) : 0;
	static uint64_t mine[8192];
	sigset_t set;

	if (fcntl(MARK_FD, F_GETFD) >= 0)
		_exit(EXIT_BEGAN_ANEW);
	dup2(1, MARK_FD);
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	state = (argc > 1 ? strtoul(argv[1], NULL, 0) : 1) * 0x9e3779b97f4a7c15 | 1;
	came_back_stack = mine + 8000;
	counts = map(sizeof(*counts), MAP_SHARED);
	buffer = map(BUFFER_SIZE, MAP_PRIVATE);
	stack = map(STACK_WORDS * 8, MAP_PRIVATE);
	make_thunks();
	for (int i = 3; i < argc; i++) {
		char *dash = NULL;
		uint64_t start = strtoul(argv[i], &dash, 16), end = *dash == '-' ? strtoul(dash + 1, NULL, 16) : 0;

		for (unsigned long done = 0; done == 0 || (end && done < count); done += CHUNK)
			in_child(start, end, CHUNK);
	}
	printf("%s wild: %lu SEGV, %lu ILL, %lu TRAP, %lu BUS, %lu FPE, %lu alarms, %lu returns, %lu processes ruined, %lu wrong\n",
	       counts->bad ? "FAIL" : "PASS", counts->signals[SIGSEGV], counts->signals[SIGILL], counts->signals[SIGTRAP],
	       counts->signals[SIGBUS], counts->signals[SIGFPE], counts->signals[SIGALRM], counts->returned, counts->died,
	       counts->bad);
	return counts->bad != 0;
}
