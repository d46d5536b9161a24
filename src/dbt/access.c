/* What an instruction at which the host has trapped was doing, from its bytes: for a trap
 * transport that is not told the processor's error code. The bytes are what the host has
 * run: code that the translator has copied or made, or guest code that runs as it is.
 *
 * A read-modify-write operand counts as written, as it does for the processor. */
#include <string.h>
#include "decode.h"
#include "shadowbox/access.h"
#include "shadowbox/shadow.h"
#include "vector.h"

/* Instructions that write their ModRM or direct operand, by opcode: first, last, and a bit for
 * each value of ModRM.reg for which it is so. */
struct writer { u8 map, first, last, regs; };

static const struct writer writers[] = {
	{ 0, 0x86, 0x89, 0xff }, { 0, 0x8c, 0x8c, 0xff }, { 0, 0x8f, 0x8f, 0xff }, /* XCHG, MOV, POP */
	{ 0, 0x80, 0x83, 0x7f }, /* ALU with an immediate, but CMP */
	{ 0, 0xa2, 0xa3, 0xff }, { 0, 0xc6, 0xc7, 0xff },
	{ 0, 0xc0, 0xc1, 0xff }, { 0, 0xd0, 0xd3, 0xff }, /* shifts */
	{ 0, 0xf6, 0xf7, 0x0c }, { 0, 0xfe, 0xff, 0x03 }, /* NOT, NEG; INC, DEC */
	{ 0, 0xd9, 0xd9, 0xcc }, { 0, 0xdb, 0xdb, 0x8e }, { 0, 0xdd, 0xdd, 0xce }, { 0, 0xdf, 0xdf, 0xce }, /* x87 */
	{ 1, 0x90, 0x9f, 0xff }, /* SETcc */
	{ 1, 0xa4, 0xa5, 0xff }, { 1, 0xac, 0xad, 0xff }, /* SHLD, SHRD */
	{ 1, 0xab, 0xab, 0xff }, { 1, 0xb3, 0xb3, 0xff }, { 1, 0xbb, 0xbb, 0xff }, { 1, 0xba, 0xba, 0xe0 }, /* BTS, BTR, BTC */
	{ 1, 0xae, 0xae, 0x59 }, /* FXSAVE, STMXCSR, XSAVE, XSAVEOPT */
	{ 1, 0xb0, 0xb1, 0xff }, { 1, 0xc0, 0xc1, 0xff }, { 1, 0xc7, 0xc7, 0x32 }, /* CMPXCHG, XADD, CMPXCHG16B, XSAVEC */
	{ 1, 0xc3, 0xc3, 0xff }, { 2, 0xf1, 0xf1, 0xff }, { 2, 0xf9, 0xf9, 0xff }, /* MOVNTI, MOVBE, MOVDIRI */
};

static bool is_writer(const struct insn *in)
{
	unsigned reg = (in->modrm >> 3) & 7;

	/* ADD, OR, ADC, SBB, AND, SUB, XOR to memory */
	if (in->map == 0 && in->opcode < 0x38 && (in->opcode & 7) < 2)
		return true;
	if ((in->map == 2 && in->opcode == 0xf1 && in->rep == 0xf2) || /* CRC32 */
	    (in->map == 1 && in->opcode == 0xae && (in->rep || in->opsize == 2))) /* CLWB and others */
		return false;
	for (size_t i = 0; i < ARRAY_LEN(writers); i++) {
		const struct writer *w = &writers[i];
		if (w->map == in->map && in->opcode >= w->first && in->opcode <= w->last)
			return w->regs >> (in->moffs ? 0 : reg) & 1;
	}
	return false;
}

/* Bytes that are written below RSP, besides or instead of an operand. */
static unsigned pushed(const struct insn *in)
{
	u8 op = in->opcode, reg = (in->modrm >> 3) & 7;

	if (in->vex)
		return 0;
	if (in->map == 1)
		return op == 0xa0 || op == 0xa8 ? 8 : 0;
	if (in->map != 0)
		return 0;
	if (op == 0x60 && in->code_size != 64) /* PUSHA */
		return 32;
	if (op == 0x9a || (op == 0xff && reg == 3)) /* far calls */
		return 16;
	return (op >= 0x50 && op <= 0x57) || op == 0x68 || op == 0x6a || op == 0x9c || op == 0xe8 ||
	       (op < 0x20 && (op & 7) == 6) || (op == 0xff && (reg == 2 || reg == 6)) ? 8 : 0;
}

static unsigned string_size(const struct insn *in)
{
	u8 op = in->opcode;

	if (in->vex || in->map != 0 || (op != 0xa4 && op != 0xa5 && op != 0xaa && op != 0xab))
		return 0;
	return (op & 1) ? in->opsize : 1;
}

/* MASKMOVQ, MASKMOVDQU */
static bool is_maskmov(const struct insn *in)
{
	return in->map == 1 && in->opcode == 0xf7 && in->vex != 4;
}

static bool within(u64 addr, u64 start, u64 len) { return addr - start < len; }

/* Did [addr] of the string instruction's n bytes at RDI fault, or what MOVS reads? That comes
 * first: where both hold the byte, it was the read. */
static bool string_is_write(const struct insn *in, u64 addr, unsigned n, u64 rsi, u64 rdi)
{
	u64 mask = in->addrsize == 8 ? ~0UL : in->addrsize == 4 ? 0xffffffffUL : 0xffff;

	if (!within(addr, rdi & mask, n))
		return false;
	return in->opcode >= 0xaa || in->seg_override || !within(addr, rsi & mask, n);
}

/* ENTER pushes RBP, copies the display of the frames around, and tries a write at the new
 * end of the stack. */
static bool enter_is_write(const struct insn *in, const u8 *code, u64 addr, const struct access_regs *regs)
{
	u64 level = code[in->off_imm + 2] & 31, display = level ? (level - 1) * 8 : 0;

	return within(addr, regs->rsp - 8, 8) || !within(addr, regs->rbp - display, display);
}

static bool is_write(const struct access_regs *regs, const u8 *code, u64 addr)
{
	struct insn in;
	unsigned n;

	decode_layout_of(&in, code, sizeof(in.bytes), regs->code_size);
	if (!in.vex && in.map == 0 && in.opcode == 0xc8)
		return enter_is_write(&in, code, addr, regs);
	n = pushed(&in);
	if (n)
		return within(addr, regs->rsp - n, n);
	n = string_size(&in);
	if (n)
		return string_is_write(&in, addr, n, regs->rsi, regs->rdi);
	if (is_maskmov(&in))
		return true;
	if (!in.has_mem || (in.map == 0 && in.opcode == 0x8f && within(addr, regs->rsp, 8))) /* POP reads there */
		return false;
	if (in.vex)
		return vector_decode(&in, code) && (in.mem_access & ACC_WRITE);
	if (vector_is_sse(&in, code)) {
		vector_fill_sse(&in, code);
		return in.mem_access & ACC_WRITE;
	}
	return is_writer(&in);
}

static bool in_zone(u64 a) { return a >= ZONE_BASE && a < ZONE_END; }

/* Is there code that may be run, and be read here? Shadowbox's own, but for what the translator
 * has made, does not count: it does not fault. */
static bool is_code(u64 a)
{
	return in_zone(a) ? a - CODE_RX_HVA < CODE_SIZE : shadow_is_exec(a);
}

/* Copies the instruction at pc: as many of 15 bytes as there are, then zeros. User code that runs
 * as it is can be anywhere, at the very end of what is mapped too. */
static unsigned fetch(u64 pc, u8 code[16])
{
	u64 next = (pc & PAGE_MASK) + PAGE_SIZE;
	unsigned n = next - pc < 15 ? (unsigned)(next - pc) : 15;

	memset(code, 0, 16);
	if (!is_code(pc))
		return 0;
	if (n < 15 && is_code(next))
		n = 15;
	memcpy(code, (const u8 *)pc, n);
	return n;
}

/* Of the instruction at pc only n bytes are there. Was it the fetch of the next one that faulted? */
static bool fetch_faults(const struct access_regs *regs, const u8 *code, unsigned n, u64 addr)
{
	struct insn in;

	return n < sizeof(in.bytes) && addr == regs->pc + n &&
	       !decode_layout_of(&in, code, n, regs->code_size);
}

u32 access_error_code(const struct access_regs *regs, u64 addr, bool readable)
{
	u8 code[16];
	unsigned n = fetch(regs->pc, code);

	if (n == 0) /* if not the fetch, then the host's kernel, for a call of the vsyscall page */
		return PF_U | (addr == regs->pc ? PF_I : PF_W);
	if (fetch_faults(regs, code, n, addr))
		return PF_U | PF_I;
	return PF_U | (readable || is_write(regs, code, addr) ? PF_W : 0);
}

/* x87 instructions, WAIT, and those that touch MMX registers. */
static bool is_x87_or_mmx(const struct insn *in, const u8 *code)
{
	bool p66 = memchr_u8(code, 0x66, in->off_prefix_end);

	if (in->vex)
		return false;
	if (in->map == 0)
		return (in->opcode >= 0xd8 && in->opcode <= 0xdf) || in->opcode == 0x9b;
	if (in->rep)
		return false;
	if (in->map == 1 && (in->opcode == 0x2a || in->opcode == 0x2c || in->opcode == 0x2d))
		return true; /* between vector and MMX registers */
	return !p66 && (in->map == 2 || (in->map == 1 && in->opcode >= 0x60 && in->opcode != 0xc2 && in->opcode != 0xc6));
}

/* A numeric exception: the x87's if one is pending there, but for vector instructions that
 * have one of their own. */
bool access_faults_x87(u64 pc)
{
	struct insn in;
	u8 code[16];
	u16 status;
	u32 mxcsr;

	__asm__ volatile("fnstsw %0" : "=m"(status));
	__asm__ volatile("stmxcsr %0" : "=m"(mxcsr));
	if (!(status & 0x80))
		return false;
	if (!(mxcsr & 0x3f & ~(mxcsr >> 7)))
		return true;
	fetch(pc, code);
	decode_layout(&in, code, sizeof(in.bytes));
	return is_x87_or_mmx(&in, code);
}
