/* The command line: QEMU's option names, one table row each.
 *
 * Parsing creates nothing; it fills struct options. An option is supported (a handler),
 * accepted because it only tunes QEMU or KVM (OPT_NOTED: it is remembered in
 * options.notes and has no effect), or refused with one line that names the nearest
 * supported one. Later options win over earlier ones, as in QEMU.
 *
 * Options that take a list (-accel, -machine, -device, -d) are in options_list.c.
 * Follows: QEMU 7.2 "Invocation". */
#include <stdio.h>
#include <string.h>
#include "options_parse.h"
#include "optvalue.h"

#define VERSION "0.1"
#define RAM_DEFAULT (128UL << 20)
#define RAM_MIN (8UL << 20)
/* The part of the physical map that the hole below 4 GiB takes is not RAM. */
#define RAM_MAX (PHYS_MAX - (PHYS_4G - PHYS_LOW_MAX))
#define BLOCK_DEFAULT 64
#define HOLD_DEFAULT 16

/* --- memory and processors -------------------------------------------------------- */
static enum parse_result set_memory(struct parse *p, const char *arg)
{
	const char *rest = arg;
	struct opt_item it;
	u64 bytes = RAM_DEFAULT;

	while (opt_next(&rest, &it)) {
		const char *text = it.value ? it.value : it.key;
		if (it.value && (!strcmp(it.key, "maxmem") || !strcmp(it.key, "slots"))) {
			parse_note(p, "memory hotplug (%s) is not modelled", it.key);
			continue;
		}
		if (it.value && strcmp(it.key, "size"))
			return parse_fail(p, "unknown parameter '%s'; known: size, slots, maxmem", it.key);
		if (!opt_size(text, 1UL << 20, &bytes))
			return parse_fail(p, "'%s' is not a size; write 512M or 2G (MiB without a suffix)", text);
	}
	if (rest)
		return parse_fail(p, "'%s' is not a size", rest);
	if (!bytes)
		bytes = RAM_DEFAULT;
	if (bytes < RAM_MIN)
		return parse_fail(p, "%s is too little memory; at least %luM are needed", arg, RAM_MIN >> 20);
	if (bytes > RAM_MAX)
		return parse_fail(p, "%s is too much memory; at most %luG are supported", arg, RAM_MAX >> 30);
	p->o->ram_bytes = (bytes + PAGE_SIZE - 1) & PAGE_MASK;
	return PARSE_OK;
}

static enum parse_result set_cpus(struct parse *p, const char *arg)
{
	static const char *const topology[] = { "sockets", "dies", "clusters", "cores", "threads" };
	const char *rest = arg;
	u64 cpus = 0, product = 1, n;
	bool have_cpus = false;
	struct opt_item it;

	while (opt_next(&rest, &it)) {
		bool known = !it.value || !strcmp(it.key, "cpus") || !strcmp(it.key, "maxcpus"), part = false;
		for (size_t i = 0; i < ARRAY_LEN(topology); i++)
			part |= !strcmp(it.key, topology[i]);
		if (!known && !part)
			return parse_fail(p, "unknown parameter '%s'; known: cpus, sockets, cores, threads", it.key);
		if (!opt_number(it.value ? it.value : it.key, 4096, &n))
			return parse_fail(p, "'%s' is not a number of CPUs", it.value ? it.value : it.key);
		if (!n)
			return parse_fail(p, "'%s': a machine needs at least one CPU", arg);
		if (part) {
			product *= n;
		} else if (strcmp(it.key, "maxcpus")) {
			cpus = n;
			have_cpus = true;
		}
	}
	if (rest || !*arg)
		return parse_fail(p, "'%s' is not a number of CPUs", arg);
	if (!have_cpus)
		cpus = product;
	if (cpus != 1)
		return parse_fail(p, "%lu CPUs are not supported; use -smp 1", cpus);
	p->o->cpus = (unsigned)cpus;
	return PARSE_OK;
}

static enum parse_result set_cpu_model(struct parse *p, const char *arg)
{
	if (parse_is_help(arg)) {
		options_list_cpus();
		return PARSE_EXIT;
	}
	p->o->cpu_model = arg;
	return PARSE_OK;
}

/* --- what is booted --------------------------------------------------------------- */
static enum parse_result set_kernel(struct parse *p, const char *arg)
{
	p->o->kernel = arg;
	return PARSE_OK;
}

static enum parse_result set_initrd(struct parse *p, const char *arg)
{
	p->o->initrd = arg;
	return PARSE_OK;
}

static enum parse_result set_append(struct parse *p, const char *arg)
{
	p->o->append = arg;
	return PARSE_OK;
}

static enum parse_result set_no_reboot(struct parse *p, const char *arg)
{
	(void)arg;
	p->o->no_reboot = true;
	return PARSE_OK;
}

static enum parse_result set_action(struct parse *p, const char *arg)
{
	const char *rest = arg;
	struct opt_item it;

	while (opt_next(&rest, &it)) {
		if (!it.value)
			return parse_fail(p, "'%s' needs a value", it.key);
		if (!strcmp(it.key, "reboot") && !strcmp(it.value, "shutdown"))
			p->o->no_reboot = true;
		else if (!strcmp(it.key, "reboot") && !strcmp(it.value, "reset"))
			p->o->no_reboot = false;
		else if (strcmp(it.key, "shutdown") || strcmp(it.value, "poweroff"))
			return parse_fail(p, "'%s=%s' is not supported; reboot=reset|shutdown and shutdown=poweroff are", it.key, it.value);
	}
	return PARSE_OK;
}

/* --- console ---------------------------------------------------------------------- */
static enum parse_result set_nographic(struct parse *p, const char *arg)
{
	(void)arg;
	p->o->nographic = true;
	return PARSE_OK;
}

static enum parse_result set_display(struct parse *p, const char *arg)
{
	if (parse_is_help(arg)) {
		puts("Available display backend types:\nnone");
		return PARSE_EXIT;
	}
	if (strcmp(arg, "none"))
		return parse_fail(p, "display '%s' is not supported; use none", arg);
	p->display_none = true;
	return PARSE_OK;
}

static enum parse_result set_serial(struct parse *p, const char *arg)
{
	bool nothing = !strcmp(arg, "null") || !strcmp(arg, "none");
	bool mon = !strncmp(arg, "mon:", 4);
	const char *kind = mon ? arg + 4 : arg;

	if (p->serials++) {
		if (nothing)
			return PARSE_OK;
		return parse_fail(p, "'%s': there is only one serial port", arg);
	}
	if (nothing) {
		p->o->serial = SERIAL_NULL;
	} else if (!strcmp(kind, "stdio")) {
		p->o->serial = SERIAL_STDIO;
		p->o->mux_stdio = mon;
	} else if (!strncmp(kind, "file:", 5) && kind[5] && !mon) {
		p->o->serial = SERIAL_FILE;
		p->o->serial_path = kind + 5;
	} else {
		return parse_fail(p, "'%s' is not supported; use stdio, mon:stdio, file:PATH, null or none", arg);
	}
	return PARSE_OK;
}

static enum parse_result set_monitor(struct parse *p, const char *arg)
{
	if (strcmp(arg, "none") && strcmp(arg, "null"))
		return parse_fail(p, "'%s': there is no monitor console yet; use none", arg);
	p->monitor_none = true;
	return PARSE_OK;
}

static enum parse_result set_echr(struct parse *p, const char *arg)
{
	u64 n;

	if (!opt_number(arg, 255, &n) || n != 1)
		return parse_fail(p, "'%s': the escape character is Ctrl-A (1)", arg);
	return PARSE_OK;
}

/* Options for hardware that the machine lacks: saying so explicitly is fine. */
static enum parse_result only_none(struct parse *p, const char *arg)
{
	if (strcmp(arg, "none") && strcmp(arg, "null"))
		return parse_fail(p, "'%s' is not supported; only none is", arg);
	return PARSE_OK;
}

/* --- machine and devices ---------------------------------------------------------- */
static enum parse_result set_nodefaults(struct parse *p, const char *arg)
{
	(void)arg;
	p->o->nodefaults = true;
	return PARSE_OK;
}

static enum parse_result set_enable_kvm(struct parse *p, const char *arg)
{
	(void)arg;
	return parse_accel(p, "kvm");
}

static enum parse_result set_singlestep(struct parse *p, const char *arg)
{
	(void)arg;
	p->o->policy.block_max = 1;
	return PARSE_OK;
}

/* --- tracing ---------------------------------------------------------------------- */
static enum parse_result set_log_file(struct parse *p, const char *arg)
{
	p->o->log_file = arg;
	return PARSE_OK;
}

/* --- information ------------------------------------------------------------------ */
static enum parse_result show_version(struct parse *p, const char *arg)
{
	(void)p;
	(void)arg;
	puts("shadowbox version " VERSION);
	return PARSE_EXIT;
}

static enum parse_result show_help(struct parse *p, const char *arg);

/* --- the table -------------------------------------------------------------------- */
enum { OPT_ARG = 1, OPT_NOTED = 2 };

struct option_row {
	const char *name;
	u8 flags;
	enum parse_result (*set)(struct parse *p, const char *arg); /* NULL only if OPT_NOTED */
	const char *args, *help; /* NULL: not listed by -h */
};

static const struct option_row options_table[] = {
	{ "h", 0, show_help, "", "this list" },
	{ "help", 0, show_help, NULL, NULL },
	{ "version", 0, show_version, "", "version" },
	{ "m", OPT_ARG, set_memory, "[size=]N[K|M|G|T]", "guest memory, in MiB without a suffix (default 128M)" },
	{ "smp", OPT_ARG, set_cpus, "[cpus=]1", "number of CPUs" },
	{ "cpu", OPT_ARG, set_cpu_model, "MODEL[,+feat,-feat]", "CPU model; help lists them" },
	{ "machine", OPT_ARG, parse_machine, "NAME[,accel=...]", "machine (pc or q35: names of the same one); help lists them" },
	{ "M", OPT_ARG, parse_machine, NULL, NULL },
	{ "accel", OPT_ARG, parse_accel, "dbt[,key=value...]", "engine settings; help lists them" },
	{ "enable-kvm", 0, set_enable_kvm, NULL, NULL },
	{ "singlestep", 0, set_singlestep, "", "one guest instruction in a block" },
	{ "kernel", OPT_ARG, set_kernel, "FILE", "Linux bzImage or x86-64 ELF kernel" },
	{ "initrd", OPT_ARG, set_initrd, "FILE", "initial RAM disk" },
	{ "append", OPT_ARG, set_append, "TEXT", "kernel command line" },
	{ "nographic", 0, set_nographic, "", "serial port on this terminal; Ctrl-A X quits" },
	{ "display", OPT_ARG, set_display, "none", "no display" },
	{ "serial", OPT_ARG, set_serial, "stdio|mon:stdio|file:PATH|null", "where the serial port goes" },
	{ "monitor", OPT_ARG, set_monitor, "none", "no monitor console" },
	{ "echr", OPT_ARG, set_echr, NULL, NULL },
	{ "no-reboot", 0, set_no_reboot, "", "exit when the guest reboots or triple-faults" },
	{ "action", OPT_ARG, set_action, "reboot=reset|shutdown", "what a guest reboot does" },
	{ "nodefaults", 0, set_nodefaults, "", "no default serial port" },
	{ "device", OPT_ARG, parse_device, "isa-debug-exit[,iobase=N,iosize=N]", "add a device; help lists them" },
	{ "d", OPT_ARG, parse_log_items, "ITEM,...", "trace; help lists the items" },
	{ "D", OPT_ARG, set_log_file, "FILE", "where traces go instead of stderr" },
	{ "vga", OPT_ARG, only_none, NULL, NULL },
	{ "net", OPT_ARG, only_none, NULL, NULL },
	{ "nic", OPT_ARG, only_none, NULL, NULL },
	{ "parallel", OPT_ARG, only_none, NULL, NULL },
	{ "vnc", OPT_ARG, only_none, NULL, NULL },
	{ "qmp", OPT_ARG, only_none, NULL, NULL },
	{ "gdb", OPT_ARG, only_none, NULL, NULL },
	{ "audio", OPT_ARG, only_none, NULL, NULL },
	{ "no-user-config", 0, NULL, NULL, NULL },
	{ "no-fd-bootchk", 0, NULL, NULL, NULL },
	{ "only-migratable", 0, NULL, NULL, NULL },
	{ "mem-prealloc", 0, NULL, NULL, NULL },
	{ "name", OPT_ARG, NULL, NULL, NULL },
	{ "rtc", OPT_ARG, NULL, NULL, NULL },
	{ "global", OPT_ARG, NULL, NULL, NULL },
	{ "boot", OPT_ARG, NULL, NULL, NULL },
	{ "uuid", OPT_ARG, NULL, NULL, NULL },
	{ "k", OPT_ARG, NULL, NULL, NULL },
	{ "L", OPT_ARG, NULL, NULL, NULL },
	{ "msg", OPT_ARG, NULL, NULL, NULL },
	{ "sandbox", OPT_ARG, NULL, NULL, NULL },
	{ "overcommit", OPT_ARG, NULL, NULL, NULL },
	{ "compat", OPT_ARG, NULL, NULL, NULL },
	{ "tb-size", OPT_ARG, NULL, NULL, NULL },
	{ "trace", OPT_ARG, NULL, NULL, NULL },
	{ "seed", OPT_ARG, NULL, NULL, NULL },
};

static enum parse_result show_help(struct parse *p, const char *arg)
{
	(void)p;
	(void)arg;
	puts("shadowbox version " VERSION ", runs x86-64 guests without hardware assist\n"
	     "usage: shadowbox [options]   (QEMU's names; -opt and --opt are the same)\n");
	for (size_t i = 0; i < ARRAY_LEN(options_table); i++) {
		const struct option_row *r = &options_table[i];
		char left[64];
		if (!r->help)
			continue;
		snprintf(left, sizeof(left), "-%s %s", r->name, r->args);
		printf("%-42s %s\n", left, r->help);
	}
	puts("\nAccepted without effect (they tune QEMU):");
	for (size_t i = 0; i < ARRAY_LEN(options_table); i++)
		if (!options_table[i].set)
			printf(" -%s", options_table[i].name);
	puts("");
	return PARSE_EXIT;
}

static const struct option_row *find_option(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(options_table); i++)
		if (!strcmp(options_table[i].name, name))
			return &options_table[i];
	return NULL;
}

/* The supported option whose name is nearest. A common beginning outweighs length, so
 * that -netdev finds -net and not -device. */
static const char *nearest_option(const char *name)
{
	unsigned best = ~0u;
	const char *found = "h";

	for (size_t i = 0; i < ARRAY_LEN(options_table); i++) {
		const char *candidate = options_table[i].name;
		unsigned same = 0;
		if (!options_table[i].set)
			continue;
		while (candidate[same] && candidate[same] == name[same])
			same++;
		if (same >= 3 && !name[same]) /* an abbreviation */
			return candidate;
		unsigned score = 2 * opt_distance(name, candidate) + 16 - (same < 8 ? 2 * same : 16);
		if (score < best) {
			best = score;
			found = candidate;
		}
	}
	return found;
}

/* --- the parser ------------------------------------------------------------------- */
static enum parse_result parse_one(struct parse *p, char **argv, int argc, int *i)
{
	const char *text = argv[*i];
	const struct option_row *row;

	p->option = text;
	if (text[0] != '-' || !text[1])
		return parse_fail(p, "disk images are not supported; a kernel is given with -kernel");
	const char *name = text + 1 + (text[1] == '-');
	row = find_option(name);
	if (!row)
		return parse_fail(p, "unknown or unsupported option; the nearest supported one is -%s (-h lists all)",
				  nearest_option(name));
	const char *arg = NULL;
	if (row->flags & OPT_ARG) {
		if (*i + 1 >= argc)
			return parse_fail(p, "requires an argument");
		arg = argv[++*i];
	}
	if (row->set)
		return row->set(p, arg);
	parse_note(p, "accepted without effect%s%s", arg ? ": " : "", arg ? arg : "");
	return PARSE_OK;
}

/* What QEMU gives by default: the serial port on the terminal with -nographic, shared
 * with the monitor's Ctrl-A keys unless -monitor none. Without any display option QEMU
 * would open a window that shows the port; the terminal is the nearest to that. */
static void set_console_defaults(struct parse *p)
{
	struct options *o = p->o;

	if (p->serials)
		return;
	if (o->nodefaults || (p->display_none && !o->nographic)) {
		o->serial = SERIAL_NULL;
		return;
	}
	o->serial = SERIAL_STDIO;
	o->mux_stdio = !p->monitor_none;
}

static enum parse_result check_whole(struct parse *p)
{
	struct options *o = p->o;

	if (!o->kernel) {
		p->option = o->initrd ? "-initrd" : o->append ? "-append" : "-kernel";
		return parse_fail(p, o->initrd || o->append ? "only allowed together with -kernel" :
			"required: the file of a Linux bzImage or x86-64 ELF kernel (-h lists all options)");
	}
	return PARSE_OK;
}

enum options_result options_parse(int argc, char **argv, struct options *out, char *err, size_t errlen)
{
	struct parse p = { .o = out, .err = err, .errlen = errlen };
	enum parse_result r = PARSE_OK;

	*out = (struct options){
		.ram_bytes = RAM_DEFAULT,
		.cpus = 1,
		.append = NULL,
		.cpu_model = "host",
		.policy = { .block_max = BLOCK_DEFAULT, .uffd = true, .hold_after = HOLD_DEFAULT },
	};
	if (errlen)
		err[0] = 0;
	for (int i = 1; i < argc && r == PARSE_OK; i++)
		r = parse_one(&p, argv, argc, &i);
	if (r == PARSE_OK)
		r = check_whole(&p);
	if (r == PARSE_OK)
		set_console_defaults(&p);
	if (r == PARSE_OK && !out->append)
		out->append = "";
	return r == PARSE_OK ? OPTIONS_RUN : r == PARSE_EXIT ? OPTIONS_EXIT_OK : OPTIONS_ERROR;
}
