/* Rows that enter the kernel: system calls, processes, threads, faults, signals. */
#include "micro.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define PAGES 256
#define PAGE 4096

static void run_getppid(u64 n)
{
	while (n--)
		sink = (u64)syscall(SYS_getppid);
}

static int zero_fd;

static void prepare_read1(void)
{
	zero_fd = open("/dev/zero", O_RDONLY);
	if (zero_fd < 0)
		micro_die("/dev/zero");
}

static void run_read1(u64 n)
{
	char c;

	while (n--)
		if (read(zero_fd, &c, 1) != 1)
			micro_die("read");
}

static void run_open(u64 n)
{
	while (n--) {
		int fd = open("/dev/null", O_RDONLY);
		if (fd < 0)
			micro_die("open");
		close(fd);
	}
}

static void run_clock(u64 n)
{
	struct timespec t;

	while (n--) {
		clock_gettime(CLOCK_MONOTONIC, &t);
		sink = (u64)t.tv_nsec;
	}
}

/* --- processes and threads --------------------------------------------------------- */
static void wait_child(pid_t pid)
{
	int status;

	if (pid < 0)
		micro_die("fork");
	if (waitpid(pid, &status, 0) != pid || status)
		micro_die("child");
}

static void run_fork(u64 n)
{
	while (n--) {
		pid_t pid = fork();
		if (!pid)
			_exit(0);
		wait_child(pid);
	}
}

static void run_exec(const char *name, u64 n)
{
	char path[600];

	snprintf(path, sizeof(path), "%s/%s", micro_dir(), name);
	while (n--) {
		pid_t pid = fork();
		if (!pid) {
			execl(path, path, (char *)0);
			_exit(127);
		}
		wait_child(pid);
	}
}

static void run_exec_static(u64 n)
{
	run_exec("exit-static", n);
}

static void run_exec_dynamic(u64 n)
{
	run_exec("exit-dynamic", n);
}

/* A byte to another process and back. */
static void run_pipe(u64 n)
{
	int there[2], back[2];
	char c = 0;

	if (pipe(there) || pipe(back))
		micro_die("pipe");
	pid_t pid = fork();
	if (!pid) {
		close(there[1]);
		while (read(there[0], &c, 1) == 1)
			if (write(back[1], &c, 1) != 1)
				_exit(1);
		_exit(0);
	}
	while (n--)
		if (write(there[1], &c, 1) != 1 || read(back[0], &c, 1) != 1)
			micro_die("pipe");
	close(there[1]);
	wait_child(pid);
	close(there[0]);
	close(back[0]);
	close(back[1]);
}

static u32 turn;

static void turn_wait(u32 other)
{
	while (__atomic_load_n(&turn, __ATOMIC_ACQUIRE) == other)
		syscall(SYS_futex, &turn, FUTEX_WAIT_PRIVATE, other, 0, 0, 0);
}

static void turn_give(u32 to)
{
	__atomic_store_n(&turn, to, __ATOMIC_RELEASE);
	syscall(SYS_futex, &turn, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0);
}

static void *thread_main(void *arg)
{
	for (u64 n = *(u64 *)arg; n; n--) {
		turn_wait(0);
		turn_give(0);
	}
	return 0;
}

static void run_thread(u64 n)
{
	pthread_t t;
	u64 count = n;

	turn = 0;
	if (pthread_create(&t, 0, thread_main, &count))
		micro_die("thread");
	while (n--) {
		turn_give(1);
		turn_wait(1);
	}
	pthread_join(t, 0);
}

/* --- memory ---------------------------------------------------------------------- */
static void touch_pages(char *p, u64 count)
{
	for (u64 i = 0; i < count; i++)
		*(volatile char *)(p + i * PAGE) = 1;
}

/* n page faults, PAGES at a time. */
static void fault_pages(u64 n, int fd)
{
	int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;

	while (n) {
		u64 count = n < PAGES ? n : PAGES;
		char *p = mmap(0, PAGES * PAGE, PROT_READ | PROT_WRITE, flags, fd, 0);
		if (p == MAP_FAILED)
			micro_die("mmap");
		if (fd < 0)
			madvise(p, PAGES * PAGE, MADV_NOHUGEPAGE); /* may be unknown */
		touch_pages(p, count);
		munmap(p, PAGES * PAGE);
		n -= count;
	}
}

static void run_fault_anon(u64 n)
{
	fault_pages(n, -1);
}

static int file_fd;

/* Writes to a shared mapping: no fault-around, each page is a fault of its own. */
static void prepare_fault_file(void)
{
	const char *tmp = getenv("TMPDIR");
	char path[512], page[PAGE] = { 1 };

	snprintf(path, sizeof(path), "%s/micro.XXXXXX", tmp ? tmp : "/tmp");
	file_fd = mkstemp(path);
	if (file_fd < 0)
		micro_die(path);
	unlink(path);
	for (int i = 0; i < PAGES; i++)
		if (write(file_fd, page, PAGE) != PAGE)
			micro_die("write");
}

static void run_fault_file(u64 n)
{
	fault_pages(n, file_fd);
}

static char *page_at(void)
{
	static char *p;

	if (!p)
		p = mmap(0, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		micro_die("mmap");
	return p;
}

static void run_mprotect(u64 n)
{
	char *p = page_at();

	*p = 1;
	while (n--) {
		if (mprotect(p, PAGE, PROT_READ) || mprotect(p, PAGE, PROT_READ | PROT_WRITE))
			micro_die("mprotect");
		*(volatile char *)p = 1;
	}
}

static void run_mmap(u64 n)
{
	while (n--) {
		char *p = mmap(0, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (p == MAP_FAILED)
			micro_die("mmap");
		*(volatile char *)p = 1;
		munmap(p, 4 * PAGE);
	}
}

/* --- signals ----------------------------------------------------------------------- */
static void on_signal(int sig)
{
	(void)sig;
	sink++;
}

static void prepare_signal(void)
{
	signal(SIGUSR1, on_signal);
}

static void run_signal(u64 n)
{
	pid_t pid = getpid();

	while (n--)
		kill(pid, SIGUSR1);
}

/* "idiv %ecx" is two bytes; the handler goes on after it. */
static void skip_divide(int sig, siginfo_t *info, void *context)
{
	ucontext_t *u = context;

	(void)sig;
	(void)info;
	u->uc_mcontext.gregs[REG_RIP] += 2;
}

static void handle(int sig, void (*handler)(int, siginfo_t *, void *))
{
	struct sigaction a = { .sa_flags = SA_SIGINFO };

	a.sa_sigaction = handler;
	if (sigaction(sig, &a, 0))
		micro_die("sigaction");
}

static void prepare_divide(void)
{
	handle(SIGFPE, skip_divide);
}

static void run_divide(u64 n)
{
	while (n--)
		asm volatile("xor %%eax, %%eax; cltd; xor %%ecx, %%ecx; idiv %%ecx"
			     : : : "eax", "ecx", "edx", "cc");
}

/* A write to a read-only page; the handler unprotects it. */
static void unprotect(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)context;
	mprotect((void *)((u64)info->si_addr & ~(u64)(PAGE - 1)), PAGE, PROT_READ | PROT_WRITE);
}

static void prepare_segv(void)
{
	handle(SIGSEGV, unprotect);
}

static void run_segv(u64 n)
{
	char *p = page_at();

	while (n--) {
		mprotect(p, PAGE, PROT_READ);
		*(volatile char *)p = 1;
	}
}

const struct row sys_rows[] = {
	{ "syscall", run_getppid, 0, 0, "getppid" },
	{ "clock", run_clock, 0, 0, "clock_gettime(CLOCK_MONOTONIC)" },
	{ "read1", run_read1, prepare_read1, 0, "read of one byte of /dev/zero" },
	{ "open", run_open, 0, 0, "open and close of /dev/null" },
	{ "pipe", run_pipe, 0, 0, "byte to another process and back" },
	{ "thread", run_thread, 0, 0, "turn to another thread and back, by futex" },
	{ "fork", run_fork, 0, 0, "fork, exit, wait" },
	{ "exec-static", run_exec_static, 0, 0, "fork, exec of a static program, wait" },
	{ "exec-dynamic", run_exec_dynamic, 0, 0, "fork, exec of a dynamic program, wait" },
	{ "fault-anon", run_fault_anon, 0, 0, "page fault, anonymous memory (with its share of mmap)" },
	{ "fault-file", run_fault_file, prepare_fault_file, 0, "page fault, shared file (with its share of mmap)" },
	{ "mprotect", run_mprotect, 0, 0, "mprotect to read, mprotect to write, write" },
	{ "mmap", run_mmap, 0, 0, "mmap, write, munmap" },
	{ "signal", run_signal, prepare_signal, 0, "signal to self, handler, return" },
	{ "divzero-signal", run_divide, prepare_divide, 0, "divide by zero, SIGFPE handler, return" },
	{ "segv-signal", run_segv, prepare_segv, 0, "write to a protected page, SIGSEGV handler unprotects it" },
	{ 0, 0, 0, 0, 0 },
};
