/* Motorola MC146818 real-time clock and 128 bytes of CMOS memory. */
#pragma once
#include "shadowbox/types.h"

struct machine;

struct mc146818 {
	u8 index;
	u8 cmos[128];     /* time registers are current only while the clock is stopped */
	i64 offset_ns;    /* RTC time = wall time at VM start + machine time + offset_ns */
	i64 seen_rtc_ns;  /* flags in register C are up to date to here ... */
	u64 seen_clock_ns;/* ... and here, in machine time */
};

int mc146818_init(struct machine *m);
void mc146818_reset(struct machine *m);
void mc146818_timer(struct machine *m);
/* HPET legacy routing was switched: line 8 is ours again, or no longer. */
void mc146818_refresh_irq(struct machine *m);
