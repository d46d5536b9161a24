/* Guest memory as the CPU sees it: linear accesses with all checks and side effects
 * (A/D bits, traces, MMIO). Implemented by shadow/soft.c. Every function returns
 * CPU_NEXT, or CPU_FAULT with v->exc filled (#PF with CR2, #GP/#SS for non-canonical).
 * acc is ACC_READ/ACC_WRITE, plus ACC_IMPLICIT_SUPERVISOR for descriptor-table,
 * TSS and IDT-delivery accesses, which ignore CPL. */
#pragma once
#include "shadowbox/cpu.h"
#include "shadowbox/insn.h"

int mem_read(struct vcpu *v, gla_t a, void *buf, u32 len, u32 acc) MUST_CHECK;
int mem_write(struct vcpu *v, gla_t a, const void *buf, u32 len, u32 acc) MUST_CHECK;
/* Checks that a write would succeed, without writing. */
int mem_probe_write(struct vcpu *v, gla_t a, u32 len, u32 acc) MUST_CHECK;

static inline int mem_read64(struct vcpu *v, u64 a, u64 *val, u32 acc)
{
	return mem_read(v, gla(a), val, 8, acc | ACC_READ);
}
static inline int mem_write64(struct vcpu *v, u64 a, u64 val, u32 acc)
{
	return mem_write(v, gla(a), &val, 8, acc | ACC_WRITE);
}
