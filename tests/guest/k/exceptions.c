/* Exceptions: vector, error code, RIP, CR2, frame, at both privileges; double faults;
 * gates. Follows SDM vol. 3 chapter 6. */
#include "lib.h"

#define RF 0x10000
static struct regs r;

LABEL(div0_at); LABEL(idiv_at); LABEL(ud2_at); LABEL(bp_after); LABEL(int1_after); LABEL(nm_at); LABEL(gp_at);
LABEL(ss_at); LABEL(pf_at); LABEL(mf_at); LABEL(xm_at); LABEL(ac_at); LABEL(int_at); LABEL(np_at);
#define AT(l) #l "_at: "
SNIP(div0, "xor %edx,%edx; mov $5,%eax; xor %ecx,%ecx;" AT(div0) "div %ecx");
SNIP(idiv, "mov $0x8000000000000000,%rax; cqo; mov $-1,%rcx;" AT(idiv) "idiv %rcx");
SNIP(ud2, "nop;" AT(ud2) "ud2");
SNIP(bp, "nop; int3; bp_after: nop");
SNIP(int1, "nop; .byte 0xf1; int1_after: nop");
SNIP(nm, AT(nm) "movaps %xmm0,%xmm1");
SNIP(nm_x87, "fnstsw %ax");
SNIP(nm_wait, "fwait");
SNIP(gp_noncanon, "mov $0x8000000000000000,%rsi; nop;" AT(gp) "mov (%rsi),%rax");
SNIP(ss_noncanon, "mov $0x1000000000000000,%rbp;" AT(ss) "mov (%rbp),%rax");
SNIP(ss_push, "mov $0x8000000000000000,%rsp; push %rax");
SNIP(pf_read, AT(pf) "mov (%rsi),%rax");
SNIP(pf_write, "mov %rax,(%rsi)");
SNIP(pf_rmw, "lock addq $1,(%rsi)");
SNIP(pf_jump, "jmp *%rsi");
SNIP(pf_call, "call *%rsi");
SNIP(mf, "fninit; push $0x37b; fldcw (%rsp); pop %rax; fld1; fldz; fdivrp;" AT(mf) "fld1; fwait");
SNIP(xm, "push $0x1d80; ldmxcsr (%rsp); pop %rax; mov $0x3f800000,%eax; movd %eax,%xmm0; pxor %xmm1,%xmm1;" AT(xm) "divss %xmm1,%xmm0");
SNIP(ac, "pushfq; orl $0x40000,(%rsp); popfq; mov %rsp,%rsi;" AT(ac) "mov 1(%rsi),%rax");
SNIP(int40, "nop;" AT(int) "int $0x40; nop");
SNIP(int90, "int $0x90; nop");
SNIP(load_np, "mov $0x58,%eax;" AT(np) "mov %eax,%ds");
SNIP(load_ss_np, "mov $0x58,%eax; mov %eax,%ss");
SNIP(load_bad, "mov $0x1230,%eax; mov %eax,%ds");
SNIP(load_ss_null, "xor %eax,%eax; mov %eax,%ss");
SNIP(load_tss_ds, "mov $0x40,%eax; mov %eax,%es");
SNIP(into_ud, ".byte 0xce");
SNIP(push_es_ud, ".byte 0x06");
SNIP(lock_ud, ".byte 0xf0; mov %eax,(%rsi)");
SNIP(hlt_user, "hlt");
SNIP(cli_user, "cli");
SNIP(in_user, "in $0x21,%al");
SNIP(cr_user, "mov %cr0,%rax");
SNIP(lgdt_user, "lgdt (%rsi)");
SNIP(wrmsr_user, "wrmsr");
SNIP(iret_nt, "push $0; push $0; push $0; push $0; push $0; pushfq; orl $0x4000,(%rsp); popfq; iretq");
SNIP(bad_cr0, "mov $1,%eax; shl $31,%rax; mov %rax,%cr0"); /* PG without PE */
SNIP(bad_cr4, "mov %cr4,%rax; bts $40,%rax; mov %rax,%cr4");
SNIP(no_pae, "mov %cr4,%rax; btr $5,%rax; mov %rax,%cr4");
SNIP(long_insn, ".byte 0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x90");
SNIP(step, "pushfq; orl $0x100,(%rsp); popfq; nop; nop");
SNIP(nothing, "nop");

static void expect(int v, int vec, u64 err, const void *rip, const char *what)
{
	if (v != vec)
		fail("%s: vector %d, want %d", what, v, vec);
	else if (r.err != err)
		fail("%s: error %lx, want %lx", what, r.err, err);
	else if (rip && r.rip != (u64)rip)
		fail("%s: rip %lx, want %lx", what, r.rip, (u64)rip);
}

/* The error code that names an IDT entry (TCG of QEMU 7.2 counts in 16s). */
#define IDT_ERR(v) ((v) * (tcg() ? 16 : 8) + 2)
#define K(s, vec, err, rip) do { regs_init(&r); r.rsi = KTEST; expect(run(&r, s), vec, err, rip, #s); } while (0)
#define U(s, vec, err, off) do { regs_init(&r); r.rsi = UDATA; expect(RUN_USER(&r, s), vec, err, \
	(void *)(UCODE + ((u64)(off) - (u64)(s))), #s " (user)"); } while (0)
#define UX(s, vec, err) U(s, vec, err, s)

static void arithmetic(void)
{
	K(div0, 0, 0, div0_at); U(div0, 0, 0, div0_at);
	EQ("rax kept", r.rax, 5);
	K(idiv, 0, 0, idiv_at); U(idiv, 0, 0, idiv_at);
	if (tcg())
		return;
	K(mf, 16, 0, mf_at); U(mf, 16, 0, mf_at);
	asm volatile("fnclex; fninit");
	K(xm, 19, 0, xm_at); U(xm, 19, 0, xm_at);
	u32 mx = 0x1f80;
	asm volatile("ldmxcsr %0" : : "m"(mx));
}

static void invalid(void)
{
	K(ud2, 6, 0, ud2_at); U(ud2, 6, 0, ud2_at);
	K(into_ud, 6, 0, into_ud); UX(into_ud, 6, 0);
	K(push_es_ud, 6, 0, push_es_ud); UX(push_es_ud, 6, 0);
	if (!tcg()) {
		K(lock_ud, 6, 0, lock_ud);
		UX(lock_ud, 6, 0);
	}
	K(long_insn, 13, 0, long_insn); UX(long_insn, 13, 0);
}

static void traps(void)
{
	K(bp, 3, 0, bp_after);
	set_gate(3, (u64)trap_entries + 16 * 3, 1, 0xee);
	U(bp, 3, 0, bp_after);
	set_gate(3, (u64)trap_entries + 16 * 3, 1, 0x8e);
	U(bp, 13, IDT_ERR(3), bp + 1); /* DPL 0 gate */
	if (!tcg()) {
		K(int1, 1, 0, int1_after);
		U(int1, 1, 0, int1_after);
	}
	K(step, 1, 0, step_end - 3); /* after the first NOP */
	EQ("dr6.bs", rd_dr6() & 0x4000, 0x4000);
	wr_dr6(0xffff0ff0);
	U(step, 1, 0, step_end - 3);
	EQ("pushed TF", r.rflags & 0x100, 0x100);
	wr_dr6(0xffff0ff0);
	K(nothing, VEC_EXIT, 0, nothing_end);
}

static void device_not_available(void)
{
	wr_cr0(rd_cr0() | 8);
	K(nm, 7, 0, nm_at); U(nm, 7, 0, nm_at);
	K(nm_x87, 7, 0, nm_x87); UX(nm_x87, 7, 0);
	K(nm_wait, 7, 0, nm_wait);
	asm volatile("clts");
	K(nm_x87, VEC_EXIT, 0, nm_x87_end);
	wr_cr0(rd_cr0() | 4); /* EM */
	K(nm, 6, 0, nm_at);
	K(nm_x87, 7, 0, nm_x87);
	wr_cr0(rd_cr0() & ~4UL);
}

static void protection(void)
{
	K(gp_noncanon, 13, 0, gp_at); U(gp_noncanon, 13, 0, gp_at);
	if (!tcg()) {
		K(ss_noncanon, 12, 0, ss_at);
		U(ss_noncanon, 12, 0, ss_at);
		K(ss_push, 12, 0, ss_push_end - 3);
	}
	K(load_np, 11, 0x58, np_at); U(load_np, 13, 0x58, np_at);
	K(load_ss_np, 12, 0x58, NULL);
	K(load_bad, 13, 0x1230, NULL); U(load_bad, 13, 0x1230, load_bad + 5);
	K(load_tss_ds, 13, 0x40, NULL);
	UX(hlt_user, 13, 0); UX(cli_user, 13, 0); UX(in_user, 13, 0); UX(cr_user, 13, 0);
	UX(lgdt_user, 13, 0); UX(wrmsr_user, 13, 0);
	K(iret_nt, 13, 0, iret_nt_end - 4);
	if (tcg())
		return;
	K(bad_cr0, 13, 0, NULL); K(bad_cr4, 13, 0, NULL); K(no_pae, 13, 0, NULL);
}

static void page_fault(void)
{
	unmap(KTEST); unmap(KTEST + 4096); unmap(UDATA);
	K(pf_read, 14, 0, pf_at); EQ("cr2", last_cr2, KTEST);
	K(pf_write, 14, 2, pf_write); EQ("cr2", last_cr2, KTEST);
	K(pf_rmw, 14, tcg() ? 0 : 2, pf_rmw); EQ("cr2", last_cr2, KTEST);
	K(pf_jump, 14, 16, (void *)KTEST); EQ("cr2", last_cr2, KTEST);
	K(pf_call, 14, 16, (void *)KTEST);
	EQ("call pushed", *(u64 *)(TEST_RSP - 8), (u64)pf_call_end - 2);
	EQ("call rsp", r.rsp, TEST_RSP - 8);
	U(pf_read, 14, 4, pf_read); EQ("cr2", last_cr2, UDATA);
	U(pf_write, 14, 6, pf_write); U(pf_rmw, 14, tcg() ? 4 : 6, pf_rmw);
	regs_init(&r); r.rsi = UDATA; expect(RUN_USER(&r, pf_jump), 14, 0x14, (void *)UDATA, "user jump");
	map_new(UDATA, RW); /* supervisor */
	U(pf_read, 14, 5, pf_read); U(pf_write, 14, 7, pf_write);
	map_new(UDATA, US);
	U(pf_read, VEC_EXIT, 0, pf_read_end); U(pf_write, 14, 7, pf_write); U(pf_rmw, 14, 7, pf_rmw);
	regs_init(&r); map_new(UDATA, US | RW | NX); r.rsi = UDATA;
	expect(RUN_USER(&r, pf_jump), 14, 0x15, (void *)UDATA, "user jump to NX");
	unmap(UDATA);
}

static void alignment(void)
{
	if (!tcg())
		U(ac, 17, 0, ac_at);
	K(ac, VEC_EXIT, 0, ac_end); /* CPL 0 never */
	wr_cr0(rd_cr0() & ~0x40000UL);
	U(ac, VEC_EXIT, 0, ac_end);
	wr_cr0(rd_cr0() | 0x40000);
}

static void gates(void)
{
	set_gate(0x40, (u64)trap_entries + 16 * 0x40, 1, 0x8e);
	K(int40, 0x40, 0, int_at + 2);
	U(int40, 13, IDT_ERR(0x40), int_at);
	set_gate(0x40, (u64)trap_entries + 16 * 0x40, 1, 0xee);
	U(int40, 0x40, 0, int_at + 2);
	set_gate(0x40, (u64)trap_entries + 16 * 0x40, 1, 0x6e); /* not present */
	K(int40, 11, IDT_ERR(0x40), int_at);
	set_gate(0x40, (u64)trap_entries + 16 * 0x40, 1, 0x85); /* a task gate */
	K(int40, 13, IDT_ERR(0x40), int_at);
	set_gate(0x40, (u64)trap_entries + 16 * 0x40, 1, 0xee);
	struct { u16 limit; u64 base; } __attribute__((packed)) d = { 0x90 * 16 - 1, (u64)idt };
	asm volatile("lidt %0" : : "m"(d));
	K(int90, 13, IDT_ERR(0x90), int90);
	d.limit = sizeof(idt) - 1;
	asm volatile("lidt %0" : : "m"(d));
	set_gate(0x90, 0x8000000000000000, 0, 0x8e); /* handler address not canonical */
	K(int90, 13, 0, NULL);
	set_gate(0x90, (u64)trap_entries + 16 * 0x90, 0, 0x8e);
}

/* Frames without IST: alignment, flags inside the handler, stack choice. */
static u64 h_flags, h_frame, h_ss, h_cs, h_rsp;
static void look(struct regs *f)
{
	u64 ss, cs;

	h_flags = flags();
	h_frame = (u64)f;
	h_rsp = f->rsp;
	asm volatile("mov %%ss, %0; mov %%cs, %1" : "=r"(ss), "=r"(cs));
	h_ss = ss & 0xffff;
	h_cs = cs & 0xffff;
}

static void frames(void)
{
	on_vector(0x40, look);
	for (u32 trap_gate = 0; trap_gate < 2; trap_gate++) {
		set_gate(0x40, (u64)trap_entries + 16 * 0x40, 0, 0xee | trap_gate);
		for (u32 off = 0; off < 16; off += 3) {
			regs_init(&r);
			r.rsp = TEST_RSP - off;
			r.rflags = 0x602;
			EQ("exit", run(&r, int40), VEC_EXIT);
			EQ("saved rsp", h_rsp, TEST_RSP - off);
			EQ("frame", h_frame, ((TEST_RSP - off) & ~15UL) - sizeof(struct regs));
			EQ("IF in handler", h_flags >> 9 & 1, trap_gate);
			EQ("flags kept", r.rflags & 0xed7, 0x602);
			EQ("ss", h_ss, SEL_KDS);
			EQ("rsp back", r.rsp, TEST_RSP - off);
		}
		regs_init(&r);
		EQ("exit", RUN_USER(&r, int40), VEC_EXIT);
		EQ("frame", h_frame, tss.rsp[0] - sizeof(struct regs));
		EQ("ss null", h_ss, 0);
		EQ("cs", h_cs, SEL_KCS);
		EQ("user cs", r.cs, SEL_UCS);
		EQ("user ss", r.ss, SEL_UDS);
	}
	on_vector(0x40, NULL);
	set_gate(0x40, (u64)trap_entries + 16 * 0x40, 1, 0x8e);
}

static void double_fault(void)
{
	/* #PF whose frame cannot be pushed */
	set_ist(14, 0);
	unmap(KTEST + 0x10000);
	regs_init(&r);
	r.rsp = KTEST + 0x10800;
	r.rsi = KTEST;
	unmap(KTEST);
	expect(run(&r, pf_read), 8, 0, NULL, "stack not mapped");
	EQ("rsp kept", r.rsp, KTEST + 0x10800);
	/* contributory: #NP gate for #GP */
	set_gate(13, (u64)trap_entries + 16 * 13, 1, 0x0e);
	regs_init(&r);
	expect(run(&r, gp_noncanon), 8, 0, gp_at, "#GP gate absent");
	set_gate(13, (u64)trap_entries + 16 * 13, 1, 0x8e);
	set_ist(14, 1);
	/* #PF gate absent */
	set_gate(14, (u64)trap_entries + 16 * 14, 1, 0x0e);
	regs_init(&r);
	r.rsi = KTEST;
	expect(run(&r, pf_read), 8, 0, pf_at, "#PF gate absent");
	set_gate(14, (u64)trap_entries + 16 * 14, 1, 0x8e);
	/* benign then contributory: delivered serially, so #NP itself */
	set_gate(6, (u64)trap_entries + 16 * 6, 1, 0x0e);
	regs_init(&r);
	expect(run(&r, ud2), 11, IDT_ERR(6) | !tcg(), ud2_at, "#UD gate absent");
	set_gate(6, (u64)trap_entries + 16 * 6, 1, 0x8e);
	/* user page fault with a bad RSP0 */
	u64 old = tss.rsp[0];
	tss.rsp[0] = KTEST + 0x10800;
	set_ist(14, 0);
	unmap(UDATA);
	regs_init(&r);
	r.rsi = UDATA;
	expect(RUN_USER(&r, pf_read), 8, 0, NULL, "RSP0 not mapped");
	tss.rsp[0] = old;
	set_ist(14, 1);
}

/* Many faults in a row: nothing leaks. */
static void storm(void)
{
	for (u32 i = 0; i < 3000; i++) {
		regs_init(&r);
		r.rsi = KTEST;
		int v = run(&r, i % 3 == 0 ? pf_read : i % 3 == 1 ? ud2 : div0);
		EQ("vector", v, i % 3 == 0 ? 14 : i % 3 == 1 ? 6 : 0);
		regs_init(&r);
		r.rsi = UDATA;
		v = i % 2 ? RUN_USER(&r, pf_read) : RUN_USER(&r, nothing);
		EQ("vector", v, i % 2 ? 14 : VEC_EXIT);
	}
}

const struct test tests[] = {
	{ "exceptions.arithmetic", arithmetic }, { "exceptions.invalid", invalid },
	{ "exceptions.traps", traps }, { "exceptions.device_not_available", device_not_available },
	{ "exceptions.protection", protection }, { "exceptions.page_fault", page_fault },
	{ "exceptions.alignment", alignment }, { "exceptions.gates", gates },
	{ "exceptions.frames", frames }, { "exceptions.double_fault", double_fault },
	{ "exceptions.storm", storm }, { NULL, NULL },
};
