/* User code that runs as it is, at its own addresses, with the rights of user code.
 *
 * A page of guest RAM may be executable in a view if at no byte of it an instruction could
 * begin that gives rights (WRPKRU, XRSTOR), and if it holds none that does something else
 * here than in the guest (CPUID, RDTSCP, SGDT ...). All bytes are looked at, once, and the
 * page is traced as if it held translated code. A write to it
 * takes it back. What cannot run this way is translated, page by page; a branch from one
 * kind of page to the other costs a fault one way and nothing the other.
 *
 * System calls raise SIGSYS (Syscall User Dispatch). That costs more than SYSCALL in
 * translated code, so a page that makes many of them, or calls translated code often, is
 * translated as well.
 *
 * Segment loads and far transfers to flat segments are left to the processor: the
 * selectors that a guest must have (direct_allowed) are the host's own. */
#include <string.h>
#include "decode.h"
#include "emit.h"
#include "engine.h"
#include "shadowbox/log.h"

enum { PAGE_UNKNOWN, PAGE_RUNS, PAGE_REFUSED };
struct direct_page { u8 state, changes; u16 when; };

static struct direct_page *pages;
static u64 n_pages;

#define HOST_USER_CS 0x33
#define HOST_USER_SS 0x2b
#define REWRITES_MAX 16 /* of a page in a while */
#define EVENTS_MAX 128  /* signals that code of a page may cost, halved each window */
#define WINDOW_SHIFT 23 /* of the time stamp counter: some milliseconds */

size_t direct_init(void *base, size_t room)
{
	const struct physmem *pm = &ARENA->machine.phys;
	u64 end = pm->high_end > PHYS_4G ? pm->high_end : pm->low_end;

	pages = base;
	n_pages = end >> PAGE_SHIFT;
	if (n_pages * sizeof(*pages) > room)
		panic("the arena is too small for %lu pages", n_pages);
	return (n_pages * sizeof(*pages) + 63) & ~63UL;
}

bool direct_allowed(const struct vcpu *v)
{
	const u64 cr4 = CR4_OSFXSR | CR4_OSXSAVE;

	return ARENA->host.direct && !cache->direct_off && context_fast_user(v) && (v->efer & EFER_SCE) &&
	       v->seg[SEG_CS].sel == HOST_USER_CS && v->seg[SEG_SS].sel == HOST_USER_SS &&
	       !(v->cr0 & (CR0_TS | CR0_EM)) && (v->cr4 & cr4) == cr4 && !(v->cr4 & CR4_TSD) && !v->tsc_offset &&
	       v->xcr0 == (ARENA->host.xcr0 & 0xff) && shadow_zone_is_free(v);
}

/* --- what a page holds ----------------------------------------------------------------------- */
/* Instructions that do something else here than in the guest; p[0] is 0x0f, p[-2] to p[3] may
 * be read. What the host refuses is no problem: it is then translated. */
static bool differs(const u8 *p)
{
	bool f3 = p[-1] == 0xf3 || ((p[-1] & 0xf0) == 0x40 && p[-2] == 0xf3), reg_form = p[2] >= 0xc0;
	u8 reg = p[2] >> 3 & 7;

	switch (p[1]) {
	case 0x00: return reg != 2 && reg != 3;                    /* SLDT, STR, VERR, VERW */
	case 0x01: return reg_form || reg < 2 || reg == 4;         /* SGDT, SIDT, SMSW, XGETBV, RDTSCP, RDPKRU */
	case 0x02: case 0x03: case 0x34: case 0xa2: return true;   /* LAR, LSL, SYSENTER, CPUID */
	case 0xae: return reg_form ? f3 && reg < 4 : reg == 4 || reg == 6; /* FS and GS bases; XSAVE, XSAVEOPT */
	case 0xc7: return reg_form ? f3 && reg == 7 : reg >= 3 && reg <= 5; /* RDPID; XRSTORS, XSAVEC, XSAVES */
	}
	return false;
}

/* Do these bytes of the page, or are they part of another instruction? Whichever byte one begins
 * to decode at, after some instructions it is all the same. */
static bool is_opcode(const u8 *page, unsigned at)
{
	for (unsigned back = 40; back > 36; back--) {
		unsigned pos = at > back ? at - back : 40 - back;
		struct insn in;

		while (pos <= at) {
			unsigned len = decode_layout(&in, page + pos, PAGE_SIZE - pos);

			if (in.map && !in.vex && pos + in.off_opcode == at + 1)
				return true;
			pos += len ? len : 1;
		}
	}
	return false;
}

static bool refused(const u8 *page, unsigned at, const u8 *p)
{
	return code_gives_rights(p) || (differs(p) && is_opcode(page, at));
}

/* What is beyond the edges is not known: the worst. */
static bool edges_may_run(const u8 *page)
{
	u8 first[7] = { 0xf3, 0xf3 };

	memcpy(first + 2, page, 5);
	for (unsigned i = 0; i < 2; i++)
		if (page[i] == 0x0f && refused(page, i, first + 2 + i))
			return false;
	for (unsigned i = PAGE_SIZE - 3; i < PAGE_SIZE; i++) {
		static const u8 second[] = { 0x01, 0xae };

		for (unsigned j = 0; page[i] == 0x0f && j < sizeof(second); j++)
			if (i == PAGE_SIZE - 1 || page[i + 1] == second[j])
				return false;
	}
	return true;
}

static bool page_may_run(const u8 *page)
{
	for (unsigned i = 2; i < PAGE_SIZE - 3; i++)
		if (page[i] == 0x0f && refused(page, i, page + i))
			return false;
	return edges_may_run(page);
}

bool dbt_runs_direct(gpa_t page)
{
	u64 pfn = page.v >> PAGE_SHIFT;

	return pfn < n_pages && pages[pfn].state == PAGE_RUNS;
}

void direct_forget(u64 page)
{
	struct direct_page *p = &pages[page >> PAGE_SHIFT];

	if (page >> PAGE_SHIFT < n_pages && p->state == PAGE_REFUSED)
		p->state = PAGE_UNKNOWN;
}

bool dbt_may_run_direct(struct vcpu *v, gpa_t page)
{
	u64 pfn = page.v >> PAGE_SHIFT;
	struct direct_page *p = &pages[pfn];

	if (pfn >= n_pages || !physmem_is_ram(&ARENA->machine.phys, page))
		return false;
	if (p->state == PAGE_UNKNOWN) {
		/* Traced first, so that what is read is what will run. */
		trace_code_add(v, page);
		v->counters[CTR_DIRECT_SCAN]++;
		p->state = page_may_run(physmem_ptr(gpa(page.v & PAGE_MASK))) ? PAGE_RUNS : PAGE_REFUSED;
		v->counters[CTR_DIRECT_REFUSED] += p->state == PAGE_REFUSED;
	}
	return p->state == PAGE_RUNS;
}

bool direct_map(struct vcpu *v, u64 a)
{
	if (!shadow_map_exec(v, a))
		return false;
	v->counters[CTR_DIRECT_MAP]++;
	return true;
}

/* --- pages that are better translated --------------------------------------------------------- */
void direct_written(u64 page)
{
	struct direct_page *p = &pages[page >> PAGE_SHIFT];
	u16 now = (u16)(__builtin_ia32_rdtsc() >> 30);

	if (!n_pages || page >> PAGE_SHIFT >= n_pages || p->state == PAGE_UNKNOWN)
		return;
	if (p->when != now)
		p->changes = 0;
	p->when = now;
	if (p->state == PAGE_RUNS)
		shadow_exec_revoke(gpa(page));
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
	if (++*events < EVENTS_MAX)
		return false;
	*events = 0;
	return true;
}

static void leave_to_translator(struct vcpu *v, u64 a)
{
	struct walk w;

	if (walk_gla(v, gla(a), ACC_EXEC, true, &w) != CPU_NEXT || !dbt_runs_direct(w.gpa))
		return;
	v->counters[CTR_DIRECT_HOT]++;
	pages[w.gpa.v >> PAGE_SHIFT].state = PAGE_REFUSED;
	shadow_exec_revoke(w.gpa);
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

/* A branch to a translated page. A caller is found by the return address on the stack. Code
 * that returned (its return address is still there, below the stack) is found by what
 * translated code calls next: the lookup table forgets, and the engine is asked. */
static struct { u32 events, window; bool on; } hunt;

void direct_left(struct vcpu *v)
{
	u64 stack[2];

	if (mem_read(v, gla(v->gpr[RSP] - 8), stack, sizeof(stack), ACC_READ) != CPU_NEXT)
		return;
	if (stack[0] != v->rip) {
		heat(v, stack[1]);
	} else if (often(&hunt.events, &hunt.window)) {
		table_flush(true);
		hunt.on = true;
	}
}

bool direct_hunted(struct vcpu *v)
{
	if (!hunt.on)
		return false;
	hunt.on = false;
	leave_to_translator(v, v->rip);
	return true;
}

int direct_syscall(struct vcpu *v)
{
	static const struct insn in = { .op = OP_SYSCALL, .len = 2, .opsize = 8, .code_size = 64 };

	v->counters[CTR_DIRECT_SYSCALL]++;
	heat(v, v->rip);
	return cpu_ops[OP_SYSCALL](v, &in);
}
