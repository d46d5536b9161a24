/* See emit.h. Encodings: SDM vol. 2 chapter 2. */
#include <string.h>
#include "emit.h"
#include "engine.h"
#include "shadowbox/log.h"

void emit_bytes(struct emit *e, const void *p, unsigned n)
{
	if (e->off + n > e->end) {
		e->overflow = true;
		return;
	}
	memcpy((u8 *)CODE_RW_HVA + e->off, p, n);
	e->off += n;
}
void emit_u8(struct emit *e, u8 b) { emit_bytes(e, &b, 1); }
void emit_u32(struct emit *e, u32 v) { emit_bytes(e, &v, 4); }
void emit_u64(struct emit *e, u64 v) { emit_bytes(e, &v, 8); }

void emit_mark(struct emit *e, enum mark_kind kind)
{
	struct block *b = e->b;
	struct mark *m;
	u16 off = (u16)(e->off - b->code_off);

	if (b->n_marks && cache->mark[b->marks + b->n_marks - 1].off == off)
		m = &cache->mark[b->marks + b->n_marks - 1];
	else
		m = &cache->mark[b->marks + b->n_marks++];
	*m = (struct mark){ off, e->goff, e->spilled, kind, e->flags };
	if ((kind == MARK_BOUNDARY || kind == MARK_RESTART) && e->shadow_goff && e->goff == e->shadow_goff)
		m->flags |= MARK_SHADOW;
	*cache_next(POOL_MARK) = b->marks + b->n_marks;
}

_Static_assert(offsetof(struct slots, target) == SLOT_TARGET * 8, "spill_slot");

static void emit_rip_op(struct emit *e, u8 opcode, unsigned reg, u64 addr)
{
	emit_u8(e, 0x48 | (reg >= 8 ? 4 : 0));
	emit_u8(e, opcode);
	emit_u8(e, 0x05 | (reg & 7) << 3);
	emit_u32(e, (u32)(addr - (CODE_RX_HVA + e->off + 4)));
}
void emit_store_abs(struct emit *e, unsigned reg, u64 addr) { emit_rip_op(e, 0x89, reg, addr); }
void emit_load_abs(struct emit *e, unsigned reg, u64 addr) { emit_rip_op(e, 0x8b, reg, addr); }
void emit_load16_abs(struct emit *e, unsigned reg, u64 addr)
{
	EMIT(e, 0x66);
	emit_u8(e, 0x40 | (reg >= 8 ? 4 : 0));
	EMIT(e, 0x8b);
	emit_u8(e, 0x05 | (reg & 7) << 3);
	emit_u32(e, (u32)(addr - (CODE_RX_HVA + e->off + 4)));
}
void emit_lea_abs(struct emit *e, unsigned reg, u64 addr) { emit_rip_op(e, 0x8d, reg, addr); }
void emit_sub_abs(struct emit *e, unsigned reg, u64 addr) { emit_rip_op(e, 0x2b, reg, addr); }
void emit_cmp_abs(struct emit *e, unsigned reg, u64 addr) { emit_rip_op(e, 0x3b, reg, addr); }

void emit_store_imm(struct emit *e, u64 addr, i32 imm)
{
	EMIT(e, 0x48, 0xc7, 0x05);
	emit_u32(e, (u32)(addr - (CODE_RX_HVA + e->off + 8)));
	emit_u32(e, (u32)imm);
}

void emit_cmp_zero(struct emit *e, u64 addr)
{
	EMIT(e, 0x48, 0x83, 0x3d);
	emit_u32(e, (u32)(addr - (CODE_RX_HVA + e->off + 5)));
	emit_u8(e, 0);
}

void emit_mov_imm(struct emit *e, unsigned reg, u64 val)
{
	if (val <= 0xffffffffUL) {
		if (reg >= 8)
			emit_u8(e, 0x41);
		emit_u8(e, 0xb8 | (reg & 7));
		emit_u32(e, (u32)val);
	} else if ((i64)val == (i32)val) {
		emit_u8(e, 0x48 | (reg >= 8));
		emit_u8(e, 0xc7);
		emit_u8(e, 0xc0 | (reg & 7));
		emit_u32(e, (u32)val);
	} else {
		emit_u8(e, 0x48 | (reg >= 8));
		emit_u8(e, 0xb8 | (reg & 7));
		emit_u64(e, val);
	}
}

/* lea dst, [a + b + disp32]; b must not be RSP (swap), a may be anything. */
void emit_lea_sum(struct emit *e, unsigned dst, unsigned a, unsigned b, i32 disp)
{
	if (b == RSP) {
		unsigned t = a;
		a = b;
		b = t;
	}
	emit_u8(e, 0x48 | (dst >= 8 ? 4 : 0) | (b >= 8 ? 2 : 0) | (a >= 8 ? 1 : 0));
	emit_u8(e, 0x8d);
	emit_u8(e, 0x84 | (dst & 7) << 3);
	emit_u8(e, (b & 7) << 3 | (a & 7));
	emit_u32(e, (u32)disp);
}

void emit_spill(struct emit *e, unsigned reg)
{
	emit_store_abs(e, reg, spill_slot(e->b->flavour, reg));
	e->spilled |= 1u << reg;
}

void emit_unspill(struct emit *e, unsigned reg)
{
	emit_load_abs(e, reg, spill_slot(e->b->flavour, reg));
	e->spilled &= ~(1u << reg);
}

u32 emit_jmp(struct emit *e, u32 target)
{
	emit_u8(e, 0xe9);
	emit_u32(e, target - (e->off + 4));
	return e->off - 4;
}

u32 emit_jcc(struct emit *e, u8 cond)
{
	emit_u8(e, 0x0f);
	emit_u8(e, 0x80 | cond);
	emit_u32(e, 0);
	return e->off - 4;
}

void emit_patch_here(struct emit *e, u32 rel32_at)
{
	i32 rel = (i32)(e->off - (rel32_at + 4));

	if (!e->overflow)
		memcpy((u8 *)CODE_RW_HVA + rel32_at, &rel, 4);
}

u32 emit_jrcxz(struct emit *e)
{
	EMIT(e, 0xe3, 0);
	return e->off;
}

void emit_patch8_here(struct emit *e, u32 jump_end)
{
	*((u8 *)CODE_RW_HVA + jump_end - 1) = (u8)(e->off - jump_end);
}

/* --- re-encoding -------------------------------------------------------------------------- */
unsigned scratch_pick(const struct insn *in, u16 taken)
{
	static const u8 candidates[] = { R8, R9, R10, R11, R14, R15 };
	u16 used = taken;

	if (in->high8) /* no REX prefix possible: low registers only, and RSI cannot be named */
		return (taken & (1u << RSI)) ? RDI : RSI;
	if (in->op == OP_MASKMOV)
		return RDI;
	if (in->reg >= 0)
		used |= 1u << (in->reg & 15);
	if (in->rm >= 0)
		used |= 1u << (in->rm & 15);
	if (in->base >= 0 && in->base < 16)
		used |= 1u << in->base;
	if (in->index >= 0)
		used |= 1u << (in->index & 15);
	if (in->vex)
		used |= 1u << in->vvvv;
	for (size_t i = 0; i < ARRAY_LEN(candidates); i++)
		if (!(used & (1u << candidates[i])))
			return candidates[i];
	panic("no scratch register");
}

static void emit_legacy_prefixes(struct emit *e, const struct insn *in, const struct reenc *r)
{
	if (r->seg)
		emit_u8(e, r->seg);
	for (unsigned i = 0; i < in->off_prefix_end; i++) {
		u8 p = in->bytes[i];
		if (is_segment_prefix(p) && (r->seg || r->form == MEM_BASE))
			continue;
		if (in->code_size == 64 && (p & 0xf0) == 0x40)
			continue; /* a REX that another prefix has made void */
		if (p == 0x67 && (r->form == MEM_BASE || r->form == MEM_ABS32))
			continue;
		if (r->load_to >= 0 && p != 0x67)
			continue; /* only the address matters */
		emit_u8(e, p);
	}
}

void emit_lea_operand(struct emit *e, const struct insn *in, unsigned to)
{
	u8 rex = (in->addrsize == 8 ? 0x48 : 0x40) | (to >= 8 ? 4 : 0) | (in->index >= 8 ? 2 : 0) | (in->base >= 8 ? 1 : 0);

	emit_u8(e, rex);
	emit_u8(e, 0x8d);
	if (in->vex == 4 && (in->modrm & 0xc0) == 0x40) { /* a compressed displacement: spell it out */
		emit_u8(e, (in->modrm & 7) | 0x80 | (to & 7) << 3);
		if ((in->modrm & 7) == 4)
			emit_u8(e, in->bytes[in->off_modrm + 1]);
		emit_u32(e, (u32)in->disp);
		return;
	}
	emit_u8(e, (in->modrm & 0xc7) | (to & 7) << 3);
	emit_bytes(e, in->bytes + in->off_modrm + 1, in->off_imm - in->off_modrm - 1);
}

/* The operand fields of the instruction as they shall be. */
struct fields { u8 reg, rm, index, opreg, vvvv; bool b, x; u8 modrm, sib; bool has_sib; };

static void emit_modrm_mem(struct emit *e, const struct insn *in, const struct reenc *r, u8 reg)
{
	u8 mr = (reg & 7) << 3;

	switch (r->form) {
	case MEM_BASE:
		if ((r->base & 7) == 4) {
			emit_u8(e, mr | 4);
			emit_u8(e, 0x24);
		} else if ((r->base & 7) == 5) {
			emit_u8(e, 0x40 | mr | 5);
			emit_u8(e, 0);
		} else {
			emit_u8(e, mr | (r->base & 7));
		}
		break;
	case MEM_ABS32:
		emit_u8(e, mr | 4);
		emit_u8(e, 0x25);
		emit_u32(e, (u32)r->abs);
		break;
	default:
		emit_u8(e, (in->modrm & 0xc7) | mr);
		emit_bytes(e, in->bytes + in->off_modrm + 1, in->off_imm - in->off_modrm - 1);
	}
}

static void emit_vex_prefix(struct emit *e, const struct insn *in, bool rr, bool x, bool b, u8 vvvv)
{
	const u8 *p = in->bytes + in->off_prefix_end;

	if (in->vex == 4) {
		emit_u8(e, 0x62);
		emit_u8(e, (p[1] & 0x1f) | (rr ? 0 : 0x80) | (x ? 0 : 0x40) | (b ? 0 : 0x20));
		emit_u8(e, p[2]);
		emit_u8(e, p[3]);
		return;
	}
	u8 last = in->vex == 2 ? (p[1] & 0x7f) : p[2];
	last = (last & ~0x78) | ((~vvvv & 15) << 3);
	emit_u8(e, 0xc4);
	emit_u8(e, (in->map & 0x1f) | (rr ? 0 : 0x80) | (x ? 0 : 0x40) | (b ? 0 : 0x20));
	emit_u8(e, last);
}

/* Conversions and moves from a vector or mask register whose general register is the one
 * in ModRM.reg: CVT(T)xx2SI, MOVMSK, PMOVMSKB, PEXTRW, KMOV, CVT(T)xx2USI. */
static bool general_reg_in_reg(const struct insn *in)
{
	u8 op = in->opcode;

	return in->map == 1 && (op == 0x2c || op == 0x2d || op == 0x50 || op == 0xd7 || op == 0xc5 || op == 0x93 ||
				op == 0x78 || op == 0x79);
}

/* Registers named by an instruction with RSP as a value: fields equal to 4 are replaced.
 * When a vector register 4 stands beside RSP (MOVQ xmm4, rsp), only the general one is. */
static void replace_rsp(const struct insn *in, const struct reenc *r, i8 *reg, i8 *rm, u8 *vvvv)
{
	if (r->rsp_repl < 0)
		return;
	if (!in->has_modrm) {
		if (*rm == RSP)
			*rm = r->rsp_repl;
		return;
	}
	bool both = in->fpu && !in->has_mem && in->reg == RSP && in->rm == RSP;
	if (*rm == RSP && !(both && general_reg_in_reg(in)))
		*rm = r->rsp_repl;
	if (*reg == RSP && !(both && !general_reg_in_reg(in)))
		*reg = r->rsp_repl;
	if (in->vex && *vvvv == RSP && !in->fpu)
		*vvvv = r->rsp_repl;
}

static bool has_group_reg(const struct insn *in)
{
	/* ModRM.reg extends the opcode in these, and names no register. */
	u8 op = in->opcode;

	if (in->vex)
		return in->map == 2 && op == 0xf3;
	if (in->map == 0)
		return (op >= 0x80 && op <= 0x83) || op == 0x8f || op == 0xc0 || op == 0xc1 || op == 0xc6 ||
		       op == 0xc7 || (op >= 0xd0 && op <= 0xd3) || op == 0xf6 || op == 0xf7 ||
		       op == 0xfe || op == 0xff || (op >= 0xd8 && op <= 0xdf);
	if (in->map == 1)
		return op == 0x00 || op == 0x01 || op == 0x18 || op == 0x0d || (op >= 0x71 && op <= 0x73) ||
		       op == 0xae || op == 0xba || op == 0xc7 || op == 0x1f;
	return false;
}

void emit_reencoded(struct emit *e, const struct insn *in, const struct reenc *r)
{
	i8 reg = in->reg, rm = in->rm;
	u8 vvvv = in->vvvv, rex;
	bool x, b;

	if (has_group_reg(in))
		replace_rsp(in, r, &(i8){ REG_NONE }, &rm, &vvvv);
	else
		replace_rsp(in, r, &reg, &rm, &vvvv);
	if (r->load_to >= 0)
		reg = r->load_to;
	emit_legacy_prefixes(e, in, r);
	if (in->has_mem && r->form == MEM_BASE) {
		x = false;
		b = r->base >= 8;
	} else if (in->has_mem && r->form == MEM_ABS32) {
		x = b = false;
	} else if (in->has_mem) {
		x = in->index >= 8;
		b = in->base >= 8 && in->base < 16;
		/* Even a missing index or base keeps its extension bits harmlessly. */
	} else {
		b = rm >= 8;
		x = false;
		if (in->vex == 4)
			x = !(in->bytes[in->off_prefix_end + 1] & 0x40); /* XMM16-31 as r/m */
	}
	if (in->vex && r->load_to < 0) {
		emit_vex_prefix(e, in, reg >= 8, x, b, vvvv);
		emit_u8(e, in->opcode);
	} else {
		rex = (in->rex & 0x48) | (reg >= 8 ? 0x44 : 0) | (x ? 0x42 : 0) | (b ? 0x41 : 0);
		if (r->load_to >= 0)
			rex |= 0x48;
		if (in->rex)
			rex |= 0x40;
		if (rex)
			emit_u8(e, rex | 0x40);
		if (r->load_to >= 0) {
			emit_u8(e, 0x8b);
		} else {
			if (in->map)
				emit_u8(e, 0x0f);
			if (in->map == 2)
				emit_u8(e, 0x38);
			else if (in->map == 3)
				emit_u8(e, 0x3a);
			emit_u8(e, in->has_modrm ? in->opcode : (in->opcode & 0xf8) | (rm & 7));
		}
	}
	if (in->has_modrm && in->has_mem)
		emit_modrm_mem(e, in, r, reg & 7);
	else if (in->has_modrm)
		emit_u8(e, 0xc0 | (reg & 7) << 3 | (rm & 7));
	if (r->load_to < 0)
		emit_bytes(e, in->bytes + in->off_imm, in->imm_len);
}

/* --- common stubs -------------------------------------------------------------------------- */
#define V(field) (HOT_VCPU_HVA + offsetof(struct vcpu, field))
#define VG(r) (HOT_VCPU_HVA + offsetof(struct vcpu, gpr) + (r) * 8)

extern const u8 engine_exit_tail[]; /* entry.S: restores the engine's stack and returns */

/* --- gates --------------------------------------------------------------------------------- */
#define K_GATE (HOT_SLOTS_K_HVA + offsetof(struct slots, gate))
#define GATES_MAX (4 * 64)

static u32 gate_at[GATES_MAX];
static unsigned n_gates;

void emit_gates_begin(void) { n_gates = 0; }

bool code_gives_rights(const u8 *p)
{
	return p[0] == 0x0f && ((p[1] == 0x01 && p[2] == 0xef) ||
				(p[1] == 0xae && (p[2] & 0x38) == 0x28 && p[2] < 0xc0));
}

bool emit_gives_rights(const struct emit *e, u32 start)
{
	const u8 *code = (const u8 *)CODE_RW_HVA;
	unsigned next = 0;

	for (u32 i = start; i + 3 <= e->off; i++) {
		if (code[i] != 0x0f || !code_gives_rights(code + i))
			continue;
		while (next < n_gates && gate_at[next] < i)
			next++;
		if (next == n_gates || gate_at[next] != i)
			return true;
	}
	return n_gates > GATES_MAX;
}

static void emit_bare_wrpkru(struct emit *e)
{
	if (!ARENA->host.pkeys)
		return;
	if (n_gates < GATES_MAX)
		gate_at[n_gates] = e->off;
	n_gates++;
	EMIT(e, 0x0f, 0x01, 0xef);
}

static void check_value(struct emit *e, u32 rights)
{
	EMIT(e, 0x8d, 0x88); /* lea ecx, [rax - rights] */
	emit_u32(e, -rights);
	EMIT(e, 0xe3, 0x02, 0x0f, 0x0b); /* jrcxz over; ud2 */
}

/* Passes if the word is not 0, and makes it 0. */
static void check_word(struct emit *e, u64 addr)
{
	emit_load_abs(e, RCX, addr);
	EMIT(e, 0xe3, 0x02, 0xeb, 0x02, 0x0f, 0x0b); /* jrcxz to the ud2; jmp over */
	emit_store_imm(e, addr, 0);
}

void emit_wrpkru(struct emit *e, u32 rights, enum gate gate)
{
	bool native = ARENA->host.native;

	if (!ARENA->host.pkeys)
		return;
	if (native && gate == GATE_SLOT)
		emit_store_imm(e, K_GATE, 1);
	emit_u8(e, 0xb8); /* mov eax, rights; mov ecx, 0; mov edx, 0 */
	emit_u32(e, rights);
	EMIT(e, 0xb9, 0, 0, 0, 0, 0xba, 0, 0, 0, 0);
	emit_bare_wrpkru(e);
	if (native && gate == GATE_SLOT)
		check_word(e, K_GATE);
	else if (native)
		check_value(e, rights);
}

void emit_select(struct emit *e, u8 value)
{
	if (!ARENA->host.native)
		return;
	EMIT(e, 0xc6, 0x05); /* mov byte [rip + ...], value */
	emit_u32(e, (u32)(HOT_SELECT_HVA - (CODE_RX_HVA + e->off + 5)));
	emit_u8(e, value);
}

static void emit_jmp_host(struct emit *e, u64 addr)
{
	EMIT(e, 0x48, 0xb8); /* mov rax, imm64; jmp rax */
	emit_u64(e, addr);
	EMIT(e, 0xff, 0xe0);
}

void emit_jmp_slot(struct emit *e, u8 flavour)
{
	EMIT(e, 0xff, 0x25);
	emit_u32(e, (u32)(spill_slot(flavour, SLOT_TARGET) - (CODE_RX_HVA + e->off + 4)));
}

/* In: EAX = exit id, the guest's RAX in its spill slot. No instruction before the flags
 * are saved (in entry.S) may change them. */
static u32 emit_exit_stub(struct emit *e, u8 flavour)
{
	u32 at = e->off;

	/* The vCPU page is out of reach until WRPKRU: park four registers first. */
	emit_store_abs(e, RCX, spill_slot(flavour, RCX));
	emit_store_abs(e, RDX, spill_slot(flavour, RDX));
	emit_store_abs(e, RBX, spill_slot(flavour, RBX));
	EMIT(e, 0x89, 0xc3); /* mov ebx, eax */
	emit_wrpkru(e, 0, flavour == FLAVOUR_USER ? GATE_VALUE : GATE_SLOT);
	emit_store_abs(e, RBX, V(exit_id));
	emit_store_imm(e, V(exit_user), flavour == FLAVOUR_USER);
	for (unsigned r = RAX; r <= RBX; r++) {
		emit_load_abs(e, RCX, spill_slot(flavour, r));
		emit_store_abs(e, RCX, VG(r));
	}
	for (unsigned r = RSP; r <= R15; r++)
		emit_store_abs(e, r, VG(r));
	emit_jmp_host(e, (u64)engine_exit_tail);
	return at;
}

/* In: EAX = PKRU; RAX, RCX, RDX and the target in the slots. inside: with the rights for a
 * soft operand's pointer. */
static u32 emit_enter_tail(struct emit *e, u8 flavour, bool inside)
{
	u32 at = e->off;

	EMIT(e, 0xb9, 0, 0, 0, 0, 0xba, 0, 0, 0, 0);
	emit_bare_wrpkru(e);
	if (ARENA->host.native && flavour != FLAVOUR_USER)
		check_word(e, K_GATE);
	else if (ARENA->host.native && inside)
		check_word(e, V(gate));
	else if (ARENA->host.native)
		check_value(e, engine.pkru[FLAVOUR_USER]);
	for (unsigned r = RAX; r <= RDX; r++)
		emit_load_abs(e, r, spill_slot(flavour, r));
	emit_jmp_slot(e, flavour);
	return at;
}

static void stub_mark(struct emit *e, enum mark_kind kind, u16 spill)
{
	sb_assert(cache->n_stub_marks < ARRAY_LEN(cache->stub_mark));
	cache->stub_mark[cache->n_stub_marks++] = (struct mark){ .off = e->off, .spill = spill, .kind = kind };
}

#define R(r) (1u << (r))

/* In: RAX = guest target, EBX = id of the exit to take if the lookup table lacks it, the
 * guest's RAX and RBX spilled. Changes no flags: the comparison is LEA and JRCXZ. */
static u32 emit_lookup_stub(struct emit *e, u8 flavour, u64 table, u32 exit_stub)
{
	u32 at = e->off, hit[2];

	stub_mark(e, MARK_TARGET, R(RAX) | R(RBX));
	emit_store_abs(e, RCX, spill_slot(flavour, RCX));
	stub_mark(e, MARK_TARGET, R(RAX) | R(RBX) | R(RCX));
	emit_store_abs(e, RDX, spill_slot(flavour, RDX));
	stub_mark(e, MARK_TARGET, R(RAX) | R(RBX) | R(RCX) | R(RDX));
	EMIT(e, 0x0f, 0xb7, 0xc8); /* movzx ecx, ax */
	emit_lea_abs(e, RDX, table);
	EMIT(e, 0x48, 0x8d, 0x14, 0xca); /* lea rdx, [rdx+rcx*8] */
	EMIT(e, 0x48, 0x8d, 0x14, 0xca);
	for (unsigned i = 0; i < 2; i++) {
		EMIT(e, 0x48, 0x8b, 0x4a);       /* mov rcx, [rdx+16*i] */
		emit_u8(e, i * sizeof(struct table_entry));
		EMIT(e, 0x48, 0x8d, 0x0c, 0x01); /* lea rcx, [rcx+rax] */
		hit[i] = emit_jrcxz(e);
	}
	stub_mark(e, MARK_EXIT, 0);
	emit_store_abs(e, RAX, spill_slot(flavour, SLOT_TARGET));
	emit_load_abs(e, RCX, spill_slot(flavour, RCX));
	emit_load_abs(e, RDX, spill_slot(flavour, RDX));
	EMIT(e, 0x89, 0xd8); /* mov eax, ebx */
	emit_load_abs(e, RBX, spill_slot(flavour, RBX));
	emit_jmp(e, exit_stub);
	stub_mark(e, MARK_TARGET, R(RAX) | R(RBX) | R(RCX) | R(RDX));
	emit_patch8_here(e, hit[1]);
	EMIT(e, 0x48, 0x8d, 0x52, sizeof(struct table_entry)); /* lea rdx, [rdx+16] */
	emit_patch8_here(e, hit[0]);
	EMIT(e, 0x48, 0x8b, 0x52, 0x08); /* mov rdx, [rdx+8] */
	emit_store_abs(e, RDX, spill_slot(flavour, SLOT_TARGET));
	emit_load_abs(e, RDX, spill_slot(flavour, RDX));
	stub_mark(e, MARK_TARGET, R(RAX) | R(RBX) | R(RCX));
	emit_load_abs(e, RCX, spill_slot(flavour, RCX));
	stub_mark(e, MARK_TARGET, R(RAX) | R(RBX));
	emit_load_abs(e, RBX, spill_slot(flavour, RBX));
	stub_mark(e, MARK_TARGET, R(RAX));
	emit_load_abs(e, RAX, spill_slot(flavour, RAX));
	stub_mark(e, MARK_BRANCH, 0);
	emit_jmp_slot(e, flavour);
	return at;
}

void emit_stubs(u32 end)
{
	struct emit e = { .off = STUBS_OFF, .end = end };

	cache->n_stub_marks = 0;
	emit_gates_begin();

	cache->exit_user = emit_exit_stub(&e, FLAVOUR_USER);
	cache->exit_kernel = emit_exit_stub(&e, FLAVOUR_KHIGH);
	cache->enter_user = emit_enter_tail(&e, FLAVOUR_USER, false);
	cache->enter_inside = emit_enter_tail(&e, FLAVOUR_USER, true);
	cache->enter_kernel = emit_enter_tail(&e, FLAVOUR_KHIGH, false);
	cache->lookup_user = emit_lookup_stub(&e, FLAVOUR_USER, HOT_TABLE_U_HVA, cache->exit_user);
	cache->lookup_kernel = emit_lookup_stub(&e, FLAVOUR_KHIGH, HOT_TABLE_K_HVA, cache->exit_kernel);
	cache->lookup_soft_user = emit_lookup_stub(&e, FLAVOUR_SOFT, HOT_TABLE_U_HVA, cache->exit_kernel);
	sb_assert(!e.overflow && !emit_gives_rights(&e, STUBS_OFF));
	cache->first[0][POOL_CODE] = (e.off + 63) & ~63u;
}
