/* Translation of one block: the policy of each instruction in each flavour.
 *
 * user, kernel-low: memory operands are the guest's own (identity). kernel-high: operands
 * get a gs: prefix (GS.base = fold), guest gs: operands use FS.base, RSP is held folded.
 * soft: every memory operand is resolved to a pointer first (quick.c, else C). An instruction found guilty (its direct
 * operand faulted in a way that no mapping can mend) is soft in every flavour.
 *
 * Inserted code changes no flags, so flags are never saved. Every host PC is covered by a
 * mark (cache.h) from which the exact guest state can be recovered. */
#include <string.h>
#include "decode.h"
#include "translate.h"
#include "engine.h"
#include "shadowbox/log.h"

/* --- exits -------------------------------------------------------------------------------- */
u32 new_exit(struct tr *t, enum exit_kind kind)
{
	u32 id = (*cache_next(POOL_EXIT))++;
	struct exit_rec *x = &cache->exit[id];

	memset(x, 0, sizeof(*x));
	x->block = t->e.block;
	x->kind = kind;
	x->goff = t->e.goff;
	x->flavour = t->b->flavour;
	x->mode = t->b->mode & ~MODE_LATE_GS;
	x->shadow = t->e.shadow_goff && t->e.goff == t->e.shadow_goff;
	t->b->n_exits++;
	return id;
}

u32 keep_insn(struct tr *t)
{
	u32 i = (*cache_next(POOL_INSN))++;

	cache->insn[i] = t->in;
	return i;
}

/* Leaves through exit `id`. The caller has marked the first byte. */
void emit_exit_as(struct tr *t, u32 id, u8 flavour)
{
	struct emit *e = &t->e;

	emit_store_abs(e, RAX, spill_slot(flavour, RAX));
	emit_mark(e, MARK_EXIT);
	emit_u8(e, 0xb8);
	emit_u32(e, id);
	emit_jmp(e, flavour == FLAVOUR_USER ? cache->exit_user : cache->exit_kernel);
}

void emit_exit(struct tr *t, u32 id) { emit_exit_as(t, id, t->b->flavour); }

u32 callout_exit(struct tr *t)
{
	u32 id = new_exit(t, EXIT_CALLOUT);

	cache->exit[id].insn = keep_insn(t);
	emit_mark(&t->e, MARK_BOUNDARY);
	return id;
}

void callout(struct tr *t, bool resume)
{
	u32 id;

	sync_gs(t);
	id = callout_exit(t);
	emit_exit(t, id);
	if (resume)
		cache->exit[id].resume_a = t->e.off;
	else
		t->end = true;
}

static void raise(struct tr *t, u8 vector)
{
	u32 id = new_exit(t, EXIT_RAISE);

	cache->exit[id].scratch = vector;
	emit_mark(&t->e, MARK_BOUNDARY);
	emit_exit(t, id);
	t->end = true;
}

/* --- plain instructions ---------------------------------------------------------------------- */
/* INC/DEC 40-4F of 32-bit code are REX prefixes in 64-bit code. */
static void emit_inc_dec32(struct tr *t)
{
	if (t->in.opsize == 2)
		emit_u8(&t->e, 0x66);
	emit_u8(&t->e, 0xff);
	emit_u8(&t->e, 0xc0 | (t->in.opcode & 8) | (t->in.opcode & 7));
}

static void copy_no_mem(struct tr *t)
{
	struct insn *in = &t->in;
	struct emit *e = &t->e;

	if (khigh(t) && in->rsp_read) {
		rsp_value(t);
		return;
	}
	emit_mark(e, MARK_BOUNDARY);
	if (in->code_size != 64 && in->map == 0 && (in->opcode & 0xf0) == 0x40) {
		emit_inc_dec32(t);
	} else if (in->code_size == 16) {
		/* 16-bit code: the operand-size prefix means the opposite. */
		bool has66 = false;
		for (unsigned i = 0; i < in->off_prefix_end; i++) {
			has66 |= in->bytes[i] == 0x66;
			if (in->bytes[i] != 0x66)
				emit_u8(e, in->bytes[i]);
		}
		if (!has66)
			emit_u8(e, 0x66);
		emit_bytes(e, in->bytes + in->off_prefix_end, in->len - in->off_prefix_end);
	} else {
		emit_bytes(e, in->bytes, in->len);
	}
}

static bool is_fxsave(const struct insn *in)
{
	return in->map == 1 && in->opcode == 0xae && in->has_mem && (in->modrm & 0x38) <= 0x08;
}

/* SSE-era instructions that touch no vector state: fences, CLFLUSH, MOVNTI, CRC32. */
static bool vector_exempt(const struct insn *in)
{
	if (in->vex || in->map == 0)
		return false;
	if (in->map == 2)
		return in->opcode == 0xf0 || in->opcode == 0xf1;
	return in->opcode == 0xc3 || (in->opcode == 0xae && (!in->has_mem || (in->modrm & 0x38) >= 0x20));
}

/* x87, MMX, SSE and AVX depend on CR0.EM and TS, CR4.OSFXSR and OSXSAVE, and XCR0 (SDM
 * vol. 3 2.5, 13.1). False: the exception has been emitted instead. */
static bool vector_allowed(struct tr *t)
{
	const struct vcpu *v = t->v;
	const struct insn *in = &t->in;
	u64 need = in->vex == 4 ? 0xe6 : 6;
	bool x87 = in->map == 0 && !in->vex, em = v->cr0 & CR0_EM;

	if (vector_exempt(in))
		return true;
	t->b->rests_on |= BIT(PREMISE_VECTOR);
	if (in->vex && (!(v->cr4 & CR4_OSXSAVE) || (v->xcr0 & need) != need))
		raise(t, EXC_UD);
	else if (!in->vex && !x87 && (em || !(v->cr4 & CR4_OSFXSR)) && !is_fxsave(in))
		raise(t, EXC_UD);
	else if (((x87 || is_fxsave(in)) && em) || (t->b->mode & MODE_FPU_TRAP))
		raise(t, EXC_NM);
	else
		return true;
	return false;
}

static void translate_soft(struct tr *t)
{
	enum soft_class c = soft_wanted(t->gpa);
	u32 over[2];
	unsigned n = c >= SOFT_BOTH && !t->all_soft ? translate_low(t, c == SOFT_BOTH, over) : 0;

	emit_soft(t);
	while (n--)
		emit_patch_here(&t->e, over[n]);
}

static void translate_copy(struct tr *t)
{
	struct insn *in = &t->in;

	if (in->fpu && !vector_allowed(t)) {
		return;
	} else if (!in->has_mem) {
		copy_no_mem(t);
	} else if (is_soft(t) || (khigh(t) && !khigh_direct(in))) {
		translate_soft(t);
	} else if (khigh(t) && in->rsp_read) {
		rsp_value(t);
	} else {
		emit_mark(&t->e, MARK_BOUNDARY);
		emit_direct(t, REG_NONE, REG_NONE);
	}
}

/* MASKMOVQ, not MASKMOVDQU: no operand-size prefix, wherever it may stand. */
static bool is_mmx(const struct insn *in)
{
	for (unsigned i = 0; i < in->off_prefix_end; i++)
		if (in->bytes[i] == 0x66)
			return false;
	return !in->vex;
}

static void translate_implicit_mem(struct tr *t)
{
	struct insn *in = &t->in;

	if (in->op == OP_MASKMOV && !vector_allowed(t))
		return;
	if (is_soft(t) || (khigh(t) && (in->seg_override || in->addrsize != 8))) {
		if (in->op == OP_XLAT) {
			callout(t, true);
			return;
		}
		in->has_mem = 1;
		in->base = RDI;
		in->index = REG_NONE;
		in->scale = 1;
		in->mem_size = is_mmx(in) ? 8 : 16;
		in->mem_access = ACC_READ | ACC_WRITE;
		emit_soft(t);
		return;
	}
	emit_mark(&t->e, MARK_BOUNDARY);
	if (khigh(t))
		emit_u8(&t->e, 0x65);
	emit_bytes(&t->e, in->bytes, in->len);
}

/* --- strings, time, interrupts flag ------------------------------------------------------------ */
static void fold_pointer(struct tr *t, unsigned reg, u8 flag, bool on)
{
	struct emit *e = &t->e;

	emit_lea_sum(e, reg, reg, R8, 0);
	e->flags = on ? e->flags | flag : e->flags & ~flag;
}

/* RSI and RDI are folded while the instruction runs: ES:RDI takes no segment prefix. It may
 * be interrupted between two elements. */
static void string_khigh(struct tr *t)
{
	struct emit *e = &t->e;
	bool si = t->in.op != OP_STOS && t->in.op != OP_SCAS, di = t->in.op != OP_LODS;

	emit_mark(e, MARK_BOUNDARY);
	emit_spill(e, R8);
	emit_mark(e, MARK_RESTART);
	emit_mov_imm(e, R8, t->fold);
	if (si)
		fold_pointer(t, RSI, MARK_FOLD_SI, true);
	emit_mark(e, MARK_RESTART);
	if (di)
		fold_pointer(t, RDI, MARK_FOLD_DI, true);
	emit_mark(e, MARK_RESTART);
	emit_bytes(e, t->in.bytes, t->in.len);
	e->goff += t->in.len;
	emit_mark(e, MARK_DONE);
	emit_mov_imm(e, R8, -t->fold);
	if (si)
		fold_pointer(t, RSI, MARK_FOLD_SI, false);
	emit_mark(e, MARK_DONE);
	if (di)
		fold_pointer(t, RDI, MARK_FOLD_DI, false);
	emit_mark(e, MARK_DONE);
	emit_unspill(e, R8);
	e->goff -= t->in.len;
}

/* Single steps end between two elements, which cpu/string.c knows how to do. */
static void translate_string(struct tr *t)
{
	if (is_soft(t) || (t->in.rep && (t->b->mode & MODE_STEP)) || t->in.code_size != 64 || (khigh(t) && (t->in.seg_override || t->in.addrsize != 8))) {
		callout(t, true);
		return;
	}
	if (khigh(t)) {
		string_khigh(t);
		return;
	}
	emit_mark(&t->e, MARK_BOUNDARY);
	emit_bytes(&t->e, t->in.bytes, t->in.len);
}

static void translate_rdtsc(struct tr *t)
{
	struct emit *e = &t->e;

	t->b->rests_on |= BIT(PREMISE_TSC);
	if (t->v->tsc_offset || ((t->v->cr4 & CR4_TSD) && (t->b->mode & MODE_CPL3))) {
		callout(t, true);
		return;
	}
	emit_mark(e, MARK_BOUNDARY);
	if (t->in.op == OP_RDTSC) {
		EMIT(e, 0x0f, 0x31);
		return;
	}
	EMIT(e, 0x0f, 0xae, 0xe8); /* lfence: RDTSCP waits for earlier instructions */
	emit_mark(e, MARK_RESTART);
	EMIT(e, 0x0f, 0x31);
	emit_mark(e, MARK_STEP);
	emit_mov_imm(e, RCX, (u32)t->v->tsc_aux);
}

/* Call-outs after which the block simply goes on: they change no mode, RIP or interrupt state,
 * nor what its own page is mapped to (for INVLPG, exits.c looks). */
static bool callout_resumes(u16 op)
{
	switch (op) {
	case OP_PUSHF: case OP_CLI: case OP_ENTER: case OP_PUSHA: case OP_POPA: case OP_PUSH_SEG: case OP_IN: case OP_OUT:
	case OP_INS: case OP_OUTS: case OP_SMSW: case OP_SGDT: case OP_SIDT: case OP_SLDT: case OP_STR:
	case OP_LGDT: case OP_LIDT: case OP_LAR: case OP_LSL: case OP_VERR: case OP_VERW:
	case OP_MOV_FROM_SEG: case OP_RDMSR: case OP_CPUID: case OP_RDPMC: case OP_RDPID:
	case OP_RDFSBASE: case OP_RDGSBASE: case OP_XGETBV: case OP_XSAVE: case OP_XRSTOR: case OP_XLAT:
	case OP_WBINVD: case OP_INVLPG: case OP_MOV_DR: case OP_AAA: case OP_DAA: case OP_SALC:
		return true;
	}
	return false;
}

/* Does it neither use the guest's GS nor leave the block, but by what sees to FS.base itself? */
static bool gs_can_wait(const struct insn *in)
{
	switch (in->op) {
	case OP_NOP: case OP_JMP: case OP_SWAPGS: case OP_SYSRET: case OP_IRET: case OP_RDFSBASE:
	case OP_RDGSBASE: case OP_MOV_FROM_SEG: return true;
	case OP_COPY: return !in->has_mem && !in->fpu;
	}
	return false;
}

static void translate_op(struct tr *t)
{
	if (!gs_can_wait(&t->in))
		sync_gs(t);
	switch (t->in.op) {
	case OP_COPY: translate_copy(t); break;
	case OP_NOP: /* a host instruction, so that an interrupt can come before and after it */
		emit_mark(&t->e, MARK_BOUNDARY);
		emit_u8(&t->e, 0x90);
		break;
	case OP_PREFETCH: /* a hint, and one that never faults */
		if (t->b->flavour == FLAVOUR_USER && t->in.base != BASE_RIP && !is_soft(t)) {
			emit_mark(&t->e, MARK_BOUNDARY);
			emit_bytes(&t->e, t->in.bytes, t->in.len);
		}
		break;
	case OP_LEA: translate_lea(t); break;
	case OP_XLAT: case OP_MASKMOV: translate_implicit_mem(t); break;
	case OP_PUSH: case OP_POP: translate_push_pop(t); break;
	case OP_LEAVE: translate_leave(t); break;
	case OP_CALL: translate_call(t); break;
	case OP_RET: translate_ret(t); break;
	case OP_JMP_IND: case OP_CALL_IND: translate_indirect(t); break;
	case OP_JMP: translate_jmp(t); break;
	case OP_JCC: translate_jcc(t); break;
	case OP_LOOP: case OP_JRCXZ: translate_loop(t); break;
	case OP_MOVS: case OP_STOS: case OP_LODS: case OP_CMPS: case OP_SCAS: translate_string(t); break;
	case OP_RDTSC: case OP_RDTSCP: translate_rdtsc(t); break;
	case OP_TOO_LONG: raise(t, EXC_GP); break;
	case OP_REFUSE:
		t->v->counters[CTR_REFUSED]++;
		raise(t, EXC_UD);
		break;
	default:
		if (!translate_system(t))
			callout(t, callout_resumes(t->in.op));
	}
}

/* --- the block ------------------------------------------------------------------------------------ */
/* Up to 15 code bytes at the current instruction; those past the page end come from page1. */
static unsigned fetch(const struct tr *t, u8 *buf, unsigned pos)
{
	const struct physmem *pm = &ARENA->machine.phys;
	u64 page_off = (t->b->gva & ~PAGE_MASK) + pos;
	unsigned n = PAGE_SIZE - page_off > 15 ? 15 : PAGE_SIZE - page_off;

	/* Code outside RAM reads as an unclaimed bus does. */
	memset(buf, 0xff, 16);
	if (physmem_is_ram(pm, gpa(t->b->page0)))
		memcpy(buf, physmem_ptr(gpa(t->b->page0 + page_off)), n);
	if (n < 15 && t->b->page1 != ~0UL) {
		if (physmem_is_ram(pm, gpa(t->b->page1)))
			memcpy(buf + n, physmem_ptr(gpa(t->b->page1)), 15 - n);
		n = 15;
	}
	return n;
}

static void trace_in_asm(const struct tr *t)
{
	char text[160];

	engine_use_library();
	decode_text(t->in.bytes, t->in.len, t->rip, t->in.code_size, text, sizeof(text));
	log_printf("  %016lx: %s\n", t->rip, text);
}

static void trace_out_asm(const struct block *b)
{
	char text[160];
	u64 pc = CODE_RX_HVA + b->code_off, end = pc + b->code_len;
	static const char *const kinds[] = { "boundary", "restart", "done", "target", "branch", "step", "exit" };

	engine_use_library();
	log_printf("OUT: block %lx, %u bytes\n", b->gva, b->code_len);
	while (pc < end) {
		const struct mark *m = cache_mark(b, pc);
		unsigned n = decode_text((u8 *)pc, end - pc, pc, 64, text, sizeof(text));
		log_printf("  %lx: %-60s ; %lx %s spill %04x\n", pc, text, b->gva + m->goff, kinds[m->kind], m->spill);
		pc += n ? n : 1;
	}
}

/* False: the instruction does not end within the n bytes. */
static bool decode(struct tr *t, const u8 *bytes, unsigned n, int code_size)
{
	if (code_size == 64 && memo_get(&t->in, t->rip, bytes, n))
		return true;
	engine_use_library();
	if (!decode_insn(&t->in, bytes, n, t->rip, code_size) || t->in.len > n)
		return false;
	if (code_size == 64)
		memo_put(&t->in);
	return true;
}

/* Decodes and translates until the block ends; guest_len 0 means that not even the first
 * instruction fits its page. */
static void translate_insns(struct tr *t, unsigned max)
{
	struct block *b = t->b;
	unsigned pos = 0;
	u8 buf[16];
	int code_size = (b->mode & MODE_CODE32) ? 32 : (b->mode & MODE_CODE16) ? 16 : 64;

	while (!t->end) {
		unsigned n = fetch(t, buf, pos);
		t->rip = b->gva + pos;
		t->gpa = b->page0 + (t->rip & ~PAGE_MASK);
		if (!decode(t, buf, n, code_size))
			break;
		t->next_rip = t->rip + t->in.len;
		if (code_size != 64)
			t->next_rip = (u32)t->next_rip;
		t->e.goff = pos;
		t->last = b->page1 != ~0UL || b->n_insns + 1u >= max || ((t->next_rip ^ b->gva) & PAGE_MASK);
		if (b->mode & MODE_CPL3)
			native_seen(&t->in, t->gpa);
		if (log_on(LOG_IN_ASM))
			trace_in_asm(t);
		if (t->apart) {
			emit_mark(&t->e, MARK_BOUNDARY);
			emit_u8(&t->e, 0x90);
		}
		translate_op(t);
		pos = (u32)(t->next_rip - b->gva);
		b->n_insns++;
		b->guest_len = pos;
		if (t->last)
			break;
	}
	if (!t->end && pos) {
		t->e.goff = pos;
		sync_gs(t);
		branch_to(t, code_size == 64 ? b->gva + pos : (u32)(b->gva + pos), 0, MARK_BOUNDARY);
	}
}

/* One attempt, `skip` bytes further on than need be; false: not even the first instruction
 * fits its page. */
static bool emit_block(struct tr *t, u32 skip)
{
	struct block *b = t->b;
	unsigned max = ARENA->policy.block_max;
	u32 at = *cache_next(POOL_CODE);

	*cache_next(POOL_EXIT) = b->exits;
	*cache_next(POOL_MARK) = b->marks;
	b->n_exits = b->n_marks = b->n_insns = b->guest_len = b->rests_on = 0;
	b->code_off = at + skip;
	memset((u8 *)CODE_RW_HVA + at, 0xcc, skip);
	t->e = (struct emit){ .off = b->code_off, .end = cache->first[cache->region + 1][POOL_CODE],
			      .b = b, .block = *cache_next(POOL_BLOCK) };
	t->end = false;
	t->n_pending = t->n_miss = 0;
	t->gs_late = khigh(t) && (b->mode & MODE_LATE_GS);
	emit_gates_begin();
	if (b->mode & MODE_STEP)
		max = 1;
	translate_insns(t, max && max < BLOCK_INSNS ? max : BLOCK_INSNS);
	if (!b->guest_len)
		return false;
	quick_finish(t);
	for (unsigned i = 0; i < t->n_pending; i++)
		finish_soft(t, &t->pending[i]);
	sb_assert(!t->e.overflow);
	b->code_len = t->e.off - b->code_off;
	sb_assert(b->code_len < 65536);
	while (t->e.off & 15)
		emit_u8(&t->e, 0xcc);
	return true;
}

/* Displacements that happen to look like WRPKRU do so at one place only; what stays are the
 * guest's own bytes. Then no code may run as it is, which could jump there. */
static bool emit_safe_block(struct tr *t)
{
	u32 first_insn = *cache_next(POOL_INSN);

	for (u32 skip = 0; skip <= 48; skip += 16) {
		*cache_next(POOL_INSN) = first_insn;
		t->apart = skip == 48;
		if (!emit_block(t, skip))
			return false;
		if (!ARENA->host.native || cache->native_off || !emit_gives_rights(&t->e, t->b->code_off))
			return true;
	}
	cache->native_off = true;
	shadow_exec_revoke_all();
	log_msg(LOG_CONFIG, "config: code at %lx could give rights: all user code is translated\n", t->b->gva);
	return true;
}

u32 translate_block(struct vcpu *v, u8 flavour, u8 mode, u64 gva, u64 gpa, u64 page1)
{
	u32 id = *cache_next(POOL_BLOCK);
	struct block *b = &cache->block[id];
	static struct tr t; /* large; views are single-threaded and each has its own copy */

	memset(b, 0, sizeof(*b));
	b->gva = gva;
	b->page0 = gpa & PAGE_MASK;
	b->page1 = page1;
	b->flavour = flavour;
	b->mode = mode;
	b->marks = *cache_next(POOL_MARK);
	b->exits = *cache_next(POOL_EXIT);
	t.b = b;
	t.v = v;
	t.fold = ARENA->fold;
	t.all_soft = flavour == FLAVOUR_SOFT || ((mode & MODE_CPL3) && user_is_soft());
	if (!emit_safe_block(&t))
		return 0;
	*cache_next(POOL_CODE) = t.e.off;
	*cache_next(POOL_BLOCK) = id + 1;
	cache_insert(id);
	v->counters[CTR_TRANSLATE]++;
	v->counters[CTR_TRANSLATE_INSN] += b->n_insns;
	if (log_on(LOG_OUT_ASM))
		trace_out_asm(b);
	return id;
}
