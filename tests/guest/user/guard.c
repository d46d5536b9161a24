/* Pages that a program protects and unprotects all the time, as behind write barriers: a write
 * faults in each round in which it must and never in another, whatever instruction it is, and
 * what was written is there. Also by another mapping of the page, by system calls that write to
 * it, and in a child that shares it copy-on-write.
 *
 * usage: guard [ROUNDS [NAME]]: all of it, or what has this name */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static sigjmp_buf back;
static void *volatile fault_at;
static volatile int fault_code;
static int bad;

static void on_segv(int sig, siginfo_t *si, void *ctx)
{
	(void)sig, (void)ctx;
	fault_at = si->si_addr;
	fault_code = si->si_code;
	siglongjmp(back, 1);
}

static void wrong(const char *what, uint64_t round, uint64_t got, uint64_t want)
{
	if (bad++ < 10)
		printf("guard: %s, round %lu: got %lx, want %lx\n", what, round, got, want);
}

/* --- writers: each writes v to p[0], some of them more behind it --------------------------- */
static void by_mov(volatile uint64_t *p, uint64_t v) { *p = v; }
static void by_bytes(volatile uint64_t *p, uint64_t v)
{
	for (int i = 0; i < 8; i++)
		((volatile uint8_t *)p)[i] = (uint8_t)(v >> 8 * i);
}
static void by_xchg(volatile uint64_t *p, uint64_t v) { __atomic_exchange_n(p, v, __ATOMIC_SEQ_CST); }
static void by_add(volatile uint64_t *p, uint64_t v) { __atomic_fetch_add(p, v - *p, __ATOMIC_SEQ_CST); }
static void by_cas(volatile uint64_t *p, uint64_t v)
{
	uint64_t old = *p;

	__atomic_compare_exchange_n(p, &old, v, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}
static uint64_t source[32];
static void by_memcpy(volatile uint64_t *p, uint64_t v)
{
	source[0] = v;
	memcpy((void *)p, source, sizeof(source));
}
static void by_stos(volatile uint64_t *p, uint64_t v)
{
	uint64_t n = 20;

	asm volatile("rep stosq" : "+D"(p), "+c"(n) : "a"(v) : "memory");
}
static void by_sse(volatile uint64_t *p, uint64_t v)
{
	asm volatile("movq %1, %%xmm3\npunpcklqdq %%xmm3, %%xmm3\nmovups %%xmm3, (%0)" : : "r"(p), "r"(v) : "xmm3", "memory");
}

static void (*const writer[])(volatile uint64_t *p, uint64_t v) = {
	by_mov, by_bytes, by_xchg, by_add, by_cas, by_memcpy, by_stos, by_sse,
};
#define WRITERS (sizeof(writer) / sizeof(writer[0]))

/* Did it fault? */
static int tries(unsigned w, volatile uint64_t *p, uint64_t v)
{
	fault_at = NULL;
	if (sigsetjmp(back, 0))
		return 1;
	writer[w % WRITERS](p, v);
	return 0;
}

static void one_round(const char *what, uint64_t i, unsigned w, uint8_t *page, const uint8_t *seen, volatile uint64_t *p)
{
	uint64_t off = (uint64_t)((uint8_t *)p - page), old = *(const uint64_t *)(seen + off);

	if (mprotect(page, 4096, PROT_READ))
		wrong("mprotect", i, (uint64_t)errno, 0);
	if (!tries(w, p, ~i) || fault_code != SEGV_ACCERR || (uint8_t *)fault_at < page || (uint8_t *)fault_at >= page + 4096)
		wrong(what, i, (uint64_t)fault_at, (uint64_t)p);
	if (*(const uint64_t *)(seen + off) != old || *p != old)
		wrong("changed while protected", i, *p, old);
	if (mprotect(page, 4096, PROT_READ | PROT_WRITE))
		wrong("mprotect", i, (uint64_t)errno, 0);
	if (tries(w, p, i))
		wrong("faults while it may", i, (uint64_t)fault_at, 0);
	if (*(volatile const uint64_t *)(seen + off) != i || *p != i)
		wrong("not written", i, *p, i);
}

static uint8_t *fresh(void)
{
	uint8_t *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		exit(1);
	return p;
}

/* One page; the instruction that writes changes now and then, and has other things to do. */
static void page(uint64_t rounds)
{
	uint8_t *p = fresh();
	uint64_t other[64];

	for (uint64_t i = 0; i < rounds; i++) {
		unsigned w = (unsigned)(i / 64);

		one_round("page", i, w, p, p, (uint64_t *)p + i % 400);
		for (int k = 0; k < 4; k++)
			if (tries(w, other + k, i + 1) || other[k] != i + 1)
				wrong("other memory", i, other[k], i + 1);
	}
	munmap(p, 4096);
}

/* As a write barrier has it: one page, one instruction, and a fault in each round. */
static void barrier(uint64_t rounds)
{
	uint8_t *p = fresh();

	for (uint64_t i = 0; i < rounds; i++)
		one_round("barrier", i, 0, p, p, (uint64_t *)p + i % 400);
	munmap(p, 4096);
}

/* The same without faults: guarded while nobody is to write. */
static void guarded(uint64_t rounds)
{
	uint8_t *p = fresh();
	volatile uint64_t *at = (uint64_t *)p;

	for (uint64_t i = 0; i < rounds; i++) {
		if (mprotect(p, 4096, PROT_READ) || mprotect(p, 4096, PROT_READ | PROT_WRITE) || tries(0, at, i) || *at != i)
			wrong("guarded", i, *at, i);
	}
	if (mprotect(p, 4096, PROT_READ) || !tries(0, at, 1) || *at != rounds - 1)
		wrong("guarded in the end", rounds, *at, rounds - 1);
	munmap(p, 4096);
}

/* All of them in turn, each round another one, on pages of their own. */
static void writers(uint64_t rounds)
{
	uint8_t *p[WRITERS];

	for (unsigned w = 0; w < WRITERS; w++)
		p[w] = fresh();
	for (uint64_t i = 0; i < rounds; i++)
		one_round("writers", i, (unsigned)i, p[i % WRITERS], p[i % WRITERS], (uint64_t *)p[i % WRITERS] + i % 400);
	for (unsigned w = 0; w < WRITERS; w++)
		munmap(p[w], 4096);
}

/* Another mapping of the same page, which is never protected. */
static void two_mappings(uint64_t rounds)
{
	int fd = memfd_create("page", 0);

	if (fd < 0 || ftruncate(fd, 4096))
		exit(1);
	uint8_t *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	uint8_t *q = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	for (uint64_t i = 0; i < rounds; i++) {
		volatile uint64_t *here = (uint64_t *)p + i % 400, *there = (uint64_t *)q + i % 400;

		one_round("mapping", i, (unsigned)(i / 32), p, q, here);
		if (i % 8)
			continue;
		mprotect(p, 4096, PROT_READ);
		if (tries((unsigned)i / 32, there, ~i) || *here != ~i)
			wrong("by the other mapping", i, *here, ~i);
		mprotect(p, 4096, PROT_READ | PROT_WRITE);
	}
	munmap(p, 4096);
	munmap(q, 4096);
	close(fd);
}

/* read() must fail while the page is protected, and write while it is not. */
static void system_calls(uint64_t rounds)
{
	uint8_t *p = fresh();
	int fd[2];
	ssize_t n;

	if (pipe(fd))
		exit(1);
	for (uint64_t i = 0; i < rounds; i++) {
		one_round("before a call", i, 0, p, p, (uint64_t *)p);
		if (i % 32)
			continue;
		if (write(fd[1], "ABCDEFGH", 8) != 8)
			exit(1);
		mprotect(p, 4096, PROT_READ);
		n = read(fd[0], p, 8);
		if (n != -1 || errno != EFAULT || *(volatile uint64_t *)p != i)
			wrong("read() while protected", i, (uint64_t)n, (uint64_t)-1);
		mprotect(p, 4096, PROT_READ | PROT_WRITE);
		n = read(fd[0], p + 8, 8);
		if (n != 8 || memcmp(p + 8, "ABCDEFGH", 8))
			wrong("read()", i, (uint64_t)n, 8);
	}
	close(fd[0]);
	close(fd[1]);
	munmap(p, 4096);
}

static void children(uint64_t rounds)
{
	uint8_t *p = fresh();
	int status;

	for (unsigned c = 0; c < 8; c++) {
		for (uint64_t i = 0; i < rounds / 16; i++)
			one_round("parent", i, 0, p, p, (uint64_t *)p);
		*(volatile uint64_t *)(p + 8) = 4711;
		fflush(stdout);
		if (!fork()) {
			for (uint64_t i = 0; i < 64; i++)
				one_round("child", i + 100000, 0, p, p, (uint64_t *)p + 1);
			_exit(bad != 0);
		}
		for (uint64_t i = 0; i < 64; i++)
			one_round("parent meanwhile", i, 0, p, p, (uint64_t *)p);
		wait(&status);
		bad += status != 0;
		if (*(volatile uint64_t *)(p + 8) != 4711)
			wrong("what the child wrote", c, *(volatile uint64_t *)(p + 8), 4711);
	}
	munmap(p, 4096);
}

static const struct {
	const char *name;
	void (*run)(uint64_t rounds);
	unsigned share;
} parts[] = {
	{ "barrier", barrier, 1 }, { "guarded", guarded, 1 }, { "page", page, 1 }, { "writers", writers, 1 },
	{ "two_mappings", two_mappings, 2 }, { "system_calls", system_calls, 4 }, { "children", children, 1 },
};

int main(int argc, char **argv)
{
	uint64_t rounds = argc > 1 ? strtoul(argv[1], NULL, 0) : 2000;
	struct sigaction sa = { .sa_sigaction = on_segv, .sa_flags = SA_SIGINFO | SA_NODEFER };

	sigaction(SIGSEGV, &sa, NULL);
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		if (argc < 3 || !strcmp(argv[2], parts[i].name))
			parts[i].run(rounds / parts[i].share);
	printf("%s guard\n", bad ? "FAIL" : "PASS");
	return bad != 0;
}
