/* String instructions: MOVS, STOS, LODS, CMPS, SCAS, INS, OUTS with any repeat prefix,
 * direction, address and operand size.
 *
 * Work is done in chunks that stay within one page on each side, directly on guest RAM
 * where it is RAM, element by element where it is a device or crosses a page. Registers
 * are updated after each chunk, so a fault leaves them as the real CPU would: all
 * elements before the faulting one are done. Between chunks a repeated instruction stops
 * for pending events (CPU_AGAIN).
 *
 * Overlapping copies behave as if made element by element (SDM vol. 1 7.3.9.3). */
#include "priv.h"
#include "shadowbox/counters.h"
#include "shadowbox/shadow.h"

typedef u16 __attribute__((aligned(1), may_alias)) u16_any;
typedef u32 __attribute__((aligned(1), may_alias)) u32_any;
typedef u64 __attribute__((aligned(1), may_alias)) u64_any;

struct strop {
	struct vcpu *v;
	const struct insn *in;
	unsigned size, asize;
	bool back;   /* DF = 1 */
	i64 step;    /* bytes from one element to the next */
};

/* One memory side of the current chunk. Element i is at ptr, gpa or addr + i * step. */
struct side {
	enum soft_kind kind;
	u8 *ptr;
	u64 gpa;
	gla_t addr;
	u64 n; /* elements that can be reached this way, at least 1 */
};

static enum seg_reg source_seg(const struct strop *op)
{
	return op->in->seg_override ? op->in->seg : SEG_DS;
}

/* Elements from linear address a that stay in its page. 0: the first one does not. */
static u64 room_in_page(const struct strop *op, u64 a)
{
	u64 in_page = a & (PAGE_SIZE - 1);

	if (in_page + op->size > PAGE_SIZE)
		return 0;
	return (op->back ? in_page / op->size : (PAGE_SIZE - in_page) / op->size - 1) + 1;
}

/* Elements before the offset wraps at the address size. */
static u64 room_to_wrap(const struct strop *op, u64 off)
{
	u64 room = (op->back ? off : size_mask(op->asize) - off) / op->size;

	return room ? room : 1;
}

static u64 min_u64(u64 a, u64 b)
{
	return a < b ? a : b;
}

/* Opens a side for up to `want` elements, with all checks of its first element. */
static int side_open(const struct strop *op, enum gpr reg, enum seg_reg seg, u32 acc, u64 want,
		     struct side *s)
{
	u64 off = reg_read(op->v, reg, op->asize), ahead, low;
	struct soft_ref ref;
	gla_t unused;

	TRY(seg_linear(op->v, seg, off, op->size, acc, &s->addr));
	s->n = min_u64(want, min_u64(room_in_page(op, s->addr.v), room_to_wrap(op, off)));
	if (!s->n) {
		s->kind = SOFT_SPLIT;
		s->n = 1;
		return soft_resolve(op->v, s->addr, op->size, acc, &ref);
	}
	low = op->back ? off - (s->n - 1) * op->size : off;
	if (s->n > 1 && seg_linear(op->v, seg, low, s->n * op->size, acc, &unused) != CPU_NEXT)
		s->n = 1;
	ahead = op->back ? (s->n - 1) * op->size : 0;
	if (soft_resolve(op->v, gla(s->addr.v - ahead), s->n * op->size, acc, &ref) != CPU_NEXT) {
		/* Once more for the first element alone: it is the one to report. */
		ahead = 0;
		s->n = 1;
		TRY(soft_resolve(op->v, s->addr, op->size, acc, &ref));
	}
	s->kind = ref.kind;
	s->ptr = (u8 *)ref.ptr + ahead;
	s->gpa = ref.gpa.v + ahead;
	return CPU_NEXT;
}

static bool side_is_ram(const struct side *s)
{
	return s->kind == SOFT_RAM || s->kind == SOFT_TRACED;
}

static u64 load_element(const u8 *p, unsigned size)
{
	switch (size) {
	case 1: return *p;
	case 2: return *(const u16_any *)p;
	case 4: return *(const u32_any *)p;
	default: return *(const u64_any *)p;
	}
}

static void store_element(u8 *p, u64 val, unsigned size)
{
	switch (size) {
	case 1: *p = val; break;
	case 2: *(u16_any *)p = val; break;
	case 4: *(u32_any *)p = val; break;
	default: *(u64_any *)p = val; break;
	}
}

static int side_get(const struct strop *op, const struct side *s, u64 i, u64 *val)
{
	i64 at = (i64)i * op->step;

	*val = 0;
	switch (s->kind) {
	case SOFT_RAM:
	case SOFT_TRACED:
		*val = load_element(s->ptr + at, op->size);
		return CPU_NEXT;
	case SOFT_MMIO:
		op->v->counters[CTR_MMIO]++;
		*val = bus_read(cpu_machine(), BUS_MMIO, s->gpa + at, op->size);
		return CPU_NEXT;
	default:
		return mem_read(op->v, s->addr, val, op->size, ACC_READ);
	}
}

static int side_put(const struct strop *op, const struct side *s, u64 i, u64 val)
{
	i64 at = (i64)i * op->step;
	struct trace_write tw;

	switch (s->kind) {
	case SOFT_RAM:
		store_element(s->ptr + at, val, op->size);
		return CPU_NEXT;
	case SOFT_TRACED:
		trace_write_begin(&tw, gpa(s->gpa + at), op->size);
		store_element(s->ptr + at, val, op->size);
		trace_write_end(op->v, &tw);
		return CPU_NEXT;
	case SOFT_MMIO:
		op->v->counters[CTR_MMIO]++;
		bus_write(cpu_machine(), BUS_MMIO, s->gpa + at, val, op->size);
		return CPU_NEXT;
	default:
		return mem_write(op->v, s->addr, &val, op->size, ACC_WRITE);
	}
}

static void advance(const struct strop *op, enum gpr reg, u64 n)
{
	reg_write(op->v, reg, op->v->gpr[reg] + n * (u64)op->step, op->asize);
}

/* --- bulk work on RAM --------------------------------------------------------------- */
#define BRACKET_MAX 64 /* more than that is not worth comparing */

struct bulk_write {
	bool bracketed;
	struct trace_write tw;
};

static void bulk_begin(const struct strop *op, const struct side *s, u64 n, struct bulk_write *b)
{
	u64 len = n * op->size, low = op->back ? s->gpa - (n - 1) * op->size : s->gpa;

	b->bracketed = s->kind == SOFT_TRACED && len <= BRACKET_MAX;
	if (b->bracketed)
		trace_write_begin(&b->tw, gpa(low), len);
	else if (s->kind == SOFT_TRACED)
		trace_bulk_write(op->v, gpa(low), len);
}

static void bulk_end(const struct strop *op, struct bulk_write *b)
{
	if (b->bracketed)
		trace_write_end(op->v, &b->tw);
}

static void copy_elements(const struct strop *op, u8 *dst, const u8 *src, u64 n)
{
	u64 len = n * op->size, ahead = op->back ? len - op->size : 0;
	u64 d = (u64)dst - ahead, s = (u64)src - ahead;
	/* A store reaches elements not loaded yet: the copy repeats a pattern. */
	bool repeats = op->back ? s > d && s - d < len : d > s && d - s < len;

	if (!repeats) {
		memmove((void *)d, (const void *)s, len);
		return;
	}
	for (; n; n--, dst += op->step, src += op->step)
		store_element(dst, load_element(src, op->size), op->size);
}

static void fill_elements(const struct strop *op, u8 *dst, u64 val, u64 n)
{
	u64 len = n * op->size, mask = size_mask(op->size);
	u8 *low = op->back ? dst - (len - op->size) : dst;

	if (((val & 0xff) * 0x0101010101010101UL & mask) == (val & mask)) {
		memset(low, val, len);
		return;
	}
	for (; n; n--, low += op->size)
		store_element(low, val, op->size);
}

/* --- one chunk of each instruction ------------------------------------------------------ */
/* Does up to want elements, advances RSI and RDI, sets *done; *stop ends a REPE/REPNE. */
typedef int (*chunk_fn)(const struct strop *op, u64 want, u64 *done, bool *stop);

static int movs_chunk(const struct strop *op, u64 want, u64 *done, bool *stop)
{
	struct bulk_write b;
	struct side src, dst;
	u64 val;

	(void)stop;
	TRY(side_open(op, RSI, source_seg(op), ACC_READ, want, &src));
	TRY(side_open(op, RDI, SEG_ES, ACC_WRITE, src.n, &dst));
	if (side_is_ram(&src) && side_is_ram(&dst)) {
		bulk_begin(op, &dst, dst.n, &b);
		copy_elements(op, dst.ptr, src.ptr, dst.n);
		bulk_end(op, &b);
	} else {
		for (u64 i = 0; i < dst.n; i++) {
			TRY(side_get(op, &src, i, &val));
			TRY(side_put(op, &dst, i, val));
		}
	}
	*done = dst.n;
	advance(op, RSI, dst.n);
	advance(op, RDI, dst.n);
	return CPU_NEXT;
}

static int stos_chunk(const struct strop *op, u64 want, u64 *done, bool *stop)
{
	u64 val = reg_read(op->v, RAX, op->size);
	struct bulk_write b;
	struct side dst;

	(void)stop;
	TRY(side_open(op, RDI, SEG_ES, ACC_WRITE, want, &dst));
	if (side_is_ram(&dst)) {
		bulk_begin(op, &dst, dst.n, &b);
		fill_elements(op, dst.ptr, val, dst.n);
		bulk_end(op, &b);
	} else {
		for (u64 i = 0; i < dst.n; i++)
			TRY(side_put(op, &dst, i, val));
	}
	*done = dst.n;
	advance(op, RDI, dst.n);
	return CPU_NEXT;
}

static int lods_chunk(const struct strop *op, u64 want, u64 *done, bool *stop)
{
	struct side src;
	u64 val = 0;

	(void)stop;
	TRY(side_open(op, RSI, source_seg(op), ACC_READ, want, &src));
	/* Of RAM only the last element matters; a device notices every read. */
	for (u64 i = side_is_ram(&src) ? src.n - 1 : 0; i < src.n; i++)
		TRY(side_get(op, &src, i, &val));
	reg_write(op->v, RAX, val, op->size);
	*done = src.n;
	advance(op, RSI, src.n);
	return CPU_NEXT;
}

/* Compares elements until the chunk or the repeat condition ends. `src` is NULL for
 * SCAS, which compares with RAX. */
static int compare(const struct strop *op, const struct side *src, const struct side *dst, u64 n,
		   u64 *done, bool *stop)
{
	u64 a = reg_read(op->v, RAX, op->size), b = 0, i = 0;

	while (i < n && !*stop) {
		if (src)
			TRY(side_get(op, src, i, &a));
		TRY(side_get(op, dst, i, &b));
		i++;
		*stop = op->in->rep && (op->in->rep == 0xf3) != (a == b);
	}
	flags_of_sub(op->v, a, b, op->size);
	*done = i;
	return CPU_NEXT;
}

static int cmps_chunk(const struct strop *op, u64 want, u64 *done, bool *stop)
{
	struct side src, dst;

	/* Where both fault, RDI's is reported. */
	TRY(side_open(op, RDI, SEG_ES, ACC_READ, want, &dst));
	TRY(side_open(op, RSI, source_seg(op), ACC_READ, dst.n, &src));
	TRY(compare(op, &src, &dst, src.n, done, stop));
	advance(op, RSI, *done);
	advance(op, RDI, *done);
	return CPU_NEXT;
}

static int scas_chunk(const struct strop *op, u64 want, u64 *done, bool *stop)
{
	struct side dst;

	TRY(side_open(op, RDI, SEG_ES, ACC_READ, want, &dst));
	TRY(compare(op, NULL, &dst, dst.n, done, stop));
	advance(op, RDI, *done);
	return CPU_NEXT;
}

static int ins_chunk(const struct strop *op, u64 want, u64 *done, bool *stop)
{
	u16 port = op->v->gpr[RDX];
	struct side dst;
	u64 val;

	(void)stop;
	TRY(io_check(op->v, port, op->size));
	TRY(side_open(op, RDI, SEG_ES, ACC_WRITE, want, &dst));
	/* The port must not be read when the store would fault. */
	if (dst.kind == SOFT_SPLIT)
		TRY(mem_probe_write(op->v, dst.addr, op->size, ACC_WRITE));
	for (u64 i = 0; i < dst.n; i++) {
		op->v->counters[CTR_PIO]++;
		val = bus_read(cpu_machine(), BUS_PIO, port, op->size);
		TRY(side_put(op, &dst, i, val));
	}
	*done = dst.n;
	advance(op, RDI, dst.n);
	return CPU_NEXT;
}

static int outs_chunk(const struct strop *op, u64 want, u64 *done, bool *stop)
{
	u16 port = op->v->gpr[RDX];
	struct side src;
	u64 val;

	(void)stop;
	TRY(io_check(op->v, port, op->size));
	TRY(side_open(op, RSI, source_seg(op), ACC_READ, want, &src));
	for (u64 i = 0; i < src.n; i++) {
		TRY(side_get(op, &src, i, &val));
		op->v->counters[CTR_PIO]++;
		bus_write(cpu_machine(), BUS_PIO, port, val, op->size);
	}
	*done = src.n;
	advance(op, RSI, src.n);
	return CPU_NEXT;
}

/* --- the repeat loop ---------------------------------------------------------------------- */
/* With 32-bit addresses in 64-bit code Intel CPUs clear upper halves before a repeated
 * instruction begins, even if ECX is 0 or the first element faults: RCX always, the
 * pointers of MOVS and STOS. */
static void clear_upper(const struct strop *op)
{
	struct vcpu *v = op->v;

	if (op->in->code_size != 64 || op->asize != 4 || cpu_model.vendor != VENDOR_INTEL)
		return;
	v->gpr[RCX] = (u32)v->gpr[RCX];
	if (op->in->op == OP_MOVS)
		v->gpr[RSI] = (u32)v->gpr[RSI];
	if (op->in->op == OP_MOVS || op->in->op == OP_STOS)
		v->gpr[RDI] = (u32)v->gpr[RDI];
}

static int run(struct vcpu *v, const struct insn *in, unsigned size, chunk_fn chunk)
{
	struct strop op = {
		.v = v,
		.in = in,
		.size = size,
		.asize = in->addrsize,
		.back = v->rflags & FL_DF,
		.step = (v->rflags & FL_DF) ? -(i64)size : (i64)size,
	};
	bool stop = false, compares = in->op == OP_CMPS || in->op == OP_SCAS, step = v->rflags & FL_TF;
	u64 done, count, flags = v->rflags;

	if (!in->rep)
		return chunk(&op, 1, &done, &stop);
	count = reg_read(v, RCX, op.asize);
	clear_upper(&op);
	while (count && !stop) {
		int r = chunk(&op, step ? 1 : count, &done, &stop);

		/* A comparison's flags are those of its end. */
		if (r != CPU_NEXT && compares)
			v->rflags = flags;
		TRY(r);
		count -= done;
		reg_write(v, RCX, count, op.asize);
		if (count && !stop && (step || v->event_pending)) {
			if (compares)
				v->rflags = flags;
			v->insn_done = step; /* #DB follows each element */
			return CPU_AGAIN;
		}
	}
	return CPU_NEXT;
}

/* Even opcodes work on bytes, odd ones on the operand size; ports have no 64-bit form. */
static unsigned element_size(const struct insn *in)
{
	return (in->opcode & 1) ? in->opsize : 1;
}

static unsigned port_size(const struct insn *in)
{
	return !(in->opcode & 1) ? 1 : in->opsize == 2 ? 2 : 4;
}

int op_movs(struct vcpu *v, const struct insn *in) { return run(v, in, element_size(in), movs_chunk); }
int op_stos(struct vcpu *v, const struct insn *in) { return run(v, in, element_size(in), stos_chunk); }
int op_lods(struct vcpu *v, const struct insn *in) { return run(v, in, element_size(in), lods_chunk); }
int op_cmps(struct vcpu *v, const struct insn *in) { return run(v, in, element_size(in), cmps_chunk); }
int op_scas(struct vcpu *v, const struct insn *in) { return run(v, in, element_size(in), scas_chunk); }
int op_ins(struct vcpu *v, const struct insn *in) { return run(v, in, port_size(in), ins_chunk); }
int op_outs(struct vcpu *v, const struct insn *in) { return run(v, in, port_size(in), outs_chunk); }
