/* User code that runs as it is, at its own addresses, with the rights of user code.
 *
 * A page of guest RAM may be executable in a view if at no byte of it an instruction could
 * begin that gives rights (WRPKRU, XRSTOR), and if it holds none that does something else
 * here than in the guest (CPUID, RDTSCP, SGDT ...). All bytes are looked at, once, and the
 * page is traced as if it held translated code. If there are some such instructions, what
 * runs is a copy with UD2 in their place; it can be executed but not read (protection keys),
 * and UD2 leads to the translated instruction. Bytes can look like such an instruction
 * without being one; so a page that may have some is translated at first, and what the
 * translator comes across is taken out. A write to it
 * takes it back. What cannot run this way is translated, page by page; a branch from one
 * kind of page to the other costs a fault one way and nothing the other.
 *
 * System calls raise SIGSYS (Syscall User Dispatch). That costs more than SYSCALL in
 * translated code, so a page that makes many of them, or calls translated code often, is
 * translated as well.
 *
 * Segment loads and far transfers to flat segments are left to the processor: the
 * selectors that a guest must have (native_allowed) are the host's own. */
#include <string.h>
#include "decode.h"
#include "emit.h"
#include "engine.h"
#include "shadowbox/log.h"

/* Learning: translated until what looks like a special instruction has been seen to be one. */
enum { PAGE_UNKNOWN, PAGE_RUNS, PAGE_REFUSED, PAGE_LEARNING };
struct native_page {
	u8 state;
	u8 specials : 1; /* some have been seen there */
	u8 left : 3;     /* how often it was left to the translator: the longer it stays there */
	u16 changes;     /* rewritten lately; while it learns, entries from native code */
	u16 when, copy;
	/* How many young address spaces had it made executable at the same address (its last bits), and
	 * the last of them. */
	u16 entered : 4, entered_by : 4, entered_at : 8;
};

static struct native_page *pages;
static u64 n_pages;

#define HOST_USER_CS 0x33
#define HOST_USER_SS 0x2b
#define REWRITES_MAX 1000 /* of a page in a while; one costs some 15 microseconds */
#define EVENTS_MAX 512  /* signals that code of a page may cost, halved each window */
#define EVENTS_LESS 2048 /* the same for a while after pages were taken back */
#define AGAIN_AFTER 2   /* epochs until a page that was left to the translator is tried again */
#define TIRE_SHIFT 27   /* of the time stamp counter: some 50 milliseconds */
#define TIRED 3000      /* ... in which a process may come this often to translated pages */
#define WINDOW_SHIFT 25 /* of the time stamp counter: some ten milliseconds */

size_t native_init(void *base, size_t room)
{
	const struct physmem *pm = &ARENA->machine.phys;
	u64 end = pm->high_end > PHYS_4G ? pm->high_end : pm->low_end;

	pages = base;
	n_pages = end >> PAGE_SHIFT;
	if (n_pages * sizeof(*pages) > room)
		panic("the arena is too small for %lu pages", n_pages);
	return (n_pages * sizeof(*pages) + 63) & ~63UL;
}

/* In units that a page's `when` counts: some tenths of a second. */
static u16 epoch_now(void) { return (u16)(__builtin_ia32_rdtsc() >> 30); }

/* --- processes that do not come to rest ------------------------------------------------------- */
/* Each page that is left to the translator makes calls between it and others cost a fault, and so
 * more pages are left: mostly that ends, with few. Where it does not, all of them are taken back,
 * and for a while more has to happen until one is left. A process that comes to translated pages
 * as often without them is translated as a whole. Either lasts longer each time. */
static struct { u32 life, window, events; struct pause pause; } rest;

#define PAUSE_MOST 256 /* epochs */

static u16 paused_for(const struct pause *p) { return (u16)(epoch_now() - p->since); }
static bool is_on(const struct pause *p) { return paused_for(p) < p->epochs; }

static void begin(struct pause *p)
{
	p->since = epoch_now();
	p->epochs = !p->epochs ? 2 : p->epochs < PAUSE_MOST ? 2 * p->epochs : p->epochs;
}

static u32 life_of_view(void) { return ARENA->view[engine.slot].life; }

static bool rests(void)
{
	return rest.pause.epochs && rest.life == life_of_view() && is_on(&rest.pause);
}

static void try_again(u64 page)
{
	pages[page >> PAGE_SHIFT].state = PAGE_UNKNOWN;
	cache_drop_range(gpa(page), 0, PAGE_SIZE, true);
}

/* False: there are none. */
static bool take_back_pages(void)
{
	bool any = false;

	for (u64 pfn = 0; pfn < n_pages; pfn++) {
		if (pages[pfn].state != PAGE_REFUSED || !pages[pfn].left)
			continue;
		try_again(pfn << PAGE_SHIFT);
		any = true;
	}
	if (!any)
		return false;
	/* Long ago: a shorter one will do. */
	if (paused_for(&cache->leaves_less) > 4 * cache->leaves_less.epochs)
		cache->leaves_less.epochs = 0;
	begin(&cache->leaves_less);
	return true;
}

static void tire(struct vcpu *v)
{
	u32 now = (u32)(__builtin_ia32_rdtsc() >> TIRE_SHIFT);

	if (rest.life != life_of_view())
		rest.life = life_of_view(), rest.pause.epochs = 0;
	if (rest.window != now)
		rest.events = 0;
	rest.window = now;
	if (++rest.events < TIRED)
		return;
	rest.events = 0;
	if (take_back_pages()) {
		v->counters[CTR_NATIVE_BACK]++;
		return;
	}
	begin(&rest.pause);
}

/* But for what user code itself has: CS, SS and flags. The data segment registers hold what the
 * host's do: nothing. */
static bool machine_allows(const struct vcpu *v)
{
	const u64 cr4 = CR4_OSFXSR | CR4_OSXSAVE;

	return ARENA->host.native && !cpu_breakpoints_armed(v) && !(v->seg[SEG_DS].sel | v->seg[SEG_ES].sel | v->seg[SEG_FS].sel | v->seg[SEG_GS].sel) && !cache->native_off && (v->efer & EFER_SCE) &&
	       !rests() && !(v->cr0 & (CR0_TS | CR0_EM)) && (v->cr4 & cr4) == cr4 && !(v->cr4 & CR4_TSD) && !v->tsc_offset &&
	       v->xcr0 == (ARENA->host.xcr0 & 0xff) && shadow_zone_is_free(v);
}

bool native_allowed(const struct vcpu *v)
{
	return v->cpl == 3 && cpu_code_size(v) == 64 && v->seg[SEG_CS].sel == HOST_USER_CS &&
	       v->seg[SEG_SS].sel == HOST_USER_SS && v->intr_enabled && !(v->rflags & ~(u64)(FL_HOST | FL_RF | 2)) &&
	       machine_allows(v);
}

bool native_after_sysret(const struct vcpu *v)
{
	return syscall_cs(v->star, 3) == HOST_USER_CS && syscall_ss(v->star, 3) == HOST_USER_SS && machine_allows(v);
}

/* --- what a page holds ----------------------------------------------------------------------- */
/* Instructions that do something else here than in the guest; p[0] is 0x0f, p[-2] to p[2] may be
 * read. Not among them, for numbers and addresses often look like them and programs do not have
 * them: SLDT, STR, VERR, VERW, and SGDT, SIDT, SMSW with memory. XEND and XTEST are what the
 * host makes of them. */
static bool differs(const u8 *p)
{
	bool f3 = p[-1] == 0xf3 || ((p[-1] & 0xf0) == 0x40 && p[-2] == 0xf3), reg_form = p[2] >= 0xc0;
	u8 reg = p[2] >> 3 & 7;

	switch (p[1]) {
	case 0x01: return reg_form && p[2] != 0xd5 && p[2] != 0xd6; /* XGETBV, RDTSCP, RDPKRU, SMSW ... */
	case 0x02: case 0x03: return reg_form;                      /* LAR, LSL */
	case 0x34: case 0xa2: return true;                          /* SYSENTER, CPUID */
	case 0xae: return reg_form ? f3 && reg < 4 : reg == 4 || reg == 6; /* FS and GS bases; XSAVE, XSAVEOPT */
	case 0xc7: return reg_form ? f3 && reg == 7 : reg >= 3 && reg <= 5; /* RDPID; XRSTORS, XSAVEC, XSAVES */
	}
	return false;
}

/* Decoding from here on, is the byte at `at` the 0x0f of an opcode? */
static bool decodes_as_opcode(const u8 *page, unsigned pos, unsigned at)
{
	struct insn in;

	while (pos <= at) {
		unsigned len = decode_layout(&in, page + pos, PAGE_SIZE - pos);

		if (in.map && !in.vex && pos + in.off_opcode == at + 1)
			return true;
		pos += len ? len : 1;
	}
	return false;
}

/* Functions begin at multiples of 16, behind what compilers and assemblers fill gaps with: a NOP
 * with a memory operand, or one or more bytes behind a RET. */
static bool begins_function(const u8 *page, unsigned pos)
{
	const u8 *p = page + pos;
	struct insn in;

	if ((p[-1] == 0x90 || p[-1] == 0xcc) && (p[-2] == 0xc3 || p[-2] == p[-1]))
		return true;
	for (int n = 3; n <= 11; n++)
		if (decode_layout(&in, p - n, n) == (unsigned)n && in.map == 1 && in.opcode == 0x1f)
			return true;
	return false;
}

/* Is the 0x0f at `at` an opcode, or part of a number or address? From the beginnings of functions
 * there is a sure answer, if they agree. Else one may begin to decode anywhere: after some
 * instructions the result is mostly the same. */
enum verdict { IS_OTHER, IS_LIKELY, IS_SURE };
#define LOOK_BACK 1024

static enum verdict judge(const u8 *page, unsigned at)
{
	unsigned far = at > LOOK_BACK ? at - LOOK_BACK : 16, yes = 0, tries = 0;

	for (unsigned pos = at & ~15u; pos >= far && pos >= 16 && tries < 3; pos -= 16)
		if (begins_function(page, pos)) {
			yes += decodes_as_opcode(page, pos, at);
			tries++;
		}
	if (tries && (!yes || yes == tries))
		return yes ? IS_SURE : IS_OTHER;
	for (unsigned back = 64; back < 72; back++)
		yes += decodes_as_opcode(page, at > back ? at - back : 0, at);
	return yes > 1 ? IS_LIKELY : IS_OTHER;
}

/* The bytes from page[at - 2] on, and what can be the worst beyond the page's edges. */
static const u8 *window_at(const u8 *page, unsigned at, u8 buf[8])
{
	if (at >= 2 && at < PAGE_SIZE - 3)
		return page + at;
	for (unsigned i = 0; i < 6; i++) {
		unsigned from = at + i - 2;
		buf[i] = from < PAGE_SIZE ? page[from] : at < 2 ? 0xf3 : 0xff;
	}
	return buf + 2;
}

/* Whatever page comes before or behind: a byte 0x0f may end it, but nothing longer. */
static bool edges_safe(const u8 *page)
{
	const u8 *last = page + PAGE_SIZE - 2, first[3] = { 0x0f, page[0], page[1] };

	return !code_gives_rights(first) && !(last[0] == 0x0f && (last[1] == 0x01 || last[1] == 0xae));
}

/* Only what has been executed, translated, is known to be an instruction. */
static u32 seen_slot(u64 at) { return (u32)((at * 0x9e3779b97f4a7c15UL) >> 48) & (SEEN_SIZE - 1); }

void native_seen(const struct insn *in, u64 gpa)
{
	u64 at = gpa + in->off_opcode - 1;

	if (in->map != 1 || in->vex || !n_pages || at >> PAGE_SHIFT != gpa >> PAGE_SHIFT ||
	    !(code_gives_rights(in->bytes + in->off_opcode - 1) || differs(in->bytes + in->off_opcode - 1)))
		return;
	if (at >> PAGE_SHIFT >= n_pages)
		return;
	cache->seen[seen_slot(at)] = at + 1;
	pages[at >> PAGE_SHIFT].specials = 1;
	if (pages[at >> PAGE_SHIFT].state == PAGE_LEARNING)
		pages[at >> PAGE_SHIFT].state = PAGE_UNKNOWN;
}

static void forget_seen(struct native_page *p, u64 page)
{
	if (!p->specials)
		return;
	p->specials = 0;
	for (unsigned i = 0; i < SEEN_SIZE; i++)
		if (cache->seen[i] - 1 - page < PAGE_SIZE)
			cache->seen[i] = 0;
}

#define PATCHES_MAX 64
struct patches { unsigned n, likely, grave; u16 at[PATCHES_MAX]; };

/* XSAVE and its kind: of another XCR0 they store more than the guest has room for. */
static bool saves_state(const u8 *p) { return p[2] < 0xc0 && (p[1] == 0xae || p[1] == 0xc7); }

/* What must be taken out of the page, and what is likely to be found yet. False: it cannot run. */
static bool find_patches(const u8 *page, u64 gpa, struct patches *list)
{
	u8 buf[8];

	list->n = list->likely = list->grave = 0;
	for (unsigned i = 0; i < PAGE_SIZE; i++) {
		enum verdict verdict;
		const u8 *p;
		bool rights;

		if (page[i] != 0x0f)
			continue;
		p = window_at(page, i, buf);
		rights = code_gives_rights(p);
		if (!rights && !differs(p))
			continue;
		verdict = cache->seen[seen_slot(gpa + i)] == gpa + i + 1 ? IS_SURE : judge(page, i);
		if (verdict == IS_SURE) {
			if (list->n == PATCHES_MAX || i == PAGE_SIZE - 1)
				return false;
			list->at[list->n++] = i;
		} else if (verdict == IS_LIKELY) {
			list->likely++;
			list->grave += rights || saves_state(p);
		} else if (rights) {
			return false;
		}
	}
	return edges_safe(page);
}

/* A copy of the page in the pool, with UD2 in these places. 0: no room, or still not safe. */
static u16 make_copy(const u8 *page, const struct patches *list)
{
	struct patch_pool *pool = &cache->patched;
	u16 i = pool->free ? pool->free : pool->used + 1;
	u8 *copy = (u8 *)PATCH_HVA + (u64)i * PAGE_SIZE;

	if (i == PATCH_PAGES)
		return 0;
	memcpy(copy, page, PAGE_SIZE);
	for (unsigned k = 0; k < list->n; k++) {
		copy[list->at[k]] = 0x0f;
		copy[list->at[k] + 1] = 0x0b;
	}
	for (unsigned k = 0; k + 3 <= PAGE_SIZE; k++)
		if (copy[k] == 0x0f && code_gives_rights(copy + k))
			return 0;
	if (pool->free)
		pool->free = pool->next[i];
	else
		pool->used++;
	return i;
}

static void free_copy(struct native_page *p)
{
	struct patch_pool *pool = &cache->patched;

	if (!p->copy)
		return;
	pool->next[p->copy] = pool->free;
	pool->free = p->copy;
	p->copy = 0;
}

/* settle: what has not been seen by now is taken for something else, or if it does happen it
 * shows the host's CPUID or the like. */
static void look_at(struct vcpu *v, struct native_page *p, u64 page, bool settle)
{
	const u8 *bytes = physmem_ptr(gpa(page));
	struct patches list;

	v->counters[CTR_NATIVE_SCAN]++;
	p->state = PAGE_REFUSED;
	if (!find_patches(bytes, page, &list)) {
		v->counters[CTR_NATIVE_REFUSED]++;
	} else if (list.grave || (list.likely && !settle)) {
		p->state = PAGE_LEARNING;
	} else if (!list.n || (p->copy = make_copy(bytes, &list))) {
		p->state = PAGE_RUNS;
		v->counters[CTR_NATIVE_PATCHED] += p->copy != 0;
	}
}

bool dbt_runs_native(gpa_t page)
{
	u64 pfn = page.v >> PAGE_SHIFT;

	return pfn < n_pages && pages[pfn].state == PAGE_RUNS;
}

void native_forget(u64 page)
{
	struct native_page *p = &pages[page >> PAGE_SHIFT];

	if (page >> PAGE_SHIFT < n_pages && p->state != PAGE_RUNS)
		p->state = PAGE_UNKNOWN;
}

enum dbt_code dbt_code_at(struct vcpu *v, gpa_t page, gpa_t *from)
{
	u64 pfn = page.v >> PAGE_SHIFT;
	struct native_page *p = &pages[pfn];

	if (pfn >= n_pages || !physmem_is_ram(&ARENA->machine.phys, page))
		return CODE_TRANSLATED;
	if (p->state == PAGE_UNKNOWN) {
		/* Traced first, so that what is read is what will run. */
		trace_code_add(v, page);
		look_at(v, p, page.v & PAGE_MASK, false);
	}
	if (p->state != PAGE_RUNS)
		return CODE_TRANSLATED;
	*from = p->copy ? gpa((n_pages + p->copy) << PAGE_SHIFT) : page;
	return p->copy ? CODE_PATCHED : CODE_PLAIN;
}

/* The page that user code at a is in, and where; NULL: nowhere in RAM that it may execute. */
static struct native_page *page_at(struct vcpu *v, u64 a, gpa_t *at)
{
	struct walk w;

	if (walk_gla(v, gla(a), ACC_EXEC, true, &w) != CPU_NEXT || w.gpa.v >> PAGE_SHIFT >= n_pages)
		return NULL;
	*at = w.gpa;
	return &pages[w.gpa.v >> PAGE_SHIFT];
}

/* --- short-lived processes --------------------------------------------------------------------- */
/* To make a page executable costs more than a short process has to do there. So pages that were
 * made executable for many address spaces, one after the other, are translated for those that are
 * young: their blocks are there already. An address space ages by time, and by branches from
 * one kind of page to the other. */
#define OLD 96
#define TICK_AGES 32      /* a timer signal that finds its user code running */
#define CROSSING_AGES 3
#define ENTERED_OFTEN 8

static bool is_young(void) { return ARENA->view[engine.slot].age < OLD; }

static void grow_older(u32 by)
{
	u32 *age = &ARENA->view[engine.slot].age;

	if (*age >= OLD)
		return;
	*age += by;
	if (*age >= OLD)
		table_flush_own(); /* of the ways to translated code */
}

/* Translated blocks belong to an address, which for most programs is another one each time. */
static bool entered_often(struct vcpu *v, u64 a)
{
	unsigned self = life_of_view() & 15, at = a >> PAGE_SHIFT & 255;
	gpa_t unused;
	struct native_page *p = is_young() ? page_at(v, a, &unused) : NULL;

	if (!p)
		return false;
	if (p->entered_at != at)
		p->entered = 0;
	else if (p->entered >= ENTERED_OFTEN)
		return true;
	p->entered += p->entered_by != self;
	p->entered_at = at;
	p->entered_by = self;
	return false;
}

bool native_map(struct vcpu *v, u64 a)
{
	if (entered_often(v, a)) {
		v->counters[CTR_NATIVE_YOUNG]++;
		return false;
	}
	if (!shadow_map_exec(v, a))
		return false;
	v->counters[CTR_NATIVE_MAP]++;
	return true;
}

/* --- pages that are better translated --------------------------------------------------------- */

void native_written(u64 page)
{
	struct native_page *p = &pages[page >> PAGE_SHIFT];
	u16 now = epoch_now();

	if (page >> PAGE_SHIFT >= n_pages)
		return;
	forget_seen(p, page);
	if (p->state == PAGE_UNKNOWN)
		return;
	if (p->when != now)
		p->changes = 0;
	p->when = now;
	if (p->state == PAGE_RUNS)
		shadow_exec_revoke(gpa(page));
	free_copy(p);
	p->entered = 0;
	p->state = p->changes < REWRITES_MAX ? PAGE_UNKNOWN : PAGE_REFUSED;
	p->changes += p->changes < REWRITES_MAX;
}

static u32 window_now(void) { return (u32)(__builtin_ia32_rdtsc() >> WINDOW_SHIFT); }

/* Counts an event; true if there have been many lately. */
static bool often(u32 *events, u32 *window)
{
	u32 now = window_now();

	if (*window != now)
		*events = now - *window < 16 ? *events >> (now - *window) : 0;
	*window = now;
	if (++*events < (is_on(&cache->leaves_less) ? EVENTS_LESS : EVENTS_MAX))
		return false;
	*events = 0;
	return true;
}

static void leave_to_translator(struct vcpu *v, u64 a)
{
	gpa_t at;
	struct native_page *p = page_at(v, a, &at);

	if (!p || p->state != PAGE_RUNS)
		return;
	v->counters[CTR_NATIVE_HOT]++;
	p->state = PAGE_REFUSED;
	p->when = epoch_now();
	p->left += p->left < 7;
	shadow_exec_revoke(at);
	free_copy(p);
}

/* What was hot need not stay so: the page that the clock finds translated code in gets another
 * chance now and then. */
void native_tick(struct vcpu *v)
{
	struct native_page *p;
	gpa_t at;

	if (!cache->native_now || v->cpl != 3)
		return;
	grow_older(TICK_AGES);
	p = page_at(v, v->rip, &at);
	if (!p || p->state != PAGE_REFUSED || (u16)(epoch_now() - p->when) < AGAIN_AFTER << p->left)
		return;
	try_again(at.v & PAGE_MASK);
}

/* By address, in this view only: a page that is hot for one is translated for all. */
struct heat { u64 page, cr3; u32 events, window; };

static void heat(struct vcpu *v, u64 a)
{
	static struct heat heats[64];
	struct heat *h = &heats[a >> PAGE_SHIFT & 63];

	if (h->page != a >> PAGE_SHIFT || h->cr3 != v->cr3)
		*h = (struct heat){ a >> PAGE_SHIFT, v->cr3, 0, window_now() };
	if (often(&h->events, &h->window))
		leave_to_translator(v, a);
}

#define LESSONS 24

/* Called often enough, a page need not wait any longer for what is not executed. */
static bool has_learnt(struct vcpu *v)
{
	gpa_t at;
	struct native_page *p = page_at(v, v->rip, &at);

	if (!p || p->state != PAGE_LEARNING)
		return false;
	if (p->changes < LESSONS)
		return ++p->changes;
	look_at(v, p, at.v & PAGE_MASK, true);
	if (p->state == PAGE_LEARNING)
		p->state = PAGE_REFUSED;
	return p->state == PAGE_RUNS;
}

/* A branch to a translated page. A caller is found by the return address on the stack. Code
 * that returned (its return address is still there, below the stack) is found by what
 * translated code calls next: the lookup table forgets, and the engine is asked. */
static struct { u32 events, window; bool on; } hunt;

void native_left(struct vcpu *v)
{
	u64 stack[2];

	tire(v);
	grow_older(CROSSING_AGES);
	if (has_learnt(v))
		return;
	if (mem_read(v, gla(v->gpr[RSP] - 8), stack, sizeof(stack), ACC_READ) != CPU_NEXT)
		return;
	if (stack[0] != v->rip) {
		heat(v, stack[1]);
	} else if (often(&hunt.events, &hunt.window)) {
		table_forget_native();
		hunt.on = true;
	}
}

bool native_hunted(struct vcpu *v)
{
	if (!hunt.on)
		return false;
	hunt.on = false;
	leave_to_translator(v, v->rip);
	return true;
}

/* CPUID, which programs do dozens of times when they start, is done at once; a block of its own
 * is for the others. */
void native_special(struct vcpu *v)
{
	static const struct insn cpuid = { .op = OP_CPUID, .len = 2, .opsize = 4, .code_size = 64 };
	static const u8 cpuid_bytes[2] = { 0x0f, 0xa2 };
	u8 bytes[2];

	v->counters[CTR_NATIVE_SINGLE]++;
	heat(v, v->rip);
	engine.single = mem_read(v, gla(v->rip), bytes, sizeof(bytes), ACC_EXEC) != CPU_NEXT ||
			memcmp(bytes, cpuid_bytes, sizeof(bytes)) || cpu_ops[OP_CPUID](v, &cpuid) != CPU_NEXT;
	if (engine.single)
		return;
	v->rip += sizeof(bytes);
	v->rflags &= ~(u64)FL_RF;
	v->insn_done = 1;
}

int native_syscall(struct vcpu *v)
{
	static const struct insn in = { .op = OP_SYSCALL, .len = 2, .opsize = 8, .code_size = 64 };

	v->counters[CTR_NATIVE_SYSCALL]++;
	heat(v, v->rip);
	return cpu_ops[OP_SYSCALL](v, &in);
}
