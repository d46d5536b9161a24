/* What the files of src/shadow share. Nobody else includes it.
 *
 * Two kinds of state. `shadow_pool` lies in the arena, at the same address in every
 * process: page flags, the register of page tables in use, the software TLB, what each
 * view's high half was derived from. `view_self` is private to a view process: the
 * directory of what that view has mapped. Both pointers are set once, by shadow_init
 * and shadow_view_init.
 *
 * The rule that everything rests on: what a view maps is at any time a subset of what
 * the guest's tables say, but for the ranges that lie in the view's queue. The tables
 * that a mapping came from are traced, so no change is missed; every guest TLB flush
 * is then just "apply the queue". */
#pragma once
#include "shadowbox/counters.h"
#include "shadowbox/dbt.h"
#include "shadowbox/log.h"
#include "shadowbox/shadow.h"
#include <string.h>

/* --- guest page tables (SDM vol. 3, 4.5) ---------------------------------------- */
#define PTE_P BIT(0)
#define PTE_RW BIT(1)
#define PTE_US BIT(2)
#define PTE_A BIT(5)
#define PTE_D BIT(6)
#define PTE_PS BIT(7)
#define PTE_G BIT(8)
#define PTE_NX BIT(63)
#define GUEST_PHYS_BITS 46 /* as CPUID says */
#define PTE_ADDR ((BIT(GUEST_PHYS_BITS) - 1) & PAGE_MASK)
#define PTE_RSVD (BIT(52) - BIT(GUEST_PHYS_BITS))

#define HALF_SIZE BIT(47)
#define HIGH_BASE 0xffff800000000000UL
#define HVA_MIN 0x10000UL /* the usual vm.mmap_min_addr */
#define HVA_MAX (HALF_SIZE - PAGE_SIZE)

static inline bool gla_is_high(u64 a) { return a >> 63; }
/* log2 of what one entry of a table of this level (1 leaf ... 4 root) maps. */
static inline unsigned level_shift(unsigned level) { return 12 + 9 * (level - 1); }
static inline unsigned level_index(u64 a, unsigned level)
{
	return a >> level_shift(level) & 511;
}
static inline u64 cpu_root(const struct vcpu *v) { return v->cr3 & PTE_ADDR; }

/* --- walk.c --------------------------------------------------------------------- */
/* The entries that a translation goes through. */
struct path {
	u64 *ptr[4];
	u64 entry[4];
	u8 n;         /* entries read; 0 without paging */
	u8 level;     /* of the last one */
	bool rw, us, nx;
};
/* As walk_gla, but registers no table; path may be used until guest code runs again. */
int walk_path(struct vcpu *v, gla_t a, u32 acc, bool user, struct walk *out, struct path *p) MUST_CHECK;
/* Where a maps to, without checks and without setting A; false if nowhere. */
bool walk_peek(const struct vcpu *v, u64 a, u64 *to);
/* The same with all that a walk finds; out->dirty is that of the last entry, A not looked at. */
bool walk_look(const struct vcpu *v, u64 a, struct walk *out, struct path *p);
bool pte_reserved(const struct vcpu *v, unsigned level, u64 e);
u64 pte_read(u64 table, unsigned index);

/* --- trace.c -------------------------------------------------------------------- */
enum page_flag { PAGE_PT = 1, PAGE_CODE = 2, PAGE_HELD = 4 };
#define TRACE_LOG_SIZE 65536u /* power of two */

u8 page_flags_of(u64 pa);
void trace_set(struct vcpu *v, u64 pa, u8 flag);
void trace_clear(u64 pa, u8 flag);
/* First traced page in [pa, end), or end. */
u64 trace_next(u64 pa, u64 end);

/* --- hold.c: pages that are kept read-only ---------------------------------------- */
#define HELD_MAX 256u

struct held {
	u32 pfn;
	u32 rounds, rounds_wanted; /* how often it was made writable, and when that is often */
	i32 credit;
	u32 writer_traps;          /* in a row, of the instruction at `writer` */
	u64 writer;
	u64 since;                 /* time stamp counter */
};
/* The guest's tables allow writes to the page, which is mapped and not a table or code. True:
 * it stays read-only nevertheless. */
bool hold_raises(struct vcpu *v, u64 pa);
/* It was made writable where it is mapped. */
void hold_count_round(u64 pa);
/* A write to a held page faulted, at v->rip. FILL_DONE: it is held no more; FILL_ONCE, FILL_TRACED. */
enum fill_result hold_trapped(struct vcpu *v, u64 pa, bool user);
/* A soft write was done. */
void hold_written(u64 pa, u32 len);

/* --- uses.c: which table page maps which addresses, for whom --------------------- */
/* Owner of the tables of the high half; else owners are view slots. */
#define OWNER_HIGH VIEW_MAX

struct pt_use {
	u64 base;       /* first address that the table maps */
	u32 pfn;        /* of the table */
	u32 hash_next;  /* all uses of tables with this hash */
	u32 next, prev; /* all uses of this owner */
	u8 level;       /* of the table */
	u8 owner;
};
void uses_init(struct pt_use *use, u32 n, u32 *hash, u32 hash_size);
void uses_add_path(struct vcpu *v, u64 a, const struct walk *w);
void uses_entry_changed(struct vcpu *v, u64 pa, u64 old, u64 new_entry);
/* Invalidates all that the table maps and forgets the table. */
void uses_drop_table(struct vcpu *v, u64 table);
void uses_drop_owner(unsigned owner);
void uses_drop_all(void);

/* --- map.c: what this view has mapped -------------------------------------------- */
enum half { HALF_LOW, HALF_HIGH };
enum { ORDER_4K, ORDER_2M, ORDER_1G, ORDER_FREE = 0xff };
#define VIEW_MAPS_HVA (PRIVATE_HVA + 0x10000000UL)
#define MAP_HASH_BITS 15

/* One guest page that is, or partly is, mapped. */
struct map_node {
	u64 hva;
	u32 pfn;
	u32 hva_next, gpa_next;
	u8 order;
	bool writable; /* some of it may be */
	bool exec;     /* guest code runs there as it is */
	bool copy;     /* ... in a patched copy of the page, which cannot be read */
	bool uffd;     /* 4 KiB: the host's mapping is writable, userfaultfd decides */
	u8 key;
};
struct map_dir {
	struct map_node *node; /* [0] is not used */
	u32 max, fresh, free, n_free, vmas;
	u32 count[3];
	u64 slots[4];          /* 512 GiB slots of hva with something mapped */
	u32 hva_head[1 << MAP_HASH_BITS];
	u32 gpa_head[1 << MAP_HASH_BITS];
};
struct view_maps {
	unsigned slot;
	u64 raised;          /* page that fill_raise saw last, and how many in a row */
	u32 raise_run;
	u64 gave_way;        /* when a patched copy was last unmapped to be read (fill.c) */
	u64 *maybe_writable; /* per page of RAM: some mapping may allow writes */
	struct map_dir dir[2];
};
extern struct view_maps *view_self;

void map_init(unsigned slot);
static inline u64 map_hva(u64 a) { return gla_is_high(a) ? a + ARENA->fold : a; }
static inline bool hva_in_zone(u64 hva) { return hva >= ZONE_BASE && hva < ZONE_END; }
/* n pages at page address a to pa on. False: the host refuses. */
bool map_small(u64 a, u64 pa, unsigned n, bool writable, u8 key);
/* The same for code that runs as it is, at low addresses. */
bool map_code(u64 a, u64 pa, unsigned n);
bool map_code_copy(u64 a, u64 pa, u64 copy);
bool map_is_code(u64 a, u64 pa);
bool map_is_copy(u64 a, u64 pa);
void map_uncode(u32 pfn);
/* The guest page of order ORDER_2M/1G that holds a, or, if it is there already, only
 * the 4 KiB around a. */
bool map_large(u64 a, u64 pa, unsigned order, bool writable, u8 key);
/* Gives a page that is mapped so the right to write; false if it is not. */
bool map_raise(u64 a, u64 pa, u8 key);
bool map_present(u64 a, u64 pa, bool writable);
void map_drop(u64 start, u64 len); /* addresses of one half */
/* The same, but what the current root's tables still say stays, if need be without the right
 * to write. For low addresses in the view that belongs to that root. */
void map_revalidate(struct vcpu *v, u64 start, u64 len);
void map_flush(enum half h);
void map_protect(u32 pfn);

/* --- view.c --------------------------------------------------------------------- */
enum { VIEW_FLUSH_LOW = 1, VIEW_FLUSH_HIGH = 2 };

void inval_range(struct vcpu *v, unsigned owner, u64 start, u64 len);
void inval_exec_add(unsigned owner, u64 a);
/* Applies flushes and the queue of the running view; code mappings of the high half. */
void view_sync(struct vcpu *v);
bool view_sync_high_due(void);
/* Everything derived from any table is void. */
void view_reset_all(struct vcpu *v);
void view_root_gone(struct vcpu *v, unsigned slot);
/* May the running view hold a mapping of a, as the current root has it? Drops what
 * contradicts it in the high half. */
bool view_can_hold(struct vcpu *v, u64 a);
/* The slot that low-half tables of the current root belong to here, or -1. */
int view_owner_low(const struct vcpu *v);
void view_check_high(struct vcpu *v);
void view_high_used(struct vcpu *v, unsigned owner, u64 a);

/* --- fill.c --------------------------------------------------------------------- */
/* What the tables allow a low page that is mapped to pfn with this key; the tables are
 * registered if they allow anything. */
enum fill_rights { RIGHTS_NONE, RIGHTS_READ, RIGHTS_WRITE };
enum fill_rights fill_rights(struct vcpu *v, u64 a, u32 pfn, u8 key, bool exec);
/* An entry for a now allows writes: if the page is mapped already, it may be written at once. */
void fill_raise(struct vcpu *v, u64 a);
#define RAISE_RUN_MAX 4
/* An entry for a became present: map it at once if the guest just faulted there. */
void fill_ahead(struct vcpu *v, u64 a);

/* --- soft.c --------------------------------------------------------------------- */
void soft_tlb_flush(bool global);
void soft_tlb_drop(u64 a);

/* --- quick.c ------------------------------------------------------------------------ */
#define QUICK_USED_MAX 4096u

struct quick {
	u32 used;
	u32 list[QUICK_USED_MAX]; /* entries that are not empty: index * 2 + user */
	u64 written[64];          /* pages that may be written by way of them, hashed */
};
void quick_init(void);
void quick_fill(u64 a, u64 pa, enum quick_use use, bool user);
void quick_flush(void);
void quick_drop(u64 a);
void quick_traced(u32 pfn); /* writes to the page must be seen from now on */

/* --- the pool ------------------------------------------------------------------- */
#define SOFT_TLB_SIZE 1024u

struct soft_entry {
	u64 tag[3];  /* read, write, exec: page | privilege | 2, 0 if not allowed or unknown */
	u64 pa;
	u64 stamp;   /* flush clock when filled */
	bool global, user_page, ram;
};
struct soft_tlb {
	u64 clock, flushed_any, flushed_global;
	bool large[2]; /* per half: an entry came from a large page */
	struct soft_entry entry[SOFT_TLB_SIZE];
};
/* Root entries of the high half that something was derived from. */
struct high_id {
	u64 entry[256];
	u64 used[4];
};
struct gla_range { u64 start, len; };
#define HIGH_LOG_SIZE 1024 /* power of two */
#define EXEC_FILTER_BITS 4096

struct shadow_pool {
	u64 pages;           /* of guest physical space that can be RAM */
	u8 *page_flags;
	u16 *region_traced;  /* traced pages per 2 MiB */
	u32 *trace_log;      /* pfns in the order in which they became traced */
	u64 trace_pos;
	struct pt_use *use;
	u32 *use_hash;
	u32 use_hash_mask, use_max, use_fresh, use_free;
	u32 use_list[VIEW_MAX + 1];
	struct {             /* the path that was registered last, and nothing has gone since */
		u64 a;           /* 0: none */
		u64 table[4];
		int owner;
	} use_last;
	struct soft_tlb tlb;
	struct quick quick;
	struct held held[HELD_MAX];
	struct high_id high[VIEW_MAX + 1]; /* [OWNER_HIGH]: of the kernel lookup table */
	struct gla_range high_log[HIGH_LOG_SIZE]; /* invalidations in the high half */
	bool foreign;        /* the current root's high half is another one than high[] is of */
	bool high_user;      /* user code has been found in the high half */
	u32 foreign_left;    /* instructions until it is taken over */
	u32 foreign_vain;    /* how often lately it had to be */
	u64 high_pos, high_seen[VIEW_MAX + 1];
	bool high_open;      /* nobody has seen the last one yet: it may grow */
	u64 exec_filter[VIEW_MAX + 1][EXEC_FILTER_BITS / 64];
	u64 use_clock;
	u32 lives;
	u64 mode;
};
extern struct shadow_pool *shadow_pool;
extern u64 shadow_pages; /* shadow_pool->pages, where views cannot write it */

static inline void count(struct vcpu *v, enum counter c) { v->counters[c]++; }
