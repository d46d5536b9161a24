/* Instructions that exist only outside 64-bit code: decimal adjustments, BOUND, SALC.
 * Follows SDM vol. 2. Flags that the manual leaves undefined are computed as current
 * CPUs do where known, else left alone. */
#include "priv.h"

static void set_al(struct vcpu *v, u8 al) { reg_write(v, RAX, al, 1); }
static void set_ax(struct vcpu *v, u16 ax) { reg_write(v, RAX, ax, 2); }

static void set_flag(struct vcpu *v, u64 flag, bool on)
{
	v->rflags = (v->rflags & ~flag) | (on ? flag : 0);
}

/* SF, ZF and PF of a byte result. */
static void flags_of_byte(struct vcpu *v, u8 r)
{
	set_flag(v, FL_ZF, !r);
	set_flag(v, FL_SF, r & 0x80);
	set_flag(v, FL_PF, !(__builtin_popcount(r) & 1));
}

static void decimal_adjust(struct vcpu *v, bool sub)
{
	u8 al = v->gpr[RAX], old = al;
	bool cf = v->rflags & FL_CF, af = (al & 15) > 9 || (v->rflags & FL_AF);
	bool high = old > 0x99 || cf;

	if (af) {
		/* Only subtraction can borrow out of the low digit's correction. */
		cf = sub && (cf || al < 6);
		al += sub ? -6 : 6;
	} else {
		cf = false;
	}
	if (high) {
		al += sub ? -0x60 : 0x60;
		cf = true;
	}
	set_al(v, al);
	flags_of_byte(v, al);
	set_flag(v, FL_AF, af);
	set_flag(v, FL_CF, cf);
}

static void ascii_adjust(struct vcpu *v, bool sub)
{
	u16 ax = v->gpr[RAX];
	bool adjust = (ax & 15) > 9 || (v->rflags & FL_AF);

	if (adjust)
		ax = sub ? ax - 0x106 : ax + 0x106;
	set_ax(v, ax & 0xff0f);
	set_flag(v, FL_AF, adjust);
	set_flag(v, FL_CF, adjust);
}

static int ascii_divide(struct vcpu *v, u8 base)
{
	u8 al = v->gpr[RAX];

	if (!base)
		return cpu_fault(v, EXC_DE);
	set_ax(v, (al / base) << 8 | al % base);
	flags_of_byte(v, al % base);
	return CPU_NEXT;
}

static void ascii_multiply(struct vcpu *v, u8 base)
{
	u16 ax = v->gpr[RAX];
	u8 al = ax + (ax >> 8) * base;

	set_ax(v, al);
	flags_of_byte(v, al);
}

/* DAA 27, DAS 2F, AAA 37, AAS 3F, AAM D4, AAD D5. */
int op_ascii(struct vcpu *v, const struct insn *in)
{
	if (in->code_size == 64)
		return cpu_fault(v, EXC_UD);
	switch (in->opcode) {
	case 0x27: decimal_adjust(v, false); return CPU_NEXT;
	case 0x2f: decimal_adjust(v, true); return CPU_NEXT;
	case 0x37: ascii_adjust(v, false); return CPU_NEXT;
	case 0x3f: ascii_adjust(v, true); return CPU_NEXT;
	case 0xd4: return ascii_divide(v, in->bytes[in->len - 1]);
	case 0xd5: ascii_multiply(v, in->bytes[in->len - 1]); return CPU_NEXT;
	}
	return cpu_fault(v, EXC_UD);
}

int op_bound(struct vcpu *v, const struct insn *in)
{
	i64 index, low, high;
	u32 bounds[2] = { 0 };

	if (in->code_size == 64 || !in->has_mem)
		return cpu_fault(v, EXC_UD);
	TRY(operand_read(v, in, 0, &bounds[0], in->opsize));
	TRY(operand_read(v, in, in->opsize, &bounds[1], in->opsize));
	if (in->opsize == 2) {
		index = (i16)v->gpr[in->reg & 15];
		low = (i16)bounds[0];
		high = (i16)bounds[1];
	} else {
		index = (i32)v->gpr[in->reg & 15];
		low = (i32)bounds[0];
		high = (i32)bounds[1];
	}
	return (index < low || index > high) ? cpu_fault(v, EXC_BR) : CPU_NEXT;
}

int op_salc(struct vcpu *v, const struct insn *in)
{
	if (in->code_size == 64)
		return cpu_fault(v, EXC_UD);
	set_al(v, (v->rflags & FL_CF) ? 0xff : 0);
	return CPU_NEXT;
}
