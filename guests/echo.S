/* A 64-bit ELF that sends back what the serial port receives, and ends with status 3 after a
 * newline. */
	.globl _start
_start:
1:	movl $0x3fd, %edx		/* line status: data ready? */
	inb %dx, %al
	testb $1, %al
	jz 1b
	movl $0x3f8, %edx
	inb %dx, %al
	outb %al, %dx
	cmpb $'\n', %al
	jne 1b
	movl $0x501, %edx
	movl $3, %eax
	outl %eax, %dx
2:	jmp 2b
