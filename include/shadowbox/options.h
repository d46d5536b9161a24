/* The command line, parsed into a machine description before anything is created. */
#pragma once
#include "shadowbox/vm.h"

enum serial_kind { SERIAL_NULL, SERIAL_STDIO, SERIAL_FILE };

struct options {
	u64 ram_bytes;
	unsigned cpus;
	const char *kernel, *initrd, *append;
	const char *cpu_model;
	bool nographic, no_reboot, nodefaults;
	bool mux_stdio;          /* Ctrl-A escapes are interpreted */
	enum serial_kind serial;
	const char *serial_path;
	bool debug_exit;
	u16 debug_exit_port, debug_exit_size;
	u32 log_mask;
	const char *log_file;
	struct policy policy;
	char notes[2048];        /* options accepted without effect, a line each: for LOG_CONFIG */
};

enum options_result { OPTIONS_RUN, OPTIONS_EXIT_OK, OPTIONS_ERROR };
/* Prints help, version and lists itself (to stdout) and returns EXIT_OK; on ERROR err
 * holds one line naming the option and what to do. */
enum options_result options_parse(int argc, char **argv, struct options *out, char *err, size_t errlen);
