/* National Semiconductor PC16550D at 0x3f8, line 4. Follows its data sheet.
 *
 * Bytes written go to the monitor's ring at once, whatever the divisor says; only when
 * the ring is full do they stay in the transmit FIFO (and THRE stays clear) until a
 * timer finds room. Received bytes are taken from the other ring as the FIFO has room, so
 * nothing is ever overrun but in loopback; but not all at once: drivers read until the
 * FIFO is empty and give up (leaving the line up, without another edge) if it never is,
 * so the next FIFO full of bytes comes a little later than the last one.
 *
 * The interrupt reaches the line only while OUT2 is on, as PCs wire it; loopback forces
 * OUT2 off.
 *
 * Not modelled: breaks, parity and framing errors, DMA modes, 5-7 bit masking. */
#include "shadowbox/irq.h"
#include "shadowbox/log.h"
#include "timer.h"

#define UART_BASE 0x3f8
#define UART_HZ 115200UL
#define TX_RETRY_NS 1000000UL
#define RX_BATCH_NS 100000UL /* 16 bytes in this time: 14 times 115200 baud */

enum { IER_RDA = 1, IER_THRE = 2, IER_RLS = 4, IER_MS = 8, IER_VALID = 15 };
enum {
	IIR_NONE = 1, IIR_MS = 0, IIR_THRE = 2, IIR_RDA = 4, IIR_RLS = 6, IIR_TIMEOUT = 12,
	IIR_FIFO = 0xc0,
};
enum { FCR_ENABLE = 1, FCR_CLEAR_RX = 2, FCR_CLEAR_TX = 4, FCR_KEPT = 0xc9 };
enum { LCR_DLAB = 0x80 };
enum { MCR_DTR = 1, MCR_RTS = 2, MCR_OUT1 = 4, MCR_OUT2 = 8, MCR_LOOP = 16, MCR_VALID = 31 };
enum { LSR_DR = 1, LSR_OE = 2, LSR_ERRORS = 0x1e, LSR_THRE = 0x20, LSR_TEMT = 0x40 };
enum { MSR_DELTA = 0x0f, MSR_TERI = 4, MSR_CTS = 0x10, MSR_DSR = 0x20, MSR_RI = 0x40, MSR_DCD = 0x80 };

static unsigned fifo_size(const struct uart16550 *u)
{
	return u->fcr & FCR_ENABLE ? UART_FIFO : 1;
}

/* In loopback the receiver is cut off from the line: what comes there waits. */
static bool rx_room(const struct uart16550 *u)
{
	return !(u->mcr & MCR_LOOP) && u->rx_len < fifo_size(u);
}

static unsigned rx_trigger(const struct uart16550 *u)
{
	static const u8 level[4] = { 1, 4, 8, 14 };

	return u->fcr & FCR_ENABLE ? level[u->fcr >> 6] : 1;
}

/* Interrupt identification in the data sheet's order of priority. */
static u8 uart_iir(const struct uart16550 *u)
{
	if ((u->ier & IER_RLS) && (u->lsr & LSR_ERRORS))
		return IIR_RLS;
	if ((u->ier & IER_RDA) && u->rx_len >= rx_trigger(u))
		return IIR_RDA;
	if ((u->ier & IER_RDA) && u->rx_timeout)
		return IIR_TIMEOUT;
	if ((u->ier & IER_THRE) && u->thr_pending)
		return IIR_THRE;
	if ((u->ier & IER_MS) && (u->msr & MSR_DELTA))
		return IIR_MS;
	return IIR_NONE;
}

static void uart_update(struct machine *m)
{
	const struct uart16550 *u = &m->dev.uart;
	bool gate = (u->mcr & (MCR_OUT2 | MCR_LOOP)) == MCR_OUT2;

	irq_set(m, IRQ_UART, gate && uart_iir(u) != IIR_NONE);
}

static void uart_schedule(struct machine *m)
{
	const struct uart16550 *u = &m->dev.uart;
	u64 next = u->rx_timeout_at < u->tx_retry_at ? u->rx_timeout_at : u->tx_retry_at;

	/* Bytes wait, and there is room: as soon as the next batch may come. */
	if (rx_room(u) && ring_used(&m->rx) && u->rx_next_at < next)
		next = u->rx_next_at;
	timer_arm(m, TIMER_UART, next);
}

/* --- receive ----------------------------------------------------------------------- */
/* The time-out interrupt: bytes below the trigger level, and nothing moved for four
 * character times. Restarted by every byte that comes or goes. */
static void rx_restart_timeout(struct machine *m)
{
	struct uart16550 *u = &m->dev.uart;

	u->rx_timeout = false;
	u->rx_timeout_at = TIMER_OFF;
	if ((u->fcr & FCR_ENABLE) && u->rx_len && u->rx_len < rx_trigger(u)) {
		u64 bit_ns = (u->divisor ? u->divisor : 1) * (NS_PER_SEC / UART_HZ);

		u->rx_timeout_at = clock_now(&m->clock) + 4 * 10 * bit_ns;
	}
	uart_schedule(m);
}

static void rx_push(struct uart16550 *u, u8 byte)
{
	if (u->rx_len >= fifo_size(u)) {
		u->lsr |= LSR_OE;
		return;
	}
	u->rx[(u->rx_head + u->rx_len++) % UART_FIFO] = byte;
}

void uart_poll_rx(struct machine *m)
{
	struct uart16550 *u = &m->dev.uart;
	u64 now;
	u8 byte;

	if (!rx_room(u) || !ring_used(&m->rx))
		return;
	now = clock_now(&m->clock);
	if (now < u->rx_next_at) {
		uart_schedule(m);
		return;
	}
	while (rx_room(u) && ring_get(&m->rx, &byte))
		rx_push(u, byte);
	u->rx_next_at = now + RX_BATCH_NS;
	rx_restart_timeout(m);
	uart_update(m);
}

static u8 rx_read(struct machine *m)
{
	struct uart16550 *u = &m->dev.uart;
	u8 byte = u->rx[u->rx_head];

	if (!u->rx_len)
		return 0;
	u->rx_head = (u->rx_head + 1) % UART_FIFO;
	u->rx_len--;
	rx_restart_timeout(m);
	uart_update(m);
	return byte;
}

/* --- transmit ---------------------------------------------------------------------- */
/* Moves what waits in the FIFO to the monitor. */
static void tx_drain(struct machine *m)
{
	struct uart16550 *u = &m->dev.uart;
	bool any = false;

	while (u->tx_len && ring_put(&m->tx, u->tx[u->tx_head])) {
		u->tx_head = (u->tx_head + 1) % UART_FIFO;
		u->tx_len--;
		any = true;
	}
	if (any && !u->tx_len)
		u->thr_pending = true;
	u->tx_retry_at = u->tx_len ? clock_now(&m->clock) + TX_RETRY_NS : TIMER_OFF;
	uart_schedule(m);
	if (m->dev.host.console_notify)
		m->dev.host.console_notify();
}

static void tx_write(struct machine *m, u8 byte)
{
	struct uart16550 *u = &m->dev.uart;

	u->thr_pending = false;
	uart_update(m); /* the line falls between two THRE interrupts */
	if (u->mcr & MCR_LOOP) {
		rx_push(u, byte);
		rx_restart_timeout(m);
		u->thr_pending = true;
	} else if (!u->tx_len && ring_put(&m->tx, byte)) {
		u->thr_pending = true;
		if (m->dev.host.console_notify)
			m->dev.host.console_notify();
	} else if (u->tx_len < fifo_size(u)) {
		u->tx[(u->tx_head + u->tx_len++) % UART_FIFO] = byte;
		tx_drain(m);
	} else {
		log_msg(LOG_GUEST_ERRORS, "uart: byte 0x%x written to a full FIFO\n", byte);
	}
	uart_update(m);
}

void uart16550_timer(struct machine *m)
{
	struct uart16550 *u = &m->dev.uart;
	u64 now = clock_now(&m->clock);

	if (u->rx_timeout_at <= now) {
		u->rx_timeout_at = TIMER_OFF;
		u->rx_timeout = u->rx_len != 0;
	}
	if (u->tx_retry_at <= now)
		tx_drain(m);
	uart_poll_rx(m);
	uart_schedule(m);
	uart_update(m);
}

/* --- registers --------------------------------------------------------------------- */
/* Modem lines: looped back, or those of a terminal that is always there. */
static void modem_update(struct uart16550 *u)
{
	u8 lines = MSR_CTS | MSR_DSR | MSR_DCD, old = u->msr, changed;

	if (u->mcr & MCR_LOOP)
		lines = (u->mcr & MCR_RTS ? MSR_CTS : 0) | (u->mcr & MCR_DTR ? MSR_DSR : 0) |
			(u->mcr & MCR_OUT1 ? MSR_RI : 0) | (u->mcr & MCR_OUT2 ? MSR_DCD : 0);
	changed = (u8)((old ^ lines) >> 4);
	if (!(old & MSR_RI) || (lines & MSR_RI)) /* only RI's trailing edge counts */
		changed &= ~MSR_TERI;
	u->msr = lines | (old & MSR_DELTA) | changed;
}

static void write_fcr(struct machine *m, u8 val)
{
	struct uart16550 *u = &m->dev.uart;

	if ((u->fcr ^ val) & FCR_ENABLE)
		val |= FCR_CLEAR_RX | FCR_CLEAR_TX;
	u->fcr = val & FCR_ENABLE ? val & FCR_KEPT : 0;
	if (val & FCR_CLEAR_RX) {
		u->rx_len = 0;
		u->lsr &= ~LSR_ERRORS;
	}
	if ((val & FCR_CLEAR_TX) && u->tx_len) {
		u->tx_len = 0;
		u->tx_retry_at = TIMER_OFF;
		u->thr_pending = true;
	}
	rx_restart_timeout(m);
}

static void write_ier(struct uart16550 *u, u8 val)
{
	/* Enabling the THRE interrupt while the register is empty raises it. */
	if ((val & IER_THRE) && !(u->ier & IER_THRE) && !u->tx_len)
		u->thr_pending = true;
	u->ier = val & IER_VALID;
}

static void uart_write(struct machine *m, void *dev, u64 off, u64 val64, unsigned size)
{
	struct uart16550 *u = dev;
	u8 val = (u8)val64;

	(void)size;
	if ((u->lcr & LCR_DLAB) && off < 2) {
		u->divisor = off ? (u16)(val << 8 | (u->divisor & 0xff)) : (u->divisor & 0xff00) | val;
		return;
	}
	switch (off) {
	case 0:
		tx_write(m, val);
		return;
	case 1:
		write_ier(u, val);
		break;
	case 2:
		write_fcr(m, val);
		break;
	case 3:
		u->lcr = val;
		break;
	case 4:
		u->mcr = val & MCR_VALID;
		modem_update(u);
		break;
	case 7:
		u->scr = val;
		break;
	default: /* line and modem status are read-only */
		return;
	}
	uart_update(m);
	uart_poll_rx(m);
}

static u8 read_iir(struct machine *m)
{
	struct uart16550 *u = &m->dev.uart;
	u8 iir = uart_iir(u);

	if (iir == IIR_THRE) {
		u->thr_pending = false;
		uart_update(m);
	}
	return iir | (u->fcr & FCR_ENABLE ? IIR_FIFO : 0);
}

static u8 read_lsr(struct machine *m)
{
	struct uart16550 *u = &m->dev.uart;
	u8 lsr = u->lsr | (u->rx_len ? LSR_DR : 0) | (u->tx_len ? 0 : LSR_THRE | LSR_TEMT);

	if (u->lsr & LSR_ERRORS) {
		u->lsr = 0;
		uart_update(m);
	}
	return lsr;
}

static u64 uart_read(struct machine *m, void *dev, u64 off, unsigned size)
{
	struct uart16550 *u = dev;
	u8 val;

	(void)size;
	if ((u->lcr & LCR_DLAB) && off < 2)
		return off ? u->divisor >> 8 : u->divisor & 0xff;
	switch (off) {
	case 0:
		return rx_read(m);
	case 1:
		return u->ier;
	case 2:
		return read_iir(m);
	case 3:
		return u->lcr;
	case 4:
		return u->mcr;
	case 5:
		return read_lsr(m);
	case 6:
		val = u->msr;
		u->msr &= ~MSR_DELTA;
		uart_update(m);
		return val;
	}
	return u->scr;
}

int uart16550_init(struct machine *m)
{
	const struct bus_range r = { UART_BASE, 8, "uart16550", 1, 1,
				     uart_read, uart_write, &m->dev.uart };

	return bus_claim(&m->bus, BUS_PIO, &r);
}

void uart16550_reset(struct machine *m)
{
	m->dev.uart = (struct uart16550){
		.msr = MSR_CTS | MSR_DSR | MSR_DCD,
		.divisor = 12, /* 9600 baud, as firmware leaves it */
		.rx_timeout_at = TIMER_OFF,
		.tx_retry_at = TIMER_OFF,
	};
}
