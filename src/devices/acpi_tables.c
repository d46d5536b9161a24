/* ACPI tables (ACPI specification 2.0, chapter 5), built once at start into guest RAM
 * below 1 MiB, where guests look for the RSDP. The memory map must not offer
 * 0xe0000-0xfffff as usable.
 *
 * Layout from ACPI_BASE: RSDP, FACS, DSDT, FADT, MADT, HPET, RSDT, XSDT. Nothing here
 * depends on guest input; numbers come from the chips' headers, so that tables and
 * hardware cannot disagree. The DSDT is tools/dsdt.asl, compiled. */
#include <string.h>
#include "shadowbox/boot.h"
#include "shadowbox/log.h"
#include "dsdt.h"

#define ACPI_BASE 0xe0000UL
#define ACPI_END 0x100000UL
#define RTC_CENTURY 0x32

#define PACKED __attribute__((packed))

/* Generic address structure. */
struct gas {
	u8 space, bit_width, bit_offset, access;
	u64 addr;
} PACKED;
enum { GAS_MEMORY = 0, GAS_IO = 1 };

struct header {
	char sig[4];
	u32 len;
	u8 rev, sum;
	char oem_id[6], oem_table_id[8];
	u32 oem_rev;
	char creator_id[4];
	u32 creator_rev;
} PACKED;

struct rsdp {
	char sig[8];
	u8 sum;
	char oem_id[6];
	u8 rev;
	u32 rsdt, len;
	u64 xsdt;
	u8 ext_sum, reserved[3];
} PACKED;

struct facs {
	char sig[4];
	u32 len, hw_signature, waking_vector, lock, flags;
	u64 x_waking_vector;
	u8 version, reserved[31];
} PACKED;

struct fadt {
	struct header h;
	u32 facs, dsdt;
	u8 reserved0, profile;
	u16 sci_irq;
	u32 smi_cmd;
	u8 acpi_enable, acpi_disable, s4bios_req, pstate_cnt;
	u32 pm1a_evt, pm1b_evt, pm1a_cnt, pm1b_cnt, pm2_cnt, pm_tmr, gpe0, gpe1;
	u8 pm1_evt_len, pm1_cnt_len, pm2_cnt_len, pm_tmr_len, gpe0_len, gpe1_len, gpe1_base, cst_cnt;
	u16 c2_latency, c3_latency, flush_size, flush_stride;
	u8 duty_offset, duty_width, day_alarm, month_alarm, century;
	u16 boot_arch;
	u8 reserved1;
	u32 flags;
	struct gas reset_reg;
	u8 reset_value, reserved2[3];
	u64 x_facs, x_dsdt;
	struct gas x_pm1a_evt, x_pm1b_evt, x_pm1a_cnt, x_pm1b_cnt, x_pm2_cnt, x_pm_tmr, x_gpe0, x_gpe1;
} PACKED;
_Static_assert(sizeof(struct fadt) == 244, "FADT revision 3");
enum { ARCH_LEGACY = 0x1, ARCH_8042 = 0x2, ARCH_NO_VGA = 0x4 };
enum { FADT_WBINVD = 1 << 0, FADT_PROC_C1 = 1 << 2, FADT_SLP_BUTTON = 1 << 5, FADT_RESET = 1 << 10 };

struct madt {
	struct header h;
	u32 lapic_addr, flags;
} PACKED;
struct madt_lapic { u8 type, len, uid, apic_id; u32 flags; } PACKED;
struct madt_ioapic { u8 type, len, id, reserved; u32 addr, gsi_base; } PACKED;
struct madt_override { u8 type, len, bus, source; u32 gsi; u16 flags; } PACKED;
struct madt_nmi { u8 type, len, uid; u16 flags; u8 lint; } PACKED;
enum { MADT_PCAT = 1, MADT_ENABLED = 1, MADT_HIGH_LEVEL = 0x0d, IOAPIC_ID = 0, GSI_PIT = 2 };

struct hpet_table {
	struct header h;
	u32 id;
	struct gas addr;
	u8 number;
	u16 min_tick;
	u8 protection;
} PACKED;

struct acpi_builder {
	u64 next;
	u64 table[8]; /* what RSDT and XSDT list */
	unsigned count;
};

static u8 checksum(const void *p, size_t len)
{
	const u8 *b = p;
	u8 sum = 0;

	while (len--)
		sum += *b++;
	return (u8)-sum;
}

/* Appends len bytes; returns their gpa. */
static u64 place(struct acpi_builder *a, const void *data, size_t len, u64 align)
{
	u64 at = (a->next + align - 1) & ~(align - 1);

	sb_assert(at + len <= ACPI_END);
	memcpy(physmem_ptr(gpa(at)), data, len);
	a->next = at + len;
	return at;
}

static void set_header(struct header *h, const char *sig, u8 rev, size_t len)
{
	memcpy(h->sig, sig, 4);
	h->len = (u32)len;
	h->rev = rev;
	memcpy(h->oem_id, "SHADOW", 6);
	memcpy(h->oem_table_id, "SHADOWBX", 8);
	h->oem_rev = 1;
	memcpy(h->creator_id, "SBOX", 4);
	h->creator_rev = 1;
	h->sum = 0;
	h->sum = checksum(h, len);
}

static struct gas io_gas(u64 port, unsigned bytes)
{
	return (struct gas){ .space = GAS_IO, .bit_width = (u8)(bytes * 8), .addr = port };
}

static void list_table(struct acpi_builder *a, u64 at)
{
	sb_assert(a->count < ARRAY_LEN(a->table));
	a->table[a->count++] = at;
}

/* The DSDT is fixed but for one byte: a machine without HPET hides the device. In AML,
 * Name (_STA, 0x0F) is the name's four characters, a byte prefix and the value; only the
 * HPET has such an object. */
static u64 build_dsdt(struct acpi_builder *a, bool has_hpet)
{
	static const u8 sta[] = { '_', 'S', 'T', 'A', 0x0a, 0x0f };
	u64 at = place(a, dsdt_aml, sizeof(dsdt_aml), 16);
	u8 *dsdt = physmem_ptr(gpa(at));
	unsigned found = 0;

	for (size_t i = sizeof(struct header); i + sizeof(sta) <= sizeof(dsdt_aml); i++) {
		if (memcmp(dsdt + i, sta, sizeof(sta)))
			continue;
		found++;
		if (!has_hpet)
			dsdt[i + sizeof(sta) - 1] = 0;
	}
	sb_assert(found == 1);
	((struct header *)dsdt)->sum = 0;
	((struct header *)dsdt)->sum = checksum(dsdt, sizeof(dsdt_aml));
	return at;
}

static void build_fadt(struct acpi_builder *a, u64 facs, u64 dsdt)
{
	struct fadt f = {
		.facs = (u32)facs,
		.dsdt = (u32)dsdt,
		.sci_irq = IRQ_SCI,
		.smi_cmd = ACPI_SMI_CMD,
		.acpi_enable = ACPI_ENABLE,
		.acpi_disable = ACPI_DISABLE,
		.pm1a_evt = ACPI_PM1_EVT,
		.pm1a_cnt = ACPI_PM1_CNT,
		.pm_tmr = ACPI_PM_TMR,
		.gpe0 = ACPI_GPE0,
		.pm1_evt_len = 4,
		.pm1_cnt_len = 2,
		.pm_tmr_len = 4,
		.gpe0_len = ACPI_GPE0_LEN,
		.c2_latency = 0xfff, /* not supported */
		.c3_latency = 0xfff,
		.century = RTC_CENTURY,
		.boot_arch = ARCH_LEGACY | ARCH_8042 | ARCH_NO_VGA,
		.flags = FADT_WBINVD | FADT_PROC_C1 | FADT_SLP_BUTTON | FADT_RESET,
		.reset_reg = io_gas(ACPI_RESET_PORT, 1),
		.reset_value = ACPI_RESET_VALUE,
		.x_dsdt = dsdt,
		.x_pm1a_evt = io_gas(ACPI_PM1_EVT, 4),
		.x_pm1a_cnt = io_gas(ACPI_PM1_CNT, 2),
		.x_pm_tmr = io_gas(ACPI_PM_TMR, 4),
		.x_gpe0 = io_gas(ACPI_GPE0, ACPI_GPE0_LEN),
	};

	set_header(&f.h, "FACP", 3, sizeof(f));
	list_table(a, place(a, &f, sizeof(f), 16));
}

static void build_madt(struct acpi_builder *a)
{
	struct {
		struct madt madt;
		struct madt_lapic lapic[LAPIC_CPUS];
		struct madt_ioapic ioapic;
		struct madt_override pit, sci;
		struct madt_nmi nmi;
	} PACKED t = {
		.madt = { .lapic_addr = LAPIC_BASE, .flags = MADT_PCAT },
		.ioapic = { 1, sizeof(t.ioapic), IOAPIC_ID, 0, IOAPIC_BASE, 0 },
		.pit = { 2, sizeof(t.pit), 0, IRQ_PIT, GSI_PIT, 0 },
		.sci = { 2, sizeof(t.sci), 0, IRQ_SCI, IRQ_SCI, MADT_HIGH_LEVEL },
		.nmi = { 4, sizeof(t.nmi), 0xff, 0, 1 },
	};

	for (unsigned i = 0; i < LAPIC_CPUS; i++)
		t.lapic[i] = (struct madt_lapic){ 0, sizeof(t.lapic[i]), (u8)i, (u8)i, MADT_ENABLED };
	set_header(&t.madt.h, "APIC", 3, sizeof(t));
	list_table(a, place(a, &t, sizeof(t), 16));
}

static void build_hpet(struct acpi_builder *a)
{
	struct hpet_table t = {
		.id = HPET_ID,
		.addr = { .space = GAS_MEMORY, .addr = HPET_BASE },
	};

	set_header(&t.h, "HPET", 1, sizeof(t));
	list_table(a, place(a, &t, sizeof(t), 16));
}

/* The root tables: addresses of all others, in 4 and in 8 bytes. */
static u64 build_root(struct acpi_builder *a, const char *sig, unsigned entry)
{
	struct {
		struct header h;
		u8 entries[sizeof(a->table)];
	} PACKED t = { 0 };
	size_t len = sizeof(t.h) + a->count * entry;

	for (unsigned i = 0; i < a->count; i++)
		memcpy(t.entries + i * entry, &a->table[i], entry);
	set_header(&t.h, sig, 1, len);
	return place(a, &t, len, 16);
}

gpa_t acpi_build_tables(struct machine *m)
{
	struct rsdp rsdp = { .rev = 2, .len = sizeof(rsdp) };
	struct facs facs = { .len = sizeof(facs), .version = 1 };
	struct acpi_builder a = { .next = ACPI_BASE + sizeof(rsdp) };
	u64 facs_at, dsdt_at;

	sb_assert(physmem_run(&m->phys, gpa(ACPI_BASE)) >= ACPI_END - ACPI_BASE);
	memcpy(facs.sig, "FACS", 4);
	facs_at = place(&a, &facs, sizeof(facs), 64);
	dsdt_at = build_dsdt(&a, !m->dev.cfg.no_hpet);
	build_fadt(&a, facs_at, dsdt_at);
	build_madt(&a);
	if (!m->dev.cfg.no_hpet)
		build_hpet(&a);

	memcpy(rsdp.sig, "RSD PTR ", 8);
	memcpy(rsdp.oem_id, "SHADOW", 6);
	rsdp.rsdt = (u32)build_root(&a, "RSDT", 4);
	rsdp.xsdt = build_root(&a, "XSDT", 8);
	rsdp.sum = checksum(&rsdp, 20); /* the ACPI 1.0 part */
	rsdp.ext_sum = checksum(&rsdp, sizeof(rsdp));
	memcpy(physmem_ptr(gpa(ACPI_BASE)), &rsdp, sizeof(rsdp));
	return gpa(ACPI_BASE);
}
