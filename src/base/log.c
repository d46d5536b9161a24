/* Logging, the formatter behind it, and panic.
 *
 * Runs inside views: no libc, no allocation, no floating point. The file-scope state
 * (mask, sink, panic hook) is set once at start and inherited by every view.
 *
 * Until a sink is installed text goes to descriptor 2 by a bare system call, so that
 * unit tests and early start-up need no set-up. Views always have the ring sink; their
 * seccomp filter would not let the call through.
 *
 * The formatter covers what log.h lists: no precision but for %.*s and %.Ns, no
 * floating point, no positional arguments. A conversion that it does not know is
 * printed as it stands, and ends the formatting: the types of the arguments after it
 * cannot be known. */
#include "shadowbox/log.h"

#define LOG_LINE_MAX 1024

u32 log_enabled;
void (*panic_hook)(void);

static void sink_stderr(const char *text, size_t len)
{
	while (len) {
		long done = 1; /* SYS_write */
		__asm__ volatile("syscall"
				 : "+a"(done)
				 : "D"(2), "S"(text), "d"(len)
				 : "rcx", "r11", "memory");
		if (done <= 0)
			return;
		text += done;
		len -= (size_t)done;
	}
}

static log_sink_fn log_sink = sink_stderr;

void log_set_sink(log_sink_fn fn)
{
	log_sink = fn ? fn : sink_stderr;
}

/* The output of one formatting: counts what would be written, stores what fits. */
struct fmt_out {
	char *buf;
	size_t size, len;
};

static void out_char(struct fmt_out *o, char c)
{
	if (o->len + 1 < o->size)
		o->buf[o->len++] = c;
}

static void out_pad(struct fmt_out *o, char c, long n)
{
	for (; n > 0 && o->len + 1 < o->size; n--)
		out_char(o, c);
}

/* One conversion, parsed. */
struct fmt_spec {
	bool left, zero, alt, plus;
	int width, precision; /* precision: -1 none */
	int longs;
	char conv;
};

static void out_text(struct fmt_out *o, const struct fmt_spec *f, const char *s)
{
	long len = 0;

	if (!s)
		s = "(null)";
	while ((f->precision < 0 || len < f->precision) && s[len])
		len++;
	if (!f->left)
		out_pad(o, ' ', f->width - len);
	for (long i = 0; i < len; i++)
		out_char(o, s[i]);
	if (f->left)
		out_pad(o, ' ', f->width - len);
}

static void out_number(struct fmt_out *o, const struct fmt_spec *f, u64 val, bool neg,
		       unsigned base, bool upper)
{
	const char *digits = upper ? "0123456789ABCDEF" : "0123456789abcdef";
	char tmp[24];
	long n = 0, sign = neg || f->plus, prefix = (f->alt && base == 16) ? 2 : 0;

	do {
		tmp[n++] = digits[val % base];
		val /= base;
	} while (val);
	long pad = f->width - n - sign - prefix;
	if (!f->left && !f->zero)
		out_pad(o, ' ', pad);
	if (sign)
		out_char(o, neg ? '-' : '+');
	if (prefix) {
		out_char(o, '0');
		out_char(o, 'x');
	}
	if (!f->left && f->zero)
		out_pad(o, '0', pad);
	while (n)
		out_char(o, tmp[--n]);
	if (f->left)
		out_pad(o, ' ', pad);
}

static int parse_int(const char **p, va_list *ap)
{
	int n = 0;

	if (**p == '*') {
		(*p)++;
		return va_arg(*ap, int);
	}
	while (**p >= '0' && **p <= '9') {
		if (n < 10000)
			n = n * 10 + (**p - '0');
		(*p)++;
	}
	return n;
}

/* Parses what follows '%'; returns the position after the conversion letter. */
static const char *parse_spec(const char *p, struct fmt_spec *f, va_list *ap)
{
	*f = (struct fmt_spec){ .precision = -1 };
	for (;; p++) {
		if (*p == '-')
			f->left = true;
		else if (*p == '0')
			f->zero = true;
		else if (*p == '#')
			f->alt = true;
		else if (*p == '+')
			f->plus = true;
		else
			break;
	}
	f->width = parse_int(&p, ap);
	if (f->width < 0) {
		f->left = true;
		f->width = -f->width;
	}
	if (*p == '.') {
		p++;
		f->precision = parse_int(&p, ap);
	}
	for (; *p == 'l' || *p == 'z'; p++)
		f->longs++;
	f->conv = *p;
	return *p ? p + 1 : p;
}

static bool out_conversion(struct fmt_out *o, struct fmt_spec *f, va_list *ap)
{
	switch (f->conv) {
	case 'd':
	case 'i': {
		i64 v = f->longs ? va_arg(*ap, long) : va_arg(*ap, int);
		out_number(o, f, v < 0 ? -(u64)v : (u64)v, v < 0, 10, false);
		return true;
	}
	case 'u':
	case 'x':
	case 'X':
	case 'o': {
		u64 v = f->longs ? va_arg(*ap, unsigned long) : va_arg(*ap, unsigned int);
		unsigned base = f->conv == 'u' ? 10 : f->conv == 'o' ? 8 : 16;
		f->plus = false;
		out_number(o, f, v, false, base, f->conv == 'X');
		return true;
	}
	case 'p':
		f->alt = true;
		f->plus = false;
		out_number(o, f, (u64)va_arg(*ap, void *), false, 16, false);
		return true;
	case 'c': {
		char c[2] = { (char)va_arg(*ap, int), 0 };
		f->precision = -1;
		if (c[0])
			out_text(o, f, c);
		else
			out_char(o, 0);
		return true;
	}
	case 's':
		out_text(o, f, va_arg(*ap, const char *));
		return true;
	case '%':
		out_char(o, '%');
		return true;
	}
	return false;
}

size_t fmt_vformat(char *buf, size_t size, const char *fmt, va_list args)
{
	struct fmt_out o = { buf, size, 0 };
	struct fmt_spec f;
	va_list ap;

	if (!size)
		return 0;
	va_copy(ap, args);
	while (*fmt) {
		const char *start = fmt;

		if (*fmt != '%') {
			out_char(&o, *fmt++);
			continue;
		}
		fmt = parse_spec(fmt + 1, &f, &ap);
		if (!out_conversion(&o, &f, &ap)) {
			while (*start)
				out_char(&o, *start++);
			break;
		}
	}
	va_end(ap);
	buf[o.len] = 0;
	return o.len;
}

size_t fmt_format(char *buf, size_t size, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	size_t len = fmt_vformat(buf, size, fmt, ap);
	va_end(ap);
	return len;
}

static void log_vprintf(const char *fmt, va_list ap)
{
	char line[LOG_LINE_MAX];

	log_sink(line, fmt_vformat(line, sizeof(line), fmt, ap));
}

void log_printf(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_vprintf(fmt, ap);
	va_end(ap);
}

void panic_at(const char *file, int line, const char *fmt, ...)
{
	va_list ap;

	log_printf("shadowbox: internal error at %s:%d: ", file, line);
	va_start(ap, fmt);
	log_vprintf(fmt, ap);
	va_end(ap);
	log_printf("\n");
	if (panic_hook)
		panic_hook();
	__builtin_trap();
}
