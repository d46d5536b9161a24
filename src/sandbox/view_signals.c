/* Signal handlers of a view: dispositions and the first C code. What a signal means for
 * the guest is decided in dbt/fault.c. */
#define _GNU_SOURCE
#include <signal.h>
#include <ucontext.h>
#include "shadowbox/log.h"
#include "shadowbox/sandbox.h"
#include "shadowbox/sys.h"

void fault_async(ucontext_t *uc);
void fault_step(ucontext_t *uc);
void fault_host(int sig, ucontext_t *uc);
void fault_syscall(const siginfo_t *si, ucontext_t *uc);
void fault_leave(ucontext_t *uc);
void profile_sample(const ucontext_t *uc);
void profile_handled(void);

extern void signal_entry(void), signal_entry_plain(void), signal_restorer(void);
void view_signal(int sig, siginfo_t *si, ucontext_t *uc);

void view_signal(int sig, siginfo_t *si, ucontext_t *uc)
{
	*VIEW_SELECTOR = SELECT_ALLOW;
	switch (sig) {
	case VIEW_PROF_SIGNAL:
		profile_sample(uc);
		fault_async(uc);
		break;
	case VIEW_TIMER_SIGNAL:
	case VIEW_KICK_SIGNAL:
		fault_async(uc);
		break;
	case SIGSYS:
		fault_syscall(si, uc);
		break;
	case SIGTRAP:
		fault_step(uc);
		break;
	default:
		fault_host(sig, uc);
	}
	fault_leave(uc);
	if (log_on(LOG_PROF) && sig != VIEW_PROF_SIGNAL)
		profile_handled();
}

struct kernel_sigaction {
	void (*handler)(void);
	u64 flags;
	void (*restorer)(void);
	u64 mask;
};
#define SA_RESTORER_FLAG 0x04000000UL

void signals_install(unsigned slot)
{
	static const int signals[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, VIEW_TIMER_SIGNAL, VIEW_KICK_SIGNAL,
				       VIEW_PROF_SIGNAL };
	struct kernel_sigaction sa = {
		.handler = ARENA->host.pkeys ? signal_entry : signal_entry_plain,
		.flags = SA_SIGINFO | SA_ONSTACK | SA_RESTORER_FLAG,
		.restorer = signal_restorer,
		.mask = ~0UL,
	};

	(void)slot;
	for (size_t i = 0; i < ARRAY_LEN(signals); i++)
		sys_rt_sigaction(signals[i], &sa, 0, 8);
}
