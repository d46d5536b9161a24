/* The stack pointer as a value, and everything that moves it, at CPL 0. */
#include "lib.h"

#define T TEST_RSP

SNIP(s_mov, "mov %rsp, %rbp");
SNIP(s_mov_to, "mov %rbp, %rsp");
SNIP(s_mov32, "mov %esp, %ebp; mov %sp, %bx");
SNIP(s_lea, "lea 0x28(%rsp), %rax; lea -8(%rsp,%rbx,8), %rcx; lea (%rsp), %edx; lea (%rsp), %si");
SNIP(s_and, "mov %rsp, %rbx; add $9, %rsp; and $-16, %rsp");
SNIP(s_push_rsp, "push %rsp; mov (%rsp), %rax");
SNIP(s_pop_rsp, "push %rbx; pop %rsp");
SNIP(s_push_mem_rsp, "push (%rsp); push 8(%rsp); mov (%rsp), %rax; mov 8(%rsp), %rbx");
SNIP(s_pop_mem_rsp, "push %rbx; pop 8(%rsp)");
SNIP(s_leave, "mov %rsp, %rbp; sub $64, %rsp; movq $77, (%rbp); leave");
SNIP(s_enter, "enter $0x40, $0");
SNIP(s_enter3, "enter $0x20, $3");
SNIP(s_xchg, "mov %rsp, %rcx; sub $128, %rcx; xchg %rcx, %rsp; xchg %rsp, %rdx; xchg %rdx, %rsp");
SNIP(s_cmov, "xor %eax, %eax; cmovz %rsp, %rax; cmovnz %rsp, %rbx; lea -256(%rsp), %rcx; test %eax, %eax; cmovnz %rcx, %rsp; cmovz %rdx, %rsp");
SNIP(s_index, "lea -64(%rsp), %rsp; movq $0x1234, 24(%rsp); mov $3, %ebx; mov (%rsp,%rbx,8), %rax; addq $1, (%rsp,%rbx,8); mov 24(%rsp), %rcx");
SNIP(s_mem, "mov %rsp, -8(%rsp); mov -8(%rsp), %rax; mov %rsp, (%rdi); xadd %rsp, (%rsi)");
SNIP(s_cmp, "mov %rsp, %rbx; cmp %rbx, %rsp; sete %al; cmp $0, %rsp; setl %cl; setb %dl; test %rsp, %rsp; sets %sil");
SNIP(s_load, "mov %rdi, %rbx; mov %rsp, %rax; mov (%rbx), %rsp; mov %rsp, %rcx; mov %rax, %rsp");
SNIP(s_imul, "imul $1, %rsp, %rax; mov %rsp, %rbx; shl $1, %rbx; bt $63, %rsp; setc %cl; bswap %rsp; mov %rsp, %rdx; bswap %rsp");
SNIP(s_pushw, "pushw $0x1234; pushw %ax; popw %bx; popw %cx");
SNIP(s_pushf, "pushfq; popfq; pushfw; popfw; push $-5; pop %rax; push %fs; pop %rbx");
SNIP(s_callret, "call 1f; jmp 2f; 1: mov (%rsp), %rax; ret $0; 2: sub $16, %rsp; call 3f; 3: pop %rbx");
SNIP(s_retn, "sub $32, %rsp; call 1f; jmp 2f; 1: ret $32; 2:");
SNIP(s_dec, "dec %rsp; inc %rsp; neg %rsp; mov %rsp, %rax; neg %rsp; not %rsp; mov %rsp, %rbx; not %rsp");
SNIP(s_mov_imm32, "mov %rsp, %rax; mov $0x1000, %esp; mov %rsp, %rbx; mov %rax, %rsp");
SNIP(s_adc, "mov %rsp, %rax; stc; adc $15, %rsp; mov %rsp, %rbx; stc; sbb $15, %rsp; mov %rsp, %rcx; xor %rsp, %rcx; mov %rsp, %rdx; or $0, %rsp");
SNIP(s_vec, "movq %rsp, %xmm0; movq %xmm0, %rax; sub $64, %rsp; movdqu %xmm0, 8(%rsp); mov 8(%rsp), %rbx; movdqu -24(%rsp), %xmm1");
SNIP(s_string, "lea -512(%rsp), %rdi; mov %rsp, %rsi; mov $8, %ecx; rep movsq");
SNIP(s_cx, "lea -64(%rsp), %rbx; mov %rsp, %rax; mov %rsp, (%rbx); lock cmpxchg %rcx, (%rbx); setz %dl; mov (%rbx), %rsi");

static struct regs r;

static void go(const void *code)
{
	int v = run(&r, code);

	EQ("vector", v, VEC_EXIT);
}

#define TEST(name) static void name(void)
#define BEGIN regs_init(&r)

TEST(mov) { BEGIN; go(s_mov); EQ("rbp", r.rbp, T); EQ("rsp", r.rsp, T);
	BEGIN; r.rbp = T - 0x100; go(s_mov_to); EQ("rsp", r.rsp, T - 0x100);
	BEGIN; go(s_mov32); EQ("ebp", r.rbp, (u32)T); EQ("bx", r.rbx & 0xffff, T & 0xffff); EQ("rbx", r.rbx >> 16, 0x0c0c0c0c0c0c); }
TEST(lea) { BEGIN; r.rbx = 2; go(s_lea); EQ("rax", r.rax, T + 0x28); EQ("rcx", r.rcx, T + 8); EQ("edx", r.rdx, (u32)T); EQ("si", r.rsi & 0xffff, T & 0xffff); }
TEST(and_flags) { BEGIN; go(s_and); EQ("rbx", r.rbx, T); EQ("rsp", r.rsp, (T + 9) & ~15UL);
	u64 v = r.rsp;
	EQ("sf", r.rflags >> 7 & 1, v >> 63); EQ("zf", r.rflags >> 6 & 1, 0); EQ("cf", r.rflags & 1, 0); }
TEST(push_rsp) { BEGIN; go(s_push_rsp); EQ("rax", r.rax, T); EQ("rsp", r.rsp, T - 8); }
TEST(pop_rsp) { BEGIN; r.rbx = T - 0x300; go(s_pop_rsp); EQ("rsp", r.rsp, T - 0x300); }
TEST(push_mem) { BEGIN; ((u64 *)T)[0] = 11; ((u64 *)T)[1] = 22; go(s_push_mem_rsp);
	EQ("rsp", r.rsp, T - 16); EQ("rax", r.rax, 11); EQ("rbx", r.rbx, 11); }
TEST(pop_mem) { BEGIN; r.rbx = 0x5566; ((u64 *)T)[1] = 0; go(s_pop_mem_rsp); EQ("rsp", r.rsp, T); EQ("mem", ((u64 *)T)[1], 0x5566); }
TEST(leave) { BEGIN; go(s_leave); EQ("rbp", r.rbp, 77); EQ("rsp", r.rsp, T + 8); }
TEST(enter) { BEGIN; r.rbp = 0x4242; go(s_enter); EQ("rbp", r.rbp, T - 8); EQ("rsp", r.rsp, T - 8 - 0x40); EQ("saved", *(u64 *)(T - 8), 0x4242); }
TEST(enter_nested) { BEGIN; r.rbp = T - 0x400; ((u64 *)(T - 0x400))[-1] = 0xaa; ((u64 *)(T - 0x400))[-2] = 0xbb; go(s_enter3);
	EQ("rbp", r.rbp, T - 8); EQ("1", *(u64 *)(T - 16), 0xaa); EQ("2", *(u64 *)(T - 24), 0xbb); EQ("3", *(u64 *)(T - 32), T - 8); EQ("rsp", r.rsp, T - 32 - 0x20); }
TEST(xchg) { BEGIN; go(s_xchg); EQ("rcx", r.rcx, T); EQ("rsp", r.rsp, T - 128); EQ("rdx", r.rdx, 0x0101010101010101 * 13); }
TEST(cmov) { BEGIN; r.rdx = T - 0x80; go(s_cmov); EQ("rax", r.rax, T); EQ("rbx", r.rbx, 0x0c0c0c0c0c0c0c0c);
	EQ("rsp", r.rsp, (u32)T ? T - 256 : T - 0x80); }
TEST(index) { BEGIN; go(s_index); EQ("rax", r.rax, 0x1234); EQ("rcx", r.rcx, 0x1235); }
TEST(memory) { u64 a = 0, b = 16; BEGIN; r.rdi = (u64)&a; r.rsi = (u64)&b; go(s_mem); EQ("rax", r.rax, T); EQ("a", a, T); EQ("b", b, T + 16); EQ("rsp", r.rsp, 16); }
TEST(compare) { BEGIN; go(s_cmp); EQ("sete", r.rax & 0xff, 1); EQ("setl", r.rcx & 0xff, T >> 63); EQ("setb", r.rdx & 0xff, 0); EQ("sets", r.rsi & 0xff, T >> 63); }
TEST(load) { u64 x = 0x1122334455667788; BEGIN; r.rdi = (u64)&x; go(s_load); EQ("rcx", r.rcx, x); EQ("rsp", r.rsp, T);
	x = 0xffff888012345678; BEGIN; r.rdi = (u64)&x; go(s_load); EQ("rcx", r.rcx, x); }
TEST(arith) { BEGIN; go(s_imul); EQ("rax", r.rax, T); EQ("rbx", r.rbx, T << 1); EQ("cl", r.rcx & 1, T >> 63); EQ("rdx", r.rdx, __builtin_bswap64(T)); EQ("rsp", r.rsp, T); }
TEST(push16) { BEGIN; go(s_pushw); EQ("rsp", r.rsp, T); EQ("cx", r.rcx & 0xffff, 0x1234); EQ("bx", r.rbx & 0xffff, 0x0f0f); }
TEST(push_misc) { BEGIN; go(s_pushf); EQ("rsp", r.rsp, T); EQ("rax", r.rax, -5); EQ("fs", r.rbx, 0); }
TEST(call_ret) { BEGIN; go(s_callret); EQ("rax", r.rax, (u64)s_callret + 5); EQ("rsp", r.rsp, T - 16); EQ("rbx", r.rbx, (u64)s_callret_end - 3); }
TEST(ret_imm) { BEGIN; go(s_retn); EQ("rsp", r.rsp, T); }
TEST(unary) { BEGIN; go(s_dec); EQ("rsp", r.rsp, T); EQ("rax", r.rax, -T); EQ("rbx", r.rbx, ~T); }
TEST(imm32) { BEGIN; go(s_mov_imm32); EQ("rbx", r.rbx, 0x1000); EQ("rsp", r.rsp, T); }
TEST(adc) { BEGIN; go(s_adc); EQ("rax", r.rax, T); EQ("rbx", r.rbx, T + 16); EQ("rcx", r.rcx, 0); EQ("rdx", r.rdx, T); EQ("rsp", r.rsp, T); }
TEST(vector) { BEGIN; go(s_vec); EQ("rax", r.rax, T); EQ("rbx", r.rbx, T); }
TEST(string) { BEGIN; for (int i = 0; i < 8; i++) ((u64 *)T)[i] = 100 + i; go(s_string); EQ("7", ((u64 *)(T - 512))[7], 107); EQ("rsi", r.rsi, T + 64); EQ("rdi", r.rdi, T - 512 + 64); }
TEST(cmpxchg) { BEGIN; r.rcx = 5; go(s_cx); EQ("zf", r.rdx & 0xff, 1); EQ("mem", r.rsi, 5); }

static u64 depth(u64 n)
{
	volatile u64 x = n;

	return n ? depth(n - 1) + x : 0;
}

TEST(recursion) { EQ("sum", depth(700), 700 * 701 / 2); for (int i = 0; i < 50; i++) EQ("sum", depth(100), 5050); }

const struct test tests[] = {
	{ "stack.mov", mov }, { "stack.lea", lea }, { "stack.and_flags", and_flags },
	{ "stack.push_rsp", push_rsp }, { "stack.pop_rsp", pop_rsp }, { "stack.push_mem", push_mem },
	{ "stack.pop_mem", pop_mem }, { "stack.leave", leave }, { "stack.enter", enter },
	{ "stack.enter_nested", enter_nested }, { "stack.xchg", xchg }, { "stack.cmov", cmov },
	{ "stack.index", index }, { "stack.memory", memory }, { "stack.compare", compare },
	{ "stack.load", load }, { "stack.arith", arith }, { "stack.push16", push16 },
	{ "stack.push_misc", push_misc }, { "stack.call_ret", call_ret }, { "stack.ret_imm", ret_imm },
	{ "stack.unary", unary }, { "stack.imm32", imm32 }, { "stack.adc", adc },
	{ "stack.vector", vector }, { "stack.string", string }, { "stack.cmpxchg", cmpxchg },
	{ "stack.recursion", recursion }, { NULL, NULL },
};
