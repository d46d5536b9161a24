/* Descriptor tables, traps, and code under test. */
#include "lib.h"

void run_enter(struct regs *r), run_leave(void) __attribute__((noreturn));
void run_tests(void);
void kmain(u64 cmdline);
void trap_c(struct regs *r);

u64 gdt[16] __attribute__((aligned(16)));
struct gate idt[256] __attribute__((aligned(16)));
struct tss tss __attribute__((aligned(16)));
u8 test_stack[0x4000] __attribute__((aligned(4096)));
static u8 ist_stack[3][0x2000] __attribute__((aligned(16)));
static u8 rsp0_stack[0x2000] __attribute__((aligned(16)));
static struct regs *run_regs;
static struct regs run_copy;
static trap_handler handlers[256];
u64 last_cr2;
volatile u64 trap_frame_at;

void set_gate(u8 vec, u64 h, u8 ist, u8 dpl_type)
{
	idt[vec] = (struct gate){ (u16)h, SEL_KCS, ist, dpl_type, (u16)(h >> 16), (u32)(h >> 32), 0 };
}

void set_ist(u8 vec, u8 ist)
{
	idt[vec].ist = ist;
}

void on_vector(u8 vec, trap_handler h)
{
	handlers[vec] = h;
}

static void tables_init(void)
{
	static const u64 fixed[] = { 0, 0, 0x00af9b000000ffff, 0x00cf93000000ffff,
				     0x00cffb000000ffff, 0x00cff3000000ffff, 0x00affb000000ffff, 0 };
	u64 t = (u64)&tss;

	memcpy(gdt, fixed, sizeof(fixed));
	gdt[8] = (sizeof(tss) - 1) | (t & 0xffffff) << 16 | 0x89UL << 40 | (t >> 24 & 0xff) << 56;
	gdt[9] = t >> 32;
	gdt[10] = 0x00af9f000000ffff;
	gdt[11] = 0x00cf13000000ffff;
	gdt[12] = 0x00cff1000000ffff;
	tss.iomap = sizeof(tss);
	tss.rsp[0] = (u64)rsp0_stack + sizeof(rsp0_stack);
	for (u32 i = 0; i < 3; i++)
		tss.ist[i] = (u64)ist_stack[i] + sizeof(ist_stack[i]);
	for (u32 i = 0; i < 256; i++)
		set_gate((u8)i, (u64)trap_entries + 16 * i, i < 32 ? 1 : 0, 0x8e);
	set_ist(8, 2);
	set_gate(VEC_EXIT, (u64)trap_entries + 16 * VEC_EXIT, 1, 0xee);
	struct { u16 limit; u64 base; } __attribute__((packed)) g = { sizeof(gdt) - 1, (u64)gdt },
								d = { sizeof(idt) - 1, (u64)idt };
	asm volatile("lgdt %0" : : "m"(g));
	asm volatile("lidt %0" : : "m"(d));
	asm volatile("mov %0, %%ss; mov %0, %%ds; mov %0, %%es" : : "r"(SEL_KDS));
	asm volatile("pushq %0; lea 1f(%%rip), %%rax; push %%rax; lretq; 1:" : : "i"(SEL_KCS) : "rax", "memory");
	asm volatile("ltr %w0" : : "r"(SEL_TSS));
}

static void modes_init(void)
{
	wr_cr0((rd_cr0() & ~0xcUL) | 0x50022 | 1UL << 31); /* MP, NE, WP, AM; not EM, TS */
	wrmsr(0xc0000080, rdmsr(0xc0000080) | 0x801);   /* SCE, NXE */
	u64 cr4 = 0x20 | 0x80 | 0x600;                  /* PAE, PGE, OSFXSR, OSXMMEXCPT */
	if (has(1, 2, 26))
		cr4 |= 1 << 18;
	if (has(7, 1, 0))
		cr4 |= 1 << 16;
	wr_cr4(cr4);
	if (cr4 & 1 << 18) {
		u32 r[4];
		cpuid(13, 0, r);
		u32 x = r[0] & 0xe7;
		asm volatile("xsetbv" : : "a"(x), "d"(0), "c"(0));
	}
	asm volatile("fninit");
}

u64 user_if;

void kmain(u64 cmdline)
{
	boot_cmdline = cmdline;
	user_if = knob("if", 0) << 9;
	outb(0x3f9, 0); /* no interrupts, 115200 8n1, FIFO */
	outb(0x3fb, 0x80);
	outb(0x3f8, 1);
	outb(0x3f9, 0);
	outb(0x3fb, 3);
	outb(0x3fa, 7);
	outb(0x21, 0xff);
	outb(0xa1, 0xff);
	tables_init();
	modes_init();
	run_tests();
}

static void unexpected(struct regs *r)
{
	run_regs = NULL;
	print("FAIL unexpected trap: vector %lu error %lx rip %lx rsp %lx cr2 %lx cs %lx rflags %lx\n",
	      r->vec, r->err, r->rip, r->rsp, last_cr2, r->cs, r->rflags);
	print("rax %lx rbx %lx rcx %lx rdx %lx rsi %lx rdi %lx rbp %lx\n", r->rax, r->rbx, r->rcx,
	      r->rdx, r->rsi, r->rdi, r->rbp);
	finish(2);
}

void trap_c(struct regs *r)
{
	if (r->vec == 14)
		last_cr2 = rd_cr2();
	trap_frame_at = (u64)r;
	if (handlers[r->vec]) {
		handlers[r->vec](r);
		return;
	}
	if (!run_regs)
		unexpected(r);
	*run_regs = *r;
	run_regs = NULL;
	asm volatile("mov %0, %%ds; mov %0, %%es" : : "r"(SEL_KDS));
	run_leave();
}

void regs_init(struct regs *r)
{
	u64 *p = (u64 *)r;

	memset(r, 0, sizeof(*r));
	for (u32 i = 0; i < 15; i++)
		p[i] = 0x0101010101010101 * (i + 1);
	r->rflags = 2;
	r->rsp = TEST_RSP;
	r->cs = SEL_KCS;
	r->ss = SEL_KDS;
}

static int enter(struct regs *r)
{
	run_copy = *r;
	run_regs = r;
	run_enter(&run_copy);
	return (int)r->vec;
}

int run(struct regs *r, const void *code)
{
	r->rip = (u64)code;
	return enter(r);
}

int run_user_at(struct regs *r, u64 rip)
{
	r->rip = rip;
	r->cs = SEL_UCS;
	r->ss = SEL_UDS;
	r->rflags |= user_if;
	if (r->rsp == TEST_RSP)
		r->rsp = USTACK_TOP - 0x1000;
	return enter(r);
}

int run_user(struct regs *r, const void *code, const void *end)
{
	static u64 code_page, stack[8];

	if (!code_page) {
		code_page = page_alloc();
		for (u32 i = 0; i < 8; i++)
			stack[i] = page_alloc();
	}
	map(UCODE, code_page, US);
	for (u32 i = 0; i < 8; i++)
		map(USTACK_TOP - 4096 * (i + 1), stack[i], US | RW | NX);
	memcpy(virt(code_page), code, (u64)((const char *)end - (const char *)code));
	return run_user_at(r, UCODE);
}

/* --- one instruction that may fault ------------------------------------------------- */
SNIP(snip_rdmsr, "rdmsr");
SNIP(snip_wrmsr, "wrmsr");
SNIP(snip_read8, "mov (%rsi), %rax");
SNIP(snip_write8, "mov %rax, (%rdi)");

static int fault_or_none(struct regs *r, const void *code)
{
	int v = run(r, code);

	return v == VEC_EXIT ? -1 : v;
}

int try_rdmsr(u32 m, u64 *v)
{
	struct regs r;

	regs_init(&r);
	r.rcx = m;
	int x = fault_or_none(&r, snip_rdmsr);
	*v = (u32)r.rax | r.rdx << 32;
	return x;
}

int try_wrmsr(u32 m, u64 v)
{
	struct regs r;

	regs_init(&r);
	r.rcx = m;
	r.rax = (u32)v;
	r.rdx = v >> 32;
	return fault_or_none(&r, snip_wrmsr);
}

int try_read8(u64 a, u64 *v)
{
	struct regs r;

	regs_init(&r);
	r.rsi = a;
	int x = fault_or_none(&r, snip_read8);
	*v = r.rax;
	return x;
}

int try_write8(u64 a, u64 v)
{
	struct regs r;

	regs_init(&r);
	r.rdi = a;
	r.rax = v;
	return fault_or_none(&r, snip_write8);
}
