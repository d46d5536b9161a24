/* Segment descriptors: reading them from the GDT and LDT and taking them apart
 * (SDM vol. 3 3.4.5, 3.5, 7.2). Table accesses ignore CPL. */
#include "priv.h"

#define SEL_TI 4

u64 desc_base(const struct desc *d)
{
	u64 base = (d->lo >> 16) | (d->hi & 0xff) << 16 | (d->hi & 0xff000000);

	return desc_is_segment(d) ? base : base | (u64)d->base_hi << 32;
}

u32 desc_limit(const struct desc *d)
{
	u32 limit = (d->lo & 0xffff) | (d->hi & 0xf0000);

	return (d->hi & (1 << 23)) ? limit << 12 | 0xfff : limit;
}

u16 desc_attr(const struct desc *d)
{
	return (d->hi >> 8) & 0xf0ff;
}

void seg_from_desc(struct seg *s, u16 sel, const struct desc *d)
{
	s->sel = sel;
	s->attr = desc_attr(d);
	s->limit = desc_limit(d);
	s->base = desc_base(d);
	if (desc_is_segment(d))
		s->attr |= SEG_A_S | DESC_ACCESSED;
}

/* The table that sel points into; false if there is none or sel lies beyond it. */
static bool table_slot(const struct vcpu *v, u16 sel, unsigned bytes, u64 *addr)
{
	u64 off = sel & ~7u;

	if (sel & SEL_TI) {
		const struct seg *ldt = &v->seg[SEG_LDTR];

		if (!(ldt->attr & SEG_A_P) || off + bytes - 1 > ldt->limit)
			return false;
		*addr = ldt->base + off;
		return true;
	}
	if (off + bytes - 1 > v->gdtr.limit)
		return false;
	*addr = v->gdtr.base + off;
	return true;
}

int desc_find(struct vcpu *v, u16 sel, struct desc *d, bool *found)
{
	*d = (struct desc){ 0 };
	*found = !sel_null(sel) && table_slot(v, sel, 8, &d->addr);
	if (!*found)
		return CPU_NEXT;
	return mem_read(v, gla(d->addr), &d->lo, 8, ACC_READ | ACC_IMPLICIT_SUPERVISOR);
}

int desc_fetch(struct vcpu *v, u16 sel, u8 vector, u32 ext, struct desc *d)
{
	bool found;

	TRY(desc_find(v, sel, d, &found));
	return found ? CPU_NEXT : cpu_fault_err(v, vector, sel_error(sel) | ext);
}

int desc_fetch_upper(struct vcpu *v, u16 sel, struct desc *d)
{
	u64 addr;

	if (!table_slot(v, sel, 16, &addr))
		return cpu_fault_err(v, EXC_GP, sel_error(sel));
	return mem_read(v, gla(addr + 8), &d->base_hi, 8, ACC_READ | ACC_IMPLICIT_SUPERVISOR);
}

int desc_set_accessed(struct vcpu *v, const struct desc *d)
{
	u8 type = (d->hi >> 8) | DESC_ACCESSED;

	if (!desc_is_segment(d) || (desc_type(d) & DESC_ACCESSED))
		return CPU_NEXT;
	return mem_write(v, gla(d->addr + 5), &type, 1, ACC_WRITE | ACC_IMPLICIT_SUPERVISOR);
}
