/* A 64-bit ELF that breaks its own machine: no interrupt table, and then an exception. */
	.globl _start
_start:
	lidt none
	xorl %eax, %eax
	divl %eax
1:	jmp 1b
none:	.word 0
	.quad 0
