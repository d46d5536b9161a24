/* System calls with pointers that lead nowhere, to the kernel, to what is no address, across
 * the end of a mapping: the kernel's own accesses fault (under SMAP, with RFLAGS.AC set), and
 * it makes EFAULT of that. Argument: rounds. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static int bad;

/* part: some bytes may be transferred before the fault. */
static void expect(const char *what, const void *ptr, long result, int part)
{
	if ((result == -1 && errno == EFAULT) || (part && result == 1))
		return;
	printf("%s %p: %ld, errno %d\n", what, ptr, result, errno);
	bad++;
}

int main(int argc, char **argv)
{
	int rounds = argc > 1 ? atoi(argv[1]) : 100, zero = open("/dev/zero", O_RDONLY), pipes[2];
	char *map = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), drain[128];

	if (zero < 0 || map == MAP_FAILED || pipe(pipes) || munmap(map + 4096, 4096))
		return 1;
	char *const ptrs[] = { NULL, (char *)8, (char *)0xffff888000000000, (char *)0xffffffff81000000,
			       (char *)0x800000000000, (char *)0x7ffffffff000, (char *)0xffffffffff600000,
			       (char *)0x768200000000, map + 4095 };

	for (int r = 0; r < rounds; r++)
		for (unsigned i = 0; i < sizeof(ptrs) / sizeof(*ptrs); i++) {
			char *p = ptrs[i];
			int part = p == map + 4095;
			long n;

			expect("read", p, syscall(SYS_read, zero, p, 100), part);
			n = syscall(SYS_write, pipes[1], p, 100);
			expect("write", p, n, part);
			if (n > 0 && read(pipes[0], drain, (size_t)n) != n)
				bad++;
			expect("clock_gettime", p, syscall(SYS_clock_gettime, 0, p), 0);
			expect("stat", p, syscall(SYS_stat, "/", p), 0);
			expect("readv", p, syscall(SYS_readv, zero, p, 2), 0);
			expect("pipe", p, syscall(SYS_pipe, p), 0);
		}
	printf(bad ? "FAIL badptr: %d\n" : "PASS badptr\n", bad);
	return bad != 0;
}
