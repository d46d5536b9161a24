/* Shared by the files of this folder that run outside confined views. */
#pragma once
#include <sys/types.h>
#include "shadowbox/sandbox.h"
#include "shadowbox/shadow.h"
#include "trap.h"

/* What the monitor holds; the zygote starts with a copy. */
struct sandbox {
	int ram_fd, arena_fd, code_fd, hot_fd, event_fd;
	int sock;             /* to the zygote */
	pid_t zygote, monitor;
	u64 ram_end;          /* of guest RAM in the memfd */
	u64 ram_size;         /* of the memfd, with the patched copies of code pages */
	pid_t tracer;         /* 0: none, the views handle signals themselves */
	u32 kept_mappings;    /* outside the zone, which the kernel would not unmap */
	bool no_ptrace;       /* the host refuses it; said once */
	/* What the arena says of these is for information: views can write it. */
	pid_t view[VIEW_MAX]; /* 0: none */
	bool started[VIEW_MAX]; /* since sandbox_start */
	struct host_caps host;
	bool uffd;            /* views have a userfaultfd */
	struct policy policy;
};
extern struct sandbox sandbox;

/* Layout of the memfd behind HOT_HVA. */
#define HOT_OFF_VCPU 0UL
#define HOT_VCPU_SIZE 0x8000UL
#define HOT_OFF_BOUNCE 0x8000UL
#define HOT_BOUNCE_SIZE 0x2000UL
#define HOT_OFF_TABLE_K 0x100000UL
#define HOT_OFF_TABLES_U 0x210000UL
#define HOT_OFF_QUICK (HOT_OFF_TABLES_U + VIEW_MAX * TABLE_SIZE)
#define HOT_QUICK_SIZE (QUICK_ENTRIES * sizeof(struct quick_entry) + PAGE_SIZE) /* and the stores */
#define HOT_OFF_TRAPS (HOT_OFF_QUICK + HOT_QUICK_SIZE)
#define HOT_SIZE (HOT_OFF_TRAPS + VIEW_MAX * (u64)TRAP_STACK_SIZE)
/* The tracer's mapping of all views' signal stacks. */
#define TRAPS_HVA (TABLES_U_HVA + 0x10000000UL)
#define ARENA_SIZE 0x40000000UL

/* First message of the zygote. */
struct zygote_hello {
	i32 error;         /* negative errno of a step that must not fail ... */
	char step[40];     /* ... and its name */
	u32 namespaces;    /* bit per row of namespace_table that was entered */
	u32 kept_mappings;
	i32 rseq_error;
};
#define ZYGOTE_SOCK_FD 5
#define ZYGOTE_HOT_FD 6

struct namespace_row { int flag; const char *name; };
extern const struct namespace_row namespace_table[5];

NORETURN void zygote_main(int sock);

/* probe.c */
void probe_host(const struct policy *policy);
/* Where signal frames lie: depends on whether the host can write to a denied stack. */
void probe_sigstack_key(struct host_caps *h);
/* affinity.c */
void affinity_init(const struct policy *policy);
void affinity_view_started(unsigned slot);
/* seccomp.c: confines the calling thread for ever; uffd: it has a userfaultfd. 0 or
 * negative errno. */
int seccomp_confine(bool uffd) MUST_CHECK;
int seccomp_confine_tracer(void) MUST_CHECK;
/* uffd.c: a userfaultfd of this process that can protect shared memory against writes, and
 * tells of them by SIGBUS, on descriptor VIEW_UFFD_FD. Negative errno on failure. */
int uffd_open(void) MUST_CHECK;
/* Tries it out in a child. 0 or negative errno. */
int uffd_probe(void) MUST_CHECK;
/* tracer.c: forks the tracer, which waits; before the zygote, which names it as the one
 * that may trace it. A descriptor, or negative errno. */
int tracer_fork(void) MUST_CHECK;
/* Has it trace the zygote. Takes the descriptor. 0 or negative errno. */
int tracer_attach(int sock) MUST_CHECK;
/* inspect.c: looks at a started, not yet running view from outside. */
int view_inspect(unsigned slot, pid_t pid, char *err, size_t errlen) MUST_CHECK;
bool view_is_filtered(pid_t pid);
/* view.c: the confined part of a view's start; waits for the inspection and its turn. */
NORETURN void view_run(unsigned slot);
void view_log_sink(const char *text, size_t len);
void view_panic(void);
