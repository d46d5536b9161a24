/* Guest memory accessed by shadowbox itself: a software TLB, and copies on top of it.
 *
 * The TLB is direct-mapped, per 4 KiB page and privilege; it is as coherent as a
 * hardware TLB: flushed by the mmu_* functions only. Rights are cached separately for
 * reads, writes (only with the dirty flag set) and fetches. What SMAP makes of a user
 * page depends on RFLAGS.AC and is checked at each use. Traces are looked up at each
 * use too: they may come and go.
 *
 * MMIO accesses are split into naturally aligned pieces of up to 8 bytes. A write that
 * crosses a page is checked for both pages before any byte changes. */
#include "internal.h"
#include "shadowbox/bus.h"

void soft_tlb_flush(bool global)
{
	struct soft_tlb *t = &shadow_pool->tlb;

	quick_flush();
	t->clock++;
	t->flushed_any = t->clock;
	if (global) {
		t->flushed_global = t->clock;
		t->large[HALF_LOW] = t->large[HALF_HIGH] = false;
	}
}

static struct soft_entry *entry_of(u64 page, bool user)
{
	u64 n = page >> PAGE_SHIFT;

	return &shadow_pool->tlb.entry[(n ^ (n >> 10) ^ (user ? 0x155 : 0)) % SOFT_TLB_SIZE];
}

void soft_tlb_drop(u64 a)
{
	struct soft_tlb *t = &shadow_pool->tlb;
	u64 page = a & PAGE_MASK;

	if (t->large[gla_is_high(a)]) {
		soft_tlb_flush(true);
		return;
	}
	quick_drop(a);
	for (int user = 0; user < 2; user++)
		entry_of(page, user)->stamp = 0;
}

static bool entry_fresh(const struct soft_entry *e)
{
	const struct soft_tlb *t = &shadow_pool->tlb;

	return e->stamp >= (e->global ? t->flushed_global : t->flushed_any);
}

static bool smap_denies(const struct vcpu *v, const struct soft_entry *e, u32 acc, bool user)
{
	if (user || !e->user_page || (acc & ACC_EXEC) || !(v->cr4 & CR4_SMAP))
		return false;
	return (acc & ACC_IMPLICIT_SUPERVISOR) || !(v->rflags & FL_AC);
}

static unsigned tag_index(u32 acc)
{
	return acc & ACC_WRITE ? 1 : acc & ACC_EXEC ? 2 : 0;
}

static int entry_fill(struct vcpu *v, struct soft_entry *e, u64 a, u32 acc, bool user)
{
	struct soft_tlb *t = &shadow_pool->tlb;
	u64 page = a & PAGE_MASK, tag = page | user | 2;
	struct walk w;
	struct path p;
	int r = walk_path(v, gla(a), acc, user, &w, &p);

	if (r) {
		if (v->exc.vector == EXC_PF)
			count(v, CTR_FAULT_TRUE);
		return r;
	}
	*e = (struct soft_entry){ .pa = w.gpa.v & PAGE_MASK, .stamp = t->clock,
				  .global = w.global, .user_page = w.user };
	e->ram = physmem_is_ram(&ARENA->machine.phys, gpa(e->pa));
	e->tag[tag_index(acc)] = tag;
	if (!(acc & ACC_EXEC))
		e->tag[0] = tag;
	if (!(acc & ACC_EXEC) && w.writable && w.dirty)
		e->tag[1] = tag;
	if (w.page_size > PAGE_SIZE)
		t->large[gla_is_high(a)] = true;
	return 0;
}

static int translate(struct vcpu *v, u64 a, u32 acc, struct soft_entry **out)
{
	bool user = v->cpl == 3 && !(acc & ACC_IMPLICIT_SUPERVISOR);
	u64 page = a & PAGE_MASK;
	struct soft_entry *e = entry_of(page, user);

	*out = e;
	if (likely(e->tag[tag_index(acc)] == (page | user | 2) && entry_fresh(e) &&
		   !smap_denies(v, e, acc, user)))
		return 0;
	return entry_fill(v, e, a, acc, user);
}

/* What depends on RFLAGS.AC stays out. */
static void fill_quick(const struct vcpu *v, const struct soft_entry *e, u64 a, u32 acc, enum quick_use use)
{
	bool user = v->cpl == 3 && !(acc & ACC_IMPLICIT_SUPERVISOR);

	if (!(acc & ACC_EXEC) && !(!user && e->user_page && (v->cr4 & CR4_SMAP)) &&
	    likely(!v->break_data || !cpu_page_is_watched(v, a)))
		quick_fill(a, e->pa, use, user);
}

int soft_resolve(struct vcpu *v, gla_t a, u32 len, u32 acc, struct soft_ref *out)
{
	struct soft_entry *e;
	u64 off = a.v & (PAGE_SIZE - 1);
	int r = translate(v, a.v, acc, &e);

	if (r)
		return r;
	if (unlikely(v->break_data) && !(acc & (ACC_EXEC | ACC_IMPLICIT_SUPERVISOR)))
		cpu_note_access(v, a.v, len, acc & ACC_WRITE);
	out->gpa = gpa(e->pa + off);
	out->ptr = physmem_ptr(out->gpa);
	if (unlikely(off + len > PAGE_SIZE)) {
		out->kind = SOFT_SPLIT;
		return translate(v, (a.v & PAGE_MASK) + PAGE_SIZE, acc, &e);
	}
	if (!e->ram)
		out->kind = SOFT_MMIO;
	else if ((acc & ACC_WRITE) && page_flags_of(e->pa))
		out->kind = SOFT_TRACED;
	else
		out->kind = SOFT_RAM;
	if (out->kind == SOFT_RAM)
		fill_quick(v, e, a.v, acc, acc & ACC_WRITE ? QUICK_WRITE : QUICK_READ);
	else if (out->kind == SOFT_TRACED && page_flags_of(e->pa) == PAGE_PT)
		fill_quick(v, e, a.v, acc, QUICK_STORE);
	return 0;
}

/* Aligned accesses of up to 8 bytes are single ones, as guests rely on. */
static void copy_piece(void *to, const void *from, u32 len)
{
	switch (len) {
	case 1: *(u8 *)to = *(const u8 *)from; return;
	case 2: *(u16 *)to = *(const u16 *)from; return;
	case 4: *(u32 *)to = *(const u32 *)from; return;
	case 8: *(u64 *)to = *(const u64 *)from; return;
	}
	memcpy(to, from, len);
}

static void mmio_copy(struct vcpu *v, gpa_t a, u8 *buf, u32 len, bool write)
{
	struct machine *m = &ARENA->machine;

	while (len) {
		u32 n = 8;
		u64 val = 0;

		while (n > len || (a.v & (n - 1)))
			n /= 2;
		count(v, CTR_MMIO);
		if (write) {
			memcpy(&val, buf, n);
			bus_write(m, BUS_MMIO, a.v, val, n);
		} else {
			val = bus_read(m, BUS_MMIO, a.v, n);
			memcpy(buf, &val, n);
		}
		a.v += n;
		buf += n;
		len -= n;
	}
}

static void write_traced(struct vcpu *v, const struct soft_ref *ref, const void *buf, u32 len)
{
	struct trace_write tw;

	trace_write_begin(&tw, ref->gpa, len);
	copy_piece(ref->ptr, buf, len);
	trace_write_end(v, &tw);
}

static u32 piece_len(u64 a, u32 len)
{
	u64 room = PAGE_SIZE - (a & (PAGE_SIZE - 1));

	return len < room ? len : (u32)room;
}

int mem_read(struct vcpu *v, gla_t a, void *buf, u32 len, u32 acc)
{
	u8 *to = buf;

	while (len) {
		u32 n = piece_len(a.v, len);
		struct soft_ref ref;
		int r = soft_resolve(v, a, n, acc & ACC_EXEC ? acc : acc | ACC_READ, &ref);

		if (r)
			return r;
		if (ref.kind == SOFT_MMIO)
			mmio_copy(v, ref.gpa, to, n, false);
		else
			copy_piece(to, ref.ptr, n);
		a.v += n;
		to += n;
		len -= n;
	}
	return CPU_NEXT;
}

int mem_probe_write(struct vcpu *v, gla_t a, u32 len, u32 acc)
{
	while (len) {
		u32 n = piece_len(a.v, len);
		struct soft_entry *e;
		int r = translate(v, a.v, acc | ACC_WRITE, &e);

		if (r)
			return r;
		a.v += n;
		len -= n;
	}
	return CPU_NEXT;
}

int mem_write(struct vcpu *v, gla_t a, const void *buf, u32 len, u32 acc)
{
	const u8 *from = buf;

	acc |= ACC_WRITE;
	if (piece_len(a.v, len) < len) {
		int r = mem_probe_write(v, a, len, acc);

		if (r)
			return r;
	}
	while (len) {
		u32 n = piece_len(a.v, len);
		struct soft_ref ref;
		int r = soft_resolve(v, a, n, acc, &ref);

		if (r)
			return r;
		if (ref.kind == SOFT_MMIO)
			mmio_copy(v, ref.gpa, (u8 *)from, n, true);
		else if (ref.kind == SOFT_TRACED)
			write_traced(v, &ref, from, n);
		else
			copy_piece(ref.ptr, from, n);
		a.v += n;
		from += n;
		len -= n;
	}
	return CPU_NEXT;
}
