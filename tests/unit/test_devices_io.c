/* UART, i8042, PCI, ACPI registers and tables, ports that end the machine, reset. */
#include <sys/mman.h>
#include "test_devices_fixture.h"
#include "shadowbox/boot.h"

/* --- UART -------------------------------------------------------------------------- */
#define COM 0x3f8

static void type(const char *s)
{
	while (*s)
		assert_true(ring_put(&m->rx, (u8)*s++));
	uart_poll_rx(m);
}

/* The steps that a PC serial driver takes to recognise the chip. */
static void uart_probe(void **state)
{
	(void)state;
	outb(COM + 1, 0xff);
	assert_int_equal(inb(COM + 1), 0x0f);
	outb(COM + 1, 0);
	outb(COM + 7, 0x5a);
	assert_int_equal(inb(COM + 7), 0x5a);
	outb(COM + 4, 0x1a); /* loopback, OUT2, RTS */
	assert_int_equal(inb(COM + 6) & 0xf0, 0x90);
	outb(COM + 4, 0x00);
	assert_int_equal(inb(COM + 6) & 0xf0, 0xb0);
	outb(COM + 2, 0x01);
	assert_int_equal(inb(COM + 2) & 0xc0, 0xc0);
	outb(COM + 2, 0x00);
	assert_int_equal(inb(COM + 2) & 0xc0, 0x00);
	outb(COM + 3, 0x83);
	outb(COM, 0x01);
	outb(COM + 1, 0x00);
	assert_int_equal(inb(COM), 1);
	outb(COM + 3, 0x03);
	assert_int_equal(inb(COM + 5), 0x60);
}

static void uart_transmits(void **state)
{
	u8 byte;

	(void)state;
	outb(COM, 'A');
	assert_int_equal(notified, 1);
	assert_true(ring_get(&m->tx, &byte));
	assert_int_equal(byte, 'A');
	assert_int_equal(inb(COM + 5) & 0x60, 0x60);
}

static void uart_thre_interrupt(void **state)
{
	(void)state;
	pic_program(0);
	outb(COM + 4, 0x08);
	outb(COM + 2, 0x01);
	outb(COM + 1, 0x02); /* enabled while empty: comes at once */
	assert_int_equal(irq_ack(m, cpu), 0x34);
	assert_int_equal(inb(COM + 2), 0xc2);
	assert_int_equal(inb(COM + 2), 0xc1); /* reading it has cleared it */
	outb(0x20, 0x20);
	assert_false(irq_pending(m, cpu));
	outb(COM, 'x');
	assert_int_equal(irq_ack(m, cpu), 0x34);
	outb(0x20, 0x20);
	outb(COM, 'y'); /* the line falls and rises: a new edge */
	assert_int_equal(irq_ack(m, cpu), 0x34);
	outb(COM + 1, 0x00);
	outb(0x20, 0x20);
	outb(COM + 1, 0x02);
	assert_int_equal(irq_ack(m, cpu), 0x34);
}

static void uart_out2_gates_interrupt(void **state)
{
	(void)state;
	pic_program(0);
	outb(COM + 1, 0x02);
	assert_false(irq_pending(m, cpu));
	outb(COM + 4, 0x08);
	assert_true(irq_pending(m, cpu));
}

static void uart_receives_without_fifo(void **state)
{
	(void)state;
	outb(COM + 4, 0x08);
	type("abc");
	assert_int_equal(inb(COM + 5) & 1, 1);
	for (const char *s = "abc"; *s; s++) {
		assert_int_equal(inb(COM), *s);
		assert_int_equal(inb(COM + 5) & 1, 0); /* not all at once */
		run_for(100 * US);
	}
	assert_int_equal(inb(COM + 5) & 1, 0);
	assert_int_equal(inb(COM), 0);
}

static void uart_trigger_and_timeout(void **state)
{
	(void)state;
	pic_program(0);
	outb(COM + 3, 0x83);
	outb(COM, 1);
	outb(COM + 3, 0x03);
	outb(COM + 4, 0x08);
	outb(COM + 2, 0x81); /* trigger level 8 */
	outb(COM + 1, 0x01);
	type("abc");
	assert_int_equal(inb(COM + 2), 0xc1);
	run_for(300 * US);
	assert_int_equal(inb(COM + 2), 0xc1);
	run_for(100 * US);
	assert_int_equal(inb(COM + 2), 0xcc);
	assert_int_equal(irq_ack(m, cpu), 0x34);
	assert_int_equal(inb(COM), 'a');
	assert_int_equal(inb(COM + 2), 0xc1);
	type("defgh12");
	assert_int_equal(inb(COM + 2), 0xc4);
	for (int i = 0; i < 9; i++)
		(void)inb(COM);
	assert_int_equal(inb(COM + 5) & 1, 0);
	irq_ack(m, cpu);
	outb(0x20, 0x20);
	run_for(100 * US);
}

/* A driver reads until the FIFO is empty, and must find it so, however much is to come;
 * every batch makes an edge of its own. */
static void uart_long_input_comes_in_batches(void **state)
{
	unsigned got = 0;

	(void)state;
	pic_program(0);
	outb(COM + 4, 0x08);
	outb(COM + 2, 0x81);
	outb(COM + 1, 0x01);
	for (int i = 0; i < 1000; i++)
		assert_true(ring_put(&m->rx, (u8)i));
	uart_poll_rx(m);
	while (got < 1000) {
		unsigned batch = 0;

		assert_int_equal(irq_ack(m, cpu), 0x34);
		while (inb(COM + 5) & 1) {
			assert_int_equal(inb(COM), (u8)got++);
			assert_true(++batch <= 16);
		}
		assert_int_equal(inb(COM + 2), 0xc1);
		outb(0x20, 0x20);
		run_for(got >= 992 ? SEC : 100 * US);
	}
	assert_true(clock_next_deadline(&m->clock) == TIMER_OFF);
}

static void uart_priorities(void **state)
{
	(void)state;
	outb(COM + 2, 0x01);
	outb(COM + 4, 0x10); /* loopback */
	(void)inb(COM + 6);
	outb(COM + 1, 0x0f);
	for (int i = 0; i < 17; i++)
		outb(COM, (u8)i); /* one too many: overrun */
	outb(COM + 4, 0x12);
	assert_int_equal(inb(COM + 2), 0xc6);
	assert_int_equal(inb(COM + 5) & 0x0f, 0x03);
	assert_int_equal(inb(COM + 2), 0xc4);
	for (int i = 0; i < 16; i++)
		assert_int_equal(inb(COM), i);
	assert_int_equal(inb(COM + 2), 0xc2);
	assert_int_equal(inb(COM + 2), 0xc0);
	assert_int_equal(inb(COM + 6) & 0x1f, 0x11);
	assert_int_equal(inb(COM + 2), 0xc1);
	assert_int_equal(ring_used(&m->tx), 0);
}

static void uart_full_ring_loses_nothing(void **state)
{
	u8 byte;

	(void)state;
	outb(COM + 2, 0x01);
	m->tx.head = RING_SIZE;
	outb(COM, 'p');
	outb(COM, 'q');
	assert_int_equal(inb(COM + 5) & 0x60, 0);
	run_for(5 * MS);
	assert_int_equal(inb(COM + 5) & 0x60, 0);
	m->tx.tail = m->tx.head;
	run_for(2 * MS);
	assert_int_equal(inb(COM + 5) & 0x60, 0x60);
	assert_true(ring_get(&m->tx, &byte) && byte == 'p');
	assert_true(ring_get(&m->tx, &byte) && byte == 'q');
	assert_true(clock_next_deadline(&m->clock) == TIMER_OFF);
}

/* --- i8042 ------------------------------------------------------------------------- */
static u8 kbc_data(void)
{
	assert_int_equal(inb(0x64) & 1, 1);
	return inb(0x60);
}

static void kbc_self_test_and_ctr(void **state)
{
	(void)state;
	assert_int_equal(inb(0x64) & 1, 0);
	outb(0x64, 0xaa);
	assert_int_equal(kbc_data(), 0x55);
	outb(0x64, 0xab);
	assert_int_equal(kbc_data(), 0);
	outb(0x64, 0x60);
	outb(0x60, 0x47);
	outb(0x64, 0x20);
	assert_int_equal(kbc_data(), 0x47);
	outb(0x64, 0xa7);
	outb(0x64, 0x20);
	assert_int_equal(kbc_data(), 0x67);
	outb(0x64, 0xd0);
	assert_int_equal(kbc_data() & 3, 3);
}

static void kbc_keyboard(void **state)
{
	(void)state;
	pic_program(0);
	outb(0x60, 0xff);
	assert_int_equal(irq_ack(m, cpu), 0x31);
	assert_int_equal(kbc_data(), 0xfa);
	assert_int_equal(kbc_data(), 0xaa);
	outb(0x20, 0x20);
	outb(0x64, 0x60);
	outb(0x60, 0x04); /* no translation, no interrupt */
	(void)irq_ack(m, cpu);
	outb(0x20, 0x20);
	outb(0x60, 0xf2);
	assert_false(irq_pending(m, cpu));
	assert_int_equal(kbc_data(), 0xfa);
	assert_int_equal(kbc_data(), 0xab);
	assert_int_equal(kbc_data(), 0x83);
	outb(0x60, 0xed);
	assert_int_equal(kbc_data(), 0xfa);
	outb(0x60, 0x07);
	assert_int_equal(kbc_data(), 0xfa);
	outb(0x60, 0xf0);
	(void)kbc_data();
	outb(0x60, 0x00);
	assert_int_equal(kbc_data(), 0xfa);
	assert_int_equal(kbc_data(), 2);
	outb(0x60, 0x01); /* unknown */
	assert_int_equal(kbc_data(), 0xfe);
	assert_int_equal(inb(0x64) & 1, 0);
}

static u8 aux_data(void)
{
	assert_int_equal(inb(0x64) & 0x21, 0x21);
	return inb(0x60);
}

static void kbc_mouse(void **state)
{
	(void)state;
	pic_program(0);
	outb(0x64, 0xd3); /* loop test */
	outb(0x60, 0x5a);
	assert_int_equal(aux_data(), 0x5a);
	outb(0x64, 0x60);
	outb(0x60, 0x47);
	outb(0x64, 0xd4);
	outb(0x60, 0xff);
	assert_int_equal(irq_ack(m, cpu), 0x3c);
	assert_int_equal(aux_data(), 0xfa);
	assert_int_equal(aux_data(), 0xaa);
	assert_int_equal(aux_data(), 0x00);
	outb(0x64, 0xd4);
	outb(0x60, 0xf3);
	assert_int_equal(aux_data(), 0xfa);
	outb(0x64, 0xd4);
	outb(0x60, 0x50);
	assert_int_equal(aux_data(), 0xfa);
	outb(0x64, 0xd4);
	outb(0x60, 0xe9);
	assert_int_equal(aux_data(), 0xfa);
	assert_int_equal(aux_data(), 0);
	assert_int_equal(aux_data(), 2);
	assert_int_equal(aux_data(), 0x50);
	assert_int_equal(inb(0x64) & 1, 0);
}

static void kbc_garbage_is_harmless(void **state)
{
	u32 seed = 3;

	(void)state;
	for (int i = 0; i < 200000; i++) {
		seed = seed * 1664525 + 1013904223;
		if (seed >> 30)
			outb(seed & 0x10000 ? 0x60 : 0x64, (u8)(seed >> 8));
		else
			(void)inb(seed & 0x10000 ? 0x60 : 0x64);
	}
}

/* --- stops ------------------------------------------------------------------------- */
struct stop_case { u16 port; u32 val; unsigned size; enum machine_stop why; u32 code; };

static void ports_that_stop(void **state)
{
	static const struct stop_case cases[] = {
		{ 0x64, 0xfe, 1, STOP_RESET, 0 },      { 0x92, 0x03, 1, STOP_RESET, 0 },
		{ 0xcf9, 0x0f, 1, STOP_RESET, 0 },     { 0xcf9, 0x06, 1, STOP_RESET, 0 },
		{ 0x604, 0x2000, 2, STOP_POWEROFF, 0 },{ 0xf4, 0x10, 1, STOP_DEBUG_EXIT, 0x21 },
		{ 0xf4, 0x3, 4, STOP_DEBUG_EXIT, 7 },  { 0x604, 0x2400, 2, STOP_NONE, 0 },
		{ 0xcf9, 0x02, 1, STOP_NONE, 0 },      { 0x64, 0xff, 1, STOP_NONE, 0 },
		{ 0x92, 0x02, 1, STOP_NONE, 0 },       { 0x604, 0x0001, 2, STOP_NONE, 0 },
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
		m->stop = m->stop_code = 0;
		out(cases[i].port, cases[i].val, cases[i].size);
		assert_int_equal(m->stop, cases[i].why);
		assert_int_equal(m->stop_code, cases[i].code);
	}
}

/* --- PCI --------------------------------------------------------------------------- */
static u32 pci_cfg(u32 bdf, u32 reg)
{
	out(0xcf8, 0x80000000 | bdf << 8 | reg, 4);
	return (u32)in(0xcfc, 4);
}

static void pci_bus_zero(void **state)
{
	(void)state;
	outb(0xcfb, 1);
	out(0xcf8, 0x80000000, 4);
	assert_int_equal(in(0xcf8, 4), 0x80000000);
	assert_int_equal(pci_cfg(0, 0), 0x12378086);
	assert_int_equal(pci_cfg(0, 8) >> 16, 0x0600);
	assert_int_equal(pci_cfg(8, 0), 0x70008086);
	assert_int_equal(pci_cfg(8, 8) >> 16, 0x0601);
	assert_int_equal(in(0xcfe, 2), 0x0601);
	assert_int_equal(inb(0xcff), 0x06);
	assert_int_equal(pci_cfg(16, 0), 0xffffffff);
	assert_int_equal(pci_cfg(9, 0), 0xffffffff); /* one function only */
	assert_int_equal(pci_cfg(0x100, 0), 0xffffffff);
	(void)pci_cfg(8, 0x60);
	outb(0xcfd, 0x0b);
	assert_int_equal(pci_cfg(8, 0x60), 0x0b0b0b0a);
	(void)pci_cfg(0, 0);
	out(0xcfc, 0, 4);
	assert_int_equal(pci_cfg(0, 0), 0x12378086); /* read-only */
	out(0xcf8, 0, 4);
	assert_int_equal(in(0xcfc, 4), 0xffffffff);
	assert_null(pci_add(m, PCI_DEVFN(1, 0), 1, 2, 3, 4));
}

/* --- ACPI tables ------------------------------------------------------------------- */
static void check_sum(const u8 *p, u32 len)
{
	u8 sum = 0;

	while (len--)
		sum += *p++;
	assert_int_equal(sum, 0);
}

static u64 get(const u8 *p, unsigned len)
{
	u64 v = 0;

	memcpy(&v, p, len);
	return v;
}

static void acpi_tables_are_sound(void **state)
{
	static const char *const want[] = { "FACP", "APIC", "HPET" };
	u8 *low = mmap((void *)PHYS_HVA, 0x100000, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	u8 *rsdp, *xsdt, *rsdt;

	(void)state;
	assert_ptr_equal(low, (void *)PHYS_HVA);
	rsdp = physmem_ptr(acpi_build_tables(m));
	assert_in_range(rsdp - low, 0xe0000, 0xfffff);
	assert_int_equal((rsdp - low) % 16, 0);
	assert_memory_equal(rsdp, "RSD PTR ", 8);
	check_sum(rsdp, 20);
	check_sum(rsdp, 36);
	rsdt = low + get(rsdp + 16, 4);
	xsdt = low + get(rsdp + 24, 8);
	check_sum(rsdt, get(rsdt + 4, 4));
	check_sum(xsdt, get(xsdt + 4, 4));
	assert_int_equal(get(xsdt + 4, 4), 36 + 8 * ARRAY_LEN(want));
	for (unsigned i = 0; i < ARRAY_LEN(want); i++) {
		u8 *t = low + get(xsdt + 36 + 8 * i, 8);

		assert_int_equal(get(rsdt + 36 + 4 * i, 4), t - low);
		assert_memory_equal(t, want[i], 4);
		check_sum(t, get(t + 4, 4));
		if (i == 0) {
			u8 *facs = low + get(t + 36, 4), *dsdt = low + get(t + 40, 4);

			assert_memory_equal(facs, "FACS", 4);
			assert_int_equal((facs - low) % 64, 0);
			assert_memory_equal(dsdt, "DSDT", 4);
			check_sum(dsdt, get(dsdt + 4, 4));
		}
	}
	/* Without HPET: no table of it, and the DSDT hides the device. */
	m->dev.cfg.no_hpet = true;
	rsdp = physmem_ptr(acpi_build_tables(m));
	xsdt = low + get(rsdp + 24, 8);
	assert_int_equal(get(xsdt + 4, 4), 36 + 8 * (ARRAY_LEN(want) - 1));
	munmap(low, 0x100000);
}

/* --- the rest ---------------------------------------------------------------------- */
static void dma_and_delay_ports(void **state)
{
	(void)state;
	outb(0x80, 0x12);
	outb(0x87, 0x34);
	outb(0xd4, 0x01);
	assert_int_equal(inb(0x80), 0x12);
	assert_int_equal(inb(0x87), 0x34);
	assert_int_equal(inb(0xd4), 0x01);
}

static void reset_quiets_everything(void **state)
{
	(void)state;
	pic_program(0);
	outb(0x43, 0x34);
	outb(0x40, 0);
	outb(0x40, 1);
	outb(COM + 4, 0x08);
	outb(COM + 1, 0x0f);
	wr32(LAPIC_BASE + 0x380, 1000);
	wr32(HPET_BASE + 0x10, 3);
	run_for(10 * MS);
	devices_reset(m);
	assert_false(irq_pending(m, cpu));
	assert_true(clock_next_deadline(&m->clock) == TIMER_OFF);
	assert_int_equal(m->dev.irq.level, 0);
	assert_int_equal(rd32(LAPIC_BASE + 0x350), 0x700);
	assert_int_equal(pci_cfg(8, 0), 0x70008086);
	assert_int_equal(inb(COM + 1), 0);
}

static void no_hpet_and_overlap(void **state)
{
	struct machine *n = calloc(1, sizeof(*n));
	struct device_config cfg = { .no_hpet = true };

	(void)state;
	clock_init(&n->clock, 1000000, 0);
	assert_int_equal(devices_init(n, &cfg), 0);
	assert_true(bus_read(n, BUS_MMIO, HPET_BASE, 4) == 0xffffffff);
	memset(n, 0, sizeof(*n));
	clock_init(&n->clock, 1000000, 0);
	cfg = (struct device_config){ .debug_exit = true, .debug_exit_port = 0x3fa, .debug_exit_size = 2 };
	assert_int_equal(devices_init(n, &cfg), -17);
	free(n);
}

static void random_accesses_are_harmless(void **state)
{
	static const u16 base[] = { 0x00, 0x20, 0x40, 0x60, 0x70, 0x80, 0xa0, 0xb0, 0xc0,
				    0x3f8, 0x4d0, 0x600, 0xafe0, 0xcf8 };
	static const u64 mmio[] = { LAPIC_BASE, IOAPIC_BASE, HPET_BASE };
	u64 seed = 42;

	(void)state;
	for (int i = 0; i < 500000; i++) {
		unsigned size;
		u64 addr, val;
		bool pio;

		seed = seed * 6364136223846793005UL + 1442695040888963407UL;
		size = 1u << (seed >> 60 & 3);
		pio = seed >> 59 & 1;
		val = seed * 0x9e3779b97f4a7c15UL;
		addr = pio ? base[(seed >> 32) % ARRAY_LEN(base)] + (seed >> 40 & 31)
			   : mmio[(seed >> 32) % ARRAY_LEN(mmio)] + (seed >> 40 & 0x3ff);
		if (seed >> 58 & 1)
			(void)bus_read(m, pio ? BUS_PIO : BUS_MMIO, addr, size);
		else
			bus_write(m, pio ? BUS_PIO : BUS_MMIO, addr, val, size);
		if ((seed >> 50 & 31) == 0) {
			(void)irq_ack(m, cpu);
			if (!lapic_msr_write(m, cpu, 0x800 + (seed >> 20 & 0x3f), val >> (seed & 63)))
				cpu->exc.vector = EXC_GP;
			cpu->nmi_pending = 0;
		}
		if ((seed >> 50 & 127) == 0)
			run_for(seed >> 45);
	}
}

#define T(f) cmocka_unit_test_setup_teardown(f, fixture_setup, fixture_teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(uart_probe), T(uart_transmits), T(uart_thre_interrupt), T(uart_out2_gates_interrupt),
		T(uart_receives_without_fifo), T(uart_trigger_and_timeout), T(uart_long_input_comes_in_batches), T(uart_priorities),
		T(uart_full_ring_loses_nothing), T(kbc_self_test_and_ctr), T(kbc_keyboard), T(kbc_mouse),
		T(kbc_garbage_is_harmless), T(ports_that_stop), T(pci_bus_zero), T(acpi_tables_are_sound),
		T(dma_and_delay_ports), T(reset_quiets_everything), T(no_hpet_and_overlap),
		T(random_accesses_are_harmless),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
