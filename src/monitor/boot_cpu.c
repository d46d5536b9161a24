/* The CPU at a 64-bit kernel's first instruction: long mode, identity page tables, flat
 * segments, interrupts off, RSI = boot_params.
 *
 * The protocol asks that the kernel, boot_params and the command line be mapped; all RAM
 * up to 16 GiB is. Being the firmware, this also sets the memory types that a BIOS would.
 *
 * Follows: Documentation/x86/boot.rst, "64-bit boot protocol"; Intel SDM vol. 3 chapters
 * 4, 11.11. */
#include <string.h>
#include "boot_private.h"

enum { PTE_P = 1, PTE_W = 2, PTE_PS = 0x80 };
enum { BOOT_CS = 0x10, BOOT_DS = 0x18, BOOT_TR = 0x20 };

#define MTRR_WB 6
#define MTRR_WP 5
#define MTRR_FIXED_ENABLE (1 << 10)
#define MTRR_ENABLE (1 << 11)
#define EVERY_BYTE(x) ((x) * 0x0101010101010101UL)

static u64 *table(u64 at)
{
	return physmem_ptr(gpa(at));
}

static void write_page_tables(const struct physmem *pm)
{
	u64 pds = (pm->high_end + (1UL << 30) - 1) >> 30;

	if (pds > BOOT_PD_COUNT)
		pds = BOOT_PD_COUNT;
	memset(table(BOOT_PML4), 0, (2 + BOOT_PD_COUNT) * PAGE_SIZE);
	table(BOOT_PML4)[0] = BOOT_PDPT | PTE_P | PTE_W;
	for (u64 i = 0; i < pds; i++)
		table(BOOT_PDPT)[i] = (BOOT_PD + i * PAGE_SIZE) | PTE_P | PTE_W;
	for (u64 i = 0; i < pds * 512; i++)
		table(BOOT_PD)[i] = (i << 21) | PTE_P | PTE_W | PTE_PS;
}

/* In the order of their selectors: two unused, code, data, TSS (16 bytes). */
static const u64 gdt[] = {
	0, 0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00008b000000ffff, 0,
};

static void set_segments(struct vcpu *v)
{
	const u16 data = 0x93 | SEG_A_DB | SEG_A_G, code = 0x9b | SEG_A_L | SEG_A_G;

	memcpy(physmem_ptr(gpa(BOOT_GDT)), gdt, sizeof(gdt));
	v->gdtr = (struct desc_table){ .base = BOOT_GDT, .limit = sizeof(gdt) - 1 };
	v->idtr = (struct desc_table){ .base = 0, .limit = 0 };
	for (int i = 0; i < SEG_LDTR; i++)
		v->seg[i] = (struct seg){ .sel = BOOT_DS, .attr = data, .limit = ~0u };
	v->seg[SEG_CS] = (struct seg){ .sel = BOOT_CS, .attr = code, .limit = ~0u };
	v->seg[SEG_LDTR] = (struct seg){ 0 };
	v->seg[SEG_TR] = (struct seg){ .sel = BOOT_TR, .attr = 0x8b, .limit = 0xffff };
}

/* Everything write-back but the VGA hole (uncached) and the BIOS's place (read only). */
static void set_memory_types(struct vcpu *v)
{
	v->mtrr_def_type = MTRR_ENABLE | MTRR_FIXED_ENABLE | MTRR_WB;
	v->mtrr_fixed[0] = v->mtrr_fixed[1] = EVERY_BYTE(MTRR_WB);
	v->mtrr_fixed[2] = 0;
	for (size_t i = 3; i < ARRAY_LEN(v->mtrr_fixed); i++)
		v->mtrr_fixed[i] = EVERY_BYTE(MTRR_WP);
}

void boot_cpu_setup(struct machine *m, struct vcpu *v, u64 entry)
{
	cpu_reset(v);
	write_page_tables(&m->phys);
	set_segments(v);
	set_memory_types(v);
	memset(v->gpr, 0, sizeof(v->gpr));
	v->gpr[RSI] = BOOT_PARAMS;
	v->gpr[RSP] = BOOT_STACK_TOP;
	v->rip = entry;
	cpu_set_rflags(v, 2);
	v->cr0 = CR0_PG | CR0_PE | CR0_ET | CR0_NE;
	v->cr3 = BOOT_PML4;
	v->cr4 = CR4_PAE;
	v->efer = EFER_LME | EFER_LMA;
	v->cpl = 0;
}
