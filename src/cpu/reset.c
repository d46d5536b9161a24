/* Power-on state of a vCPU (SDM vol. 3 table 9-1).
 *
 * The time stamp counter does not start at 0 but runs with the host's (tsc_offset 0),
 * so that until a guest writes it RDTSC can run as it is. */
#include "priv.h"

#define PAT_RESET 0x0007040600070406UL
#define MISC_ENABLE_RESET 0x1801UL /* fast strings on; no branch trace store, no PEBS */

static struct seg real_seg(u16 sel, u64 base, unsigned type)
{
	return (struct seg){
		.sel = sel, .base = base, .limit = 0xffff, .attr = SEG_A_P | SEG_A_S | type,
	};
}

static void reset_segments(struct vcpu *v)
{
	for (int i = SEG_ES; i <= SEG_GS; i++)
		v->seg[i] = real_seg(0, 0, DESC_RW | DESC_ACCESSED);
	v->seg[SEG_CS] = real_seg(0xf000, 0xffff0000, DESC_CODE | DESC_RW | DESC_ACCESSED);
	v->seg[SEG_LDTR] = (struct seg){ .limit = 0xffff, .attr = SEG_A_P | DT_LDT };
	v->seg[SEG_TR] = (struct seg){ .limit = 0xffff, .attr = SEG_A_P | DT_TSS_BUSY };
	v->gdtr = v->idtr = (struct desc_table){ .limit = 0xffff };
}

/* An XSAVE image in its initial configuration: XSTATE_BV 0, MXCSR and x87 control word
 * as after reset for loaders that read them anyway. */
static void reset_vector_state(struct vcpu *v)
{
	u16 fcw = 0x37f;
	u32 mxcsr = 0x1f80;

	memset(v->xsave, 0, sizeof(v->xsave));
	memcpy(v->xsave, &fcw, sizeof(fcw));
	memcpy(v->xsave + 24, &mxcsr, sizeof(mxcsr));
}

void cpu_reset(struct vcpu *v)
{
	u8 id = v->id;

	/* What lies between rflags and seg belongs to the engine. */
	memset(v->gpr, 0, sizeof(v->gpr));
	memset(v->seg, 0, offsetof(struct vcpu, counters) - offsetof(struct vcpu, seg));
	v->id = id;
	v->intr_enabled = 0;
	v->rip = 0xfff0;
	v->rflags = 2;
	v->gpr[RDX] = cpu_model.signature;
	v->cr0 = CR0_ET | CR0_NW | CR0_CD;
	v->dr[6] = 0xffff0ff0;
	v->dr[7] = 0x400;
	v->xcr0 = 1;
	v->pat = PAT_RESET;
	v->misc_enable = MISC_ENABLE_RESET;
	reset_segments(v);
	reset_vector_state(v);
}
