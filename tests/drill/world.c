/* The drill's own cage: user, PID, mount, network, IPC and UTS namespaces, a file system
 * that holds nothing but the guest kernel and /proc, and limits. A hole that the drill
 * finds hurts nobody else. Its first process is the init of the PID namespace: whatever a
 * machine leaves behind is its child. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "tests/drill/drill.h"

#define ALL_SPACES (CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS)

static void skip(const char *what)
{
	printf("the host does not let the drill lock itself in: %s: %s\n", what, strerror(errno));
	exit(77);
}

static char *load(const char *path, size_t *len)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char *p;

	if (fd < 0 || fstat(fd, &st) < 0 || !(p = malloc((size_t)st.st_size)) ||
	    read(fd, p, (size_t)st.st_size) != st.st_size) {
		fprintf(stderr, "cannot read %s\n", path);
		exit(1);
	}
	close(fd);
	*len = (size_t)st.st_size;
	return p;
}

static bool store(const char *path, const void *p, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	bool ok = fd >= 0 && write(fd, p, len) == (ssize_t)len;

	if (fd >= 0)
		close(fd);
	return ok;
}

static void map_ids(unsigned uid, unsigned gid)
{
	char text[64];

	store("/proc/self/setgroups", "deny", 4);
	snprintf(text, sizeof(text), "0 %u 1", uid);
	if (!store("/proc/self/uid_map", text, strlen(text)))
		skip("user ids");
	snprintf(text, sizeof(text), "0 %u 1", gid);
	if (!store("/proc/self/gid_map", text, strlen(text)))
		skip("group ids");
}

static void limits(void)
{
	static const struct { int which; u64 max; } rows[] = {
		{ RLIMIT_CORE, 0 }, { RLIMIT_CPU, 600 }, { RLIMIT_FSIZE, 4UL << 30 }, { RLIMIT_NOFILE, 256 },
		{ RLIMIT_NPROC, 400 }, { RLIMIT_AS, 2UL << 40 }, { RLIMIT_MEMLOCK, 0 },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct rlimit r = { rows[i].max, rows[i].max };
		setrlimit(rows[i].which, &r);
	}
}

/* An empty root with /proc, and the terminals that stand for the user's. */
static void enter_root(void)
{
	if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 || mount("drill", "/tmp", "tmpfs", 0, "size=256m") < 0 ||
	    chdir("/tmp") < 0 || mkdir("proc", 0700) < 0 || mkdir("pts", 0700) < 0)
		skip("file systems");
	if (mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
		skip("/proc");
	if (mount("devpts", "pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666") < 0)
		skip("terminals");
	if (syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		skip("pivot_root");
}

static void wait_for(pid_t pid)
{
	int status = 0;

	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		continue;
	if (WIFSIGNALED(status))
		printf("FAIL  the drill itself was killed by signal %d\n", WTERMSIG(status));
	exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
}

void world_enter(const char *guest)
{
	unsigned uid = getuid(), gid = getgid();
	size_t len;
	char *image = load(guest, &len);
	pid_t pid;

	if (unshare(ALL_SPACES) < 0)
		skip("unshare");
	map_ids(uid, gid);
	fflush(stdout);
	pid = fork();
	if (pid < 0)
		skip("fork");
	if (pid)
		wait_for(pid);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	enter_root();
	limits();
	if (!store(GUEST_FILE, image, len))
		skip("the guest kernel");
	free(image);
}

/* --- processes ---------------------------------------------------------------------------- */
static char state_of(const char *pid)
{
	char path[64], text[256] = "", *p;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%.20s/stat", pid);
	f = fopen(path, "r");
	if (!f)
		return 'Z';
	if (!fgets(text, sizeof(text), f))
		text[0] = 0;
	fclose(f);
	p = strrchr(text, ')');
	return p && p[1] ? p[2] : 'Z';
}

unsigned world_processes(void)
{
	DIR *d = opendir("/proc");
	struct dirent *e;
	unsigned n = 0;

	while (d && (e = readdir(d))) {
		if (!isdigit((unsigned char)e->d_name[0]) || atoi(e->d_name) == getpid() ||
		    atoi(e->d_name) == victim_pid)
			continue;
		n += state_of(e->d_name) != 'Z';
	}
	if (d)
		closedir(d);
	return n;
}

void world_reap(void)
{
	while (waitpid(-1, NULL, WNOHANG) > 0)
		continue;
}

/* --- the victim --------------------------------------------------------------------------- */
i32 victim_pid;
static volatile u64 *victim_memory; /* shared: the secret, and signs of life */
#define SECRET 0x5ec2e75ec2e75ec2

static void victim_main(void)
{
	struct sigaction ignore = { .sa_handler = SIG_DFL };

	sigaction(SIGTERM, &ignore, NULL);
	for (;;) {
		victim_memory[1]++;
		usleep(5000);
	}
}

void world_start_victim(void)
{
	victim_memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	victim_memory[0] = SECRET;
	victim_pid = fork();
	if (victim_pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		victim_main();
	}
}

bool victim_unharmed(void)
{
	u64 before = victim_memory[1];

	for (int i = 0; i < 400 && victim_memory[1] == before; i++)
		usleep(5000);
	return victim_memory[0] == SECRET && victim_memory[1] != before && kill(victim_pid, 0) == 0;
}
