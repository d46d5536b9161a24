/* Boot loading: made-up bzImage and ELF files, good and damaged, into a made-up guest
 * RAM that has nothing mapped behind its end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <asm/bootparam.h>
#include "shadowbox/boot.h"
#include "src/monitor/boot_private.h"
#include <elf.h>

#define MIB (1UL << 20)

static struct machine m;
static struct vcpu v;
static char err[256];
static gpa_t rsdp = { 0xe0000 };

void cpu_reset(struct vcpu *vcpu)
{
	memset(vcpu, 0, sizeof(*vcpu));
}

gpa_t acpi_build_tables(struct machine *machine)
{
	(void)machine;
	return rsdp;
}

static void *guest(u64 addr)
{
	return physmem_ptr(gpa(addr));
}

static struct boot_params *params(void)
{
	return guest(BOOT_PARAMS);
}

/* Fresh guest RAM of this size; all of the physical map beside it faults. */
static void set_ram(u64 bytes)
{
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;

	munmap((void *)PHYS_HVA, 64UL << 30);
	physmem_layout(&m.phys, bytes);
	assert_ptr_equal(mmap(guest(0), m.phys.low_end, PROT_READ | PROT_WRITE, flags, -1, 0), guest(0));
	if (m.phys.high_end > PHYS_4G)
		assert_ptr_equal(mmap(guest(PHYS_4G), m.phys.high_end - PHYS_4G, PROT_READ | PROT_WRITE, flags, -1, 0),
				 guest(PHYS_4G));
}

/* --- files ------------------------------------------------------------------------ */
struct file {
	int fd;
	char path[32];
};

static struct file make_file(const void *data, size_t len)
{
	struct file f = { .fd = memfd_create("image", 0) };

	assert_true(f.fd >= 0);
	assert_int_equal(ftruncate(f.fd, 0), 0);
	assert_int_equal(pwrite(f.fd, data, len, 0), len);
	snprintf(f.path, sizeof(f.path), "/proc/self/fd/%d", f.fd);
	return f;
}

static int load(const void *kernel, size_t len, const void *initrd, size_t initrd_len, const char *cmdline)
{
	struct file k = make_file(kernel, len), i = { .fd = -1 };
	struct boot_config bc = { .kernel = k.path, .cmdline = cmdline };

	if (initrd) {
		i = make_file(initrd, initrd_len);
		bc.initrd = i.path;
	}
	err[0] = 0;
	int r = boot_load(&bc, &m, &v, err, sizeof(err));
	close(k.fd);
	if (initrd)
		close(i.fd);
	assert_null(strchr(err, '\n'));
	assert_int_equal(r < 0, err[0] != 0);
	return r;
}

static void refused(const void *kernel, size_t len, const char *word)
{
	if (load(kernel, len, NULL, 0, "") == 0)
		fail_msg("accepted; expected '%s'", word);
	if (!strstr(err, word))
		fail_msg("no '%s' in: %s", word, err);
}

/* A bzImage: four setup sectors and 8 KiB of payload whose bytes are their offsets. */
#define SETUP_SIZE (5 * 512)
#define PAYLOAD_SIZE 8192
static struct bz {
	u8 b[SETUP_SIZE + PAYLOAD_SIZE];
} bz;

static struct setup_header *make_bz(void)
{
	struct setup_header *h = (void *)(bz.b + 0x1f1);

	memset(&bz, 0xcc, SETUP_SIZE);
	for (int i = 0; i < PAYLOAD_SIZE; i++)
		bz.b[SETUP_SIZE + i] = (u8)(i ^ i >> 8);
	memset(h, 0, sizeof(*h));
	h->setup_sects = 4;
	h->syssize = PAYLOAD_SIZE / 16;
	h->boot_flag = 0xaa55;
	h->jump = 0x6aeb;
	h->header = 0x53726448;
	h->version = 0x20f;
	h->loadflags = LOADED_HIGH;
	h->initrd_addr_max = 0x7fffffff;
	h->kernel_alignment = 2 * MIB;
	h->relocatable_kernel = 1;
	h->xloadflags = XLF_KERNEL_64;
	h->cmdline_size = 2047;
	h->pref_address = 16 * MIB;
	h->init_size = 32 * MIB;
	return h;
}

/* An ELF program of one segment. */
static struct elf {
	Elf64_Ehdr eh;
	Elf64_Phdr ph[2];
	u8 code[256];
} elf;

static void make_elf(void)
{
	memset(&elf, 0x90, sizeof(elf));
	elf.eh = (Elf64_Ehdr){
		.e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
		.e_type = ET_EXEC, .e_machine = EM_X86_64, .e_version = EV_CURRENT,
		.e_entry = 0x200010, .e_phoff = offsetof(struct elf, ph),
		.e_ehsize = sizeof(Elf64_Ehdr), .e_phentsize = sizeof(Elf64_Phdr), .e_phnum = 1,
	};
	elf.ph[0] = (Elf64_Phdr){
		.p_type = PT_LOAD, .p_flags = PF_R | PF_X, .p_offset = offsetof(struct elf, code),
		.p_vaddr = 0xffffffff80200000, .p_paddr = 0x200000, .p_filesz = 256, .p_memsz = 8192,
	};
	elf.ph[1] = elf.ph[0];
}

/* --- tests ------------------------------------------------------------------------ */
static void test_bzimage(void **state)
{
	(void)state;
	make_bz();
	set_ram(64 * MIB);
	assert_int_equal(load(&bz, sizeof(bz), NULL, 0, "console=ttyS0"), 0);
	assert_memory_equal(guest(16 * MIB), bz.b + SETUP_SIZE, PAYLOAD_SIZE);
	assert_int_equal(v.rip, 16 * MIB + 0x200);
	assert_int_equal(v.gpr[RSI], BOOT_PARAMS);
	assert_int_equal(params()->hdr.header, 0x53726448);
	assert_int_equal(params()->hdr.init_size, 32 * MIB);
	assert_int_equal(params()->hdr.type_of_loader, 0xff);
	assert_int_equal(params()->sentinel, 0);
	assert_int_equal(params()->acpi_rsdp_addr, 0xe0000);
	assert_string_equal((char *)guest(params()->hdr.cmd_line_ptr), "console=ttyS0");
	assert_int_equal(params()->hdr.ramdisk_size, 0);
}

/* Walks the tables that CR3 points to. */
static u64 translate(u64 addr)
{
	u64 *pml4 = guest(v.cr3), *pdpt, *pd;

	assert_true(pml4[addr >> 39] & 1);
	pdpt = guest(pml4[addr >> 39] & ~0xfffUL);
	assert_true(pdpt[addr >> 30 & 511] & 1);
	pd = guest(pdpt[addr >> 30 & 511] & ~0xfffUL);
	assert_int_equal(pd[addr >> 21 & 511] & 0x83, 0x83);
	return (pd[addr >> 21 & 511] & ~0x1fffffUL) | (addr & 0x1fffff);
}

static void test_entry_state(void **state)
{
	static const u64 addrs[] = { 0, 0x1234567, 0xfee00000, PHYS_4G - 1, PHYS_4G + 5 * MIB };

	(void)state;
	make_bz();
	set_ram(6UL << 30);
	assert_int_equal(load(&bz, sizeof(bz), NULL, 0, ""), 0);
	assert_int_equal(v.cr0 & (CR0_PG | CR0_PE), CR0_PG | CR0_PE);
	assert_int_equal(v.cr4, CR4_PAE);
	assert_int_equal(v.efer, EFER_LME | EFER_LMA);
	assert_int_equal(cpu_code_size(&v), 64);
	assert_int_equal(v.seg[SEG_CS].sel, 0x10);
	assert_int_equal(v.seg[SEG_DS].sel, 0x18);
	assert_int_equal(v.seg[SEG_SS].sel, 0x18);
	assert_false(v.intr_enabled);
	assert_int_equal(v.cpl, 0);
	u64 *gdt = guest(v.gdtr.base);
	assert_int_equal(gdt[2], 0x00af9b000000ffff);
	assert_int_equal(gdt[3], 0x00cf93000000ffff);
	for (size_t i = 0; i < ARRAY_LEN(addrs); i++)
		assert_int_equal(translate(addrs[i]), addrs[i]);
}

/* Sorted, not overlapping, RAM entries add up to what the machine has, less the holes. */
static void check_map(u64 ram, u64 reserved_below_1m)
{
	u64 last = 0, sum = 0;

	for (int i = 0; i < params()->e820_entries; i++) {
		const struct boot_e820_entry *e = &params()->e820_table[i];
		assert_true(e->addr >= last && e->size > 0);
		last = e->addr + e->size;
		if (e->type == 1) {
			sum += e->size;
			assert_true(physmem_run(&m.phys, gpa(e->addr)) >= e->size);
		}
	}
	assert_int_equal(sum, ram - reserved_below_1m);
}

static void test_memory_map(void **state)
{
	const u64 low_hole = MIB - EBDA_START;

	(void)state;
	make_bz();
	for (u64 ram = 64 * MIB; ram <= 8UL << 30; ram *= 2) {
		set_ram(ram);
		assert_int_equal(load(&bz, sizeof(bz), NULL, 0, ""), 0);
		check_map(ram, low_hole);
	}
	rsdp = gpa(64 * MIB - 0x10000);
	set_ram(64 * MIB);
	assert_int_equal(load(&bz, sizeof(bz), "initrd", 6, ""), 0);
	check_map(64 * MIB, low_hole + 0x10000);
	assert_true(params()->hdr.ramdisk_image + 6 <= rsdp.v);
	assert_int_equal(params()->e820_table[4].type, 3);
	rsdp = gpa(0xe0000);
}

static void test_initrd(void **state)
{
	u8 *data = malloc(20 * MIB);
	struct setup_header *h = make_bz();

	(void)state;
	memset(data, 0x5a, 20 * MIB);
	set_ram(64 * MIB);
	assert_int_equal(load(&bz, sizeof(bz), data, 5000, ""), 0);
	assert_int_equal(params()->hdr.ramdisk_image, 64 * MIB - 8192);
	assert_int_equal(params()->hdr.ramdisk_size, 5000);
	assert_memory_equal(guest(64 * MIB - 8192), data, 5000);
	set_ram(6UL << 30);
	assert_int_equal(load(&bz, sizeof(bz), data, 4096, ""), 0);
	assert_int_equal(params()->hdr.ramdisk_image, 0x7ffff000);
	h->initrd_addr_max = 60 * MIB - 1;
	assert_int_equal(load(&bz, sizeof(bz), data, 4096, ""), 0);
	assert_int_equal(params()->hdr.ramdisk_image, 60 * MIB - 4096);
	assert_true(load(&bz, sizeof(bz), data, 20 * MIB, "") < 0);
	assert_non_null(strstr(err, "does not fit"));
	assert_int_equal(load(&bz, sizeof(bz), data, 0, ""), 0);
	assert_int_equal(params()->hdr.ramdisk_size, 0);
	free(data);

	struct file k = make_file(&bz, sizeof(bz));
	struct boot_config bc = { .kernel = k.path, .initrd = "/nonexistent/initrd" };
	assert_true(boot_load(&bc, &m, &v, err, sizeof(err)) < 0);
	assert_non_null(strstr(err, "/nonexistent/initrd"));
	close(k.fd);
}

static void test_command_line(void **state)
{
	char line[3000];

	(void)state;
	make_bz();
	set_ram(64 * MIB);
	memset(line, 'a', sizeof(line));
	line[2047] = 0;
	assert_int_equal(load(&bz, sizeof(bz), NULL, 0, line), 0);
	line[2047] = 'a';
	line[2048] = 0;
	assert_true(load(&bz, sizeof(bz), NULL, 0, line) < 0);
	assert_non_null(strstr(err, "-append"));
	assert_int_equal(load(&bz, sizeof(bz), NULL, 0, NULL), 0);
	assert_string_equal((char *)guest(BOOT_CMDLINE), "");
}

static void test_bad_bzimage(void **state)
{
	static const char text[] = "this is not a kernel";
	struct setup_header *h;

	(void)state;
	set_ram(64 * MIB);
	make_bz();
	for (size_t len = 0x290; len < sizeof(bz); len += 300)
		refused(&bz, len, "truncated");
	refused(text, sizeof(text), "not a Linux bzImage");
	refused("", 0, "not a Linux bzImage");
	refused("\x1f\x8b", 2, "gzip");
	refused("\177ELF\1", 5, "32-bit ELF");
	h = make_bz();
	h->version = 0x20b;
	refused(&bz, sizeof(bz), "too old");
	h = make_bz();
	h->xloadflags = 0;
	refused(&bz, sizeof(bz), "32-bit kernel");
	h = make_bz();
	h->loadflags = 0;
	refused(&bz, sizeof(bz), "zImage");
	h = make_bz();
	h->init_size = 49 * MIB;
	refused(&bz, sizeof(bz), "65 MiB");
	h->init_size = 48 * MIB;
	assert_int_equal(load(&bz, sizeof(bz), NULL, 0, ""), 0);
	h->pref_address = ~0UL - 4096;
	refused(&bz, sizeof(bz), "damaged");
	h = make_bz();
	h->pref_address = 0;
	h->relocatable_kernel = 0;
	refused(&bz, sizeof(bz), "below 1 MiB");
	h->relocatable_kernel = 1;
	assert_int_equal(load(&bz, sizeof(bz), NULL, 0, ""), 0);
	assert_int_equal(v.rip, 2 * MIB + 0x200);
	set_ram(8 * MIB);
	make_bz();
	refused(&bz, sizeof(bz), "use a larger -m");
}

static void test_no_such_file(void **state)
{
	struct boot_config bc = { .kernel = "/nonexistent/kernel" };

	(void)state;
	set_ram(64 * MIB);
	assert_true(boot_load(&bc, &m, &v, err, sizeof(err)) < 0);
	assert_non_null(strstr(err, "/nonexistent/kernel"));
	bc.kernel = "/";
	assert_true(boot_load(&bc, &m, &v, err, sizeof(err)) < 0);
	assert_non_null(strstr(err, "not a regular file"));
}

static void test_elf(void **state)
{
	u8 zero[8192 - 256] = { 0 };

	(void)state;
	set_ram(64 * MIB);
	make_elf();
	memset(guest(0x200000), 0xee, 8192);
	assert_int_equal(load(&elf, sizeof(elf), "initrd", 6, "hello"), 0);
	assert_memory_equal(guest(0x200000), elf.code, 256);
	assert_memory_equal(guest(0x200100), zero, sizeof(zero));
	assert_int_equal(v.rip, 0x200010);
	assert_int_equal(v.gpr[RSI], BOOT_PARAMS);
	assert_int_equal(params()->hdr.boot_flag, 0xaa55);
	assert_string_equal((char *)guest(params()->hdr.cmd_line_ptr), "hello");
	assert_int_equal(params()->hdr.ramdisk_image, 64 * MIB - 4096);
	elf.eh.e_entry = 0xffffffff80200020; /* virtual */
	assert_int_equal(load(&elf, sizeof(elf), NULL, 0, ""), 0);
	assert_int_equal(v.rip, 0x200020);
	/* A data segment linked at 0 does not catch a physical entry point. */
	elf.eh.e_phnum = 2;
	elf.ph[0].p_vaddr = 0;
	elf.ph[0].p_flags = PF_R;
	elf.ph[0].p_paddr = 0x400000;
	elf.ph[0].p_memsz = 4 * MIB;
	elf.eh.e_entry = 0x200030;
	assert_int_equal(load(&elf, sizeof(elf), NULL, 0, ""), 0);
	assert_int_equal(v.rip, 0x200030);
}

static void test_bad_elf(void **state)
{
	(void)state;
	set_ram(64 * MIB);
	make_elf();
	refused(&elf, offsetof(struct elf, ph) + 10, "truncated");
	refused(&elf, offsetof(struct elf, code) + 10, "truncated");
	elf.eh.e_machine = EM_AARCH64;
	refused(&elf, sizeof(elf), "another machine");
	make_elf();
	elf.eh.e_type = ET_REL;
	refused(&elf, sizeof(elf), "not a program");
	make_elf();
	elf.eh.e_phnum = 0;
	refused(&elf, sizeof(elf), "program headers");
	make_elf();
	elf.eh.e_entry = 0x100000;
	refused(&elf, sizeof(elf), "entry point");
	make_elf();
	elf.ph[0].p_filesz = 9000;
	refused(&elf, sizeof(elf), "damaged");
	make_elf();
	elf.ph[0].p_paddr = BOOT_PARAMS;
	refused(&elf, sizeof(elf), "below 1 MiB");
	elf.ph[0].p_paddr = 0xa0000;
	refused(&elf, sizeof(elf), "below 1 MiB");
	elf.ph[0].p_type = PT_INTERP;
	refused(&elf, sizeof(elf), "not a kernel");
	static const u64 bad_places[] = { 64 * MIB, ~0UL - 100, PHYS_LOW_MAX, PHYS_4G };
	for (size_t i = 0; i < ARRAY_LEN(bad_places); i++) {
		make_elf();
		elf.ph[0].p_paddr = bad_places[i];
		refused(&elf, sizeof(elf), "does not fit");
	}
	make_elf();
	elf.ph[0].p_memsz = ~0UL;
	refused(&elf, sizeof(elf), "does not fit");
}

/* Damaged headers of any kind are refused or loaded, but never reach outside RAM, where
 * the test would get a signal. The seed is fixed. */
static void test_damaged_headers(void **state)
{
	static const u64 values[] = { 0, 1, 0x7f, 0xff, 0x7fffffff, 0x80000000, 0xffffffff, ~0UL, 1UL << 63, 1UL << 40, 60 * MIB };

	(void)state;
	srandom(20);
	set_ram(64 * MIB);
	for (int round = 0; round < 20000; round++) {
		make_bz();
		make_elf();
		for (long n = random() % 4; n >= 0; n--) {
			u64 val = random() & 1 ? values[random() % (long)ARRAY_LEN(values)] : (u64)random() << 33 ^ (u64)random();
			size_t width = 1UL << random() % 4;
			memcpy(bz.b + 0x1f1 + random() % 0x80, &val, width);
			memcpy((u8 *)&elf + 16 + random() % 160, &val, width);
		}
		elf.eh.e_machine = EM_X86_64;
		if (round & 1)
			(void)!load(&bz, sizeof(bz), "initrd", 6, "x");
		else
			(void)!load(&elf, sizeof(elf), "initrd", 6, "x");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bzimage),
		cmocka_unit_test(test_entry_state),
		cmocka_unit_test(test_memory_map),
		cmocka_unit_test(test_initrd),
		cmocka_unit_test(test_command_line),
		cmocka_unit_test(test_bad_bzimage),
		cmocka_unit_test(test_no_such_file),
		cmocka_unit_test(test_elf),
		cmocka_unit_test(test_bad_elf),
		cmocka_unit_test(test_damaged_headers),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
