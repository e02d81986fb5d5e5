/* A flat binary for real mode at 0x7c00: says "real" on the serial port and ends with status 7. */
	.code16
	.globl _start
_start:
	movw $0x3f8, %dx
	movb $'r', %al
	outb %al, %dx
	movb $'e', %al
	outb %al, %dx
	movb $'a', %al
	outb %al, %dx
	movb $'l', %al
	outb %al, %dx
	movb $'\n', %al
	outb %al, %dx
	movw $0x501, %dx
	movb $7, %al
	outb %al, %dx
1:	hlt
	jmp 1b
