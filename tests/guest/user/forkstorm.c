/* Forks and reaps processes: plain, with memory written on both sides, with exec of
 * itself, and several alive at once.
 *
 * usage: forkstorm [COUNT] */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static int check(int st, int want, const char *what, int i)
{
	if (WIFEXITED(st) && WEXITSTATUS(st) == want)
		return 0;
	printf("forkstorm: %s %d ended with %x\n", what, i, st);
	return 1;
}

int main(int argc, char **argv)
{
	int count = argc > 1 ? atoi(argv[1]) : 1000, bad = 0, st;
	uint64_t *mem;
	size_t words = 1 << 15;

	if (argc > 2 && !strcmp(argv[1], "child"))
		return atoi(argv[2]);
	mem = mmap(NULL, words * 8, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (size_t i = 0; i < words; i++)
		mem[i] = i;
	for (int i = 0; i < count && bad < 10; i++) {
		pid_t p = fork();
		if (p < 0) {
			perror("fork");
			return 1;
		}
		if (!p) {
			if (i % 10 == 3) {
				char n[16];
				sprintf(n, "%d", i & 63);
				execl("/proc/self/exe", "forkstorm", "child", n, NULL);
				_exit(99);
			}
			for (size_t k = (size_t)i % 64; k < words; k += 512) {
				if (mem[k] != k + (k % 512 == 5 ? (uint64_t)i : 0) && k % 512 != 5)
					_exit(98);
				mem[k] = ~0UL; /* private to the child */
			}
			_exit(i & 63);
		}
		for (size_t k = 5; k < words; k += 512)
			mem[k] = k + (uint64_t)i + 1; /* private to the parent */
		wait(&st);
		bad += check(st, i & 63, "child", i);
		for (size_t k = (size_t)i % 64; k < words; k += 512)
			if (k % 512 != 5 && mem[k] != k)
				bad += check(-1, 0, "leak", i);
	}
	for (int r = 0; r < 5; r++) { /* many at once */
		for (int i = 0; i < 40; i++)
			if (!fork()) {
				usleep(1000 * (unsigned)(i % 7));
				_exit(7);
			}
		for (int i = 0; i < 40; i++) {
			wait(&st);
			bad += check(st, 7, "crowd", i);
		}
	}
	printf("%s forkstorm %d\n", bad ? "FAIL" : "PASS", count);
	return bad != 0;
}
