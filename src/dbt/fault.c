/* Host signals that hit translated code: recovering the guest's exact state.
 *
 * Runs in the signal handler on the alternate stack, with all keys open and shadowbox's
 * own memory only: no allocation, no library calls. A fault is mended (hidden fault),
 * becomes the guest's, or makes its instruction soft; in the last two cases the guest
 * state is stored and the context redirected to engine_landing. An asynchronous signal
 * (timer, input) ends the run at the next instruction boundary: where the mark allows it
 * at once by undoing or completing, else by single steps (TF). */
#define _GNU_SOURCE
#include <linux/audit.h>
#include <signal.h>
#include <ucontext.h>
#include "decode.h"
#include "emit.h"
#include "engine.h"
#include "shadowbox/log.h"
#include "shadowbox/sandbox.h"

static const u8 greg_of[16] = { REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
				REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15 };

#define GREG(uc, r) ((uc)->uc_mcontext.gregs[r])

static bool in_cache(u64 pc) { return pc >= CODE_RX_HVA && pc < CODE_RX_HVA + CODE_SIZE; }

static bool in_entry(u64 pc)
{
	return pc >= (u64)engine_enter_begin && pc < (u64)engine_enter_end;
}

static void set_step(ucontext_t *uc, bool on)
{
	engine.stepping = on;
	if (on)
		GREG(uc, REG_EFL) |= FL_TF;
	else
		GREG(uc, REG_EFL) &= ~(i64)FL_TF;
}

/* --- user code that runs as it is ------------------------------------------------------------ */
/* PKRU of the interrupted code: what it is, wherever it is. */
static u32 rights_of(const ucontext_t *uc)
{
	const u8 *area = (const u8 *)uc->uc_mcontext.fpregs;

	return *(const u64 *)(area + 512) & BIT(9) ? *(const u32 *)(area + ARENA->host.pkru_offset) : 0;
}

static bool in_zone(u64 pc) { return pc >= ZONE_BASE && pc < ZONE_END; }

static bool rights_fit(u32 rights, u8 flavour)
{
	if (flavour == FLAVOUR_USER)
		return rights == engine.pkru[FLAVOUR_USER] || rights == engine.pkru_inside[FLAVOUR_USER];
	return rights == engine.pkru[flavour] || rights == engine.pkru_inside[flavour] ||
	       rights == engine.pkru_low || rights == engine.pkru_closed;
}

/* A gate was entered from the side (entry.S, emit.c). */
static bool gate_refused_at(u64 pc)
{
	const u8 *p = (const u8 *)(pc - CODE_RX_HVA + CODE_RW_HVA);

	return pc == (u64)gate_refused || (in_cache(pc) && p[0] == 0x0f && p[1] == 0x0b);
}

/* Has user code jumped into shadowbox? b: the block there, if there is one. */
static bool is_wild(const ucontext_t *uc, const struct block *b, unsigned trap)
{
	u64 pc = GREG(uc, REG_RIP);
	u32 rights;

	if (!ARENA->host.native)
		return false;
	rights = rights_of(uc);
	if (trap == EXC_UD && gate_refused_at(pc))
		return true;
	if (b)
		return !rights_fit(rights, b->flavour);
	return in_zone(pc) && rights != 0;
}

static bool has_user_rights(const ucontext_t *uc)
{
	return ARENA->host.native && rights_of(uc) == engine.pkru[FLAVOUR_USER];
}

/* Sent to the engine already, not there yet. */
static bool is_landing(const ucontext_t *uc)
{
	u64 pc = GREG(uc, REG_RIP);

	return VCPU->gate && pc >= (u64)engine_landing && pc < (u64)engine_landing_plain;
}

bool fault_runs_native(const ucontext_t *uc)
{
	return !in_zone(GREG(uc, REG_RIP)) && has_user_rights(uc);
}

/* Flags that user code can change by POPF. */
#define FL_POPF (FL_HOST | FL_AC | FL_ID | FL_NT | FL_TF)

/* Selectors of user code that the host has, and a guest that runs natively has, too. */
#define CS_64 0x33
#define CS_32 0x23
#define SS_USER 0x2b
#define ATTR_CODE_32 0xc0fb

/* Far transfers are left to the processor: the code may be 32-bit code by now. */
static void store_code_segment(struct vcpu *v, const ucontext_t *uc)
{
	if ((GREG(uc, REG_CSGSFS) & 0xffff) == CS_32)
		v->seg[SEG_CS] = (struct seg){ .sel = CS_32, .base = 0, .limit = ~0u, .attr = ATTR_CODE_32 };
}

/* At rip, with the registers that the host's are. */
static void store_native(struct vcpu *v, const ucontext_t *uc, u64 rip)
{
	u64 flags = GREG(uc, REG_EFL);

	if (v->cpl != 3) /* it has come by SYSRET in line, and may have changed them since */
		cpu_load_syscall_segments(v, 3);
	for (unsigned r = 0; r < 16; r++)
		v->gpr[r] = GREG(uc, greg_of[r]);
	if (engine.stepping)
		flags &= ~(u64)FL_TF;
	v->rflags = (v->rflags & ~(u64)FL_POPF) | (flags & FL_POPF);
	__asm__ volatile("rdfsbase %0" : "=r"(v->seg[SEG_FS].base));
	__asm__ volatile("rdgsbase %0" : "=r"(v->seg[SEG_GS].base));
	slots_of(FLAVOUR_KHIGH)->fs_base = v->seg[SEG_FS].base; /* where context_store looks */
	slots_of(FLAVOUR_KHIGH)->gs_base = v->seg[SEG_GS].base;
	v->rip = rip;
	store_code_segment(v, uc);
	engine.flavour = FLAVOUR_USER;
}

/* The guest state that host context and mark stand for. */
static void store_regs(struct vcpu *v, const ucontext_t *uc, u8 flavour, const struct mark *m)
{
	for (unsigned r = 0; r < 16; r++) {
		if (m->spill & (1u << r))
			v->gpr[r] = *(u64 *)spill_slot(flavour, r);
		else
			v->gpr[r] = GREG(uc, greg_of[r]);
	}
	if (m->flags & MARK_PUSHED)
		v->gpr[RSP] += 8;
	if (m->flags & MARK_FOLD_SI)
		v->gpr[RSI] -= engine.fold;
	if (m->flags & MARK_FOLD_DI)
		v->gpr[RDI] -= engine.fold;
	if (flavour == FLAVOUR_KHIGH)
		v->gpr[RSP] -= engine.fold;
	v->rflags = (v->rflags & ~(u64)FL_HOST) | (GREG(uc, REG_EFL) & FL_HOST);
}

static void store_state(struct vcpu *v, const ucontext_t *uc, const struct block *b, const struct mark *m)
{
	store_regs(v, uc, b->flavour, m);
	engine.flavour = b->flavour;
	v->rip = b->gva + m->goff;
	if (b->mode & (MODE_CODE32 | MODE_CODE16))
		v->rip = (u32)v->rip;
}

static void land(ucontext_t *uc, u64 exit_id)
{
	struct vcpu *v = VCPU;

	v->exit_id = exit_id;
	v->exit_user = 0;
	v->gate = 1;
	set_step(uc, false);
	GREG(uc, REG_EFL) &= ~(i64)(FL_DF | FL_AC);
	GREG(uc, REG_RSP) = v->host_rsp;
	GREG(uc, REG_CSGSFS) = (GREG(uc, REG_CSGSFS) & 0xffffffff0000) | CS_64 | (i64)((u64)SS_USER << 48);
	GREG(uc, REG_RIP) = (u64)(ARENA->host.pkeys ? engine_landing : engine_landing_plain);
}

/* Nothing is mapped there for user code, it shall find. */
static void land_wild(struct vcpu *v, ucontext_t *uc)
{
	v->counters[CTR_WILD]++;
	store_native(v, uc, GREG(uc, REG_RIP));
	land(uc, EXIT_ID_RETRY);
}

/* Does an instruction of ours begin there? (User code can jump to any byte.) */
static bool at_instruction(u64 pc)
{
	const struct block *b = cache_block_at(pc);
	u64 at = CODE_RX_HVA + (b ? b->code_off : STUBS_OFF);

	if (!b && pc >= CODE_RX_HVA + cache_stubs_end())
		return false;
	while (at < pc) {
		const u8 *code = (const u8 *)(at - CODE_RX_HVA + CODE_RW_HVA);
		struct insn in;
		unsigned len = decode_layout(&in, code, 15);

		if (!len)
			return false;
		at += len;
	}
	return at == pc;
}

/* On the way to the engine, without detour? */
static bool leads_out(u64 pc)
{
	const struct block *b = cache_block_at(pc);
	const struct mark *m = b ? cache_mark(b, pc) : cache_stub_mark(pc);

	return m ? m->kind == MARK_EXIT : pc - CODE_RX_HVA < cache->enter_user;
}

/* The handler returns by a system call, so the code that it returns to could make others. Code
 * with the rights of user code must not: whoever it is, it goes to the engine; or one step of
 * ours further, with the next signal to come. */
void fault_leave(ucontext_t *uc)
{
	u64 pc = GREG(uc, REG_RIP);

	if (!has_user_rights(uc))
		return;
	if (is_landing(uc))
		return;
	if (in_cache(pc) && (engine.stepping || leads_out(pc)) && at_instruction(pc))
		return;
	land_wild(VCPU, uc);
}

static void native_page_fault(struct vcpu *v, ucontext_t *uc)
{
	u64 hva = GREG(uc, REG_CR2), err = GREG(uc, REG_ERR);

	if (err & PF_I) {
		engine.exec_fault = hva;
		land(uc, EXIT_ID_EXEC);
		return;
	}
	switch (shadow_fill(v, hva, err & PF_W, FLAVOUR_USER)) {
	case FILL_DONE:
		/* Not with RFLAGS.TF or AC, nor in 32-bit code: the way in knows no such user code. */
		engine.resume_pc = v->rip;
		land(uc, native_allowed(v) ? EXIT_ID_RESUME : EXIT_ID_RETRY);
		break;
	case FILL_FAULT:
		table_set_native(v->rip); /* where IRET will come back to */
		land(uc, EXIT_ID_FAULT);
		break;
	case FILL_SOFT:
	case FILL_TRACED:
	case FILL_ONCE:
		land(uc, EXIT_ID_SINGLE);
		break;
	}
}

/* Exceptions that may be other than they look (#GP of IN where the guest allows it) are left
 * to the translated instruction. */
static void native_fault(struct vcpu *v, ucontext_t *uc, unsigned trap)
{
	v->counters[CTR_NATIVE_FAULT]++;
	store_native(v, uc, GREG(uc, REG_RIP));
	switch (trap) {
	case EXC_PF:
		native_page_fault(v, uc);
		break;
	case EXC_DE: case EXC_MF: case EXC_XM:
		cpu_fault(v, trap);
		land(uc, EXIT_ID_FAULT);
		break;
	case EXC_OF: /* INT 4: a trap */
		v->rip -= 2;
		land(uc, EXIT_ID_SINGLE);
		break;
	default:
		land(uc, EXIT_ID_SINGLE);
	}
}

/* INT3, INT1, or RFLAGS.TF: the trap comes behind the instruction. */
static void native_trap(struct vcpu *v, ucontext_t *uc)
{
	u64 pc = GREG(uc, REG_RIP);
	const u8 *code = (const u8 *)pc;

	store_native(v, uc, pc);
	if (GREG(uc, REG_TRAPNO) == EXC_DB && (v->rflags & FL_TF)) {
		v->dr[6] |= 1 << 14; /* BS */
		cpu_fault(v, EXC_DB);
		land(uc, EXIT_ID_FAULT);
		return;
	}
	v->rip = pc - (code[-1] == 0xcc || code[-1] == 0xf1 ? 1 : 2);
	land(uc, EXIT_ID_SINGLE);
}

void fault_syscall(const siginfo_t *si, ucontext_t *uc)
{
	struct vcpu *v = VCPU;
	u64 pc = GREG(uc, REG_RIP);

	if (rights_of(uc) != engine.pkru[FLAVOUR_USER] && !(in_zone(pc) && rights_of(uc)))
		panic("system call %d at host pc %lx", si->si_syscall, pc);
	if (in_zone(pc)) {
		land_wild(v, uc);
		return;
	}
	store_native(v, uc, pc - 2);
	if (si->si_code == 1) { /* SYS_SECCOMP: the host has run a vsyscall's RET already */
		v->rip = (u64)si->si_call_addr;
		v->gpr[RSP] -= 8;
		engine.exec_fault = v->rip;
		land(uc, EXIT_ID_EXEC);
	} else {
		land(uc, si->si_arch == AUDIT_ARCH_X86_64 ? EXIT_ID_SYSCALL : EXIT_ID_SINGLE);
	}
}

/* --- asynchronous signals ------------------------------------------------------------------ */
/* In a lookup stub: the branch is done, its target in RAX or about to be jumped to. */
static bool land_from_stub(struct vcpu *v, ucontext_t *uc, const struct mark *m, u8 flavour)
{
	u64 rip = GREG(uc, REG_RAX);

	if (m->kind == MARK_BRANCH) {
		u64 pc = *(u64 *)spill_slot(flavour, SLOT_TARGET);
		const struct block *to = cache_block_at(pc);
		if (!to && in_zone(pc))
			return false;
		rip = to ? to->gva : pc;
	}
	store_regs(v, uc, flavour, m);
	engine.flavour = flavour;
	v->rip = rip;
	return true;
}

static bool branch_target(const struct block *b, u64 pc, u64 *rip)
{
	for (u32 e = b->exits; e < b->exits + b->n_exits; e++) {
		const struct exit_rec *x = &cache->exit[e];
		if (x->kind == EXIT_CHAIN && CODE_RX_HVA + x->stub_off == pc + 5) {
			*rip = x->target;
			return true;
		}
	}
	return false;
}

/* The instruction at rip comes before any interrupt: it follows STI, here or where the block was
 * entered (not when it is come by a second time). */
static bool in_shadow(const struct vcpu *v, const struct mark *m, u64 rip)
{
	return (m->flags & MARK_SHADOW) || (v->shadow_rip == rip && engine.boundaries < 2);
}

/* A block of one instruction, which is done: what follows it (#DB of a single step) comes with
 * its exit. (Branches of such blocks are neither chained nor looked up.) */
static bool must_exit(const struct block *b, const struct mark *m)
{
	return (b->mode & MODE_STEP) && m->goff;
}

/* Leaves at this PC of a block if the mark allows it. False: step on. */
static bool land_from_block(struct vcpu *v, ucontext_t *uc, const struct block *b, const struct mark *m)
{
	u64 rip = b->gva + m->goff;

	if (must_exit(b, m))
		return false;
	switch (m->kind) {
	case MARK_BOUNDARY:
		engine.boundaries++;
		if (in_shadow(v, m, rip))
			return false;
		break;
	case MARK_RESTART:
		/* Device registers may have been read for a soft operand: finish it. */
		if ((m->flags & MARK_SOFT) || in_shadow(v, m, rip))
			return false;
		break;
	case MARK_DONE:
		break;
	case MARK_TARGET:
		rip = GREG(uc, REG_RAX);
		break;
	case MARK_BRANCH:
		if (!branch_target(b, GREG(uc, REG_RIP), &rip))
			return false;
		break;
	default:
		return false;
	}
	store_state(v, uc, b, m);
	v->rip = rip;
	return true;
}

/* More steps than any way to a boundary needs; user code could make one that has no end. */
#define STEPS_MAX 4096

/* User code where none of ours has its rights, or on a way without end. (The end of SYSRET is
 * kernel code with the rights of user code.) */
static bool is_astray(const ucontext_t *uc, const struct mark *m, u8 flavour)
{
	u64 pc = GREG(uc, REG_RIP);

	if (!has_user_rights(uc))
		return false;
	if (is_landing(uc))
		return false;
	if (engine.steps > STEPS_MAX || (in_zone(pc) && !in_cache(pc)))
		return true;
	return m && flavour != FLAVOUR_USER && m->kind != MARK_STEP;
}

/* Whose code a lookup stub belongs to; kernel-low and soft code have no stubs of their own. */
static u8 stub_flavour(u64 off)
{
	if (off < cache->lookup_kernel)
		return FLAVOUR_USER;
	return engine.flavour == FLAVOUR_KLOW || engine.flavour == FLAVOUR_SOFT ? engine.flavour : FLAVOUR_KHIGH;
}

/* At some host PC with an event waiting: leave now, step on, or let the exit happen. A
 * non-canonical branch target must still fault at its branch: step on into the exit. */
static void seek_boundary(ucontext_t *uc)
{
	struct vcpu *v = VCPU;
	u64 pc = GREG(uc, REG_RIP), off = pc - CODE_RX_HVA;
	const struct block *b = cache_block_at(pc);
	const struct mark *m = b ? cache_mark(b, pc) : in_cache(pc) ? cache_stub_mark(pc) : NULL;
	u8 flavour = b ? b->flavour : stub_flavour(off);
	bool landed = false;

	if (fault_runs_native(uc)) {
		store_native(v, uc, pc);
		land(uc, EXIT_ID_ASYNC);
		return;
	}
	if (is_astray(uc, m, flavour)) {
		land_wild(v, uc);
		return;
	}
	if (!m) {
		/* The exit stubs lead to the engine, the entry path to a block. */
		set_step(uc, in_entry(pc) || (in_cache(pc) && (off >= cache->enter_user || has_user_rights(uc))));
		return;
	}
	if (m->kind == MARK_EXIT) {
		/* User code may have come to the middle of one of its instructions, to stay. */
		set_step(uc, has_user_rights(uc));
		return;
	}
	if (m->kind == MARK_TARGET && !gla_is_canonical(GREG(uc, REG_RAX)))
		landed = false;
	else if (b)
		landed = land_from_block(v, uc, b, m);
	else
		landed = land_from_stub(v, uc, m, flavour);
	if (landed)
		land(uc, EXIT_ID_ASYNC);
	else
		set_step(uc, true);
}

/* An asynchronous signal that came too late to be looked at by the handler. */
void fault_late(void)
{
	engine.armed = 0;
	__atomic_store_n(&VCPU->event_pending, 1, __ATOMIC_SEQ_CST);
}

void fault_async(ucontext_t *uc)
{
	if (ARENA->running_view != engine.slot)
		return;
	fault_late();
	if (engine.stepping && (GREG(uc, REG_EFL) & FL_TF))
		return;
	engine.boundaries = 0;
	/* None of ours clears TF: user code that is astray has come by a POPF. */
	engine.steps = engine.stepping ? STEPS_MAX + 1 : 0;
	seek_boundary(uc);
}

void fault_step(ucontext_t *uc)
{
	VCPU->counters[CTR_SIG_STEP]++;
	engine.steps++;
	if (engine.stepping)
		seek_boundary(uc);
	else if (has_user_rights(uc) && !is_landing(uc)) /* it may have jumped to us with TF set */
		native_trap(VCPU, uc);
	else
		set_step(uc, false);
}

/* --- faults ---------------------------------------------------------------------------------- */
static void soften(const struct block *b, const struct mark *m, enum soft_class c)
{
	u64 off = (b->gva + m->goff) & ~PAGE_MASK;

	flight_record(FLIGHT_SOFTEN, 0, b->gva + m->goff, 0, 0);
	log_msg(LOG_MMU, "soft: instruction at %lx\n", b->gva + m->goff);
	soft_add(b->page0 + off, c);
	cache_drop_range(gpa(b->page0), off, 1, false);
}

static bool already_soft(const struct block *b, const struct mark *m)
{
	return (m->flags & (MARK_SOFT | MARK_LOW)) || b->flavour == FLAVOUR_SOFT ||
	       (!(m->flags & MARK_ELSE) && soft_wanted(b->page0 + ((b->gva + m->goff) & ~PAGE_MASK)) != SOFT_NO);
}

static void retry_soft(struct vcpu *v, ucontext_t *uc, const struct block *b, const struct mark *m,
		       enum soft_class c, bool once)
{
	if (m->flags & MARK_LOW)
		engine.use_soft = true;
	else if (once)
		engine.soft_once = true;
	else
		soften(b, m, (m->flags & MARK_ELSE) ? SOFT_LOW : c);
	store_state(v, uc, b, m);
	if (in_shadow(v, m, v->rip))
		v->intr_shadow = 1;
	land(uc, EXIT_ID_RETRY);
}

/* The way back to user code leads through the engine, which alone can have system calls
 * blocked again: to the instruction's beginning. */
static void resume_user(struct vcpu *v, ucontext_t *uc, const struct block *b, const struct mark *m)
{
	store_state(v, uc, b, m);
	engine.resume_pc = cache_boundary(b, m->goff);
	land(uc, engine.resume_pc && !b->dead ? EXIT_ID_RESUME : EXIT_ID_RETRY);
}

/* Kernel-high code has RFLAGS.AC in its slots. What struct vcpu holds may be another
 * privilege's, and is put back. */
static enum fill_result fill_for(struct vcpu *v, const struct block *b, u64 hva, bool write, u8 flavour)
{
	u64 flags = v->rflags;
	enum fill_result r;

	if (b->flavour == FLAVOUR_KHIGH)
		v->rflags = (flags & ~(u64)FL_AC) | (context_kernel_ac() ? FL_AC : 0);
	r = shadow_fill(v, hva, write, flavour);
	v->rflags = flags;
	return r;
}

static enum soft_class soft_class_for(enum fill_result r, u8 flavour, bool low)
{
	if (low)
		return SOFT_BOTH;
	if (r == FILL_SOFT)
		return SOFT_ALWAYS;
	return flavour == FLAVOUR_USER ? SOFT_HELD : SOFT_TABLE;
}

static void page_fault(struct vcpu *v, ucontext_t *uc, const struct block *b, const struct mark *m)
{
	u64 hva = GREG(uc, REG_CR2);
	bool write = GREG(uc, REG_ERR) & PF_W;
	u8 flavour = (m->flags & MARK_LOW) ? FLAVOUR_KLOW : b->flavour;
	bool low = flavour == FLAVOUR_KHIGH && !((hva - engine.fold) >> 63);
	enum fill_result r;

	if ((m->flags & MARK_SOFT) && trial_covers(hva)) {
		engine.trial.cr2 = hva;
		store_state(v, uc, b, m);
		land(uc, EXIT_ID_TRIAL);
		return;
	}
	if ((m->flags & MARK_SOFT) || b->flavour == FLAVOUR_SOFT)
		panic("host page fault at %lx in a soft operand (guest rip %lx)", hva, b->gva + m->goff);
	v->rip = b->gva + m->goff;
	r = fill_for(v, b, hva, write, flavour);
	switch (r) {
	case FILL_DONE:
		if (flavour == FLAVOUR_USER && ARENA->host.native)
			resume_user(v, uc, b, m);
		return;
	case FILL_FAULT:
		store_state(v, uc, b, m);
		land(uc, EXIT_ID_FAULT);
		return;
	case FILL_SOFT:
	case FILL_TRACED:
	case FILL_ONCE:
		retry_soft(v, uc, b, m, soft_class_for(r, flavour, low), r == FILL_ONCE);
		return;
	}
}

static void exception(struct vcpu *v, ucontext_t *uc, const struct block *b, const struct mark *m, unsigned trap)
{
	store_state(v, uc, b, m);
	if (trap == EXC_GP || trap == EXC_SS || trap == EXC_AC)
		cpu_fault_err(v, trap, 0);
	else
		cpu_fault(v, trap);
	land(uc, EXIT_ID_FAULT);
}

static void report_host_fault(int sig, const ucontext_t *uc)
{
	panic("host signal %d, trap %ld, error %lx, address %lx at host pc %lx (not translated code)", sig,
	      (long)GREG(uc, REG_TRAPNO), (long)GREG(uc, REG_ERR), (long)GREG(uc, REG_CR2),
	      (long)GREG(uc, REG_RIP));
}

void fault_host(int sig, ucontext_t *uc)
{
	struct vcpu *v = VCPU;
	u64 pc = GREG(uc, REG_RIP);
	unsigned trap = (unsigned)GREG(uc, REG_TRAPNO);
	const struct block *b;
	const struct mark *m;

	v->counters[CTR_SIG_FAULT]++;
	if (pc == (u64)engine_xrstor_insn && (!ARENA->host.native || !rights_of(uc))) {
		GREG(uc, REG_RIP) = (u64)engine_xrstor_fixup;
		return;
	}
	if (ARENA->running_view != engine.slot) /* the vCPU, and what may mend the fault, are another view's */
		report_host_fault(sig, uc);
	context_stored(v);
	if (fault_runs_native(uc)) {
		native_fault(v, uc, trap);
		return;
	}
	b = cache_block_at(pc);
	if (is_wild(uc, b, trap)) {
		land_wild(v, uc);
		return;
	}
	if (!b)
		report_host_fault(sig, uc);
	m = cache_mark(b, pc);
	if (trap == EXC_PF) {
		page_fault(v, uc, b, m);
	} else if ((trap == EXC_GP || trap == EXC_SS) && b->flavour == FLAVOUR_KHIGH && !already_soft(b, m)) {
		/* A folded address that is not canonical: most likely it was low. */
		retry_soft(v, uc, b, m, SOFT_BOTH, false);
	} else if (trap <= EXC_XM) {
		exception(v, uc, b, m, trap);
	} else {
		report_host_fault(sig, uc);
	}
}
