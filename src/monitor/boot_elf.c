/* x86-64 ELF kernels: an uncompressed Linux vmlinux, or a bare-metal program.
 *
 * Segments go to their physical addresses. The entry point is physical (as Linux's), or
 * virtual and inside a segment, and is then translated. The CPU starts as for a bzImage,
 * with RSI = boot_params.
 *
 * Not modelled: relocations, section headers, notes (PVH's 32-bit entry among them). */
#include <string.h>
#include <asm/bootparam.h>
#include "boot_private.h"
#include <elf.h> /* last: its PF_W macro would break the enum in cpu.h */

#define PHDR_MAX 128
#define CMDLINE_SIZE 2047        /* Linux's COMMAND_LINE_SIZE on x86, less the zero */
#define INITRD_ADDR_MAX 0x7fffffffUL

static bool elf_recognise(const u8 *head, size_t len)
{
	const Elf64_Ehdr *eh = (const void *)head;

	return len >= sizeof(*eh) && !memcmp(head, ELFMAG, SELFMAG) && head[EI_CLASS] == ELFCLASS64 &&
	       head[EI_DATA] == ELFDATA2LSB && eh->e_machine == EM_X86_64;
}

static int load_segment(struct loader *l, const Elf64_Phdr *ph)
{
	const char *path = l->kernel.path;
	u8 *dst = physmem_ptr(gpa(ph->p_paddr));

	if (ph->p_filesz > ph->p_memsz)
		return boot_fail(l, path, "damaged: a segment is larger in the file than in memory");
	if (ph->p_offset > l->kernel.size || ph->p_filesz > l->kernel.size - ph->p_offset)
		return boot_fail(l, path, "truncated: a segment ends beyond the file's %lu bytes", l->kernel.size);
	if (ph->p_paddr < ONE_MIB && physmem_run(&l->m->phys, gpa(ph->p_paddr)) >= ph->p_memsz &&
	    !boot_usable(l, ph->p_paddr, ph->p_memsz))
		return boot_fail(l, path, "segment at 0x%lx overlays what a PC keeps below 1 MiB", (u64)ph->p_paddr);
	if (!boot_usable(l, ph->p_paddr, ph->p_memsz))
		return boot_fail(l, path, "segment at 0x%lx of %lu MiB does not fit into guest memory; use a larger -m",
				 (u64)ph->p_paddr, boot_mib(ph->p_memsz));
	if (!image_read(&l->kernel, ph->p_offset, dst, ph->p_filesz))
		return boot_fail(l, path, "cannot be read");
	memset(dst + ph->p_filesz, 0, ph->p_memsz - ph->p_filesz);
	if (ph->p_paddr < PHYS_4G) {
		u64 end = ph->p_paddr + ph->p_memsz;
		l->start = ph->p_paddr < l->start ? ph->p_paddr : l->start;
		l->end = end > l->end ? end : l->end;
	}
	return 0;
}

/* The entry's physical address; 0 if it is in no segment. Executable segments are asked
 * first: some kernels have data segments linked at small numbers. */
static u64 find_entry(const Elf64_Phdr *ph, unsigned count, u64 entry)
{
	for (int any = 0; any < 2; any++)
		for (unsigned i = 0; i < count; i++) {
			const Elf64_Phdr *s = &ph[i];
			if (s->p_type != PT_LOAD || (!any && !(s->p_flags & PF_X)))
				continue;
			if (entry - s->p_paddr < s->p_memsz)
				return entry;
			if (entry - s->p_vaddr < s->p_memsz)
				return entry - s->p_vaddr + s->p_paddr;
		}
	return 0;
}

static void fill_header(struct setup_header *h)
{
	h->boot_flag = 0xaa55;
	h->header = 0x53726448;
	h->version = 0x20f;
	h->loadflags = LOADED_HIGH;
	h->kernel_alignment = 0x1000000;
	h->xloadflags = XLF_KERNEL_64;
	h->cmdline_size = CMDLINE_SIZE;
	h->initrd_addr_max = INITRD_ADDR_MAX;
}

static int elf_load(struct loader *l, struct boot_params *bp)
{
	Elf64_Phdr ph[PHDR_MAX];
	Elf64_Ehdr eh;
	const char *path = l->kernel.path;
	unsigned loaded = 0;

	if (!image_read(&l->kernel, 0, &eh, sizeof(eh)))
		return boot_fail(l, path, "truncated in its ELF header");
	if (eh.e_type != ET_EXEC && eh.e_type != ET_DYN)
		return boot_fail(l, path, "an ELF file, but not a program");
	if (!eh.e_phnum || eh.e_phnum > PHDR_MAX || eh.e_phentsize != sizeof(ph[0]))
		return boot_fail(l, path, "unusable ELF program headers");
	if (!image_read(&l->kernel, eh.e_phoff, ph, eh.e_phnum * sizeof(ph[0])))
		return boot_fail(l, path, "truncated in its ELF program headers");
	l->start = ~0UL;
	l->end = 0;
	for (unsigned i = 0; i < eh.e_phnum; i++) {
		if (ph[i].p_type == PT_INTERP)
			return boot_fail(l, path, "a program for an operating system, not a kernel");
		if (ph[i].p_type != PT_LOAD || !ph[i].p_memsz)
			continue;
		int r = load_segment(l, &ph[i]);
		if (r < 0)
			return r;
		loaded++;
	}
	l->entry = find_entry(ph, eh.e_phnum, eh.e_entry);
	if (!loaded || !l->entry)
		return boot_fail(l, path, "entry point 0x%lx is in no segment", (u64)eh.e_entry);
	fill_header(&bp->hdr);
	l->initrd_max = INITRD_ADDR_MAX;
	l->cmdline_max = CMDLINE_SIZE;
	return 0;
}

const struct kernel_format boot_format_elf = { "ELF", elf_recognise, elf_load };
