/* PVH entry (32-bit, ebx: hvm_start_info) to long mode, interrupt stubs, and the way to ring 3.
 * 4 GiB are mapped one to one, open to ring 3 as well. */
	.section .note.Xen, "a", @note
	.long 4, 4, 18			/* XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz "Xen"
	.long _start

	.section .text.start, "ax"
	.code32
	.globl _start
_start:
	cld
	movl $stack_top, %esp
	movl %ebx, start_info
	movl $pdpt + 7, pml4
	movl $directories + 7, %eax
	movl $pdpt, %edi
	movl $4, %ecx
1:	movl %eax, (%edi)
	addl $0x1000, %eax
	addl $8, %edi
	loop 1b
	movl $0x87, %eax		/* present, writable, user, 2 MiB */
	movl $directories, %edi
	movl $2048, %ecx
2:	movl %eax, (%edi)
	addl $0x200000, %eax
	addl $8, %edi
	loop 2b
	movl $pml4, %eax
	movl %eax, %cr3
	movl $0x20, %eax		/* PAE */
	movl %eax, %cr4
	movl $0xc0000080, %ecx		/* EFER: LME */
	movl $0x100, %eax
	xorl %edx, %edx
	wrmsr
	movl $0x80000011, %eax		/* PG, ET, PE */
	movl %eax, %cr0
	lgdt gdt_pointer
	ljmp $8, $long_mode

	.code64
long_mode:
	movl $16, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	xorl %eax, %eax
	movl %eax, %fs
	movl %eax, %gs
	movq $stack_top, %rsp
	movl $task_state, %eax		/* the descriptor wants its base in pieces */
	movw %ax, gdt + 0x28 + 2
	shrl $16, %eax
	movb %al, gdt + 0x28 + 4
	movb %ah, gdt + 0x28 + 7
	movq $interrupt_stack_top, %rax
	movq %rax, task_state + 4	/* rsp0 */
	movw $0x68, task_state + 102	/* I/O permission bitmap, all zeros: ring 3 may use ports */
	movb $0xff, io_bitmap + 8192
	movl $0x28, %eax
	ltr %ax
	movl start_info, %edi
	call main
	movl %eax, %edi
	jmp power_off

/* void enter_ring3(void (*function)(void)): never returns; IOPL 3, interrupts off. */
	.globl enter_ring3
enter_ring3:
	movq $user_stack_top, %rax
	pushq $0x23
	pushq %rax
	pushq $0x3002
	pushq $0x1b
	pushq %rdi
	iretq

/* The device's interrupt: read and acknowledge the cause, count, tell the local APIC.  In as few
 * instructions as can be, as some hosts emulate each. */
	.globl interrupt_entry
interrupt_entry:
	pushq %rax
	pushq %rcx
	movq interrupting, %rcx
	movl 0x60(%rcx), %eax		/* interrupt_status */
	movl %eax, 0x64(%rcx)		/* interrupt_ack */
	incl interrupts_taken
	movl $0xfee000b0, %ecx		/* end of interrupt */
	movl $0, (%rcx)
	popq %rcx
	popq %rax
	iretq

	.globl spurious_entry
spurious_entry:				/* of the local APIC: nothing to acknowledge (SDM volume 3, 11.9) */
	iretq

/* An entry for each vector that may have a handler, 16 bytes each, which differ in the number pushed. */
	.balign 16
	.globl interrupt_entries
interrupt_entries:
	.set number, 0
	.rept 32			/* VECTORS */
	.balign 16
	pushq $number
	jmp interrupt_common
	.set number, number + 1
	.endr
interrupt_common:
	pushq %rax
	pushq %rcx
	pushq %rdx
	pushq %rsi
	pushq %rdi
	pushq %r8
	pushq %r9
	pushq %r10
	pushq %r11
	movq 72(%rsp), %rdi
	call on_interrupt
	popq %r11
	popq %r10
	popq %r9
	popq %r8
	popq %rdi
	popq %rsi
	popq %rdx
	popq %rcx
	popq %rax
	addq $8, %rsp
	iretq

/* Any exception: the guest ends with status 99 and the top of the stack, which holds the error
 * code, if there is one, and where it happened. */
	.globl exception_entry
exception_entry:
	movq (%rsp), %rdi
	movq 8(%rsp), %rsi
	movq 16(%rsp), %rdx
	call on_exception
	movl $99, %edi
power_off:
	movl %edi, %eax
	movl $0x501, %edx
	outl %eax, %dx
	cli
	hlt
	jmp power_off

/* Where a second vCPU starts, copied to a page below 1 MiB: real mode to long mode, with the
 * first one's tables. */
	.code16
	.globl ap_begin, ap_end
ap_begin:
	cli
	movw %cs, %ax
	movw %ax, %ds
	lgdtl ap_gdt_pointer - ap_begin
	movl $pml4, %eax
	movl %eax, %cr3
	movl $0x20, %eax
	movl %eax, %cr4
	movl $0xc0000080, %ecx
	movl $0x100, %eax
	xorl %edx, %edx
	wrmsr
	movl $0x80000011, %eax
	movl %eax, %cr0
	ljmpl $8, $ap_long_mode
ap_gdt_pointer:
	.word gdt_pointer - gdt - 1
	.long gdt
ap_end:
	.code64
ap_long_mode:
	movl $16, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	movq $ap_stack_top, %rsp
	call ap_main
	.weak ap_main

	.data
	.balign 8
gdt:	.quad 0
	.quad 0x00af9b000000ffff	/* 0x08 code, ring 0 */
	.quad 0x00cf93000000ffff	/* 0x10 data, ring 0 */
	.quad 0x00affb000000ffff	/* 0x18 code, ring 3 */
	.quad 0x00cff3000000ffff	/* 0x20 data, ring 3 */
	.quad 0x0000890000002068, 0	/* 0x28 task state, with its bitmap */
gdt_pointer:
	.word gdt_pointer - gdt - 1
	.long gdt, 0
start_info:
	.quad 0

	.bss
	.balign 4096
pml4:	.skip 4096
pdpt:	.skip 4096
directories:
	.skip 4 * 4096
task_state:
	.skip 0x68
io_bitmap:
	.skip 8192 + 1
	.balign 16
	.skip 16384
stack_top:
	.skip 16384
interrupt_stack_top:
	.skip 65536
user_stack_top:
	.skip 16384
ap_stack_top:
