/* The monitor's own state and the calls between its files. */
#pragma once
#include "shadowbox/counters.h"
#include "shadowbox/options.h"
#include "shadowbox/sandbox.h"

struct console {
	int in_fd, out_fd;  /* -1: none */
	bool mux;           /* Ctrl-A starts a key that is ours */
	bool keys;          /* in_fd is a terminal with such keys: always read */
	bool escaped;       /* Ctrl-A has been typed */
	bool quit;          /* Ctrl-A X */
};

struct monitor {
	struct options opt;
	struct console con;
	int log_fd, signal_fd;
	bool booted;        /* once */
	bool no_more_views; /* starting one failed; said once */
	u64 counters[CTR_MAX]; /* of the boots before this one */
	struct clock clock; /* as it was started: views can write the machine's */
};

/* terminal.c: the terminal's mode; put back on every way out. */
void terminal_raw(int fd, bool keys_make_signals);
void terminal_restore(void);
void terminal_suspend(void);
void terminal_restore_on_crash(void);

/* console.c */
int console_open(struct console *c, const struct options *o, char *err, size_t errlen) MUST_CHECK;
void console_close(struct console *c);
/* Moves what fits from the input to the guest's ring. True if the guest got any. */
bool console_input(struct console *c);
/* Shall the input be read now? */
bool console_can_take(const struct console *c);
/* Writes what the guest has sent, as much as one write takes. True if there was any. */
bool console_output(struct console *c);

/* report.c */
void report_line(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
int log_open(struct monitor *m, char *err, size_t errlen) MUST_CHECK;
void log_close(struct monitor *m);
void log_drain(struct monitor *m);
void report_death(struct monitor *m, const char *what);
void report_stats(struct monitor *m);
void report_profile(void);
void stats_keep(struct monitor *m);

/* loop.c: runs the machine until it stops. */
enum loop_end { LOOP_EXIT, LOOP_RESET };
int signals_open(struct monitor *m, char *err, size_t errlen) MUST_CHECK;
void signals_close(struct monitor *m);
enum loop_end monitor_loop(struct monitor *m, int *exit_code);
