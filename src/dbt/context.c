/* The guest's context: from struct vcpu to what translated code holds and back.
 *
 * Translated code holds the general registers and arithmetic flags in the host's, segment
 * bases in FS.base and GS.base, and some system state in the kernel's slots (cache.h), so
 * that SYSCALL, SYSRET, SWAPGS, STI and the like need no C. Code may be left at another
 * privilege than it was entered with: SYSCALL and SYSRET in line leave CS, SS and CPL to
 * be found here, by the flavour that was left. Slots are not trusted: a guest kernel can
 * write them, and reaches nothing but its own state. */
#include "engine.h"
#include "shadowbox/sys.h"

static void set_fs(u64 base)
{
	if (engine.cur_fs == base)
		return;
	engine.cur_fs = base;
	if (ARENA->host.fsgsbase)
		__asm__ volatile("wrfsbase %0" : : "r"(base));
	else
		sys_arch_prctl(0x1002, base);
}

static void set_gs(u64 base)
{
	if (engine.cur_gs == base)
		return;
	engine.cur_gs = base;
	if (ARENA->host.fsgsbase)
		__asm__ volatile("wrgsbase %0" : : "r"(base));
	else
		sys_arch_prctl(0x1001, base);
}

void context_host_fs(void) { set_fs(engine.host_fs); }

static u64 folded(u64 base)
{
	u64 a = base + engine.fold;

	return a >> 47 ? FS_POISON : a;
}

static void load_segment_bases(const struct vcpu *v, u8 flavour)
{
	if (flavour == FLAVOUR_KHIGH) {
		set_fs(folded(v->seg[SEG_GS].base));
		set_gs(engine.fold);
	} else if (flavour != FLAVOUR_SOFT) {
		set_fs(v->seg[SEG_FS].base);
		set_gs(v->seg[SEG_GS].base);
	}
}

/* What the host's registers hold after code of this flavour, which may have changed them;
 * synced: FS.base was not put off (MODE_LATE_GS). */
static void note_segment_bases(const struct vcpu *v, u8 flavour, bool synced)
{
	if (flavour == FLAVOUR_KHIGH) {
		engine.cur_fs = synced ? folded(v->seg[SEG_GS].base) : ~0UL;
		engine.cur_gs = engine.fold;
	} else if (flavour == FLAVOUR_USER) {
		engine.cur_fs = v->seg[SEG_FS].base;
		engine.cur_gs = v->seg[SEG_GS].base;
	}
}

bool context_fast_user(const struct vcpu *v)
{
	return v->cpl == 3 && !cpu_breakpoints_armed(v) && !shadow_high_is_foreign() && v->seg[SEG_CS].sel == syscall_cs(v->star, 3) && v->seg[SEG_SS].sel == syscall_ss(v->star, 3) &&
	       v->intr_enabled && !(v->rflags & ~(u64)(FL_HOST | FL_RF | 2)) && ARENA->host.fsgsbase &&
	       !ARENA->policy.no_chain;
}

/* Is user code of the current address space at home here, and the user lookup table its? And
 * has the kernel no flags that SYSRET would have to take away? (AC it does.) */
static bool user_ready(const struct vcpu *v, bool home)
{
	u8 mode = MODE_CPL3 | MODE_FAST | ((v->cr0 & (CR0_TS | CR0_EM)) ? MODE_FPU_TRAP : 0);

	return !cpu_breakpoints_armed(v) && !(v->rflags & ~(u64)(FL_HOST | FL_AC | FL_RF | 2)) && cache->table_kind[true] == block_kind(FLAVOUR_USER, mode) && home &&
	       engine.slots_cr3 == v->cr3 && cache->native_now == native_after_sysret(v) && !v->irq_waiting && !v->nmi_pending && !v->nmi_blocked;
}

/* What IRET to user code needs beside: descriptors in the high half, and data segments that it
 * leaves alone. */
static void load_iret_slots(const struct vcpu *v, struct slots *k)
{
	u16 cs = syscall_cs(v->star, 3) & ~3, ss = syscall_ss(v->star, 3) & ~3;
	u64 gdt = v->gdtr.base + engine.fold;
	bool ready = k->user_ready && !((cs | ss) & 4) && (cs | 7) <= v->gdtr.limit && (ss | 7) <= v->gdtr.limit &&
		     v->gdtr.base >> 63 && !(gdt >> 47) && cpu_segments_outlive_cpl0(v);

	k->iret_ready = ready;
	k->gdt_cs = ready ? gdt + cs : (u64)k->reg;
	k->gdt_ss = ready ? gdt + ss : (u64)k->reg;
}

static void load_kernel_slots(const struct vcpu *v, u8 flavour)
{
	struct slots *k = slots_of(FLAVOUR_KHIGH);
	bool home = shadow_view_is_home(v);

	k->intr = v->intr_enabled ? FL_IF : 0;
	k->sysflags = (v->rflags & ~(u64)(FL_HOST | FL_IF | FL_RF | FL_VM)) | FL_AC | 2;
	k->no_ac = (v->rflags & FL_AC) ? 0 : -(u64)FL_AC;
	k->gs_base = v->seg[SEG_GS].base;
	k->kernel_gs_base = v->kernel_gs_base;
	k->gs_host = folded(k->gs_base);
	k->kernel_gs_host = folded(k->kernel_gs_base);
	k->fs_base = v->seg[SEG_FS].base;
	for (unsigned i = SEG_ES; i <= SEG_GS; i++)
		k->sel[i] = v->seg[i].sel;
	k->hold = v->irq_waiting | v->nmi_pending;
	k->user_ready = user_ready(v, home);
	load_iret_slots(v, k);
	k->cr[0] = v->cr0;
	k->cr[2] = v->cr2;
	k->cr[3] = v->cr3;
	k->cr[4] = v->cr4;
	k->away = engine.use_soft || !home;
	k->use_soft = engine.use_soft;
	k->stored = 0;
	k->gate = flavour != FLAVOUR_USER; /* engine_enter goes through one */
	engine.use_soft = false;
}

void context_load(struct vcpu *v, u8 flavour, u64 host_pc)
{
	struct slots *s = slots_of(flavour);

	load_segment_bases(v, flavour);
	v->rflags &= ~(u64)FL_RF; /* ends with the next instruction */
	v->enter_rsp = v->gpr[RSP] + (flavour == FLAVOUR_KHIGH ? engine.fold : 0);
	v->enter_flags = (v->rflags & FL_HOST) | 0x202;
	if (v->cpl == 3 && (v->cr0 & CR0_AM))
		v->enter_flags |= v->rflags & FL_AC;
	s->reg[RAX] = v->gpr[RAX];
	s->reg[RCX] = v->gpr[RCX];
	s->reg[RDX] = v->gpr[RDX];
	s->target = host_pc;
	load_kernel_slots(v, flavour);
}

bool context_kernel_ac(void) { return !slots_of(FLAVOUR_KHIGH)->no_ac; }

/* RFLAGS.AC after code of this flavour: kernel-high code changes it without C, and SYSRET in
 * line clears it. */
static void store_ac(struct vcpu *v, u8 flavour)
{
	if (flavour == FLAVOUR_KHIGH)
		v->rflags = (v->rflags & ~(u64)FL_AC) | (context_kernel_ac() ? FL_AC : 0);
	else if (flavour == FLAVOUR_USER && v->cpl != 3)
		v->rflags &= ~(u64)FL_AC;
}

static void store_kernel_slots(struct vcpu *v, u8 flavour)
{
	const struct slots *k = slots_of(FLAVOUR_KHIGH);

	v->intr_enabled = k->intr != 0;
	store_ac(v, flavour);
	if (gla_is_canonical(k->gs_base))
		v->seg[SEG_GS].base = k->gs_base;
	if (gla_is_canonical(k->kernel_gs_base))
		v->kernel_gs_base = k->kernel_gs_base;
	if (gla_is_canonical(k->fs_base))
		v->seg[SEG_FS].base = k->fs_base;
	if (flavour == FLAVOUR_USER && v->cpl != 3)
		cpu_load_syscall_segments(v, 3);
	else if (flavour == FLAVOUR_KHIGH && v->cpl == 3)
		cpu_load_syscall_segments(v, 0);
}

/* The id is what user code likes if it has jumped into its stub: one of its own records? */
static bool exit_is_valid(const struct vcpu *v)
{
	const struct exit_rec *x = cache_exit(v->exit_id);

	if (v->exit_id < EXIT_FIRST)
		return !v->exit_user;
	if (!x)
		return false;
	return !v->exit_user || (x->flavour == FLAVOUR_USER && cache->block[x->block].flavour == FLAVOUR_USER);
}

/* User code has jumped into an exit stub, with whatever it liked: it finds itself where
 * nothing is mapped for it. */
static void refuse_exit(struct vcpu *v)
{
	v->counters[CTR_WILD]++;
	v->exit_id = EXIT_ID_RETRY;
	engine.flavour = FLAVOUR_USER;
	v->rip = CODE_RX_HVA + cache->exit_user;
}

void context_stored(struct vcpu *v)
{
	struct slots *k = slots_of(FLAVOUR_KHIGH);
	u8 n = (u8)k->stored;

	k->stored = 0;
	if (n)
		shadow_stored(v, n);
}

void context_store(struct vcpu *v)
{
	u64 id = v->exit_id;
	bool record = id >= EXIT_FIRST;

	if (!exit_is_valid(v)) {
		refuse_exit(v);
		record = false;
	}
	if (record && cache->exit[id].kind != EXIT_CHAIN)
		engine.flavour = cache->block[cache->exit[id].block].flavour;
	else if (record)
		engine.flavour = cache->exit[id].flavour;
	store_kernel_slots(v, engine.flavour);
	context_stored(v);
	note_segment_bases(v, engine.flavour, record && !(cache->exit[id].mode & MODE_LATE_GS));
	if (!record)
		return; /* the handler has stored the exact state, or nothing has run */
	if (engine.flavour == FLAVOUR_KHIGH)
		v->gpr[RSP] -= engine.fold;
	v->rflags = (v->rflags & ~(u64)FL_HOST) | (v->exit_flags & FL_HOST);
}
