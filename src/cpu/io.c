/* Port I/O: IN, OUT and the permission check that INS and OUTS share.
 * Follows SDM vol. 1 19.5: CPL <= IOPL, else the bitmap in the TSS. */
#include "priv.h"
#include "shadowbox/counters.h"

static int io_permitted(struct vcpu *v, u16 port, unsigned size)
{
	const struct seg *tr = &v->seg[SEG_TR];
	u32 acc = ACC_READ | ACC_IMPLICIT_SUPERVISOR;
	u16 map, bits;

	if (!protected_mode(v) || v->cpl <= cpu_iopl(v))
		return CPU_NEXT;
	/* Only 32- and 64-bit TSSs have a bitmap; its offset is at 102 in both. */
	if (!(tr->attr & SEG_A_P) || !((tr->attr & SEG_A_TYPE) & 8) || tr->limit < 103)
		return cpu_fault_err(v, EXC_GP, 0);
	TRY(mem_read(v, gla(tr->base + 102), &map, 2, acc));
	if (map + port / 8u + 1 > tr->limit)
		return cpu_fault_err(v, EXC_GP, 0);
	TRY(mem_read(v, gla(tr->base + map + port / 8u), &bits, 2, acc));
	if (bits >> (port & 7) & size_mask(1) >> (8 - size))
		return cpu_fault_err(v, EXC_GP, 0);
	return CPU_NEXT;
}

int io_check(struct vcpu *v, u16 port, unsigned size)
{
	TRY(io_permitted(v, port, size));
	if (unlikely(v->break_io))
		cpu_note_io(v, port, size);
	return CPU_NEXT;
}

/* E4-E7 take the port as an immediate, EC-EF from DX; odd opcodes are the wide ones. */
static u16 port_of(const struct vcpu *v, const struct insn *in)
{
	return (in->opcode & 8) ? v->gpr[RDX] : (u8)in->imm;
}

static unsigned io_size(const struct insn *in)
{
	return !(in->opcode & 1) ? 1 : in->opsize == 2 ? 2 : 4;
}

int op_in(struct vcpu *v, const struct insn *in)
{
	unsigned size = io_size(in);
	u16 port = port_of(v, in);

	TRY(io_check(v, port, size));
	v->counters[CTR_PIO]++;
	reg_write(v, RAX, bus_read(cpu_machine(), BUS_PIO, port, size), size);
	return CPU_NEXT;
}

int op_out(struct vcpu *v, const struct insn *in)
{
	unsigned size = io_size(in);
	u16 port = port_of(v, in);

	TRY(io_check(v, port, size));
	v->counters[CTR_PIO]++;
	bus_write(cpu_machine(), BUS_PIO, port, reg_read(v, RAX, size), size);
	return CPU_NEXT;
}
