/* SPDX-License-Identifier: MIT */
/* See switch.h. AAPCS64: x19-x30, the low halves of v8-v15, and fpcr are kept. */
#define CONTEXT_BYTES 176

	.text

	.macro function name
	.globl \name
	.type \name, %function
	.p2align 4
\name:
	.cfi_startproc
	hint #34			/* bti c; nothing on processors without */
	.endm

	.macro save_context
	sub sp, sp, #CONTEXT_BYTES
	.cfi_adjust_cfa_offset CONTEXT_BYTES
	stp x19, x20, [sp, #0]
	stp x21, x22, [sp, #16]
	stp x23, x24, [sp, #32]
	stp x25, x26, [sp, #48]
	stp x27, x28, [sp, #64]
	stp x29, x30, [sp, #80]
	.cfi_rel_offset x29, 80
	.cfi_rel_offset x30, 88
	stp d8, d9, [sp, #96]
	stp d10, d11, [sp, #112]
	stp d12, d13, [sp, #128]
	stp d14, d15, [sp, #144]
	mrs x9, fpcr
	str x9, [sp, #160]
	mov x10, sp
	str x10, [x0]
	.endm

/* void switch_to(void **save, void *to) */
function switch_to
	save_context
	mov sp, x1
	ldp x19, x20, [sp, #0]
	ldp x21, x22, [sp, #16]
	ldp x23, x24, [sp, #32]
	ldp x25, x26, [sp, #48]
	ldp x27, x28, [sp, #64]
	ldp x29, x30, [sp, #80]
	ldp d8, d9, [sp, #96]
	ldp d10, d11, [sp, #112]
	ldp d12, d13, [sp, #128]
	ldp d14, d15, [sp, #144]
	ldr x10, [sp, #160]
	cmp x9, x10			/* hardly ever changed, and slow to load */
	b.eq 0f
	msr fpcr, x10
0:
	add sp, sp, #CONTEXT_BYTES
	.cfi_adjust_cfa_offset -CONTEXT_BYTES
	.cfi_restore x29
	.cfi_restore x30
	ret
	.cfi_endproc
	.size switch_to, . - switch_to

/* void switch_start(void **save, void *top, void (*fn)(void *), void *arg) */
function switch_start
	save_context
	.cfi_undefined x30		/* unwinding ends where a coroutine begins */
	mov sp, x1
	mov x0, x3
	mov x29, #0
	mov x30, #0
	blr x2
	brk #1
	.cfi_endproc
	.size switch_start, . - switch_start

/* void switch_abandon(void *top, void (*fn)(void *), void *arg) */
function switch_abandon
	.cfi_undefined x30
	mov sp, x0
	msr fpcr, xzr
	msr fpsr, xzr
	mov x0, x2
	mov x29, #0
	mov x30, #0
	blr x1
	brk #1
	.cfi_endproc
	.size switch_abandon, . - switch_abandon

/* void *switch_call(void *top, void *(*fn)(void *), void *arg) */
function switch_call
	stp x29, x30, [sp, #-16]!
	.cfi_adjust_cfa_offset 16
	.cfi_rel_offset x29, 0
	.cfi_rel_offset x30, 8
	mov x29, sp
	.cfi_def_cfa_register x29
	mov sp, x0
	mov x0, x2
	blr x1
	mov sp, x29
	.cfi_def_cfa_register sp
	ldp x29, x30, [sp], #16
	.cfi_adjust_cfa_offset -16
	.cfi_restore x29
	.cfi_restore x30
	ret
	.cfi_endproc
	.size switch_call, . - switch_call

	.section .note.GNU-stack, "", %progbits
