/* Output, results, memory, page tables. */
#include "lib.h"
#include <stdarg.h>

static const char *current;
static u32 failures, passed, failed;
static bool skipped;

/* --- output ---------------------------------------------------------------------- */
static void putch(char c)
{
	while (!(inb(0x3fd) & 0x20))
		;
	outb(0x3f8, (u8)c);
}

static void put_num(u64 v, u32 base, u32 width, char pad)
{
	char b[24];
	u32 n = 0;

	do
		b[n++] = "0123456789abcdef"[v % base];
	while (v /= base);
	while (n < width && n < sizeof(b))
		b[n++] = pad;
	while (n)
		putch(b[--n]);
}

static void vprint(const char *f, va_list ap)
{
	for (; *f; f++) {
		if (*f != '%') {
			putch(*f);
			continue;
		}
		u32 width = 0, lng = 0;
		char pad = f[1] == '0' ? '0' : ' ';
		for (f++; *f >= '0' && *f <= '9'; f++)
			width = width * 10 + (u32)(*f - '0');
		for (; *f == 'l'; f++)
			lng++;
		if (*f == 's') {
			for (const char *s = va_arg(ap, const char *); *s; s++)
				putch(*s);
		} else if (*f == 'd') {
			i64 v = lng ? va_arg(ap, i64) : va_arg(ap, i32);
			if (v < 0)
				putch('-');
			put_num(v < 0 ? -(u64)v : (u64)v, 10, width, pad);
		} else {
			u64 v = lng ? va_arg(ap, u64) : va_arg(ap, u32);
			put_num(v, *f == 'u' ? 10 : 16, width, pad);
		}
	}
}

void print(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vprint(fmt, ap);
	va_end(ap);
}

void fail(const char *fmt, ...)
{
	va_list ap;

	if (++failures > 20)
		return; /* one broken thing need not fill the log */
	print("FAIL %s: ", current);
	va_start(ap, fmt);
	vprint(fmt, ap);
	va_end(ap);
	print("\n");
}

void skip(const char *why)
{
	print("SKIP %s: %s\n", current, why);
	skipped = true;
}

void finish(u32 code)
{
	print("SUMMARY %u passed, %u failed\n", passed, failed + (code == 2));
	outl(0xf4, code);
	for (;;) /* no debug-exit device: stop here */
		asm volatile("cli; hlt");
}

void run_tests(void)
{
	for (const struct test *t = tests; t->name; t++) {
		current = t->name;
		failures = 0;
		skipped = false;
		t->fn();
		cli();
		if (failures)
			failed++;
		else
			passed++;
		if (!failures && !skipped)
			print("PASS %s\n", current);
	}
	finish(failed != 0);
}

/* --- random numbers: xorshift64*, 48 bits of each ---------------------------------- */
u64 rng;

u64 rnd(void)
{
	rng ^= rng >> 12;
	rng ^= rng << 25;
	rng ^= rng >> 27;
	return rng * 0x2545f4914f6cdd1d >> 16;
}

bool one_in(u32 n)
{
	return rnd() % n == 0;
}

/* --- command line ----------------------------------------------------------------- */
u64 boot_cmdline;

u64 knob(const char *name, u64 usual)
{
	const char *c = virt(boot_cmdline);

	if (!boot_cmdline)
		return usual;
	while (*c) {
		const char *n = name;
		u64 v = 0;

		for (; *n && *c == *n; n++)
			c++;
		if (!*n && *c == '=') {
			for (c++; *c >= '0' && *c <= '9'; c++)
				v = v * 10 + (u64)(*c - '0');
			return v;
		}
		while (*c && *c != ' ')
			c++;
		while (*c == ' ')
			c++;
	}
	return usual;
}

/* --- memory ---------------------------------------------------------------------- */
static u64 next_page = POOL_START;

u64 page_alloc(void)
{
	u64 p = next_page;

	if (p >= POOL_END) {
		print("FAIL %s: out of pages\n", current);
		finish(2);
	}
	next_page += 4096;
	memset(virt(p), 0, 4096);
	return p;
}

u64 *pte_of(u64 va, int level)
{
	u64 *table = virt(rd_cr3() & ~0xfffUL);

	for (int l = 4; l > level; l--) {
		u64 *e = &table[va >> (12 + 9 * (l - 1)) & 511];
		if (!(*e & P))
			*e = page_alloc() | P | RW | US;
		table = virt(*e & 0xffffffffff000);
	}
	return &table[va >> (12 + 9 * (level - 1)) & 511];
}

void map(u64 va, u64 pa, u64 fl)
{
	*pte_of(va, 1) = pa | fl | P;
	invlpg(va);
}

void unmap(u64 va)
{
	*pte_of(va, 1) = 0;
	invlpg(va);
}

u64 map_new(u64 va, u64 fl)
{
	u64 pa = page_alloc();

	map(va, pa, fl);
	return pa;
}

void *memcpy(void *d, const void *s, u64 n)
{
	void *r = d;

	asm volatile("rep movsb" : "+D"(d), "+S"(s), "+c"(n) : : "memory");
	return r;
}

void *memset(void *d, int c, u64 n)
{
	void *r = d;

	asm volatile("rep stosb" : "+D"(d), "+c"(n) : "a"(c) : "memory");
	return r;
}

int memcmp(const void *a, const void *b, u64 n)
{
	const u8 *x = a, *y = b;

	for (; n; n--, x++, y++)
		if (*x != *y)
			return *x - *y;
	return 0;
}

/* --- CPUID ----------------------------------------------------------------------- */
void cpuid(u32 leaf, u32 sub, u32 r[4])
{
	asm volatile("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3]) : "a"(leaf), "c"(sub));
}

bool has(u32 leaf, u32 reg, u32 bit)
{
	u32 r[4];

	cpuid(leaf & 0x80000000, 0, r);
	if (r[0] < leaf)
		return false;
	cpuid(leaf, 0, r);
	return r[reg] >> bit & 1;
}

bool tcg(void)
{
	u32 r[4];

	cpuid(0x40000000, 0, r);
	return r[1] == 0x54474354;
}
