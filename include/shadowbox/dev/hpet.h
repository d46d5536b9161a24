/* High Precision Event Timer: three timers, 100 MHz. */
#pragma once
#include "shadowbox/types.h"

struct machine;

#define HPET_BASE 0xfed00000UL
#define HPET_TIMERS 3
/* Revision 1, 64-bit counter, legacy replacement, three timers. */
#define HPET_ID 0x8086a201U

struct hpet_timer {
	u64 config;
	u64 cmp;    /* comparator */
	u64 period; /* what a periodic timer adds to it */
	bool armed; /* the comparator was written since it matched last */
};

struct hpet {
	u64 config, status;
	u64 counter; /* while halted; else the counter at machine time 0 (mod 2^64) */
	struct hpet_timer timer[HPET_TIMERS];
};

int hpet_init(struct machine *m);
void hpet_reset(struct machine *m);
void hpet_timer0(struct machine *m);
void hpet_timer1(struct machine *m);
void hpet_timer2(struct machine *m);
/* Do timers 0 and 1 replace the PIT on line 0 and the RTC on line 8? */
bool hpet_legacy(const struct machine *m);
