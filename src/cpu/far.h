/* Returns across code segments, shared by IRET (iret.c) and far RET (far.c). */
#pragma once
#include "priv.h"

/* Pops RIP and CS. The processor reads CS first, which tells in CR2. */
int far_pop(struct vcpu *v, struct stack *s, u64 *rip, u64 *sel, unsigned size) MUST_CHECK;
/* Checks the code segment that a far return or IRET goes to. */
int far_return_cs(struct vcpu *v, u16 sel, struct seg *cs) MUST_CHECK;
/* Checks the stack segment that comes with it. */
int far_return_ss(struct vcpu *v, u16 sel, const struct seg *cs, struct seg *ss) MUST_CHECK;
/* Switches to them; to an outer privilege, drops data segments it may not use. */
void far_return_commit(struct vcpu *v, const struct seg *cs, const struct seg *ss, u64 rip, u64 rsp);
