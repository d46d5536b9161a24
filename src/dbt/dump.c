/* Guest state in text, for traces and for the report when a VM dies. */
#include "decode.h"
#include "engine.h"
#include "shadowbox/log.h"

static void dump_segments(const struct vcpu *v)
{
	static const char *const names[SEG_COUNT] = { "ES", "CS", "SS", "DS", "FS", "GS", "LDT", "TR" };

	for (int i = 0; i < SEG_COUNT; i++)
		log_printf("%-3s=%04x %016lx %08x %04x\n", names[i], v->seg[i].sel, v->seg[i].base,
			   v->seg[i].limit, v->seg[i].attr);
	log_printf("GDT=%016lx %04x\nIDT=%016lx %04x\n", v->gdtr.base, v->gdtr.limit, v->idtr.base, v->idtr.limit);
}

void cpu_dump_registers(const struct vcpu *v)
{
	static const char *const names[16] = { "RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI",
					       "R8 ", "R9 ", "R10", "R11", "R12", "R13", "R14", "R15" };

	for (int i = 0; i < 16; i++)
		log_printf("%s=%016lx%s", names[i], v->gpr[i], (i & 3) == 3 ? "\n" : " ");
	log_printf("RIP=%016lx RFL=%08lx CPL=%u II=%u HLT=%u\n", v->rip, cpu_rflags(v), v->cpl, v->intr_shadow,
		   v->halted);
}

void cpu_dump(const struct vcpu *v)
{
	cpu_dump_registers(v);
	dump_segments(v);
	log_printf("CR0=%08lx CR2=%016lx CR3=%016lx CR4=%08lx EFER=%04lx\n", v->cr0, v->cr2, v->cr3, v->cr4,
		   v->efer);
	log_printf("last exception: vector %u error %x cr2 %lx\n", v->exc.vector, v->exc.error, v->exc.cr2);
}
