/* Names of the counters, generated from the one list in counters.h. */
#include "shadowbox/counters.h"
#include "shadowbox/cpu.h"

_Static_assert(CTR_MAX <= ARRAY_LEN(((struct vcpu *)0)->counters), "vcpu.counters is too small");

const char *const counter_names[CTR_MAX] = {
#define X(id, text) [CTR_##id] = text,
	COUNTERS(X)
#undef X
};
