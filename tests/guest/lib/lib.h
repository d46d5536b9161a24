/* The test kernels' library: output, traps, run(), page tables, time, interrupt
 * controllers. Everything is built for general registers only; vector instructions stand
 * in inline assembly. */
#pragma once
#include "layout.h"
#pragma GCC visibility push(hidden)

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;
typedef signed char i8;
typedef int i32;
typedef long i64;
typedef _Bool bool;
#define true 1
#define false 0
#define NULL ((void *)0)
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* --- results --------------------------------------------------------------------- */
struct test {
	const char *name;
	void (*fn)(void);
};
extern const struct test tests[]; /* ends with a null name */
void fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void print(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void skip(const char *why);
void finish(u32 code) __attribute__((noreturn));
extern u64 boot_cmdline; /* physical address; 0: none */
extern u64 rng; /* state of rnd(), not 0 */
u64 rnd(void);
bool one_in(u32 n);
u64 knob(const char *name, u64 usual); /* NAME=number of the command line */
extern u64 user_if; /* RFLAGS.IF if the knob `if` is 1: user code runs as in operating systems */
#define CHECK(c, ...) do { if (!(c)) fail(__VA_ARGS__); } while (0)
#define EQ(what, got, want) do { u64 g_ = (u64)(got), w_ = (u64)(want); \
	if (g_ != w_) fail("%s: got %lx, want %lx (line %d)", what, g_, w_, __LINE__); } while (0)

/* --- traps ----------------------------------------------------------------------- */
struct regs {
	u64 r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
	u64 vec, err, rip, cs, rflags, rsp, ss;
};
typedef void (*trap_handler)(struct regs *);
void on_vector(u8 vec, trap_handler h);
void set_gate(u8 vec, u64 handler, u8 ist, u8 dpl_type);
void set_ist(u8 vec, u8 ist);
extern char trap_entries[];
extern u64 last_cr2;
extern volatile u64 trap_frame_at; /* where the last trap's frame was */
struct tss { u32 r0; u64 rsp[3], r1, ist[7], r2; u16 r3, iomap; } __attribute__((packed));
extern struct tss tss;
extern u64 gdt[16];
struct gate { u16 lo; u16 sel; u8 ist; u8 type; u16 mid; u32 hi, zero; } __attribute__((packed));
extern struct gate idt[256];

/* Code under test: name .. name_end, ends by INT VEC_EXIT unless it faults before. */
#define SNIP(name, code) \
	extern char name[], name##_end[]; \
	asm(".pushsection .snip,\"ax\"\n.balign 16\n" #name ":\n" code \
	    "\n\tint $0x81\n" #name "_end:\n.popsection")
#define LABEL(name) extern char name[]
void regs_init(struct regs *r);               /* patterns, kernel mode, test stack */
int run(struct regs *r, const void *code);    /* at CPL 0; returns the vector */
int run_user(struct regs *r, const void *code, const void *end); /* copied to UCODE */
int run_user_at(struct regs *r, u64 rip);
#define RUN_USER(r, name) run_user(r, name, name##_end)
extern u8 test_stack[0x4000];
#define TEST_RSP ((u64)test_stack + 0x3000)

/* --- CPU ------------------------------------------------------------------------- */
#define RD(reg) static inline u64 rd_##reg(void) { u64 v; asm volatile("mov %%" #reg ", %0" : "=r"(v)); return v; } \
	static inline void wr_##reg(u64 v) { asm volatile("mov %0, %%" #reg : : "r"(v) : "memory"); }
RD(cr0) RD(cr2) RD(cr3) RD(cr4) RD(cr8)
RD(dr0) RD(dr1) RD(dr2) RD(dr3) RD(dr6) RD(dr7)
static inline u64 rdmsr(u32 m) { u32 a, d; asm volatile("rdmsr" : "=a"(a), "=d"(d) : "c"(m)); return a | (u64)d << 32; }
static inline void wrmsr(u32 m, u64 v) { asm volatile("wrmsr" : : "a"((u32)v), "d"((u32)(v >> 32)), "c"(m) : "memory"); }
static inline u64 rdtsc(void) { u32 a, d; asm volatile("rdtsc" : "=a"(a), "=d"(d)); return a | (u64)d << 32; }
static inline void outb(u16 p, u8 v) { asm volatile("outb %0, %1" : : "a"(v), "Nd"(p)); }
static inline u8 inb(u16 p) { u8 v; asm volatile("inb %1, %0" : "=a"(v) : "Nd"(p)); return v; }
static inline void outl(u16 p, u32 v) { asm volatile("outl %0, %1" : : "a"(v), "Nd"(p)); }
static inline u32 inl(u16 p) { u32 v; asm volatile("inl %1, %0" : "=a"(v) : "Nd"(p)); return v; }
static inline u64 flags(void) { u64 f; asm volatile("pushfq; pop %0" : "=r"(f)); return f; }
static inline void cli(void) { asm volatile("cli" : : : "memory"); }
static inline void sti(void) { asm volatile("sti" : : : "memory"); }
static inline void invlpg(u64 a) { asm volatile("invlpg (%0)" : : "r"(a) : "memory"); }
static inline void flush_tlb(void) { wr_cr3(rd_cr3()); }
void cpuid(u32 leaf, u32 sub, u32 r[4]); /* eax, ebx, ecx, edx */
bool has(u32 leaf, u32 reg, u32 bit);    /* reg: 0 eax .. 3 edx */
/* QEMU's TCG, the reference for development, is known to be wrong here and there. */
bool tcg(void);
/* These return the vector that the instruction raised, or -1. */
int try_rdmsr(u32 m, u64 *v);
int try_wrmsr(u32 m, u64 v);
int try_read8(u64 a, u64 *v);
int try_write8(u64 a, u64 v);

/* --- memory ---------------------------------------------------------------------- */
enum { P = 1, RW = 2, US = 4, A = 32, D = 64, PS = 128, G = 256 };
#define NX (1UL << 63)
u64 page_alloc(void); /* physical address of a zeroed page */
static inline void *virt(u64 pa) { return (void *)(pa + DIRECT); }
u64 *pte_of(u64 va, int level); /* makes the tables above it; level 1 is the 4 KiB entry */
void map(u64 va, u64 pa, u64 fl);
void unmap(u64 va);
u64 map_new(u64 va, u64 fl); /* maps a fresh page; returns its physical address */
void *memcpy(void *d, const void *s, u64 n);
void *memset(void *d, int c, u64 n);
int memcmp(const void *a, const void *b, u64 n);

/* --- interrupts and time ---------------------------------------------------------- */
#define LAPIC 0xfee00000
#define IOAPIC 0xfec00000
#define HPET 0xfed00000
static inline volatile u32 *mmio(u64 pa) { return virt(pa); }
void pic_init(u8 base, u16 mask); /* remaps both, sets the mask */
void pic_eoi(u8 irq);
void lapic_enable(void);
static inline u32 lapic_rd(u32 r) { return *mmio(LAPIC + r); }
static inline void lapic_wr(u32 r, u32 v) { *mmio(LAPIC + r) = v; }
void pit_periodic(u16 divisor);
u64 tsc_per_ms(void); /* measured against the PIT */
bool wait_ms(volatile u64 *counter, u64 want, u32 ms); /* sti; until *counter >= want */
