/* One run of the whole program, in a child, on a terminal of its own, with an attack in one
 * of its views: how it ended, what it said, what it left behind. */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>
#include "src/sandbox/internal.h"
#include "tests/drill/drill.h"

int __real_main(int argc, char **argv);
int __real_sandbox_start(char *err, size_t errlen);
int __wrap_sandbox_start(char *err, size_t errlen);

#define UNASKED_MS 400  /* how long an attack goes on before the user wants an end */
#define END_MS 6000     /* and how soon that must come */
#define PROCESS_MAX (1 + 1 + VIEW_MAX) /* monitor, zygote, views */
#define TABLES_MAX (1UL << 20) /* KiB of page tables that views of one machine may have */

/* In the monitor: each boot has its own zygote. */
int __wrap_sandbox_start(char *err, size_t errlen)
{
	drill.boots++;
	return __real_sandbox_start(err, errlen);
}

struct run {
	const struct attack *attack;
	pid_t pid;
	int tty;          /* the user's side of its terminal */
	int status;
	bool ended, asked, late;
	unsigned processes; /* most at any time */
	u64 tables_kib;
	u32 *panics;
};

static long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* --- the child ----------------------------------------------------------------------------- */
static void child(const struct run *r, int sub)
{
	char *args[] = { "shadowbox", "-m", "64M", "-nographic", "-kernel", GUEST_FILE, NULL, NULL, NULL, NULL };
	int n = 6, err = open(ERROR_FILE, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600);

	if (!(r->attack->flags & WITH_RESET))
		args[n++] = "-no-reboot";
	if (r->attack->flags & WITH_STATS) {
		args[n++] = "-d";
		args[n++] = "stats";
	}
	setsid();
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	dup2(sub, 0);
	dup2(sub, 1);
	dup2(err, 2);
	drill.monitor = getpid();
	drill.monitor_panics = r->panics;
	exit(__real_main(n, args));
}

static int open_terminal(int *sub)
{
	int tty = open("/pts/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC), n = 0, unlock = 0;
	char path[32];

	if (tty < 0 || ioctl(tty, TIOCSPTLCK, &unlock) < 0 || ioctl(tty, TIOCGPTN, &n) < 0)
		return -1;
	snprintf(path, sizeof(path), "/pts/%d", n);
	*sub = open(path, O_RDWR | O_NOCTTY);
	return *sub < 0 ? -1 : tty;
}

/* --- watching ------------------------------------------------------------------------------- */
static u64 tables_of(pid_t pid)
{
	char path[64], line[128];
	u64 kib = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "VmPTE: %lu", &kib) == 1)
			break;
	if (f)
		fclose(f);
	return kib;
}

/* The machine's processes are this one's descendants, or have been. */
static void look(struct run *r)
{
	unsigned n = world_processes();
	u64 tables = 0;

	if (n > r->processes)
		r->processes = n;
	for (pid_t pid = r->pid; n && pid < r->pid + 2 * PROCESS_MAX; pid++)
		tables += tables_of(pid);
	if (tables > r->tables_kib)
		r->tables_kib = tables;
}

static void drain(const struct run *r)
{
	char buf[65536];

	while (read(r->tty, buf, sizeof(buf)) > 0)
		continue;
}

/* True if it has ended within that time. */
static bool watch(struct run *r, int ms)
{
	long end = now_ms() + ms;
	int turn = 0;

	while (!r->ended && now_ms() < end) {
		if (waitpid(r->pid, &r->status, WNOHANG) == r->pid)
			r->ended = true;
		drain(r);
		if (turn++ % 8 == 0 && !r->ended)
			look(r);
		usleep(1000);
	}
	return r->ended;
}

static void ask(struct run *r, bool by_key)
{
	r->asked = true;
	if (!by_key)
		kill(r->pid, SIGTERM);
	else if (write(r->tty, "\001x", 2) != 2)
		perror("terminal");
}

/* What is left half a second after the end. */
static unsigned left_behind(void)
{
	unsigned n = 0;

	for (int i = 0; i < 100; i++) {
		world_reap();
		n = world_processes();
		if (!n)
			break;
		usleep(5000);
	}
	return n;
}

static void kill_all(void)
{
	kill(victim_pid, SIGSTOP);
	for (pid_t pid = 2; pid < 60000; pid++)
		if (pid != victim_pid)
			kill(pid, SIGKILL);
	kill(victim_pid, SIGCONT);
	usleep(50000);
	world_reap();
}

/* --- judging -------------------------------------------------------------------------------- */
struct said { unsigned lines; bool wanted, dirty; char last[160]; };

/* The lines that are the program's own; whether one says what is wanted. */
static struct said read_errors(const char *want)
{
	struct said s = { 0 };
	char line[4096];
	FILE *f = fopen(ERROR_FILE, "r");

	while (f && fgets(line, sizeof(line), f)) {
		if (strncmp(line, "shadowbox: ", 11))
			continue;
		line[strcspn(line, "\n")] = 0;
		s.lines++;
		/* Others come from views' log, which goes out as it is, like the serial port. */
		if (strstr(line, "(process ") || strstr(line, "the machine has stopped"))
			for (char *p = line; *p; p++)
				s.dirty |= !isprint((unsigned char)*p);
		if (want && strstr(line, want))
			s.wanted = true;
		snprintf(s.last, sizeof(s.last), "%.150s", line + 11);
	}
	if (f)
		fclose(f);
	return s;
}

#define WRONG(...) do { o->ok = false; snprintf(o->got, sizeof(o->got), __VA_ARGS__); return; } while (0)

static void judge(const struct run *r, const struct said *s, unsigned left, struct outcome *o)
{
	const struct attack *a = r->attack;
	int code = WEXITSTATUS(r->status);

	if (r->late)
		WRONG("no end within %d ms%s", END_MS, r->asked ? " of being asked" : "");
	if (*r->panics)
		WRONG("an assertion failed in the monitor: %.100s", s->last);
	if (WIFSIGNALED(r->status))
		WRONG("the monitor died of signal %d", WTERMSIG(r->status));
	if (left)
		WRONG("%u processes left behind", left);
	if (r->processes > PROCESS_MAX)
		WRONG("%u processes at once", r->processes);
	if (r->tables_kib > TABLES_MAX)
		WRONG("%lu MiB of page tables", r->tables_kib >> 10);
	if (s->dirty)
		WRONG("control characters in the report: %.100s", s->last);
	if (a->end == END_ITSELF && !(a->flags & ANY_CODE) && code != 1)
		WRONG("exit code %d: %.100s", code, s->last);
	if (a->want && !s->wanted)
		WRONG("no '%s' in: %.100s", a->want, s->last);
	/* A report is short, whatever happens; views that do not start or end meanwhile have a line each. */
	if (s->lines > 16 || (!s->lines && !(a->flags & QUIET) && code))
		WRONG("%u lines of report, exit code %d", s->lines, code);
	if (!victim_unharmed())
		WRONG("a process outside was harmed");
	o->ok = true;
	snprintf(o->got, sizeof(o->got), "%s%s%.100s", r->asked ? "ended when asked" : "ended", *s->last ? ": " : "", s->last);
}

void machine_run(const struct attack *a, u64 seed, bool by_key, struct outcome *o)
{
	struct run r = { .attack = a };
	struct said s;
	unsigned left;
	int sub = -1;

	r.panics = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	r.tty = open_terminal(&sub);
	if (r.tty < 0) {
		o->ok = false;
		snprintf(o->got, sizeof(o->got), "no terminal: %s", strerror(errno));
		return;
	}
	drill = (struct drill){ .attack = a, .seed = seed };
	fflush(stdout);
	unlink(ERROR_FILE);
	r.pid = fork();
	if (r.pid == 0)
		child(&r, sub);
	close(sub);
	if (!watch(&r, a->end == END_ITSELF ? END_MS : a->flags & SLOW ? 8 * UNASKED_MS : UNASKED_MS) && a->end == END_ASKED) {
		ask(&r, by_key);
		watch(&r, END_MS);
	}
	r.late = !r.ended;
	if (r.late)
		kill(r.pid, SIGKILL), waitpid(r.pid, &r.status, 0);
	left = left_behind();
	s = read_errors(a->want);
	judge(&r, &s, left, o);
	if (left)
		kill_all();
	close(r.tty);
	munmap(r.panics, 4096);
}
