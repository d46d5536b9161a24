/* ACPI fixed hardware: PM1a event and control, PM timer, GPE0, SMI command, reset. */
#pragma once
#include "shadowbox/types.h"

struct machine;

#define ACPI_PM_BASE 0x600
#define ACPI_PM1_EVT (ACPI_PM_BASE + 0)
#define ACPI_PM1_CNT (ACPI_PM_BASE + 4)
#define ACPI_PM_TMR (ACPI_PM_BASE + 8)
#define ACPI_GPE0 0xafe0
#define ACPI_GPE0_LEN 4
#define ACPI_SMI_CMD 0xb2
#define ACPI_ENABLE 0xf1
#define ACPI_DISABLE 0xf0
#define ACPI_RESET_PORT 0xcf9
#define ACPI_RESET_VALUE 0x0f
#define ACPI_SLP_TYP_S5 0

struct acpi_pm {
	u16 sts, en, cnt;
	u8 gpe[ACPI_GPE0_LEN]; /* status bytes, then enable bytes */
	u8 smi_cmd, smi_status;
	u8 reset_ctl;          /* port 0xcf9 */
	u64 overflow_at;       /* machine time at which bit 23 of the timer changes next */
};

int acpi_pm_init(struct machine *m);
void acpi_pm_reset(struct machine *m);
void acpi_pm_timer(struct machine *m);
/* Port 0xcf9, which lies inside the PCI host bridge's ports. */
u8 acpi_reset_read(struct machine *m);
void acpi_reset_write(struct machine *m, u8 val);
