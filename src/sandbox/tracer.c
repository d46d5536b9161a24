/* The tracer: a process between the monitor and the views, only for the ptrace trap
 * transport (trap.h). It traces the zygote, and so from their first instruction on all
 * views that this forks. A signal that is a trap is not delivered: the tracer writes what
 * the view's handler wants to know to the view's trap frame and lets the view go on in the
 * handler, whose end (a breakpoint) it answers by restoring the registers.
 *
 * It knows nothing of guests: it does not decode, has no guest memory, no arena and no
 * descriptors, and a filter leaves it the ptrace requests below, on what it traces
 * already. If it dies, what it traces dies with it (PTRACE_O_EXITKILL). */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/user.h>
#undef PAGE_SIZE
#undef PAGE_MASK
#include <sys/wait.h>
#include <unistd.h>
#include "internal.h"
#include "shadowbox/log.h"
#include "shadowbox/sys.h"
#include "trap.h"
#include <elf.h> /* last: it defines names of cpu.h */

#define PTRACE_OPTIONS (PTRACE_O_EXITKILL | PTRACE_O_TRACEFORK | PTRACE_O_TRACECLONE)
/* Selectors of 64-bit user code. */
#define USER_CS 0x33
#define USER_SS 0x2b
/* Results of system calls that a signal has interrupted, to be begun anew: ERESTARTSYS ... */
#define RESTART_FIRST (-516)
#define RESTART_LAST (-512)

static struct {
	pid_t zygote;
	pid_t view[VIEW_MAX];
	u64 entry;
} tracer;

static struct trap_frame *frame_of(unsigned slot)
{
	return (struct trap_frame *)(TRAPS_HVA + slot * (u64)TRAP_STACK_SIZE + TRAP_FRAME_OFF);
}

/* VIEW_MAX: none of the views. */
static unsigned slot_of(pid_t pid)
{
	unsigned slot = 0;

	while (slot < VIEW_MAX && tracer.view[slot] != pid)
		slot++;
	return slot;
}

static void go_on(pid_t pid, int sig)
{
	ptrace(PTRACE_CONT, pid, 0, (long)sig); /* fails if it has been killed meanwhile */
}

/* --- registers ------------------------------------------------------------------------ */
/* Where gregset_t and struct user_regs_struct have the same register. */
static const struct { u8 greg; u16 offset; } registers[] = {
#define REGISTER(greg, field) { REG_##greg, offsetof(struct user_regs_struct, field) }
	REGISTER(R8, r8),   REGISTER(R9, r9),   REGISTER(R10, r10), REGISTER(R11, r11), REGISTER(R12, r12),
	REGISTER(R13, r13), REGISTER(R14, r14), REGISTER(R15, r15), REGISTER(RDI, rdi), REGISTER(RSI, rsi),
	REGISTER(RBP, rbp), REGISTER(RBX, rbx), REGISTER(RDX, rdx), REGISTER(RAX, rax), REGISTER(RCX, rcx),
	REGISTER(RSP, rsp), REGISTER(RIP, rip), REGISTER(EFL, eflags),
#undef REGISTER
};

static void regs_to_frame(struct trap_frame *f, const struct user_regs_struct *r)
{
	greg_t *g = ((ucontext_t *)f->uc)->uc_mcontext.gregs;

	for (size_t i = 0; i < ARRAY_LEN(registers); i++)
		memcpy(&g[registers[i].greg], (const char *)r + registers[i].offset, sizeof(g[0]));
	g[REG_CSGSFS] = (i64)(r->cs & 0xffff) | (i64)(r->ss & 0xffff) << 48;
}

static void regs_from_frame(const struct trap_frame *f, struct user_regs_struct *r)
{
	const greg_t *g = ((const ucontext_t *)f->uc)->uc_mcontext.gregs;

	for (size_t i = 0; i < ARRAY_LEN(registers); i++)
		memcpy((char *)r + registers[i].offset, &g[registers[i].greg], sizeof(g[0]));
	r->cs = (u16)g[REG_CSGSFS];
	r->ss = (u16)(g[REG_CSGSFS] >> 48);
	r->orig_rax = ~0UL;
}

/* All but the segment registers and bases, which need not be set and, if a guest has loaded
 * its own, cannot: there are bases that WRGSBASE takes and ptrace does not. SETREGSET goes
 * by the mode that the tracee is in; in compatibility mode the other request sets what
 * comes before the bases, and may then fail. */
static void set_regs(pid_t pid, u64 cs, struct user_regs_struct *r)
{
	struct iovec iov = { r, offsetof(struct user_regs_struct, fs_base) };

	if (cs != USER_CS)
		ptrace(PTRACE_SETREGS, pid, 0, r);
	else if (ptrace(PTRACE_SETREGSET, pid, NT_PRSTATUS, &iov) < 0)
		go_on(pid, SIGKILL); /* what a view has written there is nothing to run with */
}

/* A system call that the signal has interrupted ends with EINTR, as before a handler. */
static void end_system_call(struct user_regs_struct *r)
{
	if ((i64)r->orig_rax >= 0 && (i64)r->rax >= RESTART_FIRST && (i64)r->rax <= RESTART_LAST)
		r->rax = (u64)-EINTR;
}

/* --- traps ---------------------------------------------------------------------------- */
static bool is_async(int sig)
{
	return sig == VIEW_TIMER_SIGNAL || sig == VIEW_KICK_SIGNAL || sig == VIEW_PROF_SIGNAL;
}

static bool is_trap(int sig)
{
	return sig == SIGSEGV || sig == SIGBUS || sig == SIGFPE || sig == SIGILL || sig == SIGTRAP || sig == SIGSYS ||
	       is_async(sig);
}

/* The frame is written: lets the view run the handler. */
static void enter_handler(pid_t pid, struct trap_frame *f, struct user_regs_struct *r)
{
	u64 cs = r->cs;

	f->state = TRAP_SENT;
	r->rip = tracer.entry;
	r->rsp = TRAP_FRAME_ADDRESS;
	r->eflags = 0x202;
	r->cs = USER_CS;
	r->ss = USER_SS;
	r->orig_rax = ~0UL;
	set_regs(pid, cs, r);
	go_on(pid, 0);
}

static void send_trap(pid_t pid, struct trap_frame *f)
{
	struct user_regs_struct r;

	if (ptrace(PTRACE_GETSIGINFO, pid, 0, &f->si) < 0 || ptrace(PTRACE_GETREGS, pid, 0, &r) < 0)
		return; /* it has been killed */
	end_system_call(&r);
	regs_to_frame(f, &r);
	enter_handler(pid, f, &r);
}

/* A signal while the handler runs: its end, an asynchronous one, or our bug, which the
 * signal's default action ends as it would if the signal were blocked. */
static void interrupt_handler(pid_t pid, struct trap_frame *f, int sig)
{
	struct user_regs_struct r;

	if (is_async(sig)) {
		f->held = (u32)sig;
		go_on(pid, 0);
		return;
	}
	if (ptrace(PTRACE_GETREGS, pid, 0, &r) < 0)
		return;
	if (sig != SIGTRAP || r.rip != (u64)trap_exit_end) {
		go_on(pid, sig);
		return;
	}
	if (f->held) {
		f->si.si_signo = is_async((int)f->held) ? (int)f->held : VIEW_KICK_SIGNAL;
		f->held = 0;
		enter_handler(pid, f, &r);
		return;
	}
	f->state = TRAP_FREE;
	regs_from_frame(f, &r);
	set_regs(pid, USER_CS, &r);
	go_on(pid, 0);
}

/* --- stops ---------------------------------------------------------------------------- */
/* A process that the zygote has just forked: its registers are still the zygote's, which
 * says in an argument that the system call does not have for which slot it is. */
static void adopt(pid_t pid)
{
	struct user_regs_struct r;

	if (ptrace(PTRACE_GETREGS, pid, 0, &r) == 0 && r.r9 < VIEW_MAX)
		tracer.view[r.r9] = pid;
}

static void take_stop(pid_t pid, int status)
{
	int sig = WSTOPSIG(status), event = status >> 16;
	unsigned slot = slot_of(pid);

	if (event == PTRACE_EVENT_STOP) {
		if (slot == VIEW_MAX && pid != tracer.zygote)
			adopt(pid);
		if (sig == SIGTRAP)
			go_on(pid, 0);
		else /* SIGSTOP and its kind: to stay until SIGCONT */
			ptrace(PTRACE_LISTEN, pid, 0, 0);
	} else if (event) {
		go_on(pid, 0);
	} else if (slot == VIEW_MAX || !is_trap(sig)) {
		go_on(pid, sig);
	} else if (frame_of(slot)->state != TRAP_FREE) {
		interrupt_handler(pid, frame_of(slot), sig);
	} else {
		send_trap(pid, frame_of(slot));
	}
}

NORETURN static void serve(void)
{
	int status;

	for (;;) {
		pid_t pid = waitpid(-1, &status, __WALL);

		if (pid > 0 && WIFSTOPPED(status))
			take_stop(pid, status);
		else if (pid > 0 && slot_of(pid) < VIEW_MAX)
			tracer.view[slot_of(pid)] = 0;
		else if (pid < 0 && errno == ECHILD)
			pause(); /* nobody is left; the monitor ends us */
	}
}

/* --- start ---------------------------------------------------------------------------- */
static void drop_memory(void)
{
	munmap((void *)PHYS_HVA, PHYS_MAX);
	munmap((void *)ARENA_HVA, ARENA_SIZE);
	munmap((void *)CODE_RX_HVA, CODE_SIZE);
	munmap((void *)CODE_RW_HVA, CODE_SIZE);
	munmap((void *)HOT_HVA, HOT_TABLE_U_HVA - HOT_HVA);
	munmap((void *)TABLES_U_HVA, VIEW_MAX * TABLE_SIZE);
}

static int map_frames(void)
{
	void *at = mmap((void *)TRAPS_HVA, VIEW_MAX * (u64)TRAP_STACK_SIZE, PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_FIXED_NOREPLACE, sandbox.hot_fd, HOT_OFF_TRAPS);

	return at == (void *)TRAPS_HVA ? 0 : -errno;
}

static int setup(int sock)
{
	const struct sigaction quiet = { .sa_handler = SIG_DFL, .sa_flags = SA_NOCLDSTOP };
	int rc;

	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != sandbox.monitor)
		return -ESRCH;
	setsid(); /* no signals from the terminal's keys */
	sigaction(SIGCHLD, &quiet, NULL);
	prctl(PR_SET_NAME, "shadowbox-t");
	tracer.entry = (u64)(sandbox.host.pkeys ? trap_entry : trap_entry_plain);
	rc = map_frames();
	if (rc < 0)
		return rc;
	if (recv(sock, &tracer.zygote, sizeof(tracer.zygote), 0) != sizeof(tracer.zygote))
		return -EPIPE;
	if (ptrace(PTRACE_SEIZE, tracer.zygote, 0, PTRACE_OPTIONS) < 0)
		return -errno;
	drop_memory();
	return 0;
}

/* Nothing is left open but the socket, as descriptor 0. */
static void keep_socket(int sock)
{
	dup2(sock, 0);
	if (sys_close_range(1, ~0u) < 0)
		for (int fd = 1; fd < 4096; fd++) /* before Linux 5.9 */
			close(fd);
}

NORETURN static void tracer_main(int sock)
{
	i32 rc = setup(sock);

	keep_socket(sock);
	if (rc == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		rc = -errno;
	if (rc == 0)
		rc = seccomp_confine_tracer();
	if (sys_write(0, &rc, sizeof(rc)) != sizeof(rc) || rc < 0)
		sys_exit_group(1);
	close(0);
	serve();
}

int tracer_fork(void)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	sandbox.tracer = fork();
	if (sandbox.tracer == 0) {
		close(pair[0]);
		tracer_main(pair[1]);
	}
	close(pair[1]);
	if (sandbox.tracer < 0) {
		int e = errno;
		sandbox.tracer = 0;
		close(pair[0]);
		return -e;
	}
	return pair[0];
}

int tracer_attach(int sock)
{
	i32 rc = -EPIPE;

	if (send(sock, &sandbox.zygote, sizeof(sandbox.zygote), MSG_NOSIGNAL) != sizeof(sandbox.zygote) ||
	    recv(sock, &rc, sizeof(rc), 0) != sizeof(rc))
		rc = -EPIPE;
	close(sock);
	return rc;
}
