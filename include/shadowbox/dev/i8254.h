/* Intel 8254 timer and the system control port 0x61. */
#pragma once
#include "shadowbox/types.h"

struct machine;

struct i8254_channel {
	u8 mode;        /* 0-5 */
	u8 rw;          /* 1 LSB, 2 MSB, 3 LSB then MSB */
	bool bcd;
	bool gate;
	bool loaded;    /* a count was written since the control word */
	bool running;   /* counting, from start */
	bool write_msb, read_msb; /* next byte of an LSB/MSB pair */
	u8 write_lsb;
	u8 latched;     /* count bytes still to be read from latch */
	bool status_latched;
	u8 status;
	u16 latch;
	u32 count;      /* 1-65536 (binary) or 1-10000 (BCD) */
	u32 next_count; /* modes 2, 3: takes over at the end of the period; 0 none */
	u64 next_at;    /* tick at which next_count takes over */
	u64 start;      /* tick at which count was loaded */
	u64 paused;     /* ticks counted when the gate stopped it (modes 0, 4) */
};

struct i8254 {
	struct i8254_channel ch[3];
	u64 irq_next; /* tick of channel 0's next rising edge, or TIMER_OFF */
	u8 port61;    /* bits 0, 1 as written */
};

int i8254_init(struct machine *m);
void i8254_reset(struct machine *m);
void i8254_timer(struct machine *m);
/* HPET legacy routing was switched: line 0 is ours again, or no longer. */
void i8254_refresh_irq(struct machine *m);
