/* memcpy, memset, memmove and memcmp for code that runs on the guest's vector state.
 *
 * libc's versions use vector registers, which hold the guest's values here. The build
 * redirects the plain names to these in every view-side object, so calls that the
 * compiler makes up land here too. Small sizes, the common case, avoid the start-up
 * cost of REP (some 30 cycles).
 *
 * All of them rely on the direction flag being clear, as the ABI says; entry code
 * clears it. The Makefile stops the compiler from turning loops into memcpy here. */
#include "shadowbox/types.h"

void *sb_memcpy(void *restrict dst, const void *restrict src, size_t n);
void *sb_memset(void *dst, int c, size_t n);
void *sb_memmove(void *dst, const void *src, size_t n);
int sb_memcmp(const void *a, const void *b, size_t n);

typedef u64 __attribute__((aligned(1), may_alias)) unaligned_u64;
typedef u32 __attribute__((aligned(1), may_alias)) unaligned_u32;
typedef u16 __attribute__((aligned(1), may_alias)) unaligned_u16;

/* Copies n <= 16 bytes with at most two loads and two stores, all loads before any
 * store, so that it serves memmove too. */
static inline void copy_small(u8 *d, const u8 *s, size_t n)
{
	if (n >= 8) {
		u64 first = *(const unaligned_u64 *)s;
		u64 last = *(const unaligned_u64 *)(s + n - 8);
		*(unaligned_u64 *)d = first;
		*(unaligned_u64 *)(d + n - 8) = last;
	} else if (n >= 4) {
		u32 first = *(const unaligned_u32 *)s;
		u32 last = *(const unaligned_u32 *)(s + n - 4);
		*(unaligned_u32 *)d = first;
		*(unaligned_u32 *)(d + n - 4) = last;
	} else if (n >= 2) {
		u16 first = *(const unaligned_u16 *)s;
		u16 last = *(const unaligned_u16 *)(s + n - 2);
		*(unaligned_u16 *)d = first;
		*(unaligned_u16 *)(d + n - 2) = last;
	} else if (n) {
		*d = *s;
	}
}

/* 17..64 bytes: words from the front, then the last word, which may overlap. */
static inline void copy_words(u8 *d, const u8 *s, size_t n)
{
	for (size_t i = 0; i + 8 <= n; i += 8)
		*(unaligned_u64 *)(d + i) = *(const unaligned_u64 *)(s + i);
	*(unaligned_u64 *)(d + n - 8) = *(const unaligned_u64 *)(s + n - 8);
}

void *sb_memcpy(void *restrict dst, const void *restrict src, size_t n)
{
	void *d = dst;

	if (n <= 16)
		copy_small(dst, src, n);
	else if (n <= 64)
		copy_words(dst, src, n);
	else
		__asm__ volatile("rep movsb" : "+D"(d), "+S"(src), "+c"(n) : : "memory");
	return dst;
}

void *sb_memset(void *dst, int c, size_t n)
{
	void *d = dst;
	u64 word = (u8)c * 0x0101010101010101UL;

	if (n >= 8 && n <= 64) {
		for (size_t i = 0; i + 8 <= n; i += 8)
			*(unaligned_u64 *)((u8 *)dst + i) = word;
		*(unaligned_u64 *)((u8 *)dst + n - 8) = word;
	} else if (n < 8) {
		for (size_t i = 0; i < n; i++)
			((u8 *)dst)[i] = (u8)c;
	} else {
		__asm__ volatile("rep stosb" : "+D"(d), "+c"(n) : "a"(c) : "memory");
	}
	return dst;
}

void *sb_memmove(void *dst, const void *src, size_t n)
{
	u8 *d = dst;
	const u8 *s = src;

	if (n <= 16) {
		copy_small(d, s, n);
	} else if ((u64)d - (u64)s >= n) {
		/* dst is below src or past its end: upwards is safe. */
		__asm__ volatile("rep movsb" : "+D"(d), "+S"(s), "+c"(n) : : "memory");
	} else {
		/* Downwards by words, not with STD: REP with DF set is slow. The head is
		 * copied last, and by then only its own bytes are still needed. */
		for (; n >= 8; n -= 8)
			*(unaligned_u64 *)(d + n - 8) = *(const unaligned_u64 *)(s + n - 8);
		copy_small(d, s, n);
	}
	return dst;
}

int sb_memcmp(const void *a, const void *b, size_t n)
{
	const u8 *x = a, *y = b;

	while (n >= 8 && *(const unaligned_u64 *)x == *(const unaligned_u64 *)y) {
		x += 8;
		y += 8;
		n -= 8;
	}
	for (; n; x++, y++, n--)
		if (*x != *y)
			return *x - *y;
	return 0;
}
