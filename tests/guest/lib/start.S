/* First instructions of a test kernel.
 *
 * start64 is the ELF entry: long mode, identity-mapped, interrupts off, RSI = boot
 * parameters. start32 is the PVH entry that QEMU uses: protected mode, paging off. Both
 * build the same page tables (identity 4 GiB; with a high KBASE also the kernel image and
 * a direct map of 4 GiB), load a GDT and go to kmain on the kernel's own stack, with the
 * physical address of the command line. */
#include "layout.h"

	.section .note.pvh, "a", @note
	.long 4, 8, 18			/* XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz "Xen"
	.quad start32

	.section .boot, "ax"
	.code32
	.globl start32
start32:
	cld
	mov 24(%ebx), %esi		/* hvm_start_info: the command line */
	mov $boot_stack_end, %esp
	call build
	mov $boot_pml4, %eax
	mov %eax, %cr3
	mov $0x20, %eax			/* PAE */
	mov %eax, %cr4
	mov $0xc0000080, %ecx
	xor %edx, %edx
	mov $0x100, %eax		/* LME */
	wrmsr
	mov $0x80000011, %eax		/* PG, ET, PE */
	mov %eax, %cr0
	lgdt boot_gdtr
	ljmp $0x10, $common64

	/* Fills the tables; runs the same in 32-bit mode and, being simple, is repeated
	 * for 64-bit mode below. */
build:
	mov $boot_pd, %edi
	mov $0x83, %eax			/* P, W, 2 MiB */
	xor %ecx, %ecx
1:	mov %eax, (%edi)
	movl $0, 4(%edi)
	add $0x200000, %eax
	add $8, %edi
	inc %ecx
	cmp $2048, %ecx
	jne 1b
	ret

	.code64
	.globl start64
start64:
	cld
	mov 0x228(%rsi), %esi		/* boot_params: the command line */
	mov $boot_stack_end, %esp
	lgdt boot_gdtr
	mov $boot_pd, %edi
	mov $0x83, %eax
	xor %ecx, %ecx
1:	mov %rax, (%rdi)
	add $0x200000, %rax
	add $8, %rdi
	inc %ecx
	cmp $2048, %ecx
	jne 1b
	mov $boot_pml4, %eax
	mov %rax, %cr3
	push $0x10
	push $common64
	lretq

common64:
	mov $0x18, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	xor %eax, %eax
	mov %eax, %fs
	mov %eax, %gs
	movabs $kstack_end, %rsp
	xor %ebp, %ebp
	push %rbp
	popfq
	mov %esi, %edi
	movabs $kmain, %rax
	jmp *%rax

	.balign 8
boot_gdt:
	.quad 0, 0, 0x00af9b000000ffff, 0x00cf93000000ffff
boot_gdtr:
	.word 31
	.long boot_gdt, 0
	.balign 4096
boot_stack:
	.fill 4096, 1, 0
boot_stack_end:
	.globl boot_pml4
boot_pml4:
	.quad boot_pdpt + 7		/* user pages go below slot 0 too */
	.fill 272, 8, 0
	.quad boot_pdpt + 3		/* slot 273: direct map */
	.fill 237, 8, 0
	.quad boot_pdpt_high + 3	/* slot 511: the kernel image */
boot_pdpt:
	.quad boot_pd + 3, boot_pd + 0x1003, boot_pd + 0x2003, boot_pd + 0x3003
	.fill 508, 8, 0
boot_pdpt_high:
	.fill 510, 8, 0
	.quad boot_pd + 3, boot_pd + 0x1003
boot_pd:
	.fill 2048, 8, 0

	.bss
	.balign 4096
	.fill 0x10000
kstack_end:
	.section .note.GNU-stack, "", @progbits
