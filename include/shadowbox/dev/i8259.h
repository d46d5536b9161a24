/* A pair of Intel 8259A interrupt controllers, cascaded on line 2. */
#pragma once
#include "shadowbox/types.h"

struct machine;

enum i8259_init { I8259_READY, I8259_ICW2, I8259_ICW3, I8259_ICW4 };

struct i8259 {
	u8 irr, imr, isr;
	u8 line;       /* input levels, to see edges */
	u8 elcr;       /* bit set: level-triggered */
	u8 base;       /* vector of input 0 */
	u8 lowest_add; /* input of highest priority */
	u8 init;       /* enum i8259_init: the next ICW expected at the odd port */
	bool icw4, single;
	bool read_isr, poll, special_mask, auto_eoi, rotate_aeoi, nested;
};

struct i8259_pair {
	struct i8259 chip[2]; /* master, slave */
	bool intr;            /* INTR of the master */
};

int i8259_init(struct machine *m);
void i8259_reset(struct machine *m);
void i8259_set_line(struct machine *m, unsigned line, bool level);
/* Interrupt acknowledge cycle: the vector (a spurious one if nothing is pending). */
u8 i8259_ack(struct machine *m);
