/* What an attacker with control over a view might do to the monitor and the host. Runs
 * inside views. */
#include <string.h>
#include "shadowbox/log.h"
#include "shadowbox/sys.h"
#include "tests/drill/drill.h"

#define STORE(p, v) __atomic_store_n(p, v, __ATOMIC_SEQ_CST)

NORETURN static void sleep_for_ever(void)
{
	for (;;)
		sys_futex_wait(&ARENA->view[VIEW_MAX - 1].wake, ARENA->view[VIEW_MAX - 1].wake, NULL);
}

static void pause_ms(unsigned ms)
{
	const struct sys_timespec ts = { 0, ms * 1000000L };

	sys_clock_nanosleep(1, 0, &ts);
}

static void ring_doorbell(void)
{
	const u64 one = 1;

	sys_write(VIEW_NOTIFY_FD, &one, sizeof(one));
}

/* --- ends ------------------------------------------------------------------------------ */
static void leave(unsigned slot) { (void)slot; sys_exit_group(0); }
static void ask_for_exec(unsigned slot) { (void)slot; sys_call3(59, (u64) "/bin/sh", 0, 0); }

static void lose_stack(unsigned slot)
{
	(void)slot;
	__asm__ volatile("mov $0x123450, %%rsp\n\tmov %0, %%rax\n\tsyscall" : : "i"(15 /* rt_sigreturn */));
}

static void jump_nowhere(unsigned slot)
{
	(void)slot;
	((void (*)(void))0x4242424000UL)();
}

static void run_data(unsigned slot)
{
	u8 *p = (u8 *)PHYS_HVA;

	(void)slot;
	*p = 0xc3;
	((void (*)(void))p)();
}

/* Compatibility mode by a forged signal frame: other instructions, the other system calls. */
static void go_32_bit(unsigned slot)
{
	(void)slot;
	__asm__ volatile("pushq $0x23\n\tlea 1f(%%rip), %%rax\n\tpushq %%rax\n\tlretq\n"
			 "1:\t.byte 0xb8, 0x14, 0, 0, 0\n\tint $0x80\n\tud2"
			 :
			 :
			 : "memory", "rax");
	sleep_for_ever();
}

static void call_vsyscall(unsigned slot)
{
	(void)slot;
	((long (*)(long *))0xffffffffff600400UL)(NULL); /* time() */
	sys_exit_group(3);
}

/* --- time and memory --------------------------------------------------------------------- */
static void spin(unsigned slot)
{
	(void)slot;
	for (;;)
		__asm__ volatile("pause");
}

static void use_page_tables(unsigned slot)
{
	const u64 size = 64 << 20;

	(void)slot;
	for (u64 at = 0x10000; at < ZONE_BASE - size; at += size)
		if (sys_mmap(at, size, 3, 0x8011 /* SHARED FIXED POPULATE */, VIEW_RAM_FD, 0) < 0)
			break;
	sleep_for_ever();
}

/* One page in each 1 GiB: four tables for one page. */
static void use_sparse_tables(unsigned slot)
{
	(void)slot;
	for (u64 round = 0; round < 4; round++)
		for (u64 at = 0x10000 + (round << 28); at < ZONE_BASE - (1UL << 30); at += 1UL << 30)
			if (sys_mmap(at, PAGE_SIZE, 3, 0x8011, VIEW_RAM_FD, 0) < 0)
				sleep_for_ever();
	sleep_for_ever();
}

static void use_all_maps(unsigned slot)
{
	(void)slot;
	for (u64 at = 0x10000;; at += 2 * PAGE_SIZE)
		if (sys_mmap(at, PAGE_SIZE, 3, 0x11, VIEW_RAM_FD, 0) < 0)
			break;
	sleep_for_ever();
}

/* --- the monitor's doorbell and rings ------------------------------------------------------ */
static void flood_doorbell(unsigned slot)
{
	(void)slot;
	for (;;) {
		STORE(&ARENA->monitor_idle, 1);
		ring_doorbell();
	}
}

static void fill_doorbell(unsigned slot)
{
	const u64 most = ~0UL - 1;

	(void)slot;
	for (;;)
		sys_write(VIEW_NOTIFY_FD, &most, sizeof(most));
}

static void silence_doorbell(unsigned slot)
{
	(void)slot;
	for (;;) {
		STORE(&ARENA->monitor_idle, 0);
		sys_clock_nanosleep(1, 0, &(struct sys_timespec){ 0, 1000 });
	}
}

static void feed_for_ever(struct ring *r)
{
	const u32 half = RING_SIZE / 2;

	memset(r->data, 0, sizeof(r->data));
	for (u64 i = 0;; i++) {
		STORE(&r->head, r->tail + half);
		if (i % 10000)
			continue;
		STORE(&ARENA->monitor_idle, 1);
		ring_doorbell();
	}
}

static void feed_log(unsigned slot) { (void)slot; feed_for_ever(&ARENA->log); }
static void feed_output(unsigned slot) { (void)slot; feed_for_ever(&ARENA->machine.tx); }

/* A stop that comes while output never ends. */
static void feed_and_stop(unsigned slot)
{
	(void)slot;
	pause_ms(50);
	ARENA->machine.tx.head = ARENA->machine.tx.tail + 1;
	STORE(&ARENA->machine.stop, STOP_POWEROFF);
	ring_doorbell();
	for (;;) {
		STORE(&ARENA->machine.tx.head, ARENA->machine.tx.tail + 4096);
		STORE(&ARENA->log.head, ARENA->log.tail + 4096);
	}
}

static void bend_ring(struct ring *r)
{
	u64 state = drill.seed | 1;

	for (;;) {
		u64 v = next_random(&state);
		STORE(&r->head, (u32)v);
		STORE(&r->tail, (u32)(v >> 32));
		STORE(&ARENA->monitor_idle, 1);
		ring_doorbell();
	}
}

static void bend_log(unsigned slot) { (void)slot; bend_ring(&ARENA->log); }
static void bend_output(unsigned slot) { (void)slot; bend_ring(&ARENA->machine.tx); }
static void bend_input(unsigned slot) { (void)slot; bend_ring(&ARENA->machine.rx); }

static void fill_input(unsigned slot)
{
	(void)slot;
	for (;;) {
		STORE(&ARENA->machine.rx.head, ARENA->machine.rx.tail + RING_SIZE);
		sys_clock_nanosleep(1, 0, &(struct sys_timespec){ 0, 1000 });
	}
}

/* --- views ----------------------------------------------------------------------------- */
static void free_slots(unsigned slot)
{
	(void)slot;
	for (;;) {
		for (unsigned i = 0; i < VIEW_MAX; i++)
			STORE(&ARENA->view[i].state, VIEW_NONE);
		STORE(&ARENA->view_wanted, ~0u);
		STORE(&ARENA->monitor_idle, 1);
		ring_doorbell();
		pause_ms(1);
	}
}

static void want_views(unsigned slot)
{
	(void)slot;
	STORE(&ARENA->view_wanted, ~0u);
	ring_doorbell();
	sleep_for_ever();
}

/* The monitor asserts what it has looked at before. */
static void flicker_slots(unsigned slot)
{
	(void)slot;
	STORE(&ARENA->view_wanted, VIEW_MAX);
	for (;;)
		for (unsigned i = 2; i < VIEW_MAX; i++) {
			STORE(&ARENA->view[i].state, i % 5);
			STORE(&ARENA->monitor_idle, 1);
			ring_doorbell();
		}
}

/* No new view ever seems to have started. */
static void hide_starts(unsigned slot)
{
	(void)slot;
	STORE(&ARENA->view_wanted, VIEW_MAX);
	ring_doorbell();
	for (;;)
		for (unsigned i = 2; i < VIEW_MAX; i++)
			STORE(&ARENA->view[i].state, VIEW_NONE);
}

/* Views that are not confined yet read these. */
static void bend_start(unsigned slot)
{
	u64 state = drill.seed | 1;

	(void)slot;
	STORE(&ARENA->view_wanted, VIEW_MAX);
	ring_doorbell();
	for (;;) {
		u64 *host = (u64 *)&ARENA->host, *pool = (u64 *)ARENA->shadow_area;
		host[next_random(&state) % (sizeof(struct host_caps) / 8)] = next_random(&state);
		pool[next_random(&state) % 64] = next_random(&state);
		((u64 *)&ARENA->policy)[0] = next_random(&state);
	}
}

static void run_all_views(unsigned slot)
{
	(void)slot;
	pause_ms(20);
	for (u32 i = 0;; i++) {
		STORE(&ARENA->running_view, i % 5);
		__atomic_fetch_add(&ARENA->view[i % 5].wake, 1, __ATOMIC_SEQ_CST);
		sys_futex_wake(&ARENA->view[i % 5].wake, 100);
	}
}

static void lose_turn(unsigned slot)
{
	(void)slot;
	for (u32 i = 1;; i = i * 69069 + 1) {
		STORE(&ARENA->running_view, i);
		STORE(&ARENA->hlt_futex, i);
		STORE(&VCPU->event_pending, i & 1);
		sys_clock_nanosleep(1, 0, &(struct sys_timespec){ 0, 1000 });
	}
}

/* --- ends and reports ---------------------------------------------------------------------- */
static void stop_with(u32 why)
{
	pause_ms(20);
	STORE(&ARENA->machine.stop, why);
	ring_doorbell();
	sleep_for_ever();
}

static void stop_unknown(unsigned slot) { (void)slot; stop_with(0xdead); }
static void stop_internal(unsigned slot) { (void)slot; stop_with(STOP_INTERNAL); }

/* A report with escape sequences, without an end, of more than one line. */
static void long_last_words(unsigned slot)
{
	(void)slot;
	for (unsigned i = 0; i < sizeof(ARENA->death); i++)
		ARENA->death[i] = "\033[2J\nshadowbox: all is well\r\x9b"[i % 29];
	ARENA->flight_next = ~0UL;
	memset(ARENA->flight, 0xff, sizeof(ARENA->flight));
	memset(VCPU->gpr, 0xff, sizeof(VCPU->gpr));
	memset(VCPU->seg, 0xff, sizeof(VCPU->seg));
	stop_with(STOP_INTERNAL);
}

/* Dies, and goes on writing (in view 1 while view 0 dies) what the report is made from. */
static void bend_report(unsigned slot)
{
	u64 state = drill.seed | 1;

	(void)slot;
	STORE(&ARENA->machine.stop, STOP_INTERNAL);
	ring_doorbell();
	for (;;) {
		ARENA->flight_next = next_random(&state);
		ARENA->flight[next_random(&state) % FLIGHT_EVENTS].kind = (u32)next_random(&state) % 7;
		ARENA->flight[next_random(&state) % FLIGHT_EVENTS].arg = (u32)next_random(&state);
		ARENA->death[next_random(&state) % sizeof(ARENA->death)] = (char)(next_random(&state) | 1);
		ARENA->log.head = ARENA->log.tail + 100;
	}
}

/* Dies while the stop that would excuse it comes and goes. */
static void flicker_stop(unsigned slot)
{
	(void)slot;
	STORE(&ARENA->machine.stop, STOP_POWEROFF);
	STORE(&ARENA->machine.stop, STOP_NONE);
	sys_exit_group(5);
}

const struct attack attacks[] = {
	{ "exit_group", "one line", leave, END_ITSELF, 0, "ended with exit code 0" },
	{ "exit_group in place of the guest", "one line", leave, END_ITSELF, IN_VIEW_0, "ended with exit code 0" },
	{ "execve", "killed, one line", ask_for_exec, END_ITSELF, 0, "forbidden system call" },
	{ "execve in place of the guest", "killed, one line", ask_for_exec, END_ITSELF, IN_VIEW_0, "forbidden system call" },
	{ "no stack, garbage signal frame", "killed, one line", lose_stack, END_ITSELF, 0, "view 1" },
	{ "jump to an unmapped address", "one line", jump_nowhere, END_ITSELF, 0, "view 1" },
	{ "jump into guest memory", "one line: never executable", run_data, END_ITSELF, ANY_CODE, NULL },
	{ "32-bit mode", "one line: no code below 4 GiB", go_32_bit, END_ITSELF, 0, "view 1" },
	{ "vsyscall page", "one line", call_vsyscall, END_ITSELF, ANY_CODE, NULL },
	{ "spin for ever", "ends when asked", spin, END_ASKED, 0, NULL },
	{ "spin in place of the guest", "ends when asked", spin, END_ASKED, IN_VIEW_0, NULL },
	{ "page tables for all addresses", "bounded; ends when asked", use_page_tables, END_ASKED, SLOW, NULL },
	{ "page tables, one page in a GiB", "bounded; ends when asked", use_sparse_tables, END_ASKED, SLOW, NULL },
	{ "all mappings that the host allows", "bounded; ends when asked", use_all_maps, END_ASKED, 0, NULL },
	{ "doorbell flood", "ends when asked", flood_doorbell, END_ASKED, 0, NULL },
	{ "doorbell full", "ends when asked", fill_doorbell, END_ASKED, 0, NULL },
	{ "doorbell silenced", "ends when asked", silence_doorbell, END_ASKED, 0, NULL },
	{ "log without end", "ends when asked", feed_log, END_ASKED, 0, NULL },
	{ "output without end", "ends when asked", feed_output, END_ASKED, 0, NULL },
	{ "power off during endless output", "ends", feed_and_stop, END_ITSELF, ANY_CODE | QUIET, NULL },
	{ "log ring: random indexes", "ends when asked", bend_log, END_ASKED, SEEDED, NULL },
	{ "output ring: random indexes", "ends when asked", bend_output, END_ASKED, SEEDED, NULL },
	{ "input ring: random indexes", "ends when asked", bend_input, END_ASKED, SEEDED, NULL },
	{ "input ring always full", "ends when asked", fill_input, END_ASKED, 0, NULL },
	{ "all views free, all wanted", "no more than 64 views", free_slots, END_ASKED, 0, NULL },
	{ "all views wanted", "no more than 64 views", want_views, END_ASKED, 0, NULL },
	{ "view states flicker", "no assertion", flicker_slots, END_ASKED, 0, NULL },
	{ "starts of views are hidden", "ends when asked", hide_starts, END_ASKED, 0, NULL },
	{ "what starting views read", "ends when asked", bend_start, END_ASKED, SEEDED, NULL },
	{ "many views own the vCPU", "ends when asked", run_all_views, END_ASKED, 0, NULL },
	{ "no view owns the vCPU", "ends when asked", lose_turn, END_ASKED, 0, NULL },
	{ "unknown stop request", "one line", stop_unknown, END_ITSELF, 0, "stop" },
	{ "internal error claimed", "one line", stop_internal, END_ITSELF, 0, "stopped" },
	{ "last words: control characters, no end", "one line", long_last_words, END_ITSELF, IN_VIEW_0, "stopped" },
	{ "report bent while it is written", "one line", bend_report, END_ITSELF, SEEDED, "" },
	{ "stop request comes and goes", "ends", flicker_stop, END_ITSELF, ANY_CODE | QUIET, NULL },
	{ NULL, NULL, NULL, 0, 0, NULL },
};
