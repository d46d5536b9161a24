/* Control flow: jumps, loops, calls and returns.
 *
 * Forward jumps wait in a list until units enough have been emitted behind them, or until
 * they would reach no further. Whatever goes back, and both ends of a call, spend fuel. */
#include "gen.h"

static struct { u8 *pos; u8 size, units; } pending[8];
static u32 npending;

void flow_begin(void) { npending = 0; }

/* Makes the displacement of size bytes that ends at end lead here. */
static void patch(u8 *end, u32 size)
{
	i32 d = (i32)(out - end);

	__builtin_memcpy(end - size, &d, size);
}

static void add_pending(u8 size, u32 units)
{
	if (npending == ARRAY_SIZE(pending)) {
		/* too many: this one goes to the next instruction */
		patch(out, size);
		return;
	}
	pending[npending].pos = out;
	pending[npending].size = size;
	pending[npending++].units = units;
}

/* Lets pending jumps land here when they have skipped enough or reach no further. */
void flow_land(bool all)
{
	u32 n = 0;

	for (u32 i = 0; i < npending; i++) {
		bool far = pending[i].size == 1 && out - pending[i].pos > 50;
		if (all || far || pending[i].units == 0) {
			patch(pending[i].pos, pending[i].size);
			continue;
		}
		pending[i].units--;
		pending[n++] = pending[i];
	}
	npending = n;
}

/* Before a unit that is longer than a short jump reaches. */
static void land_short(void)
{
	for (u32 i = 0; i < npending; i++)
		if (pending[i].size == 1)
			pending[i].units = 0;
	flow_land(false);
}

void flow_leave(void) /* jmp [CTL_EXIT] */
{
	emit_bytes("\xff\x24\x25", 3);
	emit4(CTL_EXIT);
}

static void fuel(void) /* leaves when there is none */
{
	/* pushfq is not wanted here: flags are changed, the same way everywhere */
	emit_bytes("\xff\x0c\x25", 3); /* dec dword [CTL_FUEL] */
	emit4(CTL_FUEL);
	emit_bytes("\x79\x07", 2); /* jns +7 */
	flow_leave();
}

static u8 *lea_ahead(const char *op) /* lea r, [rip + x]; returns what to patch */
{
	emit_bytes(op, 3);
	emit4(0);
	return out;
}

void gen_call(void)
{
	u32 how = rn(4);
	u8 *call, *skip;

	land_short();
	/* fuel; call F; fuel; A; jmp over; F: B; ret; over: */
	fuel();
	if (how == 0) { /* through a register */
		call = lea_ahead("\x48\x8d\x05"); /* rax */
		emit_bytes("\xff\xd0", 2);
	} else if (how == 1) { /* through memory */
		call = lea_ahead("\x4c\x8d\x1d"); /* r11 */
		emit_bytes("\x4c\x89\x5c\x24\x80", 5); /* mov [rsp - 128], r11 */
		emit_bytes("\xff\x54\x24\x80", 4);
	} else {
		emit1(0xe8);
		emit4(0);
		call = out;
	}
	fuel();
	gen_simple();
	emit1(0xeb);
	emit1(0);
	skip = out;
	patch(call, 4);
	if (how < 2) /* forget the address: no second jump to here */
		emit_mov_imm(how ? 11 : 0, rn(1 << 20));
	gen_simple();
	if (chance(15)) {
		emit1(0xc2);
		emit_bytes("\x10\0", 2);
	} else {
		if (chance(20))
			emit1(0xf3);
		emit1(0xc3);
	}
	patch(skip, 1);
}

static void jcc(void)
{
	if (chance(60)) {
		if (chance(5))
			emit1(chance(50) ? 0x2e : 0x3e);
		emit1(0x70 | rn(16));
		emit1(0);
		add_pending(1, 1);
	} else {
		emit1(0x0f);
		emit1(0x80 | rn(16));
		emit4(0);
		add_pending(4, 1 + rn(3));
	}
}

static void jmp_indirect(void)
{
	u8 *p = lea_ahead("\x4c\x8d\x15"); /* r10 */

	emit_bytes("\x41\xff\xe2", 3); /* jmp r10 */
	gen_simple();
	patch(p, 4);
	emit_mov_imm(10, rn(1 << 20));
}

static void jrcxz(void) /* and jecxz */
{
	if (chance(50))
		emit_mov_imm(1, chance(50) ? 0 : 0xffffffff00000000);
	if (chance(40))
		emit1(0x67);
	emit1(0xe3);
	emit1(0);
	add_pending(1, 1);
}

/* A unit that repeats by one of n jumps from op on. */
static void loop_body(u8 op, u32 n)
{
	u8 *p = out;

	gen_simple();
	fuel();
	emit1(op + rn(n));
	emit1((u8)(p - out - 1));
}

void gen_jump(void)
{
	land_short();
	switch (rn(9)) {
	case 0: case 1: case 2: case 3:
		jcc();
		break;
	case 4: /* jmp */
		emit1(0xe9);
		emit4(0);
		add_pending(4, rn(2));
		break;
	case 5:
		jmp_indirect();
		break;
	case 6: /* loop, loope, loopne */
		emit_mov_imm(1, 1 + rn(6));
		loop_body(0xe0, 3);
		break;
	case 7:
		jrcxz();
		break;
	default: /* a loop on any flags */
		loop_body(0x70, 16);
	}
}
