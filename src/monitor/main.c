/* Start-up and shut-down of the monitor: one ordered table. A step that fails is told in
 * one line, and what came before it is undone in reverse. A guest's reset undoes and does
 * again the steps that belong to one boot. */
#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "monitor.h"
#include "shadowbox/boot.h"
#include "shadowbox/dbt.h"
#include "shadowbox/log.h"
#include "shadowbox/shadow.h"

#define ERR_LEN 512

/* --- once ---------------------------------------------------------------------------- */
static int cpu_model_up(struct monitor *m, char *err, size_t errlen)
{
	return cpu_model_parse(m->opt.cpu_model, err, errlen);
}

static int sandbox_up(struct monitor *m, char *err, size_t errlen)
{
	return sandbox_create(m->opt.ram_bytes, &m->opt.policy, err, errlen);
}

static int clock_up(struct monitor *m, char *err, size_t errlen)
{
	struct timespec ts;

	(void)err;
	(void)errlen;
	clock_gettime(CLOCK_REALTIME, &ts);
	clock_init(&m->clock, cpu_tsc_khz(), ts.tv_sec * 1000000000L + ts.tv_nsec);
	log_msg(LOG_CONFIG, "config: TSC %lu kHz\n", cpu_tsc_khz());
	return 0;
}

/* What the monitor itself relies on in the arena, which views can write: set anew at each
 * reset. */
static void attach_host(const struct monitor *m)
{
	struct machine *mach = &ARENA->machine;

	physmem_layout(&mach->phys, m->opt.ram_bytes);
	mach->clock = m->clock;
	mach->dev.host.console_notify = view_notify_monitor;
	mach->event_pending = &VCPU->event_pending;
}

/* At a reset, too: views can write the devices' state, and the bus has pointers. Only the
 * battery-backed memory is kept; its reset takes any contents. */
static int devices_up(struct monitor *m, char *err, size_t errlen)
{
	const struct device_config cfg = {
		.debug_exit = m->opt.debug_exit,
		.debug_exit_port = m->opt.debug_exit_port,
		.debug_exit_size = m->opt.debug_exit_size,
	};
	struct machine *mach = &ARENA->machine;
	const struct mc146818 rtc = mach->dev.rtc;
	int rc;

	memset(&mach->bus, 0, sizeof(mach->bus));
	memset(&mach->dev, 0, sizeof(mach->dev));
	attach_host(m);
	rc = devices_init(mach, &cfg);
	if (rc == 0 && m->booted)
		mach->dev.rtc = rtc;
	m->booted = true;
	if (rc < 0)
		snprintf(err, errlen, "the machine's devices cannot be set up: %s", strerror(-rc));
	return rc;
}

static int console_up(struct monitor *m, char *err, size_t errlen)
{
	return console_open(&m->con, &m->opt, err, errlen);
}

static void console_down(struct monitor *m) { console_close(&m->con); }

static int terminal_up(struct monitor *m, char *err, size_t errlen)
{
	(void)err;
	(void)errlen;
	terminal_restore_on_crash();
	if (m->con.in_fd >= 0)
		terminal_raw(m->con.in_fd, !m->opt.mux_stdio && !m->opt.nographic);
	return 0;
}

static void terminal_down(struct monitor *m)
{
	(void)m;
	terminal_restore();
}

/* --- each boot ----------------------------------------------------------------------- */
static int pools_up(struct monitor *m, char *err, size_t errlen)
{
	u8 *base = ARENA->shadow_area;
	size_t room = sandbox_arena_room(), shadow, dbt;

	attach_host(m);
	shadow = shadow_init(base, room);
	dbt = shadow ? dbt_init(base + shadow, room - shadow) : 0;
	if (!dbt) {
		snprintf(err, errlen, "the tables of the shadow maps and the translator do not fit");
		return -ENOMEM;
	}
	log_msg(LOG_CONFIG, "config: arena: %lu KiB shadow, %lu KiB translator\n", shadow >> 10, dbt >> 10);
	return 0;
}

static int machine_up(struct monitor *m, char *err, size_t errlen)
{
	const struct boot_config bc = {
		.kernel = m->opt.kernel, .initrd = m->opt.initrd, .cmdline = m->opt.append,
	};
	struct machine *mach = &ARENA->machine;

	mach->stop = STOP_NONE;
	mach->stop_code = 0;
	devices_reset(mach);
	cpu_reset(VCPU);
	return boot_load(&bc, mach, VCPU, err, errlen);
}

static int zygote_up(struct monitor *m, char *err, size_t errlen)
{
	(void)m;
	return sandbox_start(err, errlen);
}

static void zygote_down(struct monitor *m)
{
	(void)m;
	sandbox_kill_all();
}

static int first_view_up(struct monitor *m, char *err, size_t errlen)
{
	int rc = sandbox_start_view(0, err, errlen);

	log_drain(m);
	return rc;
}

/* --- the table ----------------------------------------------------------------------- */
enum { EACH_BOOT = 1 };
struct step {
	int (*up)(struct monitor *m, char *err, size_t errlen);
	void (*down)(struct monitor *m); /* NULL: nothing to undo */
	u32 flags;
};

static const struct step steps[] = {
	{ log_open, log_close, 0 },
	{ cpu_model_up, NULL, 0 },
	{ sandbox_up, NULL, 0 },
	{ clock_up, NULL, 0 },
	{ devices_up, NULL, EACH_BOOT },
	{ console_up, console_down, 0 },
	{ signals_open, signals_close, 0 },
	{ pools_up, NULL, EACH_BOOT },
	{ machine_up, NULL, EACH_BOOT },
	{ terminal_up, terminal_down, 0 },
	{ zygote_up, zygote_down, EACH_BOOT },
	{ first_view_up, NULL, EACH_BOOT },
};

static void steps_down(struct monitor *m, size_t n, u32 flags)
{
	while (n--)
		if (steps[n].down && (steps[n].flags & flags) == flags)
			steps[n].down(m);
}

/* All that have the flags; 0, or undoes everything and says why. */
static int steps_up(struct monitor *m, u32 flags)
{
	char err[ERR_LEN] = "";

	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		int rc;
		if ((steps[i].flags & flags) != flags)
			continue;
		rc = steps[i].up(m, err, sizeof(err));
		if (rc < 0) {
			/* At a reset the later steps may be up, too. */
			steps_down(m, flags ? ARRAY_LEN(steps) : i, 0);
			report_line("%s", err);
			return rc;
		}
	}
	return 0;
}

static int run(struct monitor *m)
{
	int code = 1;

	if (steps_up(m, 0) < 0)
		return 1;
	while (monitor_loop(m, &code) == LOOP_RESET) {
		log_msg(LOG_CONFIG, "config: the guest has reset the machine\n");
		steps_down(m, ARRAY_LEN(steps), EACH_BOOT);
		log_drain(m);
		stats_keep(m);
		sandbox_clear();
		if (steps_up(m, EACH_BOOT) < 0)
			return 1;
	}
	steps_down(m, ARRAY_LEN(steps), EACH_BOOT);
	log_drain(m);
	report_stats(m);
	report_profile();
	steps_down(m, ARRAY_LEN(steps), 0);
	return code;
}

/* Our own bug, in the monitor. */
static void monitor_panic(void)
{
	terminal_restore();
	sandbox_kill_all();
	_exit(1);
}

int main(int argc, char **argv)
{
	static struct monitor m = { .log_fd = -1, .signal_fd = -1 };
	char err[ERR_LEN] = "";

	/* Views keep the heap, which is in the zone, and lose every other mapping: no
	 * allocation may come from one. They cannot grow it either: leave them room. */
	mallopt(M_MMAP_MAX, 0);
	mallopt(M_TOP_PAD, 1 << 20);
	panic_hook = monitor_panic;
	switch (options_parse(argc, argv, &m.opt, err, sizeof(err))) {
	case OPTIONS_EXIT_OK:
		return 0;
	case OPTIONS_ERROR:
		report_line("%s", err);
		return 1;
	case OPTIONS_RUN:
		break;
	}
	return run(&m);
}
