/* XSAVE, XSAVEC, XSAVEOPT and XRSTOR of the guest (SDM vol. 1 chapter 13).
 *
 * The guest's vector state is live in this processor while the engine runs, so the
 * instruction itself does the work, on a private copy of the guest's area and with the
 * mask cut to the guest's XCR0: an uncut mask would store, or reset, the host's PKRU.
 * XSAVEOPT runs as XSAVE, which its definition allows. */
#include <string.h>
#include "engine.h"
#include "shadowbox/log.h"

#define XSAVE_LEGACY 512
#define XSAVE_HEADER_END 576
#define COMPACT BIT(63)

struct component { u32 size, offset; bool align64; };

static const struct component *components(void)
{
	static struct component c[64];

	if (c[2].size)
		return c;
	for (u32 i = 2; i < 63; i++) {
		u32 eax = 0xd, ebx, ecx = i, edx;
		__asm__ volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
		c[i] = (struct component){ eax, ebx, ecx & 2 };
	}
	return c;
}

u32 xsave_offset(unsigned component) { return components()[component].offset; }

/* Bytes from the start of the area to the end of the last component in mask. */
static u32 area_size(u64 mask, bool compact)
{
	const struct component *c = components();
	u32 end = XSAVE_HEADER_END;

	for (u64 m = mask & ~(3UL | COMPACT); m; m &= m - 1) {
		u32 i = (u32)__builtin_ctzl(m);

		if (compact) {
			if (c[i].align64)
				end = (end + 63) & ~63u;
			end += c[i].size;
		} else if (c[i].offset + c[i].size > end) {
			end = c[i].offset + c[i].size;
		}
	}
	return end;
}

/* XRSTOR raises #GP for a malformed header. */
static bool header_ok(const u64 *h, u64 xcr0)
{
	if (h[1] & COMPACT) {
		u64 comp = h[1] & ~COMPACT;
		if ((comp & ~xcr0) || (h[0] & ~comp))
			return false;
	} else if (h[1] || (h[0] & ~xcr0) || h[2]) {
		return false;
	}
	return !(h[2] | h[3] | h[4] | h[5] | h[6] | h[7]);
}

static int restore(struct vcpu *v, gla_t ea, u8 *area, u64 mask)
{
	u64 h[8];
	u32 size;

	if (mem_read(v, ea, area, XSAVE_HEADER_END, ACC_READ) != CPU_NEXT)
		return CPU_FAULT;
	memcpy(h, area + XSAVE_LEGACY, sizeof(h));
	if (!header_ok(h, v->xcr0))
		return cpu_fault_err(v, EXC_GP, 0);
	size = area_size((h[1] & COMPACT) ? h[1] & ~COMPACT : mask, h[1] & COMPACT);
	if (size > XSAVE_AREA_SIZE)
		return cpu_fault_err(v, EXC_GP, 0);
	if (size > XSAVE_HEADER_END &&
	    mem_read(v, gla(ea.v + XSAVE_HEADER_END), area + XSAVE_HEADER_END, size - XSAVE_HEADER_END, ACC_READ) != CPU_NEXT)
		return CPU_FAULT;
	return fpu_xrstor(area, mask) < 0 ? cpu_fault_err(v, EXC_GP, 0) : CPU_NEXT;
}

static int save(struct vcpu *v, gla_t ea, u8 *area, u64 mask, bool compact)
{
	u32 size = area_size(mask, compact), lo = (u32)mask, hi = (u32)(mask >> 32);

	sb_assert(size <= XSAVE_AREA_SIZE);
	/* What the instruction leaves alone keeps the guest's bytes. */
	if (mem_probe_write(v, ea, size, ACC_WRITE) != CPU_NEXT || mem_read(v, ea, area, size, ACC_READ) != CPU_NEXT)
		return CPU_FAULT;
	if (compact)
		__asm__ volatile("xsavec64 (%0)" : : "r"(area), "a"(lo), "d"(hi) : "memory");
	else
		__asm__ volatile("xsave64 (%0)" : : "r"(area), "a"(lo), "d"(hi) : "memory");
	return mem_write(v, ea, area, size, ACC_WRITE);
}

int xsave_family(struct vcpu *v, const struct insn *in)
{
	static u8 area[XSAVE_AREA_SIZE] __attribute__((aligned(64)));
	u64 mask = (((u64)(u32)v->gpr[RDX] << 32) | (u32)v->gpr[RAX]) & v->xcr0;
	gla_t ea = cpu_ea(v, in);

	if (!(v->cr4 & CR4_OSXSAVE))
		return cpu_fault(v, EXC_UD);
	if (v->cr0 & CR0_TS)
		return cpu_fault(v, EXC_NM);
	if (ea.v & 63)
		return cpu_fault_err(v, EXC_GP, 0);
	if (in->op == OP_XRSTOR)
		return restore(v, ea, area, mask);
	return save(v, ea, area, mask, in->opcode == 0xc7);
}
