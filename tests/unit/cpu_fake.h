/* What the CPU layer's tests put below it: a small guest memory whose linear addresses
 * are host addresses, with page permissions, page kinds and a recorded bus; and a vCPU
 * in long mode with GDT, IDT and TSS. Included by exactly one test program each. */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <cmocka.h>
#include "shadowbox/counters.h"
#include "shadowbox/dev/lapic.h"
#include "shadowbox/shadow.h"
#include "src/cpu/priv.h"

#define UNUSED __attribute__((unused)) /* no test program needs all of this */

/* --- memory ----------------------------------------------------------------------- */
#define MEM_BASE 0x10000000UL /* below 4 GiB: 32-bit addressing reaches it */
#define MEM_PAGES 32
#define MEM_SIZE (MEM_PAGES * PAGE_SIZE)

enum page_kind { PAGE_RAM, PAGE_ABSENT, PAGE_READ_ONLY, PAGE_TRACED, PAGE_MMIO };
static u8 page_kind[MEM_PAGES];
static unsigned traced_brackets, traced_bulks;
static struct { u64 addr, val; unsigned size; bool write; enum bus_space space; } bus_log[256];
static unsigned bus_count;
static u64 bus_read_value;

static unsigned page_of(u64 a)
{
	return (a - MEM_BASE) / PAGE_SIZE;
}

static int fake_check(struct vcpu *v, u64 a, u32 len, u32 acc)
{
	bool user = v->cpl == 3 && !(acc & ACC_IMPLICIT_SUPERVISOR);

	for (u64 p = a & PAGE_MASK; p < a + len; p += PAGE_SIZE) {
		u64 at = p < a ? a : p;
		bool mapped = p >= MEM_BASE && p < MEM_BASE + MEM_SIZE;
		u8 kind = mapped ? page_kind[page_of(p)] : PAGE_ABSENT;
		u32 err = ((acc & ACC_WRITE) ? PF_W : 0) | (user ? PF_U : 0);

		if (kind == PAGE_ABSENT)
			return cpu_fault_page(v, gla(at), err);
		if (kind == PAGE_READ_ONLY && (acc & ACC_WRITE))
			return cpu_fault_page(v, gla(at), err | PF_P);
	}
	return CPU_NEXT;
}

int mem_read(struct vcpu *v, gla_t a, void *buf, u32 len, u32 acc)
{
	int ret = fake_check(v, a.v, len, acc | ACC_READ);

	if (ret == CPU_NEXT)
		memcpy(buf, (void *)a.v, len);
	return ret;
}

int mem_write(struct vcpu *v, gla_t a, const void *buf, u32 len, u32 acc)
{
	int ret = fake_check(v, a.v, len, acc | ACC_WRITE);

	if (ret == CPU_NEXT)
		memcpy((void *)a.v, buf, len);
	return ret;
}

int mem_probe_write(struct vcpu *v, gla_t a, u32 len, u32 acc)
{
	return fake_check(v, a.v, len, acc | ACC_WRITE);
}

int soft_resolve(struct vcpu *v, gla_t a, u32 len, u32 acc, struct soft_ref *out)
{
	u8 kind;

	if (fake_check(v, a.v, len, acc) != CPU_NEXT)
		return CPU_FAULT;
	kind = page_kind[page_of(a.v)];
	out->kind = kind == PAGE_MMIO ? SOFT_MMIO
		    : (kind == PAGE_TRACED && (acc & ACC_WRITE)) ? SOFT_TRACED : SOFT_RAM;
	if ((a.v & PAGE_MASK) != ((a.v + len - 1) & PAGE_MASK))
		out->kind = SOFT_SPLIT;
	out->gpa = gpa(a.v);
	out->ptr = (void *)a.v;
	return CPU_NEXT;
}

void trace_write_begin(struct trace_write *tw, gpa_t a, u32 len)
{
	assert_in_range(len, 1, 64);
	tw->gpa = a;
	tw->len = len;
	traced_brackets++;
}

void trace_write_end(struct vcpu *v, struct trace_write *tw)
{
	(void)v, (void)tw;
}

void trace_bulk_write(struct vcpu *v, gpa_t a, u32 len)
{
	(void)v;
	assert_true(len > 64);
	assert_int_equal(a.v & PAGE_MASK, (a.v + len - 1) & PAGE_MASK);
	traced_bulks++;
}

/* --- MMU, bus, APIC ------------------------------------------------------------------ */
static unsigned mode_changes, cr3_writes;
UNUSED static u64 invlpg_addr, fake_cr8;

void mmu_cr3_written(struct vcpu *v) { (void)v; cr3_writes++; }
void mmu_mode_changed(struct vcpu *v, bool flush_global) { (void)v, (void)flush_global; mode_changes++; }
void mmu_invlpg(struct vcpu *v, gla_t addr) { (void)v; invlpg_addr = addr.v; }
void mmu_flush_all(struct vcpu *v) { (void)v; }

u64 bus_read(struct machine *m, enum bus_space s, u64 addr, unsigned size)
{
	(void)m;
	if (bus_count < ARRAY_LEN(bus_log))
		bus_log[bus_count++] = (typeof(bus_log[0])){ addr, 0, size, false, s };
	return bus_read_value++;
}

void bus_write(struct machine *m, enum bus_space s, u64 addr, u64 val, unsigned size)
{
	(void)m;
	if (bus_count < ARRAY_LEN(bus_log))
		bus_log[bus_count++] = (typeof(bus_log[0])){ addr, val, size, true, s };
}

bool lapic_msr_read(struct machine *m, struct vcpu *v, u32 msr, u64 *val)
{
	(void)m, (void)v;
	*val = msr == 0x1b ? 0xfee00900 : 0;
	return msr == 0x1b || msr == 0x6e0;
}
bool lapic_msr_write(struct machine *m, struct vcpu *v, u32 msr, u64 val)
{
	(void)m, (void)v, (void)val;
	return msr == 0x1b || msr == 0x6e0;
}
u64 lapic_cr8_read(struct machine *m, const struct vcpu *v) { (void)m, (void)v; return fake_cr8; }
void lapic_cr8_write(struct machine *m, const struct vcpu *v, u64 val) { (void)m, (void)v; fake_cr8 = val; }
void lapic_tsc_changed(struct machine *m, const struct vcpu *v) { (void)m, (void)v; }

/* --- a vCPU in long mode ----------------------------------------------------------------- */
#define GDT (MEM_BASE + 0x0000)
#define IDT (MEM_BASE + 0x1000)
#define TSS (MEM_BASE + 0x2000)
#define CODE (MEM_BASE + 0x3000)
#define STACK_USER (MEM_BASE + 0x5000)
#define STACK_RSP0 (MEM_BASE + 0x7000)
#define STACK_IST1 (MEM_BASE + 0x9000)
#define STACK_KERNEL (MEM_BASE + 0xb000)
#define DATA (MEM_BASE + 0xc000)
#define HANDLER(n) (MEM_BASE + 0x4000 + (n) * 16)

/* Linux's layout, with a call gate and oddities at the end. */
enum {
	SEL_KCODE32 = 0x08, SEL_KCODE = 0x10, SEL_KDATA = 0x18, SEL_UCODE32 = 0x20, SEL_UDATA = 0x28,
	SEL_UCODE = 0x30, SEL_TSS = 0x40, SEL_LDT = 0x50, SEL_CPUNODE = 0x78, SEL_GATE = 0x80,
	SEL_ABSENT = 0x90, SEL_CONFORMING = 0x98, SEL_RODATA = 0xa0, SEL_BASED = 0xa8, GDT_END = 0xb0,
};

static struct vcpu the_vcpu, *const v = &the_vcpu;

static void set_gdt(u16 sel, u64 desc)
{
	*(u64 *)(GDT + sel) = desc;
}

static void set_gate(unsigned n, u64 handler, u16 sel, unsigned type, unsigned dpl, unsigned ist, bool p)
{
	u32 *g = (u32 *)(IDT + n * 16);

	g[0] = (u32)sel << 16 | (handler & 0xffff);
	g[1] = (handler & 0xffff0000) | (u32)p << 15 | dpl << 13 | type << 8 | ist;
	g[2] = handler >> 32;
	g[3] = 0;
}

static void fill_gdt(void)
{
	set_gdt(SEL_KCODE32, 0x00cf9b000000ffff);
	set_gdt(SEL_KCODE, 0x00af9b000000ffff);
	set_gdt(SEL_KDATA, 0x00cf93000000ffff);
	set_gdt(SEL_UCODE32, 0x00cffb000000ffff);
	set_gdt(SEL_UDATA, 0x00cff3000000ffff);
	set_gdt(SEL_UCODE, 0x00affb000000ffff);
	set_gdt(SEL_TSS, 0x0000890000000067 | (TSS & 0xffffff) << 16 | (TSS >> 24 & 0xff) << 56);
	set_gdt(SEL_TSS + 8, 0);
	set_gdt(SEL_LDT, 0x0000820000000fff | (DATA & 0xffffff) << 16 | (DATA >> 24 & 0xff) << 56);
	set_gdt(SEL_LDT + 8, 0);
	set_gdt(SEL_CPUNODE, 0x0040f50000003003);
	set_gdt(SEL_GATE, 0x0000ec0000000000 | (u64)SEL_KCODE << 16 | (HANDLER(200) & 0xffff) |
				  (HANDLER(200) & 0xffff0000) << 32);
	set_gdt(SEL_GATE + 8, 0);
	set_gdt(SEL_ABSENT, 0x00cf73000000ffff);
	set_gdt(SEL_CONFORMING, 0x00af9f000000ffff);
	set_gdt(SEL_RODATA, 0x00cff1000000ffff);
	set_gdt(SEL_BASED, 0x12cff2345678ffff);
}

static void load_segs(unsigned cpl)
{
	bool user = cpl == 3;

	v->cpl = cpl;
	v->seg[SEG_CS] = (struct seg){ user ? SEL_UCODE | 3 : SEL_KCODE, user ? 0xa0fb : 0xa09b, ~0u, 0 };
	v->seg[SEG_SS] = (struct seg){ user ? SEL_UDATA | 3 : SEL_KDATA, user ? 0xc0f3 : 0xc093, ~0u, 0 };
	v->gpr[RSP] = user ? STACK_USER : STACK_KERNEL;
}

UNUSED static int setup(void **state)
{
	static void *mem;
	char err[128];

	(void)state;
	if (!mem) {
		mem = mmap((void *)MEM_BASE, MEM_SIZE, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
		assert_ptr_equal(mem, (void *)MEM_BASE);
		assert_int_equal(cpu_model_parse("host", err, sizeof(err)), 0);
	}
	memset(mem, 0, MEM_SIZE);
	memset(page_kind, 0, sizeof(page_kind));
	memset(v, 0, sizeof(*v));
	bus_count = traced_brackets = traced_bulks = mode_changes = cr3_writes = 0;
	cpu_reset(v);
	fill_gdt();
	for (unsigned n = 0; n < 256; n++)
		set_gate(n, HANDLER(n), SEL_KCODE, DT_INT, 0, 0, true);
	*(u64 *)(TSS + 4) = STACK_RSP0;
	*(u64 *)(TSS + 0x24) = STACK_IST1;
	*(u16 *)(TSS + 102) = 104;
	v->cr0 = CR0_PE | CR0_PG | CR0_ET | CR0_WP;
	v->cr4 = CR4_PAE | CR4_PGE;
	v->efer = EFER_LME | EFER_LMA | EFER_SCE | EFER_NXE;
	v->gdtr = (struct desc_table){ GDT, GDT_END - 1 };
	v->idtr = (struct desc_table){ IDT, 0xfff };
	v->seg[SEG_TR] = (struct seg){ SEL_TSS, 0x8b, 0x67, TSS };
	v->seg[SEG_LDTR] = (struct seg){ 0 };
	for (int s = SEG_ES; s <= SEG_GS; s++)
		if (s != SEG_CS && s != SEG_SS)
			v->seg[s] = (struct seg){ 0 };
	load_segs(0);
	v->rip = CODE;
	v->next_rip = CODE + 4;
	v->intr_enabled = 1;
	return 0;
}

/* A 64-bit legacy-map instruction with register operands only; tests fill the rest. */
UNUSED static struct insn insn_of(enum op op, u8 opcode)
{
	return (struct insn){
		.op = op, .opcode = opcode, .code_size = 64, .opsize = 4, .addrsize = 8, .seg = SEG_DS,
		.rm = REG_NONE, .base = REG_NONE, .index = REG_NONE, .scale = 1, .len = 4,
	};
}

UNUSED static void use_mem(struct insn *in, int base, i64 disp)
{
	in->has_modrm = in->has_mem = 1;
	in->rm = REG_NONE;
	in->base = base;
	in->disp = disp;
}

UNUSED static int run_op(const struct insn *in)
{
	return cpu_ops[in->op](v, in);
}

UNUSED static void expect_fault(int ret, u8 vector, u32 error)
{
	assert_int_equal(ret, CPU_FAULT);
	assert_int_equal(v->exc.vector, vector);
	assert_int_equal(v->exc.error, error);
}
