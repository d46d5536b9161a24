/* Intel 8259A pair at 0x20 and 0xa0, with the edge/level registers of PCI chipsets at
 * 0x4d0. Follows the 8259A data sheet and the PIIX3's.
 *
 * Invariant: pic.intr is true exactly while the master has an unmasked request of
 * higher priority than what is in service.
 *
 * Differences from the data sheet: an edge-triggered request stays latched when its
 * line falls before the acknowledge (no spurious input 7 for a short pulse); ICW1's
 * LTIM bit and the 8080 mode are ignored, as the PIIX3 does. */
#include "shadowbox/log.h"
#include "shadowbox/machine.h"

enum { ICW1_IC4 = 1, ICW1_SNGL = 2, ICW1 = 0x10, ICW4_AEOI = 2, ICW4_SFNM = 0x10, OCW3 = 8 };
enum { NONE = 8 };

/* How many steps below the highest priority the best request in mask is; NONE if empty. */
static unsigned best(const struct i8259 *c, u8 mask)
{
	for (unsigned p = 0; p < 8; p++)
		if (mask & (1u << ((p + c->lowest_add) & 7)))
			return p;
	return NONE;
}

/* The input that asks for the CPU, or -1. */
static int chip_request(const struct i8259_pair *pic, const struct i8259 *c)
{
	unsigned want = best(c, c->irr & ~c->imr), busy;
	u8 isr = c->isr;

	if (want == NONE)
		return -1;
	if (c->special_mask)
		isr &= ~c->imr;
	/* Special fully nested: the slave may interrupt its own service. */
	if (c->nested && c == &pic->chip[0])
		isr &= ~(1u << IRQ_CASCADE);
	busy = best(c, isr);
	return want < busy ? (int)((want + c->lowest_add) & 7) : -1;
}

static void chip_set_line(struct i8259 *c, unsigned n, bool level)
{
	u8 bit = (u8)(1u << n);

	if (level && ((c->elcr & bit) || !(c->line & bit)))
		c->irr |= bit;
	if (!level && (c->elcr & bit))
		c->irr &= ~bit;
	c->line = level ? c->line | bit : c->line & ~bit;
}

static void pic_update(struct machine *m)
{
	struct i8259_pair *pic = &m->dev.pic;
	bool intr;

	chip_set_line(&pic->chip[0], IRQ_CASCADE, chip_request(pic, &pic->chip[1]) >= 0);
	intr = chip_request(pic, &pic->chip[0]) >= 0;
	if (intr != pic->intr) {
		pic->intr = intr;
		lapic_set_lint0(m, intr);
	}
	if (intr)
		machine_kick(m);
}

void i8259_set_line(struct machine *m, unsigned line, bool level)
{
	chip_set_line(&m->dev.pic.chip[line >> 3], line & 7, level);
	pic_update(m);
}

static void chip_ack(struct i8259_pair *pic, struct i8259 *c, unsigned n)
{
	u8 bit = (u8)(1u << n);

	if (!c->auto_eoi)
		c->isr |= bit;
	else if (c->rotate_aeoi)
		c->lowest_add = (n + 1) & 7;
	if (!(c->elcr & bit))
		c->irr &= ~bit;
	/* The slave drops its output at each acknowledge, so that a further request
	 * makes a new edge on the master. */
	if (c == &pic->chip[1])
		chip_set_line(&pic->chip[0], IRQ_CASCADE, false);
}

u8 i8259_ack(struct machine *m)
{
	struct i8259_pair *pic = &m->dev.pic;
	struct i8259 *c = &pic->chip[0];
	int n = chip_request(pic, c);

	if (n >= 0)
		chip_ack(pic, c, (unsigned)n);
	if (n == IRQ_CASCADE) {
		c = &pic->chip[1];
		n = chip_request(pic, c);
		if (n >= 0)
			chip_ack(pic, c, (unsigned)n);
	}
	pic_update(m);
	return (u8)(c->base + (n >= 0 ? n : 7));
}

static void write_icw1(struct i8259 *c, u8 val)
{
	c->irr &= c->elcr;
	c->line = 0;
	c->imr = c->isr = 0;
	c->lowest_add = 0;
	c->read_isr = c->poll = c->special_mask = false;
	c->auto_eoi = c->rotate_aeoi = c->nested = false;
	c->icw4 = (val & ICW1_IC4) != 0;
	c->single = (val & ICW1_SNGL) != 0;
	c->init = I8259_ICW2;
}

static void write_ocw2(struct i8259 *c, u8 val)
{
	bool rotate = val & 0x80, specific = val & 0x40, eoi = val & 0x20;
	unsigned n = val & 7;

	if (!eoi) {
		if (rotate && specific)
			c->lowest_add = (n + 1) & 7;
		else if (!specific)
			c->rotate_aeoi = rotate;
		return;
	}
	if (!specific) {
		unsigned p = best(c, c->isr);

		if (p == NONE)
			return;
		n = (p + c->lowest_add) & 7;
	}
	c->isr &= ~(1u << n);
	if (rotate)
		c->lowest_add = (n + 1) & 7;
}

static void write_ocw3(struct i8259 *c, u8 val)
{
	if (val & 4)
		c->poll = true;
	if (val & 2)
		c->read_isr = val & 1;
	if (val & 0x40)
		c->special_mask = (val & 0x20) != 0;
}

static void write_odd(struct i8259 *c, u8 val)
{
	switch (c->init) {
	case I8259_READY:
		c->imr = val;
		break;
	case I8259_ICW2:
		c->base = val & 0xf8;
		c->init = !c->single ? I8259_ICW3 : c->icw4 ? I8259_ICW4 : I8259_READY;
		break;
	case I8259_ICW3: /* the cascade is wired as it is */
		c->init = c->icw4 ? I8259_ICW4 : I8259_READY;
		break;
	case I8259_ICW4:
		c->auto_eoi = (val & ICW4_AEOI) != 0;
		c->nested = (val & ICW4_SFNM) != 0;
		c->init = I8259_READY;
		break;
	}
}

static void i8259_write(struct machine *m, void *dev, u64 off, u64 val, unsigned size)
{
	struct i8259 *c = dev;

	(void)size;
	if (off & 1)
		write_odd(c, (u8)val);
	else if (val & ICW1)
		write_icw1(c, (u8)val);
	else if (val & OCW3)
		write_ocw3(c, (u8)val);
	else
		write_ocw2(c, (u8)val);
	pic_update(m);
}

static u64 i8259_read(struct machine *m, void *dev, u64 off, unsigned size)
{
	struct i8259 *c = dev;

	(void)size;
	if (c->poll) {
		int n = chip_request(&m->dev.pic, c);

		c->poll = false;
		if (n < 0)
			return 0;
		chip_ack(&m->dev.pic, c, (unsigned)n);
		pic_update(m);
		return 0x80 | (u64)n;
	}
	if (off & 1)
		return c->imr;
	return c->read_isr ? c->isr : c->irr;
}

static u64 elcr_read(struct machine *m, void *dev, u64 off, unsigned size)
{
	(void)dev, (void)size;
	return m->dev.pic.chip[off].elcr;
}

static void elcr_write(struct machine *m, void *dev, u64 off, u64 val, unsigned size)
{
	/* Timer, keyboard, cascade, RTC and FPU are edge-triggered for ever. */
	static const u8 mask[2] = { 0xf8, 0xde };

	(void)dev, (void)size;
	m->dev.pic.chip[off].elcr = (u8)val & mask[off];
	pic_update(m);
}

int i8259_init(struct machine *m)
{
	struct i8259 *c = m->dev.pic.chip;
	const struct bus_range range[] = {
		{ 0x20, 2, "i8259 master", 1, 1, i8259_read, i8259_write, &c[0] },
		{ 0xa0, 2, "i8259 slave", 1, 1, i8259_read, i8259_write, &c[1] },
		{ 0x4d0, 2, "i8259 elcr", 1, 1, elcr_read, elcr_write, NULL },
	};

	for (unsigned i = 0; i < ARRAY_LEN(range); i++) {
		int err = bus_claim(&m->bus, BUS_PIO, &range[i]);

		if (err)
			return err;
	}
	return 0;
}

/* As firmware leaves them: the real-mode vectors, everything masked, the lines of ACPI
 * (9) and PCI (10, 11) level-triggered. */
void i8259_reset(struct machine *m)
{
	m->dev.pic = (struct i8259_pair){
		.chip = {
			{ .base = 0x08, .imr = 0xff },
			{ .base = 0x70, .imr = 0xff, .elcr = 0x0e },
		},
	};
}
