/* The way into guest code and back, and the first instructions of signal handlers.
 *
 * Nothing here may change flags between a guest's last instruction and the pushf in
 * engine_exit_tail, and no stack may be touched before WRPKRU has given access to it.
 *
 * Gates. Guest user code that runs as it is can jump to any executable byte, with any
 * registers, but only with the rights of user code. So each instruction here that can
 * give rights (WRPKRU, XRSTOR) is followed by a check of something that only the
 * engine's own way to it can have left in memory that user code cannot write; whoever
 * came from elsewhere ends at an invalid instruction, which the signal handler takes
 * for the guest's (dbt/fault.c). The gates in translated code are made in emit.c. */
#include "asm-offsets.h"

#define FL_AC 0x40000
/* struct rt_sigframe of the host kernel: return address, ucontext, siginfo. */
#define FRAME_UC 8
#define FRAME_SI 312

	.text

/* void engine_enter(struct vcpu *v, u64 tail) */
	.globl engine_enter
engine_enter:
	push %rbx
	push %rbp
	push %r12
	push %r13
	push %r14
	push %r15
	mov %rsp, VCPU_HOST_RSP(%rdi)
	/* An event that comes before this check is seen by it; one that comes after finds
	 * the PC in [begin, end) and single-steps to the first guest instruction. */
	cmpq $0, VCPU_EVENT_PENDING(%rdi)
	.globl engine_enter_begin
engine_enter_begin:
	jne enter_aborted
enter_load:
	mov VCPU_ENTER_PKRU(%rdi), %eax
	mov %rsi, %rcx
	pushq VCPU_ENTER_FLAGS(%rdi)
	popfq
	mov VCPU_GPR+3*8(%rdi), %rbx
	mov VCPU_ENTER_RSP(%rdi), %rsp
	mov VCPU_GPR+5*8(%rdi), %rbp
	mov VCPU_GPR+6*8(%rdi), %rsi
	mov VCPU_GPR+8*8(%rdi), %r8
	mov VCPU_GPR+9*8(%rdi), %r9
	mov VCPU_GPR+10*8(%rdi), %r10
	mov VCPU_GPR+11*8(%rdi), %r11
	mov VCPU_GPR+12*8(%rdi), %r12
	mov VCPU_GPR+13*8(%rdi), %r13
	mov VCPU_GPR+14*8(%rdi), %r14
	mov VCPU_GPR+15*8(%rdi), %r15
	mov VCPU_GPR+7*8(%rdi), %rdi
	jmp *%rcx
	.globl engine_enter_end
engine_enter_end:

/* void engine_enter_inside(struct vcpu *v, u64 tail): the same without the check, for the
 * middle of an instruction, which must be finished first. */
	.globl engine_enter_inside
engine_enter_inside:
	push %rbx
	push %rbp
	push %r12
	push %r13
	push %r14
	push %r15
	mov %rsp, VCPU_HOST_RSP(%rdi)
	jmp enter_load

enter_aborted:
	movq $9, VCPU_EXIT_ID(%rdi)	/* EXIT_ID_ABORTED */
	jmp leave

/* From the exit stubs in the code cache: all general registers are stored, PKRU is open. */
	.globl engine_exit_tail
engine_exit_tail:
	mov vcpu_address(%rip), %rcx
	mov VCPU_HOST_RSP(%rcx), %rsp
	pushfq
	popq VCPU_EXIT_FLAGS(%rcx)
	testl $FL_AC, VCPU_EXIT_FLAGS(%rcx)
	jz leave
	pushq $0x202	/* alignment checks are the guest's, not ours */
	popfq
leave:
	cld
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbp
	pop %rbx
	ret

/* Where the fault handler sends a context whose guest state it has stored itself. The
 * plain variant is for hosts without protection keys. */
	.globl engine_landing, gate_landing
engine_landing:
	xor %eax, %eax
	xor %ecx, %ecx
	xor %edx, %edx
gate_landing:
	wrpkru
	.globl engine_landing_plain
engine_landing_plain:
	mov vcpu_address(%rip), %rcx
	cmpq $0, VCPU_GATE(%rcx)
	je gate_refused
	movq $0, VCPU_GATE(%rcx)
	mov VCPU_HOST_RSP(%rcx), %rsp
	jmp leave

/* int fpu_xrstor(const void *area, u64 mask): XRSTOR. -1: the area is not valid, which the
 * handler of the #GP tells by sending it to the fix-up. */
	.globl fpu_xrstor, engine_xrstor_insn
fpu_xrstor:
	mov vcpu_address(%rip), %rcx
	movq $1, VCPU_GATE(%rcx)
	mov %esi, %eax
	mov %rsi, %rdx
	shr $32, %rdx
engine_xrstor_insn:
	xrstor64 (%rdi)
	mov vcpu_address(%rip), %rcx
	cmpq $0, VCPU_GATE(%rcx)
	je gate_refused
	movq $0, VCPU_GATE(%rcx)
	xor %eax, %eax
	ret
	.globl engine_xrstor_fixup
engine_xrstor_fixup:
	mov vcpu_address(%rip), %rcx
	movq $0, VCPU_GATE(%rcx)
	mov $-1, %eax
	ret

/* Signal entry: the kernel has written the frame; PKRU allows key 0 only, so open it
 * before the stack, or any data, is touched. All frames lie at the same address (the
 * alternate stack is always empty): one that the kernel has just written has a signal
 * number, which is erased. */
	.globl signal_entry, gate_signal
signal_entry:
	xor %eax, %eax
	xor %ecx, %ecx
	xor %edx, %edx
gate_signal:
	wrpkru
	.globl signal_entry_plain
signal_entry_plain:
	mov sig_frame_address(%rip), %rcx
	mov (%rcx), %rax
	test %rax, %rax
	jz first_signal
	cmp %rax, %rsp
	jne gate_refused
frame_ok:
	mov FRAME_SI(%rsp), %edi
	test %edi, %edi
	jz gate_refused
	movl $0, FRAME_SI(%rsp)
	lea FRAME_SI(%rsp), %rsi
	lea FRAME_UC(%rsp), %rdx
	pushq $0x202	/* the interrupted code's AC flag would still be set */
	popfq
	jmp view_signal
first_signal:	/* before any guest code: the view has sent it to itself */
	mov %rsp, (%rcx)
	jmp frame_ok

	.globl gate_refused, gate_refused_end
gate_refused:
	ud2
gate_refused_end:

	.globl signal_restorer
signal_restorer:
	mov $15, %eax	/* rt_sigreturn */
	syscall

	.section .rodata
	.balign 8
vcpu_address:
	.quad VCPU_ADDRESS
sig_frame_address:
	.quad SIG_FRAME_ADDRESS
	.section .note.GNU-stack,"",@progbits
