/* Loading a kernel into guest RAM and the first CPU state. */
#pragma once
#include "shadowbox/cpu.h"
#include "shadowbox/machine.h"

struct boot_config {
	const char *kernel, *initrd, *cmdline; /* initrd may be NULL */
};
/* Recognises a Linux bzImage (Documentation/x86/boot.rst, 64-bit protocol) or an
 * x86-64 ELF image, loads it, the initrd, boot_params with e820 map, command line and
 * ACPI RSDP, and sets v to the first instruction. 0, or negative with one clear line
 * in err. RAM is mapped at PHYS_HVA. */
int boot_load(const struct boot_config *bc, struct machine *m, struct vcpu *v, char *err,
              size_t errlen) MUST_CHECK;
/* Where the ACPI tables go, and the builder (devices/acpi_tables.c). Returns the RSDP. */
gpa_t acpi_build_tables(struct machine *m);
