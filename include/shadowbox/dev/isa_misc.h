/* Small ISA ports: the 8237 DMA controllers' registers, port 0x80, isa-debug-exit. */
#pragma once
#include "shadowbox/types.h"

struct machine;

struct i8237 {
	u8 reg[2][16]; /* channels 0-3 at 0x00, 4-7 at 0xc0 (every second port) */
	u8 page[16];   /* 0x80-0x8f; [0] is the POST code port */
};

int i8237_init(struct machine *m);
void i8237_reset(struct machine *m);
int debug_exit_init(struct machine *m);
