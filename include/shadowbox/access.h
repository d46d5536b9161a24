/* What an instruction at which the host has trapped was doing: dbt/access.c. */
#pragma once
#include "shadowbox/types.h"

struct access_regs { u64 rsp, rsi, rdi; };
/* Was it a write that faulted at addr? readable: reading there is allowed. */
bool access_is_write(const u8 *code, u64 addr, const struct access_regs *regs, bool readable);
/* A numeric exception: is it the x87's (#MF), not a vector instruction's (#XM)? */
bool access_faults_x87(const u8 *code);
