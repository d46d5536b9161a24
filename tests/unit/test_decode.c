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

static void build(struct shape *s)
{
	u8 *p = s->bytes;
	unsigned mod = s->modrm >> 6;

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
		return s->op == 0x8e;
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

/* True if the processor executes what has been decoded. */
static bool check_length(struct shape *s, struct insn *in)
{
	const u8 *b = s->bytes;
	const struct outcome *r;
	struct insn part;

	decode_insn(in, b, 15, CODE_END - 15, 64);
	if (nothing_known(in)) {
		cpu_default_regs();
		if (!cpu_must_not_run(s) && cpu_run(b, 15)->trap != TRAP_UD)
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
	if (decode_insn(&part, b, in->len - 1, CODE_PAGE, 64) != 0)
		finding(LEN_PART, in, b, "length %u from %u bytes", part.len, in->len - 1);
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
static bool aim(const struct insn *in, const u8 *b, u64 ea)
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
		return false;
	if (in->moffs)
		return in->disp == (i64)ea;
	if (in->base == in->index)
		return false;
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
	(void)b;
	return true;
}

static const struct outcome *run_at(const struct insn *in, const u8 *b, u64 ea)
{
	return aim(in, b, ea) ? cpu_run(b, in->len) : NULL;
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
	bool writes = cpu_data_fault(r, DATA_RO & ~0xfffUL) && (r->err & 2), reads;

	if (r->trap == TRAP_GP || r->trap == TRAP_UD)
		return;
	if (writes != !!(in->mem_access & ACC_WRITE))
		finding(WRITE, in, b, "%s, decoded access is %u", writes ? "writes" : "does not write", in->mem_access);
	reads = !writes || depends_on_memory(in, b, size);
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
	if (r->addr != DATA_NONE) {
		finding(EA, in, b, "operand %ld off", (long)(r->addr - DATA_NONE));
		return;
	}
	r = run_at(in, b, DATA_END - size);
	if (cpu_data_fault(r, DATA_END)) {
		finding(SIZE_SMALL, in, b, "touches more than %u bytes", size);
		return;
	}
	r = run_at(in, b, DATA_END - size + 1);
	if (!cpu_data_fault(r, DATA_END) && r->trap != TRAP_GP)
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
	if (written && !in->rsp_written)
		finding(RSP_USE, in, b, "writes RSP");
	if ((written || used) && !in->rsp_read)
		finding(RSP_USE, in, b, "uses RSP");
	if (!written && !used && in->rsp_read)
		finding(RSP_OVER, in, b, "does not use RSP");
	if (!written && in->rsp_written)
		finding(RSP_OVER, in, b, "does not write RSP");
}

static void check(struct shape *s)
{
	struct insn in;

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
						struct shape s = { .map = map, .op = op, .pp = pp, .imm = 0x11, .disp = 0x40 };
						if (is_prefix_or_escape(map, op))
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
	static const u8 forms[] = { 0x03, 0x46, 0x6e, 0xc1, 0xc4, 0xe1, 0xe4, 0xcc, 0xdc, 0xd1 };

	for (unsigned map = 1; map <= 3; map++)
		for (unsigned op = 0; op < 256; op++)
			for (unsigned i = 0; i < 32; i++)
				for (size_t m = 0; m < ARRAY_LEN(forms); m++) {
					struct shape s = { .map = map, .op = op, .pp = i & 3, .imm = 0x01, .disp = 0x40 };
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
	static const u8 forms[] = { 0x03, 0x46, 0x6e, 0xc1, 0xc4, 0xe1 };

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
					if (s.l == 3 && forms[m] < 0xc0)
						continue;
					check(&s);
				}
}

#define TEST(name) static void test_##name(void **state) { (void)state; in_child(name); }
TEST(legacy_map0)
TEST(legacy_map1)
TEST(legacy_map2)
TEST(legacy_map3)
TEST(vex_maps)
TEST(evex_maps)

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
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, setup, NULL);
}
