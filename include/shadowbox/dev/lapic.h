/* Local APIC, one per CPU: xAPIC registers at 0xfee00000 and the x2APIC MSRs. */
#pragma once
#include "shadowbox/types.h"

struct machine;
struct vcpu;

#define LAPIC_BASE 0xfee00000UL
#define LAPIC_CPUS 1
/* The timer's input clock. CPUID leaf 0x15 ECX (core crystal clock), if it is not
 * zero, must say the same. */
#define LAPIC_TIMER_HZ 1000000000UL

enum lapic_lvt { LVT_TIMER, LVT_THERMAL, LVT_PERF, LVT_LINT0, LVT_LINT1, LVT_ERROR, LVT_COUNT };

struct lapic {
	u64 base_msr;
	u32 id;
	u32 tpr, svr, ldr, dfr, esr, esr_pending;
	u32 irr[8], isr[8], tmr[8];
	u32 icr[2];
	u32 lvt[LVT_COUNT];
	u32 init_count, divide;
	u64 timer_next;    /* ns of the next expiry, TIMER_OFF if not running */
	u64 tsc_deadline;  /* as the guest wrote it; 0: off */
	u64 tsc_offset;    /* guest TSC - host TSC when it was armed */
	bool lint0;        /* level of the i8259's INTR */
	bool nmi;          /* an NMI to be handed to the CPU */
};

/* An interrupt message, as IPIs, the IO-APIC and MSIs send it. */
enum apic_mode {
	APIC_FIXED = 0, APIC_LOWEST = 1, APIC_SMI = 2, APIC_NMI = 4, APIC_INIT = 5, APIC_SIPI = 6,
	APIC_EXTINT = 7,
};
struct apic_msg {
	u32 dest;
	bool logical;
	bool wide;  /* dest is a 32-bit x2APIC destination */
	bool level; /* level-triggered */
	u8 mode;    /* enum apic_mode */
	u8 vector;
};

int lapic_init(struct machine *m);
void lapic_reset(struct machine *m);
void lapic_timer(struct machine *m);
void lapic_send(struct machine *m, const struct apic_msg *msg);
/* INTR of the i8259 pair, wired to LINT0 of every local APIC. */
void lapic_set_lint0(struct machine *m, bool level);
/* Vector of the interrupt that v should take, or -1; ack moves it to in-service. */
int lapic_pending(struct machine *m, const struct vcpu *v);
int lapic_ack(struct machine *m, const struct vcpu *v);
/* Does the i8259's INTR reach this CPU as ExtINT? */
bool lapic_extint(struct machine *m, const struct vcpu *v);
/* Takes the NMI that waits for v, if any. */
bool lapic_take_nmi(struct machine *m, const struct vcpu *v);

/* MSRs IA32_APIC_BASE (0x1b), IA32_TSC_DEADLINE (0x6e0) and 0x800-0x8ff. false: #GP. */
bool lapic_msr_read(struct machine *m, struct vcpu *v, u32 msr, u64 *val) MUST_CHECK;
bool lapic_msr_write(struct machine *m, struct vcpu *v, u32 msr, u64 val) MUST_CHECK;
/* CR8 is bits 7:4 of the task priority. The caller has checked val <= 15. */
u64 lapic_cr8_read(struct machine *m, const struct vcpu *v);
void lapic_cr8_write(struct machine *m, const struct vcpu *v, u64 val);
/* v->tsc_offset changed: an armed TSC deadline moves. */
void lapic_tsc_changed(struct machine *m, const struct vcpu *v);
