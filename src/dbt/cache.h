/* The code cache: blocks, exits, marks (the back-map), lookup tables, chaining.
 *
 * A block is translated guest code from one entry to the first control transfer, page
 * end or length limit. Its key is (gva, gpa, mode). What it consists of lies in pools, which
 * are cut into regions alike: all of a block is in one region, and new blocks are added to
 * the current one. When a pool is full there, the next region, which is the oldest, gives up
 * its blocks and becomes the current one.
 *
 * A block that is dropped is in no list, no exit is chained to it and no table leads to it
 * any more. Its code and records stay, for it may be running, or what has just left it may be
 * on its way through the engine. Space is given back (cache_make_room, cache_flush) only where
 * the engine looks for code to run next: nothing runs then in any view, no soft operand is in
 * flight, and nobody knows a host PC. Who knows an exit or block by number looks at
 * `generation`.
 *
 * Host addresses in the cache are 32-bit offsets from CODE_RX_HVA / CODE_RW_HVA. */
#pragma once
#include "shadowbox/dbt.h"
#include "shadowbox/counters.h"
#include "shadowbox/insn.h"
#include "shadowbox/profile.h"

/* What is true at a host PC inside a block, from this mark to the next. */
enum mark_kind {
	MARK_BOUNDARY, /* exact guest state at guest offset goff */
	MARK_RESTART,  /* undo (unspill) to get the exact state at goff */
	MARK_DONE,     /* the instruction is done but for unspilling; then goff, the next one */
	MARK_TARGET,   /* a branch is done but for unspilling; the next RIP is in host RAX */
	MARK_BRANCH,   /* a branch is done; at a jump that its exit record says the target of */
	MARK_STEP,     /* neither: run on, instruction by instruction, to a boundary */
	MARK_EXIT,     /* on the way out to the engine, which will look at pending events */
};
enum mark_flags {
	MARK_PUSHED = 1, /* RSP has been decremented by 8 and must be put back */
	MARK_SOFT = 2,   /* a soft operand's pointer is in use: host addresses are physmap's */
	MARK_SHADOW = 4, /* the instruction after STI: interrupts wait for one more */
	MARK_LOW = 32,   /* kernel-high code's access to the low half */
	MARK_ELSE = 64,  /* a soft operand stands ready, for one run */
	MARK_FOLD_SI = 8, MARK_FOLD_DI = 16, /* RSI, RDI are folded, as kernel-high RSP always is */
};
struct mark {
	u16 off;   /* host offset in the block */
	u16 goff;
	u16 spill; /* registers whose guest value is in the spill slots */
	u8 kind, flags;
};

enum exit_kind {
	EXIT_CHAIN,    /* direct branch to `target` */
	EXIT_CALLOUT,  /* run cpu_ops[], go on at resume_a if that is not 0 */
	EXIT_SOFT,     /* resolve the memory operand; go on at resume_a (RAM) or resume_b */
	EXIT_SOFT_DONE,/* write back a bounce buffer or a traced write; go on at resume_a */
	EXIT_STORES,   /* that writes to page tables be followed; go on at resume_a */
	EXIT_RAISE,    /* raise the exception whose vector is in `scratch` */
	EXIT_INDIRECT, /* the lookup table lacks the target in spill slot 16; `undo` is what to
	                * add to RSP if the target is not canonical */
};
/* Exit ids below EXIT_FIRST are not records. */
enum {
	EXIT_ID_ASYNC = 1, EXIT_ID_FAULT, EXIT_ID_RETRY,
	EXIT_ID_RESUME,  /* go on at engine.resume_pc */
	EXIT_ID_EXEC,    /* user code left its pages for one that is not executable here: engine.exec_fault */
	EXIT_ID_SINGLE,  /* what runs as it is met something special: translate one instruction */
	EXIT_ID_SYSCALL, /* SYSCALL of user code that runs as it is */
	EXIT_ID_TRIAL,   /* page fault in the trial of a soft operand: engine.trial.cr2 */
	EXIT_ID_ABORTED, /* an event came before anything ran (entry.S) */
	EXIT_FIRST = 16,
};

struct exit_rec {
	u64 target;
	u32 block;
	u32 insn;      /* index into the insn pool */
	u32 resume_a, resume_b;
	u32 done;      /* EXIT_SOFT: where to go on when C has done all of the instruction */
	u32 patch_off; /* rel32 field that a chain patches */
	u32 stub_off;  /* where it points when not chained */
	u32 linked;    /* block that it is chained to, 0 none */
	u32 next_in, prev_in; /* exits chained to the same block */
	u16 goff;
	u8 kind;
	u8 scratch;    /* register that receives the soft pointer */
	u8 flavour, mode; /* of the code that leaves here; for chains, of what comes next */
	u8 shadow;     /* the instruction is in the shadow of STI */
	i32 undo;
};

enum block_mode {
	MODE_CPL3 = 1, MODE_FPU_TRAP = 2, MODE_CODE32 = 4, MODE_CODE16 = 8,
	MODE_STEP = 16, /* RFLAGS.TF: one instruction, never chained; #DB follows */
	/* User code whose CS, SS and flags are those that SYSRET loads (flags: IF alone, but
	 * the arithmetic ones): SYSCALL and SYSRET need not leave translated code. */
	MODE_FAST = 32,
	/* Kernel-low code from which SMAP keeps user pages away now: CR4.SMAP, and not RFLAGS.AC.
	 * (Kernel-high code reaches user pages by low.c and soft operands, which look at AC.) */
	MODE_CLOSED = 64,
	/* Kernel-high code to which SYSCALL in line leads: FS.base, which stands for the guest's GS,
	 * is still user code's. SWAPGS mostly comes first, and loads it anew. */
	MODE_LATE_GS = 128,
};
/* Mode and flavour: a lookup table holds blocks of one kind at a time. */
static inline u16 block_kind(u8 flavour, u8 mode) { return (u16)(mode | flavour << 8); }
static inline u8 kind_flavour(u16 kind) { return kind >> 8; }

/* The lists that a block is in. Their keys: its address, its page's, the gpa of each of its
 * pages; 0, for blocks that no view has for itself. */
enum block_list { BY_GVA, BY_GVA_PAGE, BY_PAGE0, BY_PAGE1, BY_NO_VIEW, LISTS };
struct block {
	u64 gva;
	u64 page0, page1; /* gpa of the page, and of the next if the code crosses; ~0 none */
	struct { u32 next, prev; } link[LISTS];
	u32 code_off, code_len;
	u32 marks, n_marks, exits, n_exits;
	u32 incoming;     /* exits chained here */
	u16 guest_len, n_insns;
	u8 flavour, mode, dead;
	u8 rests_on; /* enum premise, bits */
};

/* State that translations rest on besides their mode; it changes so rarely that a change
 * drops the blocks. */
enum premise {
	PREMISE_VECTOR, /* which vector instructions are valid: CR0.EM, CR4.OSFXSR, OSXSAVE, XCR0 */
	PREMISE_TSC,    /* RDTSC, RDTSCP in line: TSC offset, CR4.TSD, IA32_TSC_AUX */
	PREMISE_LSTAR,  /* SYSCALL and SYSRET in line */
	PREMISE_STAR,   /* and EFER.SCE */
	PREMISE_SFMASK,
	PREMISE_SMAP,   /* accesses to user memory look at RFLAGS.AC: CR4.SMAP */
	PREMISE_FSGSBASE, /* RDFSBASE and the like in line: CR4.FSGSBASE */
	PREMISE_COUNT
};

/* Its lookup table or, for SOFT, that of its privilege may hold it. */
static inline bool block_has_table(u8 flavour, u8 mode)
{
	return !(mode & MODE_STEP) && (flavour != FLAVOUR_SOFT || !(mode & (MODE_CODE32 | MODE_CODE16)));
}
/* Kernel code of the high half: the same in all views, may be chained across pages. */
static inline bool block_is_global(const struct block *b)
{
	return b->flavour == FLAVOUR_KHIGH || (b->flavour == FLAVOUR_SOFT && !(b->mode & MODE_CPL3) && b->gva >> 63);
}

#define MAX_BLOCKS (1u << 18)
#define MAX_EXITS (1u << 20)
#define MAX_INSNS (1u << 19)
#define MAX_MARKS (1u << 23)
#define REGIONS 8u
enum pool { POOL_BLOCK, POOL_EXIT, POOL_INSN, POOL_MARK, POOL_CODE, POOLS };
#define HASH_SIZE (1u << 16)
#define SOFT_SIZE (1u << 16)
#define HELD_WRITERS_MAX 32
#define TABLE_ENTRIES 65536u /* by the low 16 bits of the target; the next entry is a second place for it */
#define TABLE_PLACES (TABLE_ENTRIES + 1)

#define MEMO_BITS 15
#define MEMO_KEY 16
struct memo { u8 key[MEMO_KEY]; struct insn in; };
struct table_entry { u64 neg_gva, host; };
struct table_used { u32 count, idx[TABLE_PLACES]; };

/* Pages that run as it is but for some instructions (native.c). Index 0 is none. */
#define PATCH_PAGES (PATCH_SIZE >> PAGE_SHIFT)
#define SEEN_SIZE 8192u
struct pause { u16 since, epochs; }; /* something does not happen meanwhile */
struct patch_pool { u16 used, free, next[PATCH_PAGES]; };

struct cache {
	struct patch_pool patched;
	u64 seen[SEEN_SIZE]; /* special instructions of user code: gpa + 1 (native.c) */
	u32 region;                    /* the current one */
	u32 first[REGIONS + 1][POOLS]; /* where each region begins */
	u32 next[REGIONS][POOLS];      /* and is free from */
	u32 n_soft, n_held_writers;
	u64 held_writers[HELD_WRITERS_MAX]; /* gpa of those of class SOFT_HELD, and of some that were */
	u64 generation;   /* changes when numbers of exits and blocks come to mean others */
	u64 premise[PREMISE_COUNT]; /* what the blocks that rest on it were translated for */
	bool native_now;  /* the user tables may lead to code as it is */
	bool native_off;  /* not in this VM: some translated code could give rights */
	struct pause leaves_less; /* it takes more until a page is left to the translator */
	u16 table_kind[2]; /* which blocks (block_kind) the kernel and user tables hold */
	struct mark stub_mark[40]; /* back-map of the lookup stubs; off from the cache's start */
	u32 n_stub_marks;
	/* Entry points of the common stubs. */
	u32 exit_user, exit_kernel, enter_user, enter_inside, enter_kernel;
	u32 lookup_user, lookup_kernel, lookup_soft_user;
	u32 list[LISTS][HASH_SIZE];
	u64 soft[SOFT_SIZE]; /* instructions whose operand cannot be direct: gpa + 1, and its class above */
	u64 soft_pages[HASH_SIZE / 64]; /* a bit for each page that may hold some, by hash */
	struct block block[MAX_BLOCKS];
	struct exit_rec exit[MAX_EXITS];
	struct insn insn[MAX_INSNS];
	struct mark mark[MAX_MARKS];
	struct memo memo[1 << MEMO_BITS];
	struct table_used used_kernel;
	struct table_used used_user[VIEW_MAX];
	struct profile profile;
};
extern struct cache *cache;

/* What is free in the current region. */
static inline u32 *cache_next(enum pool p) { return &cache->next[cache->region][p]; }
static inline u32 cache_stubs_end(void) { return cache->first[0][POOL_CODE]; }

size_t dbt_init(void *base, size_t size);
void cache_make_room(void); /* for one more block, at most by what the oldest region has */
void cache_flush(void);
u32 cache_find(u64 gva, u64 gpa, u64 page1, u8 flavour, u8 mode);
void cache_insert(u32 id); /* block filled in: link into the hashes, trace its pages */
struct block *cache_block_at(u64 host_pc); /* NULL if host_pc is not in a block */
struct exit_rec *cache_exit(u64 id); /* NULL if there is no such record */
const struct mark *cache_stub_mark(u64 host_pc); /* NULL: not in a lookup stub */
const struct mark *cache_mark(const struct block *b, u64 host_pc);
/* Host PC where the block begins the guest instruction at goff; 0 none. */
u64 cache_boundary(const struct block *b, u16 goff);
void cache_chain(u32 exit_id, u32 block);
void cache_drop(u32 block);
/* The blocks that overlap [off, off + len) of the page at `page`; all: of all of it. */
void cache_drop_range(gpa_t page, u32 off, u32 len, bool all);
void cache_check_premises(const struct vcpu *v); /* drops the blocks whose premise is gone */
/* Lookup tables of indirect branches. */
void table_set(struct vcpu *v, u64 gva, u32 block);
void table_set_native(u64 gva); /* user code as it is */
void table_forget(u64 gva);     /* the running view's user table */
void table_forget_native(void); /* all native code of the running view's user table */
u64 table_get(bool user, u64 gva);
void table_flush(bool user);
void table_flush_own(void); /* the running view's user table */
bool table_has_low(void); /* the kernel's may hold code of the low half */
/* Instructions whose operand could not be direct. SOFT_TABLE: it wrote to a page table. SOFT_HELD: user code that
 * writes to held pages, until dbt_hold_ended. SOFT_LOW, SOFT_BOTH: kernel-high code that reaches user memory,
 * SOFT_BOTH kernel memory too; what neither path can do stays soft. */
enum soft_class { SOFT_NO, SOFT_ALWAYS, SOFT_TABLE, SOFT_HELD, SOFT_BOTH, SOFT_LOW };
enum soft_class soft_wanted(u64 gpa);
void soft_add(u64 gpa, enum soft_class c);
/* Generates the common stubs at the start of the code cache (emit.c). */
#define STUBS_OFF 64 /* in the code cache */
void emit_stubs(u32 end); /* of the room for them */

/* What translated code may write besides guest memory: a page a privilege (layout.h). A
 * guest that aims a wild pointer at its own slots reaches nothing but its own registers
 * and its own interrupt flag; nothing here is trusted by C code. */
struct slots {
	u64 reg[16];      /* guest registers that translated code has spilled */
	u64 target;       /* host PC to jump to, or guest RIP on the way to the engine */
	u64 stack[4], stack_end[1]; /* for PUSHF; what is pushed first lies in stack[3] */
	/* In the kernel's page only: guest state that translated code changes without C, copied
	 * from struct vcpu when it is entered and back when it has left (context.c). */
	u64 intr;         /* RFLAGS.IF: FL_IF or 0 */
	u64 sysflags;     /* RFLAGS as PUSHF stores it, with AC, but the flags of FL_HOST and IF */
	u64 no_ac;        /* to be added to that: 0 if AC is set, else -FL_AC */
	u64 gs_base, kernel_gs_base;
	u64 gs_host, kernel_gs_host; /* what the host's FS.base holds for them in kernel-high code */
	u64 fs_base;
	u64 sel[6];       /* the selectors, to be read (enum seg_reg) */
	u64 hold;         /* something waits for IF: setting it is for C */
	u64 user_ready;   /* SYSRET may go straight to user code: view and table are right */
	u64 iret_ready;   /* IRET too: no segment register would have to be cleared */
	u64 gdt_cs, gdt_ss; /* host addresses of the descriptors that it then loads */
	u64 desc_cs, desc_ss; /* their contents, on the way */
	u64 cr[5];        /* control registers, to be read */
	u64 flags;        /* the host's, on the way: LAHF and SETO */
	u64 address;      /* of an operand that should be in the low half */
	u64 away;         /* the low half here is not the current address space's */
	u64 use_soft;     /* no mapping could serve: for one run, let soft operands do it */
	u64 stored;       /* TABLE_STORES to be followed; one byte of it counts */
	u64 gate;         /* not 0: kernel code is on its way through a gate (emit.h) */
};
static inline struct slots *slots_of(u8 flavour)
{
	return (struct slots *)(flavour == FLAVOUR_USER ? HOT_SLOTS_U_HVA : HOT_SLOTS_K_HVA);
}
/* Address of the slot of register r; SLOT_TARGET is that of `target`. */
#define SLOT_TARGET 16
static inline u64 spill_slot(u8 flavour, unsigned r) { return (u64)slots_of(flavour) + r * 8; }

/* memo.c: what was decoded of an instruction of the same shape: one that differs in displacement
 * and plain immediate alone. */
bool memo_get(struct insn *in, u64 rip, const u8 *bytes, unsigned avail);
void memo_put(const struct insn *in);

/* translate.c */
u32 translate_block(struct vcpu *v, u8 flavour, u8 mode, u64 gva, u64 gpa, u64 page1);
