/* What `splitvmm bench start` boots: says "1" over the serial port by its first instructions and ends with status 0,
 * or, if its command line begins with a "w", waits to be killed.  Entered by PVH (32 bits, ebx: hvm_start_info). */
	.section .note.Xen, "a", @note
	.long 4, 4, 18			/* XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz "Xen"
	.long _start

	.section .text.start, "ax"
	.code32
	.globl _start
_start:
	movl $0x3f8, %edx
	movb $'1', %al
	outb %al, %dx
	movl 24(%ebx), %esi		/* cmdline_paddr */
	cmpb $'w', (%esi)
	je 2f
	xorl %eax, %eax
	movl $0x501, %edx
1:	outl %eax, %dx
	jmp 1b
2:	cli
	hlt
	jmp 2b
