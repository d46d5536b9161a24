/* Intel 8042 keyboard controller with a keyboard and a mouse, and port 0x92. */
#pragma once
#include "shadowbox/types.h"

struct machine;

#define PS2_QUEUE 32

/* A PS/2 device as the controller sees it: bytes to the host, one pending command. */
struct ps2_port {
	u8 queue[PS2_QUEUE];
	u8 head, len;
	u8 command;     /* waits for its argument, 0 none */
	bool reporting;
	u8 scan_set;    /* keyboard */
	u8 leds;
	u8 sample_rate, resolution; /* mouse */
	bool scaling21, remote;
	u8 last;        /* last byte sent, for RESEND */
};

struct i8042 {
	u8 ctr;         /* command byte */
	u8 status;
	u8 out;         /* output buffer */
	u8 out_port;
	u8 command;     /* waits for a byte at port 0x60, 0 none */
	u8 reply[2];    /* controller's own answer ... */
	u8 reply_len;   /* ... not yet in the output buffer; [0] first */
	bool reply_aux;
	struct ps2_port port[2]; /* keyboard, mouse */
};

int i8042_init(struct machine *m);
void i8042_reset(struct machine *m);
