/* decode_insn() against the processor: length, layout, effective address, size and access
 * of memory operands and the use of RSP, for every opcode of the maps that 64-bit code
 * has, legacy, VEX and EVEX. What the processor does not know (#UD) is out of scope. */
#include "tests/unit/test_decode_cpu.h"

/* An encoding and where its parts are. */
struct shape {
	u8 legacy[4], n_legacy;
	u8 rex;              /* legacy: the whole byte. VEX, EVEX: bits WRXB alone */
	u8 vex;              /* 0, 2, 3, 4 */
	u8 map, op, pp;
	u8 l, b, aaa, z, vvvv;
	u8 modrm, sib;
	i32 disp;
	u8 imm;              /* what follows */
	/* filled in */
	u8 bytes[32];
	u8 off_op, off_end;
};

static unsigned put_vex(struct shape *s, u8 *p)
{
	u8 rxb = (~s->rex & 7), r = rxb & 4 ? 0x80 : 0, x = rxb & 2 ? 0x40 : 0, b = rxb & 1 ? 0x20 : 0;
	u8 w = s->rex & 8 ? 0x80 : 0, v = (~s->vvvv & 15) << 3;

	if (s->vex == 2) {
		p[0] = 0xc5;
		p[1] = r | v | s->l << 2 | s->pp;
		return 2;
	}
	if (s->vex == 3) {
		p[0] = 0xc4;
		p[1] = r | x | b | s->map;
		p[2] = w | v | s->l << 2 | s->pp;
		return 3;
	}
	p[0] = 0x62;
	p[1] = r | x | b | 0x10 | s->map;
	p[2] = w | v | 4 | s->pp;
	p[3] = s->z << 7 | s->l << 5 | s->b << 4 | 8 | s->aaa;
	return 4;
}

static bool names_control_reg(const struct shape *s)
{
	return !s->vex && s->map == 1 && s->op >= 0x20 && s->op <= 0x23; /* ModRM.mod is ignored */
}

static void build(struct shape *s)
{
	u8 *p = s->bytes;
	unsigned mod = names_control_reg(s) ? 3 : s->modrm >> 6;

	memset(p, s->imm, 16);
	for (unsigned i = 0; i < s->n_legacy; i++)
		*p++ = s->legacy[i];
	if (s->vex) {
		p += put_vex(s, p);
	} else {
		if (s->rex)
			*p++ = s->rex;
		if (s->map)
			*p++ = 0x0f;
		if (s->map >= 2)
			*p++ = s->map == 2 ? 0x38 : 0x3a;
	}
	s->off_op = p - s->bytes;
	*p++ = s->op;
	*p++ = s->modrm;
	if (mod != 3 && (s->modrm & 7) == 4)
		*p++ = s->sib;
	if (mod == 1)
		*p++ = s->disp;
	else if (mod == 2 || (mod == 0 && ((s->modrm & 7) == 5 || ((s->modrm & 7) == 4 && (s->sib & 7) == 5))))
		memcpy(p, &s->disp, 4), p += 4;
	s->off_end = p - s->bytes;
}

/* Would change the child's segment or protection state, enter the kernel, or stop. */
static bool cpu_must_not_run(const struct shape *s)
{
	u8 reg = (s->modrm >> 3) & 7;

	if (s->vex)
		return false;
	if (s->map == 0)
		return s->op == 0x8e || (s->op == 0xcd && s->modrm == 0x80) ||
		       /* jumps to themselves */
		       (s->modrm >= 0xf0 && ((s->op & 0xf0) == 0x70 || (s->op & 0xfc) == 0xe0 || s->op == 0xeb));
	if (s->map != 1)
		return false;
	return s->op == 0x05 || s->op == 0x34 || (s->op == 0x01 && s->modrm == 0xef) ||
	       (s->op == 0xae && reg <= 3 && s->pp == 2) || s->op == 0xb2 || s->op == 0xb4 || s->op == 0xb5 ||
	       (s->op == 0xae && reg == 5 && s->modrm < 0xc0) || (s->op == 0xc7 && reg == 3) || s->op == 0xa1 || s->op == 0xa9;
}

/* --- length and layout -------------------------------------------------------------- */
enum { LEN_LONG, LEN_SHORT, LEN_PART, GAP, LAYOUT, EA, NO_ACCESS, SIZE_SMALL, SIZE_LARGE, WRITE, READ, RSP_USE, RSP_OVER,
       SIGNAL, FPU, HIGH8 };

static bool nothing_known(const struct insn *in)
{
	return in->op == OP_UD || in->op == OP_REFUSE || in->op == OP_TOO_LONG;
}

/* Transactions, supervisor XSAVE, protection keys: CPUID does not offer them. */
static bool refused_on_purpose(const struct shape *s)
{
	u8 reg = (s->modrm >> 3) & 7;

	if (s->vex) /* reserved encodings that some processors take for cache line instructions */
		return s->map == 1 && s->op == 0xae;
	if (s->map == 0)
		return (s->op == 0xc6 || s->op == 0xc7) && s->modrm == 0xf8;
	if (s->map != 1)
		return false;
	return (s->op == 0xc7 && s->modrm < 0xc0 && (reg == 3 || reg == 5)) ||
	       (s->op == 0x01 && (s->modrm == 0xd5 || s->modrm == 0xd6 || s->modrm == 0xee));
}

/* True if the processor executes what has been decoded. */
static bool check_length(struct shape *s, struct insn *in)
{
	const u8 *b = s->bytes;
	const struct outcome *r;
	struct insn part;

	decode_insn(in, b, 15, CODE_END - 15, 64);
	if (nothing_known(in)) {
		cpu_default_regs();
		if (!refused_on_purpose(s) && !cpu_must_not_run(s) && cpu_run(b, 15)->trap != TRAP_UD)
			finding(GAP, in, b, "op %u, but the processor runs it (trap %lu)", in->op, cpu_out.trap);
		return false;
	}
	decode_insn(in, b, 15, CODE_END - in->len, 64);
	cpu_default_regs();
	if (!cpu_fetch_fault(cpu_run(b, in->len - 1), in->len - 1)) {
		if (cpu_out.trap != TRAP_UD)
			finding(LEN_LONG, in, b, "length %u is too much (trap %lu)", in->len, cpu_out.trap);
		return false;
	}
	for (unsigned n = in->len > 3 ? in->len - 3 : 1; n < in->len; n++)
		if (decode_insn(&part, b, n, CODE_PAGE, 64) != 0)
			finding(LEN_PART, in, b, "length %u op %u from %u bytes", part.len, part.op, n);
	if (cpu_must_not_run(s))
		return false;
	r = cpu_run(b, in->len);
	if (cpu_fetch_fault(r, in->len)) {
		finding(LEN_SHORT, in, b, "length %u is too little", in->len);
		return false;
	}
	return r->trap != TRAP_UD;
}

static void check_layout(const struct shape *s, const struct insn *in)
{
	if (in->off_prefix_end != s->n_legacy || in->off_opcode != s->off_op || in->off_modrm != s->off_op + 1 ||
	    in->off_imm != (in->has_modrm ? s->off_end : in->moffs ? in->off_modrm + in->addrsize : in->off_modrm) ||
	    in->off_imm + in->imm_len != in->len)
		finding(LAYOUT, in, s->bytes, "prefix %u op %u modrm %u imm %u+%u of %u", in->off_prefix_end,
			in->off_opcode, in->off_modrm, in->off_imm, in->imm_len, in->len);
	if (in->has_modrm && (s->modrm < 0xc0 || in->rm >= 0) && in->modrm != s->modrm)
		finding(LAYOUT, in, s->bytes, "modrm %02x", in->modrm);
	if (memcmp(in->bytes, s->bytes, in->len))
		finding(LAYOUT, in, s->bytes, "bytes");
}

/* --- memory operands ------------------------------------------------------------------ */
/* Gives base and index such values that the operand is at ea. False: not possible. */
static bool aim(const struct insn *in, u64 ea)
{
	u64 rest = ea - in->disp;

	cpu_default_regs();
	if (in->bit_string) {
		u64 bits = 0x123;
		cpu_in.gpr[in->reg] = bits;
		rest -= in->opsize == 2 ? bits / 16 * 2 : in->opsize == 4 ? bits / 32 * 4 : bits / 64 * 8;
		if (in->reg == in->base || in->reg == in->index || in->reg == RSP)
			return false;
	}
	if (in->base == BASE_RIP)
		return !in->bit_string && CODE_END + in->disp == ea;
	if (in->moffs)
		return in->disp == (i64)ea;
	if (in->base == in->index && in->base >= 0) {
		cpu_in.gpr[in->base] = rest / (1 + in->scale);
		return rest % (1 + in->scale) == 0;
	}
	if (in->base < 0 && in->index < 0)
		return rest == 0;
	if (in->base < 0) {
		cpu_in.gpr[in->index] = rest / in->scale;
		return rest % in->scale == 0 && rest < DATA_TOP;
	}
	if (in->index >= 0) {
		cpu_in.gpr[in->index] = 0x1238;
		rest -= 0x1238 * in->scale;
	}
	cpu_in.gpr[in->base] = rest;
	if (in->addrsize == 4) {
		cpu_in.gpr[in->base] |= 0x7700000000000000UL;
		if (in->index >= 0)
			cpu_in.gpr[in->index] |= 0x6600000000000000UL;
	}
	return true;
}

static const struct outcome *run_at(const struct insn *in, const u8 *b, u64 ea)
{
	return aim(in, ea) ? cpu_run(b, in->len) : NULL;
}

static bool has_mask(const struct insn *in)
{
	return in->vex == 4 && (in->bytes[in->off_opcode - 1] & 7);
}

/* Does what the instruction leaves behind depend on what was in memory? */
static bool depends_on_memory(const struct insn *in, const u8 *b, unsigned size)
{
	static u8 after[512];
	static struct outcome first;

	memset((void *)(DATA_RW & ~0xfffUL), 0x5a, 0x1000);
	memset((void *)DATA_RW, 0x35, size);
	run_at(in, b, DATA_RW);
	first = cpu_out;
	memcpy(after, (void *)DATA_RW, size);
	memset((void *)DATA_RW, 0xca, size);
	run_at(in, b, DATA_RW);
	if (memcmp(after, (void *)DATA_RW, size) || memcmp(first.s.gpr, cpu_out.s.gpr, sizeof(first.s.gpr)))
		return true;
	return first.s.rflags != cpu_out.s.rflags;
}

static void check_access(const struct insn *in, const u8 *b, unsigned size)
{
	const struct outcome *r = run_at(in, b, DATA_RO);
	bool writes, reads;

	if (!r || r->trap == TRAP_GP || r->trap == TRAP_UD)
		return;
	writes = cpu_data_fault(r, DATA_RO & ~0xfffUL) && (r->err & 2);
	if (writes != !!(in->mem_access & ACC_WRITE))
		finding(WRITE, in, b, "%s, decoded access is %u", writes ? "writes" : "does not write", in->mem_access);
	reads = !writes || (aim(in, DATA_RW) && depends_on_memory(in, b, size));
	if (reads && !(in->mem_access & ACC_READ))
		finding(READ, in, b, "reads, decoded access is %u", in->mem_access);
	else if (!reads && (in->mem_access & ACC_READ) && !has_mask(in) && !in->vex)
		finding(READ, in, b, "does not read, decoded access is %u", in->mem_access);
}

static void check_memory(const struct insn *in, const u8 *b)
{
	unsigned size = in->mem_size ? in->mem_size : 512;
	const struct outcome *r = run_at(in, b, DATA_NONE);

	if (!r || in->vsib)
		return;
	if (r->trap == TRAP_GP)
		return; /* an alignment or a privilege: says nothing */
	if (!cpu_data_fault(r, DATA_END) && !cpu_data_fault(r, DATA_NONE & ~0xfffUL)) {
		finding(NO_ACCESS, in, b, "does not touch its operand at %s%+ld (trap %lu at %lx)", in->base == RSP ? "rsp" : "",
			(long)in->disp, r->trap, r->addr);
		return;
	}
	if (r->addr != DATA_NONE && (in->mem_size || r->addr >= DATA_NONE + size)) {
		finding(EA, in, b, "operand %ld off", (long)(r->addr - DATA_NONE));
		return;
	}
	r = run_at(in, b, DATA_END - size);
	if (!r)
		return;
	if (cpu_data_fault(r, DATA_END)) {
		finding(SIZE_SMALL, in, b, "touches more than %u bytes", size);
		return;
	}
	r = run_at(in, b, DATA_END - size + 1);
	if (r && !cpu_data_fault(r, DATA_END) && r->trap != TRAP_GP)
		finding(SIZE_LARGE, in, b, "touches less than %u bytes", size);
	check_access(in, b, size);
}

/* --- RSP as a value ------------------------------------------------------------------- */
static bool same_outcome(const struct outcome *a, const struct outcome *b)
{
	for (int i = 0; i < 16; i++)
		if (i != RSP && a->s.gpr[i] != b->s.gpr[i])
			return false;
	return a->s.rflags == b->s.rflags && !memcmp(a->vec, b->vec, sizeof(a->vec)) && !memcmp(a->k, b->k, sizeof(a->k));
}

/* Does the outcome depend on RSP or change it? */
static void check_rsp(const struct insn *in, const u8 *b)
{
	static const u64 values[] = { STACK, 0x123456789abcdef8UL, 0xfedcba9876543207UL, 0, 0xffffffffffffffffUL };
	static struct outcome first;
	bool used = false, written = false;

	for (unsigned fill = 0; fill < 2; fill++)
		for (size_t i = 0; i < ARRAY_LEN(values); i++) {
			cpu_default_regs();
			for (unsigned k = 0; fill && k < 16; k++)
				cpu_in.gpr[k] = 0x0102030405060708UL * (k + 1);
			cpu_in.gpr[RSP] = values[i];
			cpu_run(b, in->len);
			if (cpu_out.trap == TRAP_GP || cpu_out.trap == 12)
				return;
			written |= cpu_out.s.gpr[RSP] != values[i];
			if (i == 0)
				first = cpu_out;
			else
				used |= !same_outcome(&first, &cpu_out);
		}
	if (in->map == 1 && !in->vex && in->opcode == 0xc7)
		return; /* RDRAND */
	if (written && !in->rsp_written)
		finding(RSP_USE, in, b, "writes RSP");
	if ((written || used) && !in->rsp_read)
		finding(RSP_USE, in, b, "uses RSP");
	if (in->reg == in->rm || (in->vex && in->vvvv == in->rm))
		return; /* or rsp, rsp */
	if (in->map == 1 && !in->vex && ((in->opcode & 0xf0) == 0x40 || (in->opcode & 0xfe) == 0xb0))
		return; /* CMOV and CMPXCHG, whose condition may be false */
	if (!written && !used && in->rsp_read)
		finding(RSP_OVER, in, b, "does not use RSP");
	if (!written && in->rsp_written)
		finding(RSP_OVER, in, b, "does not write RSP");
}

/* AMD processors truncate near branches with an operand-size prefix, which Intel's ignore:
 * the decoder does as Intel does. */
static bool differs_on_amd(const struct shape *s)
{
	bool branch = s->map == 1 ? (s->op & 0xf0) == 0x80
				  : s->map == 0 && ((s->op & 0xf0) == 0x70 || (s->op & 0xf4) == 0xe0 || s->op == 0xe8 ||
						    s->op == 0xe9 || s->op == 0xeb);

	return branch && !s->vex && memchr(s->legacy, 0x66, sizeof(s->legacy)) && __builtin_cpu_is("amd");
}

static void check(struct shape *s)
{
	struct insn in;

	if (differs_on_amd(s))
		return;
	build(s);
	memcpy(found->now, s->bytes, 15);
	found->runs++;
	if (!check_length(s, &in))
		return;
	check_layout(s, &in);
	if (in.op != OP_COPY)
		return;
	if (in.has_mem && !in.seg_override)
		check_memory(&in, s->bytes);
	else if (!in.has_mem)
		check_rsp(&in, s->bytes);
}

/* --- the opcode maps ------------------------------------------------------------------- */
static const u8 mandatory[4] = { 0, 0x66, 0xf3, 0xf2 };

static bool is_prefix_or_escape(unsigned map, unsigned op)
{
	if (map == 1)
		return op == 0x38 || op == 0x3a;
	return map == 0 && (op == 0x0f || (op & 0xf0) == 0x40 || (op & 0xe7) == 0x26 || (op >= 0x64 && op <= 0x67) ||
			    op == 0xf0 || op == 0xf2 || op == 0xf3 || op == 0xc4 || op == 0xc5 || op == 0x62 || op == 0xd5);
}

static const u8 modrms[] = { 0x03, 0x46, 0xc0, 0xc4, 0xe4 };

static void legacy_map(unsigned map)
{
	for (unsigned op = 0; op < 256; op++)
		for (unsigned pp = 0; pp < 4; pp++)
			for (unsigned w = 0; w < 3; w++)
				for (unsigned reg = 0; reg < 8; reg++)
					for (size_t m = 0; m < ARRAY_LEN(modrms); m++) {
						struct shape s = { .map = map, .op = op, .pp = pp, .imm = 0x03, .disp = 0x30 };
						if (is_prefix_or_escape(map, op) || (w == 2 && m < 3))
							continue;
						if (pp)
							s.legacy[s.n_legacy++] = mandatory[pp];
						s.rex = w == 0 ? 0 : w == 1 ? 0x48 : 0x40;
						s.modrm = modrms[m] | reg << 3;
						if (m == 4) { /* rm varies, reg 4 */
							s.modrm = 0xe0 | reg;
						}
						check(&s);
					}
}

static void legacy_map0(void) { legacy_map(0); }
static void legacy_map1(void) { legacy_map(1); }
static void legacy_map2(void) { legacy_map(2); }
static void legacy_map3(void) { legacy_map(3); }

static void vex_maps(void)
{
	static const u8 forms[] = { 0x03, 0x46, 0x6e, 0x53, 0x9b, 0x76, 0xc1, 0xc4, 0xe1, 0xe4, 0xcc, 0xdc, 0xd1 };

	for (unsigned map = 1; map <= 3; map++)
		for (unsigned op = 0; op < 256; op++)
			for (unsigned i = 0; i < 32; i++)
				for (size_t m = 0; m < ARRAY_LEN(forms); m++) {
					struct shape s = { .map = map, .op = op, .pp = i & 3, .imm = 0x01, .disp = 0x30 };
					s.rex = i & 4 ? 8 : 0;
					s.l = (i >> 3) & 1;
					s.vvvv = i & 16 ? 4 : 0;
					s.vex = map == 1 && !s.rex && (m & 1) ? 2 : 3;
					s.modrm = forms[m];
					check(&s);
				}
}

static void evex_maps(void)
{
	static const u8 forms[] = { 0x03, 0x46, 0x77, 0xc4, 0xe1 };

	if (!cpu_k_offset)
		return;
	for (unsigned map = 1; map <= 3; map++)
		for (unsigned op = 0; op < 256; op++)
			for (unsigned i = 0; i < 128; i++)
				for (size_t m = 0; m < ARRAY_LEN(forms); m++) {
					struct shape s = { .map = map, .op = op, .pp = i & 3, .imm = 0x01, .disp = 0x7f, .vex = 4 };
					s.rex = i & 4 ? 8 : 0;
					s.l = (i >> 3) & 3;
					s.b = (i >> 5) & 1;
					s.aaa = i >> 6;
					s.vvvv = m == 1 ? 6 : 0;
					s.modrm = forms[m];
					if (forms[m] < 0xc0 ? s.l == 3 : s.aaa)
						continue;
					check(&s);
				}
}

/* --- addressing forms ------------------------------------------------------------------- */
/* Plain instructions of every map and encoding, with and without immediate. */
static const struct shape plain[] = {
	{ .map = 0, .op = 0x8b }, { .map = 0, .op = 0x01 }, { .map = 0, .op = 0x80 }, { .map = 0, .op = 0x81 },
	{ .map = 0, .op = 0xc7 }, { .map = 0, .op = 0xf7 }, { .map = 0, .op = 0xd9 }, { .map = 1, .op = 0xb6 },
	{ .map = 1, .op = 0xa3 }, { .map = 1, .op = 0xba, .modrm = 0x20 }, { .map = 1, .op = 0x10 },
	{ .map = 1, .op = 0xaf }, { .map = 2, .op = 0x00 }, { .map = 3, .op = 0x0f }, { .map = 1, .op = 0x11 },
	{ .map = 1, .op = 0x58, .vex = 2 }, { .map = 1, .op = 0x58, .vex = 3 }, { .map = 2, .op = 0x00, .vex = 3, .pp = 1 },
	{ .map = 3, .op = 0x0f, .vex = 3, .pp = 1 }, { .map = 2, .op = 0xf2, .vex = 3, .vvvv = 3 },
	{ .map = 1, .op = 0x58, .vex = 4, .l = 2 }, { .map = 1, .op = 0x58, .vex = 4, .b = 1 },
	{ .map = 3, .op = 0x25, .vex = 4, .pp = 1, .l = 1 },
};

static void check_address(struct shape *s)
{
	struct insn in;

	build(s);
	memcpy(found->now, s->bytes, 15);
	found->runs++;
	if (!check_length(s, &in))
		return;
	check_layout(s, &in);
	if (run_at(&in, s->bytes, DATA_NONE) && (cpu_out.trap != TRAP_PF || cpu_out.addr != DATA_NONE))
		finding(EA, &in, s->bytes, "trap %lu at %lx", cpu_out.trap, cpu_out.addr);
}

static void addressing_form(const struct shape *what, unsigned mod, unsigned rm, unsigned sib, unsigned ext, bool a32)
{
	struct shape s = *what;
	bool no_base = mod == 0 && (sib & 7) == 5;

	s.modrm |= mod << 6 | rm;
	s.sib = sib;
	s.disp = mod == 1 ? -0x40 : 0x40;
	s.imm = 3;
	s.rex = ext && !s.vex ? 0x40 | ext : ext;
	if (s.vex == 2 && (ext & 3))
		s.vex = 3;
	if (a32)
		s.legacy[s.n_legacy++] = 0x67;
	if (mod == 0 && rm == 5)
		s.disp = DATA_NONE - CODE_END;
	else if (rm == 4 && no_base && ((sib >> 3) & 7) == 4 && !(ext & 2))
		s.disp = DATA_NONE;
	check_address(&s);
}

static void addressing(void)
{
	for (size_t i = 0; i < ARRAY_LEN(plain); i++)
		for (unsigned mod = 0; mod < 3; mod++)
			for (unsigned rm = 0; rm < 8; rm++)
				for (unsigned ext = 0; ext < 8; ext++)
					for (unsigned sib = 0; sib < (rm == 4 ? 256 : 1); sib += 5 + (ext & 1) * 2) {
						addressing_form(&plain[i], mod, rm, sib, ext, false);
						addressing_form(&plain[i], mod, rm, sib, ext, true);
					}
}

/* --- prefixes in any order, and anything at all ------------------------------------------- */
static void prefix_orders(void)
{
	static const u8 prefixes[] = { 0x66, 0xf2, 0xf3, 0x67, 0x2e, 0x3e, 0x48, 0x44, 0xf0 };
	static const u8 map1[] = { 0x10, 0x11, 0x12, 0x16, 0x2a, 0x2d, 0x58, 0x5a, 0x6f, 0x7e, 0xb1, 0xb8, 0xbc, 0xbd, 0xc7,
				   0xd6, 0xe6, 0xaf, 0x1e, 0x84 };
	static const u8 map0[] = { 0x01, 0x8b, 0x81, 0x90, 0xa4, 0xab, 0xc3, 0xe8, 0xeb, 0xff, 0x50, 0xb8, 0xa1, 0x68 };
	unsigned n = ARRAY_LEN(prefixes);

	for (unsigned i = 0; i < n * n * n; i++)
		for (unsigned k = 0; k < ARRAY_LEN(map0) + ARRAY_LEN(map1) + 4; k++)
			for (unsigned m = 0; m < 2; m++) {
				struct shape s = { .n_legacy = 3, .imm = 3, .disp = 0x30, .modrm = m ? 0x4b : 0xd1 };
				if (k < ARRAY_LEN(map0))
					s.op = map0[k];
				else if (k < ARRAY_LEN(map0) + ARRAY_LEN(map1))
					s.map = 1, s.op = map1[k - ARRAY_LEN(map0)];
				else
					s.map = 2, s.op = (const u8[]){ 0xf0, 0xf1, 0xf6, 0x17 }[k & 3];
				s.legacy[0] = prefixes[i % n];
				s.legacy[1] = prefixes[i / n % n];
				s.legacy[2] = prefixes[i / n / n];
				if ((s.legacy[2] & 0xf0) == 0x40) { /* the one that counts */
					s.rex = s.legacy[2];
					s.n_legacy = 2;
				}
				check(&s);
			}
}

static u32 random_state = 1;

static u32 any(u32 below)
{
	random_state = random_state * 1664525 + 1013904223;
	return (random_state >> 8) % below;
}

static void anything(void)
{
	static const u8 prefixes[] = { 0x66, 0xf2, 0xf3, 0x67 };

	for (unsigned i = 0; i < 60000; i++) {
		struct shape s = { .imm = 3, .disp = any(64) * 8, .vex = any(2) ? 0 : 2 + any(3) };
		s.map = s.vex == 2 ? 1 : s.vex ? 1 + any(3) : any(4);
		s.op = any(256);
		s.modrm = any(256);
		s.sib = any(256);
		s.pp = any(4);
		s.l = any(s.vex == 4 ? 3 : 2);
		s.b = any(4) == 0;
		s.aaa = any(2) ? 0 : any(8);
		s.z = s.aaa && any(4) == 0;
		s.vvvv = any(16);
		s.rex = s.vex ? any(s.vex == 2 ? 5 : 16) & (s.vex == 2 ? 4 : 15) : any(2) ? 0x40 | any(16) : 0;
		if (is_prefix_or_escape(s.vex ? 0xff : s.map, s.op))
			continue;
		for (unsigned k = any(3); s.vex != 0 ? 0 : k; k--)
			s.legacy[s.n_legacy++] = prefixes[any(4)];
		s.pp = s.vex ? s.pp : memchr(s.legacy, 0xf3, 4) ? 2 : s.pp;
		check(&s);
	}
}

/* --- what the processor does not show ----------------------------------------------------- */
#define FPU_FLAG 1
#define HIGH8_FLAG 2
#define BITS_FLAG 4

static const struct { const char *bytes; u8 len, flags; } flag_cases[] = {
	{ "\xd9\xc0", 2, FPU_FLAG }, { "\xdd\x03", 2, FPU_FLAG }, { "\x9b", 1, FPU_FLAG },
	{ "\x0f\x77", 2, FPU_FLAG }, { "\x0f\x6f\x03", 3, FPU_FLAG }, { "\x0f\x10\x03", 3, FPU_FLAG },
	{ "\xf2\x0f\x2a\xc0", 4, FPU_FLAG }, { "\xf3\x0f\x2d\xc0", 4, FPU_FLAG }, { "\x0f\x50\xc1", 3, FPU_FLAG },
	{ "\x66\x0f\x6e\xc0", 4, FPU_FLAG }, { "\x66\x0f\x3a\x0f\xc1\x01", 6, FPU_FLAG },
	{ "\x66\x0f\x38\x00\xc1", 5, FPU_FLAG }, { "\x66\x0f\x38\xdc\xc1", 5, FPU_FLAG },
	{ "\x66\x0f\x3a\x44\xc1\x00", 6, FPU_FLAG }, { "\x0f\x38\xc8\xc1", 4, FPU_FLAG },
	{ "\x0f\x3a\xcc\xc1\x00", 5, FPU_FLAG }, { "\x66\x0f\x38\xcf\xc1", 5, FPU_FLAG },
	{ "\x66\x0f\x3a\xce\xc1\x00", 6, FPU_FLAG }, { "\x0f\xae\x13", 3, FPU_FLAG }, { "\x0f\xae\x1b", 3, FPU_FLAG },
	{ "\x0f\xae\x03", 3, FPU_FLAG }, { "\x0f\xae\x0b", 3, FPU_FLAG }, { "\x0f\x2b\x03", 3, FPU_FLAG },
	{ "\xc5\xf8\x77", 3, FPU_FLAG }, { "\xc5\xf8\x58\xc1", 4, FPU_FLAG }, { "\xc5\xf8\x92\xc8", 4, FPU_FLAG },
	{ "\xc5\xf8\xae\x13", 4, FPU_FLAG }, { "\xc4\xe2\x79\x13\x03", 5, FPU_FLAG },
	{ "\x62\xf1\x7c\x48\x58\xc1", 6, FPU_FLAG }, { "\x62\xf2\x7d\x48\x50\xc1", 6, FPU_FLAG },
	/* general registers alone */
	{ "\xc4\xe2\x78\xf2\xc1", 5, 0 }, { "\xc4\xe2\x78\xf3\xc9", 5, 0 }, { "\xc4\xe2\x7b\xf5\xc1", 5, 0 },
	{ "\xc4\xe2\x7b\xf6\xc1", 5, 0 }, { "\xc4\xe2\x79\xf7\xc1", 5, 0 }, { "\xc4\xe3\x7b\xf0\xc1\x01", 6, 0 },
	{ "\x0f\xc3\x03", 3, 0 }, { "\xf2\x0f\x38\xf1\xc1", 5, 0 }, { "\x0f\x38\xf0\x03", 4, 0 },
	{ "\x66\x0f\x38\xf6\xc1", 5, 0 }, { "\x0f\xae\xe8", 3, 0 }, { "\x0f\xae\xf0", 3, 0 }, { "\x0f\xae\xf8", 3, 0 },
	{ "\xf3\x0f\xb8\xc1", 4, 0 }, { "\x0f\xae\x3b", 3, 0 }, { "\x66\x0f\xae\x33", 4, 0 }, { "\x0f\xc7\x0b", 3, 0 },
	{ "\x0f\x18\x03", 3, 0 }, { "\x0f\x0d\x0b", 3, 0 }, { "\x0f\xc8", 2, 0 }, { "\x0f\xb1\x0b", 3, 0 },
	/* AH, CH, DH, BH */
	{ "\x88\xe0", 2, HIGH8_FLAG }, { "\x88\xc4", 2, HIGH8_FLAG }, { "\xb7\x01", 2, HIGH8_FLAG },
	{ "\x0f\xb6\xc4", 3, HIGH8_FLAG }, { "\x0f\xbe\xc7", 3, HIGH8_FLAG }, { "\xfe\xc5", 2, HIGH8_FLAG },
	{ "\x8a\x63\x08", 3, HIGH8_FLAG }, { "\x0f\x94\xc6", 3, HIGH8_FLAG }, { "\xc0\xe4\x01", 3, HIGH8_FLAG },
	{ "\xf6\xc4\x01", 3, HIGH8_FLAG }, { "\x0f\xb0\xe1", 3, HIGH8_FLAG }, { "\x0f\xc0\x23", 3, HIGH8_FLAG },
	{ "\x86\xe0", 2, HIGH8_FLAG }, { "\x80\x3b\x01", 3, 0 }, { "\x40\x88\xe0", 3, 0 }, { "\x88\x1b", 2, 0 },
	{ "\xf2\x0f\x38\xf0\xc4", 5, HIGH8_FLAG },
	{ "\x0f\xa3\x03", 3, BITS_FLAG }, { "\x0f\xab\x03", 3, BITS_FLAG }, { "\x0f\xb3\x03", 3, BITS_FLAG },
	{ "\x0f\xbb\x03", 3, BITS_FLAG }, { "\x0f\xba\x23\x01", 4, 0 },
};

static void test_flags(void **state)
{
	struct insn in;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(flag_cases); i++) {
		u8 b[16] = { 0 };
		u8 flags = flag_cases[i].flags;
		memcpy(b, flag_cases[i].bytes, flag_cases[i].len);
		decode_insn(&in, b, 15, 0, 64);
		if (in.len != flag_cases[i].len || in.fpu != !!(flags & FPU_FLAG) || in.high8 != !!(flags & HIGH8_FLAG) ||
		    in.bit_string != !!(flags & BITS_FLAG))
			fail_msg("%02x %02x %02x %02x: length %u, op %u, fpu %u, high8 %u, bit string %u", b[0], b[1], b[2], b[3],
				 in.len, in.op, in.fpu, in.high8, in.bit_string);
	}
}

/* UD0 and UD1 have operands: those on the next page are fetched before there is an exception. */
static void test_ud_with_operand(void **state)
{
	static const struct { u8 bytes[3], len; } ud[] = {
		{ { 0x0f, 0x0b }, 2 }, { { 0x0f, 0xb9, 0xc0 }, 3 }, { { 0x0f, 0xff, 0xc0 }, 3 }, { { 0x0f, 0xb9, 0x05 }, 7 },
	};
	struct insn in;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(ud); i++) {
		u8 b[16] = { ud[i].bytes[0], ud[i].bytes[1], ud[i].bytes[2] };
		for (unsigned n = 1; n < ud[i].len; n++)
			assert_int_equal(decode_insn(&in, b, n, CODE_PAGE, 64), 0);
		assert_true(decode_insn(&in, b, ud[i].len, CODE_PAGE, 64) > 0);
		assert_int_equal(in.op, OP_UD);
	}
}

/* The first bytes alone are no instruction. */
static void test_layout_of_part(void **state)
{
	static const struct { const char *bytes; u8 len; } cases[] = {
		{ "\x62\x22\xb5\x8e\xb9\x14\xde", 7 }, { "\xc5\xf8\x58\xc1", 4 }, { "\xc4\xe2\x79\x13\x03", 5 },
		{ "\x66\x0f\x3a\x0f\xc1\x01", 6 }, { "\x48\xb8\x01\x02\x03\x04\x05\x06\x07\x08", 10 }, { "\xf0\x48\x0f\xb1\x0b", 5 },
	};
	struct insn in;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		for (unsigned n = 0; n <= cases[i].len; n++)
			assert_int_equal(decode_layout(&in, (const u8 *)cases[i].bytes, n), n == cases[i].len ? n : 0);
}

#define TEST(name) static void test_##name(void **state) { (void)state; in_child(name); }
TEST(legacy_map0)
TEST(legacy_map1)
TEST(legacy_map2)
TEST(legacy_map3)
TEST(vex_maps)
TEST(evex_maps)
TEST(addressing)
TEST(prefix_orders)
TEST(anything)

static int setup(void **state)
{
	(void)state;
	return decode_init();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_legacy_map0), cmocka_unit_test(test_legacy_map1),
		cmocka_unit_test(test_legacy_map2), cmocka_unit_test(test_legacy_map3),
		cmocka_unit_test(test_vex_maps), cmocka_unit_test(test_evex_maps),
		cmocka_unit_test(test_addressing), cmocka_unit_test(test_prefix_orders),
		cmocka_unit_test(test_anything), cmocka_unit_test(test_flags),
		cmocka_unit_test(test_layout_of_part),
		cmocka_unit_test(test_ud_with_operand),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, setup, NULL);
}
