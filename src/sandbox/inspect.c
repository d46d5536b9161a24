/* Looks at a freshly started view from outside, before any guest code runs in it: that
 * its system calls are filtered, its privileges given up, its descriptors those that
 * are listed, and its address space empty but for the zone. The view is held still with
 * ptrace meanwhile; where the host refuses that, or another process traces it for its
 * traps, it waits for its turn anyway and only the checks in /proc are made. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include "internal.h"
#include "shadowbox/log.h"

static int fail(char *err, size_t errlen, unsigned slot, const char *what)
{
	snprintf(err, errlen, "view %u is not confined: %s", slot, what);
	return -EPERM;
}

static FILE *open_proc(pid_t pid, const char *file)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	return fopen(path, "re");
}

/* Has its system call filter been installed? */
bool view_is_filtered(pid_t pid)
{
	FILE *f = open_proc(pid, "status");
	bool filtered = false;
	char line[256];

	while (f && fgets(line, sizeof(line), f))
		filtered |= !strcmp(line, "Seccomp:\t2\n");
	if (f)
		fclose(f);
	return filtered;
}

static int check_status(unsigned slot, pid_t pid, char *err, size_t errlen)
{
	bool privs = false, traced = !sandbox.tracer;
	FILE *f = open_proc(pid, "status");
	char line[256], tracer[40];

	snprintf(tracer, sizeof(tracer), "TracerPid:\t%d\n", (int)sandbox.tracer);
	while (f && fgets(line, sizeof(line), f)) {
		privs |= !strcmp(line, "NoNewPrivs:\t1\n");
		traced |= !strcmp(line, tracer);
	}
	if (f)
		fclose(f);
	if (!view_is_filtered(pid))
		return fail(err, errlen, slot, "no system call filter");
	if (!traced)
		return fail(err, errlen, slot, "nobody takes its traps");
	return privs ? 0 : fail(err, errlen, slot, "it may gain privileges");
}

static int check_descriptors(unsigned slot, pid_t pid, char *err, size_t errlen)
{
	char path[64];
	unsigned found = 0;
	struct dirent *e;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	d = opendir(path);
	if (!d)
		return fail(err, errlen, slot, "its descriptors cannot be listed");
	while ((e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		int fd = atoi(e->d_name);
		found |= fd == VIEW_RAM_FD ? 1u : fd == VIEW_NOTIFY_FD ? 2u :
			 fd == VIEW_UFFD_FD && sandbox.uffd ? 4u : 8u;
	}
	closedir(d);
	return found == (sandbox.uffd ? 7 : 3) ? 0 : fail(err, errlen, slot, "wrong descriptors");
}

static int check_maps(unsigned slot, pid_t pid, char *err, size_t errlen)
{
	unsigned outside = 0, lines = 0;
	FILE *f = open_proc(pid, "maps");
	char line[512], perms[8];
	bool bad = false;
	u64 start, end;

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx %7s", &start, &end, perms) != 3)
			continue;
		lines++;
		bad |= perms[1] == 'w' && perms[2] == 'x';
		if (start >> 47) /* the vsyscall page belongs to no address space */
			continue;
		outside += start < ZONE_BASE || end > ZONE_END;
	}
	if (f)
		fclose(f);
	if (!lines)
		return fail(err, errlen, slot, "its mappings cannot be listed");
	if (bad)
		return fail(err, errlen, slot, "a mapping is writable and executable");
	return outside <= sandbox.kept_mappings ? 0 : fail(err, errlen, slot, "mappings outside the zone");
}

/* True if the view is stopped and must be released. */
static bool hold(pid_t pid)
{
	int status;

	if (sandbox.no_ptrace || sandbox.tracer)
		return false;
	if (ptrace(PTRACE_SEIZE, pid, 0, 0) < 0) {
		log_msg(LOG_CONFIG, "config: ptrace: refused (%s); views are checked by /proc alone\n",
			strerror(errno));
		sandbox.no_ptrace = true;
		return false;
	}
	if (ptrace(PTRACE_INTERRUPT, pid, 0, 0) < 0 || waitpid(pid, &status, __WALL) != pid)
		return false;
	return WIFSTOPPED(status);
}

int view_inspect(unsigned slot, pid_t pid, char *err, size_t errlen)
{
	static int (*const checks[])(unsigned, pid_t, char *, size_t) = { check_status, check_descriptors, check_maps };
	bool held = hold(pid);
	int rc = 0;

	for (size_t i = 0; i < ARRAY_LEN(checks) && rc == 0; i++)
		rc = checks[i](slot, pid, err, errlen);
	if (held && ptrace(PTRACE_DETACH, pid, 0, 0) < 0 && rc == 0)
		rc = fail(err, errlen, slot, "it cannot be released");
	return rc;
}
