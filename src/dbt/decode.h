/* Decoding: bytes to struct insn. decode.c is the only file that knows Capstone. */
#pragma once
#include "shadowbox/insn.h"

/* Called once before views are forked: opens the decoder for 16, 32 and 64-bit code. */
int decode_init(void);
/* Decodes one instruction of at most avail bytes at rip. Returns its length; 0 when the
 * bytes end before the instruction does; invalid or refused ones come back as OP_UD or
 * OP_REFUSE with a length of at least 1. Runs libc and library code: the caller has
 * saved the vector state and set shadowbox's FS.base. */
unsigned decode_insn(struct insn *in, const u8 *bytes, unsigned avail, u64 rip, int code_size);
/* The layout alone, of 64-bit code: prefixes, opcode, operand fields. Returns the length that
 * it makes up, 0 when bytes are missing. No library, no operands; anything passes. */
unsigned decode_layout(struct insn *in, const u8 *bytes, unsigned avail);
unsigned decode_layout_of(struct insn *in, const u8 *bytes, unsigned avail, int code_size);
/* Text of one host or guest instruction for traces; returns its length (1 if bad). */
unsigned decode_text(const u8 *bytes, unsigned avail, u64 rip, int code_size, char *buf, size_t size);
