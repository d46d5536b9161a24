/* Programs that write code: RWX pages, W^X by mprotect, two mappings of one file,
 * rewriting in place, many functions, code freed and mapped anew, constants beside code, across
 * threads and fork.
 *
 * usage: jit [ROUNDS] */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

typedef uint64_t (*fn)(uint64_t);
static int bad;

/* rax = rdi * a + b */
static size_t emit(uint8_t *p, uint32_t a, uint32_t b)
{
	uint8_t *s = p;

	*p++ = 0x48; *p++ = 0x69; *p++ = 0xc7; memcpy(p, &a, 4); p += 4; /* imul rax, rdi, a */
	*p++ = 0x48; *p++ = 0x05; memcpy(p, &b, 4); p += 4;             /* add rax, b */
	*p++ = 0xc3;
	return (size_t)(p - s);
}

static void expect(const char *what, fn f, uint32_t a, uint32_t b)
{
	uint64_t x = 12345 + a, want = x * (uint64_t)(int64_t)(int32_t)a + (uint64_t)(int64_t)(int32_t)b, got = f(x);

	if (got != want && bad++ < 10)
		printf("jit: %s: got %lx, want %lx\n", what, got, want);
}

static void rwx(int rounds)
{
	uint8_t *p = mmap(NULL, 16384, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	for (int i = 0; i < rounds; i++) {
		uint8_t *at = p + (i * 37) % 16000;
		emit(at, (uint32_t)i, 7);
		expect("rwx", (fn)at, (uint32_t)i, 7);
	}
	for (int i = 0; i < rounds; i++) { /* one immediate of a live function */
		uint32_t v = (uint32_t)i;
		emit(p, 3, 0);
		memcpy(p + 9, &v, 4);
		expect("patched", (fn)p, 3, v);
	}
	munmap(p, 16384);
}

static void w_xor_x(int rounds)
{
	uint8_t *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	for (int i = 0; i < rounds; i++) {
		mprotect(p, 4096, PROT_READ | PROT_WRITE);
		emit(p + 64 * (i % 8), (uint32_t)i, 5);
		mprotect(p, 4096, PROT_READ | PROT_EXEC);
		expect("w^x", (fn)(p + 64 * (i % 8)), (uint32_t)i, 5);
	}
	munmap(p, 4096);
}

static void dual(int rounds)
{
	int fd = memfd_create("code", 0);

	if (fd < 0 || ftruncate(fd, 8192))
		exit(1);
	uint8_t *w = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	uint8_t *x = mmap(NULL, 8192, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
	for (int i = 0; i < rounds; i++) {
		size_t off = 4096 - 20 + (size_t)(i % 20); /* across the page boundary */
		emit(w + off, (uint32_t)i, 9);
		expect("dual", (fn)(x + off), (uint32_t)i, 9);
		if (i % 4 == 0 && pwrite(fd, (uint32_t[]){ 77 }, 4, (off_t)off + 9) == 4)
			expect("by write()", (fn)(x + off), (uint32_t)i, 77);
	}
	munmap(w, 8192);
	munmap(x, 8192);
	close(fd);
}

static void many(int rounds)
{
	for (int i = 0; i < rounds / 10 + 1; i++) { /* the same address, other code */
		uint8_t *p = mmap((void *)0x66660000, 65536, PROT_READ | PROT_WRITE | PROT_EXEC,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		for (int j = 0; j < 65536 / 64; j += 1 + i % 7)
			emit(p + 64 * j, (uint32_t)(i * j + 1), (uint32_t)j);
		for (int j = 0; j < 65536 / 64; j += 1 + i % 7)
			expect("many", (fn)(p + 64 * j), (uint32_t)(i * j + 1), (uint32_t)j);
		if (i & 1)
			munmap(p, 65536);
		else
			madvise(p, 65536, MADV_DONTNEED);
	}
}

static void forks(void)
{
	uint8_t *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	emit(p, 2, 1);
	expect("parent", (fn)p, 2, 1);
	for (uint32_t i = 0; i < 20; i++) {
		if (!fork()) { /* copy on write of a code page */
			expect("inherited", (fn)p, 2, 1);
			emit(p, i, 100 + i);
			expect("child", (fn)p, i, 100 + i);
			_exit(bad != 0);
		}
		expect("parent again", (fn)p, 2, 1);
		int st;
		wait(&st);
		bad += st != 0;
		expect("parent after", (fn)p, 2, 1);
	}
}

/* Constants beside an instruction that does not run as it is: they are read, and so is the
 * instruction, as they were written; now and then, and in turn with calls. */
static void constants(int rounds)
{
	static const uint8_t leaf0[] = { 0x53, 0x31, 0xc0, 0x0f, 0xa2, 0x89, 0xd8, 0x5b, 0xc3 }; /* eax = CPUID.0:EBX */
	uint8_t *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), seen[4096];
	uint64_t want = 0, got;
	int fd[2];

	if (pipe(fd))
		exit(1);
	memset(p, 0xcc, 4096);
	memcpy(p + 0x800, leaf0, sizeof(leaf0));
	emit(p + 0x900, 3, 5);
	for (uint64_t i = 0; i < 64; i++)
		((uint64_t *)p)[i] = i * i;
	mprotect(p, 4096, PROT_READ | PROT_EXEC);
	for (int i = 0; i < rounds; i++) {
		int reads = i < rounds / 2 ? 1 : i % 256 ? 0 : 1000;

		expect("beside constants", (fn)(p + 0x900), 3, 5);
		if (i % 64 == 0) {
			got = ((fn)(p + 0x800))(0);
			want = i ? want : got;
			bad += got != want;
		}
		for (int k = 0; k < reads; k++)
			bad += ((volatile uint64_t *)p)[k % 64] != (uint64_t)(k % 64) * (uint64_t)(k % 64);
		bad += reads && memcmp(p + 0x800, leaf0, sizeof(leaf0));
		if (i % 64 == 0) /* the kernel reads, too */
			bad += write(fd[1], p, 4096) != 4096 || read(fd[0], seen, 4096) != 4096 || memcmp(seen + 0x800, leaf0, sizeof(leaf0));
	}
	if (bad)
		printf("jit: constants: %d wrong so far\n", bad);
	close(fd[0]);
	close(fd[1]);
	munmap(p, 4096);
}

static uint8_t *shared;
static pthread_barrier_t bar;
static void *caller(void *arg)
{
	(void)arg;
	for (uint32_t i = 0; i < 300; i++) {
		pthread_barrier_wait(&bar);
		expect("other thread's code", (fn)shared, i, 11);
		pthread_barrier_wait(&bar);
	}
	return NULL;
}

static void threads(void)
{
	pthread_t t[3];

	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	pthread_barrier_init(&bar, NULL, 4);
	for (int i = 0; i < 3; i++)
		pthread_create(&t[i], NULL, caller, NULL);
	for (uint32_t i = 0; i < 300; i++) {
		emit(shared, i, 11);
		pthread_barrier_wait(&bar);
		pthread_barrier_wait(&bar);
	}
	for (int i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
}

int main(int argc, char **argv)
{
	int rounds = argc > 1 ? atoi(argv[1]) : 2000;

	constants(rounds * 4); /* first: a process that writes much code is translated as a whole */
	rwx(rounds);
	w_xor_x(rounds);
	dual(rounds);
	many(rounds / 10);
	forks();
	threads();
	printf("%s jit\n", bad ? "FAIL" : "PASS");
	return bad != 0;
}
