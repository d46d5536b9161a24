/* Soft operands that cannot be resolved: which exception the instruction raises, if any.
 *
 * The operand's own fault is not always the answer: an invalid LOCK, a misaligned address
 * or a pending x87 exception comes first, masked elements and empty masks touch nothing,
 * some instructions look at their last byte first. The processor is asked: the instruction
 * runs on an address with the operand's offset in its page and nothing behind it. What it
 * raises there but for a page fault is the guest's exception; a page fault says which byte
 * is touched first, and if the guest has that byte's page after all it is put in place and
 * the instruction tried again. An instruction that runs to its end has not touched what
 * is missing.
 *
 * The bounce buffer (layout.h) lies between unmapped pages: either of the operand's two
 * pages can be there alone. Only an operand across the end of the low half that may be
 * accessed in parts is tried where it is: hosts map nothing in the last page there. With
 * five-level paging, which knows no such end, it may get #PF for #GP.
 *
 * Device registers in such an operand are read more than once. */
#include <string.h>
#include "engine.h"
#include "shadowbox/log.h"

#define OPERAND_MAX 512 /* FXSAVE */

static bool is_x87(const struct insn *in)
{
	return !in->vex && in->map == 0 && in->opcode >= 0xd8 && in->opcode <= 0xdf;
}

/* Only these know of other exceptions than those of their operand. */
static bool is_plain(const struct insn *in)
{
	return !in->vex && in->map == 0 && !is_x87(in) && !in->lock;
}

/* #AC comes before #PF for every instruction. */
static bool checks_alignment(const struct vcpu *v)
{
	return v->cpl == 3 && (v->cr0 & CR0_AM) && (v->rflags & FL_AC);
}

/* A limit of the address space inside the operand comes before its pages. */
static void check_canonical(struct vcpu *v, const struct insn *in, u64 ea, u32 len)
{
	if (in->code_size == 64 && (!gla_is_canonical(ea) || !gla_is_canonical(ea + len - 1)))
		cpu_fault_err(v, in->seg == SEG_SS ? EXC_SS : EXC_GP, 0);
}

/* Masked, or x87, whose larger operands are accessed piece by piece: may fault for its first
 * bytes before the last are looked at, or without. */
static bool has_parts(const struct insn *in)
{
	u8 op = in->opcode;

	if (in->vex == 4)
		return in->bytes[in->off_prefix_end + 3] & 7;
	return in->op == OP_MASKMOV || is_x87(in) ||
	       (in->vex && in->map == 2 && ((op >= 0x2c && op <= 0x2f) || op == 0x8c || op == 0x8e));
}

static bool ends_beyond(const struct trial *t)
{
	return gla_is_canonical(t->ea) && !gla_is_canonical(t->ea + t->len - 1) && has_parts(t->in);
}

/* Where the first of the operand's two pages is for this try. */
static u64 place(const struct trial *t)
{
	if (!t->have[0] && ends_beyond(t))
		return t->ea & PAGE_MASK;
	if (t->have[0])
		return t->have[1] ? HOT_BOUNCE_HVA : HOT_BOUNCE_HVA + PAGE_SIZE;
	return t->have[1] ? HOT_BOUNCE_HVA - PAGE_SIZE : HOT_BOUNCE_HVA - 4 * PAGE_SIZE;
}

/* The operand's bytes in one of its pages: their offset from its start, and how many. */
static u32 part(const struct trial *t, unsigned page, u32 *from)
{
	u32 room = PAGE_SIZE - (t->ea & ~PAGE_MASK);

	*from = page ? room : 0;
	if (page)
		return t->len > room ? t->len - room : 0;
	return t->len < room ? t->len : room;
}

static void fill(struct vcpu *v, const struct trial *t)
{
	for (unsigned page = 0; page < 2; page++) {
		u32 from, n = part(t, page, &from);

		if (t->have[page] && mem_read(v, gla(t->ea + from), (void *)(t->at + from), n, ACC_READ) != CPU_NEXT)
			panic("page of an operand is gone");
	}
}

/* What has been written to the pages that are there; FSTP of 80 bits gets that far. */
static void drain(struct vcpu *v, const struct trial *t)
{
	u8 old[OPERAND_MAX];

	for (unsigned page = 0; page < 2 && (t->in->mem_access & ACC_WRITE); page++) {
		u32 from, n = part(t, page, &from);
		gla_t a = gla(t->ea + from);
		const void *now = (const void *)(t->at + from);

		if (!t->have[page] || mem_read(v, a, old, n, ACC_READ) != CPU_NEXT || !memcmp(old, now, n))
			continue;
		if (mem_write(v, a, now, n, ACC_WRITE) != CPU_NEXT)
			panic("page of an operand is gone");
	}
}

static void enter(struct vcpu *v, struct trial *t, u64 *pc)
{
	const struct exit_rec *x = &cache->exit[t->exit];

	t->at = place(t) + (t->ea & ~PAGE_MASK);
	fill(v, t);
	*(u64 *)spill_slot(cache->block[x->block].flavour, x->scratch) = v->gpr[x->scratch];
	v->gpr[x->scratch] = t->at - t->offset;
	*pc = CODE_RX_HVA + x->resume_b;
}

bool trial_begin(struct vcpu *v, u32 exit, gla_t ea, i64 offset, u32 len, u64 *pc)
{
	struct trial *t = &engine.trial;
	const struct insn *in = &cache->insn[cache->exit[exit].insn];

	check_canonical(v, in, ea.v, len);
	if ((is_plain(in) && !checks_alignment(v)) || len > OPERAND_MAX)
		return false;
	*t = (struct trial){ .on = true, .in = in, .exit = exit, .ea = ea.v, .offset = offset, .len = len, .exc = v->exc };
	engine.after = SOFT_AFTER_NONE;
	enter(v, t, pc);
	return true;
}

bool trial_covers(u64 hva)
{
	const struct trial *t = &engine.trial;

	return t->on && hva - (t->at & PAGE_MASK) < 2 * PAGE_SIZE;
}

bool trial_fault(struct vcpu *v, u64 *pc)
{
	struct trial *t = &engine.trial;
	u64 delta = t->cr2 - t->at;
	unsigned page = (t->cr2 - (t->at & PAGE_MASK)) >> PAGE_SHIFT;
	struct exc exc = t->exc;
	struct soft_ref ref;

	if (exc.vector == EXC_PF || (!page && ends_beyond(t))) {
		if (soft_resolve(v, gla(t->ea + delta), 1, t->in->mem_access, &ref) == CPU_NEXT && !t->have[page]) {
			t->have[page] = true;
			enter(v, t, pc);
			return true;
		}
		exc = v->exc;
		drain(v, t);
	}
	t->on = false;
	v->exc = exc;
	return false;
}

void trial_exception(struct vcpu *v)
{
	struct trial *t = &engine.trial;

	/* The host's operand is not addressed through SS. */
	if (t->on && t->at == t->ea && v->exc.vector == EXC_GP)
		v->exc = t->exc;
	t->on = false;
}

void trial_end(struct vcpu *v)
{
	engine.trial.on = false;
	drain(v, &engine.trial);
}
