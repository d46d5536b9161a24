/* Rows that stay in user mode: arithmetic, branches, memory, vectors. */
#include "micro.h"
#include <stdlib.h>
#include <string.h>

#define NOINLINE __attribute__((noinline))

/* Multiply, shift, xor, and a branch that depends on data. */
static void run_integer(u64 n)
{
	u64 x = 88172645463325252, odd = 0;

	while (n--) {
		x ^= x << 13;
		x ^= x >> 7;
		x = x * 6364136223846793005 + (x >> 33);
		if (x & 64)
			odd += x;
	}
	sink = odd;
}

static NOINLINE u64 fib(u64 n)
{
	u64 a;

	if (n < 2)
		return n;
	a = fib(n - 1);
	asm volatile("" : "+r"(a)); /* keeps the second call a call */
	return a + fib(n - 2);
}

static void run_fib(u64 n)
{
	while (n--)
		sink = fib(20);
}

#define TARGET(i) static NOINLINE u64 target##i(u64 x) { return x * (2 * i + 3) + i; }
TARGET(0) TARGET(1) TARGET(2) TARGET(3) TARGET(4) TARGET(5) TARGET(6) TARGET(7)
static u64 (*volatile targets[8])(u64) = { target0, target1, target2, target3,
					   target4, target5, target6, target7 };

static void run_indirect(u64 n)
{
	u64 x = 1;

	while (n--)
		x = targets[x >> 20 & 7](x);
	sink = x;
}

/* A stack machine that sums multiples of 3 or 5 below 100: dispatch by jump table. */
enum { PUSH, LOAD, STORE, ADD, MOD, JNZ, JZ, LESS, HALT };
static const unsigned char program[] = {
	PUSH, 0, STORE, 0, PUSH, 0, STORE, 1,			/* sum, i */
	LOAD, 1, PUSH, 3, MOD, 0, JZ, 24, LOAD, 1, PUSH, 5, MOD, 0, JNZ, 32, /* at 8 */
	LOAD, 0, LOAD, 1, ADD, 0, STORE, 0,			/* at 24 */
	LOAD, 1, PUSH, 1, ADD, 0, STORE, 1,			/* at 32 */
	LOAD, 1, PUSH, 100, LESS, 0, JNZ, 8, HALT, 0,
};

static NOINLINE u64 interpret(const unsigned char *code)
{
	u64 stack[8] = { 0 }, vars[4] = { 0 }, *sp = stack;

	for (const unsigned char *pc = code;; pc += 2) {
		switch (*pc) {
		case PUSH: *sp++ = pc[1]; break;
		case LOAD: *sp++ = vars[pc[1]]; break;
		case STORE: vars[pc[1]] = *--sp; break;
		case ADD: sp--; sp[-1] += sp[0]; break;
		case MOD: sp--; sp[-1] %= sp[0]; break;
		case LESS: sp--; sp[-1] = sp[-1] < sp[0]; break;
		case JNZ: if (*--sp) pc = code + pc[1] - 2; break;
		case JZ: if (!*--sp) pc = code + pc[1] - 2; break;
		case HALT: return vars[0];
		}
	}
}

static void run_bytecode(u64 n)
{
	const unsigned char *volatile code = program;

	while (n--)
		sink = interpret(code);
	if (sink != 2318)
		micro_die("bytecode: wrong sum");
}

static int compare(const void *a, const void *b)
{
	u32 x = *(const u32 *)a, y = *(const u32 *)b;

	return x < y ? -1 : x > y;
}

#define SORTED 4096
static void run_sort(u64 n)
{
	static u32 v[SORTED];

	while (n--) {
		u32 x = 1;
		for (u32 i = 0; i < SORTED; i++)
			v[i] = x = x * 1664525 + 1013904223;
		qsort(v, SORTED, sizeof(*v), compare);
		sink = v[SORTED / 2];
	}
}

/* FNV-1a of 16-byte keys, looked up in an open table. */
#define BUCKETS 16384
static char keys[BUCKETS / 2][16];
static u32 table[BUCKETS];

static u32 hash(const char *key)
{
	u32 h = 2166136261;

	for (int i = 0; i < 16; i++)
		h = (h ^ (unsigned char)key[i]) * 16777619;
	return h;
}

static void prepare_hash(void)
{
	u64 x = 1;

	memset(table, 0, sizeof(table));
	for (u32 i = 0; i < BUCKETS / 2; i++) {
		for (int j = 0; j < 16; j++)
			keys[i][j] = (char)('a' + ((x = x * 6364136223846793005 + 1) >> 59) % 26);
		u32 at = hash(keys[i]);
		while (table[at % BUCKETS])
			at++;
		table[at % BUCKETS] = i + 1;
	}
}

static void run_hash(u64 n)
{
	u32 found = 0;

	for (u32 i = 0; n--; i += 7919) {
		const char *key = keys[i % (BUCKETS / 2)];
		u32 at = hash(key);
		while (memcmp(keys[table[at % BUCKETS] - 1], key, 16))
			at++;
		found += table[at % BUCKETS];
	}
	sink = found;
}

/* Three bodies under gravity, one step: adds, multiplies, a divide and a square root. */
static void run_float(u64 n)
{
	double p[3] = { 0.0, 4.84, 8.34 }, v[3] = { 0.0, 0.6, -1.0 }, m[3] = { 39.5, 0.04, 0.01 };

	while (n--) {
		for (int i = 0; i < 3; i++)
			for (int j = i + 1; j < 3; j++) {
				double d = p[i] - p[j], q = d * d + 0.01;
				double f = 0.001 / (q * __builtin_sqrt(q));
				v[i] -= d * m[j] * f;
				v[j] += d * m[i] * f;
			}
		for (int i = 0; i < 3; i++)
			p[i] += 0.001 * v[i];
	}
	sink = (u64)(p[0] * 1000) + (u64)(v[1] * 1000);
}

/* y = y * 0.999 + x over 4096 floats, 16 bytes (SSE) or 32 (AVX2 with FMA) at a time. */
#define FLOATS 4096
/* The gap keeps loads of x from having the low 12 bits of addresses just stored to. */
static struct {
	float x[FLOATS], gap[272], y[FLOATS];
} vec __attribute__((aligned(64)));
typedef float v4 __attribute__((vector_size(16)));
typedef float v8 __attribute__((vector_size(32)));

static void run_sse(u64 n)
{
	v4 *x = (v4 *)vec.x, *y = (v4 *)vec.y;

	while (n--) {
		for (int i = 0; i < FLOATS / 4; i++)
			y[i] = y[i] * 0.999f + x[i];
		asm volatile("" : : : "memory");
	}
}

__attribute__((target("avx2,fma"))) static void run_avx(u64 n)
{
	v8 *x = (v8 *)vec.x, *y = (v8 *)vec.y;

	while (n--) {
		for (int i = 0; i < FLOATS / 8; i++)
			y[i] = y[i] * 0.999f + x[i];
		asm volatile("" : : : "memory");
	}
}

static void prepare_vector(void)
{
	for (int i = 0; i < FLOATS; i++)
		vec.x[i] = vec.y[i] = (float)i;
}

static int have_avx(void)
{
	return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

#define COPY 65536
static struct {
	char from[COPY], gap[1088], to[COPY];
} copy __attribute__((aligned(64)));

static void run_memcpy(u64 n)
{
	while (n--) {
		memcpy(copy.to, copy.from, COPY);
		asm volatile("" : : "r"(copy.to) : "memory");
	}
}

/* A random cycle through 16 MiB, one pointer a cache line. */
#define LINES (16 * 1024 * 1024 / 64)
struct line { struct line *next; char pad[56]; };
static struct line *lines;

static void prepare_chase(void)
{
	u64 x = 1;

	if (lines)
		return;
	lines = aligned_alloc(4096, LINES * sizeof(*lines));
	u32 *order = malloc(LINES * sizeof(*order));
	if (!lines || !order)
		micro_die("memory");
	for (u32 i = 0; i < LINES; i++)
		order[i] = i;
	for (u32 i = LINES - 1; i; i--) {
		x = x * 6364136223846793005 + 1442695040888963407;
		u32 j = (u32)((x >> 33) % (i + 1)), t = order[i];
		order[i] = order[j];
		order[j] = t;
	}
	for (u32 i = 0; i < LINES; i++)
		lines[order[i]].next = &lines[order[(i + 1) % LINES]];
	free(order);
}

static void run_chase(u64 n)
{
	struct line *l = lines;

	while (n--)
		l = l->next;
	sink = (u64)l;
}

const struct row cpu_rows[] = {
	{ "integer", run_integer, 0, 0, "xorshift and multiply, one branch" },
	{ "fib", run_fib, 0, 0, "fib(20) by recursion, 21,891 calls" },
	{ "indirect", run_indirect, 0, 0, "indirect call, 8 targets" },
	{ "bytecode", run_bytecode, 0, 0, "about 1,300 steps of a bytecode interpreter" },
	{ "sort", run_sort, 0, 0, "qsort of 4,096 integers" },
	{ "hash", run_hash, prepare_hash, 0, "hash table look-up, 16-byte key" },
	{ "float", run_float, 0, 0, "three-body step in double precision" },
	{ "sse", run_sse, prepare_vector, 0, "4,096 multiply-adds, 16-byte vectors" },
	{ "avx", run_avx, prepare_vector, have_avx, "4,096 multiply-adds, 32-byte vectors" },
	{ "memcpy", run_memcpy, 0, 0, "memcpy of 64 KiB" },
	{ "chase", run_chase, prepare_chase, 0, "dependent load, random in 16 MiB" },
	{ 0, 0, 0, 0, 0 },
};
