/* Shared by the files of the command-line parser. */
#pragma once
#include "shadowbox/options.h"

/* PARSE_EXIT: something was printed that the user asked for; nothing is to run. */
enum parse_result { PARSE_OK, PARSE_EXIT, PARSE_FAIL };

struct parse {
	struct options *o;
	const char *option; /* the one being parsed, as written */
	bool monitor_none, display_none;
	unsigned serials;   /* how many -serial options were seen */
	char *err;
	size_t errlen;
	size_t notes_len;
};

/* Puts "OPTION: text" into err, cut to one line; returns PARSE_FAIL. */
enum parse_result parse_fail(struct parse *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Adds "OPTION: text" to options.notes. */
void parse_note(struct parse *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static inline bool parse_is_help(const char *arg)
{
	return (arg[0] == '?' && !arg[1]) || __builtin_strcmp(arg, "help") == 0;
}

enum parse_result parse_accel(struct parse *p, const char *arg);
enum parse_result parse_machine(struct parse *p, const char *arg);
enum parse_result parse_device(struct parse *p, const char *arg);
enum parse_result parse_log_items(struct parse *p, const char *arg);
void options_list_cpus(void);
