/* Logging, tracing and assertions, usable from every layer.
 *
 * Code that runs inside views has no file descriptors: messages are formatted by
 * a libc-free formatter into a ring in the arena that the monitor drains to
 * stderr or to the -D file. In the monitor (and in unit tests) the same calls
 * write directly. Supported conversions: %s %c %d %i %u %x %p with l/ll, width,
 * '0' and '-' flags, and %%. */
#pragma once
#include <stdarg.h>
#include "shadowbox/types.h"

enum log_mask {
	LOG_IN_ASM = 1 << 0,       /* guest code of each block as it is translated */
	LOG_OUT_ASM = 1 << 1,      /* host code of each block */
	LOG_INT = 1 << 2,          /* exceptions and interrupts delivered */
	LOG_CPU = 1 << 3,          /* registers at each block entry from the engine */
	LOG_MMU = 1 << 4,          /* fills, traces, invalidations */
	LOG_EXITS = 1 << 5,        /* every exit from translated code */
	LOG_CONFIG = 1 << 6,       /* what the host can do and what was chosen */
	LOG_GUEST_ERRORS = 1 << 7, /* unclaimed ports, unknown MSRs, bad programming */
	LOG_STATS = 1 << 8,        /* counters at the end */
	LOG_PROF = 1 << 9,         /* samples of where CPU time goes, at the end */
	LOG_ALWAYS = 1u << 31,
};

extern u32 log_enabled; /* set once at start, before any fork */
#define log_on(m) unlikely(log_enabled & (m))

/* Where formatted text goes; installed once at start (ring in views, fd in the
 * monitor). Text need not be a whole line. */
typedef void (*log_sink_fn)(const char *text, size_t len);
void log_set_sink(log_sink_fn fn);

void log_printf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
#define log_msg(mask, ...) \
	do { \
		if (log_on(mask)) \
			log_printf(__VA_ARGS__); \
	} while (0)

/* Formats into buf, always NUL-terminated; returns the length written. */
size_t fmt_vformat(char *buf, size_t size, const char *fmt, va_list ap);
size_t fmt_format(char *buf, size_t size, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Our bug, not the guest's: stays in release builds. Prints and ends the VM. */
NORETURN void panic_at(const char *file, int line, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
#define panic(...) panic_at(__FILE__, __LINE__, __VA_ARGS__)
#define sb_assert(c) \
	do { \
		if (unlikely(!(c))) \
			panic_at(__FILE__, __LINE__, "assertion failed: %s", #c); \
	} while (0)
/* Called by panic_at after printing; must not return. Installed at start. */
extern void (*panic_hook)(void);
