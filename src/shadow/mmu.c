/* Guest TLB flushes (SDM vol. 3, 4.10).
 *
 * A view never holds what its tables do not say but for its queue (internal.h), so
 * every kind of flush applies the queue of the running view and clears the software
 * TLB. Other views apply theirs when they are entered: no address space is run between.
 * Only what changes the meaning of the tables themselves voids everything. */
#include "internal.h"

/* The control bits that page tables are read by. */
static u64 mode_of(const struct vcpu *v)
{
	return (v->cr0 & CR0_PG) | (v->cr4 & (CR4_PAE | CR4_PSE | CR4_LA57 | CR4_SMEP | CR4_SMAP)) |
	       (v->efer & (EFER_LMA | EFER_NXE)) << 32;
}

/* While kernel code runs in the view of another root, what is queued for that view's low
 * half can wait until it is entered for its own sake: by then it may be gone. */
void mmu_cr3_written(struct vcpu *v)
{
	if (!shadow_pool)
		return;
	count(v, CTR_CR3_WRITE);
	soft_tlb_flush(false);
	view_check_high(v);
	if (view_owner_low(v) >= 0 || view_sync_high_due())
		view_sync(v);
}

void mmu_mode_changed(struct vcpu *v, bool flush_global)
{
	u64 mode = mode_of(v);

	(void)flush_global;
	if (!shadow_pool)
		return;
	soft_tlb_flush(true);
	if (mode != shadow_pool->mode) {
		shadow_pool->mode = mode;
		view_reset_all(v);
	}
	view_check_high(v);
	view_sync(v);
}

void mmu_invlpg(struct vcpu *v, gla_t addr)
{
	if (!shadow_pool || !gla_is_canonical(addr.v))
		return;
	soft_tlb_drop(addr.v);
	view_check_high(v);
	view_sync(v);
}

void mmu_flush_all(struct vcpu *v)
{
	if (!shadow_pool)
		return;
	soft_tlb_flush(true);
	view_check_high(v);
	view_sync(v);
}
