/* Raw system calls of the host, for code that has no libc: views, and the zygote once
 * it has dropped the vDSO. Results are the kernel's: negative errno on failure.
 * Addresses are u64, as the code that deals in guest and host addresses has them.
 * Which of these a confined view may make, and with which arguments, says the table in
 * sandbox/seccomp.c. */
#pragma once
#include <sys/syscall.h>
#include "shadowbox/types.h"

static inline long sys_call6(long nr, u64 a, u64 b, u64 c, u64 d, u64 e, u64 f)
{
	register u64 r10 __asm__("r10") = d;
	register u64 r8 __asm__("r8") = e;
	register u64 r9 __asm__("r9") = f;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}
static inline long sys_call4(long nr, u64 a, u64 b, u64 c, u64 d)
{
	register u64 r10 __asm__("r10") = d;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10)
			 : "rcx", "r11", "memory");
	return ret;
}
static inline long sys_call3(long nr, u64 a, u64 b, u64 c)
{
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c)
			 : "rcx", "r11", "memory");
	return ret;
}

/* --- memory --------------------------------------------------------------------- */
static inline long sys_mmap(u64 addr, u64 len, int prot, int flags, int fd, u64 off)
{
	return sys_call6(SYS_mmap, addr, len, prot, flags, fd, off);
}
static inline long sys_munmap(u64 addr, u64 len) { return sys_call3(SYS_munmap, addr, len, 0); }
static inline long sys_mprotect(u64 addr, u64 len, int prot)
{
	return sys_call3(SYS_mprotect, addr, len, prot);
}
static inline long sys_pkey_mprotect(u64 addr, u64 len, int prot, int key)
{
	return sys_call4(SYS_pkey_mprotect, addr, len, prot, key);
}
static inline long sys_pkey_alloc(u32 flags, u32 rights)
{
	return sys_call3(SYS_pkey_alloc, flags, rights, 0);
}
static inline long sys_pkey_free(int key) { return sys_call3(SYS_pkey_free, key, 0, 0); }
static inline long sys_madvise(u64 addr, u64 len, int advice)
{
	return sys_call3(SYS_madvise, addr, len, advice);
}

/* --- userfaultfd: its structures as in linux/userfaultfd.h, which needs no libc --------- */
static inline long sys_userfaultfd(int flags) { return sys_call3(SYS_userfaultfd, (u64)(i64)flags, 0, 0); }
static inline long sys_ioctl(int fd, u32 request, const void *arg)
{
	return sys_call3(SYS_ioctl, (u64)fd, request, (u64)arg);
}

/* --- waiting and time ----------------------------------------------------------- */
struct sys_timespec { i64 sec, nsec; };
struct sys_itimerspec { struct sys_timespec interval, value; };

/* The futexes lie in shared memory: never the PRIVATE operations. timeout: relative,
 * NULL for ever. */
static inline long sys_futex_wait(u32 *word, u32 expected, const struct sys_timespec *timeout)
{
	return sys_call4(SYS_futex, (u64)word, 0, expected, (u64)timeout);
}
static inline long sys_futex_wake(u32 *word, int count)
{
	return sys_call3(SYS_futex, (u64)word, 1, count);
}
static inline long sys_clock_gettime(int clock, struct sys_timespec *ts)
{
	return sys_call3(SYS_clock_gettime, clock, (u64)ts, 0);
}
static inline long sys_clock_nanosleep(int clock, int flags, const struct sys_timespec *ts)
{
	return sys_call4(SYS_clock_nanosleep, clock, flags, (u64)ts, 0);
}
static inline long sys_timer_create(int clock, void *sigevent, i32 *id)
{
	return sys_call3(SYS_timer_create, clock, (u64)sigevent, (u64)id);
}
static inline long sys_timer_settime(i32 id, int flags, const struct sys_itimerspec *value)
{
	return sys_call4(SYS_timer_settime, id, flags, (u64)value, 0);
}

/* --- signals and processes ------------------------------------------------------ */
static inline long sys_rt_sigaction(int sig, const void *act, void *old, size_t set_size)
{
	return sys_call4(SYS_rt_sigaction, sig, (u64)act, (u64)old, set_size);
}
static inline long sys_rt_sigprocmask(int how, const u64 *set, u64 *old)
{
	return sys_call4(SYS_rt_sigprocmask, how, (u64)set, (u64)old, 8);
}
static inline long sys_sigaltstack(const void *stack, void *old)
{
	return sys_call3(SYS_sigaltstack, (u64)stack, (u64)old, 0);
}
static inline long sys_getpid(void) { return sys_call3(SYS_getpid, 0, 0, 0); }
static inline long sys_getppid(void) { return sys_call3(SYS_getppid, 0, 0, 0); }
static inline long sys_gettid(void) { return sys_call3(SYS_gettid, 0, 0, 0); }
static inline long sys_tgkill(int pid, int tid, int sig)
{
	return sys_call3(SYS_tgkill, pid, tid, sig);
}
/* A plain fork with these clone flags: the child goes on on a copy of this stack. The system
 * call takes no sixth argument; who traces the child finds `tag` there. */
static inline long sys_fork(u64 flags, u64 tag) { return sys_call6(SYS_clone, flags, 0, 0, 0, 0, tag); }
static inline long sys_prctl(int op, u64 a, u64 b, u64 c, u64 d) { return sys_call6(SYS_prctl, op, a, b, c, d, 0); }
static inline long sys_arch_prctl(int code, u64 value)
{
	return sys_call3(SYS_arch_prctl, code, value, 0);
}
static inline long sys_seccomp(u32 op, u32 flags, const void *arg)
{
	return sys_call3(SYS_seccomp, op, flags, (u64)arg);
}
NORETURN static inline void sys_exit_group(int code)
{
	for (;;)
		sys_call3(SYS_exit_group, code, 0, 0);
}

/* --- descriptors ---------------------------------------------------------------- */
static inline long sys_read(int fd, void *buf, size_t len) { return sys_call3(SYS_read, fd, (u64)buf, len); }
static inline long sys_write(int fd, const void *buf, size_t len)
{
	return sys_call3(SYS_write, fd, (u64)buf, len);
}
static inline long sys_close(int fd) { return sys_call3(SYS_close, fd, 0, 0); }
static inline long sys_close_range(u32 first, u32 last) { return sys_call3(SYS_close_range, first, last, 0); }
