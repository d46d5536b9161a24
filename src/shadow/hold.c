/* Held pages: those whose right to write comes and goes by the guest's own tables, as behind a
 * collector's write barrier or a guarded buffer.
 *
 * To follow each round costs two host calls and a fault inside the host, which gives a page
 * back read-only. So after some rounds such a page is traced, with nobody to read the trace:
 * it stays read-only in the views whatever the guest's tables say, and the few instructions
 * that write to it become soft.
 *
 * Each page has an account, in units of roughly 0.2 microseconds: a round that costs the host
 * nothing is earned, a write that is soft is paid, one that traps even more so. When it is
 * overdrawn, or kernel code writes, which uses addresses of its own, the page is let go,
 * and the next attempt comes later; so is it after a while, for the instructions that were
 * made soft may have other things to do by then. */
#include "internal.h"

#define ROUND_EARNS 12
#define TRAP_COSTS 16
#define CREDIT_FIRST 64
#define CREDIT_MOST 128
#define WRITER_TRAPS 3    /* of an instruction in a row, until it is made soft */
#define HOLD_SHIFT 31     /* of the time stamp counter: about a second */

static struct held *held_at(u32 pfn)
{
	return &shadow_pool->held[(pfn * 0x9e3779b1u >> 20) % HELD_MAX];
}

static bool is_held(u32 pfn) { return shadow_pool->page_flags[pfn] & PAGE_HELD; }

static void let_go(struct held *h, u32 rounds_next)
{
	log_msg(LOG_MMU, "mmu: page %#lx is held no more\n", (u64)h->pfn << PAGE_SHIFT);
	trace_clear((u64)h->pfn << PAGE_SHIFT, PAGE_HELD);
	h->rounds = 0;
	h->rounds_wanted = rounds_next < HOLD_MOST ? rounds_next : HOLD_MOST;
	dbt_hold_ended();
}

static bool is_due(const struct held *h)
{
	return (__builtin_ia32_rdtsc() - h->since) >> HOLD_SHIFT;
}

bool hold_raises(struct vcpu *v, u64 pa)
{
	u32 pfn = pa >> PAGE_SHIFT;
	struct held *h = held_at(pfn);

	if (is_held(pfn)) {
		if (is_due(h)) {
			let_go(h, ARENA->policy.hold_after);
			return false;
		}
		h->credit += ROUND_EARNS;
		if (h->credit > CREDIT_MOST)
			h->credit = CREDIT_MOST;
		return true;
	}
	if (h->pfn != pfn || !h->rounds || h->rounds < h->rounds_wanted)
		return false;
	h->credit = CREDIT_FIRST;
	h->since = __builtin_ia32_rdtsc();
	h->writer_traps = 0;
	trace_set(v, pa, PAGE_HELD);
	return true;
}

void hold_count_round(u64 pa)
{
	u32 pfn = pa >> PAGE_SHIFT;
	struct held *h = held_at(pfn);

	if (!ARENA->policy.hold_after || ARENA->policy.no_adaptive)
		return;
	if (h->pfn == pfn)
		h->rounds++;
	else if (!is_held(h->pfn))
		*h = (struct held){ .pfn = pfn, .rounds = 1, .rounds_wanted = ARENA->policy.hold_after };
}

/* False: overdrawn. */
static bool pay(struct held *h, int price)
{
	h->credit -= price;
	if (h->credit >= 0)
		return true;
	let_go(h, 4 * h->rounds_wanted);
	return false;
}

enum fill_result hold_trapped(struct vcpu *v, u64 pa, bool user)
{
	struct held *h = held_at(pa >> PAGE_SHIFT);

	if (!pay(h, user ? TRAP_COSTS : CREDIT_MOST + 1))
		return FILL_DONE;
	if (h->writer != v->rip)
		h->writer_traps = 0;
	h->writer = v->rip;
	return ++h->writer_traps < WRITER_TRAPS ? FILL_ONCE : FILL_TRACED;
}

void hold_written(u64 pa, u32 len)
{
	pay(held_at(pa >> PAGE_SHIFT), 1 + (int)len / 64);
}
