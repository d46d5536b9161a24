/* The memo of decoded instructions (memo.c): what it gives for an instruction that differs from
 * a decoded one in displacement and immediate is what decoding that one gives. All opcodes
 * of the legacy maps, many ModRM bytes and prefixes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "src/dbt/cache.h"
#include "src/dbt/decode.h"

static u64 rnd = 88172645463325252UL;

static u64 next(void)
{
	rnd ^= rnd << 13;
	rnd ^= rnd >> 7;
	return rnd ^= rnd << 17;
}

static void fill(u8 *p, unsigned n)
{
	while (n--)
		*p++ = (u8)next();
}

static bool is_near_branch(const struct insn *in)
{
	return in->op == OP_JMP || in->op == OP_JCC || in->op == OP_CALL || in->op == OP_LOOP || in->op == OP_JRCXZ;
}

/* The library extends immediates as it likes to print them; who uses them takes the low bits. */
static void level_immediate(struct insn *in)
{
	if (!is_near_branch(in) && in->imm_len && in->imm_len < 8)
		in->imm &= (1L << 8 * in->imm_len) - 1;
}

static unsigned head_of(u8 *b, unsigned prefix, unsigned map, unsigned op, unsigned modrm)
{
	static const u8 prefixes[][3] = { { 0 }, { 0x66 }, { 0xf2 }, { 0xf3 }, { 0x48 }, { 0x4d }, { 0x67 }, { 0x66, 0x48 }, { 0x64 }, { 0xf0 } };
	static const u8 escapes[4][2] = { { 0 }, { 0x0f }, { 0x0f, 0x38 }, { 0x0f, 0x3a } };
	unsigned n = 0;

	for (const u8 *p = prefixes[prefix]; *p; p++)
		b[n++] = *p;
	for (unsigned i = 0; i < 2 && escapes[map][i]; i++)
		b[n++] = escapes[map][i];
	b[n++] = (u8)op;
	b[n++] = (u8)modrm;
	b[n++] = (u8)next(); /* SIB */
	return n;
}

static unsigned long same, served;

static void check(unsigned prefix, unsigned map, unsigned op, unsigned modrm)
{
	struct insn a, want, got;
	u8 b[16];
	unsigned n = head_of(b, prefix, map, op, modrm);
	u64 rip = next() & 0x7fffffffffff;

	fill(b + n, 15 - n);
	if (!decode_insn(&a, b, 15, next() & 0x7fffffffffff, 64) || a.op == OP_TOO_LONG)
		return;
	memo_put(&a);
	if (a.off_imm - a.disp_len < 15)
		fill(b + a.off_imm - a.disp_len, 15 - (a.off_imm - (unsigned)a.disp_len));
	same++;
	if (!memo_get(&got, rip, b, 15))
		return;
	served++;
	decode_insn(&want, b, 15, rip, 64);
	level_immediate(&got);
	level_immediate(&want);
	if (memcmp(&got, &want, sizeof(got)))
		fail_msg("prefix %u map %u opcode %02x modrm %02x: op %u, not %u; length %u, not %u; imm %lx, not %lx",
			 prefix, map, op, modrm, got.op, want.op, got.len, want.len, got.imm, want.imm);
}

static void test_all_opcodes(void **state)
{
	(void)state;
	for (unsigned map = 0; map < 4; map++)
		for (unsigned op = 0; op < 256; op++)
			for (unsigned modrm = 0; modrm < 256; modrm += 3)
				for (unsigned prefix = 0; prefix < 10; prefix++)
					check(prefix, map, op, modrm);
	/* Not those that are refused, or whose immediate belongs to the key. */
	assert_true(served > same / 4);
}

/* An instruction whose end is missing is not served. */
static void test_missing_bytes(void **state)
{
	static const u8 mov[] = { 0x48, 0xc7, 0x84, 0x24, 1, 2, 3, 4, 5, 6, 7, 8 };
	struct insn in;

	(void)state;
	assert_int_equal(decode_insn(&in, mov, sizeof(mov), 0x1000, 64), sizeof(mov));
	memo_put(&in);
	assert_true(memo_get(&in, 0x1000, mov, sizeof(mov)));
	for (unsigned n = 0; n < sizeof(mov); n++)
		assert_false(memo_get(&in, 0x1000, mov, n));
}

/* The target of a branch is told for where it is now. */
static void test_branches(void **state)
{
	const u8 call[] = { 0xe8, 0x10, 0, 0, 0 }, back[] = { 0xe8, 0xf0, 0xff, 0xff, 0xff }, jz[] = { 0x74, 0x80 };
	struct insn in;

	(void)state;
	decode_insn(&in, call, sizeof(call), 0x1000, 64);
	memo_put(&in);
	assert_true(memo_get(&in, 0xffffffff81000000, back, sizeof(back)));
	assert_int_equal(in.imm, 0xffffffff80fffff5);
	decode_insn(&in, jz, sizeof(jz), 0x1000, 64);
	memo_put(&in);
	assert_true(memo_get(&in, 0x400000, jz, sizeof(jz)));
	assert_int_equal(in.imm, 0x3fff82);
}

static int setup(void **state)
{
	(void)state;
	cache = calloc(1, sizeof(*cache));
	return !cache || decode_init();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_opcodes), cmocka_unit_test(test_missing_bytes), cmocka_unit_test(test_branches),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, setup, NULL);
}
