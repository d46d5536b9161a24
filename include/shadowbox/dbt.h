/* The translator's face to the layers below and beside it. */
#pragma once
#include "shadowbox/shadow.h"

/* Bytes [off, off+len) of the page at gpa were, or are about to be, changed: drop the
 * blocks that overlap; if `all`, every block of the page. */
void dbt_code_written(gpa_t page, u32 off, u32 len, bool all);
/* Instructions that were softened because they write to held pages are direct again. */
void dbt_hold_ended(void);
/* The kernel-half (khigh) or user/low mapping of [start, start+len) in the view `slot`
 * (or all views: slot = VIEW_MAX) went away: purge lookup-table entries and, for
 * kernel code, chained jumps. len may be huge (whole half). */
void dbt_unmapped(unsigned slot, gla_t start, u64 len);
/* How the code of this page runs: translated; as it is; or so, in a copy, which must not be
 * readable. from: what to map. Looks at the page, and traces it, if that has not been done. */
enum dbt_code { CODE_TRANSLATED, CODE_PLAIN, CODE_PATCHED };
enum dbt_code dbt_code_at(struct vcpu *v, gpa_t page, gpa_t *from);
bool dbt_runs_native(gpa_t page); /* is it known not to be translated? */
/* Called once in the monitor, after shadow_init, before any view is forked: carves the
 * code cache's tables from the arena; returns the bytes used, 0 if they do not fit. */
size_t dbt_init(void *base, size_t size);
/* Prints the registers, through the log. */
void cpu_dump(const struct vcpu *v);
