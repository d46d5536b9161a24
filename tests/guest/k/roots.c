/* Roots whose kernel halves differ, as page-table isolation has them: kernel code and data of
 * the same address but another page, or not there at all, under the other root; for a few
 * instructions, for many, with user code and changes of the tables meanwhile. */
#include "lib.h"

#define CODE KTEST
#define DATA (KTEST + 0x1000)
#define LOOP 2000

static struct regs r;
static u64 root[2];
static u64 *code_pte[2], code_page[3];

/* Both ends of a call are in this page: a sum that tells which page it is. */
SNIP(body, "mov $0x11111111,%eax; mov %edi,%ecx; 1: add (%rsi),%rax; dec %ecx; jnz 1b; call 2f; ret; 2: incq 8(%rsi); ret");

static u64 call_it(u64 loops)
{
	u64 a = CODE, c = loops, d = DATA, sum;

	asm volatile("call *%1" : "=a"(sum), "+r"(a), "+D"(c), "+S"(d) : : "rcx", "rdx", "r8", "r9", "r10", "r11", "memory", "cc");
	return sum;
}

/* Page n says n: its code begins with another constant, its data is another number. */
static void make_page(u32 n)
{
	code_page[n] = page_alloc();
	memcpy(virt(code_page[n]), body, (u64)(body_end - body));
	*(u32 *)((u8 *)virt(code_page[n]) + 1) = 0x1000000 * (n + 1);
}

static u64 *own_table(u64 *parent, u64 index, bool copy)
{
	u64 pa = page_alloc(), *from = virt(parent[index] & 0xffffffffff000);

	if (copy)
		memcpy(virt(pa), from, 4096);
	parent[index] = pa | P | RW | US;
	return virt(pa);
}

static void prepare(void)
{
	u64 *top;

	root[0] = rd_cr3();
	pte_of(UCODE, 1); /* both roots share what is below */
	pte_of(USTACK_TOP - 0x1000, 1);
	for (u32 n = 0; n < 3; n++)
		make_page(n);
	map(CODE, code_page[0], P | RW);
	*(u64 *)virt(map_new(DATA, P | RW)) = 3;
	root[1] = page_alloc();
	top = virt(root[1]);
	memcpy(top, virt(root[0]), 4096);
	/* Of the page's slot nothing is the same; the test's own code has a table of its own that
	 * says the same, so that both slots differ as entries of the root. */
	u64 *t = own_table(top, CODE >> 39 & 511, !KBASE);
	t = own_table(t, CODE >> 30 & 511, false);
	t = own_table(t, CODE >> 21 & 511, false);
	code_pte[1] = &t[CODE >> 12 & 511];
	code_pte[0] = pte_of(CODE, 1);
	t[CODE >> 12 & 511] = code_page[1] | P | RW;
	u64 data = page_alloc();
	*(u64 *)virt(data) = 5;
	t[DATA >> 12 & 511] = data | P | RW;
	if (KBASE)
		own_table(top, 511, true);
}

static u64 want(u32 page, u64 data, u64 loops) { return 0x1000000 * (page + 1UL) + data * loops; }

static void alternate(void)
{
	for (u32 i = 0; i < 400; i++) {
		u64 loops = i % 7 == 3 ? LOOP : 1 + i % 3;

		wr_cr3(root[i & 1]);
		EQ("sum", call_it(loops), want(i & 1, i & 1 ? 5 : 3, loops));
	}
	wr_cr3(root[1]);
	EQ("calls of 1", *(u64 *)(DATA + 8), 200);
	wr_cr3(root[0]);
	EQ("calls of 0", *(u64 *)(DATA + 8), 200);
}

/* The code's page changes while the other root is loaded. */
static void change(void)
{
	for (u32 i = 0; i < 100; i++) {
		u32 page = i & 1 ? 2 : 0;

		EQ("before", call_it(20), want(i & 1 ? 0 : i ? 2 : 0, 3, 20));
		wr_cr3(root[1]);
		if (i & 2)
			EQ("other", call_it(i & 4 ? LOOP : 1), want(1, 5, i & 4 ? LOOP : 1));
		*code_pte[0] = code_page[page] | P | RW;
		wr_cr3(root[0]);
		EQ("after", call_it(20), want(page, 3, 20));
	}
	*code_pte[0] = code_page[0] | P | RW;
	flush_tlb();
}

/* The other root does not have the page at all: a fault, and its handler makes it. */
static u32 faults;

static void page_comes(struct regs *f)
{
	(void)f;
	faults++;
	*code_pte[1] = code_page[1] | P | RW;
}

static void absent(void)
{
	on_vector(14, page_comes);
	for (u32 i = 0; i < 40; i++) {
		EQ("own", call_it(30), want(0, 3, 30));
		*code_pte[1] = 0;
		wr_cr3(root[1]);
		EQ("other", call_it(i & 1 ? LOOP : 2), want(1, 5, i & 1 ? LOOP : 2));
		EQ("faults", faults, i + 1);
		wr_cr3(root[0]);
	}
	on_vector(14, NULL);
}

/* System calls that change the root on their way in and out. */
u64 roots_own, roots_other, roots_calls;
LABEL(roots_entry);
asm(".text\nroots_entry: mov roots_own(%rip),%rax; mov %rax,%cr3\n"
    "mov %rsp,%r8; lea test_stack+0x2000(%rip),%rsp; push %rcx; push %r11\n"
    "mov $1,%edi; movabs $CODE_AT,%rax; movabs $DATA_AT,%rsi; call *%rax; mov %rax,%rdx\n"
    "incq roots_calls(%rip); pop %r11; pop %rcx; mov %r8,%rsp\n"
    "mov roots_other(%rip),%rax; mov %rax,%cr3; sysretq\n"
#if KBASE
    ".set CODE_AT, 0xffffc90000000000\n"
#else
    ".set CODE_AT, 0x500000000\n"
#endif
    ".set DATA_AT, CODE_AT+0x1000\n");
SNIP(u_calls, "mov $300,%ebx; 1: syscall; cmp $0x1000003,%edx; jne 2f; dec %ebx; jnz 1b; 2:");

static void isolated(void)
{
	wrmsr(0xc0000080, rdmsr(0xc0000080) | 1);
	wrmsr(0xc0000081, (u64)SEL_KCS << 32 | (u64)(SEL_UCS32 & ~3) << 48);
	wrmsr(0xc0000082, (u64)roots_entry);
	wrmsr(0xc0000084, 0x47fd5);
	roots_own = root[0];
	roots_other = root[1];
	for (u32 i = 0; i < 4; i++) {
		roots_calls = 0;
		regs_init(&r);
		r.rsp = USTACK_TOP - 0x100;
		r.rflags |= i & 1 ? 0x200 : 0;
		EQ("end", RUN_USER(&r, u_calls), VEC_EXIT);
		EQ("all done", r.rbx & 0xffffffff, 0);
		EQ("calls", roots_calls, 300);
		wr_cr3(root[0]);
	}
}

const struct test tests[] = {
	{ "roots.prepare", prepare }, { "roots.alternate", alternate }, { "roots.change", change },
	{ "roots.absent", absent }, { "roots.isolated", isolated }, { NULL, NULL }
};
