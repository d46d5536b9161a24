/* Shadow maps: guest page tables become host mappings of guest RAM.
 *
 * Low half of the guest: hva = gla. High half: hva = gla + fold. The running view is
 * a cache of translations, coherent as a TLB is: entries may vanish at any time, and
 * must vanish at INVLPG, CR3, CR4 writes. Page-table pages that the walker has used
 * and pages with translated code are traced: no view maps them writable, so every
 * write to them is seen (fault, or soft operand).
 *
 * All of this runs inside views, in the engine loop or in the fault handler (never
 * both at once: the handler only interrupts translated code), allocates nothing, and
 * uses general registers only. */
#pragma once
#include "shadowbox/cpu.h"
#include "shadowbox/insn.h"
#include "shadowbox/mem.h"
#include "shadowbox/vm.h"

/* Which kind of translated code made an access; part of a block's key. */
enum flavour {
	FLAVOUR_USER,  /* CPL 3, 64-bit: identity, PKRU lets only guest-user pages through */
	FLAVOUR_KLOW,  /* CPL 0, RIP in the low half: identity */
	FLAVOUR_KHIGH, /* CPL 0, RIP in the high half: GS.base = fold, RSP held folded */
	FLAVOUR_SOFT,  /* everything else (16/32-bit, unfoldable): all operands soft */
};

/* --- walker ------------------------------------------------------------------- */
struct walk {
	gpa_t gpa;      /* of the byte asked for */
	u64 page_size;  /* 4 KiB, 2 MiB, 1 GiB; paging off: 1 GiB chunks */
	bool writable;  /* by this access's privilege, CR0.WP considered */
	bool user;      /* U/S set at all levels */
	bool exec;      /* no NX at any level */
	bool dirty;     /* leaf D bit set (after the walk) */
	bool global;
	u8 levels;      /* table pages used ... */
	gpa_t table[4]; /* ... from root to leaf */
};
/* Walks for an access of kind acc (ACC_READ/WRITE/EXEC) at privilege user; sets A bits
 * and, for writes, D, atomically. 0, or CPU_FAULT with v->exc filled (#PF; #GP for
 * non-canonical addresses). Modes: no paging, 4-level; PAE and legacy come later. */
int walk_gla(struct vcpu *v, gla_t a, u32 acc, bool user, struct walk *out) MUST_CHECK;

/* --- software access ---------------------------------------------------------- */
enum soft_kind {
	SOFT_RAM,    /* ptr is valid for the whole access; nobody watches */
	SOFT_TRACED, /* ptr is valid, but the page is traced and this is a write: bracket the
	              * access with trace_write_begin/end */
	SOFT_MMIO,   /* gpa is a device register: use the bus */
	SOFT_SPLIT,  /* crosses a page: use mem_read/mem_write and a bounce buffer */
};
struct soft_ref {
	enum soft_kind kind;
	gpa_t gpa;
	void *ptr;
};
/* Resolves [a, a+len) for a data access through a small software TLB (flushed by the
 * mmu_* functions). For SPLIT both pages have been checked, so that the access is
 * known to succeed. 0, or CPU_FAULT with v->exc filled. */
int soft_resolve(struct vcpu *v, gla_t a, u32 len, u32 acc, struct soft_ref *out) MUST_CHECK;

/* --- the quick TLB --------------------------------------------------------------
 * What translated code looks up itself before it leaves for soft_resolve: pages of RAM
 * that an access of this kind and privilege may reach, writes only where nobody watches.
 * soft_resolve fills it. Translated code follows what it finds here without further
 * checks, so only code that may write everything anyway may write it (key P). */
#define QUICK_ENTRIES 65536u /* indexed by bits 12 to 27 of the address */
enum quick_use {
	QUICK_READ, QUICK_WRITE,
	QUICK_STORE, /* writes that are noted as struct table_store, to page tables in use too */
	QUICK_USES
};
struct quick_entry {
	struct {
		u64 neg_page[QUICK_USES]; /* minus the page's address */
		u64 delta;                /* from guest to host address */
	} of[2];                          /* supervisor, user */
};
#define QUICK_TLB ((struct quick_entry *)HOT_QUICK_HVA)

/* Writes to page tables that translated code has done by itself: each within one entry. What
 * is derived from the tables follows at the next exit: before anything is filled, flushed or
 * walked, so no later than processors notice. */
struct table_store {
	u64 hva; /* in the physmap */
	u64 old; /* the entry, before */
};
#define STORES_MAX 255u
#define TABLE_STORES ((struct table_store *)HOT_STORES_HVA)
/* The first n are to be followed. */
void shadow_stored(struct vcpu *v, unsigned n);

/* --- traces ------------------------------------------------------------------- */
struct trace_write {
	gpa_t gpa;
	u32 len;
	u64 old[PAGE_SIZE / 8]; /* page-table entries that the write may change, before it */
};
/* Bracket a write of len bytes (within one page) to a traced page: end compares
 * page-table entries and queues invalidations, and tells the translator of code
 * (dbt_code_written). */
void trace_write_begin(struct trace_write *tw, gpa_t a, u32 len);
void trace_write_end(struct vcpu *v, struct trace_write *tw);
/* A bulk write (string operation, DMA) of len bytes within one page is about to change
 * a traced page: everything derived from it is dropped and the trace removed. */
void trace_bulk_write(struct vcpu *v, gpa_t a, u32 len);
bool trace_is_traced(gpa_t a);
/* The translator has decoded code in this page / no longer has any block there. */
void trace_code_add(struct vcpu *v, gpa_t page);
void trace_code_remove(gpa_t page);

/* --- hidden faults ------------------------------------------------------------ */
enum fill_result {
	FILL_DONE,  /* mapped: run the instruction again */
	FILL_FAULT, /* the guest's own fault: v->exc is filled */
	FILL_SOFT,  /* cannot be mapped (MMIO, zone, not foldable): the operand must be soft */
	FILL_TRACED,/* is, but writes to it must be seen: soft from now on */
	FILL_ONCE,  /* the same, but soft for this time */
};
/* A host page fault (or key fault) at hva by translated code of flavour f. Called by
 * the fault handler. */
enum fill_result shadow_fill(struct vcpu *v, u64 hva, bool write, enum flavour f);

/* Maps the page of user address a executable, and neighbours whose code may run too
 * (dbt_code_at). False: it cannot be, or its code may not run. */
bool shadow_map_exec(struct vcpu *v, u64 a);
/* Is the page at hva executable in this view? */
bool shadow_is_exec(u64 hva);
/* The code of a page may not run as it is any more: it is executable in no view. */
void shadow_exec_revoke(gpa_t page);
void shadow_exec_revoke_all(void);
/* Does the guest leave the zone's addresses unmapped? */
bool shadow_zone_is_free(const struct vcpu *v);

/* --- views -------------------------------------------------------------------- */
/* Called once in the monitor before any view is forked: carves its pools from the
 * arena at base; returns the bytes used. */
size_t shadow_init(void *base, size_t size);
/* Called once in each view process after its private memory is set up. */
/* May user code of the current address space run in this view as it is? */
bool shadow_view_is_home(const struct vcpu *v);
void shadow_view_init(unsigned slot);
/* The slot of the view that should run code of flavour f now: for KHIGH the running
 * one where its high half agrees; else the view of v->cr3, a free one, or the least
 * recently used, recycled. */
unsigned shadow_view_wanted(struct vcpu *v, enum flavour f);
/* Does the root of now map other kernel code in the high half than what is derived from it? Then
 * such code must run soft, alone, and be told of by shadow_high_step() for each instruction. */
bool shadow_high_is_foreign(void);
void shadow_high_step(struct vcpu *v);
/* Called in a view each time it becomes the running one: applies flushes, queued
 * invalidations and new traces. */
void shadow_view_enter(struct vcpu *v, unsigned slot);
