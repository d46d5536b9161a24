/* sparse GIB STRIDE_KIB MIB: writes a page every STRIDE_KIB over GIB of address space, then
 * every other page of MIB (so that no two can share a mapping), and reads all of it again,
 * backwards. No page may be lost or mistaken for another, however few of them can be
 * mapped at once. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#define PAGE 4096UL

static unsigned long mix(unsigned long x)
{
	x *= 0x9e3779b97f4a7c15;
	return x ^ x >> 29;
}

static int sweep(const char *what, unsigned long bytes, unsigned long stride)
{
	char *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	unsigned long bad = 0, n = bytes / stride;

	if (base == MAP_FAILED || madvise(base, bytes, MADV_NOHUGEPAGE)) {
		printf("FAIL sparse: %s: cannot map\n", what);
		return 1;
	}
	for (unsigned long i = 0; i < n; i++)
		*(volatile unsigned long *)(base + i * stride + mix(i) % 512 * 8) = mix(i);
	for (unsigned long i = n; i-- > 0;) {
		volatile unsigned long *p = (unsigned long *)(base + i * stride + mix(i) % 512 * 8);

		bad += *p != mix(i);
		*p = i;
	}
	for (unsigned long i = 0; i < n; i += 3)
		bad += *(volatile unsigned long *)(base + i * stride + mix(i) % 512 * 8) != i;
	printf("sparse: %s: %lu pages, %lu wrong\n", what, n, bad);
	munmap(base, bytes);
	return bad != 0;
}

int main(int argc, char **argv)
{
	unsigned long gib = argc > 1 ? strtoul(argv[1], NULL, 0) : 1;
	unsigned long stride = (argc > 2 ? strtoul(argv[2], NULL, 0) : 2048) << 10;
	unsigned long mib = argc > 3 ? strtoul(argv[3], NULL, 0) : 8;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (sweep("far apart", gib << 30, stride) | sweep("every other page", mib << 20, 2 * PAGE))
		return 1;
	printf("PASS sparse\n");
	return 0;
}
