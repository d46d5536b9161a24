/* The translator's face to the layers below and beside it. */
#pragma once
#include "shadowbox/shadow.h"

/* Bytes [off, off+len) of the page at gpa were, or are about to be, changed: drop the
 * blocks that overlap; if `all`, every block of the page. */
void dbt_code_written(gpa_t page, u32 off, u32 len, bool all);
/* The kernel-half (khigh) or user/low mapping of [start, start+len) in the view `slot`
 * (or all views: slot = VIEW_MAX) went away: purge lookup-table entries and, for
 * kernel code, chained jumps. len may be huge (whole half). */
void dbt_unmapped(unsigned slot, gla_t start, u64 len);
/* May this page's code run as it is (it has been looked at, and is traced)? look: if it has
 * not been looked at, do. */
bool dbt_runs_direct(gpa_t page);
bool dbt_may_run_direct(struct vcpu *v, gpa_t page);
/* Called once in the monitor, after shadow_init, before any view is forked: carves the
 * code cache's tables from the arena; returns the bytes used, 0 if they do not fit. */
size_t dbt_init(void *base, size_t size);
/* Prints the registers, through the log. */
void cpu_dump(const struct vcpu *v);
