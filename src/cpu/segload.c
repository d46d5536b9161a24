/* Loading segment registers: MOV, POP, LDS..LGS, LLDT, LTR, and the stack segments and
 * stacks that privilege changes switch to.
 *
 * Follows SDM vol. 2 (MOV, LLDT, LTR), vol. 3 5.4-5.8, 8.7. A null selector loaded into
 * FS or GS clears the base, as Intel CPUs do and as the AMD models announce
 * (NullSelectorClearsBase). Not modelled: virtual-8086 mode. */
#include "priv.h"

static struct seg null_seg(u16 sel)
{
	return (struct seg){ .sel = sel };
}

struct seg ss_null(unsigned cpl)
{
	return (struct seg){
		.sel = cpl,
		.attr = SEG_A_P | SEG_A_S | SEG_A_DB | SEG_A_G | DESC_RW | DESC_ACCESSED |
			cpl << SEG_A_DPL_SHIFT,
		.limit = 0xffffffff,
	};
}

int ss_check(struct vcpu *v, u16 sel, unsigned cpl, u8 vector, u32 ext, struct seg *out)
{
	u32 error = sel_error(sel) | ext;
	struct desc d;

	TRY(desc_fetch(v, sel, vector, ext, &d));
	if ((sel & 3) != cpl || !desc_writable_data(&d) || desc_dpl(&d) != cpl)
		return cpu_fault_err(v, vector, error);
	if (!desc_present(&d))
		return cpu_fault_err(v, EXC_SS, error);
	TRY(desc_set_accessed(v, &d));
	seg_from_desc(out, sel, &d);
	return CPU_NEXT;
}

static int load_ss(struct vcpu *v, u16 sel)
{
	struct seg s;

	if (sel_null(sel)) {
		if (!in_64bit(v) || v->cpl == 3 || (sel & 3) != v->cpl)
			return cpu_fault_err(v, EXC_GP, 0);
		v->seg[SEG_SS] = ss_null(v->cpl);
		return CPU_NEXT;
	}
	TRY(ss_check(v, sel, v->cpl, EXC_GP, 0, &s));
	v->seg[SEG_SS] = s;
	return CPU_NEXT;
}

int cpu_load_seg(struct vcpu *v, enum seg_reg reg, u16 sel)
{
	struct desc d;

	if (reg == SEG_CS || reg > SEG_GS)
		return cpu_fault(v, EXC_UD);
	if (!protected_mode(v)) {
		v->seg[reg].sel = sel;
		v->seg[reg].base = sel << 4;
		return CPU_NEXT;
	}
	if (reg == SEG_SS)
		return load_ss(v, sel);
	if (sel_null(sel)) {
		v->seg[reg] = null_seg(sel);
		return CPU_NEXT;
	}
	TRY(desc_fetch(v, sel, EXC_GP, 0, &d));
	if (!desc_is_data(&d) && !(desc_is_code(&d) && (desc_type(&d) & DESC_RW)))
		return cpu_fault_err(v, EXC_GP, sel_error(sel));
	if (!desc_conforming(&d) && ((sel & 3u) > desc_dpl(&d) || v->cpl > desc_dpl(&d)))
		return cpu_fault_err(v, EXC_GP, sel_error(sel));
	if (!desc_present(&d))
		return cpu_fault_err(v, EXC_NP, sel_error(sel));
	TRY(desc_set_accessed(v, &d));
	seg_from_desc(&v->seg[reg], sel, &d);
	return CPU_NEXT;
}

void seg_drop_privileged(struct vcpu *v)
{
	static const u8 data_segs[] = { SEG_ES, SEG_DS, SEG_FS, SEG_GS };

	for (size_t i = 0; i < ARRAY_LEN(data_segs); i++) {
		struct seg *s = &v->seg[data_segs[i]];
		unsigned dpl = (s->attr >> SEG_A_DPL_SHIFT) & 3;
		bool conforming = (s->attr & DESC_CODE) && (s->attr & DESC_CONFORMING);

		/* Null already (base kept: it may hold a 64-bit FS or GS base). */
		if (sel_null(s->sel))
			continue;
		if (!conforming && dpl < v->cpl)
			*s = (struct seg){ .base = s->base };
	}
}

bool cpu_segments_outlive_cpl0(const struct vcpu *v)
{
	static const u8 data_segs[] = { SEG_ES, SEG_DS, SEG_FS, SEG_GS };

	for (size_t i = 0; i < ARRAY_LEN(data_segs); i++) {
		const struct seg *s = &v->seg[data_segs[i]];

		if (!sel_null(s->sel) && ((s->attr >> SEG_A_DPL_SHIFT) & 3) != 3)
			return false;
	}
	return true;
}

int tss_stack64(struct vcpu *v, unsigned slot_offset, u32 ext, u64 *rsp)
{
	const struct seg *tr = &v->seg[SEG_TR];

	if (slot_offset + 7 > tr->limit)
		return cpu_fault_err(v, EXC_TS, sel_error(tr->sel) | ext);
	TRY(mem_read64(v, tr->base + slot_offset, rsp, ACC_IMPLICIT_SUPERVISOR));
	return is_canonical(*rsp) ? CPU_NEXT : cpu_fault_err(v, EXC_SS, ext);
}

int tss_stack32(struct vcpu *v, unsigned cpl, u32 ext, u16 *ss, u32 *esp)
{
	const struct seg *tr = &v->seg[SEG_TR];
	bool wide = (tr->attr & SEG_A_TYPE) & 8;
	unsigned off = wide ? 4 + cpl * 8 : 2 + cpl * 4, width = wide ? 4 : 2;
	u32 acc = ACC_READ | ACC_IMPLICIT_SUPERVISOR;

	if (off + width + 1 > tr->limit)
		return cpu_fault_err(v, EXC_TS, sel_error(tr->sel) | ext);
	*esp = 0;
	TRY(mem_read(v, gla(tr->base + off), esp, width, acc));
	TRY(mem_read(v, gla(tr->base + off + width), ss, 2, acc));
	return sel_null(*ss) ? cpu_fault_err(v, EXC_TS, ext) : CPU_NEXT;
}

/* --- instructions -------------------------------------------------------------------- */
int op_mov_to_seg(struct vcpu *v, const struct insn *in)
{
	unsigned reg = (in->modrm >> 3) & 7;
	u64 sel;

	if (reg == SEG_CS || reg > SEG_GS)
		return cpu_fault(v, EXC_UD);
	TRY(rm_read(v, in, &sel, 2));
	TRY(cpu_load_seg(v, reg, sel));
	if (reg == SEG_SS)
		v->intr_shadow = SHADOW_SS;
	return CPU_NEXT;
}

int op_mov_from_seg(struct vcpu *v, const struct insn *in)
{
	unsigned reg = (in->modrm >> 3) & 7;

	if (reg > SEG_GS)
		return cpu_fault(v, EXC_UD);
	return rm_write(v, in, v->seg[reg].sel, in->has_mem ? 2 : in->opsize);
}

int op_push_seg(struct vcpu *v, const struct insn *in)
{
	unsigned size = stack_opsize(in), written = size == 4 ? 2 : size;
	struct stack s;

	/* A 32-bit push moves the pointer by 4 but writes only the selector. */
	stack_current(v, &s);
	stack_adjust(&s, -(i64)(size - written));
	TRY(stack_push(v, &s, v->seg[in->reg & 7].sel, written));
	stack_commit(v, &s);
	return CPU_NEXT;
}

int op_pop_seg(struct vcpu *v, const struct insn *in)
{
	struct stack s;
	u64 sel;

	stack_current(v, &s);
	TRY(stack_pop(v, &s, &sel, 2));
	TRY(cpu_load_seg(v, in->reg & 7, sel));
	stack_adjust(&s, (i64)stack_opsize(in) - 2);
	stack_commit(v, &s);
	if (in->reg == SEG_SS)
		v->intr_shadow = SHADOW_SS;
	return CPU_NEXT;
}

/* LES C4, LDS C5; 0F B2 LSS, B4 LFS, B5 LGS. */
int op_load_far_ptr(struct vcpu *v, const struct insn *in)
{
	enum seg_reg reg = in->opcode == 0xc4 ? SEG_ES : in->opcode == 0xc5 ? SEG_DS
			   : in->opcode == 0xb2 ? SEG_SS : in->opcode == 0xb4 ? SEG_FS : SEG_GS;
	u64 off = 0;
	u16 sel;

	if (!in->has_mem)
		return cpu_fault(v, EXC_UD);
	TRY(operand_read(v, in, 0, &off, in->opsize));
	TRY(operand_read(v, in, in->opsize, &sel, 2));
	TRY(cpu_load_seg(v, reg, sel));
	reg_write(v, in->reg, off, in->opsize);
	return CPU_NEXT;
}

static int system_desc(struct vcpu *v, u16 sel, unsigned type, unsigned alt_type, struct desc *d)
{
	u32 error = sel_error(sel);

	if (sel & 4)
		return cpu_fault_err(v, EXC_GP, error);
	TRY(desc_fetch(v, sel, EXC_GP, 0, d));
	if (desc_is_segment(d) || (desc_type(d) != type && desc_type(d) != alt_type))
		return cpu_fault_err(v, EXC_GP, error);
	if (!desc_present(d))
		return cpu_fault_err(v, EXC_NP, error);
	if (!cpu_long_mode(v))
		return CPU_NEXT;
	TRY(desc_fetch_upper(v, sel, d));
	if ((d->reserved & 0x1f00) || !is_canonical(desc_base(d)))
		return cpu_fault_err(v, EXC_GP, error);
	return CPU_NEXT;
}

static int check_system_load(struct vcpu *v)
{
	if (!protected_mode(v))
		return cpu_fault(v, EXC_UD);
	return v->cpl ? cpu_fault_err(v, EXC_GP, 0) : CPU_NEXT;
}

int op_lldt(struct vcpu *v, const struct insn *in)
{
	struct desc d;
	u64 sel;

	TRY(check_system_load(v));
	TRY(rm_read(v, in, &sel, 2));
	if (sel_null(sel)) {
		v->seg[SEG_LDTR] = null_seg(sel);
		return CPU_NEXT;
	}
	TRY(system_desc(v, sel, DT_LDT, DT_LDT, &d));
	seg_from_desc(&v->seg[SEG_LDTR], sel, &d);
	return CPU_NEXT;
}

int op_ltr(struct vcpu *v, const struct insn *in)
{
	struct desc d;
	u64 sel;
	u8 type;

	TRY(check_system_load(v));
	TRY(rm_read(v, in, &sel, 2));
	if (sel_null(sel))
		return cpu_fault_err(v, EXC_GP, 0);
	TRY(system_desc(v, sel, DT_TSS, cpu_long_mode(v) ? DT_TSS : DT_TSS16, &d));
	type = (d.hi >> 8) | 2; /* busy */
	TRY(mem_write(v, gla(d.addr + 5), &type, 1, ACC_WRITE | ACC_IMPLICIT_SUPERVISOR));
	d.hi |= 2 << 8;
	seg_from_desc(&v->seg[SEG_TR], sel, &d);
	return CPU_NEXT;
}
