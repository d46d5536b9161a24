/* IRET to user code from a kernel that is called again and again, so that whatever is made
 * for the common case is in use when something uncommon comes: other descriptors, frames,
 * flags, data segments. */
#include "lib.h"

#define CALLS 200
#define KSTACK_WORDS 512

static struct regs r;
static u64 kdata[4];
u64 iret_stack[KSTACK_WORDS];
u64 iret_left, iret_ds, *iret_at, iret_value, iret_sel_cs = SEL_UCS, iret_sel_ss = SEL_UDS;
LABEL(iret_entry);
LABEL(iret_insn);

/* The last call changes a word of memory before it returns, and DS if iret_ds is not 0. GS: [1] the
 * user's RSP, [2] a kernel stack. */
asm(".text\niret_entry:\n"
    "swapgs; mov %rsp,%gs:8; mov %gs:16,%rsp\n"
    "pushq iret_sel_ss(%rip); pushq %gs:8; push %r11; pushq iret_sel_cs(%rip); push %rcx\n"
    "swapgs; mov $0x1234,%ecx; mov $0x5678,%r11d\n"
    "decq iret_left(%rip); jnz iret_insn\n"
    "push %rax; push %rdx; mov iret_at(%rip),%rax; mov iret_value(%rip),%rdx; mov %rdx,(%rax)\n"
    "mov iret_ds(%rip),%rax; test %eax,%eax; jz 1f; mov %eax,%ds; 1: pop %rdx; pop %rax\n"
    "iret_insn: iretq\n");

SNIP(u_calls,
     "mov $0x1111,%r8; mov $0x2222,%r9; mov $0x3333,%r10; mov $0x4444,%r12; xor %r13d,%r13d\n"
     "mov $0x6666,%r14; mov $0x7777,%r15; mov $0x8888,%edi; mov $0x9999,%edx; mov $0xaaaa,%esi\n"
     "1: mov $0x7fffffff,%eax; add $1,%eax; stc; mov $0x1357,%eax; syscall\n"
     "jno 9f; jnc 9f; cmp $0x1357,%eax; jne 9f; cmp $0x1234,%rcx; jne 9f; cmp $0x5678,%r11; jne 9f\n"
     "cmp $0x9999,%edx; jne 9f; cmp $0x8888,%edi; jne 9f; cmp $0xaaaa,%esi; jne 9f; cmp $0x1111,%r8; jne 9f\n"
     "cmp $0x2222,%r9; jne 9f; cmp $0x3333,%r10; jne 9f; cmp $0x4444,%r12; jne 9f; cmp $0x6666,%r14; jne 9f\n"
     "cmp $0x7777,%r15; je 2f; 9: inc %r13\n"
     "2: dec %ebx; jnz 1b; mov %ds,%eax");

static u64 scratch;
#define FRAME(word) (&iret_stack[KSTACK_WORDS - 5 + (word)])

static int calls(u64 *at, u64 value)
{
	int vec;

	wrmsr(0xc0000080, rdmsr(0xc0000080) | 1);
	wrmsr(0xc0000081, (u64)SEL_KCS << 32 | (u64)(SEL_UCS32 & ~3) << 48);
	wrmsr(0xc0000082, (u64)iret_entry);
	wrmsr(0xc0000084, 0x47fd5);
	wrmsr(0xc0000102, (u64)kdata);
	kdata[2] = (u64)(iret_stack + KSTACK_WORDS);
	iret_left = CALLS;
	iret_at = at;
	iret_value = value;
	regs_init(&r);
	r.rflags = 0x202;
	r.rbx = CALLS;
	r.rsp = USTACK_TOP - 0x100;
	vec = RUN_USER(&r, u_calls);
	wrmsr(0xc0000101, 0);
	iret_ds = 0;
	return vec;
}

static void returns(u64 *at, u64 value)
{
	EQ("exit", calls(at, value), VEC_EXIT);
	EQ("calls", r.rbx, 0);
	EQ("cs", r.cs, SEL_UCS);
	EQ("ss", r.ss, SEL_UDS);
}

static void common(void)
{
	for (u32 i = 0; i < 3; i++) {
		returns(&scratch, 1);
		EQ("registers and flags", r.r13, 0);
		EQ("rsp", r.rsp, USTACK_TOP - 0x100);
		EQ("flags", r.rflags & 0x3f7700, 0x200);
	}
}

static void faults(const char *what, u64 *at, u64 value, u8 vec, u64 err)
{
	u64 old = *at;

	EQ(what, calls(at, value), vec);
	EQ(what, r.err, err);
	EQ(what, r.rip, iret_insn);
	EQ(what, r.cs, SEL_KCS);
	EQ(what, r.rbx, 1);
	*at = old;
}

static void descriptors(void)
{
	u64 *cs = &gdt[SEL_UCS >> 3], *ss = &gdt[SEL_UDS >> 3], old;

	for (u32 i = 0; i < 2; i++) {
		faults("code not present", cs, *cs & ~(1UL << 47), 11, SEL_UCS & ~7);
		faults("code of DPL 0", cs, *cs & ~(3UL << 45), 13, SEL_UCS & ~7);
		faults("data, not code", cs, *cs & ~(1UL << 43), 13, SEL_UCS & ~7);
		faults("L and D", cs, *cs | 1UL << 54, 13, SEL_UCS & ~7);
		faults("stack of DPL 0", ss, *ss & ~(3UL << 45), 13, SEL_UDS & ~7);
		faults("stack read-only", ss, *ss & ~(1UL << 41), 13, SEL_UDS & ~7);
		old = *cs;
		returns(cs, old & ~(1UL << 40));
		EQ("accessed", *cs, old | 1UL << 40);
		old = *ss;
		returns(ss, old & ~(1UL << 40));
		EQ("accessed", *ss, old | 1UL << 40);
		common();
	}
}

static void frames(void)
{
	faults("RIP not canonical", FRAME(0), 1UL << 47, 13, 0);
	faults("no code segment", FRAME(1), 3, 13, 0);
	faults("beyond the GDT", FRAME(1), 0x1003, 13, 0x1000);
	faults("kernel's stack", FRAME(4), SEL_KDS, 13, SEL_KDS & ~7);
	EQ("exit", calls(FRAME(3), 0x123456789abcdef0), VEC_EXIT);
	EQ("RSP of any value", r.rsp, 0x123456789abcdef0);
	common();
}

static void flag_images(void)
{
	static const u64 try[] = { 0x202, 0x602, 0x3202, 0x4202, 0x40202, 0x200202, 0x10202, 0x2 };

	for (u32 i = 0; i < ARRAY_SIZE(try); i++) {
		returns(FRAME(2), try[i]);
		EQ("flags", r.rflags & 0x3f7702, try[i] & ~0x10000UL);
	}
	EQ("single step", calls(FRAME(2), 0x302), 1);
	EQ("calls", r.rbx, 1);
	common();
}

static void data_segments(void)
{
	iret_ds = SEL_KDS;
	returns(&scratch, 0);
	EQ("kernel's DS is taken away", r.rax & 0xffff, 0);
	iret_ds = SEL_UDS;
	returns(&scratch, 0);
	EQ("user's DS stays", r.rax & 0xffff, SEL_UDS);
	common();
}

const struct test tests[] = {
	{ "iret.common", common },
	{ "iret.descriptors", descriptors },
	{ "iret.frames", frames },
	{ "iret.flag_images", flag_images },
	{ "iret.data_segments", data_segments },
	{ NULL, NULL },
};
