/* Debug registers: MOV DR, and what their breakpoints match.
 *
 * Which of the four are armed, and for what, is kept in three masks of struct vcpu. Accesses
 * to memory and ports that pass here are noted as hits; the engine delivers them as a trap when
 * the instruction is done (engine.c). That every access passes here while a data breakpoint is
 * armed is the engine's work: all code is soft then, and the quick TLB leaves watched pages out.
 *
 * Not modelled: hits of the frame that an event pushes, the delay behind MOV SS, and that a
 * repeated string instruction traps after the iteration that hits (it does when it ends).
 * Follows SDM vol. 3 18.2 and 18.3. */
#include "priv.h"

#define DR6_FIXED 0xffff0ff0UL
#define DR6_WRITABLE 0x0000e00fUL
#define DR6_BD BIT(13)
#define DR7_FIXED BIT(10)
#define DR7_WRITABLE 0xffff23ffUL
#define DR7_GD BIT(13)

enum { ON_CODE, ON_WRITE, ON_IO, ON_ACCESS };

static unsigned kind_of(const struct vcpu *v, unsigned i) { return v->dr[7] >> (16 + 4 * i) & 3; }

static u64 length_of(const struct vcpu *v, unsigned i)
{
	static const u8 lengths[] = { 1, 2, 8, 4 };

	return lengths[v->dr[7] >> (18 + 4 * i) & 3];
}

/* After a change of DR0 to DR3 or DR7. */
static void breakpoints_changed(struct vcpu *v)
{
	bool were = cpu_breakpoints_armed(v);

	v->break_code = v->break_data = v->break_io = 0;
	for (unsigned i = 0; i < 4; i++) {
		u8 bit = (u8)(1u << i);

		if (!(v->dr[7] >> 2 * i & 3))
			continue;
		switch (kind_of(v, i)) {
		case ON_CODE: v->break_code |= bit; break;
		case ON_IO: v->break_io |= bit; break;
		default: v->break_data |= bit; break;
		}
	}
	if (were || cpu_breakpoints_armed(v))
		v->event_pending = 1; /* what comes next is another kind of code */
	if (v->break_data)
		mmu_flush_all(v);
}

static bool overlaps(const struct vcpu *v, unsigned i, u64 a, u64 len)
{
	u64 n = length_of(v, i), at = v->dr[i] & ~(n - 1);

	return a < at + n && at < a + len;
}

void cpu_note_access(struct vcpu *v, u64 a, u32 len, bool write)
{
	for (unsigned i = 0; i < 4; i++)
		if ((v->break_data >> i & 1) && (write || kind_of(v, i) == ON_ACCESS) && overlaps(v, i, a, len))
			v->break_hits |= (u8)(1u << i);
}

void cpu_note_io(struct vcpu *v, u16 port, u32 len)
{
	for (unsigned i = 0; i < 4; i++)
		if ((v->break_io >> i & 1) && (v->cr4 & CR4_DE) && overlaps(v, i, port, len))
			v->break_hits |= (u8)(1u << i);
}

bool cpu_page_is_watched(const struct vcpu *v, u64 a)
{
	for (unsigned i = 0; i < 4; i++)
		if ((v->break_data >> i & 1) && !((v->dr[i] ^ a) & PAGE_MASK))
			return true;
	return false;
}

/* Kernel and user code lie in different halves, so that code of one half runs as ever while
 * breakpoints are in the other. */
bool cpu_breakpoint_is_near(const struct vcpu *v)
{
	for (unsigned i = 0; i < 4; i++)
		if ((v->break_code >> i & 1) && v->dr[i] >> 63 == v->rip >> 63)
			return true;
	return false;
}

/* Is there one at RIP? Then v->exc is the exception: a fault, before the instruction. */
bool cpu_breakpoint_at_rip(struct vcpu *v)
{
	u64 hits = 0;

	for (unsigned i = 0; i < 4; i++)
		if ((v->break_code >> i & 1) && v->dr[i] == v->rip)
			hits |= 1u << i;
	if (!hits || (v->rflags & FL_RF))
		return false;
	v->dr[6] |= hits;
	cpu_fault(v, EXC_DB);
	return true;
}

static int write_dr(struct vcpu *v, unsigned dr, u64 val)
{
	if (dr >= 6 && val >> 32)
		return cpu_fault_err(v, EXC_GP, 0);
	if (dr == 6)
		val = (val & DR6_WRITABLE) | DR6_FIXED;
	else if (dr == 7)
		val = (val & DR7_WRITABLE) | DR7_FIXED;
	v->dr[dr] = val;
	if (dr != 6)
		breakpoints_changed(v);
	return CPU_NEXT;
}

int op_mov_dr(struct vcpu *v, const struct insn *in)
{
	unsigned dr = in->reg, size = in->code_size == 64 ? 8 : 4;

	if (dr > 7 || ((dr == 4 || dr == 5) && (v->cr4 & CR4_DE)))
		return cpu_fault(v, EXC_UD);
	if (v->cpl)
		return cpu_fault_err(v, EXC_GP, 0);
	if (dr == 4 || dr == 5)
		dr += 2;
	if (v->dr[7] & DR7_GD) {
		v->dr[6] |= DR6_BD;
		return cpu_fault(v, EXC_DB);
	}
	if (in->opcode & 2)
		return write_dr(v, dr, reg_read(v, in->rm, size));
	reg_write(v, in->rm, v->dr[dr], size);
	return CPU_NEXT;
}
