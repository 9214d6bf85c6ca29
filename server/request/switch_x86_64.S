/* SPDX-License-Identifier: MIT */
/* See switch.h. System V ABI: rbx, rbp, r12-r15, mxcsr and the x87 control word are kept. */
#if defined(__CET__)
#include <cet.h>
#else
#define _CET_ENDBR
#endif

	.text

	.macro function name
	.globl \name
	.type \name, @function
	.p2align 4
\name:
	.cfi_startproc
	_CET_ENDBR
	.endm

	.macro save_context
	pushq %rbp
	.cfi_adjust_cfa_offset 8
	pushq %rbx
	.cfi_adjust_cfa_offset 8
	pushq %r12
	.cfi_adjust_cfa_offset 8
	pushq %r13
	.cfi_adjust_cfa_offset 8
	pushq %r14
	.cfi_adjust_cfa_offset 8
	pushq %r15
	.cfi_adjust_cfa_offset 8
	subq $8, %rsp
	.cfi_adjust_cfa_offset 8
	stmxcsr (%rsp)
	fnstcw 4(%rsp)
	movq %rsp, (%rdi)
	.endm

/* void switch_to(void **save, void *to) */
function switch_to
	save_context
	/* Both control words are hardly ever changed, and loading them takes longer
	 * than all else in here: only if they differ. */
	movl (%rsp), %eax
	movzwl 4(%rsp), %ecx
	movq %rsi, %rsp
	cmpl (%rsp), %eax
	jne 1f
	cmpw 4(%rsp), %cx
	jne 1f
0:
	addq $8, %rsp
	.cfi_adjust_cfa_offset -8
	popq %r15
	.cfi_adjust_cfa_offset -8
	popq %r14
	.cfi_adjust_cfa_offset -8
	popq %r13
	.cfi_adjust_cfa_offset -8
	popq %r12
	.cfi_adjust_cfa_offset -8
	popq %rbx
	.cfi_adjust_cfa_offset -8
	popq %rbp
	.cfi_adjust_cfa_offset -8
	ret
1:
	.cfi_adjust_cfa_offset 56
	ldmxcsr (%rsp)
	fldcw 4(%rsp)
	jmp 0b
	.cfi_endproc
	.size switch_to, . - switch_to

/* void switch_start(void **save, void *top, void (*fn)(void *), void *arg) */
function switch_start
	save_context
	.cfi_undefined rip		/* unwinding ends where a coroutine begins */
	movq %rsi, %rsp
	movq %rcx, %rdi
	xorl %ebp, %ebp
	call *%rdx
	ud2
	.cfi_endproc
	.size switch_start, . - switch_start

/* void switch_abandon(void *top, void (*fn)(void *), void *arg) */
function switch_abandon
	.cfi_undefined rip
	movq %rdi, %rsp
	cld
	fninit
	ldmxcsr default_mxcsr(%rip)
	movq %rdx, %rdi
	xorl %ebp, %ebp
	call *%rsi
	ud2
	.cfi_endproc
	.size switch_abandon, . - switch_abandon

/* void *switch_call(void *top, void *(*fn)(void *), void *arg) */
function switch_call
	pushq %rbp
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset rbp, 0
	movq %rsp, %rbp
	.cfi_def_cfa_register rbp
	movq %rdi, %rsp
	movq %rdx, %rdi
	call *%rsi
	movq %rbp, %rsp
	.cfi_def_cfa_register rsp
	popq %rbp
	.cfi_adjust_cfa_offset -8
	.cfi_restore rbp
	ret
	.cfi_endproc
	.size switch_call, . - switch_call

	.section .rodata
	.p2align 2
default_mxcsr:
	.long 0x1f80

	.section .note.GNU-stack, "", @progbits
