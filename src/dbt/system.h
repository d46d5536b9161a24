/* Between system.c and segbase.c: emitters that work on the kernel's slots (cache.h). */
#pragma once
#include "translate.h"

#define K(field) (HOT_SLOTS_K_HVA + offsetof(struct slots, field))
#define U(field) (HOT_SLOTS_U_HVA + offsetof(struct slots, field))
#define UR(r) spill_slot(FLAVOUR_USER, r)
#define KR(r) spill_slot(FLAVOUR_KHIGH, r)

static inline void spill(struct emit *e, unsigned reg)
{
	emit_spill(e, reg);
	emit_mark(e, MARK_RESTART);
}

/* Leaves by call-out with nothing changed. */
void leave(struct tr *t);

/* segbase.c. FS.base stands for the guest's GS while kernel-high code runs. */
void emit_wrfsbase_rax(struct emit *e);
void emit_wrgsbase_rax(struct emit *e);
bool translate_swapgs(struct tr *t);
bool translate_read_base(struct tr *t);
bool translate_write_base(struct tr *t);
bool translate_read_sel(struct tr *t);
