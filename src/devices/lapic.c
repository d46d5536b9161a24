/* Local APIC: xAPIC registers at 0xfee00000 and the x2APIC MSRs (SDM vol. 3 chapter 11,
 * "Advanced Programmable Interrupt Controller").
 *
 * Both interfaces reach the same register functions by register offset (MSR number -
 * 0x800) * 16. The timer runs at LAPIC_TIMER_HZ = 1 GHz, so its ticks before division
 * are nanoseconds of machine time; all that is kept of it is the time of its next
 * expiry, from which the current count follows. The expiry is noticed in the timer
 * callback or by whoever touches a timer register first (timer_sync), never twice.
 *
 * Not modelled: relocation of the registers; SMI; INIT and start-up IPIs to the one
 * boot processor; arbitration (no xAPIC has it); bus errors. */
#include "shadowbox/bus.h"
#include "shadowbox/cpu.h"
#include "shadowbox/log.h"
#include "timer.h"

_Static_assert(LAPIC_TIMER_HZ == NS_PER_SEC, "timer ticks are nanoseconds");

enum reg {
	REG_ID = 0x20, REG_VERSION = 0x30, REG_TPR = 0x80, REG_APR = 0x90, REG_PPR = 0xa0,
	REG_EOI = 0xb0, REG_RRD = 0xc0, REG_LDR = 0xd0, REG_DFR = 0xe0, REG_SVR = 0xf0,
	REG_ISR = 0x100, REG_TMR = 0x180, REG_IRR = 0x200, REG_ESR = 0x280,
	REG_ICR_LOW = 0x300, REG_ICR_HIGH = 0x310, REG_LVT = 0x320, REG_LVT_END = 0x370,
	REG_INIT_COUNT = 0x380, REG_CUR_COUNT = 0x390, REG_DIVIDE = 0x3e0, REG_SELF_IPI = 0x3f0,
};
enum { MSR_APIC_BASE = 0x1b, MSR_TSC_DEADLINE = 0x6e0, MSR_X2APIC = 0x800, MSR_X2APIC_END = 0x8ff };

#define VERSION (0x14u | (LVT_COUNT - 1) << 16)
#define BASE_BSP BIT(8)
#define BASE_X2APIC BIT(10)
#define BASE_ENABLE BIT(11)
#define SVR_ENABLE BIT(8)
#define SVR_VALID 0x3ffu
#define LVT_MASKED BIT(16)
#define LVT_PENDING BIT(12)
#define LVT_LEVEL BIT(15)
#define LVT_TIMER_MODE (3u << 17)
#define TIMER_ONESHOT (0u << 17)
#define TIMER_PERIODIC (1u << 17)
#define TIMER_TSC_DEADLINE (2u << 17)
#define ESR_SEND_VECTOR BIT(5)
#define ESR_RECEIVE_VECTOR BIT(6)
#define ESR_REGISTER BIT(7)
#define ICR_LOGICAL BIT(11)
#define ICR_ASSERT BIT(14)
#define ICR_LEVEL BIT(15)

/* Bits that a guest may set in each LVT entry. */
static const u32 lvt_valid[LVT_COUNT] = {
	[LVT_TIMER] = 0x700ff, [LVT_THERMAL] = 0x107ff, [LVT_PERF] = 0x107ff,
	[LVT_LINT0] = 0x1a7ff, [LVT_LINT1] = 0x1a7ff, [LVT_ERROR] = 0x100ff,
};

static struct lapic *lapic_of(struct machine *m, const struct vcpu *v)
{
	sb_assert(v->id < LAPIC_CPUS);
	return &m->dev.lapic[v->id];
}

static bool is_x2apic(const struct lapic *l)
{
	return (l->base_msr & (BASE_ENABLE | BASE_X2APIC)) == (BASE_ENABLE | BASE_X2APIC);
}

/* --- request, service and priority -------------------------------------------- */
static int highest(const u32 *set)
{
	for (int i = 7; i >= 0; i--)
		if (set[i])
			return i * 32 + 31 - __builtin_clz(set[i]);
	return -1;
}

static void set_bit(u32 *set, unsigned n, bool on)
{
	if (on)
		set[n / 32] |= 1u << n % 32;
	else
		set[n / 32] &= ~(1u << n % 32);
}

static bool get_bit(const u32 *set, unsigned n)
{
	return set[n / 32] >> n % 32 & 1;
}

static u32 priority(const struct lapic *l)
{
	int isr = highest(l->isr);
	u32 served = isr < 0 ? 0 : (u32)isr & 0xf0;

	return (l->tpr & 0xf0) >= served ? l->tpr & 0xff : served;
}

static int request(const struct lapic *l)
{
	int irr = highest(l->irr);

	if (irr < 0 || !(l->base_msr & BASE_ENABLE) || !(l->svr & SVR_ENABLE))
		return -1;
	return ((u32)irr & 0xf0) > (priority(l) & 0xf0) ? irr : -1;
}

static void kick_if_requested(struct machine *m, const struct lapic *l)
{
	if (request(l) >= 0)
		machine_kick(m);
}

static void lvt_deliver(struct machine *m, struct lapic *l, enum lapic_lvt which);

static void report_error(struct machine *m, struct lapic *l, u32 bit)
{
	bool news = !(l->esr_pending & bit);

	l->esr_pending |= bit;
	if (news)
		lvt_deliver(m, l, LVT_ERROR);
}

static void accept_fixed(struct machine *m, struct lapic *l, u8 vector, bool level)
{
	if (!(l->base_msr & BASE_ENABLE) || !(l->svr & SVR_ENABLE))
		return;
	if (vector < 16) {
		/* An error LVT with such a vector must not report itself for ever. */
		if ((u8)l->lvt[LVT_ERROR] != vector)
			report_error(m, l, ESR_RECEIVE_VECTOR);
		return;
	}
	set_bit(l->irr, vector, true);
	set_bit(l->tmr, vector, level);
	kick_if_requested(m, l);
}

static void accept(struct machine *m, struct lapic *l, const struct apic_msg *msg)
{
	switch (msg->mode) {
	case APIC_FIXED:
	case APIC_LOWEST:
		accept_fixed(m, l, msg->vector, msg->level);
		break;
	case APIC_NMI:
		l->nmi = true;
		machine_kick(m);
		break;
	default: /* SMI: no SMM; INIT, start-up: the boot processor runs already */
		log_msg(LOG_GUEST_ERRORS, "lapic %u: message of mode %u ignored\n", l->id, msg->mode);
	}
}

static void lvt_deliver(struct machine *m, struct lapic *l, enum lapic_lvt which)
{
	u32 lvt = l->lvt[which];
	/* Timer and error entries have no mode field: always fixed. */
	struct apic_msg msg = {
		.mode = lvt_valid[which] & 0x700 ? lvt >> 8 & 7 : APIC_FIXED,
		.vector = (u8)lvt,
	};

	if (lvt & LVT_MASKED)
		return;
	if (msg.mode != APIC_EXTINT)
		accept(m, l, &msg);
}

void lapic_set_lint0(struct machine *m, bool level)
{
	for (unsigned i = 0; i < LAPIC_CPUS; i++) {
		struct lapic *l = &m->dev.lapic[i];

		if (level && !l->lint0)
			lvt_deliver(m, l, LVT_LINT0);
		l->lint0 = level;
	}
}

static void end_of_interrupt(struct machine *m, struct lapic *l)
{
	int isr = highest(l->isr);

	if (isr < 0)
		return;
	set_bit(l->isr, (unsigned)isr, false);
	if (get_bit(l->tmr, (unsigned)isr))
		ioapic_eoi(m, (u8)isr);
	kick_if_requested(m, l);
}

/* --- messages -------------------------------------------------------------------- */
static u32 logical_id(const struct lapic *l)
{
	return is_x2apic(l) ? (l->id >> 4) << 16 | 1u << (l->id & 15) : l->ldr;
}

static bool addressed(const struct lapic *l, const struct apic_msg *msg)
{
	u32 dest = msg->dest, ldr = logical_id(l);

	if (dest == (msg->wide ? 0xffffffff : 0xff))
		return true;
	if (!msg->logical)
		return dest == l->id;
	if (is_x2apic(l))
		return dest >> 16 == ldr >> 16 && (dest & ldr & 0xffff);
	ldr >>= 24;
	if (l->dfr >> 28 == 0xf)
		return dest & ldr;
	return (dest & 0xf0) == (ldr & 0xf0) && (dest & ldr & 0xf);
}

void lapic_send(struct machine *m, const struct apic_msg *msg)
{
	struct lapic *chosen = NULL;

	for (unsigned i = 0; i < LAPIC_CPUS; i++) {
		struct lapic *l = &m->dev.lapic[i];

		if (!addressed(l, msg))
			continue;
		if (msg->mode != APIC_LOWEST)
			accept(m, l, msg);
		else if (!chosen || priority(l) < priority(chosen))
			chosen = l;
	}
	if (chosen)
		accept(m, chosen, msg);
}

static void send_ipi(struct machine *m, struct lapic *l)
{
	u32 low = l->icr[0];
	struct apic_msg msg = {
		.dest = is_x2apic(l) ? l->icr[1] : l->icr[1] >> 24,
		.logical = (low & ICR_LOGICAL) != 0,
		.wide = is_x2apic(l),
		.mode = low >> 8 & 7,
		.vector = (u8)low,
	};

	if (msg.mode <= APIC_LOWEST && msg.vector < 16) {
		report_error(m, l, ESR_SEND_VECTOR);
		return;
	}
	/* INIT level de-assert: only ever synchronised arbitration IDs. */
	if (msg.mode == APIC_INIT && (low & ICR_LEVEL) && !(low & ICR_ASSERT))
		return;
	switch (low >> 18 & 3) {
	case 0:
		lapic_send(m, &msg);
		break;
	case 1:
		accept(m, l, &msg);
		break;
	default: /* all, with or without self */
		for (unsigned i = 0; i < LAPIC_CPUS; i++)
			if ((low >> 18 & 3) == 2 || &m->dev.lapic[i] != l)
				accept(m, &m->dev.lapic[i], &msg);
	}
}

/* --- timer ----------------------------------------------------------------------- */
static u32 timer_mode(const struct lapic *l)
{
	return l->lvt[LVT_TIMER] & LVT_TIMER_MODE;
}

static unsigned timer_shift(const struct lapic *l)
{
	/* Bits 0, 1 and 3: 0 divides by 2, ... 6 by 128, 7 by 1. */
	return (((l->divide & 3) | (l->divide >> 1 & 4)) + 1) & 7;
}

/* Arms the one host-side slot for the soonest expiry of all CPUs. A masked timer makes
 * no interrupt, so nobody needs to wake up for it. */
static void timer_rearm(struct machine *m)
{
	u64 next = TIMER_OFF;

	for (unsigned i = 0; i < LAPIC_CPUS; i++) {
		const struct lapic *l = &m->dev.lapic[i];

		if (!(l->lvt[LVT_TIMER] & LVT_MASKED) && l->timer_next < next)
			next = l->timer_next;
	}
	timer_arm(m, TIMER_LAPIC, next);
}

/* Notices an expiry up to now. */
static void timer_sync(struct machine *m, struct lapic *l)
{
	u64 now, period;

	if (l->timer_next == TIMER_OFF)
		return;
	now = clock_now(&m->clock);
	if (l->timer_next > now)
		return;
	period = (u64)l->init_count << timer_shift(l);
	if (timer_mode(l) == TIMER_PERIODIC && period) {
		u64 late = now - l->timer_next;

		if (period < TIMER_MIN_PERIOD_NS)
			period = TIMER_MIN_PERIOD_NS;
		l->timer_next += (late / period + 1) * period;
	} else {
		l->timer_next = TIMER_OFF;
		l->tsc_deadline = 0;
	}
	lvt_deliver(m, l, LVT_TIMER);
}

void lapic_timer(struct machine *m)
{
	for (unsigned i = 0; i < LAPIC_CPUS; i++)
		timer_sync(m, &m->dev.lapic[i]);
	timer_rearm(m);
}

static u32 current_count(const struct machine *m, const struct lapic *l)
{
	u64 now = clock_now(&m->clock), left;
	unsigned shift = timer_shift(l);

	if (timer_mode(l) == TIMER_TSC_DEADLINE || l->timer_next == TIMER_OFF || l->timer_next <= now)
		return 0;
	left = (l->timer_next - now + (1UL << shift) - 1) >> shift;
	return left > l->init_count ? l->init_count : (u32)left;
}

static void write_init_count(struct machine *m, struct lapic *l, u32 val)
{
	if (timer_mode(l) == TIMER_TSC_DEADLINE)
		return;
	l->init_count = val;
	l->timer_next = TIMER_OFF;
	if (val)
		l->timer_next = clock_now(&m->clock) + ((u64)val << timer_shift(l));
	timer_rearm(m);
}

static void write_divide(struct machine *m, struct lapic *l, u32 val)
{
	u32 left = current_count(m, l);

	l->divide = val & 0xb;
	if (left)
		l->timer_next = clock_now(&m->clock) + ((u64)left << timer_shift(l));
	timer_rearm(m);
}

static void write_lvt(struct machine *m, struct lapic *l, enum lapic_lvt which, u32 val)
{
	u32 old = l->lvt[which];

	val &= lvt_valid[which];
	if (!(l->svr & SVR_ENABLE))
		val |= LVT_MASKED;
	l->lvt[which] = val;
	if (which == LVT_LINT0 && m->dev.pic.intr)
		machine_kick(m);
	if (which != LVT_TIMER)
		return;
	/* Entering or leaving TSC-deadline mode disarms. */
	if (((old ^ val) & TIMER_TSC_DEADLINE) != 0) {
		l->timer_next = TIMER_OFF;
		l->tsc_deadline = 0;
		l->init_count = 0;
	}
	timer_rearm(m);
}

static void arm_tsc_deadline(struct machine *m, struct lapic *l, const struct vcpu *v)
{
	l->tsc_offset = v->tsc_offset;
	l->timer_next = TIMER_OFF;
	if (l->tsc_deadline)
		l->timer_next = clock_ns_at_tsc(&m->clock, l->tsc_deadline - l->tsc_offset);
	timer_rearm(m);
}

void lapic_tsc_changed(struct machine *m, const struct vcpu *v)
{
	struct lapic *l = lapic_of(m, v);

	timer_sync(m, l);
	if (l->tsc_deadline && v->tsc_offset != l->tsc_offset)
		arm_tsc_deadline(m, l, v);
}

/* --- registers ------------------------------------------------------------------- */
static u32 reg_read(struct machine *m, struct lapic *l, u32 reg)
{
	switch (reg) {
	case REG_ID:
		return is_x2apic(l) ? l->id : l->id << 24;
	case REG_VERSION:
		return VERSION;
	case REG_TPR:
		return l->tpr;
	case REG_PPR:
		return priority(l);
	case REG_LDR:
		return logical_id(l);
	case REG_DFR:
		return l->dfr;
	case REG_SVR:
		return l->svr;
	case REG_ISR ... REG_ISR + 0x70:
		return l->isr[(reg - REG_ISR) >> 4];
	case REG_TMR ... REG_TMR + 0x70:
		return l->tmr[(reg - REG_TMR) >> 4];
	case REG_IRR ... REG_IRR + 0x70:
		timer_sync(m, l);
		return l->irr[(reg - REG_IRR) >> 4];
	case REG_ESR:
		return l->esr;
	case REG_ICR_LOW:
		return l->icr[0];
	case REG_ICR_HIGH:
		return l->icr[1];
	case REG_LVT ... REG_LVT_END:
		return l->lvt[(reg - REG_LVT) >> 4];
	case REG_INIT_COUNT:
		return timer_mode(l) == TIMER_TSC_DEADLINE ? 0 : l->init_count;
	case REG_CUR_COUNT:
		timer_sync(m, l);
		timer_rearm(m);
		return current_count(m, l);
	case REG_DIVIDE:
		return l->divide;
	case REG_APR:
	case REG_RRD:
	case REG_EOI:
		return 0;
	}
	report_error(m, l, ESR_REGISTER);
	return 0;
}

static void write_svr(struct machine *m, struct lapic *l, u32 val)
{
	l->svr = val & SVR_VALID;
	if (l->svr & SVR_ENABLE) {
		kick_if_requested(m, l);
		return;
	}
	for (unsigned i = 0; i < LVT_COUNT; i++)
		l->lvt[i] |= LVT_MASKED;
	timer_rearm(m);
}

static void reg_write(struct machine *m, struct lapic *l, u32 reg, u32 val)
{
	switch (reg) {
	case REG_TPR:
		l->tpr = val & 0xff;
		kick_if_requested(m, l);
		break;
	case REG_EOI:
		end_of_interrupt(m, l);
		break;
	case REG_LDR:
		l->ldr = val & 0xff000000;
		break;
	case REG_DFR:
		l->dfr = val | 0x0fffffff;
		break;
	case REG_SVR:
		timer_sync(m, l);
		write_svr(m, l, val);
		break;
	case REG_ESR: /* a write shows what has gathered since the last one */
		l->esr = l->esr_pending;
		l->esr_pending = 0;
		break;
	case REG_ICR_LOW:
		l->icr[0] = val & 0x000ccfff;
		send_ipi(m, l);
		break;
	case REG_ICR_HIGH:
		l->icr[1] = is_x2apic(l) ? val : val & 0xff000000;
		break;
	case REG_LVT ... REG_LVT_END:
		timer_sync(m, l);
		write_lvt(m, l, (reg - REG_LVT) >> 4, val);
		break;
	case REG_INIT_COUNT:
		timer_sync(m, l);
		write_init_count(m, l, val);
		break;
	case REG_DIVIDE:
		timer_sync(m, l);
		write_divide(m, l, val);
		break;
	case REG_ID: /* read-only since the Pentium 4 */
	case REG_VERSION:
	case REG_PPR:
	case REG_CUR_COUNT:
		break;
	default:
		report_error(m, l, ESR_REGISTER);
	}
}

static u64 mmio_read(struct machine *m, void *dev, u64 off, unsigned size)
{
	struct lapic *l = dev;

	(void)size;
	if (!(l->base_msr & BASE_ENABLE) || is_x2apic(l))
		return ~0UL;
	return off & 0xf ? 0 : reg_read(m, l, (u32)off);
}

static void mmio_write(struct machine *m, void *dev, u64 off, u64 val, unsigned size)
{
	struct lapic *l = dev;

	(void)size;
	if (!(l->base_msr & BASE_ENABLE) || is_x2apic(l) || (off & 0xf))
		return;
	reg_write(m, l, (u32)off, (u32)val);
}

/* --- MSRs ------------------------------------------------------------------------ */
static void lapic_power_on(struct machine *m, struct lapic *l);

static bool write_base(struct machine *m, struct lapic *l, u64 val)
{
	u64 mode = BASE_ENABLE | BASE_X2APIC, to = val & mode, from = l->base_msr & mode;

	if (val & ~(BASE_BSP | mode | 0xffffff000UL))
		return false;
	if (to == BASE_X2APIC || (from == mode && to == BASE_ENABLE) || (!from && to == mode))
		return false;
	if ((val & 0xffffff000UL) != LAPIC_BASE)
		log_msg(LOG_GUEST_ERRORS, "lapic: relocation to 0x%lx ignored\n", val);
	if (!to && from)
		lapic_power_on(m, l);
	l->base_msr = LAPIC_BASE | (l->base_msr & BASE_BSP) | to;
	machine_kick(m); /* the i8259 may be connected now */
	return true;
}

/* What exists as an x2APIC MSR: R, W or both, and the bits that must be zero in a write. */
enum { RD = 1, WR = 2 };
struct x2apic_reg { u16 reg; u8 access; u64 reserved; };
static const struct x2apic_reg x2apic_regs[] = {
	{ REG_ID, RD, 0 },
	{ REG_VERSION, RD, 0 },
	{ REG_TPR, RD | WR, ~0xffUL },
	{ REG_PPR, RD, 0 },
	{ REG_EOI, WR, ~0UL },
	{ REG_LDR, RD, 0 },
	{ REG_SVR, RD | WR, ~(u64)SVR_VALID },
	{ REG_ESR, RD | WR, ~0UL },
	{ REG_ICR_LOW, RD | WR, 0xfff33000UL },
	{ REG_INIT_COUNT, RD | WR, ~0xffffffffUL },
	{ REG_CUR_COUNT, RD, 0 },
	{ REG_DIVIDE, RD | WR, ~0xbUL },
	{ REG_SELF_IPI, WR, ~0xffUL },
};

static bool x2apic_allowed(u32 reg, u8 access, u64 val)
{
	if (reg >= REG_ISR && reg <= REG_IRR + 0x70)
		return access == RD;
	if (reg >= REG_LVT && reg <= REG_LVT_END) {
		u64 valid = lvt_valid[(reg - REG_LVT) >> 4] | LVT_PENDING | BIT(14);

		return access == RD || !(val & ~valid);
	}
	for (unsigned i = 0; i < ARRAY_LEN(x2apic_regs); i++)
		if (x2apic_regs[i].reg == reg)
			return (x2apic_regs[i].access & access) && !(val & x2apic_regs[i].reserved);
	return false;
}

bool lapic_msr_read(struct machine *m, struct vcpu *v, u32 msr, u64 *val)
{
	struct lapic *l = lapic_of(m, v);
	u32 reg = (msr - MSR_X2APIC) << 4;

	if (msr == MSR_APIC_BASE) {
		*val = l->base_msr;
		return true;
	}
	if (msr == MSR_TSC_DEADLINE) {
		timer_sync(m, l);
		*val = l->tsc_deadline;
		return true;
	}
	if (msr < MSR_X2APIC || msr > MSR_X2APIC_END || !is_x2apic(l) || !x2apic_allowed(reg, RD, 0))
		return false;
	*val = reg_read(m, l, reg);
	if (reg == REG_ICR_LOW)
		*val |= (u64)l->icr[1] << 32;
	return true;
}

bool lapic_msr_write(struct machine *m, struct vcpu *v, u32 msr, u64 val)
{
	struct lapic *l = lapic_of(m, v);
	u32 reg = (msr - MSR_X2APIC) << 4;

	if (msr == MSR_APIC_BASE)
		return write_base(m, l, val);
	if (msr == MSR_TSC_DEADLINE) {
		if (timer_mode(l) != TIMER_TSC_DEADLINE)
			return true;
		timer_sync(m, l);
		l->tsc_deadline = val;
		arm_tsc_deadline(m, l, v);
		return true;
	}
	if (msr < MSR_X2APIC || msr > MSR_X2APIC_END || !is_x2apic(l) || !x2apic_allowed(reg, WR, val))
		return false;
	if (reg == REG_SELF_IPI) {
		l->icr[0] = 1u << 18 | (u8)val;
		send_ipi(m, l);
		return true;
	}
	if (reg == REG_ICR_LOW)
		l->icr[1] = (u32)(val >> 32);
	reg_write(m, l, reg, (u32)val);
	return true;
}

u64 lapic_cr8_read(struct machine *m, const struct vcpu *v)
{
	return lapic_of(m, v)->tpr >> 4;
}

void lapic_cr8_write(struct machine *m, const struct vcpu *v, u64 val)
{
	reg_write(m, lapic_of(m, v), REG_TPR, (u32)(val & 0xf) << 4);
}

/* --- the CPU's side ---------------------------------------------------------------- */
int lapic_pending(struct machine *m, const struct vcpu *v)
{
	return request(lapic_of(m, v));
}

int lapic_ack(struct machine *m, const struct vcpu *v)
{
	struct lapic *l = lapic_of(m, v);
	int vector = request(l);

	if (vector >= 0) {
		set_bit(l->irr, (unsigned)vector, false);
		set_bit(l->isr, (unsigned)vector, true);
	}
	return vector;
}

bool lapic_extint(struct machine *m, const struct vcpu *v)
{
	const struct lapic *l = lapic_of(m, v);
	u32 lvt = l->lvt[LVT_LINT0];

	if (!(l->base_msr & BASE_ENABLE))
		return (l->base_msr & BASE_BSP) != 0;
	return !(lvt & LVT_MASKED) && (lvt >> 8 & 7) == APIC_EXTINT;
}

bool lapic_take_nmi(struct machine *m, const struct vcpu *v)
{
	struct lapic *l = lapic_of(m, v);
	bool nmi = l->nmi;

	l->nmi = false;
	return nmi;
}

/* SDM vol. 3, "Local APIC State After Power-Up or Reset". */
static void lapic_power_on(struct machine *m, struct lapic *l)
{
	u64 base = l->base_msr;
	u32 id = l->id;

	*l = (struct lapic){ .base_msr = base, .id = id, .dfr = ~0u, .svr = 0xff,
			     .timer_next = TIMER_OFF, .lint0 = m->dev.pic.intr };
	for (unsigned i = 0; i < LVT_COUNT; i++)
		l->lvt[i] = LVT_MASKED;
	timer_rearm(m);
}

int lapic_init(struct machine *m)
{
	const struct bus_range r = { LAPIC_BASE, 0x1000, "lapic", 4, 4,
				     mmio_read, mmio_write, &m->dev.lapic[0] };

	return bus_claim(&m->bus, BUS_MMIO, &r);
}

/* As firmware leaves the boot processor's: enabled, the i8259 as virtual wire, NMI on
 * LINT1. */
void lapic_reset(struct machine *m)
{
	for (unsigned i = 0; i < LAPIC_CPUS; i++) {
		struct lapic *l = &m->dev.lapic[i];

		l->id = i;
		l->base_msr = LAPIC_BASE | BASE_ENABLE | (i ? 0 : BASE_BSP);
		l->timer_next = TIMER_OFF;
	}
	for (unsigned i = 0; i < LAPIC_CPUS; i++)
		lapic_power_on(m, &m->dev.lapic[i]);
	m->dev.lapic[0].svr |= SVR_ENABLE;
	m->dev.lapic[0].lvt[LVT_LINT0] = APIC_EXTINT << 8;
	m->dev.lapic[0].lvt[LVT_LINT1] = APIC_NMI << 8;
}
