/* ACPI fixed hardware (ACPI specification chapter 4.8): PM1a event and control blocks
 * and the PM timer at 0x600, GPE0 at 0xafe0, the SMI command port 0xb2, and the reset
 * register 0xcf9.
 *
 * The PM timer is machine time at 3.579545 MHz, 24 bits. Its status bit is set whenever
 * bit 23 changes; a host timer runs for that only while the guest enables the event.
 *
 * SCI_EN is switched by the SMI command port, as firmware would. Sleep states other
 * than S5 are not modelled. No general-purpose event ever fires. */
#include "muldiv.h"
#include "shadowbox/irq.h"
#include "shadowbox/log.h"
#include "timer.h"

#define PM_HZ 3579545UL
#define PM_HALF 0x800000UL /* ticks between changes of bit 23 */

enum {
	PM1_TMR = 0x0001, PM1_GBL = 0x0020, PM1_PWRBTN = 0x0100, PM1_SLPBTN = 0x0200,
	PM1_RTC = 0x0400, PM1_WAK = 0x8000,
};
enum { PM1_STS_BITS = PM1_TMR | PM1_GBL | PM1_PWRBTN | PM1_SLPBTN | PM1_RTC | PM1_WAK,
       PM1_EN_BITS = PM1_TMR | PM1_GBL | PM1_PWRBTN | PM1_SLPBTN | PM1_RTC };
enum { CNT_SCI_EN = 0x0001, CNT_SLP_TYP_SHIFT = 10, CNT_SLP_EN = 0x2000, CNT_KEPT = 0x1c03 };
enum { REG_STS = 0, REG_EN = 2, REG_CNT = 4, REG_TMR = 8, PM_LEN = 12 };
enum { RESET_CPU = 0x04, RESET_KEPT = 0x0a };

static u64 pm_ticks(u64 ns)
{
	return mul_div(ns, PM_HZ, NS_PER_SEC);
}

static u64 next_overflow(u64 ns)
{
	return mul_div_up((pm_ticks(ns) / PM_HALF + 1) * PM_HALF, NS_PER_SEC, PM_HZ);
}

/* Brings the timer's status bit up to date and drives the SCI line. */
static void pm_update(struct machine *m)
{
	struct acpi_pm *pm = &m->dev.pm;
	u64 now = clock_now(&m->clock);

	if (now >= pm->overflow_at) {
		pm->sts |= PM1_TMR;
		pm->overflow_at = next_overflow(now);
	}
	timer_arm(m, TIMER_PM, (pm->en & PM1_TMR) && !(pm->sts & PM1_TMR) ? pm->overflow_at : TIMER_OFF);
	irq_set(m, IRQ_SCI, (pm->cnt & CNT_SCI_EN) && (pm->sts & pm->en & PM1_EN_BITS));
}

void acpi_pm_timer(struct machine *m)
{
	pm_update(m);
}

static void write_cnt(struct machine *m, u16 val)
{
	struct acpi_pm *pm = &m->dev.pm;
	unsigned type = val >> CNT_SLP_TYP_SHIFT & 7;

	pm->cnt = val & CNT_KEPT;
	if (!(val & CNT_SLP_EN))
		return;
	if (type == ACPI_SLP_TYP_S5)
		machine_request_stop(m, STOP_POWEROFF, 0);
	else
		log_msg(LOG_GUEST_ERRORS, "acpi: sleep type %u is not supported\n", type);
}

/* The 16-bit registers below the timer; the bus cuts wider accesses. */
static u64 pm1_read(struct machine *m, void *dev, u64 off, unsigned size)
{
	struct acpi_pm *pm = dev;
	u16 val = 0;

	(void)size;
	pm_update(m);
	switch (off & ~1UL) {
	case REG_STS:
		val = pm->sts;
		break;
	case REG_EN:
		val = pm->en;
		break;
	case REG_CNT:
		val = pm->cnt;
		break;
	}
	return off & 1 ? val >> 8 : val;
}

static void pm1_write(struct machine *m, void *dev, u64 off, u64 val64, unsigned size)
{
	struct acpi_pm *pm = dev;
	unsigned shift = off & 1 ? 8 : 0;
	u16 mask = size == 2 ? 0xffff : (u16)(0xff << shift), val = (u16)(val64 << shift);

	if (size == 2 && shift) { /* across two registers */
		pm1_write(m, dev, off, val64 & 0xff, 1);
		pm1_write(m, dev, off + 1, val64 >> 8, 1);
		return;
	}
	pm_update(m);
	switch (off & ~1UL) {
	case REG_STS: /* write one to clear */
		pm->sts &= ~(val & mask & PM1_STS_BITS);
		break;
	case REG_EN:
		pm->en = (pm->en & ~mask) | (val & mask & PM1_EN_BITS);
		break;
	case REG_CNT:
		write_cnt(m, (pm->cnt & ~mask) | (val & mask));
		break;
	}
	pm_update(m);
}

static u64 tmr_read(struct machine *m, void *dev, u64 off, unsigned size)
{
	u64 now = clock_now(&m->clock);

	(void)dev, (void)size;
	return (pm_ticks(now) & 0xffffff) >> (off * 8);
}

static void tmr_write(struct machine *m, void *dev, u64 off, u64 val, unsigned size)
{
	(void)m, (void)dev, (void)off, (void)val, (void)size; /* read-only */
}

static u64 gpe_read(struct machine *m, void *dev, u64 off, unsigned size)
{
	(void)m, (void)size;
	return ((struct acpi_pm *)dev)->gpe[off];
}

static void gpe_write(struct machine *m, void *dev, u64 off, u64 val, unsigned size)
{
	u8 *gpe = ((struct acpi_pm *)dev)->gpe;

	(void)m, (void)size;
	if (off < ACPI_GPE0_LEN / 2) /* status */
		gpe[off] &= ~(u8)val;
	else
		gpe[off] = (u8)val;
}

static u64 smi_read(struct machine *m, void *dev, u64 off, unsigned size)
{
	const struct acpi_pm *pm = dev;

	(void)m, (void)size;
	return off ? pm->smi_status : pm->smi_cmd;
}

static void smi_write(struct machine *m, void *dev, u64 off, u64 val, unsigned size)
{
	struct acpi_pm *pm = dev;

	(void)size;
	if (off) {
		pm->smi_status = (u8)val;
		return;
	}
	pm->smi_cmd = (u8)val;
	if (val == ACPI_ENABLE)
		pm->cnt |= CNT_SCI_EN;
	else if (val == ACPI_DISABLE)
		pm->cnt &= ~CNT_SCI_EN;
	pm_update(m);
}

u8 acpi_reset_read(struct machine *m)
{
	return m->dev.pm.reset_ctl;
}

void acpi_reset_write(struct machine *m, u8 val)
{
	m->dev.pm.reset_ctl = val & RESET_KEPT;
	if (val & RESET_CPU)
		machine_request_stop(m, STOP_RESET, 0);
}

int acpi_pm_init(struct machine *m)
{
	struct acpi_pm *pm = &m->dev.pm;
	const struct bus_range range[] = {
		{ ACPI_PM_BASE, REG_TMR, "acpi pm1", 1, 2, pm1_read, pm1_write, pm },
		{ ACPI_PM_TMR, PM_LEN - REG_TMR, "acpi timer", 1, 4, tmr_read, tmr_write, pm },
		{ ACPI_GPE0, ACPI_GPE0_LEN, "acpi gpe0", 1, 1, gpe_read, gpe_write, pm },
		{ ACPI_SMI_CMD, 2, "smi command", 1, 1, smi_read, smi_write, pm },
	};

	for (unsigned i = 0; i < ARRAY_LEN(range); i++) {
		int err = bus_claim(&m->bus, BUS_PIO, &range[i]);

		if (err)
			return err;
	}
	return 0;
}

void acpi_pm_reset(struct machine *m)
{
	m->dev.pm = (struct acpi_pm){ .overflow_at = next_overflow(clock_now(&m->clock)) };
}
