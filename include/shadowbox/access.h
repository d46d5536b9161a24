/* What an instruction at which the host has trapped was doing: dbt/access.c. */
#pragma once
#include "shadowbox/types.h"

struct access_regs { u64 pc, rsp, rbp, rsi, rdi; int code_size; };
/* The error code of a page fault at addr: PF_U, PF_W, PF_I. readable: reading there would
 * not have faulted. Of use only for translated code and guest code. */
u32 access_error_code(const struct access_regs *regs, u64 addr, bool readable);
/* A numeric exception at pc: is it the x87's (#MF), not a vector instruction's (#XM)? */
bool access_faults_x87(u64 pc);
