/* micro: nanoseconds per operation of small pieces of work, the same static program
 * natively and in guests.
 *
 *   micro [-t MS] [-s SAMPLES] [-p PREFIX] [-x] [-l] [ROW...]
 *
 * Prints "row value unit", a line a sample, after PREFIX. ROW selects the rows whose names
 * contain it (with -x: that are it). A row finds by itself how many operations take MS
 * milliseconds of the clock it sees; what was run to find out is the warm-up. Each row has
 * a process of its own: what one maps would make the next one's forks slower. -l lists the
 * rows. */
#include "micro.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

volatile u64 sink;
static char dir[512];
static const char *prefix = "";

void micro_die(const char *what)
{
	fprintf(stderr, "micro: %s: %s\n", what, strerror(errno));
	exit(1);
}

const char *micro_dir(void)
{
	if (!dir[0]) {
		ssize_t n = readlink("/proc/self/exe", dir, sizeof(dir) - 1);
		if (n <= 0)
			micro_die("/proc/self/exe");
		dir[n] = 0;
		*strrchr(dir, '/') = 0;
	}
	return dir;
}

static u64 now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (u64)t.tv_sec * 1000000000 + (u64)t.tv_nsec;
}

static u64 timed(const struct row *r, u64 n)
{
	u64 start = now_ns();

	r->run(n);
	u64 end = now_ns();
	return end > start ? end - start : 1;
}

/* Operations that take about `want` ns: doubled until a tenth of it is reached, so that
 * neither the clock's granularity nor the first, untranslated, execution counts. */
static u64 calibrate(const struct row *r, u64 want)
{
	u64 n = 1, took = timed(r, n);

	while (took < want / 10) {
		n *= took * 8 < want / 10 ? 8 : 2;
		took = timed(r, n);
	}
	took = timed(r, n); /* again, warm */
	u64 scaled = (u64)((double)n * (double)want / (double)took);
	return scaled ? scaled : 1;
}

static void measure(const struct row *r, u64 want, int samples)
{
	if (r->usable && !r->usable()) {
		printf("%s%s - unsupported\n", prefix, r->name);
		fflush(stdout);
		return;
	}
	if (r->prepare)
		r->prepare();
	u64 n = calibrate(r, want);
	for (int i = 0; i < samples; i++) {
		printf("%s%s %.4g ns\n", prefix, r->name, (double)timed(r, n) / (double)n);
		fflush(stdout);
	}
}

static int measure_apart(const struct row *r, u64 want, int samples)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		measure(r, want, samples);
		exit(0);
	}
	return pid < 0 || waitpid(pid, &status, 0) != pid || status;
}

static int selected(const struct row *r, char **names, int count, int exact)
{
	for (int i = 0; i < count; i++)
		if (exact ? !strcmp(r->name, names[i]) : !!strstr(r->name, names[i]))
			return 1;
	return count == 0;
}

int main(int argc, char **argv)
{
	const struct row *tables[] = { cpu_rows, sys_rows };
	u64 want = 100;
	int samples = 1, exact = 0, list = 0, done = 0, failed = 0, c;

	while ((c = getopt(argc, argv, "t:s:p:xl")) != -1) {
		switch (c) {
		case 't': want = strtoull(optarg, NULL, 10); break;
		case 's': samples = atoi(optarg); break;
		case 'p': prefix = optarg; break;
		case 'x': exact = 1; break;
		case 'l': list = 1; break;
		default: return 2;
		}
	}
	for (int t = 0; t < 2; t++)
		for (const struct row *r = tables[t]; r->name; r++) {
			if (!selected(r, argv + optind, argc - optind, exact))
				continue;
			done++;
			if (list)
				printf("%s\t%s\n", r->name, r->what);
			else
				failed += measure_apart(r, want * 1000000, samples);
		}
	if (!done)
		fprintf(stderr, "micro: no such row\n");
	return !done || failed;
}
