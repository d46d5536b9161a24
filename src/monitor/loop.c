/* The monitor's main loop: one thread, one poll().
 *
 * It moves console bytes, prints the views' log, starts views before they are needed,
 * and notices the end: a request to stop, a signal, a dead view. Views write the eventfd
 * only while monitor_idle is set; it is set before the last look at what they share. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>
#include "monitor.h"
#include "shadowbox/log.h"

/* Views that are ready before the guest's first process exists. */
#define VIEWS_AT_START 4
/* While output flows, views need not wake us for each byte: we look this often. */
#define FLOW_MS 2
/* How often to ask whether the views have a CPU for themselves. */
#define BALANCE_MS 500
/* While the guest's ring is full, how soon to look for room. */
#define FULL_MS 5

/* --- signals ------------------------------------------------------------------------- */
int signals_open(struct monitor *m, char *err, size_t errlen)
{
	static const int wanted[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGCHLD, SIGTSTP };
	struct sigaction old;
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
		/* nohup: a hang-up stays ignored. A shell's background job starts with SIGINT
		 * and SIGQUIT ignored too, but who sends those to us means us. */
		if (wanted[i] == SIGHUP && sigaction(SIGHUP, NULL, &old) == 0 && old.sa_handler == SIG_IGN)
			continue;
		signal(wanted[i], SIG_DFL); /* an ignored signal never reaches a signalfd */
		sigaddset(&set, wanted[i]);
	}
	signal(SIGPIPE, SIG_IGN);
	sigprocmask(SIG_BLOCK, &set, NULL);
	m->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (m->signal_fd < 0) {
		snprintf(err, errlen, "cannot create a signalfd: %s", strerror(errno));
		return -errno;
	}
	return 0;
}

void signals_close(struct monitor *m)
{
	close(m->signal_fd);
	m->signal_fd = -1;
}

/* True if the machine shall end. */
static bool take_signals(struct monitor *m)
{
	struct signalfd_siginfo si;

	while (read(m->signal_fd, &si, sizeof(si)) == sizeof(si)) {
		if (si.ssi_signo == SIGCHLD)
			continue; /* the loop looks for dead children in any case */
		if (si.ssi_signo == SIGTSTP) {
			terminal_suspend();
			continue;
		}
		terminal_restore();
		report_line("terminating on signal %u", si.ssi_signo);
		return true;
	}
	return false;
}

/* --- views --------------------------------------------------------------------------- */
static u32 views_wanted(const struct monitor *m)
{
	u32 want = __atomic_load_n(&ARENA->view_wanted, __ATOMIC_SEQ_CST);
	u32 most = m->opt.policy.view_max ? m->opt.policy.view_max : VIEW_MAX;

	if (m->no_more_views || m->opt.policy.one_view)
		return 1;
	if (want < VIEWS_AT_START)
		want = VIEWS_AT_START;
	return want < most ? want : most;
}

static int view_missing(const struct monitor *m)
{
	u32 want = views_wanted(m);

	for (u32 i = 0; i < want; i++)
		if (!sandbox_view_started(i))
			return (int)i;
	return -1;
}

static void start_missing_view(struct monitor *m)
{
	int slot = view_missing(m);
	char err[256];

	if (slot < 0)
		return;
	if (sandbox_start_view((unsigned)slot, err, sizeof(err)) < 0) {
		report_line("%s; going on with the views there are", err);
		m->no_more_views = true;
	}
}

/* --- the loop ------------------------------------------------------------------------ */
enum { P_SIGNAL, P_VIEWS, P_ZYGOTE, P_IN, P_OUT, P_COUNT };

/* Fills p and says how long to sleep. Called with monitor_idle set, or while output
 * flows. */
static int prepare_poll(struct monitor *m, struct pollfd *p, bool flowing)
{
	struct machine *mach = &ARENA->machine;
	bool room = console_can_take(&m->con), out = ring_used(&mach->tx) > 0;
	int timeout = flowing ? FLOW_MS : sandbox_balances() ? BALANCE_MS : -1;

	p[P_SIGNAL] = (struct pollfd){ .fd = m->signal_fd, .events = POLLIN };
	p[P_VIEWS] = (struct pollfd){ .fd = sandbox_event_fd(), .events = POLLIN };
	p[P_ZYGOTE] = (struct pollfd){ .fd = sandbox_zygote_fd(), .events = POLLIN };
	p[P_IN] = (struct pollfd){ .fd = room ? m->con.in_fd : -1, .events = POLLIN };
	p[P_OUT] = (struct pollfd){ .fd = out ? m->con.out_fd : -1, .events = POLLOUT };
	if (!room && m->con.in_fd >= 0 && (timeout < 0 || timeout > FULL_MS))
		timeout = FULL_MS;
	if (ring_used(&ARENA->log) || __atomic_load_n(&mach->stop, __ATOMIC_SEQ_CST) ||
	    view_missing(m) >= 0 || (out && m->con.out_fd < 0))
		timeout = 0;
	return timeout;
}

static void sleep_once(struct monitor *m, struct pollfd *p, bool flowing)
{
	u64 count;
	int timeout;

	if (!flowing)
		__atomic_store_n(&ARENA->monitor_idle, 1, __ATOMIC_SEQ_CST);
	timeout = prepare_poll(m, p, flowing);
	if (poll(p, P_COUNT, timeout) < 0)
		for (int i = 0; i < P_COUNT; i++)
			p[i].revents = 0;
	__atomic_store_n(&ARENA->monitor_idle, 0, __ATOMIC_SEQ_CST);
	if (p[P_VIEWS].revents && read(sandbox_event_fd(), &count, sizeof(count)) < 0)
		return; /* somebody has taken it: nothing to count */
}

/* All views are gone: what they have left is ours alone. */
static void flush_output(struct monitor *m)
{
	struct pollfd p = { .fd = m->con.out_fd, .events = POLLOUT };

	/* A terminal that is held (Ctrl-S) shall not hold us for ever. */
	while ((m->con.out_fd < 0 || poll(&p, 1, 2000) > 0) && console_output(&m->con))
		continue;
	log_drain(m);
}

static enum loop_end machine_stopped(struct monitor *m, u32 why, int *exit_code)
{
	u32 code;

	sandbox_kill_all();
	code = ARENA->machine.stop_code;
	flush_output(m);
	*exit_code = 0;
	switch (why) {
	case STOP_DEBUG_EXIT:
		*exit_code = (int)(code & 0xff);
		return LOOP_EXIT;
	case STOP_RESET:
		return m->opt.no_reboot ? LOOP_EXIT : LOOP_RESET;
	case STOP_TRIPLE_FAULT:
		if (m->log_fd > STDERR_FILENO)
			report_line("triple fault; the registers are in %s", m->opt.log_file);
		return m->opt.no_reboot ? LOOP_EXIT : LOOP_RESET;
	case STOP_INTERNAL:
		terminal_restore();
		report_death(m, "the machine has stopped");
		*exit_code = 1;
		return LOOP_EXIT;
	case STOP_POWEROFF:
	case STOP_MONITOR:
		return LOOP_EXIT;
	default: /* a view has written nonsense there */
		terminal_restore();
		report_line("the machine has stopped for an unknown reason (%u)", why);
		*exit_code = 1;
		return LOOP_EXIT;
	}
}

/* If a child has died, that is the end; a view that stopped the machine may end after it. */
static bool take_deaths(struct monitor *m, enum loop_end *end, int *exit_code)
{
	char what[256];
	u32 why;

	if (!sandbox_reap(what, sizeof(what)))
		return false;
	sandbox_kill_all();
	why = ARENA->machine.stop;
	if (why != STOP_NONE && why != STOP_INTERNAL) {
		*end = machine_stopped(m, why, exit_code);
		return true;
	}
	terminal_restore();
	report_death(m, what);
	*exit_code = 1;
	*end = LOOP_EXIT;
	return true;
}

enum loop_end monitor_loop(struct monitor *m, int *exit_code)
{
	struct machine *mach = &ARENA->machine;
	struct pollfd p[P_COUNT];
	bool flowing = false;
	enum loop_end end;

	for (;;) {
		u32 why = __atomic_load_n(&mach->stop, __ATOMIC_SEQ_CST);

		if (why != STOP_NONE)
			return machine_stopped(m, why, exit_code);
		start_missing_view(m);
		sandbox_balance();
		sleep_once(m, p, flowing);
		/* The guest's last words come before the report. */
		if (!__atomic_load_n(&mach->stop, __ATOMIC_SEQ_CST))
			log_drain(m);
		flowing = (p[P_OUT].revents || m->con.out_fd < 0) && console_output(&m->con);
		if (p[P_IN].revents && console_input(&m->con))
			sandbox_kick();
		*exit_code = 0;
		if ((p[P_SIGNAL].revents && take_signals(m)) || m->con.quit)
			return LOOP_EXIT;
		/* After the signals were taken: a child that dies later signals again. */
		if ((p[P_SIGNAL].revents || p[P_ZYGOTE].revents) && take_deaths(m, &end, exit_code))
			return end;
	}
}
