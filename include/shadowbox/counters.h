/* Counters: one list, from which the enum, the names and the -d stats output are
 * generated. A counter that nothing moves is a defect. */
#pragma once
#include "shadowbox/types.h"

#define COUNTERS(X) \
	X(EXIT_CHAIN, "exit: direct branch not yet chained") \
	X(EXIT_INDIRECT_U, "exit: user branch missed the lookup table") \
	X(EXIT_INDIRECT_K, "exit: kernel branch missed the lookup table") \
	X(FIND_BLOCK, "blocks found by walking and hashing") \
	X(EXIT_CALLOUT, "exit: instruction handled by call-out") \
	X(EXIT_SOFT, "exit: soft operand") \
	X(EXIT_SOFT_DONE, "exit: soft operand write-back") \
	X(EXIT_ASYNC, "exit: asynchronous (timer or input signal)") \
	X(NATIVE_SYSCALL, "native user code: system calls") \
	X(NATIVE_EXEC, "native user code: branches to pages not executable") \
	X(NATIVE_FAULT, "native user code: faults") \
	X(NATIVE_SINGLE, "native user code: single instructions translated") \
	X(NATIVE_SCAN, "pages searched for what may not run natively") \
	X(NATIVE_REFUSED, "pages found with such instructions") \
	X(NATIVE_PATCHED, "pages that run as patched copies") \
	X(COPY_READ, "of these, mapped to be read instead") \
	X(NATIVE_HOT, "pages left to the translator since they called it often") \
	X(NATIVE_BACK, "times that all of them were taken back") \
	X(NATIVE_YOUNG, "native user code: branches translated instead for young processes") \
	X(NATIVE_MAP, "pages made executable") \
	X(WILD, "jumps of user code into shadowbox") \
	X(EXIT_FAULT, "exit: fault handed to the guest or to the engine") \
	X(SIG_FAULT, "host fault signals") \
	X(SIG_STEP, "host single steps to an instruction boundary") \
	X(TRAP_SIGNAL, "host traps that came as signals") \
	X(TRAP_TRACER, "host traps that came from the tracer") \
	X(TRAP_BACK, "of these, that went back by the tracer") \
	X(FILL, "hidden faults filled") \
	X(FILL_TRACE, "write faults on traced pages") \
	X(FAULT_TRUE, "page faults delivered to the guest") \
	X(EXCEPTION, "exceptions delivered to the guest") \
	X(INTERRUPT, "interrupts delivered to the guest") \
	X(TRANSLATE, "blocks translated") \
	X(TRANSLATE_INSN, "instructions translated") \
	X(BLOCK_DROP, "blocks dropped") \
	X(CACHE_FLUSH, "code cache flushes") \
	X(CACHE_EVICT, "code cache regions evicted") \
	X(SOFTEN, "instructions turned soft") \
	X(TRACE_PT, "page-table pages traced") \
	X(TRACE_CODE, "code pages traced") \
	X(HOLD, "pages held read-only while their rights come and go") \
	X(PT_WRITE, "page-table writes seen") \
	X(PT_STORE, "page-table writes done in line") \
	X(INVALIDATE, "ranges invalidated") \
	X(HOST_MAP, "host calls: mmap") \
	X(HOST_UNMAP, "host calls: munmap") \
	X(HOST_PROTECT, "host calls: mprotect, pkey_mprotect") \
	X(HOST_WP, "host calls: userfaultfd") \
	X(FILL_AHEAD, "pages mapped before they faulted") \
	X(VIEW_SWITCH, "view switches") \
	X(VIEW_FLUSH, "views flushed") \
	X(VIEW_RECYCLE, "views recycled") \
	X(CR3_WRITE, "CR3 writes") \
	X(PIO, "port accesses") \
	X(MMIO, "memory-mapped register accesses") \
	X(HLT, "HLT sleeps") \
	X(UNKNOWN_MSR, "accesses to unknown MSRs") \
	X(REFUSED, "instructions refused with #UD")

enum counter {
#define X(id, text) CTR_##id,
	COUNTERS(X)
#undef X
	CTR_MAX
};

extern const char *const counter_names[CTR_MAX];
