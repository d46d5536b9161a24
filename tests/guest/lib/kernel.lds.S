/* Boot code at 1 MiB where it is loaded; everything else at KBASE + 2 MiB. */
OUTPUT_FORMAT(elf64-x86-64)
ENTRY(start64)
PHDRS
{
	boot PT_LOAD FLAGS(7);
	note PT_NOTE FLAGS(4);
	text PT_LOAD FLAGS(7);
}
SECTIONS
{
	. = 0x100000;
	.boot : AT(0x100000) { *(.boot) } :boot
	.note.pvh : { KEEP(*(.note.pvh)) } :boot :note
	. = KBASE + 0x200000;
	.text : AT(ADDR(.text) - KBASE) { *(.text .text.*) *(.snip) } :text
	.rodata : AT(ADDR(.rodata) - KBASE) { *(.rodata .rodata.*) } :text
	. = ALIGN(4096);
	.data : AT(ADDR(.data) - KBASE) { *(.data .data.*) *(.got .got.*) } :text
	.bss : AT(ADDR(.bss) - KBASE) { *(.bss .bss.*) *(COMMON) } :text
	. = ALIGN(4096);
	kernel_end = .;
	/DISCARD/ : { *(.comment) *(.note.GNU-stack) *(.eh_frame) *(.note.gnu*) }
}
