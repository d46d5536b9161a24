/* The rows of nano.c that an ordinary program can run: a call and a return. */
#include <stdint.h>
#include <stdio.h>

static uint64_t rdtsc(void)
{
	uint32_t a, d;

	asm volatile("rdtsc" : "=a"(a), "=d"(d));
	return a | (uint64_t)d << 32;
}

static double callret(uint64_t n)
{
	uint64_t left = n, start = rdtsc();

	/* The red zone is stepped over. */
	asm volatile("sub $128, %%rsp; jmp 2f; 1: ret; 2: call 1b; dec %0; jnz 2b; add $128, %%rsp"
		     : "+r"(left) : : "memory", "cc");
	return (double)(rdtsc() - start) / (double)n;
}

int main(void)
{
	static const char *const rows[] = { "nano.callret", "nano.callret-user" };

	puts("@start 0");
	callret(1000000);
	for (int i = 0; i < 2; i++) {
		printf("@begin %s\n", rows[i]);
		for (int j = 0; j < 5; j++)
			printf("@row %s %.1f cycles\n", rows[i], callret(4000000));
		printf("@end %s 0\n", rows[i]);
	}
	puts("@done -");
	return 0;
}
