/* Vector instructions by structure; see vector.c. Layout fields are filled by the caller,
 * in->disp holds the unscaled displacement. */
#pragma once
#include "shadowbox/insn.h"

/* A VEX or EVEX instruction: op, memory operand, registers. False: there is none such. */
bool vector_decode(struct insn *in, const u8 *bytes);
/* Legacy SSE and MMX: memory operand and general registers of an instruction known to be valid. */
bool vector_is_sse(const struct insn *in, const u8 *bytes);
void vector_fill_sse(struct insn *in, const u8 *bytes);

static inline bool memchr_u8(const u8 *p, u8 byte, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (p[i] == byte)
			return true;
	return false;
}
