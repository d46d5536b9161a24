/* Intel 82093AA I/O APIC at 0xfec00000, version 0x20 (with the EOI register of later
 * chipsets).
 *
 * A level-triggered entry sends one message and sets its remote IRR bit; the end of
 * interrupt clears the bit and sends again if the pin is still asserted. An edge on a
 * masked pin is lost, as the data sheet says. Polarity is stored and ignored: lines are
 * asserted or not, whatever voltage that was. ExtINT entries are refused: the i8259's
 * INTR is wired to LINT0 only. */
#include "shadowbox/log.h"
#include "shadowbox/machine.h"

enum { REG_SELECT = 0x00, REG_WINDOW = 0x10, REG_EOI = 0x40 };
enum { IDX_ID = 0, IDX_VERSION = 1, IDX_ARB = 2, IDX_REDIR = 0x10 };
#define VERSION (0x20u | (IOAPIC_PINS - 1) << 16)

#define RE_LOGICAL BIT(11)
#define RE_BUSY BIT(12)
#define RE_REMOTE_IRR BIT(14)
#define RE_LEVEL BIT(15)
#define RE_MASKED BIT(16)
#define RE_READ_ONLY (RE_BUSY | RE_REMOTE_IRR)
#define RE_VALID 0xff0000000001ffffUL

static void pin_send(struct machine *m, u64 e)
{
	struct apic_msg msg = {
		.dest = (u32)(e >> 56),
		.logical = (e & RE_LOGICAL) != 0,
		.level = (e & RE_LEVEL) != 0,
		.mode = (e >> 8) & 7,
		.vector = (u8)e,
	};

	if (msg.mode == APIC_EXTINT) {
		log_msg(LOG_GUEST_ERRORS, "ioapic: ExtINT delivery is not wired\n");
		return;
	}
	lapic_send(m, &msg);
}

/* Sends for a level-triggered pin that is asserted and not yet being served. */
static void pin_level(struct machine *m, unsigned pin)
{
	struct ioapic *io = &m->dev.ioapic;
	u64 e = io->entry[pin];

	if (!(io->line & BIT(pin)) || (e & (RE_MASKED | RE_REMOTE_IRR)) || !(e & RE_LEVEL))
		return;
	io->entry[pin] |= RE_REMOTE_IRR;
	pin_send(m, e);
}

void ioapic_set_pin(struct machine *m, unsigned pin, bool level, bool edge)
{
	struct ioapic *io = &m->dev.ioapic;
	u64 e = io->entry[pin];

	io->line = level ? io->line | (u32)BIT(pin) : io->line & ~(u32)BIT(pin);
	if (e & RE_LEVEL)
		pin_level(m, pin);
	else if (edge && !(e & RE_MASKED))
		pin_send(m, e);
}

void ioapic_eoi(struct machine *m, u8 vector)
{
	struct ioapic *io = &m->dev.ioapic;

	for (unsigned i = 0; i < IOAPIC_PINS; i++) {
		if ((u8)io->entry[i] != vector || !(io->entry[i] & RE_REMOTE_IRR))
			continue;
		io->entry[i] &= ~RE_REMOTE_IRR;
		pin_level(m, i);
	}
}

static void redir_write(struct machine *m, unsigned idx, u32 val)
{
	struct ioapic *io = &m->dev.ioapic;
	unsigned pin = idx / 2, shift = (idx & 1) * 32;
	u64 *e = &io->entry[pin];
	u64 keep = *e & RE_READ_ONLY;

	*e = (*e & ~(0xffffffffUL << shift)) | (u64)val << shift;
	*e = (*e & RE_VALID & ~RE_READ_ONLY) | keep;
	/* Remote IRR has no meaning for an edge; guests switch there and back to clear it. */
	if (!(*e & RE_LEVEL))
		*e &= ~RE_REMOTE_IRR;
	pin_level(m, pin);
}

static u32 window_read(const struct ioapic *io)
{
	unsigned idx = io->select;

	if (idx == IDX_ID || idx == IDX_ARB)
		return (u32)io->id << 24;
	if (idx == IDX_VERSION)
		return VERSION;
	idx -= IDX_REDIR;
	if (idx < 2 * IOAPIC_PINS)
		return (u32)(io->entry[idx / 2] >> (idx & 1) * 32);
	return 0;
}

static u64 ioapic_read(struct machine *m, void *dev, u64 off, unsigned size)
{
	struct ioapic *io = dev;

	(void)m, (void)size;
	switch (off & 0xff) {
	case REG_SELECT:
		return io->select;
	case REG_WINDOW:
		return window_read(io);
	}
	return 0;
}

static void ioapic_write(struct machine *m, void *dev, u64 off, u64 val, unsigned size)
{
	struct ioapic *io = dev;

	(void)size;
	switch (off & 0xff) {
	case REG_SELECT:
		io->select = (u8)val;
		break;
	case REG_WINDOW:
		if (io->select == IDX_ID)
			io->id = (val >> 24) & 0xf;
		else if (io->select >= IDX_REDIR && io->select < IDX_REDIR + 2 * IOAPIC_PINS)
			redir_write(m, io->select - IDX_REDIR, (u32)val);
		break;
	case REG_EOI:
		ioapic_eoi(m, (u8)val);
		break;
	default:
		log_msg(LOG_GUEST_ERRORS, "ioapic: write to register 0x%lx\n", off);
	}
}

int ioapic_init(struct machine *m)
{
	const struct bus_range r = { IOAPIC_BASE, 0x1000, "ioapic", 1, 4,
				     ioapic_read, ioapic_write, &m->dev.ioapic };

	return bus_claim(&m->bus, BUS_MMIO, &r);
}

void ioapic_reset(struct machine *m)
{
	m->dev.ioapic = (struct ioapic){ 0 };
	for (unsigned i = 0; i < IOAPIC_PINS; i++)
		m->dev.ioapic.entry[i] = RE_MASKED;
}
