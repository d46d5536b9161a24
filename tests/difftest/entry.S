/* Entering and leaving a generated sequence with every register under control.
 *
 * dt_run loads the state at CTL_IN and jumps to *CTL_ENTRY; the sequence ends with a jump
 * to *CTL_EXIT = dt_exit, which stores the state at CTL_OUT. Neither uses the stack that
 * the sequence sees. A signal handler ends a faulting sequence by returning to dt_exit. */
#include "difftest.h"

.macro load insn, reg, at:vararg
	\insn \at, %\reg
.endm
.macro store insn, reg, at:vararg
	\insn %\reg, \at
.endm

/* All vector registers, as wide as they are. */
.macro vector_state move, state:vararg
	testl $F_AVX512, CTL_FEAT
	jz 1f
	.irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
	\move vmovdqu64, zmm\n, \state + ST_ZMM + 64 * \n
	.endr
	.irp n, 0,1,2,3,4,5,6,7
	\move kmovq, k\n, \state + ST_K + 8 * \n
	.endr
	jmp 3f
1:	testl $F_AVX, CTL_FEAT
	jz 2f
	.irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
	\move vmovdqu, ymm\n, \state + ST_ZMM + 64 * \n
	.endr
	jmp 3f
2:	.irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
	\move movdqu, xmm\n, \state + ST_ZMM + 64 * \n
	.endr
3:
.endm

	.text
	.globl _start, dt_run, dt_exit, dt_restorer
_start:
	xor %ebp, %ebp
	mov %rsp, %rdi
	and $-16, %rsp
	call dt_main
	mov %eax, %edi
	mov $231, %eax
	syscall
	hlt

dt_restorer:
	mov $15, %eax
	syscall
	hlt

dt_run:
	push %rbx
	push %rbp
	push %r12
	push %r13
	push %r14
	push %r15
	mov %rsp, CTL_HOST_RSP
	frstor CTL_IN + ST_FPU
	ldmxcsr CTL_IN + ST_MXCSR
	vector_state load, CTL_IN
	testl $F_FSGSBASE, CTL_FEAT
	jz 1f
	mov $FS_BASE, %eax
	wrfsbase %rax
	movabs $GS_BASE, %rax
	wrgsbase %rax
1:	push CTL_IN + ST_FLAGS
	popfq
	mov CTL_IN + 0, %rax
	mov CTL_IN + 8, %rcx
	mov CTL_IN + 16, %rdx
	mov CTL_IN + 24, %rbx
	mov CTL_IN + 32, %rsp
	mov CTL_IN + 40, %rbp
	mov CTL_IN + 48, %rsi
	mov CTL_IN + 56, %rdi
	mov CTL_IN + 64, %r8
	mov CTL_IN + 72, %r9
	mov CTL_IN + 80, %r10
	mov CTL_IN + 88, %r11
	mov CTL_IN + 96, %r12
	mov CTL_IN + 104, %r13
	mov CTL_IN + 112, %r14
	mov CTL_IN + 120, %r15
	jmp *CTL_ENTRY

dt_exit:
	mov %rsp, CTL_OUT + 32
	mov CTL_HOST_RSP, %rsp
	pushfq
	popq CTL_OUT + ST_FLAGS
	cld
	mov %rax, CTL_OUT + 0
	mov %rcx, CTL_OUT + 8
	mov %rdx, CTL_OUT + 16
	mov %rbx, CTL_OUT + 24
	mov %rbp, CTL_OUT + 40
	mov %rsi, CTL_OUT + 48
	mov %rdi, CTL_OUT + 56
	mov %r8, CTL_OUT + 64
	mov %r9, CTL_OUT + 72
	mov %r10, CTL_OUT + 80
	mov %r11, CTL_OUT + 88
	mov %r12, CTL_OUT + 96
	mov %r13, CTL_OUT + 104
	mov %r14, CTL_OUT + 112
	mov %r15, CTL_OUT + 120
	fnsave CTL_OUT + ST_FPU
	stmxcsr CTL_OUT + ST_MXCSR
	vector_state store, CTL_OUT
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbp
	pop %rbx
	ret
	.section .note.GNU-stack, "", @progbits
