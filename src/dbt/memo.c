/* Decoded instructions, kept by guest physical address: the decoder library takes half a
 * microsecond for each, and guests run the same pages again and again at other addresses.
 *
 * An entry is good as long as the bytes are the same; it need not hear of writes. What
 * depends on where the instruction runs is the target of a near branch only. 64-bit code. */
#include <string.h>
#include "cache.h"

static struct memo *memo_at(u64 gpa)
{
	return &cache->memo[(gpa * 0x9e3779b97f4a7c15UL) >> (64 - MEMO_BITS)];
}

static bool is_near_branch(u16 op)
{
	return op == OP_JMP || op == OP_JCC || op == OP_CALL || op == OP_LOOP || op == OP_JRCXZ;
}

bool memo_get(struct insn *in, u64 gpa, u64 rip, const u8 *bytes, unsigned avail)
{
	const struct memo *m = memo_at(gpa);

	if (m->gpa != gpa || !m->in.len || m->in.len > avail || memcmp(m->in.bytes, bytes, m->in.len))
		return false;
	*in = m->in;
	if (is_near_branch(in->op))
		in->imm += (i64)(rip - m->rip);
	return true;
}

void memo_put(const struct insn *in, u64 gpa, u64 rip)
{
	/* The length of what is refused says nothing of the bytes that made it so. */
	if (in->op == OP_UD || in->op == OP_REFUSE || in->op == OP_TOO_LONG)
		return;
	*memo_at(gpa) = (struct memo){ .gpa = gpa, .rip = rip, .in = *in };
}
