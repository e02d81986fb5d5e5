/* A Multiboot kernel: says its command line, and the strings and contents of its modules, tries the test ports,
 * and ends by port 0xf4 with 3 if all is as it should be, else with the number of what is not. */
	.code32
	.section .text
header:	.long 0x1badb002, FLAGS, -(0x1badb002 + FLAGS)
#if FLAGS & 0x10000
	.long header, header, edata, bss_end, _start
#endif

	.globl _start
_start:
	movl $10, %ebp
	cmpl $0x2badb002, %eax
	jne end
	incl %ebp			/* 11: protected mode without paging */
	movl %cr0, %eax
	andl $0x80000001, %eax
	cmpl $1, %eax
	jne end
	incl %ebp			/* 12: interrupts off, and the stack is ours to have */
	movl $stack, %esp
	pushf
	testl $0x200, (%esp)
	jne end
	incl %ebp			/* 13: what is behind the image is zeros */
	cmpl $0, stack - 4096
	jne end
	incl %ebp			/* 14: memory's sizes, command line, modules, map and the loader's name */
	movl (%ebx), %eax
	andl $0x24d, %eax
	cmpl $0x24d, %eax
	jne end

	movl 16(%ebx), %esi
	call say
	movl 20(%ebx), %ecx
	movl 24(%ebx), %edi
1:	jecxz 2f
	movl 8(%edi), %esi
	call say
	movl (%edi), %esi
	call say
	addl $16, %edi
	loop 1b

2:	incl %ebp			/* 15: ports read as they were written */
	movl $0x11223344, %eax
	outl %eax, $0xe0
	movb $0x55, %al
	outb %al, $0xe1
	inl $0xe0, %eax
	cmpl $0x11225544, %eax
	jne end
	incl %ebp			/* 16: and so does memory */
	movl $0x12345678, 0xff00fffc
	cmpw $0x1234, 0xff00fffe
	jne end
	incl %ebp			/* 17: an interrupt that the guest raises itself */
	movl $interrupt, %eax
	movw %ax, gate
	shrl $16, %eax
	movw %ax, gate + 6
	movw %cs, gate + 2
	lidt table
	movl $0x200b, %edx
	movb $1, %al
	outb %al, %dx
	movb $0, %al
	outb %al, %dx
	sti
	hlt
	jmp end
interrupt:
	movl $3, %ebp

end:	movl %ebp, %eax
	outl %eax, $0xf4
	hlt

/* The string at esi, and the end of a line. */
say:	movl $0x3f8, %edx
1:	lodsb
	testb %al, %al
	jz 2f
	outb %al, %dx
	jmp 1b
2:	movb $10, %al
	outb %al, %dx
	ret

	.balign 8
table:	.word 0x74 * 8 - 1
	.long gate - 0x73 * 8		/* of interrupt 11 at the second 8259, as firmware sets it up */
	.balign 8
gate:	.word 0, 0, 0x8e00, 0
edata:
	.bss
	.skip 8192
stack:
bss_end:
