/* Clocks: monotonic by every interface (vDSO and system call), agreeing with each other
 * and with the host. The host's end of the comparison is the time stamps that the runner
 * takes when it sees the lines "clock start" and "clock end".
 *
 * usage: clocks [SECONDS [MS]]   MS: how late a sleep may end (250); a busy host needs more */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static int bad;

static double get(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (double)ts.tv_sec + ts.tv_nsec * 1e-9;
}

static double get_syscall(clockid_t id)
{
	struct timespec ts;

	syscall(SYS_clock_gettime, id, &ts);
	return (double)ts.tv_sec + ts.tv_nsec * 1e-9;
}

static double get_tod(void)
{
	struct timeval tv;

	gettimeofday(&tv, NULL);
	return (double)tv.tv_sec + tv.tv_usec * 1e-6;
}

static void back(const char *what, double *last, double now)
{
	if (now < *last && bad++ < 10)
		printf("clocks: %s went back by %.9f s\n", what, *last - now);
	*last = now;
}

/* Three clocks at one time: where reading them took long, something else ran in between. */
static void sample(double *mono, double *raw, double *wall)
{
	for (int i = 0; i < 10000; i++) {
		*mono = get(CLOCK_MONOTONIC);
		*raw = get(CLOCK_MONOTONIC_RAW);
		*wall = get_tod();
		if (get(CLOCK_MONOTONIC) - *mono < 0.001)
			break;
	}
}

static void sleeps(double late)
{
	static const int ms[] = { 1, 5, 20, 100, 300 };

	for (unsigned i = 0; i < sizeof(ms) / sizeof(*ms); i++) {
		double t0 = get(CLOCK_MONOTONIC);
		usleep((unsigned)ms[i] * 1000);
		double d = (get(CLOCK_MONOTONIC) - t0) * 1000;
		if (d < ms[i] - 0.05 || d > ms[i] + late) {
			printf("clocks: a sleep of %d ms took %.2f ms\n", ms[i], d);
			bad++;
		}
	}
}

int main(int argc, char **argv)
{
	double seconds = argc > 1 ? atof(argv[1]) : 10;
	double mono = 0, raw = 0, real = 0, tod = 0, boot = 0, sys = 0;
	double m0, r0, w0, m1, r1, w1;

	setvbuf(stdout, NULL, _IOLBF, 0);
	sleeps(argc > 2 ? atof(argv[2]) : 250);
	sample(&m0, &r0, &w0);
	printf("clock start %.6f\n", m0);
	while (get(CLOCK_MONOTONIC) - m0 < seconds) {
		for (int i = 0; i < 200; i++) {
			back("CLOCK_MONOTONIC", &mono, get(CLOCK_MONOTONIC));
			back("gettimeofday", &tod, get_tod());
			back("CLOCK_REALTIME", &real, get(CLOCK_REALTIME));
			back("CLOCK_MONOTONIC_RAW", &raw, get(CLOCK_MONOTONIC_RAW));
		}
		back("CLOCK_BOOTTIME", &boot, get(CLOCK_BOOTTIME));
		back("system call", &sys, get_syscall(CLOCK_MONOTONIC));
		if (get(CLOCK_MONOTONIC) < sys) {
			printf("clocks: the vDSO is behind the system call\n");
			bad++;
		}
	}
	sample(&m1, &r1, &w1);
	printf("clock end %.6f\n", m1);
	if ((r1 - r0) / (m1 - m0) > 1.01 || (r1 - r0) / (m1 - m0) < 0.99 ||
	    (w1 - w0) / (m1 - m0) > 1.01 || (w1 - w0) / (m1 - m0) < 0.99) {
		printf("clocks: monotonic %.6f, raw %.6f, wall %.6f s\n", m1 - m0, r1 - r0, w1 - w0);
		bad++;
	}
	printf("%s clocks %.6f\n", bad ? "FAIL" : "PASS", m1 - m0);
	return bad != 0;
}
