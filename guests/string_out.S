/* A 64-bit ELF that writes five values to port 0x2004 with one instruction, then 7 to port 0x2010,
 * five more to port 0x2000, and ends with status 0. */
	.globl _start
_start:
	movl $0x10000, %esp
	leaq values(%rip), %rsi
	movl $5, %ecx
	movl $0x2004, %edx
	cld
	rep outsl
	movl $0x2010, %edx
	movl $7, %eax
	outl %eax, %dx
	leaq values(%rip), %rsi
	movl $5, %ecx
	movl $0x2000, %edx
	rep outsl
	movl $0x501, %edx
	xorl %eax, %eax
	outl %eax, %dx
1:	jmp 1b
values:	.long 11, 12, 13, 14, 15
