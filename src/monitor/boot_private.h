/* Shared by the boot loaders: the kernel file, guest RAM with checks, and what is laid
 * out in the lowest megabyte. */
#pragma once
#include "shadowbox/boot.h"

/* Low memory as the first instruction finds it. Everything lies below the 640 KiB that
 * PCs have had as RAM, out of the way of kernels, which start at 1 MiB. */
#define BOOT_GDT 0x1000UL
#define BOOT_STACK_TOP 0x8000UL /* grows down to 0x2000 */
#define BOOT_PML4 0x8000UL
#define BOOT_PDPT 0x9000UL
#define BOOT_PD 0xa000UL        /* BOOT_PD_COUNT pages of 2 MiB entries */
#define BOOT_PD_COUNT 16UL
#define BOOT_PARAMS 0x1a000UL
#define BOOT_CMDLINE 0x20000UL
#define BOOT_CMDLINE_MAX 0x10000UL
#define BOOT_AREA BOOT_GDT
#define BOOT_AREA_END (BOOT_CMDLINE + BOOT_CMDLINE_MAX)
#define EBDA_START 0x9fc00UL
#define VGA_HOLE 0xa0000UL
#define BIOS_START 0xe0000UL
#define ONE_MIB 0x100000UL

/* A file that is read piece by piece, never past its end. */
struct image {
	const char *path;
	int fd;
	u64 size;
};

struct loader {
	const struct boot_config *bc;
	struct machine *m;
	struct image kernel;
	char *err;
	size_t errlen;
	u64 ram_end; /* RAM below 4 GiB that loaders may use; ACPI tables may be above */
	gpa_t rsdp;
	/* Filled by the kernel's loader. */
	u64 entry;            /* physical */
	u64 start, end;       /* the kernel's place, working memory included */
	u64 initrd_max;       /* highest address that the initrd may occupy */
	u64 cmdline_max;      /* longest command line, without the final zero */
};

/* "PATH: text" or, with a NULL path, the text alone; returns -EINVAL. */
int boot_fail(struct loader *l, const char *path, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Reads [off, off+len) into buf; false if that is not all in the file. */
bool image_read(const struct image *img, u64 off, void *buf, u64 len) MUST_CHECK;
/* [addr, addr+len) is RAM that a kernel may be put in: not in the low boot area, not in
 * the hole for VGA and BIOS, not above the usable end. */
bool boot_usable(const struct loader *l, u64 addr, u64 len) MUST_CHECK;
/* Rounds up to whole MiB, for messages. */
static inline u64 boot_mib(u64 bytes)
{
	return (bytes >> 20) + ((bytes & 0xfffff) != 0);
}

/* A kernel format. `recognise` looks at the first bytes; `load` puts the kernel in RAM,
 * fills the loader's fields and the header part of boot_params. */
struct boot_params;
struct kernel_format {
	const char *name;
	bool (*recognise)(const u8 *head, size_t len);
	int (*load)(struct loader *l, struct boot_params *bp);
};
extern const struct kernel_format boot_format_bzimage, boot_format_elf;

/* Initrd, command line, memory map: what every Linux entry needs beside the kernel. */
int boot_params_finish(struct loader *l, struct boot_params *bp) MUST_CHECK;
/* The 64-bit entry state of Documentation/x86/boot.rst, with tables in guest RAM. */
void boot_cpu_setup(struct machine *m, struct vcpu *v, u64 entry);
