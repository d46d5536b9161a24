/* Offsets of C structures for assembly. Never linked: the Makefile compiles this to
 * assembly text and turns each "->NAME value" line into a #define in asm-offsets.h. */
#include "shadowbox/cpu.h"
#include "shadowbox/layout.h"

#define DEFINE(name, value) __asm__ volatile("\n->" #name " %0" : : "i"((long)(value)))
#define VCPU_OFFSET(NAME, field) DEFINE(VCPU_##NAME, offsetof(struct vcpu, field))

void asm_offsets(void);
void asm_offsets(void)
{
	DEFINE(VCPU_ADDRESS, HOT_VCPU_HVA);
	DEFINE(SIG_FRAME_ADDRESS, PRIVATE_HVA); /* struct view_local */
	VCPU_OFFSET(GPR, gpr);
	VCPU_OFFSET(RIP, rip);
	VCPU_OFFSET(RFLAGS, rflags);
	VCPU_OFFSET(HOST_RSP, host_rsp);
	VCPU_OFFSET(GATE, gate);
	VCPU_OFFSET(ENTER_PKRU, enter_pkru);
	VCPU_OFFSET(ENTER_RSP, enter_rsp);
	VCPU_OFFSET(ENTER_FLAGS, enter_flags);
	VCPU_OFFSET(EXIT_FLAGS, exit_flags);
	VCPU_OFFSET(EXIT_ID, exit_id);
	VCPU_OFFSET(INTR_ENABLED, intr_enabled);
	VCPU_OFFSET(EVENT_PENDING, event_pending);
	VCPU_OFFSET(IN_GUEST, in_guest);
}
