/* The isolation drill's main: what is tried, and the table of results. See drill.h.
 *
 *   shadowbox-drill GUEST-KERNEL [PART-OF-A-NAME]
 *
 * SBX_LONG=1: more seeds. SBX_SEED: the first seed, to repeat a failure. */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "tests/drill/drill.h"

int __wrap_main(int argc, char **argv);

static struct { unsigned rows, failures; } *tally; /* shared with the child of run_calls */

void row(bool ok, const char *attack, const char *expected, const char *got)
{
	printf("%-4s  %-44s  %-30s  %s\n", ok ? "ok" : "FAIL", attack, expected, got);
	tally->rows++;
	tally->failures += !ok;
}

u64 drill_runs(u64 usual, u64 with_long)
{
	const char *s = getenv("SBX_LONG");

	return s && *s && *s != '0' ? with_long : usual;
}

u64 drill_seed(void)
{
	const char *s = getenv("SBX_SEED");

	return s && *s ? strtoul(s, NULL, 0) : 1;
}

bool drill_without_keys(void)
{
	const char *s = getenv("SBX_NOKEYS");

	return s && *s && *s != '0';
}

static void try_once(const struct attack *a, u64 seed, bool by_key)
{
	struct outcome o = { 0 };
	char name[96];

	machine_run(a, seed, by_key, &o);
	snprintf(name, sizeof(name), a->flags & SEEDED ? "%s, seed %lu" : "%s", a->name, seed);
	if (a->end == END_ASKED)
		strncat(name, by_key ? " (Ctrl-A X)" : " (SIGTERM)", sizeof(name) - strlen(name) - 1);
	row(o.ok, name, a->expected, o.got);
}

static void try_all(const struct attack *a, u64 usual, const char *filter)
{
	for (; a->name; a++) {
		u64 seeds = a->flags & SEEDED ? drill_runs(usual, 50 * usual) : 1, first = drill_seed();

		if (filter && !strstr(a->name, filter))
			continue;
		for (u64 s = first; s < first + seeds; s++) {
			try_once(a, s, s % 2 == 0);
			if (a->end == END_ASKED && seeds == 1)
				try_once(a, s, true);
		}
	}
}

/* In a child: it is the monitor of a machine. */
static void run_calls(void)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		calls_run();
		exit(0);
	}
	waitpid(pid, &status, 0);
	if (status)
		row(false, "system calls", "", "the test itself has failed");
}

int __wrap_main(int argc, char **argv)
{
	const char *filter = argc > 2 ? argv[2] : NULL;
	time_t start = time(NULL);

	if (argc < 2) {
		fprintf(stderr, "usage: shadowbox-drill GUEST-KERNEL [PART-OF-A-NAME]\n");
		return 1;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	mallopt(M_MMAP_MAX, 0); /* as the program's main does */
	tally = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	world_enter(argv[1]);
	world_start_victim();
	printf("%-4s  %-44s  %-30s  %s\n", "", "attack", "expected", "got");
	if (!filter || !strcmp(filter, "calls"))
		run_calls();
	if (filter && !strcmp(filter, "machines"))
		filter = "";
	try_all(attacks, 2, filter);
	try_all(corruptions, 4, filter);
	printf("%u attempts, %u went wrong, %ld s\n", tally->rows, tally->failures, (long)(time(NULL) - start));
	return !tally->rows || tally->failures;
}
