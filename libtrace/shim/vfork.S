/* SPDX-License-Identifier: MIT */
/*
 * vfork() cannot be wrapped by a C function: it returns twice through the same
 * frame. So the call itself is made here, as libc makes it (the return address
 * waits in a register that the kernel keeps), and around it the writer's
 * in_vfork flag is set while the child runs in its parent's memory: what the
 * child does to descriptors is its own affair.
 */
#if defined(__x86_64__)
	.text
	.globl	vfork
	.type	vfork, @function
vfork:
	.cfi_startproc
	endbr64
	subq	$8, %rsp
	.cfi_adjust_cfa_offset 8
	call	vfork_begins
	addq	$8, %rsp
	.cfi_adjust_cfa_offset -8
	popq	%rdi
	.cfi_adjust_cfa_offset -8
	.cfi_register %rip, %rdi
	movl	$58, %eax
	syscall
	pushq	%rdi
	.cfi_adjust_cfa_offset 8
	testl	%eax, %eax
	je	1f
	/* The parent, its child gone on to another image (or an error). */
	movslq	%eax, %rdi
	pushq	%rax
	.cfi_adjust_cfa_offset 8
	call	vfork_ended
	popq	%rax
	.cfi_adjust_cfa_offset -8
	testl	%eax, %eax
	jns	1f
	movl	$-1, %eax
1:	ret
	.cfi_endproc
	.size	vfork, . - vfork
	.globl	__vfork
	.set	__vfork, vfork
#endif
	.section .note.GNU-stack,"",@progbits
