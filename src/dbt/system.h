/* Between system.c and segbase.c. */
#pragma once
#include "translate.h"

/* Leaves by call-out with nothing changed. */
void leave(struct tr *t);

/* segbase.c. FS.base stands for the guest's GS while kernel-high code runs. */
void emit_load_gs(struct emit *e); /* clobbers RAX */
void emit_wrfsbase_rax(struct emit *e);
bool translate_swapgs(struct tr *t);
bool translate_read_base(struct tr *t);
bool translate_write_base(struct tr *t);
bool translate_read_sel(struct tr *t);
