/* Intel 8042 keyboard controller with a PS/2 keyboard and a PS/2 mouse (ports 0x60 and
 * 0x64), and port 0x92. Follows the IBM PS/2 technical reference.
 *
 * Both devices are there and answer all commands, but nobody types or moves: what comes
 * from them are replies. The output buffer holds one byte; controller replies go before
 * keyboard bytes, and those before mouse bytes. IRQ 1 and 12 follow the buffer.
 *
 * Not modelled: serial timing, the A20 gate (stored; addresses are never masked),
 * scan code translation of real keys. */
#include "shadowbox/irq.h"
#include "shadowbox/log.h"
#include "shadowbox/machine.h"

enum { ST_OBF = 0x01, ST_SYS = 0x04, ST_CMD = 0x08, ST_UNLOCKED = 0x10, ST_AUX = 0x20 };
enum {
	CTR_KBD_INT = 0x01, CTR_AUX_INT = 0x02, CTR_SYS = 0x04, CTR_KBD_OFF = 0x10,
	CTR_AUX_OFF = 0x20, CTR_XLATE = 0x40,
};
enum { OUT_RESET = 0x01, OUT_A20 = 0x02, OUT_KBD_FULL = 0x10, OUT_AUX_FULL = 0x20 };
enum { P92_RESET = 0x01, P92_A20 = 0x02 };
enum { KBD, AUX };
enum { PS2_ACK = 0xfa, PS2_RESEND = 0xfe, PS2_BAT_OK = 0xaa };

/* --- output buffer ----------------------------------------------------------------- */
static bool take_byte(struct i8042 *k, u8 *byte, bool *aux)
{
	static const u8 off_bit[2] = { CTR_KBD_OFF, CTR_AUX_OFF };

	if (k->reply_len) {
		*byte = k->reply[0];
		*aux = k->reply_aux;
		k->reply[0] = k->reply[1];
		k->reply_len--;
		return true;
	}
	for (int i = KBD; i <= AUX; i++) {
		struct ps2_port *p = &k->port[i];

		if (!p->len || (k->ctr & off_bit[i]))
			continue;
		*byte = p->last = p->queue[p->head];
		*aux = i == AUX;
		p->head = (p->head + 1) % PS2_QUEUE;
		p->len--;
		return true;
	}
	return false;
}

static void kbc_update(struct machine *m)
{
	struct i8042 *k = &m->dev.kbc;
	bool aux, full;

	if (!(k->status & ST_OBF) && take_byte(k, &k->out, &aux)) {
		k->status |= ST_OBF;
		k->status = aux ? k->status | ST_AUX : k->status & ~ST_AUX;
	}
	full = k->status & ST_OBF;
	aux = k->status & ST_AUX;
	irq_set(m, IRQ_KBD, full && !aux && (k->ctr & CTR_KBD_INT));
	irq_set(m, IRQ_AUX, full && aux && (k->ctr & CTR_AUX_INT));
}

static void reply(struct i8042 *k, u8 byte, bool aux)
{
	k->reply[0] = byte;
	k->reply_len = 1;
	k->reply_aux = aux;
}

/* --- PS/2 devices ------------------------------------------------------------------ */
static void send(struct ps2_port *p, u8 byte)
{
	if (p->len < PS2_QUEUE)
		p->queue[(p->head + p->len++) % PS2_QUEUE] = byte;
}

static void kbd_defaults(struct ps2_port *p)
{
	p->scan_set = 2;
	p->leds = 0;
}

static void kbd_argument(struct ps2_port *p, u8 command, u8 val)
{
	send(p, PS2_ACK);
	if (command == 0xed)
		p->leds = val;
	else if (command == 0xf0 && val == 0)
		send(p, p->scan_set);
	else if (command == 0xf0 && val <= 3)
		p->scan_set = val;
}

static void kbd_write(struct i8042 *k, u8 val)
{
	struct ps2_port *p = &k->port[KBD];
	u8 command = p->command;

	p->command = 0;
	if (command) {
		kbd_argument(p, command, val);
		return;
	}
	switch (val) {
	case 0xed: /* set LEDs */
	case 0xf0: /* scan code set */
	case 0xf3: /* typematic rate */
		p->command = val;
		break;
	case 0xee: /* echo */
		send(p, 0xee);
		return;
	case 0xf2: /* identify: MF2 keyboard */
		send(p, PS2_ACK);
		send(p, 0xab);
		send(p, k->ctr & CTR_XLATE ? 0x41 : 0x83);
		return;
	case 0xf4:
		p->reporting = true;
		break;
	case 0xf5:
	case 0xf6:
		kbd_defaults(p);
		p->reporting = val == 0xf6;
		break;
	case 0xf7 ... 0xfd: /* key types, scan set 3 only */
		break;
	case 0xfe:
		send(p, p->last);
		return;
	case 0xff:
		p->len = 0;
		kbd_defaults(p);
		p->reporting = true;
		send(p, PS2_ACK);
		send(p, PS2_BAT_OK);
		return;
	default:
		send(p, PS2_RESEND);
		return;
	}
	send(p, PS2_ACK);
}

static void mouse_defaults(struct ps2_port *p)
{
	p->sample_rate = 100;
	p->resolution = 2;
	p->scaling21 = p->remote = p->reporting = false;
}

static void mouse_status(struct ps2_port *p)
{
	send(p, PS2_ACK);
	send(p, (u8)(p->remote << 6 | p->reporting << 5 | p->scaling21 << 4));
	send(p, p->resolution);
	send(p, p->sample_rate);
}

static void mouse_packet(struct ps2_port *p)
{
	send(p, PS2_ACK);
	send(p, 0x08); /* no buttons, no movement */
	send(p, 0);
	send(p, 0);
}

static void mouse_write(struct i8042 *k, u8 val)
{
	struct ps2_port *p = &k->port[AUX];
	u8 command = p->command;

	p->command = 0;
	if (command) {
		*(command == 0xf3 ? &p->sample_rate : &p->resolution) = val;
		send(p, PS2_ACK);
		return;
	}
	switch (val) {
	case 0xe6:
	case 0xe7:
		p->scaling21 = val == 0xe7;
		break;
	case 0xe8: /* resolution */
	case 0xf3: /* sample rate */
		p->command = val;
		break;
	case 0xe9:
		mouse_status(p);
		return;
	case 0xea:
		p->remote = false;
		break;
	case 0xeb:
		mouse_packet(p);
		return;
	case 0xec: /* leave wrap mode, which is never entered */
		break;
	case 0xf0:
		p->remote = true;
		break;
	case 0xf2: /* identify: standard mouse */
		send(p, PS2_ACK);
		send(p, 0x00);
		return;
	case 0xf4:
	case 0xf5:
		p->reporting = val == 0xf4;
		break;
	case 0xf6:
		mouse_defaults(p);
		break;
	case 0xfe:
		send(p, p->last);
		return;
	case 0xff:
		p->len = 0;
		mouse_defaults(p);
		send(p, PS2_ACK);
		send(p, PS2_BAT_OK);
		send(p, 0x00);
		return;
	default:
		send(p, PS2_RESEND);
		return;
	}
	send(p, PS2_ACK);
}

/* --- controller -------------------------------------------------------------------- */
static u8 out_port(const struct i8042 *k)
{
	u8 full = k->status & ST_OBF ? (k->status & ST_AUX ? OUT_AUX_FULL : OUT_KBD_FULL) : 0;

	return k->out_port | OUT_RESET | full;
}

static void write_out_port(struct machine *m, u8 val)
{
	m->dev.kbc.out_port = val & OUT_A20;
	if (!(val & OUT_RESET))
		machine_request_stop(m, STOP_RESET, 0);
}

static void controller_command(struct machine *m, u8 val)
{
	struct i8042 *k = &m->dev.kbc;

	k->command = 0;
	switch (val) {
	case 0x20: /* and up to 0x3f: internal RAM, of which [0] is the command byte */
		reply(k, k->ctr, false);
		break;
	case 0x60: /* write command byte */
	case 0xd1: /* write output port */
	case 0xd2: /* byte as if from the keyboard */
	case 0xd3: /* byte as if from the mouse */
	case 0xd4: /* byte to the mouse */
		k->command = val;
		break;
	case 0xa7:
		k->ctr |= CTR_AUX_OFF;
		break;
	case 0xa8:
		k->ctr &= ~CTR_AUX_OFF;
		break;
	case 0xa9: /* mouse and keyboard interface tests: good */
	case 0xab:
		reply(k, 0x00, false);
		break;
	case 0xaa:
		k->status |= ST_SYS;
		reply(k, 0x55, false);
		break;
	case 0xad:
		k->ctr |= CTR_KBD_OFF;
		break;
	case 0xae:
		k->ctr &= ~CTR_KBD_OFF;
		break;
	case 0xc0: /* input port: keyboard not locked, colour display */
		reply(k, 0x80, false);
		break;
	case 0xd0:
		reply(k, out_port(k), false);
		break;
	case 0xf0 ... 0xff: /* pulse output lines whose bit is 0; bit 0 is reset */
		if (!(val & 1))
			machine_request_stop(m, STOP_RESET, 0);
		break;
	default:
		log_msg(LOG_GUEST_ERRORS, "i8042: unknown command 0x%x\n", val);
	}
}

static void controller_data(struct machine *m, u8 val)
{
	struct i8042 *k = &m->dev.kbc;
	u8 command = k->command;

	k->command = 0;
	switch (command) {
	case 0x60:
		k->ctr = val;
		k->status = val & CTR_SYS ? k->status | ST_SYS : k->status & ~ST_SYS;
		break;
	case 0xd1:
		write_out_port(m, val);
		break;
	case 0xd2:
	case 0xd3:
		reply(k, val, command == 0xd3);
		break;
	case 0xd4:
		k->ctr &= ~CTR_AUX_OFF;
		mouse_write(k, val);
		break;
	default: /* a byte to the keyboard turns its interface on */
		k->ctr &= ~CTR_KBD_OFF;
		kbd_write(k, val);
	}
}

static u64 data_read(struct machine *m, void *dev, u64 off, unsigned size)
{
	struct i8042 *k = dev;
	u8 val = k->out;

	(void)off, (void)size;
	if (k->status & ST_OBF) {
		/* The line falls even if the next byte is already there. */
		irq_set(m, k->status & ST_AUX ? IRQ_AUX : IRQ_KBD, false);
		k->status &= ~(ST_OBF | ST_AUX);
		kbc_update(m);
	}
	return val;
}

static u64 status_read(struct machine *m, void *dev, u64 off, unsigned size)
{
	(void)m, (void)off, (void)size;
	return ((const struct i8042 *)dev)->status;
}

static void data_write(struct machine *m, void *dev, u64 off, u64 val, unsigned size)
{
	(void)off, (void)size;
	((struct i8042 *)dev)->status &= ~ST_CMD;
	controller_data(m, (u8)val);
	kbc_update(m);
}

static void command_write(struct machine *m, void *dev, u64 off, u64 val, unsigned size)
{
	(void)off, (void)size;
	((struct i8042 *)dev)->status |= ST_CMD;
	controller_command(m, (u8)val);
	kbc_update(m);
}

/* Port 0x92, system control port A. */
static u64 port92_read(struct machine *m, void *dev, u64 off, unsigned size)
{
	const struct i8042 *k = dev;

	(void)m, (void)off, (void)size;
	return k->out_port & OUT_A20 ? P92_A20 : 0;
}

static void port92_write(struct machine *m, void *dev, u64 off, u64 val, unsigned size)
{
	struct i8042 *k = dev;

	(void)off, (void)size;
	k->out_port = val & P92_A20 ? OUT_A20 : 0;
	if (val & P92_RESET)
		machine_request_stop(m, STOP_RESET, 0);
}

int i8042_init(struct machine *m)
{
	struct i8042 *k = &m->dev.kbc;
	const struct bus_range range[] = {
		{ 0x60, 1, "i8042 data", 1, 1, data_read, data_write, k },
		{ 0x64, 1, "i8042 command", 1, 1, status_read, command_write, k },
		{ 0x92, 1, "port 92h", 1, 1, port92_read, port92_write, k },
	};

	for (unsigned i = 0; i < ARRAY_LEN(range); i++) {
		int err = bus_claim(&m->bus, BUS_PIO, &range[i]);

		if (err)
			return err;
	}
	return 0;
}

/* As firmware leaves it: tested, keyboard on and translated. */
void i8042_reset(struct machine *m)
{
	struct i8042 *k = &m->dev.kbc;

	*k = (struct i8042){
		.ctr = CTR_KBD_INT | CTR_SYS | CTR_AUX_OFF | CTR_XLATE,
		.status = ST_SYS | ST_UNLOCKED,
		.out_port = OUT_A20,
	};
	kbd_defaults(&k->port[KBD]);
	k->port[KBD].reporting = true;
	mouse_defaults(&k->port[AUX]);
}
