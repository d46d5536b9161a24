/* Exception and interrupt entries, and run(): code under test with all registers given.
 *
 * run_enter loads every register from *run_regs and goes there by IRETQ; any exception, or
 * INT VEC_EXIT, comes back through trap_c, which copies the frame and leaves by
 * run_leave. */
#include "layout.h"

	.text
	.globl trap_entries
	.balign 16
trap_entries:
	.set i, 0
	.rept 256
	.balign 16
	.if (i == 8) || (i >= 10 && i <= 14) || (i == 17) || (i == 21) || (i == 29) || (i == 30)
	.else
	push $0 /* vectors without an error code */
	.endif
	push $i
	jmp trap_common
	.set i, i + 1
	.endr

trap_common:
	push %rax
	push %rcx
	push %rdx
	push %rbx
	push %rbp
	push %rsi
	push %rdi
	push %r8
	push %r9
	push %r10
	push %r11
	push %r12
	push %r13
	push %r14
	push %r15
	cld
	mov %rsp, %rdi
	mov %rsp, %rbp
	and $-16, %rsp
	call trap_c
	mov %rbp, %rsp
	.globl trap_restore
trap_restore:
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %r11
	pop %r10
	pop %r9
	pop %r8
	pop %rdi
	pop %rsi
	pop %rbp
	pop %rbx
	pop %rdx
	pop %rcx
	pop %rax
	add $16, %rsp
	iretq

	/* void run_enter(struct regs *on_own_stack) */
	.globl run_enter, run_leave
run_enter:
	push %rbx
	push %rbp
	push %r12
	push %r13
	push %r14
	push %r15
	pushfq
	mov %rsp, run_host_rsp(%rip)
	mov %rdi, %rsp
	jmp trap_restore
run_leave:
	mov run_host_rsp(%rip), %rsp
	popfq
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbp
	pop %rbx
	ret

	.bss
	.balign 8
run_host_rsp:
	.quad 0
	.section .note.GNU-stack, "", @progbits
