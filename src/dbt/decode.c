/* Decoder: Capstone says what an instruction is, which memory it touches and which
 * registers it names; a small layout parser of our own says where prefixes, opcode,
 * ModRM, SIB, displacement and immediate are, because re-encoding needs the bytes.
 *
 * Known errors of Capstone 4.0.2 are corrected here (RDPID, UD0/UD1, x87 and store
 * operands); vector.c knows vector operands, and VEX and EVEX altogether. The reference is
 * SDM vol. 2 appendix A. XOP is refused. */
#include <capstone/capstone.h>
#include <string.h>
#include "decode.h"
#include "shadowbox/log.h"
#include "vector.h"

static csh handle[3]; /* 16, 32, 64 */
static cs_insn *scratch_insn;

static const u8 policy[X86_INS_ENDING] = {
#define ROW(id, op) [X86_INS_##id] = OP_##op + 1,
#define COPY(id) [X86_INS_##id] = OP_COPY + 1,
#include "policy.def"
#undef ROW
#undef COPY
};

/* Memory as first operand, yet only read. Everything else with memory first is
 * taken as written (Capstone calls many stores reads). */
static const u16 reads_first_operand[] = {
	X86_INS_CMP, X86_INS_TEST, X86_INS_BT, X86_INS_MUL, X86_INS_IMUL, X86_INS_DIV, X86_INS_IDIV,
	X86_INS_PUSH, X86_INS_JMP, X86_INS_CALL, X86_INS_LJMP, X86_INS_LCALL, X86_INS_FLD,
	X86_INS_FILD, X86_INS_FBLD, X86_INS_FADD, X86_INS_FIADD, X86_INS_FSUB, X86_INS_FISUB,
	X86_INS_FSUBR, X86_INS_FISUBR, X86_INS_FMUL, X86_INS_FIMUL, X86_INS_FDIV, X86_INS_FIDIV,
	X86_INS_FDIVR, X86_INS_FIDIVR, X86_INS_FCOM, X86_INS_FCOMP, X86_INS_FICOM, X86_INS_FICOMP,
	X86_INS_FLDCW, X86_INS_FLDENV, X86_INS_FRSTOR, X86_INS_FXRSTOR, X86_INS_FXRSTOR64,
	X86_INS_LDMXCSR, X86_INS_VLDMXCSR, X86_INS_XRSTOR, X86_INS_XRSTOR64, X86_INS_NOP,
	X86_INS_CLFLUSH, X86_INS_CLFLUSHOPT, X86_INS_CLWB, X86_INS_LGDT, X86_INS_LIDT,
	X86_INS_LLDT, X86_INS_LTR, X86_INS_LMSW, X86_INS_VERR, X86_INS_VERW, X86_INS_INVLPG,
	X86_INS_PREFETCH, X86_INS_PREFETCHNTA, X86_INS_PREFETCHT0, X86_INS_PREFETCHT1,
	X86_INS_PREFETCHT2, X86_INS_PREFETCHW,
};
/* Sizes that Capstone leaves out or gets wrong. */
static const struct { u16 id; u16 size; } mem_size_fix[] = {
	{ X86_INS_CMPXCHG16B, 16 }, { X86_INS_CMPXCHG8B, 8 }, { X86_INS_LDMXCSR, 4 }, { X86_INS_STMXCSR, 4 },
};

/* The library builds indexes on first use, with allocation and system calls that a view
 * may not make: use it once here. */
static void warm_up(void)
{
	static const u8 samples[][15] = {
		{ 0x90 }, { 0x0f, 0x1f, 0x00 }, { 0xc5, 0xf8, 0x28, 0xc1 }, { 0x01, 0x08 }, { 0xd8, 0xc1 },
		{ 0x0f, 0x58, 0xc1 }, { 0x62, 0xf1, 0x7c, 0x48, 0x10, 0x00 }, { 0xf3, 0xa4 }, { 0x0f, 0x01, 0xd0 },
	};
	static const int sizes[3] = { 16, 32, 64 };
	struct insn in;
	char text[96];

	for (size_t m = 0; m < ARRAY_LEN(sizes); m++)
		for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
			decode_insn(&in, samples[i], 15, 0, sizes[m]);
			decode_text(samples[i], 15, 0, sizes[m], text, sizeof(text));
		}
}

int decode_init(void)
{
	static const cs_mode modes[3] = { CS_MODE_16, CS_MODE_32, CS_MODE_64 };

	for (int i = 0; i < 3; i++) {
		if (cs_open(CS_ARCH_X86, modes[i], &handle[i]) != CS_ERR_OK)
			return -1;
		cs_option(handle[i], CS_OPT_DETAIL, CS_OPT_ON);
	}
	scratch_insn = cs_malloc(handle[2]);
	if (!scratch_insn)
		return -1;
	warm_up();
	return 0;
}

static csh handle_for(int code_size)
{
	return handle[code_size == 64 ? 2 : code_size == 32 ? 1 : 0];
}

/* --- layout ------------------------------------------------------------------------- */
static bool map0_has_modrm(u8 op, int code_size)
{
	if (op < 0x40)
		return (op & 7) < 4;
	switch (op) {
	case 0x62:
		return code_size != 64;
	case 0x63: case 0x69: case 0x6b: case 0xc0: case 0xc1: case 0xc4: case 0xc5: case 0xc6:
	case 0xc7: case 0xf6: case 0xf7: case 0xfe: case 0xff:
		return true;
	}
	return (op >= 0x80 && op <= 0x8f) || (op >= 0xd0 && op <= 0xd3) || (op >= 0xd8 && op <= 0xdf);
}

static bool map1_has_modrm(u8 op)
{
	if ((op >= 0x05 && op <= 0x09) || op == 0x0b || op == 0x0e || (op >= 0x30 && op <= 0x37) ||
	    op == 0x77 || (op >= 0x80 && op <= 0x8f) || (op >= 0xa0 && op <= 0xa2) ||
	    (op >= 0xa8 && op <= 0xaa) || (op >= 0xc8 && op <= 0xcf))
		return false;
	return true;
}

struct cursor {
	const u8 *b;
	unsigned n, pos;
	bool ext_r, ext_x, ext_b; /* REX/VEX/EVEX register extensions */
	bool p66, p67, vl2;
};

static bool is_legacy_prefix(u8 b)
{
	return b == 0x66 || b == 0x67 || b == 0xf0 || b == 0xf2 || b == 0xf3 || (b & 0xe7) == 0x26 || b == 0x64 ||
	       b == 0x65;
}

/* A REX prefix counts only right before the opcode. */
static bool rex_is_void(const struct insn *in, const struct cursor *c)
{
	if (in->code_size != 64 || (c->b[c->pos] & 0xf0) != 0x40 || c->pos + 1 >= c->n)
		return false;
	return is_legacy_prefix(c->b[c->pos + 1]) || (c->b[c->pos + 1] & 0xf0) == 0x40;
}

static void parse_prefixes(struct insn *in, struct cursor *c)
{
	in->seg = SEG_DS;
	for (; c->pos < c->n; c->pos++) {
		switch (c->b[c->pos]) {
		case 0x66: c->p66 = true; continue;
		case 0x67: c->p67 = true; continue;
		case 0xf0: in->lock = 1; continue;
		case 0xf2: case 0xf3: in->rep = c->b[c->pos]; continue;
		case 0x26: case 0x2e: case 0x36: case 0x3e:
			/* ES, CS, SS, DS overrides mean nothing in 64-bit code. */
			if (in->code_size != 64) {
				in->seg = (c->b[c->pos] >> 3) & 3;
				in->seg_override = 1;
			}
			continue;
		case 0x64: in->seg = SEG_FS; in->seg_override = 1; continue;
		case 0x65: in->seg = SEG_GS; in->seg_override = 1; continue;
		}
		if (!rex_is_void(in, c))
			break;
	}
	in->off_prefix_end = c->pos;
}

static void parse_vex(struct insn *in, struct cursor *c)
{
	const u8 *p = c->b + c->pos;

	if (p[0] == 0xc5) {
		in->vex = 2;
		c->ext_r = !(p[1] & 0x80);
		in->vvvv = (~p[1] >> 3) & 15;
		in->map = 1;
		c->pos += 2;
	} else if (p[0] == 0xc4) {
		in->vex = 3;
		c->ext_r = !(p[1] & 0x80);
		c->ext_x = !(p[1] & 0x40);
		c->ext_b = !(p[1] & 0x20);
		in->map = p[1] & 0x1f;
		in->vvvv = (~p[2] >> 3) & 15;
		c->pos += 3;
	} else {
		in->vex = 4;
		c->ext_r = !(p[1] & 0x80);
		c->ext_x = !(p[1] & 0x40);
		c->ext_b = !(p[1] & 0x20);
		in->map = p[1] & 7;
		in->vvvv = (~p[2] >> 3) & 15;
		c->vl2 = p[3] & 0x40;
		c->pos += 4;
	}
}

static bool starts_vex(const struct insn *in, const struct cursor *c)
{
	u8 b = c->b[c->pos];

	if ((b != 0xc4 && b != 0xc5 && b != 0x62) || c->pos + 4 >= c->n + (b == 0x62 ? 0 : 2))
		return false;
	return in->code_size == 64 || (c->b[c->pos + 1] & 0xc0) == 0xc0;
}

static void parse_opcode(struct insn *in, struct cursor *c)
{
	if (starts_vex(in, c)) {
		parse_vex(in, c);
		in->off_opcode = c->pos;
		in->opcode = c->b[c->pos++];
		in->has_modrm = !(in->map == 1 && in->opcode == 0x77);
		return;
	}
	if (in->code_size == 64 && (c->b[c->pos] & 0xf0) == 0x40) {
		in->rex = c->b[c->pos++];
		c->ext_r = in->rex & 4;
		c->ext_x = in->rex & 2;
		c->ext_b = in->rex & 1;
	}
	if (c->pos >= c->n) {
		c->pos++; /* missing */
		return;
	}
	if (c->b[c->pos] == 0x0f && c->pos + 1 < c->n) {
		c->pos++;
		in->map = 1;
		if (c->b[c->pos] == 0x38 && c->pos + 1 < c->n)
			in->map = 2, c->pos++;
		else if (c->b[c->pos] == 0x3a && c->pos + 1 < c->n)
			in->map = 3, c->pos++;
	}
	in->off_opcode = c->pos;
	in->opcode = c->b[c->pos++];
	in->has_modrm = in->map == 0 ? map0_has_modrm(in->opcode, in->code_size)
			: in->map == 1 ? map1_has_modrm(in->opcode) : true;
}

static void parse_mem16(struct insn *in, struct cursor *c)
{
	static const i8 base[8] = { RBX, RBX, RBP, RBP, RSI, RDI, RBP, RBX };
	static const i8 index[8] = { RSI, RDI, RSI, RDI, REG_NONE, REG_NONE, REG_NONE, REG_NONE };
	unsigned mod = in->modrm >> 6, rm = in->modrm & 7;

	in->base = base[rm];
	in->index = index[rm];
	if (mod == 0 && rm == 6)
		in->base = REG_NONE;
	in->disp_len = mod == 1 ? 1 : (mod == 2 || (mod == 0 && rm == 6)) ? 2 : 0;
	if (!in->seg_override && in->base == RBP)
		in->seg = SEG_SS;
	c->pos += in->disp_len;
}

static void parse_mem(struct insn *in, struct cursor *c)
{
	unsigned mod = in->modrm >> 6, rm = in->modrm & 7;

	in->has_mem = 1;
	in->scale = 1;
	if (in->addrsize == 2) {
		parse_mem16(in, c);
		return;
	}
	if (rm == 4) {
		u8 sib = c->pos < c->n ? c->b[c->pos] : 0;
		c->pos++;
		in->scale = 1 << (sib >> 6);
		in->index = ((sib >> 3) & 7) | (c->ext_x ? 8 : 0);
		if (in->index == 4)
			in->index = REG_NONE;
		in->base = (sib & 7) | (c->ext_b ? 8 : 0);
		if ((sib & 7) == 5 && mod == 0) {
			in->base = REG_NONE;
			in->disp_len = 4;
		}
	} else {
		in->base = rm | (c->ext_b ? 8 : 0);
		if (rm == 5 && mod == 0) {
			in->base = in->code_size == 64 ? BASE_RIP : REG_NONE;
			in->disp_len = 4;
		}
	}
	if (mod == 1)
		in->disp_len = 1;
	else if (mod == 2)
		in->disp_len = 4;
	if (!in->seg_override && (in->base == RSP || in->base == RBP))
		in->seg = SEG_SS;
	c->pos += in->disp_len;
}

static i64 signed_at(const u8 *b, unsigned n)
{
	u64 v = 0;

	memcpy(&v, b, n);
	return (i64)(v << (64 - n * 8)) >> (64 - n * 8);
}

/* Fills the layout fields; off_imm is where displacement ends. */
static void parse_layout(struct insn *in, const u8 *b, unsigned n)
{
	struct cursor c = { .b = b, .n = n };

	in->base = in->index = in->rm = REG_NONE;
	in->reg = REG_NONE;
	parse_prefixes(in, &c);
	if (c.pos >= n)
		return;
	parse_opcode(in, &c);
	in->addrsize = in->code_size == 64 ? (c.p67 ? 4 : 8) : ((in->code_size == 32) != c.p67 ? 4 : 2);
	in->opsize = in->code_size == 64 ? ((in->rex & 8) ? 8 : c.p66 ? 2 : 4)
					 : ((in->code_size == 32) != c.p66 ? 4 : 2);
	in->off_modrm = c.pos;
	if (in->has_modrm && c.pos < n) {
		in->modrm = b[c.pos++];
		in->reg = ((in->modrm >> 3) & 7) | (c.ext_r ? 8 : 0);
		if ((in->modrm >> 6) == 3 || (in->map == 1 && in->opcode >= 0x20 && in->opcode <= 0x23 && !in->vex))
			in->rm = (in->modrm & 7) | (c.ext_b ? 8 : 0);
		else
			parse_mem(in, &c);
	} else if (!in->has_modrm) {
		in->rm = (in->opcode & 7) | (c.ext_b ? 8 : 0);
		if (in->map == 0 && in->opcode >= 0xa0 && in->opcode <= 0xa3 && !in->vex) {
			in->moffs = 1;
			in->has_mem = 1;
			in->rm = REG_NONE;
			in->scale = 1;
			in->disp_len = in->addrsize;
			c.pos += in->disp_len;
		}
	}
	if (in->disp_len && c.pos <= n)
		in->disp = signed_at(b + c.pos - in->disp_len, in->disp_len);
	if (in->moffs && in->disp_len < 8) /* an address, not a displacement */
		in->disp &= (1UL << in->disp_len * 8) - 1;
	/* Bytes missing: no length can be told. */
	in->off_imm = c.pos > n || (in->has_modrm && in->off_modrm >= n) ? 0xff : c.pos;
}

static unsigned imm_size_map0(const struct insn *in)
{
	u8 op = in->opcode;
	unsigned z = in->opsize == 2 ? 2 : 4;

	if (op < 0x40)
		return (op & 7) == 4 ? 1 : (op & 7) == 5 ? z : 0;
	if (op >= 0x70 && op <= 0x7f)
		return 1;
	if (op >= 0xb0 && op <= 0xb7)
		return 1;
	if (op >= 0xb8 && op <= 0xbf)
		return in->opsize;
	switch (op) {
	case 0x6a: case 0x6b: case 0x80: case 0x82: case 0x83: case 0xa8: case 0xc0: case 0xc1: case 0xc6:
	case 0xcd: case 0xd4: case 0xd5: case 0xe0: case 0xe1: case 0xe2: case 0xe3: case 0xe4: case 0xe5:
	case 0xe6: case 0xe7: case 0xeb:
		return 1;
	case 0x68: case 0x69: case 0x81: case 0xa9: case 0xc7:
		return z;
	case 0xe8: case 0xe9: /* 64-bit code: Intel processors ignore the operand-size prefix */
		return in->code_size == 64 ? 4 : z;
	case 0xc2: case 0xca:
		return 2;
	case 0xc8:
		return 3;
	case 0x9a: case 0xea:
		return z + 2;
	case 0xf6:
		return (in->modrm & 0x38) <= 8 ? 1 : 0;
	case 0xf7:
		return (in->modrm & 0x38) <= 8 ? z : 0;
	}
	return 0;
}

static unsigned imm_size(const struct insn *in)
{
	u8 op = in->opcode;

	if (in->map == 0)
		return imm_size_map0(in);
	if (in->map != 1)
		return in->map == 3;
	if (!in->vex && op >= 0x80 && op <= 0x8f)
		return in->code_size == 64 ? 4 : in->opsize == 2 ? 2 : 4;
	if (!in->vex && op == 0x78) /* EXTRQ, INSERTQ */
		return in->opsize == 2 || in->rep == 0xf2 ? 2 : 0;
	if (!in->vex && (op == 0xa4 || op == 0xac || op == 0xba || op == 0x0f))
		return 1;
	return (op >= 0x70 && op <= 0x73) || op == 0xc2 || (op >= 0xc4 && op <= 0xc6);
}

/* --- semantics ------------------------------------------------------------------------ */
static bool is_rsp(x86_reg r)
{
	return r == X86_REG_RSP || r == X86_REG_ESP || r == X86_REG_SP || r == X86_REG_SPL;
}

static bool is_x87(const struct insn *in)
{
	return !in->vex && in->map == 0 && in->opcode >= 0xd8 && in->opcode <= 0xdf;
}

/* Memory operands of D8-DF by ModRM.reg: size, and a bit for each that is written. */
static void fill_x87_mem(struct insn *in)
{
	static const u8 size[8][8] = {
		{ 4, 4, 4, 4, 4, 4, 4, 4 }, { 4, 4, 4, 4, 28, 2, 28, 2 }, { 4, 4, 4, 4, 4, 4, 4, 4 },
		{ 4, 4, 4, 4, 4, 10, 4, 10 }, { 8, 8, 8, 8, 8, 8, 8, 8 }, { 8, 8, 8, 8, 108, 2, 108, 2 },
		{ 2, 2, 2, 2, 2, 2, 2, 2 }, { 2, 2, 2, 2, 10, 8, 10, 8 },
	};
	static const u8 written[8] = { 0, 0xcc, 0, 0x8e, 0, 0xce, 0, 0xce };
	unsigned reg = (in->modrm >> 3) & 7;

	in->mem_size = size[in->opcode & 7][reg];
	in->mem_access = (written[in->opcode & 7] >> reg & 1) ? ACC_WRITE : ACC_READ;
	if (in->mem_size >= 28 && in->opsize == 2)
		in->mem_size -= 14; /* 16-bit environment */
}

static void fill_mem_operand(struct insn *in, const cs_x86 *x, const cs_x86_op *op, int index)
{
	in->mem_size = op->size;
	in->mem_access = op->access & (CS_AC_READ | CS_AC_WRITE);
	if (index == 0) {
		bool reads_only = false;
		for (size_t i = 0; i < ARRAY_LEN(reads_first_operand); i++)
			reads_only |= reads_first_operand[i] == in->cs_id;
		if (reads_only && !(in->cs_id == X86_INS_IMUL && x->op_count > 1))
			in->mem_access = ACC_READ;
		else if (in->mem_access != ACC_WRITE)
			in->mem_access = ACC_READ | ACC_WRITE;
	} else if (in->cs_id == X86_INS_XCHG || in->cs_id == X86_INS_XADD) {
		in->mem_access = ACC_READ | ACC_WRITE;
	} else {
		in->mem_access = ACC_READ;
	}
	for (size_t i = 0; i < ARRAY_LEN(mem_size_fix); i++)
		if (mem_size_fix[i].id == in->cs_id && mem_size_fix[i].size)
			in->mem_size = mem_size_fix[i].size;
	if (is_x87(in))
		fill_x87_mem(in);
	else if (in->map == 1 && in->opcode == 0xae && (in->modrm & 0x38) == 0)
		in->mem_size = 0, in->mem_access = ACC_READ | ACC_WRITE; /* FXSAVE, 512 bytes, leaves some alone */
	else if (in->map == 1 && in->opcode == 0xae && (in->modrm & 0x38) == 8)
		in->mem_size = 0; /* FXRSTOR */
	else if (in->map == 0 && in->opcode == 0x63 && in->opsize == 2)
		in->mem_size = 2; /* MOVSXD without extension */
	else if ((in->map == 1 && (in->opcode & 0xf0) == 0x90) || in->cs_id == X86_INS_STMXCSR ||
		 (in->map == 2 && in->opcode == 0xf1 && in->rep != 0xf2))
		in->mem_access = ACC_WRITE; /* SETcc, STMXCSR, MOVBE */
	if (in->map == 2 && (in->opcode == 0xf0 || in->opcode == 0xf1)) /* MOVBE, CRC32 */
		in->mem_size = in->opcode == 0xf0 && in->rep == 0xf2 ? 1 : in->opsize;
	else if (in->map == 2 && in->opcode == 0xf6) /* ADCX, ADOX: 66 is part of the opcode */
		in->mem_size = in->opsize == 8 ? 8 : 4;
	/* BT, BTS, BTR, BTC with a register bit offset address a bit string. */
	in->bit_string = in->map == 1 && !in->vex && (in->opcode & 0xe7) == 0xa3;
}

static void fill_operands(struct insn *in, const cs_x86 *x)
{
	bool mem_seen = false;

	for (int i = 0; i < x->op_count; i++) {
		const cs_x86_op *op = &x->operands[i];
		if (op->type == X86_OP_MEM && in->has_mem && !mem_seen) {
			fill_mem_operand(in, x, op, i);
			mem_seen = true;
		} else if (op->type == X86_OP_IMM) {
			if (in->op == OP_ENTER || in->op == OP_JMP_FAR || in->op == OP_CALL_FAR) {
				if (i == 0)
					in->imm = op->imm;
				else
					in->imm2 = op->imm;
			} else {
				in->imm = op->imm;
			}
		} else if (op->type == X86_OP_REG) {
			x86_reg r = op->reg;
			if (is_rsp(r)) {
				in->rsp_read = 1;
				in->rsp_written |= (op->access & CS_AC_WRITE) || !op->access;
			}
			in->high8 |= r == X86_REG_AH || r == X86_REG_BH || r == X86_REG_CH || r == X86_REG_DH;
		}
	}
	if (in->op == OP_JMP_FAR || in->op == OP_CALL_FAR) {
		/* ptr16:32 in 32-bit code: selector first in Capstone's order. */
		if (!in->has_mem) {
			i64 sel = in->imm;
			in->imm = in->imm2;
			in->imm2 = sel;
		}
	}
}

static bool is_string_opcode(const struct insn *in)
{
	return in->map == 0 && !in->vex && ((in->opcode >= 0xa4 && in->opcode <= 0xa7) ||
					    (in->opcode >= 0xaa && in->opcode <= 0xaf));
}

/* FXSAVE, FXRSTOR, LDMXCSR, STMXCSR, EMMS */
static bool is_fxsave_group(const struct insn *in)
{
	return !in->vex && in->map == 1 &&
	       (in->opcode == 0x77 || (in->opcode == 0xae && in->has_mem && (in->modrm & 0x38) <= 0x18 && !in->rep));
}

static bool names_segment(const struct insn *in)
{
	return in->map == 0 && (in->opcode == 0x8c || in->opcode == 0x8e);
}

/* Ops that are known by opcode better than by the decoder's id. */
static void classify_by_opcode(struct insn *in)
{
	u8 op = in->opcode;

	if (in->vex)
		return;
	if (in->map == 0) {
		if ((op == 0xff && in->op == OP_JMP))
			in->op = OP_JMP_IND;
		else if (op == 0xff && in->op == OP_CALL)
			in->op = OP_CALL_IND;
		else if (names_segment(in))
			in->op = op == 0x8e ? OP_MOV_TO_SEG : OP_MOV_FROM_SEG;
		else if (op == 0x06 || op == 0x0e || op == 0x16 || op == 0x1e)
			in->op = OP_PUSH_SEG;
		else if (op == 0x07 || op == 0x17 || op == 0x1f)
			in->op = OP_POP_SEG;
		else if (in->op == OP_JCC)
			in->cond = op & 15;
		else if (op >= 0xe0 && op <= 0xe3)
			in->cond = op & 3;
		else if (op == 0xf1)
			in->op = OP_INT1;
		else if (op == 0x8f && (in->modrm & 0x38))
			in->op = OP_REFUSE; /* the library's XOP */
	} else if (in->map == 1) {
		if (in->op == OP_JCC)
			in->cond = op & 15;
		else if (op >= 0x20 && op <= 0x23)
			in->op = (op & 1) ? OP_MOV_DR : OP_MOV_CR;
		else if (op == 0xa0 || op == 0xa8)
			in->op = OP_PUSH_SEG;
		else if (op == 0xa1 || op == 0xa9)
			in->op = OP_POP_SEG;
		else if (op == 0xff || op == 0xb9)
			in->op = OP_UD;
		else if (op == 0xc7 && in->rep == 0xf3 && (in->modrm & 0xf8) == 0xf8)
			in->op = OP_RDPID;
		else if ((op == 0xae && in->modrm >= 0xe8 && (in->rep || in->opsize == 2)) ||
			 (op == 0xc7 && (in->modrm & 0xf8) == 0xf0 && in->rep))
			in->op = OP_REFUSE; /* INCSSP, UMWAIT, SENDUIPI, which the library takes for fences and RDRAND */
		else if (op == 0x01 && in->modrm == 0xee)
			in->op = OP_RDPKRU;
		else if (op == 0x01 && in->modrm == 0xef)
			in->op = OP_WRPKRU;
	}
	if (names_segment(in))
		in->reg &= 7;
	if (in->op == OP_PUSH_SEG || in->op == OP_POP_SEG)
		in->reg = in->map == 1 ? (op >= 0xa8 ? SEG_GS : SEG_FS) : (op >> 3) & 3;
	if ((in->op == OP_MOVS || in->op == OP_CMPS) && !is_string_opcode(in))
		in->op = OP_COPY; /* SSE2 MOVSD, CMPSD share the decoder's id */
}

/* Default operand size where 64-bit code does not follow REX.W, and byte forms. */
static void fix_opsize(struct insn *in)
{
	u8 op = in->opcode;
	bool branch = in->op == OP_CALL || in->op == OP_RET || in->op == OP_JMP || in->op == OP_JMP_IND ||
		      in->op == OP_CALL_IND || in->op == OP_JCC || in->op == OP_LOOP || in->op == OP_JRCXZ;
	bool near64 = in->op == OP_PUSH || in->op == OP_POP || in->op == OP_PUSHF || in->op == OP_POPF ||
		      in->op == OP_LEAVE || in->op == OP_ENTER || in->op == OP_PUSH_SEG ||
		      in->op == OP_POP_SEG || in->op == OP_MOV_CR || in->op == OP_MOV_DR;

	if (in->code_size == 64 && (branch || (near64 && in->opsize == 4)))
		in->opsize = 8;
	if (in->code_size != 64 && (in->op == OP_MOV_CR || in->op == OP_MOV_DR))
		in->opsize = 4;
	if (in->map == 0 && !in->vex &&
	    ((op >= 0xa4 && op <= 0xaf && !(op & 1) && op != 0xa8) || op == 0x6c || op == 0x6e ||
	     op == 0xe4 || op == 0xe6 || op == 0xec || op == 0xee || op == 0xa0 || op == 0xa2))
		in->opsize = 1;
	else if (in->map == 0 && in->opsize == 8 &&
		 (op == 0x6d || op == 0x6f || op == 0xe5 || op == 0xe7 || op == 0xed || op == 0xef))
		in->opsize = 4;
}

/* Near branches of 64-bit code, whose operand-size prefix is ignored (as Intel does; the
 * library follows AMD). */
static bool is_near_branch64(const struct insn *in)
{
	u8 op = in->opcode;

	if (in->code_size != 64)
		return false;
	if (in->map == 1)
		return (op & 0xf0) == 0x80;
	return in->map == 0 && ((op & 0xf0) == 0x70 || (op >= 0xe0 && op <= 0xe3) || op == 0xe8 || op == 0xe9 ||
				op == 0xeb || op == 0xc2 || op == 0xc3 ||
				(op == 0xff && ((in->modrm & 0x38) == 0x10 || (in->modrm & 0x38) == 0x20)));
}

/* Do F2 and F3 select or repeat something, or are they ignored? */
static bool rep_matters(const struct insn *in)
{
	u8 op = in->opcode;

	if (in->map == 0)
		return op == 0x90 || is_string_opcode(in) || (op >= 0x6c && op <= 0x6f);
	if (in->map == 1 && (op == 0xbc || op == 0xbd || op == 0xb8))
		return in->rep == 0xf3;
	return in->map != 1 || op == 0x01 || op == 0x09 || op == 0x1e || op == 0xae || op == 0xc7;
}

/* An instruction with the prefixes that matter, in the order that the library likes; the
 * processor does not care for their order or number. */
struct canonical { u8 b[15]; unsigned n, dropped; };

static void canonical_prefixes(struct canonical *c, const struct insn *in, const u8 *bytes, unsigned avail)
{
	bool sse = vector_is_sse(in, bytes), branch = is_near_branch64(in);
	unsigned end = in->off_prefix_end, n = 0;

	memset(c->b, 0, sizeof(c->b));
	if (memchr_u8(bytes, 0x67, end) && (!branch || in->has_mem || (in->opcode & 0xfc) == 0xe0))
		c->b[n++] = 0x67;
	if (in->lock)
		c->b[n++] = 0xf0;
	if (memchr_u8(bytes, 0x66, end) && !branch && !(sse && in->rep))
		c->b[n++] = 0x66;
	if (in->rep && (sse || rep_matters(in)))
		c->b[n++] = in->rep;
	memcpy(c->b + n, bytes + end, avail - end);
	if (in->rex && names_segment(in))
		c->b[n] &= ~4; /* REX.R is ignored */
	c->dropped = end - n;
	/* With 15 bytes there, those that follow do not matter: it would be too long. */
	c->n = avail == 15 ? 15 : avail - c->dropped;
}

static bool library_decodes(const struct canonical *c, u64 rip, int code_size)
{
	const u8 *p = c->b;
	size_t left = c->n;
	uint64_t addr = rip + c->dropped;

	return cs_disasm_iter(handle_for(code_size), &p, &left, &addr, scratch_insn);
}

/* Galois field instructions, fences with any r/m, x87 opcodes without a name: nothing but
 * vector or x87 state, so that the processor may judge them. */
static bool unknown_but_plain(const struct insn *in, const u8 *bytes)
{
	bool p66 = memchr_u8(bytes, 0x66, in->off_prefix_end);

	if (in->map == 2)
		return in->opcode == 0xcf && p66 && !in->rep;
	if (in->map == 3)
		return (in->opcode == 0xce || in->opcode == 0xcf) && p66 && !in->rep;
	if (in->map == 1)
		return in->opcode == 0xae && in->modrm >= 0xe8 && !p66 && !in->rep;
	return is_x87(in);
}

static unsigned decode_unknown(struct insn *in, const u8 *bytes, unsigned avail)
{
	if (in->off_imm + imm_size(in) <= avail && !in->lock && unknown_but_plain(in, bytes)) {
		in->op = OP_COPY;
		in->imm_len = imm_size(in);
		in->len = in->off_imm + in->imm_len;
		in->fpu = is_x87(in);
		if (is_x87(in) && in->has_mem)
			fill_x87_mem(in);
		else if (vector_is_sse(in, bytes))
			vector_fill_sse(in, bytes);
		return in->len;
	}
	/* Hints and reserved NOPs. */
	if (in->map == 1 && (in->opcode == 0x0d || (in->opcode >= 0x18 && in->opcode <= 0x1f)) && in->off_imm <= avail) {
		in->op = OP_NOP;
		in->len = in->off_imm;
		return in->len;
	}
	if (in->map == 1 && (in->opcode == 0xff || in->opcode == 0xb9 || in->opcode == 0x0b)) {
		in->op = OP_UD;
		in->len = in->off_imm <= avail ? in->off_imm : 0;
		return in->len;
	}
	if (in->map == 1 && in->opcode == 0x01 && (in->modrm == 0xee || in->modrm == 0xef)) {
		in->op = OP_UD; /* RDPKRU, WRPKRU: protection keys are not offered to guests */
		in->len = in->off_imm;
		return in->len;
	}
	return 0;
}

static void fill_from_library(struct insn *in, const cs_insn *ci, unsigned dropped, const u8 *bytes)
{
	in->cs_id = ci->id;
	in->len = ci->size + dropped;
	in->op = ci->id < X86_INS_ENDING && policy[ci->id] ? policy[ci->id] - 1 : OP_REFUSE;
	classify_by_opcode(in);
	fill_operands(in, &ci->detail->x86);
	fix_opsize(in);
	in->fpu = is_x87(in) || (in->map == 0 && in->opcode == 0x9b) || is_fxsave_group(in);
	if (vector_is_sse(in, bytes))
		vector_fill_sse(in, bytes);
	if (in->op == OP_NOP && in->map == 0 && in->opcode == 0x90 && in->rm == R8)
		in->op = OP_COPY;
	in->imm_len = in->len > in->off_imm ? in->len - in->off_imm : 0;
}

/* Copied bytes of a wrong length would let the processor run into the host code behind
 * them: library and layout must agree, or else the instruction is refused. */
static void check_length(struct insn *in)
{
	if (in->op != OP_UD && in->op != OP_TOO_LONG && in->op != OP_INT1 && in->len != in->off_imm + imm_size(in))
		in->op = OP_REFUSE;
}

/* VEX and EVEX: the library knows too few and errs about some. */
static unsigned decode_vex(struct insn *in, const u8 *bytes, unsigned avail)
{
	unsigned len = in->off_imm + imm_size(in);

	if (len > avail && avail < 15)
		return 0;
	in->len = 1;
	if (!vector_decode(in, bytes)) {
		in->op = OP_UD;
	} else if (len > 15) {
		in->op = OP_TOO_LONG;
	} else {
		in->imm_len = imm_size(in);
		in->len = len;
		if (in->imm_len)
			in->imm = bytes[in->off_imm];
		memcpy(in->bytes, bytes, len);
	}
	return in->len;
}

/* Is all of this (invalid) one-byte-opcode instruction there? If not, the rest lies on the
 * next page, and fetching it may fault first. */
static bool complete_map0(const struct insn *in, unsigned avail)
{
	u8 op = in->opcode;

	return in->off_prefix_end < avail && in->map == 0 && op != 0x0f && op != 0xc4 && op != 0xc5 && op != 0x62 &&
	       in->off_imm + imm_size(in) <= avail;
}

/* The bytes end within an escape, VEX or EVEX prefix. */
static bool lacks_opcode(const struct insn *in)
{
	u8 op = in->opcode;

	if (in->vex || in->map > 1)
		return false;
	if (in->map == 1)
		return op == 0x38 || op == 0x3a;
	return op == 0x0f || (in->code_size == 64 && (op == 0xc4 || op == 0xc5 || op == 0x62));
}

unsigned decode_layout_of(struct insn *in, const u8 *bytes, unsigned avail, int code_size)
{
	unsigned max = avail > 15 ? 15 : avail, len;

	memset(in, 0, sizeof(*in));
	in->code_size = code_size;
	parse_layout(in, bytes, max);
	if (lacks_opcode(in))
		return 0;
	len = in->off_imm + imm_size(in);
	return len <= max ? len : 0;
}

unsigned decode_layout(struct insn *in, const u8 *bytes, unsigned avail)
{
	return decode_layout_of(in, bytes, avail, 64);
}

unsigned decode_insn(struct insn *in, const u8 *bytes, unsigned avail, u64 rip, int code_size)
{
	unsigned max = avail > 15 ? 15 : avail;
	struct canonical c;

	memset(in, 0, sizeof(*in));
	in->code_size = code_size;
	parse_layout(in, bytes, max);
	if (in->vex)
		return decode_vex(in, bytes, max);
	canonical_prefixes(&c, in, bytes, max);
	if (library_decodes(&c, rip, code_size)) {
		fill_from_library(in, scratch_insn, c.dropped, bytes);
		if (in->op == OP_UD && in->off_imm > max) /* UD0, UD1 have an operand to be fetched */
			return 0;
		if (in->len > 15) { /* #GP, whatever it is */
			in->op = OP_TOO_LONG;
			in->len = 1;
		}
	} else if (!decode_unknown(in, bytes, max)) {
		if (avail < 15 && !complete_map0(in, avail))
			return 0;
		in->op = OP_UD;
		in->len = 1;
	}
	check_length(in);
	memcpy(in->bytes, bytes, in->len > 15 ? 15 : in->len);
	return in->len;
}

unsigned decode_text(const u8 *bytes, unsigned avail, u64 rip, int code_size, char *buf, size_t size)
{
	const u8 *p = bytes;
	size_t left = avail > 15 ? 15 : avail;
	uint64_t addr = rip;

	if (!cs_disasm_iter(handle_for(code_size), &p, &left, &addr, scratch_insn)) {
		fmt_format(buf, size, "(bad) %02x", bytes[0]);
		return 1;
	}
	fmt_format(buf, size, "%s %s", scratch_insn->mnemonic, scratch_insn->op_str);
	return scratch_insn->size;
}
