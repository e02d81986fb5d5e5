/* A 64-bit ELF with what KVM may have no emulation for and a CPU need not have: XGETBV, while cr4.OSXSAVE is 0, has to
 * raise #UD; CLWB is done where CPUID has it.  Ends with status 0 if both did. */
	.globl _start
_start:
	movl $0x80000, %esp
	leaq handler(%rip), %rax
	movw %ax, gate
	shrq $16, %rax
	movw %ax, gate + 6
	movw %cs, gate + 2
	lidt table
	movl $7, %eax
	xorl %ecx, %ecx
	cpuid
	btl $24, %ebx			/* CLWB */
	jnc 1f
	.byte 0x66, 0x0f, 0xae, 0x34, 0x24	/* clwb (%rsp), which assemblers may not know */
1:	xorl %ecx, %ecx
	movl $2, %esi
	.byte 0x0f, 0x01, 0xd0		/* xgetbv */
2:	movl %esi, %eax
	movl $0x501, %edx
	outl %eax, %dx
	jmp 2b
handler:				/* of #UD: no error code */
	xorl %esi, %esi
	addq $3, (%rsp)
	iretq
table:	.word 7 * 16 - 1
	.quad gate - 6 * 16
	.balign 16
gate:	.word 0, 0, 0x8e00, 0
	.quad 0
