/* Vector, mask, x87 and MXCSR state under preemption: several processes with several
 * threads each hold distinctive values in all registers and check them again and again,
 * by spinning, by system calls and by faults in between.
 *
 * usage: vecstate [SECONDS [PROCESSES [THREADS]]] */
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cpuid.h>

static int level;
static double seconds = 5;
static volatile int failed;

struct state {
	uint8_t v[32][64];
	uint64_t k[8];
	double x87[8];
	uint32_t mxcsr;
	uint16_t cw;
} __attribute__((aligned(64)));

#define R16(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)
#define R32(X) R16(X) X(16) X(17) X(18) X(19) X(20) X(21) X(22) X(23) X(24) X(25) X(26) X(27) X(28) X(29) X(30) X(31)
#define R8(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)
#define S(n) #n

/* One assembly statement from load to store, so that the compiler keeps out. how: 0 spin,
 * 1 system call, 2 page fault (a store to a page that the caller has dropped). */
#define LX(n) "movdqu " S(n) "*64(%[in]), %%xmm" S(n) "\n"
#define SX(n) "movdqu %%xmm" S(n) ", " S(n) "*64(%[out])\n"
#define LY(n) "vmovdqu " S(n) "*64(%[in]), %%ymm" S(n) "\n"
#define SY(n) "vmovdqu %%ymm" S(n) ", " S(n) "*64(%[out])\n"
#define LZ(n) "vmovdqu64 " S(n) "*64(%[in]), %%zmm" S(n) "\n"
#define SZ(n) "vmovdqu64 %%zmm" S(n) ", " S(n) "*64(%[out])\n"
#define LK(n) "kmovq 2048+" S(n) "*8(%[in]), %%k" S(n) "\n"
#define SK(n) "kmovq %%k" S(n) ", 2048+" S(n) "*8(%[out])\n"
#define LF(n) "fldl 2112+" S(n) "*8(%[in])\n"
#define SF(n) "fstpl 2112+(7-" S(n) ")*8(%[out])\n"
#define BODY(load, store) \
	asm volatile("ldmxcsr 2176(%[in])\nfninit\nfldcw 2180(%[in])\n" R8(LF) load \
		     "cmp $1, %[how]\nje 2f\nja 3f\n" \
		     "mov %[spin], %%ecx\n1: dec %%ecx\njnz 1b\njmp 4f\n" \
		     "2: mov $24, %%eax\nsyscall\njmp 4f\n" /* sched_yield */ \
		     "3: movb $1, (%[page])\n4:\n" store R8(SF) \
		     "stmxcsr 2176(%[out])\nfnstcw 2180(%[out])\nfninit\n" \
		     : : [in] "r"(in), [out] "r"(out), [how] "r"(how), [spin] "r"(spin), [page] "r"(page) \
		     : "rax", "rcx", "r11", "memory", "cc")

_Static_assert(__builtin_offsetof(struct state, k) == 2048, "");
_Static_assert(__builtin_offsetof(struct state, x87) == 2112, "");
_Static_assert(__builtin_offsetof(struct state, mxcsr) == 2176, "");
_Static_assert(__builtin_offsetof(struct state, cw) == 2180, "");

static void hold(const struct state *in, struct state *out, int how, int spin, char *page)
{
	if (level == 2)
		BODY(R32(LZ) R8(LK), R32(SZ) R8(SK));
	else if (level == 1)
		BODY(R16(LY), R16(SY));
	else
		BODY(R16(LX), R16(SX));
	if (level >= 1)
		asm volatile("vzeroupper");
	asm volatile("ldmxcsr %0" : : "m"((uint32_t){ 0x1f80 }));
}

static void probe(void)
{
	unsigned a, b, c, d, x = 0;

	__cpuid(1, a, b, c, d);
	if (!(c & bit_OSXSAVE))
		return;
	asm volatile("xgetbv" : "=a"(x) : "c"(0) : "edx");
	if ((x & 6) == 6 && (c & bit_AVX))
		level = 1;
	__cpuid_count(7, 0, a, b, c, d);
	if ((x & 0xe6) == 0xe6 && (b & bit_AVX512F) && (b & bit_AVX512BW))
		level = 2;
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec * 1e-9;
}

static void fill(struct state *s, uint64_t seed)
{
	uint64_t *w = (uint64_t *)s;

	for (size_t i = 0; i < 2112 / 8; i++)
		w[i] = (seed + i) * 0x9e3779b97f4a7c15;
	for (int i = 0; i < 8; i++)
		s->x87[i] = (double)(seed % 1000003) + i / 8.0;
	s->mxcsr = 0x1f80 | (seed & 3) << 13 | (seed & 0x3f);
	s->cw = 0x7f | 2 << 8 | (seed >> 2 & 3) << 10;
}

static size_t live(void) { return level == 2 ? 64 : level == 1 ? 32 : 16; }

static void check(const struct state *a, const struct state *b, uint64_t seed, int how)
{
	int n = level == 2 ? 32 : 16;

	for (int i = 0; i < n; i++)
		if (memcmp(a->v[i], b->v[i], live())) {
			printf("vecstate: register %d changed (seed %lu, how %d)\n", i, seed, how);
			failed = 1;
		}
	if (level == 2 && memcmp(a->k, b->k, sizeof(a->k))) {
		printf("vecstate: mask registers changed (seed %lu)\n", seed);
		failed = 1;
	}
	if (memcmp(a->x87, b->x87, sizeof(a->x87)) || a->mxcsr != b->mxcsr || a->cw != b->cw) {
		printf("vecstate: x87 or MXCSR changed: %x %x %x %x (seed %lu)\n", a->mxcsr, b->mxcsr,
		       a->cw, b->cw, seed);
		failed = 1;
	}
}

static void *worker(void *arg)
{
	struct state *in = aligned_alloc(64, sizeof(*in)), *out = aligned_alloc(64, sizeof(*out));
	char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t seed = (uint64_t)getpid() * 1000003 + (uintptr_t)arg * 7919;
	double end = now() + seconds;

	for (uint64_t i = 0; now() < end && !failed; i++) {
		fill(in, seed + i);
		memset(out, 0, sizeof(*out));
		hold(in, out, i % 3, 1000 + i * 7919 % 300000, page);
		check(in, out, seed + i, i % 3);
		madvise(page, 4096, MADV_DONTNEED);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	int processes = 4, threads = 2, bad = 0;

	if (argc > 1)
		seconds = atof(argv[1]);
	if (argc > 2)
		processes = atoi(argv[2]);
	if (argc > 3)
		threads = atoi(argv[3]);
	probe();
	for (int p = 0; p < processes; p++) {
		if (fork())
			continue;
		pthread_t t[64];
		for (long i = 0; i < threads && i < 64; i++)
			pthread_create(&t[i], NULL, worker, (void *)(i + 1));
		for (int i = 0; i < threads && i < 64; i++)
			pthread_join(t[i], NULL);
		exit(failed);
	}
	for (int st; wait(&st) > 0;)
		bad |= st;
	printf("%s vecstate level %d, %d processes of %d threads\n", bad ? "FAIL" : "PASS", level,
	       processes, threads);
	return bad != 0;
}
