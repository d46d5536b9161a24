/* National Semiconductor 16550A UART (COM1). */
#pragma once
#include "shadowbox/types.h"

struct machine;

#define UART_FIFO 16

struct uart16550 {
	u8 ier, fcr, lcr, mcr, msr, scr;
	u8 lsr;             /* error bits only; the rest is derived */
	u16 divisor;
	bool thr_pending;   /* THRE interrupt, until IIR is read or THR written */
	bool rx_timeout;    /* character time-out interrupt */
	u8 rx[UART_FIFO], rx_head, rx_len;
	u8 tx[UART_FIFO], tx_head, tx_len; /* only while the monitor's ring is full */
	u64 rx_timeout_at;  /* TIMER_OFF: none */
	u64 rx_next_at;     /* no more is taken from m->rx before */
	u64 tx_retry_at;
};

int uart16550_init(struct machine *m);
void uart16550_reset(struct machine *m);
void uart16550_timer(struct machine *m);
/* Takes what the monitor has put into m->rx, as far as the FIFO has room. Called by
 * the engine when it looks at events. */
void uart_poll_rx(struct machine *m);
