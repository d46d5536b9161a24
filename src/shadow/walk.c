/* The guest page walker.
 *
 * Follows SDM vol. 3, chapter 4: 4.5 (4-level paging with 4 KiB, 2 MiB and 1 GiB
 * pages), 4.6 (access rights), 4.7 (error codes), 4.8 (accessed and dirty flags).
 * Accessed flags are set only when the whole translation succeeds, all at once; the
 * manual allows processors to set those of upper levels earlier. Tables that are not
 * in RAM read as all ones, as the bus does.
 *
 * Not modelled: PAE and 32-bit paging, 5-level paging, protection keys of the guest.
 * Any access under these raises #PF (not present). */
#include "internal.h"

static u64 *pte_ptr(u64 table, unsigned index)
{
	if (!physmem_is_ram(&ARENA->machine.phys, gpa(table)))
		return NULL;
	return (u64 *)physmem_ptr(gpa(table)) + index;
}

u64 pte_read(u64 table, unsigned index)
{
	u64 *p = pte_ptr(table, index);

	return p ? __atomic_load_n(p, __ATOMIC_RELAXED) : ~0UL;
}

bool pte_reserved(const struct vcpu *v, unsigned level, u64 e)
{
	u64 rsvd = PTE_RSVD;

	if (!(v->efer & EFER_NXE))
		rsvd |= PTE_NX;
	if (level == 4)
		rsvd |= PTE_PS;
	else if (level > 1 && (e & PTE_PS))
		rsvd |= (BIT(level_shift(level)) - 1) & ~(BIT(13) - 1);
	return e & rsvd;
}

static bool is_leaf(unsigned level, u64 e)
{
	return level == 1 || (level < 4 && (e & PTE_PS));
}

/* Reads the entries for a; 0, or the error code's P and RSVD bits with *fault set. */
static u32 path_load(const struct vcpu *v, u64 a, struct walk *out, struct path *p, bool *fault)
{
	u64 table = cpu_root(v), e = 0;
	unsigned level = 4;

	*p = (struct path){ .rw = true, .us = true };
	*fault = true;
	for (;; level--) {
		out->table[p->n] = gpa(table);
		p->ptr[p->n] = pte_ptr(table, level_index(a, level));
		e = p->ptr[p->n] ? __atomic_load_n(p->ptr[p->n], __ATOMIC_RELAXED) : ~0UL;
		p->entry[p->n++] = e;
		if (!(e & PTE_P))
			return 0;
		if (pte_reserved(v, level, e))
			return PF_P | PF_RSVD;
		p->rw &= !!(e & PTE_RW);
		p->us &= !!(e & PTE_US);
		p->nx |= !!(e & PTE_NX);
		if (is_leaf(level, e))
			break;
		table = e & PTE_ADDR;
	}
	*fault = false;
	p->level = level;
	out->levels = p->n;
	out->page_size = BIT(level_shift(level));
	out->gpa = gpa((e & PTE_ADDR & ~(out->page_size - 1)) | (a & (out->page_size - 1)));
	out->global = (e & PTE_G) && (v->cr4 & CR4_PGE);
	out->user = p->us;
	out->exec = !p->nx;
	return 0;
}

static bool permitted(const struct vcpu *v, u32 acc, bool user, const struct path *p)
{
	if (user && !p->us)
		return false;
	if (acc & ACC_EXEC) {
		if (p->nx || (!user && p->us && (v->cr4 & CR4_SMEP)))
			return false;
	} else if (!user && p->us && (v->cr4 & CR4_SMAP)) {
		if ((acc & ACC_IMPLICIT_SUPERVISOR) || !(v->rflags & FL_AC))
			return false;
	}
	if ((acc & ACC_WRITE) && !p->rw)
		return !user && !(v->cr0 & CR0_WP);
	return true;
}

/* Sets A in every entry and D in the last for a write. False: the guest's tables
 * changed under the walk. */
static bool path_mark(struct path *p, u32 acc)
{
	for (unsigned i = 0; i < p->n; i++) {
		u64 want = p->entry[i] | PTE_A;

		if (i == p->n - 1u && (acc & ACC_WRITE))
			want |= PTE_D;
		if (want == p->entry[i])
			continue;
		if (!__atomic_compare_exchange_n(p->ptr[i], &p->entry[i], want, false,
						 __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
			return false;
		p->entry[i] = want;
	}
	return true;
}

static u32 fault_code(const struct vcpu *v, u32 acc, bool user)
{
	u32 code = user ? PF_U : 0;

	if (acc & ACC_WRITE)
		code |= PF_W;
	if ((acc & ACC_EXEC) && ((v->efer & EFER_NXE) || (v->cr4 & CR4_SMEP)))
		code |= PF_I;
	return code;
}

static int walk_long(struct vcpu *v, u64 a, u32 acc, bool user, struct walk *out, struct path *p)
{
	bool fault;

	if (!gla_is_canonical(a))
		return cpu_fault_err(v, EXC_GP, 0);
	do {
		u32 code = path_load(v, a, out, p, &fault);

		if (!fault && !permitted(v, acc, user, p)) {
			fault = true;
			code = PF_P;
		}
		if (fault)
			return cpu_fault_page(v, gla(a), code | fault_code(v, acc, user));
	} while (!path_mark(p, acc));
	out->writable = p->rw || (!user && !(v->cr0 & CR0_WP));
	out->dirty = p->entry[p->n - 1] & PTE_D;
	return 0;
}

int walk_path(struct vcpu *v, gla_t a, u32 acc, bool user, struct walk *out, struct path *p)
{
	if (!cpu_paging(v)) {
		*p = (struct path){ .rw = true, .us = true, .level = 3 };
		*out = (struct walk){ .gpa = gpa((u32)a.v), .page_size = BIT(30), .writable = true,
				      .user = true, .exec = true, .dirty = true };
		return 0;
	}
	if (!cpu_long_mode(v))
		return cpu_fault_page(v, a, fault_code(v, acc, user));
	return walk_long(v, a.v, acc, user, out, p);
}

bool walk_peek(const struct vcpu *v, u64 a, u64 *to)
{
	struct walk w;
	struct path p;
	bool fault;

	if (!cpu_paging(v)) {
		*to = (u32)a;
		return true;
	}
	if (!cpu_long_mode(v) || !gla_is_canonical(a))
		return false;
	path_load(v, a, &w, &p, &fault);
	*to = w.gpa.v;
	return !fault;
}

bool walk_look(const struct vcpu *v, u64 a, struct walk *out, struct path *p)
{
	bool fault;

	if (!cpu_paging(v) || !cpu_long_mode(v) || !gla_is_canonical(a))
		return false;
	path_load(v, a, out, p, &fault);
	if (fault)
		return false;
	out->dirty = p->entry[p->n - 1] & PTE_D;
	return true;
}

/* Callers outside this folder keep what they learn about code only: the tables behind
 * code mappings are registered, so that the translator hears of changes. Data walks
 * keep nothing beyond the software TLB, which guest flushes clear. */
int walk_gla(struct vcpu *v, gla_t a, u32 acc, bool user, struct walk *out)
{
	struct path p;
	int r = walk_path(v, a, acc, user, out, &p);

	if (r || !(acc & ACC_EXEC) || (!user && gla_is_high(a.v) && shadow_high_is_foreign()))
		return r;
	if (gla_is_high(a.v)) {
		shadow_pool->high_user |= user;
		view_high_used(v, OWNER_HIGH, a.v);
		inval_exec_add(OWNER_HIGH, a.v);
	} else if (view_owner_low(v) >= 0) {
		inval_exec_add(view_owner_low(v), a.v);
	}
	uses_add_path(v, a.v, out);
	return 0;
}
