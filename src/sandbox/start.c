/* The monitor's side of views: starting, waking, waiting for and ending them.
 *
 * Every view is the monitor's own child and dies with it (parent-death signal); so does
 * the zygote, which also ends when its socket closes. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "internal.h"
#include "shadowbox/log.h"
#include "shadowbox/sys.h"

#define START_TIMEOUT_MS 20000

static int receive(void *buf, size_t len)
{
	struct pollfd p = { .fd = sandbox.sock, .events = POLLIN };
	ssize_t n;

	for (;;) {
		int rc = poll(&p, 1, START_TIMEOUT_MS);
		if (rc < 0 && errno == EINTR)
			continue;
		if (rc <= 0)
			return rc ? -errno : -ETIMEDOUT;
		n = recv(sandbox.sock, buf, len, 0);
		if (n < 0 && errno == EINTR)
			continue;
		return n < 0 ? -errno : (size_t)n == len ? 0 : -EPIPE;
	}
}

static void log_zygote(const struct zygote_hello *h)
{
	char text[128] = "";

	if (!log_on(LOG_CONFIG))
		return;
	for (size_t i = 0; i < ARRAY_LEN(namespace_table); i++)
		if (h->namespaces & 1u << i) {
			strcat(text, " ");
			strcat(text, namespace_table[i].name);
		}
	log_printf("config: namespaces of views of their own:%s\n", *text ? text : " none (refused)");
	log_printf("config: restartable sequences: %s\n", h->rseq_error ? "cannot be unregistered" : "off");
	if (h->kept_mappings)
		log_printf("config: %u mappings (vDSO) cannot be removed from views\n", h->kept_mappings);
}

/* SIGKILL and wait; nothing if there is none. */
static void end_process(pid_t *pid)
{
	if (*pid > 0) {
		kill(*pid, SIGKILL);
		waitpid(*pid, NULL, __WALL);
	}
	*pid = 0;
}

static int start_zygote(char *err, size_t errlen)
{
	struct sandbox *s = &sandbox;
	struct zygote_hello h;
	int pair[2], rc;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
		snprintf(err, errlen, "cannot create a socket pair: %s", strerror(errno));
		return -errno;
	}
	s->zygote = fork();
	if (s->zygote == 0)
		zygote_main(pair[1]);
	close(pair[1]);
	if (s->zygote < 0) {
		rc = -errno;
		close(pair[0]);
		s->zygote = 0;
		snprintf(err, errlen, "cannot fork: %s", strerror(-rc));
		return rc;
	}
	s->sock = pair[0];
	rc = receive(&h, sizeof(h));
	if (rc == 0 && h.error)
		rc = h.error;
	if (rc < 0) {
		snprintf(err, errlen, "the parent of views cannot start: %s%s%s", rc == h.error ? h.step : "",
			 rc == h.error ? ": " : "", strerror(-rc));
		return rc;
	}
	s->kept_mappings = h.kept_mappings;
	log_zygote(&h);
	return 0;
}

/* Without a tracer, though one is wanted: an error if it was asked for; where it was only
 * the better choice, signals have to do. */
static int without_tracer(int rc, char *err, size_t errlen)
{
	snprintf(err, errlen, "traps=ptrace: this host does not let one process trace another: %s "
		 "(kernel.yama.ptrace_scope, or a container's system call filter?)", strerror(-rc));
	if (sandbox.policy.traps == TRAPS_PTRACE)
		return rc;
	log_msg(LOG_CONFIG, "config: %s; traps come as signals\n", err);
	sandbox.host.traps = TRAPS_SIGNAL;
	probe_sigstack_key(&sandbox.host);
	sandbox.host.native &= sandbox.host.key_sigstack == sandbox.host.key_zone; /* as in probe_host */
	ARENA->host = sandbox.host;
	/* The zygote has a copy of how it was before. */
	sandbox_kill_all();
	return start_zygote(err, errlen);
}

int sandbox_start(char *err, size_t errlen)
{
	bool trace = sandbox.host.traps == TRAPS_PTRACE;
	int sock = -1, rc = 0;

	sandbox.monitor = getpid();
	affinity_init(&sandbox.policy);
	if (trace)
		sock = tracer_fork();
	if (trace && sock < 0) {
		snprintf(err, errlen, "cannot fork: %s", strerror(-sock));
		return sock;
	}
	rc = start_zygote(err, errlen);
	if (rc < 0) {
		if (trace)
			close(sock);
	} else if (trace) {
		rc = tracer_attach(sock);
		if (rc < 0)
			rc = without_tracer(rc, err, errlen);
	}
	if (rc < 0)
		sandbox_kill_all();
	return rc;
}

/* --- one view ------------------------------------------------------------------------ */
/* Until the view has confined itself. It says so in the arena, where other views can hide it;
 * the host's word counts as well. */
static int await_confined(struct view_slot *v, unsigned slot, char *err, size_t errlen)
{
	pid_t *pid = &sandbox.view[slot];
	const struct sys_timespec tick = { 0, 50000000 };
	int status;

	for (int left = START_TIMEOUT_MS; left > 0; left -= 50) {
		if (__atomic_load_n(&v->state, __ATOMIC_SEQ_CST) == VIEW_STARTING)
			return 0;
		if (waitpid(*pid, &status, WNOHANG) == *pid) {
			snprintf(err, errlen, "view %u ended while it started (%s %d)", slot,
				 WIFSIGNALED(status) ? "signal" : "exit code",
				 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
			*pid = 0;
			return -ECHILD;
		}
		sys_futex_wait(&v->state, VIEW_NONE, &tick);
		if (view_is_filtered(*pid))
			return 0;
	}
	snprintf(err, errlen, "view %u does not start", slot);
	return -ETIMEDOUT;
}

static void set_state(struct view_slot *v, enum view_state state)
{
	__atomic_store_n(&v->state, state, __ATOMIC_SEQ_CST);
	sys_futex_wake(&v->state, 1);
}

int sandbox_start_view(unsigned slot, char *err, size_t errlen)
{
	struct view_slot *v = &ARENA->view[slot];
	u32 request = slot;
	i32 pid;
	int rc;

	sb_assert(slot < VIEW_MAX && !sandbox.started[slot]);
	sandbox.started[slot] = true;
	set_state(v, VIEW_NONE);
	if (send(sandbox.sock, &request, sizeof(request), MSG_NOSIGNAL) != sizeof(request))
		rc = -errno;
	else
		rc = receive(&pid, sizeof(pid));
	if (rc == 0 && pid < 0)
		rc = pid;
	if (rc < 0) {
		snprintf(err, errlen, "cannot fork a view: %s", strerror(-rc));
		set_state(v, VIEW_DEAD);
		return rc;
	}
	v->pid = sandbox.view[slot] = pid;
	affinity_view_started(slot);
	rc = await_confined(v, slot, err, errlen);
	if (rc == 0)
		rc = view_inspect(slot, pid, err, errlen);
	if (rc < 0) {
		end_process(&sandbox.view[slot]);
		set_state(v, VIEW_DEAD);
		return rc;
	}
	set_state(v, VIEW_CHECKED);
	set_state(v, VIEW_READY);
	return 0;
}

/* --- all of them --------------------------------------------------------------------- */
void sandbox_kick(void)
{
	struct arena *a = ARENA;
	unsigned slot;

	__atomic_store_n(&VCPU->event_pending, 1, __ATOMIC_SEQ_CST);
	__atomic_fetch_add(&a->hlt_futex, 1, __ATOMIC_SEQ_CST);
	sys_futex_wake(&a->hlt_futex, 1);
	slot = __atomic_load_n(&a->running_view, __ATOMIC_SEQ_CST) % VIEW_MAX;
	if (sandbox.view[slot] > 0 && a->view[slot].state == VIEW_READY)
		kill(sandbox.view[slot], VIEW_KICK_SIGNAL);
}

void sandbox_kill_all(void)
{
	struct sandbox *s = &sandbox;

	/* The tracer takes the others with it, and no other's end waits for it then. Next the
	 * zygote: what it was asked for last must not come after. */
	end_process(&s->tracer);
	end_process(&s->zygote);
	if (s->sock >= 0)
		close(s->sock);
	s->sock = -1;
	for (unsigned i = 0; i < VIEW_MAX; i++)
		if (s->view[i] > 0)
			kill(s->view[i], SIGKILL);
	for (unsigned i = 0; i < VIEW_MAX; i++) {
		if (s->view[i] > 0)
			ARENA->view[i].state = VIEW_NONE;
		end_process(&s->view[i]);
		s->started[i] = false;
	}
}

bool sandbox_view_started(unsigned slot) { return sandbox.started[slot]; }
int sandbox_zygote_fd(void) { return sandbox.sock; }
int sandbox_event_fd(void) { return sandbox.event_fd; }

static void tell_end(char *what, size_t len, const char *who, int status)
{
	int sig = WIFSIGNALED(status) ? WTERMSIG(status) : 0;

	if (sig == SIGSYS)
		snprintf(what, len, "%s was killed for a forbidden system call", who);
	else if (sig)
		snprintf(what, len, "%s was killed by signal %d (%s)", who, sig, strsignal(sig));
	else
		snprintf(what, len, "%s ended with exit code %d", who, WEXITSTATUS(status));
}

bool sandbox_reap(char *what, size_t len)
{
	char who[64];
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG | __WALL)) > 0) {
		if (WIFSTOPPED(status))
			continue;
		if (pid == sandbox.tracer) {
			sandbox.tracer = 0;
			tell_end(what, len, "the tracer of views", status);
			return true;
		}
		if (pid == sandbox.zygote) {
			sandbox.zygote = 0;
			tell_end(what, len, "the parent of views", status);
			return true;
		}
		for (unsigned i = 0; i < VIEW_MAX; i++) {
			struct view_slot *v = &ARENA->view[i];
			if (sandbox.view[i] != pid)
				continue;
			sandbox.view[i] = 0;
			v->state = VIEW_DEAD;
			snprintf(who, sizeof(who), "view %u (process %d)", i, (int)pid);
			tell_end(what, len, who, status);
			return true;
		}
	}
	return false;
}
