/* Signal frames: a storm of SIGALRM interrupts a computation whose handler destroys all
 * vector and general state; the frames must restore it. Also nested signals, alternate
 * stacks, handlers that change the context, and faults that a handler repairs.
 *
 * usage: sigframe [SECONDS] */
#include <signal.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>
#include <cpuid.h>

static volatile unsigned long alarms, usr, nested, repaired;
static int avx, avx512;

static void destroy(void)
{
	if (avx512) {
		asm volatile("vpternlogd $0xff, %%zmm0, %%zmm0, %%zmm0\nvmovdqa64 %%zmm0, %%zmm31\n"
			     "vmovdqa64 %%zmm0, %%zmm16\nvmovdqa64 %%zmm0, %%zmm5\nkxnorq %%k0, %%k0, %%k1\n"
			     "kxnorq %%k0, %%k0, %%k7\n" : : : "memory");
	} else if (avx) {
		asm volatile("vzeroall");
	} else {
		asm volatile("pxor %%xmm0, %%xmm0\npxor %%xmm5, %%xmm5\npxor %%xmm15, %%xmm15" : : : "memory");
	}
	asm volatile("fninit\nfld1\nfldpi\nldmxcsr %0" : : "m"((uint32_t){ 0x1fbf }));
}

static void on_alarm(int sig)
{
	(void)sig;
	alarms++;
	if (alarms % 16 == 0)
		raise(SIGUSR1);
	destroy();
}

static void on_usr(int sig)
{
	(void)sig;
	usr++;
	destroy();
}

/* The computation: state in registers for its whole length. */
static uint64_t compute(uint64_t n)
{
	uint64_t r = 0x123456789, out[8] __attribute__((aligned(64))) = { 0 };
	uint64_t one[8] = { 1, 2, 3, 4, 5, 6, 7, 8 };
	double acc;

	if (avx512) {
		asm volatile("vmovdqu64 %[one], %%zmm5\nvmovdqa64 %%zmm5, %%zmm31\nmov $0x5a5a, %%ecx\nkmovq %%rcx, %%k7\n"
			     "fld1\nfldz\n"
			     "1: vpaddq %%zmm5, %%zmm31, %%zmm31\nvpaddq %%zmm31, %%zmm31, %%zmm31%{%%k7%}\n"
			     "rol $7, %[r]\nadd %[n], %[r]\nfadd %%st(1), %%st\ndec %[n]\njnz 1b\n"
			     "vmovdqu64 %%zmm31, %[out]\nfstpl %[acc]\nfstp %%st\nkmovq %%k7, %%rcx\nadd %%rcx, %[r]\n"
			     : [r] "+r"(r), [n] "+r"(n), [out] "=m"(out), [acc] "=m"(acc) : [one] "m"(one) : "rcx", "cc", "memory");
	} else {
		asm volatile("movdqu %[one], %%xmm5\nmovdqa %%xmm5, %%xmm15\nfld1\nfldz\n"
			     "1: paddq %%xmm5, %%xmm15\nrol $7, %[r]\nadd %[n], %[r]\nfadd %%st(1), %%st\ndec %[n]\njnz 1b\n"
			     "movdqu %%xmm15, %[out]\nfstpl %[acc]\nfstp %%st\n"
			     : [r] "+r"(r), [n] "+r"(n), [out] "=m"(out), [acc] "=m"(acc) : [one] "m"(one) : "xmm5", "xmm15", "cc", "memory");
	}
	uint32_t mx;
	asm volatile("stmxcsr %0" : "=m"(mx));
	for (int i = 0; i < 8; i++)
		r = r * 31 + out[i];
	return r * 31 + (uint64_t)acc + ((uint64_t)mx << 40);
}

static char *hole;
static void on_segv(int sig, siginfo_t *si, void *ctx)
{
	(void)sig;
	(void)ctx;
	repaired++;
	if ((char *)si->si_addr < hole || (char *)si->si_addr >= hole + 64 * 4096)
		_exit(9);
	mprotect((void *)((uintptr_t)si->si_addr & ~4095UL), 4096, PROT_READ | PROT_WRITE);
	destroy();
}

static void on_fpe(int sig, siginfo_t *si, void *ctx)
{
	ucontext_t *uc = ctx;

	(void)sig;
	nested++;
	if (si->si_code != FPE_INTDIV)
		_exit(8);
	uc->uc_mcontext.gregs[REG_RCX] = 7; /* the divisor: the instruction runs again */
}

static int repair(void)
{
	struct sigaction sa = { .sa_sigaction = on_segv, .sa_flags = SA_SIGINFO | SA_ONSTACK };

	sigaction(SIGSEGV, &sa, NULL);
	sa.sa_sigaction = on_fpe;
	sigaction(SIGFPE, &sa, NULL);
	for (int round = 0; round < 20; round++) {
		hole = mmap(NULL, 64 * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		unsigned before = repaired;
		for (int i = 0; i < 64 * 4096; i += 61)
			*(volatile char *)(hole + i) = (char)i;
		if (repaired - before != 64)
			return printf("FAIL sigframe: %lu faults repaired, want 64\n", repaired - before), 1;
		for (int i = 0; i < 64 * 4096; i += 61)
			if (hole[i] != (char)i)
				return printf("FAIL sigframe: store lost\n"), 1;
		munmap(hole, 64 * 4096);
	}
	for (int i = 0; i < 1000; i++) {
		uint64_t q = (uint64_t)i, rem = 0, divisor = 0;
		asm volatile("div %2" : "+a"(q), "+d"(rem), "+c"(divisor));
		if (q != (uint64_t)i / 7 || rem != (uint64_t)i % 7)
			return printf("FAIL sigframe: division after repair: %lu %lu\n", q, rem), 1;
	}
	return 0;
}

static jmp_buf env;
static void on_ill(int sig) { (void)sig; siglongjmp(env, 1); }
static int jumps(void)
{
	volatile int n = 0;

	signal(SIGILL, on_ill);
	for (volatile int i = 0; i < 500; i++) {
		if (sigsetjmp(env, 1))
			n++;
		else
			asm volatile("ud2");
	}
	return n != 500 && printf("FAIL sigframe: %d long jumps\n", n);
}

int main(int argc, char **argv)
{
	double seconds = argc > 1 ? atof(argv[1]) : 5;
	unsigned a, b, c, d, x = 0;
	stack_t ss = { .ss_sp = malloc(1 << 18), .ss_size = 1 << 18 };

	__cpuid(1, a, b, c, d);
	if (c & bit_OSXSAVE)
		asm volatile("xgetbv" : "=a"(x) : "c"(0) : "edx");
	avx = (x & 6) == 6 && (c & bit_AVX);
	__cpuid_count(7, 0, a, b, c, d);
	avx512 = (x & 0xe6) == 0xe6 && (b & bit_AVX512F) && (b & bit_AVX512BW);
	uint64_t want = compute(200000);
	if (compute(200000) != want)
		return printf("FAIL sigframe: not repeatable\n"), 1;
	sigaltstack(&ss, NULL);
	struct sigaction sa = { .sa_handler = on_alarm, .sa_flags = SA_ONSTACK | SA_RESTART };
	sigaction(SIGALRM, &sa, NULL);
	sa.sa_handler = on_usr;
	sigaction(SIGUSR1, &sa, NULL);
	struct itimerval it = { { 0, 2000 }, { 0, 2000 } };
	setitimer(ITIMER_REAL, &it, NULL);
	time_t end = time(NULL) + (time_t)seconds + 1;
	unsigned long rounds = 0;
	/* A host that stops for seconds leaves none for alarms. */
	while (time(NULL) < end || (alarms <= 10 && time(NULL) < end + 60)) {
		uint64_t got = compute(200000);
		rounds++;
		if (got != want)
			return printf("FAIL sigframe: %lx, want %lx after %lu rounds, %lu alarms\n", got, want, rounds, alarms), 1;
	}
	if (repair() || jumps())
		return 1;
	memset(&it, 0, sizeof(it));
	setitimer(ITIMER_REAL, &it, NULL);
	printf("%s sigframe %lu rounds, %lu alarms, %lu nested\n", alarms > 10 ? "PASS" : "FAIL", rounds, alarms, usr);
	return alarms <= 10;
}
