/* a * b / c with a 128-bit intermediate, without libgcc's division and without the
 * divide fault: a quotient that does not fit saturates to all ones. */
#pragma once
#include "shadowbox/types.h"

static inline u64 mul_div(u64 a, u64 b, u64 c)
{
	unsigned __int128 p = (unsigned __int128)a * b;
	u64 lo = (u64)p, hi = (u64)(p >> 64);

	if (hi >= c)
		return ~0UL;
	__asm__("divq %[c]" : "+a"(lo), "+d"(hi) : [c] "r"(c) : "cc");
	return lo;
}

/* The smallest x with x * c / b >= a, that is a * b / c rounded up. */
static inline u64 mul_div_up(u64 a, u64 b, u64 c)
{
	u64 q = mul_div(a, b, c);

	if (q != ~0UL && (unsigned __int128)q * c < (unsigned __int128)a * b)
		q++;
	return q;
}
