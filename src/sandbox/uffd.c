/* userfaultfd as a way to trace pages: write protection of single pages without splitting
 * the host's mappings. Only write protection is asked for, only for faults of user code
 * (which needs no privilege), and a write to a protected page is a SIGBUS of the thread
 * itself: nobody ever reads the descriptor. */
#include <errno.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include "internal.h"
#include "shadowbox/sys.h"

#define FEATURES (UFFD_FEATURE_SIGBUS | UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_HUGETLBFS_SHMEM)

int uffd_open(void)
{
	struct uffdio_api api = { .api = UFFD_API, .features = FEATURES };
	int fd = (int)sys_userfaultfd(UFFD_USER_MODE_ONLY);
	int rc;

	if (fd < 0)
		return fd;
	rc = (int)sys_ioctl(fd, UFFDIO_API, &api);
	if (rc == 0)
		rc = (int)sys_call3(SYS_dup2, (u64)fd, VIEW_UFFD_FD, 0);
	if (fd != VIEW_UFFD_FD)
		sys_close(fd);
	return rc;
}

/* --- the probe ----------------------------------------------------------------------- */
static void on_fault(int sig)
{
	_exit(sig == SIGBUS ? 0 : ENOSYS);
}

/* A page of the guest's memory (still zero) as views map it: protected, with a write that
 * must not go through. The exit code is an errno. */
NORETURN static void probe_child(void)
{
	struct uffdio_writeprotect wp = { .range.len = PAGE_SIZE, .mode = UFFDIO_WRITEPROTECT_MODE_WP };
	struct uffdio_register reg = { .range.len = PAGE_SIZE, .mode = UFFDIO_REGISTER_MODE_WP };
	long rc = uffd_open();
	volatile char *at;
	u64 open = 0;

	if (rc < 0)
		_exit((int)-rc);
	at = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, sandbox.ram_fd, 0);
	if (at == MAP_FAILED)
		_exit(ENOMEM);
	reg.range.start = wp.range.start = (u64)at;
	rc = sys_ioctl(VIEW_UFFD_FD, UFFDIO_REGISTER, &reg);
	if (rc == 0)
		rc = sys_ioctl(VIEW_UFFD_FD, UFFDIO_WRITEPROTECT, &wp);
	if (rc < 0)
		_exit((int)-rc);
	signal(SIGBUS, on_fault);
	signal(SIGSEGV, on_fault);
	sys_rt_sigprocmask(SIG_SETMASK, &open, NULL);
	*at = 0;
	_exit(ENOSYS);
}

int uffd_probe(void)
{
	pid_t pid = fork();
	int status = 0;

	if (pid == 0)
		probe_child();
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -errno;
	return WIFEXITED(status) ? -WEXITSTATUS(status) : -ENOSYS;
}
