/* Gathers and scatters, element by element: they have no single address, so where their
 * operands cannot be direct C does all of the instruction (SDM vol. 2, VPGATHERxx,
 * VPSCATTERxx and 2.3.12).
 *
 * Elements go from the lowest up, and each clears its mask once it is done; a fault leaves
 * what has been done. The vector registers are live in the host's (-mgeneral-regs-only): they
 * are saved to an XSAVE area, changed there and loaded again. The caller has checked that
 * vector instructions are enabled. Not here, and so #UD: the prefetches of AVX512PF. */
#include <string.h>
#include "engine.h"
#include "shadowbox/log.h"

/* Components of the state: SSE, AVX, and opmasks, upper halves, upper registers. */
#define STATE_AVX 6UL
#define STATE_AVX512 0xe0UL
enum { COMP_AVX = 2, COMP_OPMASK = 5, COMP_ZMM_HIGH, COMP_ZMM16 };
#define XSAVE_XMM 160
#define XSAVE_BV 512

struct vsib {
	struct vcpu *v;
	const struct insn *in;
	u8 *area;             /* the vector state */
	u64 state;            /* its components */
	bool evex, scatter;
	unsigned vl;          /* bytes of a vector */
	unsigned size, isize; /* bytes of an element and of its index */
	unsigned n;           /* elements */
	unsigned reg, index, mask;
};

/* Host CPUID: AVX2, and AVX-512F for EVEX. */
static bool offered(bool evex)
{
	u32 eax = 7, ebx, ecx = 0, edx;

	__asm__ volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
	return ebx >> (evex ? 16 : 5) & 1;
}

/* The byte `at` of a vector register; 16 aligned ones lie together. */
static u8 *lane(const struct vsib *g, unsigned reg, unsigned at)
{
	if (reg >= 16)
		return g->area + xsave_offset(COMP_ZMM16) + (reg - 16) * 64 + at;
	if (at < 16)
		return g->area + XSAVE_XMM + reg * 16 + at;
	if (at < 32)
		return g->area + xsave_offset(COMP_AVX) + reg * 16 + at - 16;
	return g->area + xsave_offset(COMP_ZMM_HIGH) + reg * 32 + at - 32;
}

static u64 *opmask(const struct vsib *g) { return (u64 *)(g->area + xsave_offset(COMP_OPMASK)) + g->mask; }

static i64 index_of(const struct vsib *g, unsigned i)
{
	u64 val = 0;

	memcpy(&val, lane(g, g->index, i * g->isize), g->isize);
	return g->isize == 4 ? (i32)val : (i64)val;
}

static bool selected(const struct vsib *g, unsigned i)
{
	if (g->evex)
		return *opmask(g) >> i & 1;
	return *lane(g, g->mask, (i + 1) * g->size - 1) & 0x80;
}

static void deselect(const struct vsib *g, unsigned i)
{
	if (g->evex)
		*opmask(g) &= ~BIT(i);
	else
		memset(lane(g, g->mask, i * g->size), 0, g->size);
}

static void clear_from(const struct vsib *g, unsigned reg, unsigned at)
{
	for (unsigned end = (g->state & STATE_AVX512) ? 64 : 32; at < end; at += 4)
		memset(lane(g, reg, at), 0, 4);
}

/* VEX extends the sign of each mask element over the whole of it before the first access. */
static void extend_mask(const struct vsib *g)
{
	for (unsigned i = 0; i < g->vl / g->size; i++)
		memset(lane(g, g->mask, i * g->size), selected(g, i) ? 0xff : 0, g->size);
	clear_from(g, g->mask, g->vl);
}

/* False: #UD. */
static bool parse(struct vsib *g)
{
	const struct insn *in = g->in;
	const u8 *p = in->bytes + in->off_prefix_end;
	bool wide = p[2] & 0x80, quad = in->opcode & 1;
	unsigned regs = in->code_size == 64 ? 31 : 7, last;

	if ((in->modrm & 7) != 4 || in->addrsize == 2 || in->opcode >= 0xc0)
		return false;
	g->evex = in->vex == 4;
	g->scatter = in->opcode >= 0xa0;
	g->size = wide ? 8 : 4;
	g->isize = quad ? 8 : 4;
	g->vl = g->evex ? 16u << (p[3] >> 5 & 3) : (p[2] & 4) ? 32 : 16;
	g->n = g->vl / (g->size > g->isize ? g->size : g->isize);
	g->reg = in->reg;
	g->index = (in->bytes[in->off_modrm + 1] >> 3 & 7) | (p[1] & 0x40 ? 0 : 8);
	g->mask = in->vvvv;
	if (g->evex) {
		g->reg |= p[1] & 0x10 ? 0 : 16;
		g->index |= p[3] & 8 ? 0 : 16;
		g->mask = p[3] & 7;
		/* Zeroing, broadcast, no mask, a second source. */
		if ((p[3] & 0x90) || !g->mask || in->vvvv)
			return false;
	}
	g->index &= regs;
	g->reg &= regs;
	g->mask &= regs;
	last = g->scatter ? ~0u : g->reg;
	return g->index != last && (g->evex || (g->mask != g->index && g->mask != g->reg));
}

static int access(const struct vsib *g, unsigned i)
{
	struct insn at = *g->in;
	u8 *elem = lane(g, g->reg, i * g->size);
	u8 buf[8];
	gla_t a;

	at.index = REG_NONE;
	at.disp += index_of(g, i) * g->in->scale;
	a = cpu_ea(g->v, &at);
	if (at.code_size == 64 && (!gla_is_canonical(a.v) || !gla_is_canonical(a.v + g->size - 1)))
		return cpu_fault_err(g->v, at.seg == SEG_SS ? EXC_SS : EXC_GP, 0);
	if (g->scatter)
		return mem_write(g->v, a, elem, g->size, ACC_WRITE);
	if (mem_read(g->v, a, buf, g->size, ACC_READ) != CPU_NEXT)
		return CPU_FAULT;
	memcpy(elem, buf, g->size);
	/* What lies above the vector goes with the first element, what lies in it and above the
	 * last element at the end. */
	clear_from(g, g->reg, g->vl);
	return CPU_NEXT;
}

static int run(const struct vsib *g)
{
	if (!g->evex)
		extend_mask(g);
	for (unsigned i = 0; i < g->n; i++) {
		if (!selected(g, i))
			continue;
		if (access(g, i) != CPU_NEXT)
			return CPU_FAULT;
		deselect(g, i);
	}
	if (g->evex)
		*opmask(g) = 0;
	else
		clear_from(g, g->mask, 0);
	if (!g->scatter)
		clear_from(g, g->reg, g->n * g->size);
	return CPU_NEXT;
}

int gather_scatter(struct vcpu *v, const struct insn *in)
{
	static u8 area[XSAVE_AREA_SIZE] __attribute__((aligned(64)));
	struct vsib g = { .v = v, .in = in, .area = area, .state = v->xcr0 & (STATE_AVX | STATE_AVX512) };
	u64 used = STATE_AVX | (in->vex == 4 ? STATE_AVX512 : 0);
	int r;

	if (!parse(&g) || !offered(g.evex) || used & ~g.state)
		return cpu_fault(v, EXC_UD);
	__asm__ volatile("xsave64 (%0)" : : "r"(area), "a"((u32)g.state), "d"(0) : "memory");
	r = run(&g);
	*(u64 *)(area + XSAVE_BV) |= used;
	if (fpu_xrstor(area, g.state) < 0)
		panic("vector state cannot be restored");
	return r;
}
