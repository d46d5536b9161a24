/* Small ISA ports: the two 8237 DMA controllers with their page registers, the POST
 * code port 0x80, and isa-debug-exit.
 *
 * The DMA controllers only remember what is written (0x80, which guests write to waste
 * a microsecond, is one of the page registers): no device on this board does ISA DMA. */
#include "shadowbox/log.h"
#include "shadowbox/machine.h"

/* dev points at the 16 registers; the second controller sits at every other port. */
static u64 reg_read(struct machine *m, void *dev, u64 off, unsigned size)
{
	(void)m, (void)size;
	return ((u8 *)dev)[off];
}

static void reg_write(struct machine *m, void *dev, u64 off, u64 val, unsigned size)
{
	(void)m, (void)size;
	((u8 *)dev)[off] = (u8)val;
}

static u64 wide_read(struct machine *m, void *dev, u64 off, unsigned size)
{
	return reg_read(m, dev, off / 2, size);
}

static void wide_write(struct machine *m, void *dev, u64 off, u64 val, unsigned size)
{
	reg_write(m, dev, off / 2, val, size);
}

int i8237_init(struct machine *m)
{
	struct i8237 *d = &m->dev.dma;
	/* Not 0x92: that is port A of the keyboard controller's file. */
	const struct bus_range range[] = {
		{ 0x00, 16, "i8237", 1, 1, reg_read, reg_write, d->reg[0] },
		{ 0xc0, 32, "i8237", 1, 1, wide_read, wide_write, d->reg[1] },
		{ 0x80, 16, "i8237 page", 1, 1, reg_read, reg_write, d->page },
	};

	for (unsigned i = 0; i < ARRAY_LEN(range); i++) {
		int err = bus_claim(&m->bus, BUS_PIO, &range[i]);

		if (err)
			return err;
	}
	return 0;
}

void i8237_reset(struct machine *m)
{
	m->dev.dma = (struct i8237){ 0 };
}

/* isa-debug-exit: a write ends the machine with status (val << 1) | 1. */
static u64 exit_read(struct machine *m, void *dev, u64 off, unsigned size)
{
	(void)m, (void)dev, (void)off, (void)size;
	return 0;
}

static void exit_write(struct machine *m, void *dev, u64 off, u64 val, unsigned size)
{
	(void)dev, (void)off, (void)size;
	machine_request_stop(m, STOP_DEBUG_EXIT, (u32)val << 1 | 1);
}

int debug_exit_init(struct machine *m)
{
	const struct device_config *cfg = &m->dev.cfg;
	const struct bus_range r = { cfg->debug_exit_port, cfg->debug_exit_size, "isa-debug-exit",
				     1, 4, exit_read, exit_write, NULL };

	return cfg->debug_exit ? bus_claim(&m->bus, BUS_PIO, &r) : 0;
}
