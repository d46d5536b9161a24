/* What happens when translated code leaves for the engine: chains, call-outs, soft
 * operands and the XSAVE family. */
#include <string.h>
#include "engine.h"
#include "shadowbox/bus.h"
#include "shadowbox/log.h"

/* --- soft operands ---------------------------------------------------------------------------- */
u32 soft_operand_size(const struct insn *in)
{
	if (in->mem_size)
		return in->mem_size;
	if (in->map == 1 && in->opcode == 0xae)
		return 512; /* FXSAVE, FXRSTOR */
	return in->opsize;
}

/* A bit string operand lies (offset / width) elements from the address. */
static i64 bit_string_offset(const struct vcpu *v, const struct insn *in)
{
	u64 r;

	if (!in->bit_string)
		return 0;
	r = v->gpr[in->reg];
	switch (in->opsize) {
	case 2: return ((i64)(i16)r >> 4) * 2;
	case 4: return ((i64)(i32)r >> 5) * 4;
	default: return ((i64)r >> 6) * 8;
	}
}

static void mmio_read(struct machine *m, gpa_t a, u8 *buf, u32 len)
{
	while (len) {
		u32 n = len >= 8 ? 8 : len >= 4 ? 4 : len >= 2 ? 2 : 1;
		u64 val = bus_read(m, BUS_MMIO, a.v, n);
		memcpy(buf, &val, n);
		buf += n;
		a.v += n;
		len -= n;
	}
}

static void mmio_write(struct machine *m, gpa_t a, const u8 *buf, u32 len)
{
	while (len) {
		u32 n = len >= 8 ? 8 : len >= 4 ? 4 : len >= 2 ? 2 : 1;
		u64 val = 0;
		memcpy(&val, buf, n);
		bus_write(m, BUS_MMIO, a.v, val, n);
		buf += n;
		a.v += n;
		len -= n;
	}
}

/* Resolves the operand to a host pointer and says what must follow. */
static int soft_pointer(struct vcpu *v, const struct insn *in, gla_t ea, void **ptr)
{
	u32 len = soft_operand_size(in), acc = in->mem_access;
	/* Same offset in the page as the operand: alignment checks see the truth. */
	u8 *bounce = (u8 *)HOT_BOUNCE_HVA + (ea.v & ~PAGE_MASK);
	struct soft_ref ref;

	engine.after = SOFT_AFTER_NONE;
	if (soft_resolve(v, ea, len, acc, &ref) != CPU_NEXT)
		return CPU_FAULT;
	*ptr = ref.ptr;
	switch (ref.kind) {
	case SOFT_RAM:
		return CPU_NEXT;
	case SOFT_TRACED:
		engine.after = SOFT_AFTER_TRACE;
		trace_write_begin(&engine.tw, ref.gpa, len);
		return CPU_NEXT;
	case SOFT_MMIO:
		v->counters[CTR_MMIO]++;
		if (acc & ACC_READ)
			mmio_read(&ARENA->machine, ref.gpa, bounce, len);
		engine.after = (acc & ACC_WRITE) ? SOFT_AFTER_MMIO : SOFT_AFTER_NONE;
		break;
	case SOFT_SPLIT:
		if (mem_read(v, ea, bounce, len, ACC_READ) != CPU_NEXT)
			return CPU_FAULT;
		engine.after = (acc & ACC_WRITE) ? SOFT_AFTER_BOUNCE : SOFT_AFTER_NONE;
		break;
	}
	engine.bounce = *ptr = bounce;
	engine.bounce_ea = ea.v;
	engine.bounce_len = len;
	engine.mmio = ref.gpa;
	return CPU_NEXT;
}

/* What a plain MOV to memory stores; false: another instruction. */
static bool stored_value(const struct vcpu *v, const struct insn *in, u64 *val)
{
	if (in->map || in->vex || in->moffs || in->lock || in->high8 || in->opsize < 4 || in->op != OP_COPY)
		return false;
	if (in->opcode == 0xc7 && in->imm_len == 4) {
		i32 imm;
		memcpy(&imm, in->bytes + in->off_imm, 4);
		*val = (u64)(i64)imm;
		return true;
	}
	*val = in->reg >= 0 ? v->gpr[in->reg] : 0;
	return in->opcode == 0x89;
}

/* Page tables are mostly written by MOV: one exit does it all. */
static int soft_store(struct vcpu *v, const struct exit_rec *x, const struct insn *in, gla_t ea, u64 val, u64 *pc)
{
	if (mem_write(v, ea, &val, in->opsize, ACC_WRITE) != CPU_NEXT)
		return CPU_FAULT;
	*pc = CODE_RX_HVA + x->done;
	return CPU_JUMP;
}

/* XCHG of a page-table entry, which is how kernels take one out; false: another
 * instruction, or nothing traced. The operand is one aligned entry, or less. */
static bool soft_exchange(struct vcpu *v, const struct exit_rec *x, const struct insn *in, gla_t ea, u64 *pc, int *rc)
{
	struct soft_ref ref;
	u64 old = 0;

	if (in->opcode != 0x87 || in->map || in->vex || in->opsize < 4 || in->reg < 0 || ea.v % in->opsize)
		return false;
	*rc = soft_resolve(v, ea, in->opsize, ACC_READ | ACC_WRITE, &ref);
	if (*rc != CPU_NEXT)
		return true;
	if (ref.kind != SOFT_TRACED)
		return false;
	trace_write_begin(&engine.tw, ref.gpa, in->opsize);
	memcpy(&old, ref.ptr, in->opsize);
	memcpy(ref.ptr, &v->gpr[in->reg], in->opsize);
	trace_write_end(v, &engine.tw);
	v->gpr[in->reg] = old;
	*pc = CODE_RX_HVA + x->done;
	*rc = CPU_JUMP;
	return true;
}

/* CPU_NEXT: go inside at *pc; CPU_JUMP: all is done, go on at *pc. */
static int soft_begin(struct vcpu *v, u32 id, const struct insn *in, u64 *pc)
{
	const struct exit_rec *x = &cache->exit[id];
	i64 offset = bit_string_offset(v, in);
	gla_t ea = gla(cpu_ea(v, in).v + offset);
	void *ptr = NULL;
	u64 val;
	int r;

	engine.trial.on = false;
	if (stored_value(v, in, &val))
		r = soft_store(v, x, in, ea, val, pc);
	else if (!soft_exchange(v, x, in, ea, pc, &r))
		r = soft_pointer(v, in, ea, &ptr);
	if (r == CPU_FAULT)
		return trial_begin(v, id, ea, offset, soft_operand_size(in), pc) ? CPU_NEXT : CPU_FAULT;
	if (r == CPU_JUMP)
		return CPU_JUMP;
	*(u64 *)spill_slot(cache->block[x->block].flavour, x->scratch) = v->gpr[x->scratch];
	v->gpr[x->scratch] = (u64)ptr - offset;
	*pc = CODE_RX_HVA + (engine.after == SOFT_AFTER_NONE && x->resume_a && !v->break_hits ? x->resume_a : x->resume_b);
	return CPU_NEXT;
}

static int soft_end(struct vcpu *v, const struct exit_rec *x)
{
	enum soft_after after = engine.after;

	if (engine.trial.on)
		trial_end(v);
	engine.after = SOFT_AFTER_NONE;
	v->gpr[x->scratch] = *(u64 *)spill_slot(cache->block[x->block].flavour, x->scratch);
	switch (after) {
	case SOFT_AFTER_TRACE:
		trace_write_end(v, &engine.tw);
		break;
	case SOFT_AFTER_MMIO:
		mmio_write(&ARENA->machine, engine.mmio, engine.bounce, engine.bounce_len);
		break;
	case SOFT_AFTER_BOUNCE:
		return mem_write(v, gla(engine.bounce_ea), engine.bounce, engine.bounce_len, ACC_WRITE);
	case SOFT_AFTER_NONE:
		break;
	}
	return CPU_NEXT;
}

/* --- instructions that the engine itself handles --------------------------------------------------- */
static int op_lea(struct vcpu *v, const struct insn *in)
{
	struct insn flat = *in;
	u64 a;

	/* The offset alone: a flat segment of base 0 stands in for the operand's. */
	flat.seg = SEG_DS;
	a = cpu_ea(v, &flat).v - (in->code_size == 64 ? 0 : v->seg[SEG_DS].base);
	if (in->addrsize == 4)
		a = (u32)a;
	else if (in->addrsize == 2)
		a = (u16)a;
	if (in->opsize == 8)
		v->gpr[in->reg] = a;
	else if (in->opsize == 4)
		v->gpr[in->reg] = (u32)a;
	else
		v->gpr[in->reg] = (v->gpr[in->reg] & ~0xffffUL) | (u16)a;
	return CPU_NEXT;
}

static int op_xlat(struct vcpu *v, const struct insn *in)
{
	struct insn at = *in;
	u8 byte;
	gla_t a;

	at.has_mem = 1;
	at.base = RBX;
	at.index = REG_NONE;
	at.disp = (u8)v->gpr[RAX];
	at.mem_size = 1;
	a = cpu_ea(v, &at);
	if (mem_read(v, a, &byte, 1, ACC_READ) != CPU_NEXT)
		return CPU_FAULT;
	v->gpr[RAX] = (v->gpr[RAX] & ~0xffUL) | byte;
	return CPU_NEXT;
}


static bool uses_stack(u16 op)
{
	switch (op) {
	case OP_PUSH: case OP_POP: case OP_PUSHF: case OP_POPF: case OP_CALL: case OP_CALL_IND: case OP_RET:
	case OP_RET_FAR: case OP_CALL_FAR: case OP_ENTER: case OP_LEAVE: case OP_PUSH_SEG: case OP_POP_SEG:
		return true;
	}
	return false;
}

static bool operand_is_canonical(struct vcpu *v, const struct insn *in)
{
	u64 ea = cpu_ea(v, in).v;

	return gla_is_canonical(ea) && (!in->mem_size || gla_is_canonical(ea + in->mem_size - 1));
}

/* Memory accesses know no segment and report non-canonical addresses as #GP(0); through
 * SS it is #SS(0). Operands come before the stack, but for POP. */
static void stack_fault(struct vcpu *v, const struct insn *in)
{
	u64 sp = in->op == OP_LEAVE ? v->gpr[RBP] : v->gpr[RSP];
	bool bad_stack = uses_stack(in->op) && (!gla_is_canonical(sp) || !gla_is_canonical(sp - 8));
	bool bad_operand = in->has_mem && !operand_is_canonical(v, in);

	if (v->exc.vector != EXC_GP || v->exc.error || in->code_size != 64)
		return;
	if (bad_operand && !(bad_stack && in->op == OP_POP))
		bad_stack = in->seg == SEG_SS;
	if (bad_stack)
		v->exc.vector = EXC_SS;
}

static int run_callout(struct vcpu *v, const struct insn *in)
{
	switch (in->op) {
	case OP_LEA: return op_lea(v, in);
	case OP_XLAT: return op_xlat(v, in);
	case OP_XSAVE: case OP_XRSTOR: return xsave_family(v, in);
	case OP_GATHER: return gather_scatter(v, in);
	}
	if (!cpu_ops[in->op])
		return cpu_fault(v, EXC_UD);
	return cpu_ops[in->op](v, in);
}

/* --- exits ----------------------------------------------------------------------------------------- */
static enum after_exit fault_to_guest(struct vcpu *v)
{
	v->counters[CTR_EXCEPTION]++;
	flight_record(FLIGHT_EXCEPTION, v->exc.vector, v->rip, v->exc.error, v->exc.cr2);
	cpu_deliver_exception(v);
	return GO_DISPATCH;
}

static enum after_exit chain(struct vcpu *v, u32 id)
{
	struct exit_rec *x = &cache->exit[id];
	u32 from = x->block, to;
	u64 generation = cache->generation;

	v->counters[CTR_EXIT_CHAIN]++;
	engine.doing = PROF_BLOCKS;
	v->rip = x->target;
	v->insn_done = 1;
	if (!x->patch_off || cache->block[from].dead || v->event_pending)
		return GO_DISPATCH;
	to = engine_find_block(v, engine_mode(v) | (x->mode & MODE_LATE_GS));
	if (!to || cache->generation != generation || cache->block[from].dead)
		return GO_DISPATCH;
	if (cache->block[to].flavour == x->flavour && cache->block[to].mode == x->mode &&
	    (cache->block[to].page1 == ~0UL || block_is_global(&cache->block[to])))
		cache_chain(id, to);
	return GO_DISPATCH;
}

/* A near branch to a non-canonical address faults before it changes anything. */
static enum after_exit indirect(struct vcpu *v, const struct exit_rec *x)
{
	u64 target = slots_of(cache->block[x->block].flavour)->target;

	v->counters[cache->block[x->block].flavour == FLAVOUR_USER ? CTR_EXIT_INDIRECT_U : CTR_EXIT_INDIRECT_K]++;
	if (!gla_is_canonical(target)) {
		v->gpr[RSP] += x->undo;
		cpu_fault_err(v, EXC_GP, 0);
		return fault_to_guest(v);
	}
	v->rip = target;
	return GO_DISPATCH;
}

/* After an instruction handled in C: go on inside its block when nothing has changed. */
static enum after_exit resume_or_dispatch(struct vcpu *v, const struct exit_rec *x, u32 resume, u64 *pc)
{
	v->rip = v->next_rip;
	v->insn_done = 1;
	if (!resume || (v->rflags & FL_TF) || cache->block[x->block].dead || v->event_pending || v->irq_waiting ||
	    ARENA->machine.stop)
		return GO_DISPATCH;
	*pc = CODE_RX_HVA + resume;
	return GO_RESUME;
}

/* May what INVLPG flushes be the block's own page? A page of 1 GiB is flushed as a whole. */
static bool flushes_itself(const struct vcpu *v, const struct insn *in)
{
	return in->op == OP_INVLPG && !((cpu_ea(v, in).v ^ v->rip) >> 30);
}

static enum after_exit callout(struct vcpu *v, const struct exit_rec *x, const struct insn *in, u64 *pc)
{
	u32 resume = flushes_itself(v, in) ? 0 : x->resume_a;

	v->counters[CTR_EXIT_CALLOUT]++;
	engine.doing = PROF_CALLOUT;
	if (log_on(LOG_EXITS))
		log_printf("exit: callout op %u at %lx\n", in->op, v->rip);
	flight_record(FLIGHT_CALLOUT, in->op, v->rip, v->gpr[RAX], v->gpr[RCX]);
	switch (run_callout(v, in)) {
	case CPU_NEXT:
		return resume_or_dispatch(v, x, resume, pc);
	case CPU_FAULT:
		stack_fault(v, in);
		return fault_to_guest(v);
	case CPU_JUMP:
		v->insn_done = in->op != OP_INT && in->op != OP_INT3 && in->op != OP_SYSCALL;
		return GO_DISPATCH;
	}
	return GO_DISPATCH;
}

/* User code that runs as it is came to the end of what is executable. */
static enum after_exit exec_fault(struct vcpu *v)
{
	v->counters[CTR_NATIVE_EXEC]++;
	if ((engine.exec_fault ^ v->rip) & PAGE_MASK) {
		/* An instruction that goes on in the next page. */
		engine.single = !native_map(v, engine.exec_fault);
		return GO_DISPATCH;
	}
	table_forget(v->rip);
	if (native_map(v, v->rip))
		table_set_native(v->rip);
	else
		native_left(v);
	return GO_DISPATCH;
}

enum after_exit exit_handle(struct vcpu *v, u64 *pc)
{
	u32 id = (u32)v->exit_id;
	struct exit_rec *x;
	const struct insn *in;

	v->insn_done = 0;
	engine.doing = PROF_EXCEPTIONS;
	switch (id) {
	case EXIT_ID_ASYNC:
		v->counters[CTR_EXIT_ASYNC]++;
		if (engine.flavour == FLAVOUR_USER)
			native_tick(v);
		return GO_DISPATCH;
	case EXIT_ID_ABORTED:
		_Static_assert(EXIT_ID_ABORTED == 9, "entry.S");
		v->counters[CTR_EXIT_ASYNC]++;
		v->intr_shadow = v->shadow_rip == v->rip;
		return GO_DISPATCH;
	case EXIT_ID_RETRY:
		v->counters[CTR_EXIT_FAULT]++;
		return GO_DISPATCH;
	case EXIT_ID_FAULT:
		v->counters[CTR_EXIT_FAULT]++;
		trial_exception(v);
		return fault_to_guest(v);
	case EXIT_ID_TRIAL:
		return trial_fault(v, pc) ? GO_INSIDE : fault_to_guest(v);
	case EXIT_ID_RESUME:
		*pc = engine.resume_pc;
		return GO_RESUME;
	case EXIT_ID_EXEC:
		return exec_fault(v);
	case EXIT_ID_SINGLE:
		native_special(v);
		return GO_DISPATCH;
	case EXIT_ID_SYSCALL:
		v->next_rip = v->rip + 2;
		v->insn_done = 0;
		return native_syscall(v) == CPU_FAULT ? fault_to_guest(v) : GO_DISPATCH;
	}
	x = cache_exit(id);
	sb_assert(x);
	if (x->kind == EXIT_CHAIN)
		return chain(v, id);
	v->rip = cache->block[x->block].gva + x->goff;
	if (x->kind == EXIT_INDIRECT)
		return indirect(v, x);
	if (x->kind == EXIT_RAISE) {
		if (x->scratch == EXC_GP)
			cpu_fault_err(v, EXC_GP, 0);
		else
			cpu_fault(v, x->scratch);
		return fault_to_guest(v);
	}
	if (x->kind == EXIT_STORES) { /* context_store has done it */
		*pc = CODE_RX_HVA + x->resume_a;
		return cache->block[x->block].dead ? GO_DISPATCH : GO_RESUME;
	}
	in = &cache->insn[x->insn];
	v->next_rip = v->rip + in->len;
	if (in->code_size != 64)
		v->next_rip = (u32)v->next_rip;
	switch (x->kind) {
	case EXIT_CALLOUT:
		return callout(v, x, in, pc);
	case EXIT_SOFT:
		/* A loop of soft operands never comes by the engine's own check. */
		if (v->event_pending && !x->shadow && v->shadow_rip != v->rip)
			return GO_DISPATCH;
		v->counters[CTR_EXIT_SOFT]++;
		engine.doing = PROF_SOFT;
		if (log_on(LOG_EXITS))
			log_printf("exit: soft operand at %lx\n", v->rip);
		switch (soft_begin(v, id, in, pc)) {
		case CPU_NEXT: return GO_INSIDE;
		case CPU_JUMP: return resume_or_dispatch(v, x, x->done, pc);
		}
		return fault_to_guest(v);
	case EXIT_SOFT_DONE:
		v->counters[CTR_EXIT_SOFT_DONE]++;
		engine.doing = PROF_SOFT;
		if (soft_end(v, x) != CPU_NEXT)
			return fault_to_guest(v);
		return resume_or_dispatch(v, x, x->resume_a, pc);
	}
	panic("exit of unknown kind %u", x->kind);
}
