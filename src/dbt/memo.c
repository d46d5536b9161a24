/* Decoded instructions, kept: the decoder library takes half a microsecond for each, and to
 * it instructions that differ in displacement and immediate alone are the same. The key is
 * the other bytes; an immediate that may select an operation belongs to them. 64-bit code. */
#include <string.h>
#include "cache.h"
#include "decode.h"

static u64 mix(u64 v) { return v * 0x9e3779b97f4a7c15UL; }

static bool is_near_branch(u16 op)
{
	return op == OP_JMP || op == OP_JCC || op == OP_CALL || op == OP_LOOP || op == OP_JRCXZ;
}

/* The length of what is refused says nothing of the bytes that made it so. */
static bool is_refused(const struct insn *in)
{
	return in->op == OP_UD || in->op == OP_REFUSE || in->op == OP_TOO_LONG;
}

/* Opcodes of which the immediate is a number and nothing else. */
static bool has_plain_immediate(const struct insn *in)
{
	u8 op = in->opcode;

	if (in->map)
		return in->map == 1 && (op & 0xf0) == 0x80;
	return op < 0x40 || (op >= 0x68 && op <= 0x6b) || (op & 0xf0) == 0x70 || op == 0x80 || op == 0x81 || op == 0x83 ||
	       op == 0xa8 || op == 0xa9 || (op & 0xf0) == 0xb0 || op == 0xc0 || op == 0xc1 || op == 0xc6 || op == 0xc7 ||
	       (op >= 0xe0 && op <= 0xe3) || op == 0xe8 || op == 0xe9 || op == 0xeb || op == 0xf6 || op == 0xf7;
}

static void make_key(u8 key[MEMO_KEY], const struct insn *layout, const u8 *bytes, unsigned len)
{
	unsigned head = layout->off_imm - (unsigned)layout->disp_len;

	memset(key, 0, MEMO_KEY);
	key[0] = head;
	memcpy(key + 1, bytes, head);
	if (!has_plain_immediate(layout))
		memcpy(key + 1 + head, bytes + layout->off_imm, len - layout->off_imm);
}

static struct memo *memo_at(const u8 key[MEMO_KEY])
{
	u64 a, b;

	memcpy(&a, key, 8);
	memcpy(&b, key + 8, 8);
	return &cache->memo[mix(mix(a) ^ b) >> (64 - MEMO_BITS)];
}

static i64 immediate(const struct insn *in, const u8 *bytes)
{
	i64 val = 0;

	memcpy(&val, bytes + in->off_imm, in->imm_len);
	return in->imm_len && in->imm_len < 8 ? val << (64 - 8 * in->imm_len) >> (64 - 8 * in->imm_len) : val;
}

bool memo_get(struct insn *in, u64 rip, const u8 *bytes, unsigned avail)
{
	u8 key[MEMO_KEY];
	struct insn layout;
	unsigned len = decode_layout(&layout, bytes, avail);
	const struct memo *m;

	if (!len || layout.vex)
		return false;
	make_key(key, &layout, bytes, len);
	m = memo_at(key);
	if (memcmp(m->key, key, MEMO_KEY) || m->in.len != len)
		return false;
	*in = m->in;
	in->disp = layout.disp;
	memcpy(in->bytes, bytes, len);
	if (has_plain_immediate(in))
		in->imm = immediate(in, bytes) + (is_near_branch(in->op) ? (i64)(rip + len) : 0);
	return true;
}

void memo_put(const struct insn *in)
{
	u8 key[MEMO_KEY];
	struct insn layout;
	struct memo *m;

	if (is_refused(in) || in->vex || decode_layout(&layout, in->bytes, in->len) != in->len)
		return;
	make_key(key, &layout, in->bytes, in->len);
	m = memo_at(key);
	memcpy(m->key, key, MEMO_KEY);
	m->in = *in;
}
