/* Samples of where the CPU time goes (-d prof); what they are: profile.h.
 *
 * The engine notes what it is about to do (engine.doing), so that a sample needs no look at
 * the stack. A handler runs with signals blocked: a sample that falls due in one arrives
 * right behind it, and is known by that. It then makes what it interrupts leave for the
 * engine, as every asynchronous signal does. */
#define _GNU_SOURCE
#include <ucontext.h>
#include "engine.h"
#include "shadowbox/profile.h"
#include "shadowbox/sandbox.h"

#define BEHIND 10000 /* cycles: a handler's return and the next one's entry take less */

static u64 handled; /* when the last handler returned */

const struct profile *dbt_profile(void) { return &cache->profile; }

void profile_handled(void) { handled = __builtin_ia32_rdtsc(); }

static enum profile_kind kind_of_block(const struct block *b)
{
	switch (b->flavour) {
	case FLAVOUR_USER: return PROF_USER_DBT;
	case FLAVOUR_SOFT: return PROF_SOFT_CODE;
	default: return PROF_KERNEL;
	}
}

static enum profile_kind classify(const ucontext_t *uc, u64 *rip)
{
	u64 pc = (u64)uc->uc_mcontext.gregs[REG_RIP];
	const struct block *b = cache_block_at(pc);
	bool native = !b && fault_runs_native(uc);

	*rip = b ? b->gva + cache_mark(b, pc)->goff : native ? pc : VCPU->rip;
	if (__builtin_ia32_rdtsc() - handled < BEHIND)
		return PROF_TRAPS;
	if (b)
		return kind_of_block(b);
	if (native)
		return PROF_USER;
	return pc - CODE_RX_HVA < CODE_SIZE ? PROF_STUBS : engine.doing;
}

void profile_sample(const ucontext_t *uc)
{
	struct profile *p = &cache->profile;
	u64 rip;
	enum profile_kind kind = classify(uc, &rip);
	u64 hash = (rip ^ (u64)kind << 56) * 0x9e3779b97f4a7c15UL;

	p->samples++;
	p->kind[kind]++;
	for (unsigned i = 0; i < 16; i++) {
		struct profile_slot *s = &p->slot[((hash >> 50) + i) & (PROFILE_SLOTS - 1)];

		if (!s->count) {
			s->rip = rip;
			s->kind = kind;
		} else if (s->rip != rip || s->kind != kind) {
			continue;
		}
		s->count++;
		return;
	}
	p->lost++;
}
