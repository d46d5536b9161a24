/* Delivery of exceptions, interrupts and NMIs through the IDT.
 *
 * Follows SDM vol. 3 chapter 6 and the pseudo-code of INT n (vol. 2): 64-bit gates with
 * IST, 32- and 16-bit gates in legacy protected mode, the real-mode vector table. An
 * attempt changes nothing but the handler's stack until it cannot fail any more; a
 * fault on the way is merged with the event by table 6-5 and tried again, which ends
 * with #DF's failure: shutdown.
 *
 * Error codes carry EXT = 1 for everything but INT n, INT3 and INTO. Not modelled: task
 * gates (#GP, as for a bad gate), virtual-8086 mode, shadow stacks. */
#include "priv.h"
#include "shadowbox/counters.h"
#include "shadowbox/log.h"

enum event_kind { EVENT_EXCEPTION, EVENT_SOFTWARE, EVENT_EXTERNAL };

struct event {
	u8 vector;
	u8 kind;
	bool has_error;
	u32 error;
	u64 rip;    /* to be pushed */
	u64 rflags; /* to be pushed */
};

/* A decoded gate. */
struct gate {
	u16 sel;
	u8 type, dpl, ist;
	bool present;
	u64 offset;
};

static u32 event_ext(const struct event *e)
{
	return e->kind != EVENT_SOFTWARE;
}

static u32 idt_error(const struct event *e)
{
	return e->vector << 3 | 2 | event_ext(e);
}

static int read_gate(struct vcpu *v, const struct event *e, unsigned bytes, struct gate *g)
{
	u32 raw[4] = { 0 };
	u64 off = e->vector * bytes;

	if (off + bytes - 1 > v->idtr.limit)
		return cpu_fault_err(v, EXC_GP, idt_error(e));
	TRY(mem_read(v, gla(v->idtr.base + off), raw, bytes, ACC_READ | ACC_IMPLICIT_SUPERVISOR));
	*g = (struct gate){
		.sel = raw[0] >> 16,
		.type = (raw[1] >> 8) & 0x1f,
		.dpl = (raw[1] >> 13) & 3,
		.ist = raw[1] & 7,
		.present = raw[1] & (1 << 15),
		.offset = (raw[0] & 0xffff) | (raw[1] & 0xffff0000) | (u64)raw[2] << 32,
	};
	return CPU_NEXT;
}

static int check_gate(struct vcpu *v, const struct event *e, const struct gate *g, u32 types)
{
	if (!(types >> g->type & 1))
		return cpu_fault_err(v, EXC_GP, idt_error(e));
	if (e->kind == EVENT_SOFTWARE && g->dpl < v->cpl)
		return cpu_fault_err(v, EXC_GP, idt_error(e));
	if (!g->present)
		return cpu_fault_err(v, EXC_NP, idt_error(e));
	return CPU_NEXT;
}

/* Checks the handler's code segment; *cpl becomes the privilege it runs with. */
static int check_handler_cs(struct vcpu *v, const struct event *e, const struct gate *g,
			    struct seg *cs, unsigned *cpl)
{
	u32 ext = event_ext(e), error = sel_error(g->sel) | ext;
	struct desc d;

	if (sel_null(g->sel))
		return cpu_fault_err(v, EXC_GP, ext);
	TRY(desc_fetch(v, g->sel, EXC_GP, ext, &d));
	if (!desc_is_code(&d) || desc_dpl(&d) > v->cpl)
		return cpu_fault_err(v, EXC_GP, error);
	if (cpu_long_mode(v) && (!desc_long(&d) || desc_db(&d)))
		return cpu_fault_err(v, EXC_GP, error);
	if (!desc_present(&d))
		return cpu_fault_err(v, EXC_NP, error);
	*cpl = desc_conforming(&d) ? v->cpl : desc_dpl(&d);
	TRY(desc_set_accessed(v, &d));
	seg_from_desc(cs, (g->sel & ~3) | *cpl, &d);
	return CPU_NEXT;
}

static void enter_handler(struct vcpu *v, const struct seg *cs, u64 rip, unsigned cpl, bool clear_if)
{
	v->seg[SEG_CS] = *cs;
	v->rip = rip;
	v->cpl = cpl;
	v->rflags &= ~(u64)(FL_TF | FL_NT | FL_RF | FL_VM);
	if (clear_if)
		v->intr_enabled = 0;
}

static int deliver_long(struct vcpu *v, const struct event *e)
{
	u32 ext = event_ext(e);
	struct gate g;
	struct seg cs;
	unsigned cpl, n = 0;
	u64 rsp = v->gpr[RSP], frame[6];

	TRY(read_gate(v, e, 16, &g));
	TRY(check_gate(v, e, &g, 1 << DT_INT | 1 << DT_TRAP));
	TRY(check_handler_cs(v, e, &g, &cs, &cpl));
	if (g.ist)
		TRY(tss_stack64(v, 28 + g.ist * 8, ext, &rsp));
	else if (cpl != v->cpl)
		TRY(tss_stack64(v, 4 + cpl * 8, ext, &rsp));
	if (!is_canonical(g.offset))
		return cpu_fault_err(v, EXC_GP, ext);

	if (e->has_error)
		frame[n++] = e->error;
	frame[n++] = e->rip;
	frame[n++] = v->seg[SEG_CS].sel;
	frame[n++] = e->rflags;
	frame[n++] = v->gpr[RSP];
	frame[n++] = v->seg[SEG_SS].sel;
	rsp = (rsp & ~15UL) - n * 8;
	if (!is_canonical(rsp) || !is_canonical(rsp + n * 8 - 1))
		return cpu_fault_err(v, EXC_SS, ext);
	TRY(mem_write(v, gla(rsp), frame, n * 8, ACC_WRITE | frame_access(v, cpl)));

	if (cpl != v->cpl)
		v->seg[SEG_SS] = ss_null(cpl);
	v->gpr[RSP] = rsp;
	enter_handler(v, &cs, g.offset, cpl, g.type == DT_INT);
	return CPU_NEXT;
}

/* The stack that a 32- or 16-bit handler starts on. */
static int legacy_stack(struct vcpu *v, const struct event *e, unsigned cpl, struct seg *ss,
			struct stack *s)
{
	u32 ext = event_ext(e), esp;
	u16 sel;

	if (cpl == v->cpl) {
		*ss = v->seg[SEG_SS];
		stack_current(v, s);
	} else {
		TRY(tss_stack32(v, cpl, ext, &sel, &esp));
		TRY(ss_check(v, sel, cpl, EXC_TS, ext, ss));
		*s = (struct stack){
			.sp = esp,
			.mask = (ss->attr & SEG_A_DB) ? 0xffffffffUL : 0xffffUL,
			.base = ss->base,
			.limit = ss->limit,
			.checked_limit = true,
			.expand_down = ss->attr & DESC_EXPAND_DOWN,
			.fault = EXC_SS,
			.error = sel_error(sel),
		};
	}
	s->error |= ext;
	s->acc = frame_access(v, cpl);
	return CPU_NEXT;
}

static int deliver_protected(struct vcpu *v, const struct event *e)
{
	struct gate g;
	struct seg cs, ss;
	struct stack s;
	unsigned cpl, width;

	TRY(read_gate(v, e, 8, &g));
	if (g.type == DT_TASK_GATE)
		log_msg(LOG_GUEST_ERRORS, "cpu: task gate for vector %x: not modelled\n", e->vector);
	TRY(check_gate(v, e, &g, 1 << DT_INT | 1 << DT_TRAP | 1 << DT_INT16 | 1 << DT_TRAP16));
	width = (g.type & 8) ? 4 : 2;
	if (width == 2)
		g.offset &= 0xffff;
	TRY(check_handler_cs(v, e, &g, &cs, &cpl));
	TRY(legacy_stack(v, e, cpl, &ss, &s));
	if (cpl != v->cpl) {
		TRY(stack_push(v, &s, v->seg[SEG_SS].sel, width));
		TRY(stack_push(v, &s, v->gpr[RSP], width));
	}
	TRY(stack_push(v, &s, e->rflags, width));
	TRY(stack_push(v, &s, v->seg[SEG_CS].sel, width));
	TRY(stack_push(v, &s, e->rip, width));
	if (e->has_error)
		TRY(stack_push(v, &s, e->error, width));
	if (g.offset > cs.limit)
		return cpu_fault_err(v, EXC_GP, event_ext(e));

	v->seg[SEG_SS] = ss;
	stack_commit(v, &s);
	enter_handler(v, &cs, g.offset, cpl, (g.type & 7) == DT_INT16);
	return CPU_NEXT;
}

static int deliver_real(struct vcpu *v, const struct event *e)
{
	struct stack s;
	u16 vec[2];

	if (e->vector * 4u + 3 > v->idtr.limit)
		return cpu_fault_err(v, EXC_GP, 0);
	TRY(mem_read(v, gla(v->idtr.base + e->vector * 4u), vec, 4, ACC_READ));
	stack_current(v, &s);
	TRY(stack_push(v, &s, e->rflags, 2));
	TRY(stack_push(v, &s, v->seg[SEG_CS].sel, 2));
	TRY(stack_push(v, &s, e->rip, 2));
	stack_commit(v, &s);
	v->seg[SEG_CS].sel = vec[1];
	v->seg[SEG_CS].base = vec[1] << 4;
	v->rip = vec[0];
	v->rflags &= ~(u64)(FL_TF | FL_RF | FL_AC);
	v->intr_enabled = 0;
	return CPU_NEXT;
}

static int deliver_once(struct vcpu *v, const struct event *e)
{
	if (cpu_long_mode(v))
		return deliver_long(v, e);
	return protected_mode(v) ? deliver_protected(v, e) : deliver_real(v, e);
}

/* --- nested faults ------------------------------------------------------------------ */
/* SDM vol. 3 table 6-4. */
enum fault_class { CLASS_BENIGN, CLASS_CONTRIBUTORY, CLASS_PAGE_FAULT };

static enum fault_class class_of(u8 kind, u8 vector)
{
	if (kind != EVENT_EXCEPTION)
		return CLASS_BENIGN;
	if (vector == EXC_PF)
		return CLASS_PAGE_FAULT;
	return (vector == EXC_DE || (vector >= EXC_TS && vector <= EXC_GP)) ? CLASS_CONTRIBUTORY
									    : CLASS_BENIGN;
}

/* Faults restart the instruction, so they push RF = 1 (SDM vol. 3 17.3.1.1). */
static u64 pushed_rflags(const struct vcpu *v, u8 kind, u8 vector)
{
	bool trap = vector == EXC_DB || vector == EXC_BP || vector == EXC_OF || vector == EXC_NMI ||
		    vector == EXC_DF || vector == EXC_MC;

	if (kind == EVENT_EXCEPTION && !trap)
		return cpu_rflags(v) | FL_RF;
	if (kind == EVENT_EXTERNAL) /* RF is still to be honoured by the instruction that comes next */
		return cpu_rflags(v);
	return cpu_rflags(v) & ~(u64)FL_RF;
}

/* The event that v->exc asks for. */
static struct event event_of_exc(struct vcpu *v)
{
	if (v->exc.vector == EXC_PF)
		v->cr2 = v->exc.cr2;
	return (struct event){
		.vector = v->exc.vector,
		.kind = EVENT_EXCEPTION,
		.has_error = v->exc.has_error,
		.error = v->exc.error,
		.rip = v->rip,
		.rflags = pushed_rflags(v, EVENT_EXCEPTION, v->exc.vector),
	};
}

/* Turns e, whose delivery raised v->exc, into what is to be delivered now. False: the
 * CPU shuts down. */
static bool escalate(struct vcpu *v, struct event *e)
{
	enum fault_class first = class_of(e->kind, e->vector), second;

	if (e->kind == EVENT_EXCEPTION && e->vector == EXC_DF)
		return false;
	second = class_of(EVENT_EXCEPTION, v->exc.vector);
	*e = event_of_exc(v);
	if ((first == CLASS_CONTRIBUTORY && second == CLASS_CONTRIBUTORY) ||
	    (first == CLASS_PAGE_FAULT && second != CLASS_BENIGN)) {
		cpu_fault_err(v, EXC_DF, 0);
		*e = event_of_exc(v);
	}
	return true;
}

static void log_event(const struct vcpu *v, const struct event *e)
{
	static const char *const kinds[] = { "exception", "software", "interrupt" };

	log_printf("%s v=%02x e=%04x cpl=%d IP=%04x:%016lx SP=%04x:%016lx FL=%08lx CR2=%016lx\n",
		   kinds[e->kind], e->vector, e->error, v->cpl, v->seg[SEG_CS].sel, (unsigned long)e->rip,
		   v->seg[SEG_SS].sel, (unsigned long)v->gpr[RSP], (unsigned long)e->rflags,
		   (unsigned long)v->cr2);
}

static void deliver(struct vcpu *v, struct event e)
{
	/* A fault takes back what its instruction has done; an interrupt may come within one. */
	u8 hits = e.kind == EVENT_EXTERNAL ? v->break_hits : 0;

	v->intr_shadow = 0;
	v->halted = 0;
	for (;;) {
		if (log_on(LOG_INT))
			log_event(v, &e);
		if (deliver_once(v, &e) == CPU_NEXT) {
			v->break_hits = hits;
			return;
		}
		if (!escalate(v, &e)) {
			v->shutdown = 1;
			return;
		}
	}
}

void deliver_software(struct vcpu *v, u8 vector, bool privileged)
{
	/* Other events are counted where the engine finds them. */
	v->counters[CTR_EXCEPTION]++;
	deliver(v, (struct event){
		.vector = vector,
		.kind = privileged ? EVENT_EXTERNAL : EVENT_SOFTWARE,
		.rip = v->next_rip,
		.rflags = cpu_rflags(v) & ~(u64)FL_RF,
	});
}

void cpu_deliver_exception(struct vcpu *v)
{
	struct event e = event_of_exc(v);

	if (v->exc.soft) {
		deliver_software(v, v->exc.vector, false);
		return;
	}
	/* A debug exception turns general detection off for its handler. */
	if (e.vector == EXC_DB)
		v->dr[7] &= ~BIT(13);
	deliver(v, e);
}

static void deliver_external(struct vcpu *v, u8 vector)
{
	deliver(v, (struct event){
		.vector = vector,
		.kind = EVENT_EXTERNAL,
		.rip = v->rip,
		.rflags = pushed_rflags(v, EVENT_EXTERNAL, vector),
	});
}

void cpu_deliver_interrupt(struct vcpu *v, u8 vector)
{
	deliver_external(v, vector);
}

void cpu_deliver_nmi(struct vcpu *v)
{
	v->nmi_pending = 0;
	v->nmi_blocked = 1;
	deliver_external(v, EXC_NMI);
}

/* --- instructions --------------------------------------------------------------------- */
static int software_interrupt(struct vcpu *v, u8 vector)
{
	deliver_software(v, vector, false);
	return CPU_JUMP;
}

int op_int(struct vcpu *v, const struct insn *in)
{
	return software_interrupt(v, in->imm);
}

int op_int3(struct vcpu *v, const struct insn *in)
{
	(void)in;
	return software_interrupt(v, EXC_BP);
}

int op_into(struct vcpu *v, const struct insn *in)
{
	if (in->code_size == 64)
		return cpu_fault(v, EXC_UD);
	return (v->rflags & FL_OF) ? software_interrupt(v, EXC_OF) : CPU_NEXT;
}

/* INT1 is a trap to vector 1 that no DPL check stops. */
int op_int1(struct vcpu *v, const struct insn *in)
{
	(void)in;
	deliver_software(v, EXC_DB, true);
	return CPU_JUMP;
}
