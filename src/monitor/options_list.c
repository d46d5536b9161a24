/* Options whose argument is a list with a table of its own: -accel, -machine, -device,
 * -d, and the lists that "help" prints for them. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "options_parse.h"
#include "optvalue.h"
#include "shadowbox/log.h"

/* Control characters in an argument must not break the one line apart. */
static void make_printable(char *s)
{
	for (; *s; s++)
		if ((u8)*s < ' ' || *s == 127)
			*s = '?';
}

enum parse_result parse_fail(struct parse *p, const char *fmt, ...)
{
	va_list ap;
	char text[512];

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	snprintf(p->err, p->errlen, "%s: %s", p->option, text);
	make_printable(p->err);
	return PARSE_FAIL;
}

void parse_note(struct parse *p, const char *fmt, ...)
{
	va_list ap;
	char text[256], line[320];
	size_t room = sizeof(p->o->notes) - p->notes_len;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	snprintf(line, sizeof(line), "%s: %s", p->option, text);
	make_printable(line);
	if (strlen(line) + 2 > room)
		return; /* only a remark: a line that does not fit is left out */
	p->notes_len += (size_t)snprintf(p->o->notes + p->notes_len, room, "%s\n", line);
}

/* Fewer mappings than this, and no instruction might have all its operands at once. */
#define MAPS_LEAST 64
#define CACHE_LEAST 576 /* KiB: a block must fit each of the cache's regions */

/* --- -accel ----------------------------------------------------------------------- */
struct accel_switch {
	const char *name;
	size_t offset;  /* of the bool in struct policy */
	bool negated;   /* the policy says "no ..." */
	const char *help;
};
#define SWITCH(name, field, negated, help) { name, offsetof(struct policy, field), negated, help }

static const struct accel_switch accel_switches[] = {
	SWITCH("soft", all_soft, false, "every memory operand through the software TLB"),
	SWITCH("usersoft", user_soft, false, "the same for user code alone"),
	SWITCH("chain", no_chain, true, "direct chaining and inline indirect lookup"),
	SWITCH("pkeys", no_pkeys, true, "protection keys (off: as on a host without: user code's operands soft)"),
	SWITCH("native", no_native, true, "user code runs as it is where it can (off: all is translated)"),
	SWITCH("bind", no_bind, true, "all views on one CPU, moved when it is busy (off: the host's choice)"),
	SWITCH("adaptive", no_adaptive, true, "instructions that write to traced pages turn soft"),
	SWITCH("stores", no_stores, true, "writes to page tables are done in line"),
	SWITCH("prefill", no_prefill, true, "pages are mapped before they fault, and around those that do"),
	SWITCH("pkusig", no_pku_signals, true, "signals to a stack whose protection key is denied (off: as before Linux 6.12)"),
	SWITCH("fsgsbase", no_fsgsbase, true, "RDFSBASE and its kind (off: system calls instead)"),
};

static enum parse_result accel_help(void)
{
	puts("Accelerators supported in shadowbox binary:\ndbt\n\ndbt options:");
	for (size_t i = 0; i < ARRAY_LEN(accel_switches); i++)
		printf("  %s=on|off - %s (default: %s)\n", accel_switches[i].name, accel_switches[i].help,
		       accel_switches[i].negated ? "on" : "off");
	puts("  trace=mprotect|uffd - how large mappings are protected page by page\n"
	     "    (default: uffd, where the host can)\n"
	     "  views=many|one|N - one view for each guest address space, at most N of them, or one for all\n"
	     "    (default: many)\n"
	     "  maps=N - most host mappings of a view\n"
	     "  traps=signal|ptrace - how host traps reach a view's handlers (default: signal; ptrace\n"
	     "    where the host cannot deliver signals to them)\n"
	     "  block=N - most guest instructions in a block\n"
	     "  hold=N - times that the guest protects and unprotects a page until it stays read-only\n"
	     "    and its few writers are soft, 0 for never (default: 16)\n"
	     "  cache=N - most KiB of translated code");
	return PARSE_EXIT;
}

static enum parse_result accel_views(struct parse *p, const char *value)
{
	u64 n = 0;

	if (strcmp(value, "one") && strcmp(value, "many") && (!opt_number(value, VIEW_MAX, &n) || n < 2))
		return parse_fail(p, "views=%s: one, many, or a number from 2 to %d", value, VIEW_MAX);
	p->o->policy.one_view = !strcmp(value, "one");
	p->o->policy.view_max = (u32)n;
	return PARSE_OK;
}

static enum parse_result accel_trace(struct parse *p, const char *value)
{
	if (strcmp(value, "uffd") && strcmp(value, "mprotect"))
		return parse_fail(p, "trace=%s: mprotect or uffd", value);
	p->o->policy.uffd = !strcmp(value, "uffd");
	return PARSE_OK;
}

static enum parse_result accel_number(struct parse *p, const struct opt_item *it, u64 min, u64 max, u32 *to)
{
	u64 n;

	if (!opt_number(it->value, max, &n) || n < min)
		return parse_fail(p, "%s=%s: a number from %lu to %lu", it->key, it->value, min, max);
	*to = (u32)n;
	return PARSE_OK;
}

static enum parse_result accel_item(struct parse *p, const struct opt_item *it)
{
	/* Settings of QEMU's own accelerators: they do not change what a guest sees. */
	static const char *const noted[] = {
		"thread", "tb-size", "split-wx", "kernel-irqchip", "kernel_irqchip",
		"kvm-shadow-mem", "dirty-ring-size", "notify-vmexit", "notify-window",
	};

	for (size_t i = 0; i < ARRAY_LEN(accel_switches); i++) {
		const struct accel_switch *s = &accel_switches[i];
		bool on;
		if (strcmp(it->key, s->name))
			continue;
		if (!opt_switch(it->value, &on))
			return parse_fail(p, "%s=%s: on or off", it->key, it->value);
		*(bool *)((char *)&p->o->policy + s->offset) = on != s->negated;
		return PARSE_OK;
	}
	if (!strcmp(it->key, "views") && it->value)
		return accel_views(p, it->value);
	if (!strcmp(it->key, "trace") && it->value)
		return accel_trace(p, it->value);
	if (!strcmp(it->key, "block") && it->value)
		return accel_number(p, it, 1, 1024, &p->o->policy.block_max);
	if (!strcmp(it->key, "hold") && it->value)
		return accel_number(p, it, 0, HOLD_MOST, &p->o->policy.hold_after);
	if (!strcmp(it->key, "cache") && it->value)
		return accel_number(p, it, CACHE_LEAST, CODE_SIZE >> 10, &p->o->policy.cache_max);
	if (!strcmp(it->key, "maps") && it->value)
		return accel_number(p, it, MAPS_LEAST, 1u << 30, &p->o->policy.map_max);
	if (!strcmp(it->key, "traps") && it->value) {
		if (strcmp(it->value, "signal") && strcmp(it->value, "ptrace"))
			return parse_fail(p, "traps=%s: signal or ptrace", it->value);
		p->o->policy.traps = strcmp(it->value, "ptrace") ? TRAPS_SIGNAL : TRAPS_PTRACE;
		return PARSE_OK;
	}
	for (size_t i = 0; i < ARRAY_LEN(noted); i++)
		if (!strcmp(it->key, noted[i])) {
			parse_note(p, "accepted without effect: %s", it->key);
			return PARSE_OK;
		}
	return parse_fail(p, "unknown setting '%s'; -accel help lists them", it->key);
}

static bool known_accel(const char *name, size_t len)
{
	static const char *const names[] = { "dbt", "tcg", "kvm" };

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (strlen(names[i]) == len && !strncmp(names[i], name, len))
			return true;
	return false;
}

/* names is "kvm:tcg", as in -machine accel=: one that we know is enough. */
static enum parse_result accel_names(struct parse *p, const char *names)
{
	for (const char *s = names; *s;) {
		size_t len = strcspn(s, ":");
		if (known_accel(s, len)) {
			if (strncmp(s, "dbt", len))
				parse_note(p, "accelerator %.*s asked for; dbt runs", (int)len, s);
			return PARSE_OK;
		}
		s += len + (s[len] == ':');
	}
	return parse_fail(p, "unknown accelerator '%s'; use dbt", names);
}

enum parse_result parse_accel(struct parse *p, const char *arg)
{
	const char *rest = arg;
	struct opt_item it;
	bool first = true;
	enum parse_result r = PARSE_OK;

	if (parse_is_help(arg))
		return accel_help();
	while (r == PARSE_OK && opt_next(&rest, &it)) {
		if (first && (!it.value || !strcmp(it.key, "accel")))
			r = accel_names(p, it.value ? it.value : it.key);
		else if (first)
			r = parse_fail(p, "'%s': the accelerator's name comes first; use dbt,%s", arg, arg);
		else if (parse_is_help(it.key))
			return accel_help();
		else
			r = accel_item(p, &it);
		first = false;
	}
	if (r == PARSE_OK && (first || rest))
		return parse_fail(p, "'%s' is not an accelerator; use dbt", arg);
	return r;
}

/* --- -machine --------------------------------------------------------------------- */
/* There is one machine; clients ask for it by these names. A versioned name
 * ("pc-q35-7.2") is as good. */
static const struct { const char *name, *help; } machines[] = {
	{ "pc", "PC with serial console, ACPI and an empty PCI bus (default)" },
	{ "q35", "the same machine" },
};
static const char *const machine_noted[] = {
	"usb", "graphics", "dump-guest-core", "mem-merge", "vmport", "smm", "hpet",
	"kernel_irqchip", "kernel-irqchip", "suppress-vmdesc", "nvdimm", "i8042", "acpi",
};

static bool known_machine(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(machines); i++)
		if (!strcmp(name, machines[i].name))
			return true;
	return !strncmp(name, "pc-i440fx-", 10) || !strncmp(name, "pc-q35-", 7);
}

static enum parse_result machine_item(struct parse *p, const struct opt_item *it)
{
	if (!strcmp(it->key, "accel") && it->value)
		return accel_names(p, it->value);
	for (size_t i = 0; i < ARRAY_LEN(machine_noted); i++)
		if (!strcmp(it->key, machine_noted[i])) {
			parse_note(p, "accepted without effect: %s", it->key);
			return PARSE_OK;
		}
	return parse_fail(p, "unknown machine property '%s'", it->key);
}

enum parse_result parse_machine(struct parse *p, const char *arg)
{
	const char *rest = arg;
	struct opt_item it;
	enum parse_result r = PARSE_OK;
	bool first = true;

	if (parse_is_help(arg)) {
		puts("Supported machines are:");
		for (size_t i = 0; i < ARRAY_LEN(machines); i++)
			printf("%-20s %s\n", machines[i].name, machines[i].help);
		return PARSE_EXIT;
	}
	while (r == PARSE_OK && opt_next(&rest, &it)) {
		if ((first && !it.value) || (it.value && !strcmp(it.key, "type"))) {
			const char *name = it.value ? it.value : it.key;
			if (!known_machine(name))
				r = parse_fail(p, "unknown machine '%s'; use pc", name);
		} else {
			r = machine_item(p, &it);
		}
		first = false;
	}
	if (r == PARSE_OK && rest)
		return parse_fail(p, "'%s' is not a machine", arg);
	return r;
}

/* --- -device ---------------------------------------------------------------------- */
#define DEBUG_EXIT "isa-debug-exit"
#define DEBUG_EXIT_PORT 0x501
#define DEBUG_EXIT_SIZE 2

static enum parse_result device_debug_exit(struct parse *p, const char *rest)
{
	u64 port = DEBUG_EXIT_PORT, size = DEBUG_EXIT_SIZE;
	struct opt_item it;

	while (opt_next(&rest, &it)) {
		if (parse_is_help(it.key)) {
			printf(DEBUG_EXIT " options:\n  iobase=<uint32> -  (default: %d)\n  iosize=<uint32> -  (default: %d)\n",
			       DEBUG_EXIT_PORT, DEBUG_EXIT_SIZE);
			return PARSE_EXIT;
		}
		u64 *field = !strcmp(it.key, "iobase") ? &port : !strcmp(it.key, "iosize") ? &size : NULL;
		if (!field && strcmp(it.key, "id"))
			return parse_fail(p, DEBUG_EXIT " has no property '%s'; it has iobase and iosize", it.key);
		if (field && (!it.value || !opt_number(it.value, 0xffff, field)))
			return parse_fail(p, "%s=%s: a number up to 0xffff", it.key, it.value ? it.value : "");
	}
	if (rest)
		return parse_fail(p, "'%s' is too long", rest);
	if (size != 1 && size != 2 && size != 4)
		return parse_fail(p, "iosize=%lu: 1, 2 or 4", size);
	if (port + size > 0x10000)
		return parse_fail(p, "iobase=0x%lx: the ports end at 0xffff", port);
	p->o->debug_exit = true;
	p->o->debug_exit_port = (u16)port;
	p->o->debug_exit_size = (u16)size;
	return PARSE_OK;
}

enum parse_result parse_device(struct parse *p, const char *arg)
{
	const char *rest = arg;
	struct opt_item it;

	if (parse_is_help(arg)) {
		puts("Misc devices:\nname \"" DEBUG_EXIT "\", bus ISA");
		return PARSE_EXIT;
	}
	if (opt_next(&rest, &it)) {
		const char *name = it.value && !strcmp(it.key, "driver") ? it.value : it.key;
		if (!strcmp(name, DEBUG_EXIT))
			return device_debug_exit(p, rest);
	}
	return parse_fail(p, "device '%.60s' is not supported; the one that is: " DEBUG_EXIT, arg);
}

/* --- -d --------------------------------------------------------------------------- */
static const struct { const char *name; u32 mask; const char *help; } log_items[] = {
	{ "in_asm", LOG_IN_ASM, "guest code of each block as it is translated" },
	{ "out_asm", LOG_OUT_ASM, "host code of each translated block" },
	{ "int", LOG_INT, "exceptions and interrupts delivered to the guest" },
	{ "cpu", LOG_CPU, "CPU registers at each block that the engine enters (lots)" },
	{ "mmu", LOG_MMU, "shadow fills, traces and invalidations" },
	{ "exits", LOG_EXITS, "every exit from translated code (lots)" },
	{ "config", LOG_CONFIG, "what the host can do and what was chosen" },
	{ "guest_errors", LOG_GUEST_ERRORS, "what the guest does wrong: unclaimed ports, unknown MSRs" },
	{ "stats", LOG_STATS, "counters, when the machine stops" },
	{ "prof", LOG_PROF, "where the CPU time went, when the machine stops (tools/prof reads it)" },
};

static enum parse_result log_help(void)
{
	puts("Log items (comma separated):");
	for (size_t i = 0; i < ARRAY_LEN(log_items); i++)
		printf("%-15s %s\n", log_items[i].name, log_items[i].help);
	puts("nochain         do not chain blocks, so that \"cpu\" and \"exits\" show all of them");
	return PARSE_EXIT;
}

enum parse_result parse_log_items(struct parse *p, const char *arg)
{
	const char *rest = arg;
	struct opt_item it;

	while (opt_next(&rest, &it)) {
		u32 mask = 0;
		if (parse_is_help(it.key))
			return log_help();
		for (size_t i = 0; i < ARRAY_LEN(log_items); i++)
			if (!strcmp(it.key, log_items[i].name))
				mask = log_items[i].mask;
		if (!strcmp(it.key, "nochain"))
			p->o->policy.no_chain = true;
		else if (!mask)
			return parse_fail(p, "unknown log item '%s'; -d help lists them", it.key);
		p->o->log_mask |= mask;
	}
	if (rest || !*arg)
		return parse_fail(p, "'%s' is not a list of log items; -d help lists them", arg);
	return PARSE_OK;
}

/* --- -cpu help -------------------------------------------------------------------- */
static void print_line(const char *line)
{
	puts(line);
}

void options_list_cpus(void)
{
	puts("Available CPUs:");
	cpu_model_list(print_line);
}
