/* A 64-bit ELF without a PVH note, entered in long mode with rdi at the start info: ends with
 * status 5 if that has its magic number and the command line is "long", else with 6. */
	.globl _start
_start:
	movl $6, %eax
	cmpl $0x336ec578, (%rdi)
	jne 1f
	movq 24(%rdi), %rsi
	cmpl $0x676e6f6c, (%rsi)	/* "long" */
	jne 1f
	movl $5, %eax
1:	movl $0x501, %edx
	outl %eax, %dx
	jmp 1b
