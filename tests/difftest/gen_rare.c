/* Faulting, privileged and odd instructions. */
#include "gen.h"

static void bad_one_byte(void) /* privileged or invalid */
{
	static const u8 b[] = { 0xf4, 0xfa, 0xfb, 0xec, 0xed, 0xee, 0xef, 0x06, 0x0e, 0x27,
				0x37, 0x60, 0x61, 0xce, 0xd6, 0x1f, 0x6c, 0x6d, 0x6e, 0x6f,
				0xf1, 0xcf, 0xcb };

	emit1(b[rn(ARRAY_SIZE(b))]);
}

static void privileged_two_byte(void)
{
	static const u8 b[][3] = { { 0x0f, 0x20, 0xc0 }, { 0x0f, 0x22, 0xd8 },
		{ 0x0f, 0x06, 0x90 }, { 0x0f, 0x08, 0x90 }, { 0x0f, 0x09, 0x90 },
		{ 0x0f, 0x30, 0x90 }, { 0x0f, 0x32, 0x90 }, { 0x0f, 0x01, 0xf8 },
		{ 0x0f, 0x21, 0xc0 }, { 0x0f, 0x23, 0xc0 }, { 0x0f, 0x07, 0x90 },
		{ 0x0f, 0x01, 0x38 }, { 0x0f, 0x01, 0x10 }, { 0x0f, 0x00, 0xd0 },
		{ 0x0f, 0x00, 0xd8 }, { 0x0f, 0x35, 0x90 } };

	emit_bytes(b[rn(ARRAY_SIZE(b))], 3);
}

static void nop_or_hint(void)
{
	static const u8 b[][4] = { { 0x0f, 0x1f, 0x40, 0 }, { 0xf3, 0x90, 0x90, 0x90 },
		{ 0x0f, 0xae, 0xe8, 0x90 }, { 0x0f, 0xae, 0xf0, 0x90 },
		{ 0x0f, 0xae, 0xf8, 0x90 }, { 0x0f, 0x1f, 0xc0, 0x90 },
		{ 0xf3, 0x0f, 0x1e, 0xfa }, { 0x0f, 0x18, 0xc0, 0x90 } };

	emit_bytes(b[rn(ARRAY_SIZE(b))], 4);
}

static void interrupt(void) /* not the kernel's own */
{
	u8 n = rnd();

	emit1(0xcd);
	emit1(n == 0x80 ? 0x81 : n);
}

static void no_such_syscall(void)
{
	emit_mov_imm(0, 0x7ffffff0 + rn(8));
	emit_bytes("\x0f\x05", 2);
}

static void jump_to_nowhere(void)
{
	u64 t = chance(50) ? pick_target(1, 0) : rnd_value();

	emit_mov_imm(3, t);
	emit_bytes(chance(50) ? "\xff\xe3" : "\xff\xd3", 2);
}

static void cache_hint(void) /* prefetch, clflush, movnti */
{
	struct insn in = { .map = 1, .modrm = true, .op = chance(50) ? 0x18 : 0x0d, .reg = rn(4) };

	if (chance(30)) {
		in.op = 0xae;
		in.reg = 7;
		in.p66 = (features & F_CLFLUSHOPT) && chance(50);
	} else if (chance(40)) {
		in.op = 0xc3;
		in.reg = pick_src();
		in.w = rn(2);
	}
	pick_mem(&in.mem, 8, 0);
	emit_insn(&in);
}

static void read_segment(void) /* selectors, FS and GS bases */
{
	if (chance(50))
		INSN(.w = rn(2), .op = 0x8c, .modrm = true, .reg = rn(8), .rm = pick_dst());
	else if (features & F_FSGSBASE)
		INSN(.w = rn(2), .rep = 0xf3, .map = 1, .op = 0xae, .modrm = true,
		     .reg = rn(2), .rm = pick_dst());
}

static void write_segment_base(void) /* and a load through it */
{
	if (!(features & F_FSGSBASE))
		return;
	emit_mov_imm(8, chance(90) ? pick_target(64, 0) : rnd());
	u8 which = rn(2);
	INSN(.w = 1, .rep = 0xf3, .map = 1, .op = 0xae, .modrm = true, .reg = 2 + which, .rm = 8);
	emit1(0x64 + which);
	INSN(.w = 1, .op = 0x8b, .modrm = true, .reg = pick_dst(), .mem = MEM_AT(rn(64)));
}

void gen_rare(void)
{
	switch (rn(15)) {
	case 0: emit_bytes("\x0f\x0b", 2); break;     /* ud2 */
	case 1: emit1(0xcc); break;
	case 2: interrupt(); break;
	case 3: bad_one_byte(); break;
	case 4: privileged_two_byte(); break;
	case 5: no_such_syscall(); break;
	case 6: emit1(0xf0); gen_mov(); break;        /* lock where it is not allowed */
	case 7: jump_to_nowhere(); break;
	case 8: emit_bytes("\x0f\xff\xc0", 3); break; /* ud0 */
	case 9: emit_bytes("\x0f\xb9\xc8", 3); break; /* ud1 */
	case 10: if (chance(30)) emit1(0xc3); break;  /* ret without a call */
	case 11: nop_or_hint(); break;
	case 12: cache_hint(); break;
	case 13: read_segment(); break;
	default: write_segment_base();
	}
}
