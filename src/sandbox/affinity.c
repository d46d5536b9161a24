/* Which CPU the views run on: all on one, for only one of them runs at a time, and handing
 * over to a process on the same CPU takes a third of the time. It is the one that the
 * host's scheduler has put them on. Twice a second the monitor looks how long they had to wait
 * for it, more than a hand-over takes: if that is long they move to an idle one, and where there
 * is none they are left to the scheduler until they need not wait any more.
 *
 * Where the host does not tell of waiting times (/proc/PID/schedstat), nothing is bound. */
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "internal.h"
#include "shadowbox/log.h"

#define LOOK_NS 500000000L
#define BUSY_NS 50000000UL /* less work than this in an interval says nothing */
#define HANDOVER_NS 5000UL /* a wait shorter than this is for the view that hands over, not for others */

struct times { u64 ran, waited, waits; }; /* waits: how often it was given a CPU */

static struct {
	bool active;
	cpu_set_t allowed;
	int cpu;          /* -1: not bound */
	struct timespec last;
	struct times seen[VIEW_MAX];
	u64 idle[CPU_SETSIZE]; /* ticks so far */
} affinity = { .cpu = -1 };

static bool read_times(pid_t pid, struct times *t)
{
	char path[40];
	FILE *f;
	int n;

	snprintf(path, sizeof(path), "/proc/%d/schedstat", (int)pid);
	f = fopen(path, "r");
	if (!f)
		return false;
	n = fscanf(f, "%lu %lu %lu", &t->ran, &t->waited, &t->waits);
	fclose(f);
	return n == 3;
}

/* The allowed CPU, other than this one, that was idle for longest since the last call; -1 if
 * none was for most of the interval. */
static int idlest_cpu(int but, u64 interval_ticks)
{
	u64 user, nice, sys, idle, most = interval_ticks * 7 / 10;
	FILE *f = fopen("/proc/stat", "r");
	char line[512];
	int best = -1, c;

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "cpu%d %lu %lu %lu %lu", &c, &user, &nice, &sys, &idle) != 5 || c < 0 || c >= CPU_SETSIZE)
			continue;
		if (c != but && CPU_ISSET(c, &affinity.allowed) && affinity.idle[c] && idle - affinity.idle[c] >= most) {
			most = idle - affinity.idle[c];
			best = c;
		}
		affinity.idle[c] = idle;
	}
	if (f)
		fclose(f);
	return best;
}

/* Field 39 of /proc/PID/stat, counted from behind the name. */
static int cpu_of(pid_t pid)
{
	char path[40], text[1024], *p;
	int cpu = -1;
	size_t n = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "r");
	if (f)
		n = fread(text, 1, sizeof(text) - 1, f);
	if (f)
		fclose(f);
	text[n] = 0;
	p = strrchr(text, ')');
	for (int field = 2; p && field < 39; field++)
		p = strchr(p + 1, ' ');
	if (p && sscanf(p, "%d", &cpu) == 1 && cpu >= 0 && cpu < CPU_SETSIZE && CPU_ISSET(cpu, &affinity.allowed))
		return cpu;
	return -1;
}

static void bind_view(pid_t pid)
{
	cpu_set_t one = affinity.allowed;

	if (affinity.cpu >= 0) {
		CPU_ZERO(&one);
		CPU_SET(affinity.cpu, &one);
	}
	sched_setaffinity(pid, sizeof(one), &one); /* a refusal costs speed only */
}

static void bind_all(int cpu)
{
	if (cpu == affinity.cpu)
		return;
	affinity.cpu = cpu;
	log_msg(LOG_CONFIG, cpu < 0 ? "config: views run where the host's scheduler puts them\n" :
		"config: views run on CPU %d\n", cpu);
	for (unsigned i = 0; i < VIEW_MAX; i++)
		if (sandbox.view[i] > 0)
			bind_view(sandbox.view[i]);
	if (sandbox.tracer > 0)
		bind_view(sandbox.tracer);
}

void affinity_init(const struct policy *policy)
{
	struct times own;

	affinity.cpu = -1;
	affinity.active = !policy->no_bind &&
			  sched_getaffinity(0, sizeof(affinity.allowed), &affinity.allowed) == 0 &&
			  CPU_COUNT(&affinity.allowed) > 1 && read_times(sandbox.monitor, &own);
	idlest_cpu(-1, 0);
	clock_gettime(CLOCK_MONOTONIC, &affinity.last);
}

void affinity_view_started(unsigned slot)
{
	affinity.seen[slot] = (struct times){ 0 };
	if (affinity.cpu >= 0)
		bind_view(sandbox.view[slot]);
}

static bool interval_over(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	if ((now.tv_sec - affinity.last.tv_sec) * 1000000000L + now.tv_nsec - affinity.last.tv_nsec < LOOK_NS)
		return false;
	affinity.last = now;
	return true;
}

void sandbox_balance(void)
{
	u64 ran = 0, waited = 0;
	int idle;

	if (!affinity.active || !interval_over())
		return;
	for (unsigned i = 0; i < VIEW_MAX; i++) {
		struct times now, *last = &affinity.seen[i];
		u64 wait, handovers;

		if (sandbox.view[i] <= 0 || !read_times(sandbox.view[i], &now))
			continue;
		wait = now.waited - last->waited;
		handovers = (now.waits - last->waits) * HANDOVER_NS;
		ran += now.ran - last->ran;
		waited += wait > handovers ? wait - handovers : 0;
		*last = now;
	}
	idle = idlest_cpu(affinity.cpu, (u64)sysconf(_SC_CLK_TCK) / 2);
	if (ran + waited < BUSY_NS)
		return;
	if (waited * 5 >= ran + waited)
		bind_all(idle);
	else if (affinity.cpu < 0)
		bind_all(cpu_of(sandbox.view[ARENA->running_view % VIEW_MAX]));
}

bool sandbox_balances(void) { return affinity.active; }
