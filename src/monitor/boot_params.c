/* What a Linux kernel is told at entry: memory map, command line, ACPI root pointer, and
 * the few bytes of the BIOS data area that kernels look at.
 *
 * Follows: Documentation/x86/boot.rst, zero-page.rst; ACPI 6.4 chapter 15. */
#include <string.h>
#include <asm/bootparam.h>
#include "boot_private.h"

enum { E820_RAM = 1, E820_RESERVED = 2, E820_ACPI = 3 };

#define CHIPSET_START 0xfec00000UL /* IO-APIC, HPET, local APIC, then the BIOS's place */
#define BDA_EBDA_SEGMENT 0x40e
#define BDA_BASE_MEMORY 0x413

static void add_range(struct boot_params *bp, u64 start, u64 end, u32 type)
{
	if (start < end)
		bp->e820_table[bp->e820_entries++] =
			(struct boot_e820_entry){ .addr = start, .size = end - start, .type = type };
}

static void build_memory_map(const struct loader *l, struct boot_params *bp)
{
	const struct physmem *pm = &l->m->phys;

	add_range(bp, 0, EBDA_START, E820_RAM);
	add_range(bp, EBDA_START, VGA_HOLE, E820_RESERVED);
	add_range(bp, BIOS_START, ONE_MIB, E820_RESERVED);
	add_range(bp, ONE_MIB, l->ram_end, E820_RAM);
	add_range(bp, l->ram_end, pm->low_end, E820_ACPI);
	add_range(bp, CHIPSET_START, PHYS_4G, E820_RESERVED);
	add_range(bp, PHYS_4G, pm->high_end, E820_RAM);
}

static void write_bios_data(void)
{
	u16 ebda = EBDA_START >> 4, base_kib = EBDA_START >> 10;

	memcpy(physmem_ptr(gpa(BDA_EBDA_SEGMENT)), &ebda, sizeof(ebda));
	memcpy(physmem_ptr(gpa(BDA_BASE_MEMORY)), &base_kib, sizeof(base_kib));
}

int boot_params_finish(struct loader *l, struct boot_params *bp)
{
	const char *cmdline = l->bc->cmdline ? l->bc->cmdline : "";
	u64 len = strlen(cmdline), max = l->cmdline_max;

	if (max > BOOT_CMDLINE_MAX - 1)
		max = BOOT_CMDLINE_MAX - 1;
	if (len > max)
		return boot_fail(l, NULL, "-append: %lu characters are more than this kernel takes (%lu)", len, max);
	memcpy(physmem_ptr(gpa(BOOT_CMDLINE)), cmdline, len + 1);

	bp->hdr.type_of_loader = 0xff; /* no registered number */
	bp->hdr.vid_mode = 0xffff;     /* normal */
	bp->hdr.cmd_line_ptr = BOOT_CMDLINE;
	bp->acpi_rsdp_addr = l->rsdp.v;
	bp->ext_ramdisk_image = 0;
	bp->ext_ramdisk_size = 0;
	build_memory_map(l, bp);
	write_bios_data();
	memcpy(physmem_ptr(gpa(BOOT_PARAMS)), bp, sizeof(*bp));
	return 0;
}
