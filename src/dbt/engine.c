/* The engine: the loop that runs the vCPU in the current view.
 *
 * Each turn: stop requests, events (timers, input, interrupts), choice of view, lookup or
 * translation, entry into translated code, and the exit that ends it. Interrupts are
 * delivered only here, at exact instruction boundaries. */
#include <string.h>
#include "decode.h"
#include "engine.h"
#include "shadowbox/irq.h"
#include "shadowbox/log.h"
#include "shadowbox/sandbox.h"
#include "shadowbox/sys.h"

struct engine engine = { .slot = VIEW_MAX }; /* no view's until engine_main */

void flight_record(u32 kind, u32 arg, u64 rip, u64 a, u64 b)
{
	struct arena *ar = ARENA;

	ar->flight[ar->flight_next++ % FLIGHT_EVENTS] =
		(struct flight_event){ __builtin_ia32_rdtsc(), kind, arg, rip, a, b };
}

/* --- vector state ------------------------------------------------------------------------ */
#define XCR0_PKRU BIT(9)

static u64 fpu_mask(void) { return ARENA->host.xcr0 & ~XCR0_PKRU; }

void fpu_save(void *area)
{
	u64 m = fpu_mask();

	__asm__ volatile("xsave64 (%0)" : : "r"(area), "a"((u32)m), "d"((u32)(m >> 32)) : "memory");
}

void fpu_restore(const void *area)
{
	if (fpu_xrstor(area, fpu_mask()) < 0)
		panic("vector state cannot be restored");
}

/* --- what code comes next ------------------------------------------------------------------ */
/* Kernel code of the high half while that is foreign. */
static bool in_foreign_code(const struct vcpu *v)
{
	return !v->cpl && v->rip >> 63 && shadow_high_is_foreign();
}

u8 engine_flavour(const struct vcpu *v)
{
	if (ARENA->policy.all_soft || v->break_data || (v->cpl == 3 && user_is_soft()) || cpu_code_size(v) != 64)
		return FLAVOUR_SOFT;
	if (v->cpl == 3)
		return FLAVOUR_USER;
	if (v->cpl != 0)
		return FLAVOUR_SOFT;
	if (!(v->rip >> 47))
		return ARENA->host.pkeys ? FLAVOUR_KLOW : FLAVOUR_SOFT;
	return ((v->rip + engine.fold) >> 47) || in_foreign_code(v) ? FLAVOUR_SOFT : FLAVOUR_KHIGH;
}

/* MODE_CLOSED or 0. */
static u8 closed_mode(const struct vcpu *v)
{
	bool closed = !(v->rip >> 47) && (v->cr4 & CR4_SMAP) && !(v->rflags & FL_AC) && cpu_paging(v) &&
		      engine_flavour(v) == FLAVOUR_KLOW;

	return closed ? MODE_CLOSED : 0;
}

u8 engine_mode(const struct vcpu *v)
{
	int size = cpu_code_size(v);

	return (v->cpl == 3 ? MODE_CPL3 : 0) | (context_fast_user(v) ? MODE_FAST : 0) | ((v->cr0 & (CR0_TS | CR0_EM)) ? MODE_FPU_TRAP : 0) |
	       (size == 32 ? MODE_CODE32 : size == 16 ? MODE_CODE16 : 0) | ((v->rflags & FL_TF) ? MODE_STEP : 0) |
	       closed_mode(v);
}

u32 engine_rights(u8 flavour, u8 mode)
{
	return flavour == FLAVOUR_KLOW && (mode & MODE_CLOSED) ? engine.pkru_closed : engine.pkru[flavour];
}

/* The decoder is library code: it wants its own FS.base and may use vector registers. */
static u8 library_area[XSAVE_AREA_SIZE] __attribute__((aligned(64)));
static bool library_ready;

void engine_use_library(void)
{
	if (library_ready)
		return;
	library_ready = true;
	fpu_save(library_area);
	context_host_fs();
}

static u32 translate_safely(struct vcpu *v, u8 flavour, u8 mode, u64 gpa, u64 page1)
{
	u32 id;

	engine.doing = PROF_TRANSLATE;
	cache_make_room();
	id = translate_block(v, flavour, mode, v->rip, gpa, page1);
	if (library_ready)
		fpu_restore(library_area);
	library_ready = false;
	engine.doing = PROF_BLOCKS;
	return id;
}

static bool fetch_page(struct vcpu *v, u64 rip, u64 *gpa)
{
	struct walk w;

	if (walk_gla(v, gla(rip), ACC_EXEC, v->cpl == 3, &w) != CPU_NEXT) {
		v->counters[CTR_FAULT_TRUE] += v->exc.vector == EXC_PF;
		cpu_deliver_exception(v);
		return false;
	}
	*gpa = w.gpa.v;
	return true;
}

u32 engine_find_block(struct vcpu *v, u8 mode)
{
	u8 flavour = engine.soft_once ? FLAVOUR_SOFT : engine_flavour(v);
	u64 gpa, page1, next = (v->rip & PAGE_MASK) + PAGE_SIZE;
	u32 id;

	v->counters[CTR_FIND_BLOCK]++;
	engine.doing = PROF_BLOCKS;
	if (!fetch_page(v, v->rip, &gpa))
		return 0;
	id = cache_find(v->rip, gpa, ~0UL, flavour, mode);
	if (!id)
		id = translate_safely(v, flavour, mode, gpa, ~0UL);
	if (!id) {
		/* The instruction continues on the next page. */
		if (!fetch_page(v, next, &page1))
			return 0;
		id = cache_find(v->rip, gpa, page1 & PAGE_MASK, flavour, mode);
		if (!id)
			id = translate_safely(v, flavour, mode, gpa, page1 & PAGE_MASK);
	}
	if (id && block_has_table(flavour, mode) && !ARENA->policy.no_chain)
		table_set(v, v->rip, id);
	return id;
}

/* --- entry ------------------------------------------------------------------------------------ */
static void enter(struct vcpu *v, u64 host_pc, u8 flavour, u32 pkru, bool inside)
{
	u32 user = inside ? cache->enter_inside : cache->enter_user;
	u64 tail = CODE_RX_HVA + (flavour == FLAVOUR_USER ? user : cache->enter_kernel);

	engine.flavour = flavour;
	engine.stepping = false;
	engine.boundaries = 0;
	v->enter_pkru = pkru;
	context_load(v, flavour, host_pc);
	v->in_guest = 1;
	v->gate = inside;
	v->exit_user = 0;
	if (inside) {
		engine_enter_inside(v, tail);
	} else {
		/* No system call from here on: user code that runs as it is makes its own. */
		if (flavour == FLAVOUR_USER && ARENA->host.native)
			*VIEW_SELECTOR = SELECT_BLOCK;
		engine_enter(v, tail);
	}
	*VIEW_SELECTOR = SELECT_ALLOW;
	v->in_guest = 0;
	engine.stepping = false;
	context_store(v);
}

/* --- events ------------------------------------------------------------------------------------- */
static void process_events(struct vcpu *v, struct machine *m)
{
	__atomic_store_n(&v->event_pending, 0, __ATOMIC_SEQ_CST);
	uart_poll_rx(m);
	clock_run(m);
	v->irq_waiting = 1;
}

/* Delivers a pending interrupt if it may be. Returns true when the next instruction must
 * run alone because the interrupt waits for the end of its shadow. */
static bool take_interrupt(struct vcpu *v, struct machine *m, bool shadow)
{
	int vector;

	if (v->nmi_pending && !v->nmi_blocked && !shadow) {
		v->nmi_pending = 0;
		v->halted = 0;
		cpu_deliver_nmi(v);
		return false;
	}
	if (!v->irq_waiting)
		return false;
	if (!irq_pending(m, v)) {
		v->irq_waiting = 0;
		return false;
	}
	if (!v->intr_enabled)
		return false;
	if (shadow && !v->halted)
		return true;
	vector = irq_ack(m, v);
	v->halted = 0;
	if (vector >= 0) {
		v->counters[CTR_INTERRUPT]++;
		flight_record(FLIGHT_INTERRUPT, vector, v->rip, 0, 0);
		cpu_deliver_interrupt(v, vector);
	}
	return false;
}

static void arm_timer(struct machine *m)
{
	u64 next = clock_next_deadline(&m->clock);

	if (next == engine.armed)
		return;
	engine.armed = next;
	view_arm_timer(next);
}

static void sleep_halted(struct vcpu *v, struct machine *m)
{
	v->counters[CTR_HLT]++;
	if (!__atomic_load_n(&v->event_pending, __ATOMIC_SEQ_CST))
		view_halt(clock_next_deadline(&m->clock));
	__atomic_store_n(&v->event_pending, 1, __ATOMIC_SEQ_CST);
}

NORETURN static void stopped(void)
{
	view_notify_monitor();
	for (;;)
		view_halt(TIMER_OFF);
}

static void check_shutdown(struct vcpu *v, struct machine *m)
{
	if (!v->shutdown || m->stop)
		return;
	log_printf("shadowbox: triple fault\n");
	cpu_dump(v);
	machine_request_stop(m, STOP_TRIPLE_FAULT, 0);
}

/* --- the loop ----------------------------------------------------------------------------------- */
/* Hands the vCPU to the view that should run it. True: it has come back meanwhile, and
 * nothing that the caller knew of the vCPU holds any more. */
static bool become_view(struct vcpu *v, u8 flavour, bool shadow)
{
	unsigned slot = shadow_view_wanted(v, flavour);

	if (slot == engine.slot)
		return false;
	v->intr_shadow = shadow;
	v->counters[CTR_VIEW_SWITCH]++;
	engine.doing = PROF_SWITCH;
	fpu_save(v->xsave);
	view_handoff(slot);
	engine.armed = 0; /* not known: another view has run; arm anew */
	shadow_view_enter(v, engine.slot);
	fpu_restore(v->xsave);
	if (table_has_low())
		table_flush(false); /* the low half means something else in each view */
	return true;
}

static void use_table(bool user, u16 kind)
{
	if (cache->table_kind[user] == kind)
		return;
	table_flush(user);
	cache->table_kind[user] = kind;
}

/* The table's way to code as it is goes when such code may not run any more. */
static void follow_native(const struct vcpu *v)
{
	bool now = native_allowed(v);

	if (cache->native_now == now)
		return;
	table_flush(true);
	cache->native_now = now;
}

/* Where to enter: from the lookup table, else by walking and translating. single: a block
 * of one instruction. 0: try again. */
static u64 find_entry(struct vcpu *v, u8 flavour, bool single)
{
	bool user = v->cpl == 3;
	u8 mode = engine_mode(v);
	u64 pc;
	u32 id;

	cache_check_premises(v);
	if (!block_has_table(flavour, mode) || single) {
		id = engine_find_block(v, mode | (single ? MODE_STEP : 0));
	} else {
		/* One table serves one kind of code at a time: a hit enters without checks. */
		use_table(user, block_kind(flavour, mode));
		if (flavour == FLAVOUR_USER && (mode & MODE_FAST)) /* may come to kernel code without C */
			use_table(false, block_kind(FLAVOUR_KHIGH, mode & MODE_FPU_TRAP));
		if (user)
			follow_native(v);
		pc = table_get(user, v->rip);
		if (pc)
			return pc;
		if (user && cache->native_now && native_map(v, v->rip) && !native_hunted(v)) {
			table_set_native(v->rip);
			return v->rip;
		}
		id = engine_find_block(v, mode);
	}
	return id ? CODE_RX_HVA + cache->block[id].code_off : 0;
}

/* Code breakpoints: instructions near them run alone. False: one has been met. */
static bool code_breakpoint(struct vcpu *v, bool *step)
{
	engine.passed = v->rflags & FL_RF ? v->rip : ~0UL;
	*step |= cpu_breakpoint_is_near(v);
	if (!cpu_breakpoint_at_rip(v))
		return true;
	v->counters[CTR_EXCEPTION]++;
	cpu_deliver_exception(v);
	return false;
}

/* Nothing to do but to go on? Then a call-out or soft operand costs no turn of the loop. */
static bool may_go_on(const struct vcpu *v, const struct machine *m)
{
	return !(v->event_pending | v->irq_waiting | v->nmi_pending) && !v->halted && !v->shutdown && !m->stop &&
	       !v->intr_shadow && clock_next_deadline(&m->clock) == engine.armed;
}

static void run_once(struct vcpu *v, struct machine *m, u64 *resume)
{
	bool shadow = v->intr_shadow, step = engine.single;
	u8 flavour;
	u64 pc;

	engine.doing = PROF_LOOP;
	v->intr_shadow = 0;
	engine.single = false;
	if (v->event_pending)
		process_events(v, m);
	if (v->irq_waiting | v->nmi_pending) {
		u64 before = v->rip;
		step |= take_interrupt(v, m, shadow);
		if (v->rip != before || step)
			*resume = 0;
	}
	check_shutdown(v, m);
	if (m->stop)
		stopped();
	if (v->halted) {
		sleep_halted(v, m);
		*resume = 0;
		return;
	}
	if (v->break_code && !code_breakpoint(v, &step)) {
		*resume = 0;
		return;
	}
	if (in_foreign_code(v)) {
		shadow_high_step(v);
		step = true;
		*resume = 0;
	}
	arm_timer(m);
	flavour = engine_flavour(v);
	if (!*resume) {
		if (become_view(v, flavour, shadow))
			return;
		if (flavour == FLAVOUR_USER && engine.slots_cr3 != v->cr3) {
			/* User code can read them: nothing of another process may be left. */
			memset(slots_of(FLAVOUR_USER), 0, sizeof(struct slots));
			engine.slots_cr3 = v->cr3;
		}
		if (engine.soft_once) {
			flavour = FLAVOUR_SOFT;
			step = true;
		}
		pc = find_entry(v, flavour, step);
		engine.soft_once = false;
		if (!pc)
			return;
		if (log_on(LOG_CPU))
			cpu_dump_registers(v);
	} else {
		pc = *resume;
		*resume = 0;
	}
	v->shadow_rip = shadow ? v->rip : ~0UL;
	enter(v, pc, flavour, engine_rights(flavour, closed_mode(v)), false);
}

static void go_on(struct vcpu *v, u64 pc)
{
	v->shadow_rip = ~0UL;
	enter(v, pc, engine.flavour, engine_rights(engine.flavour, closed_mode(v)), false);
}

/* Inside an instruction (soft operand): enter at once, with the rights to use the pointer. */
static void run_inside(struct vcpu *v, u64 pc)
{
	enter(v, pc, engine.flavour, engine.pkru_inside[engine.flavour], true);
}

/* Breakpoints on data and ports: #DB behind the instruction. One that has not been done keeps
 * its RFLAGS.RF, or it would meet the breakpoint before it again. */
static bool data_breakpoint(struct vcpu *v)
{
	if (!v->insn_done) {
		if (v->break_code && v->rip == engine.passed)
			v->rflags |= FL_RF;
		return false;
	}
	v->dr[6] |= v->break_hits;
	return v->break_hits;
}

/* RFLAGS.TF was set when an instruction began (its block is MODE_STEP, so every exit ends
 * exactly one instruction): #DB once it is done, unless it faulted or cleared TF. A load of
 * SS holds it back until the next one is done (SDM vol. 3, 6.8.3). */
static bool single_step(struct vcpu *v)
{
	if (!v->insn_done || !(v->rflags & FL_TF) || v->intr_shadow == SHADOW_SS)
		return false;
	v->dr[6] |= 1 << 14; /* BS */
	return true;
}

/* What follows an instruction that has been done. */
static bool debug_trap(struct vcpu *v, bool tf)
{
	bool data = data_breakpoint(v);

	if (!(tf && single_step(v)) && !data)
		return false;
	cpu_fault(v, EXC_DB);
	cpu_deliver_exception(v);
	return true;
}

/* PKRU values: two bits a key, access-disable and write-disable. Only an instruction with
 * a soft operand, which has no other operand in memory, runs with P open; the soft flavour
 * has soft operands alone. */
static void set_rights(const struct host_caps *h)
{
#define OPEN(key) (3u << 2 * (key))
#define READ(key) (1u << 2 * (key))
	u32 none = 0x55555555u | 2u << 2 * h->key_t | 2u << 2 * h->key_kt | 2u << 2 * h->key_d;
	u32 user = none & ~(OPEN(h->key_s) | READ(h->key_t) | READ(h->key_d));
	u32 kernel = user & ~(OPEN(h->key_ks) | READ(h->key_kt) | OPEN(h->key_d)); /* SYSCALL and SYSRET need both */
	u32 p = OPEN(h->key_p);

	engine.pkru[FLAVOUR_USER] = user & ~OPEN(0);
	engine.pkru[FLAVOUR_KLOW] = kernel & ~(OPEN(0) | OPEN(h->key_kl));
	engine.pkru[FLAVOUR_KHIGH] = kernel & ~OPEN(h->key_kh);
	engine.pkru[FLAVOUR_SOFT] = kernel & ~p;
	engine.pkru_low = engine.pkru[FLAVOUR_KLOW];
	engine.pkru_closed = kernel & ~OPEN(h->key_kl);
	engine.pkru_inside[FLAVOUR_USER] = user & ~p;
	for (unsigned f = FLAVOUR_KLOW; f <= FLAVOUR_SOFT; f++)
		engine.pkru_inside[f] = kernel & ~p;
}

void engine_rights_init(void)
{
	if (ARENA->host.pkeys)
		set_rights(&ARENA->host);
}

static void setup(unsigned slot)
{
	engine.slot = slot;
	engine.fold = ARENA->fold;
	engine.armed = 0;
	__asm__ volatile("mov %%fs:0, %0" : "=r"(engine.host_fs)); /* the TCB's self pointer */
	engine.cur_fs = engine.host_fs;
	engine.cur_gs = 0;
}

void engine_main(unsigned slot)
{
	struct vcpu *v = VCPU;
	struct machine *m = &ARENA->machine;
	u64 resume = 0;

	setup(slot);
	shadow_view_enter(v, slot);
	if (!*(u32 *)(v->xsave + 24))
		*(u32 *)(v->xsave + 24) = 0x1f80; /* MXCSR at reset */
	fpu_restore(v->xsave);
	for (;;) {
		v->exit_id = 0;
		run_once(v, m, &resume);
		while (v->exit_id) {
			u64 pc = 0;
			bool tf = v->rflags & FL_TF;
			enum after_exit next = exit_handle(v, &pc);
			v->exit_id = 0;
			if ((tf | v->break_hits | v->break_code) && next != GO_INSIDE && debug_trap(v, tf))
				next = GO_DISPATCH;
			if (next == GO_INSIDE)
				run_inside(v, pc);
			else if (next == GO_RESUME && may_go_on(v, m))
				go_on(v, pc);
			else
				resume = next == GO_RESUME ? pc : 0;
		}
	}
}
