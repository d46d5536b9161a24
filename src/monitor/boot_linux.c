/* Linux bzImage, 64-bit boot protocol (2.12 and later).
 *
 * The file is a real-mode part of setup_sects+1 sectors, whose header goes into
 * boot_params, then the protected-mode part, which is put at its preferred address and
 * entered 0x200 bytes in. It unpacks the kernel into init_size bytes from there, so that
 * much must be RAM.
 *
 * Follows: Documentation/x86/boot.rst. */
#include <string.h>
#include <asm/bootparam.h>
#include "boot_private.h"

#define HDR_OFFSET 0x1f1UL
#define HDR_END 0x290UL /* where boot_params go on after the header */
#define SECTOR 512UL
#define ENTRY64 0x200UL
#define HDRS_MAGIC 0x53726448 /* "HdrS" */
#define PROTOCOL_64BIT 0x20c
#define LOAD_MIN ONE_MIB
/* Not a limit of the protocol: keeps sums of header fields far from wrapping. */
#define ADDRESS_MAX (1UL << 46)

static bool bzimage_recognise(const u8 *head, size_t len)
{
	return len >= HDR_END && head[0x1fe] == 0x55 && head[0x1ff] == 0xaa && !memcmp(head + 0x202, "HdrS", 4);
}

/* The header's length is in the file: the jump over it (two bytes at 0x200) ends there. */
static int read_header(struct loader *l, struct boot_params *bp)
{
	u8 raw[HDR_END];
	u64 end;

	if (!image_read(&l->kernel, 0, raw, sizeof(raw)))
		return boot_fail(l, l->kernel.path, "truncated in its setup header");
	end = 0x202 + (u64)raw[0x201];
	if (end > HDR_END)
		end = HDR_END;
	if (end < HDR_OFFSET + sizeof(bp->hdr))
		memset(raw + end, 0, HDR_OFFSET + sizeof(bp->hdr) - end);
	memcpy((u8 *)bp + HDR_OFFSET, raw + HDR_OFFSET, end - HDR_OFFSET);
	return 0;
}

static int check_header(struct loader *l, const struct setup_header *h)
{
	const char *path = l->kernel.path;

	if (h->header != HDRS_MAGIC || h->version < PROTOCOL_64BIT)
		return boot_fail(l, path, "boot protocol %u.%02u is too old; 2.12 is needed",
				 h->version >> 8, h->version & 0xff);
	if (!(h->loadflags & LOADED_HIGH))
		return boot_fail(l, path, "a zImage; only bzImage is supported");
	if (!(h->xloadflags & XLF_KERNEL_64))
		return boot_fail(l, path, "a 32-bit kernel; only 64-bit kernels are supported");
	return 0;
}

static u64 align_up(u64 x, u64 align)
{
	return (x + align - 1) & ~(align - 1);
}

/* Chooses where to load. A relocatable kernel below its preferred address would move up
 * to it by itself, so only higher places are alternatives. */
static int choose_place(struct loader *l, const struct setup_header *h, u64 payload)
{
	u64 align = h->kernel_alignment ? h->kernel_alignment : PAGE_SIZE;
	u64 need = h->init_size > payload ? h->init_size : payload;
	u64 at = h->pref_address;

	if ((align & (align - 1)) || at > ADDRESS_MAX)
		return boot_fail(l, l->kernel.path, "setup header is damaged");
	if (at < LOAD_MIN) {
		if (!h->relocatable_kernel)
			return boot_fail(l, l->kernel.path, "preferred address 0x%lx is below 1 MiB", at);
		at = align_up(LOAD_MIN, align);
	}
	if (h->relocatable_kernel)
		at = align_up(at, align);
	if (!boot_usable(l, at, need))
		return boot_fail(l, l->kernel.path, "kernel needs %lu MiB of memory; the machine has %lu MiB of usable low memory; use a larger -m",
				 boot_mib(at + need), l->ram_end >> 20);
	l->start = at;
	l->end = at + need;
	return 0;
}

static int bzimage_load(struct loader *l, struct boot_params *bp)
{
	struct setup_header *h = &bp->hdr;
	u64 setup, payload;
	int r = read_header(l, bp);

	if (r == 0)
		r = check_header(l, h);
	if (r < 0)
		return r;
	/* syssize counts 16 bytes; what follows (a signature) is not part of the kernel. */
	setup = ((h->setup_sects ? h->setup_sects : 4) + 1) * SECTOR;
	payload = (u64)h->syssize * 16;
	if (payload <= ENTRY64 || setup + payload > l->kernel.size)
		return boot_fail(l, l->kernel.path, "truncated: %lu bytes of %lu", l->kernel.size, setup + payload);
	r = choose_place(l, h, payload);
	if (r < 0)
		return r;
	if (!image_read(&l->kernel, setup, physmem_ptr(gpa(l->start)), payload))
		return boot_fail(l, l->kernel.path, "cannot be read");
	h->code32_start = (u32)l->start;
	l->entry = l->start + ENTRY64;
	l->initrd_max = h->initrd_addr_max;
	l->cmdline_max = h->cmdline_size;
	return 0;
}

const struct kernel_format boot_format_bzimage = { "bzImage", bzimage_recognise, bzimage_load };
