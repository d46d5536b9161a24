/* Loading a kernel: opens and recognises the file, has its loader and the common parts
 * run, and leaves the CPU at the first instruction.
 *
 * Kernel and initrd files may be hostile or broken: every length and address that comes
 * from them is checked against the file and against RAM before it is used, with
 * arithmetic that cannot wrap. Nothing outside guest RAM is written.
 *
 * Not modelled: real-mode and 32-bit entry points, multiboot, PVH, firmware. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <asm/bootparam.h>
#include "boot_private.h"

#define HEAD_SIZE 1024

static const struct kernel_format *const formats[] = { &boot_format_bzimage, &boot_format_elf };

int boot_fail(struct loader *l, const char *path, const char *fmt, ...)
{
	char text[384];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	snprintf(l->err, l->errlen, "%s%s%s", path ? path : "", path ? ": " : "", text);
	return -EINVAL;
}

static int image_open(struct loader *l, struct image *img, const char *path)
{
	struct stat st;

	img->path = path;
	img->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (img->fd < 0 || fstat(img->fd, &st) < 0) {
		int e = errno;
		boot_fail(l, path, "cannot open: %s", strerror(e));
		return -e;
	}
	if (!S_ISREG(st.st_mode))
		return boot_fail(l, path, "not a regular file");
	img->size = (u64)st.st_size;
	return 0;
}

static void image_close(struct image *img)
{
	if (img->fd >= 0)
		close(img->fd);
	img->fd = -1;
}

bool image_read(const struct image *img, u64 off, void *buf, u64 len)
{
	u8 *dst = buf;

	if (off > img->size || len > img->size - off)
		return false;
	while (len) {
		ssize_t n = pread(img->fd, dst, len, (off_t)off);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) /* the file shrank, or an I/O error */
			return false;
		dst += n;
		off += (u64)n;
		len -= (u64)n;
	}
	return true;
}

bool boot_usable(const struct loader *l, u64 addr, u64 len)
{
	const struct physmem *pm = &l->m->phys;
	u64 end;

	if (__builtin_add_overflow(addr, len, &end) || physmem_run(pm, gpa(addr)) < len)
		return false;
	if (addr >= PHYS_4G)
		return true;
	if (end > l->ram_end)
		return false;
	if (addr < BOOT_AREA_END && end > BOOT_AREA)
		return false;
	return !(addr < ONE_MIB && end > EBDA_START);
}

/* The file as we see it, the best guess at what it is instead. */
static int refuse_format(struct loader *l, const u8 *head, size_t len)
{
	const char *hint = "";

	if (len >= 2 && head[0] == 0x1f && head[1] == 0x8b)
		hint = " (it is gzip data)";
	else if (len >= 5 && !memcmp(head, "\177ELF\1", 5))
		hint = " (it is a 32-bit ELF file)";
	else if (len >= 4 && !memcmp(head, "\177ELF", 4))
		hint = " (it is an ELF file for another machine)";
	return boot_fail(l, l->kernel.path, "not a Linux bzImage or x86-64 ELF kernel%s", hint);
}

static int load_kernel(struct loader *l, struct boot_params *bp)
{
	u8 head[HEAD_SIZE] = { 0 };
	size_t len = l->kernel.size < sizeof(head) ? l->kernel.size : sizeof(head);

	if (!image_read(&l->kernel, 0, head, len))
		return boot_fail(l, l->kernel.path, "cannot be read");
	for (size_t i = 0; i < ARRAY_LEN(formats); i++)
		if (formats[i]->recognise(head, len))
			return formats[i]->load(l, bp);
	return refuse_format(l, head, len);
}

/* The initrd goes as high as the kernel can take it, away from where kernels unpack
 * themselves and their page tables. */
static int load_initrd(struct loader *l, struct boot_params *bp)
{
	struct image img = { .fd = -1 };
	u64 top = l->ram_end, addr;
	int r = image_open(l, &img, l->bc->initrd);

	if (r < 0)
		goto out;
	if (!img.size)
		goto out; /* as if there were none */
	if (l->initrd_max < ~0UL && top > l->initrd_max + 1)
		top = l->initrd_max + 1;
	addr = top >= img.size ? (top - img.size) & PAGE_MASK : 0;
	if (addr < l->end || img.size > 0xffffffffUL || !boot_usable(l, addr, img.size)) {
		r = boot_fail(l, img.path, "initrd of %lu MiB does not fit beside the kernel in %lu MiB of usable memory; use a larger -m",
			      boot_mib(img.size), top >> 20);
		goto out;
	}
	if (!image_read(&img, 0, physmem_ptr(gpa(addr)), img.size)) {
		r = boot_fail(l, img.path, "cannot be read");
		goto out;
	}
	bp->hdr.ramdisk_image = (u32)addr;
	bp->hdr.ramdisk_size = (u32)img.size;
out:
	image_close(&img);
	return r;
}

/* Where RAM ends for loaders: the ACPI tables may have been put at its top. */
static void place_acpi(struct loader *l)
{
	l->rsdp = acpi_build_tables(l->m);
	l->ram_end = l->m->phys.low_end;
	if (l->rsdp.v >= ONE_MIB && l->rsdp.v < l->ram_end)
		l->ram_end = l->rsdp.v & PAGE_MASK;
}

int boot_load(const struct boot_config *bc, struct machine *m, struct vcpu *v, char *err, size_t errlen)
{
	struct loader l = { .bc = bc, .m = m, .err = err, .errlen = errlen, .kernel.fd = -1 };
	struct boot_params bp;
	int r;

	memset(&bp, 0, sizeof(bp));
	if (m->phys.low_end < ONE_MIB)
		return boot_fail(&l, NULL, "too little memory; use a larger -m");
	r = image_open(&l, &l.kernel, bc->kernel);
	if (r == 0) {
		place_acpi(&l);
		r = load_kernel(&l, &bp);
	}
	image_close(&l.kernel);
	if (r == 0 && bc->initrd)
		r = load_initrd(&l, &bp);
	if (r == 0)
		r = boot_params_finish(&l, &bp);
	if (r == 0)
		boot_cpu_setup(m, v, l.entry);
	return r;
}
