/* A 64-bit ELF with instructions that KVM does not emulate, as they access a device's registers: adds what is read at
 * 0xd0000000 to an SSE register, five times, then divides by zero in one that does so as well (#GP by a misaligned
 * address), and ends with status 0 if all of it came out as it must. */
	.globl _start
_start:
	movl $0x80000, %esp
	movq %cr0, %rax
	andl $~4, %eax			/* not EM: SSE */
	orl $2, %eax			/* MP */
	movq %rax, %cr0
	movq %cr4, %rax
	orl $0x600, %eax		/* OSFXSR, OSXMMEXCPT */
	movq %rax, %cr4
	leaq handler(%rip), %rax
	movw %ax, gate
	shrq $16, %rax
	movw %ax, gate + 6
	movw %cs, gate + 2
	lidt table
	movl $0xd0000000, %ebx
	pxor %xmm0, %xmm0
	movl $5, %ecx
1:	paddd (%rbx), %xmm0		/* 16 bytes of registers */
	loop 1b
	movd %xmm0, %esi		/* 1 + 2 + ... where reads count */
	paddd 4(%rbx), %xmm0		/* not aligned: #GP, which the handler goes past */
	cmpl $1, %edi
	movl $2, %eax
	jne 2f
	movl %esi, %eax
2:	movl $0x501, %edx
	outl %eax, %dx
	jmp 2b
handler:
	movl $1, %edi
	addq $5, 8(%rsp)		/* behind it: the error code is at the top */
	addq $8, %rsp
	iretq
table:	.word 14 * 16 - 1
	.quad gate - 13 * 16
	.balign 16
gate:	.word 0, 0, 0x8e00, 0
	.quad 0
