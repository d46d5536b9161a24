/* Takes over views once they are confined, and makes system calls for calls.c. Runs inside
 * views. */
#include "shadowbox/log.h"
#include "shadowbox/sys.h"
#include "tests/drill/drill.h"

struct drill drill;

NORETURN void __real_view_run(unsigned slot);
NORETURN void __wrap_view_run(unsigned slot);

/* As the start of a view goes on, but for its turn: until the monitor has looked at it. */
static void pass_inspection(unsigned slot)
{
	struct view_slot *v = &ARENA->view[slot];
	u32 state;

	__atomic_store_n(&v->state, VIEW_STARTING, __ATOMIC_SEQ_CST);
	sys_futex_wake(&v->state, 1);
	while ((state = __atomic_load_n(&v->state, __ATOMIC_SEQ_CST)) != VIEW_READY)
		sys_futex_wait(&v->state, state, NULL);
}

NORETURN void __wrap_panic_at(const char *file, int line, const char *fmt, ...);

static bool in_view;

/* Tells the driver of an assertion that fails in the monitor; in views they may. */
void __wrap_panic_at(const char *file, int line, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	fmt_vformat(text, sizeof(text), fmt, ap);
	va_end(ap);
	log_printf("shadowbox: internal error at %s:%d: %s\n", file, line, text);
	if (!in_view && sys_getpid() == drill.monitor)
		__atomic_store_n(drill.monitor_panics, 1, __ATOMIC_SEQ_CST);
	if (panic_hook)
		panic_hook();
	__builtin_trap();
}

void __wrap_view_run(unsigned slot)
{
	const struct attack *a = drill.attack;

	in_view = true;
	if (drill.serve_calls) {
		pass_inspection(slot);
		serve_calls();
	}
	if (a && slot == (a->flags & IN_VIEW_0 ? 0 : 1)) {
		pass_inspection(slot);
		a->run(slot);
	}
	__real_view_run(slot);
}

/* --- system calls by order -------------------------------------------------------------- */
static i64 call_32(const struct call *c)
{
	i64 ret;

	__asm__ volatile("push %%rbp\n\tmov %8, %%rbp\n\tint $0x80\n\tpop %%rbp"
			 : "=a"(ret)
			 : "a"(c->nr), "b"(c->arg[0]), "c"(c->arg[1]), "d"(c->arg[2]), "S"(c->arg[3]),
			   "D"(c->arg[4]), "a"(c->nr), "r"(c->arg[5])
			 : "memory");
	return ret;
}

static i64 call_64(const struct call *c)
{
	return sys_call6(c->nr, c->arg[0], c->arg[1], c->arg[2], c->arg[3], c->arg[4], c->arg[5]);
}

void serve_calls(void)
{
	struct calls_shared *s = CALLS;
	u32 seen = __atomic_load_n(&s->done, __ATOMIC_SEQ_CST);

	for (;;) {
		struct call c;

		while (__atomic_load_n(&s->asked, __ATOMIC_SEQ_CST) == seen)
			sys_futex_wait(&s->asked, seen, NULL);
		seen = __atomic_load_n(&s->asked, __ATOMIC_SEQ_CST);
		c = s->call;
		s->result = c.abi == ABI_32 ? call_32(&c) : call_64(&c);
		__atomic_store_n(&s->done, seen, __ATOMIC_SEQ_CST);
		sys_futex_wake(&s->done, 1);
	}
}
