/* Which CPU the views run on: all on one, for only one of them runs at a time, and handing
 * over to a process on the same CPU takes a third of the time. So that a busy CPU does not
 * hold the guest up, the monitor looks now and then how long the views had to wait for
 * theirs, and moves them all.
 *
 * Where the host does not tell of waiting times (/proc/PID/schedstat), views go where the
 * host's scheduler wants them. */
#include <sched.h>
#include <stdio.h>
#include <time.h>
#include "internal.h"
#include "shadowbox/log.h"

#define LOOK_NS 1000000000L
#define BUSY_NS 100000000UL /* less work than this in an interval says nothing */

static struct {
	cpu_set_t allowed;
	int cpu;          /* -1: not bound */
	struct timespec last;
	u64 ran[VIEW_MAX], waited[VIEW_MAX];
} affinity = { .cpu = -1 };

static bool read_times(pid_t pid, u64 *ran, u64 *waited)
{
	char path[40];
	FILE *f;
	int n;

	snprintf(path, sizeof(path), "/proc/%d/schedstat", (int)pid);
	f = fopen(path, "r");
	if (!f)
		return false;
	n = fscanf(f, "%lu %lu", ran, waited);
	fclose(f);
	return n == 2;
}

static int next_cpu(int cpu)
{
	for (int i = 1; i <= CPU_SETSIZE; i++) {
		int c = (cpu + i) % CPU_SETSIZE;
		if (CPU_ISSET(c, &affinity.allowed))
			return c;
	}
	return cpu;
}

static void bind_view(pid_t pid)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(affinity.cpu, &one);
	sched_setaffinity(pid, sizeof(one), &one); /* a refusal costs speed only */
}

void affinity_init(const struct policy *policy)
{
	u64 ran, waited;

	affinity.cpu = -1;
	if (policy->no_bind || sched_getaffinity(0, sizeof(affinity.allowed), &affinity.allowed) < 0 ||
	    CPU_COUNT(&affinity.allowed) < 2 || !read_times(sandbox.monitor, &ran, &waited))
		log_msg(LOG_CONFIG, "config: views run where the host's scheduler puts them\n");
	else
		affinity.cpu = next_cpu(sched_getcpu());
	clock_gettime(CLOCK_MONOTONIC, &affinity.last);
}

void affinity_view_started(unsigned slot)
{
	affinity.ran[slot] = affinity.waited[slot] = 0;
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

	if (affinity.cpu < 0 || !interval_over())
		return;
	for (unsigned i = 0; i < VIEW_MAX; i++) {
		u64 r, w;

		if (sandbox.view[i] <= 0 || !read_times(sandbox.view[i], &r, &w))
			continue;
		ran += r - affinity.ran[i];
		waited += w - affinity.waited[i];
		affinity.ran[i] = r;
		affinity.waited[i] = w;
	}
	if (ran + waited < BUSY_NS || waited * 5 < ran + waited)
		return;
	affinity.cpu = next_cpu(affinity.cpu);
	log_msg(LOG_CONFIG, "config: the views waited for their CPU; now on CPU %d\n", affinity.cpu);
	for (unsigned i = 0; i < VIEW_MAX; i++)
		if (sandbox.view[i] > 0)
			bind_view(sandbox.view[i]);
}

bool sandbox_balances(void) { return affinity.cpu >= 0; }
