/* The life of a confined view: waiting for its turn, handing the vCPU on, sleeping,
 * timers, and telling the monitor.
 *
 * One view owns the vCPU at a time: ARENA->running_view. Only the owner writes it, and
 * every hand-off bumps the new owner's generation count, so that a stale wake-up (of a
 * recycled slot, or by a signal) is harmless: the sleeper looks again. */
#include <string.h>
#include "shadowbox/clock.h"
#include "shadowbox/log.h"
#include "shadowbox/sandbox.h"
#include "shadowbox/sys.h"

/* sandbox/internal.h is for libc code; these are its rows for this file. */
NORETURN void view_run(unsigned slot);
void view_log_sink(const char *text, size_t len);
void view_panic(void);

#define NS_PER_S 1000000000UL

/* --- the monitor ---------------------------------------------------------------------- */
void view_notify_monitor(void)
{
	const u64 one = 1;

	/* What the monitor shall see has been stored before; it sets monitor_idle and then
	 * looks once more. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (__atomic_load_n(&ARENA->monitor_idle, __ATOMIC_RELAXED) &&
	    __atomic_exchange_n(&ARENA->monitor_idle, 0, __ATOMIC_SEQ_CST))
		sys_write(VIEW_NOTIFY_FD, &one, sizeof(one));
}

/* Text for the monitor. A full ring is waited for: traces are worth nothing with holes. */
void view_log_sink(const char *text, size_t len)
{
	const struct sys_timespec pause = { 0, 200000 };
	struct ring *r = &ARENA->log;

	for (size_t i = 0; i < len; i++)
		while (!ring_put(r, (u8)text[i])) {
			view_notify_monitor();
			sys_clock_nanosleep(1, 0, &pause);
		}
	view_notify_monitor();
}

void view_exit(int code)
{
	sys_exit_group(code);
}

void view_panic(void)
{
	static const char text[] = "internal error";

	if (!ARENA->death[0])
		memcpy(ARENA->death, text, sizeof(text));
	view_notify_monitor();
	view_exit(1);
}

/* --- the vCPU ------------------------------------------------------------------------- */
static void await_turn(unsigned slot)
{
	struct arena *a = ARENA;

	for (;;) {
		u32 gen = __atomic_load_n(&a->view[slot].wake, __ATOMIC_SEQ_CST);
		if (__atomic_load_n(&a->running_view, __ATOMIC_SEQ_CST) == slot)
			return;
		sys_futex_wait(&a->view[slot].wake, gen, NULL);
	}
}

void view_handoff(unsigned slot)
{
	struct arena *a = ARENA;
	unsigned me = VIEW_LOCAL->slot;

	sb_assert(slot < VIEW_MAX && a->running_view == me);
	if (slot == me)
		return;
	__atomic_store_n(&a->running_view, slot, __ATOMIC_SEQ_CST);
	__atomic_fetch_add(&a->view[slot].wake, 1, __ATOMIC_SEQ_CST);
	sys_futex_wake(&a->view[slot].wake, 1);
	await_turn(me);
}

void view_run(unsigned slot)
{
	struct view_slot *v = &ARENA->view[slot];
	u32 state;

	__atomic_store_n(&v->state, VIEW_STARTING, __ATOMIC_SEQ_CST);
	sys_futex_wake(&v->state, 1);
	while ((state = __atomic_load_n(&v->state, __ATOMIC_SEQ_CST)) != VIEW_READY)
		sys_futex_wait(&v->state, state, NULL);
	await_turn(slot);
	engine_main(slot);
}

/* --- time ----------------------------------------------------------------------------- */
/* Nanoseconds from now to deadline; at least 1. */
static u64 time_left(u64 deadline_ns)
{
	u64 now = clock_now(&ARENA->machine.clock);

	return deadline_ns > now ? deadline_ns - now : 1;
}

static struct sys_timespec to_timespec(u64 ns)
{
	return (struct sys_timespec){ (i64)(ns / NS_PER_S), (i64)(ns % NS_PER_S) };
}

void view_halt(u64 deadline_ns)
{
	struct arena *a = ARENA;
	u32 gen = __atomic_load_n(&a->hlt_futex, __ATOMIC_SEQ_CST);
	struct sys_timespec ts;

	if (__atomic_load_n(&VCPU->event_pending, __ATOMIC_SEQ_CST))
		return;
	if (deadline_ns == TIMER_OFF) {
		sys_futex_wait(&a->hlt_futex, gen, NULL);
		return;
	}
	ts = to_timespec(time_left(deadline_ns));
	sys_futex_wait(&a->hlt_futex, gen, &ts);
}

void view_arm_timer(u64 deadline_ns)
{
	struct sys_itimerspec its = { { 0, 0 }, { 0, 0 } };
	struct view_local *l = VIEW_LOCAL;

	if (deadline_ns == TIMER_OFF) {
		if (!l->timer_on)
			return;
	} else {
		its.value = to_timespec(time_left(deadline_ns));
	}
	l->timer_on = deadline_ns != TIMER_OFF;
	if (sys_timer_settime(l->timer_id, 0, &its) < 0)
		panic("view %u: cannot set its timer", l->slot);
}
