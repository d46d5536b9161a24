/* The first and last instructions of a trap that the tracer has sent (trap.h).
 *
 * Other than at a signal, PKRU is still that of the interrupted code, and it is put back
 * here: some hosts do not let a tracer write it. Every general register is the handler's
 * to use, the tracer restores them; no vector register may be touched. Each WRPKRU is
 * followed by what only the way here by the tracer can pass (see entry.S): the check of
 * `state`, the breakpoint that the tracer takes for a handler's end only while one runs. */
#include "asm-offsets.h"
#include "trap.h"

	.text

	.globl trap_entry, trap_entry_plain, gate_trap, gate_trap_exit, trap_exit_end
trap_entry:
	xor %ecx, %ecx
	rdpkru
	mov %eax, %ebx
	mov $1, %r12d
	xor %eax, %eax
	xor %edx, %edx
gate_trap:
	wrpkru
	mov frame_address(%rip), %rdi
	cmpl $TRAP_SENT, TRAP_STATE(%rdi)
	jne gate_refused
	mov %ebx, TRAP_RIGHTS(%rdi)
	jmp run_handler
trap_entry_plain:
	xor %r12d, %r12d
	mov frame_address(%rip), %rdi
run_handler:
	movl $TRAP_RUNS, TRAP_STATE(%rdi)
	call view_trap
	test %al, %al
	jnz land
	test %r12d, %r12d
	jz trap_exit
	mov %ebx, %eax
	xor %ecx, %ecx
	xor %edx, %edx
gate_trap_exit:
	wrpkru
trap_exit:
	int3
trap_exit_end:
	jmp gate_refused

/* To the engine, without the tracer's help: only the stack pointer has to be right. From
 * TRAP_FREE on another trap may use frame and signal stack. */
land:
	mov vcpu_address(%rip), %rcx
	mov VCPU_HOST_RSP(%rcx), %rsp
	mov frame_address(%rip), %rdi
	movl $TRAP_FREE, TRAP_STATE(%rdi)
	cmpl $0, TRAP_HELD(%rdi)
	je engine_landing_plain
	movl $0, TRAP_HELD(%rdi)
	call fault_late
	jmp engine_landing_plain

	.section .rodata
	.balign 8
vcpu_address:
	.quad VCPU_ADDRESS
frame_address:
	.quad TRAP_FRAME_ADDRESS
	.section .note.GNU-stack,"",@progbits
