/* Requests that end the machine. */
#include "shadowbox/machine.h"

/* stop and stop_code are one 64-bit word, so that whoever sees the request sees its
 * code, and the first of two concurrent callers wins whole. */
_Static_assert(offsetof(struct machine, stop) % 8 == 0, "stop must be aligned");
_Static_assert(offsetof(struct machine, stop_code) == offsetof(struct machine, stop) + 4,
	       "stop_code must follow stop");

void machine_request_stop(struct machine *m, enum machine_stop why, u32 code)
{
	u64 none = STOP_NONE, want = (u64)code << 32 | why;

	/* A stale stop_code (after a reset) must not make the exchange fail. */
	none |= (u64)__atomic_load_n(&m->stop_code, __ATOMIC_RELAXED) << 32;
	if (__atomic_compare_exchange_n((u64 *)&m->stop, &none, want, false, __ATOMIC_SEQ_CST,
					__ATOMIC_SEQ_CST) &&
	    m->dev.host.console_notify)
		m->dev.host.console_notify();
	machine_kick(m);
}
