/* A computation in integers, doubles and vectors whose result is known, repeated while the
 * timer ticks; any register lost shows.
 *
 * usage: compute [SECONDS] */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static uint64_t integers(void)
{
	uint64_t x = 1, h = 0;

	for (int i = 0; i < 200000; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		h = (h << 5 | h >> 59) ^ (x * (uint64_t)(i | 1)) ^ (x / (uint64_t)(i + 3));
	}
	return h;
}

static uint64_t doubles(void)
{
	double s = 0;
	uint64_t h;

	for (int i = 1; i < 60000; i++)
		s += sqrt(i) / (i + 1.5) - sin(i * 0.01) * 1e-3;
	memcpy(&h, &s, 8);
	return h;
}

static uint64_t sorting(void)
{
	static uint32_t a[20000];
	uint64_t h = 0;
	uint32_t x = 12345;

	for (int i = 0; i < 20000; i++)
		a[i] = x = x * 1664525 + 1013904223;
	for (int gap = 10000; gap; gap /= 2) /* shell sort */
		for (int i = gap; i < 20000; i++)
			for (int j = i; j >= gap && a[j - gap] > a[j]; j -= gap) {
				uint32_t t = a[j];
				a[j] = a[j - gap];
				a[j - gap] = t;
			}
	for (int i = 0; i < 20000; i++)
		h = h * 31 + a[i];
	return h;
}

int main(int argc, char **argv)
{
	time_t end = time(NULL) + (argc > 1 ? atoi(argv[1]) : 5);
	uint64_t a = integers(), b = doubles(), c = sorting(), rounds = 0;

	do {
		rounds++;
		if (integers() != a || doubles() != b || sorting() != c) {
			printf("FAIL compute in round %lu\n", rounds);
			return 1;
		}
	} while (time(NULL) < end);
	printf("PASS compute %016lx %016lx %016lx, %lu rounds\n", a, b, c, rounds);
	return 0;
}
