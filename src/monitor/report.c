/* Where messages go, and what is said when the machine ends badly.
 *
 * Lines for the user go to standard error. The log (-d) and the report after a death go
 * there too or to the -D file; views send theirs through the arena's ring. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "monitor.h"
#include "shadowbox/dbt.h"
#include "shadowbox/log.h"
#include "shadowbox/profile.h"

/* The sink has no argument: the one descriptor that it needs. */
static int sink_fd = STDERR_FILENO;

static void log_write(const char *text, size_t len)
{
	while (len) {
		ssize_t n = write(sink_fd, text, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return;
		text += n;
		len -= (size_t)n;
	}
}

void report_line(const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	fprintf(stderr, "shadowbox: %s\n", text);
}

int log_open(struct monitor *m, char *err, size_t errlen)
{
	m->log_fd = STDERR_FILENO;
	log_enabled = m->opt.log_mask | LOG_ALWAYS;
	if (m->opt.log_file) {
		m->log_fd = open(m->opt.log_file, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0666);
		if (m->log_fd < 0) {
			snprintf(err, errlen, "-D: cannot write %s: %s", m->opt.log_file, strerror(errno));
			return -errno;
		}
	}
	sink_fd = m->log_fd;
	log_set_sink(log_write);
	if (*m->opt.notes)
		log_msg(LOG_CONFIG, "%s", m->opt.notes);
	return 0;
}

void log_close(struct monitor *m)
{
	sink_fd = STDERR_FILENO;
	if (m->log_fd > STDERR_FILENO)
		close(m->log_fd);
	m->log_fd = -1;
}

void log_drain(struct monitor *m)
{
	struct ring *r = &ARENA->log;
	u32 tail = __atomic_load_n(&r->tail, __ATOMIC_RELAXED);
	u32 used = __atomic_load_n(&r->head, __ATOMIC_ACQUIRE) - tail;

	(void)m;
	/* A view may have written nonsense there. And one that writes without end shall not
	 * keep us here: what comes meanwhile is for the next time. */
	for (u32 done = 0, len; used <= RING_SIZE && done < used; done += len) {
		u32 at = (tail + done) % RING_SIZE;
		len = used - done < RING_SIZE - at ? used - done : RING_SIZE - at;
		log_write((const char *)r->data + at, len);
	}
	__atomic_store_n(&r->tail, tail + used, __ATOMIC_RELEASE);
}

/* --- deaths -------------------------------------------------------------------------- */
#define FLIGHT_CALLOUT 3 /* as the engine numbers them */

/* Vector of an exception or interrupt; the instruction that was called out for. */
static void flight_arg(const struct flight_event *e, char *buf, size_t size)
{
	static const char *const ops[] = {
#define X(id) #id,
		OPS(X)
#undef X
	};

	if (e->kind == FLIGHT_CALLOUT && e->arg < ARRAY_LEN(ops))
		snprintf(buf, size, "%s", ops[e->arg]);
	else
		snprintf(buf, size, "%u", e->arg);
}

static void report_flight(void)
{
	static const char *const kinds[] = { "?", "exception", "interrupt", "call-out", "fill", "soft" };
	char arg[32];
	const struct arena *a = ARENA;
	u64 next = a->flight_next, first = next > FLIGHT_EVENTS ? next - FLIGHT_EVENTS : 0;
	u64 last_tsc = next ? a->flight[(next - 1) % FLIGHT_EVENTS].tsc : 0;

	if (next)
		log_printf("Last events, oldest first (ticks before the last one, kind, argument, RIP, data):\n");
	for (u64 i = first; i < next; i++) {
		const struct flight_event *e = &a->flight[i % FLIGHT_EVENTS];
		flight_arg(e, arg, sizeof(arg));
		log_printf("%12lu %-9s %-13s %016lx %lx %lx\n", last_tsc - e->tsc,
			   kinds[e->kind < ARRAY_LEN(kinds) ? e->kind : 0], arg, e->rip, e->a, e->b);
	}
}

/* The views are gone: what they have left does not change any more. */
void report_death(struct monitor *m, const char *what)
{
	char death[sizeof(ARENA->death)];

	log_drain(m);
	memcpy(death, ARENA->death, sizeof(death));
	death[sizeof(death) - 1] = 0;
	for (char *p = death; *p; p++) /* one line, and nothing for the terminal to obey */
		if (*p < ' ' || *p > '~')
			*p = '?';
	report_line("%s%s%s", what, *death ? ": " : "", death);
	if (m->log_fd > STDERR_FILENO)
		log_printf("shadowbox: %s%s%s\n", what, *death ? ": " : "", death);
	report_flight();
	log_printf("The virtual CPU, as last stored:\n");
	cpu_dump(VCPU);
}

/* --- counters ------------------------------------------------------------------------ */
void stats_keep(struct monitor *m)
{
	for (unsigned i = 0; i < CTR_MAX; i++)
		m->counters[i] += VCPU->counters[i];
}

void report_stats(struct monitor *m)
{
	_Static_assert(CTR_MAX <= ARRAY_LEN(VCPU->counters), "the vCPU has too few counters");

	if (!log_on(LOG_STATS))
		return;
	stats_keep(m);
	for (unsigned i = 0; i < CTR_MAX; i++)
		if (m->counters[i])
			log_printf("stats: %14lu %s\n", m->counters[i], counter_names[i]);
	log_printf("stats: %14lu milliseconds\n", clock_now(&ARENA->machine.clock) / 1000000);
}

/* --- profile ------------------------------------------------------------------------- */
static const struct { const char *name, *what; } profile_kinds[] = {
#define X(id, name, what) { name, what },
	PROFILE_KINDS(X)
#undef X
};

static int by_count(const void *a, const void *b)
{
	const struct profile_slot *x = a, *y = b;

	return x->count < y->count ? 1 : x->count > y->count ? -1 : x->rip < y->rip ? -1 : x->rip > y->rip;
}

/* One line for each kind and one for each guest instruction, most frequent first. */
void report_profile(void)
{
	const struct profile *p = dbt_profile();
	struct profile_slot *slots;

	if (!log_on(LOG_PROF))
		return;
	for (unsigned k = 0; k < PROF_KINDS; k++)
		if (p->kind[k])
			log_printf("prof: %8lu %3lu%% %-10s %s\n", p->kind[k], p->kind[k] * 100 / (p->samples ? p->samples : 1),
				   profile_kinds[k].name, profile_kinds[k].what);
	log_printf("prof: %8lu samples of CPU time, %lu without a place in the list\n", p->samples, p->lost);
	slots = malloc(sizeof(p->slot));
	if (!slots)
		return;
	memcpy(slots, p->slot, sizeof(p->slot));
	qsort(slots, PROFILE_SLOTS, sizeof(*slots), by_count);
	for (unsigned i = 0; i < PROFILE_SLOTS && slots[i].count; i++)
		if (slots[i].kind < PROF_KINDS)
			log_printf("prof: at %016lx %8u %s\n", slots[i].rip, slots[i].count, profile_kinds[slots[i].kind].name);
	free(slots);
}
