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

/* void switch_to(void **save, void *to)
 *
 * Left by a jump, not by a return: a return would go where the processor does not
 * expect it, every time, at about 10 ns; where a jump leads is remembered. The
 * returns of those who called are mispredicted after either (bench_switch).
 *
 * Both control words are hardly ever changed, and loading them takes longer than
 * all else in here: only if they differ. Of mxcsr the six lowest bits tell what
 * sums have met so far, differ nearly always, and are nobody's to keep. */
function switch_to
	subq $56, %rsp
	.cfi_adjust_cfa_offset 56
	stmxcsr (%rsp)
	fnstcw 4(%rsp)
	movq %r15, 8(%rsp)
	movq %r14, 16(%rsp)
	movq %r13, 24(%rsp)
	movq %r12, 32(%rsp)
	movq %rbx, 40(%rsp)
	movq %rbp, 48(%rsp)
	movq %rsp, (%rdi)
	movl (%rsp), %eax
	movzwl 4(%rsp), %edx
	movq %rsi, %rsp
	movq 56(%rsp), %rcx
	movq 8(%rsp), %r15
	movq 16(%rsp), %r14
	movq 24(%rsp), %r13
	movq 32(%rsp), %r12
	movq 40(%rsp), %rbx
	movq 48(%rsp), %rbp
	xorl (%rsp), %eax
	testl $0xffc0, %eax
	jne 1f
	cmpw 4(%rsp), %dx
	jne 1f
0:
	addq $64, %rsp
	.cfi_adjust_cfa_offset -64
	.cfi_register rip, rcx
	notrack jmp *%rcx		/* no landing pad stands after a call */
1:
	.cfi_adjust_cfa_offset 64
	.cfi_restore rip
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
