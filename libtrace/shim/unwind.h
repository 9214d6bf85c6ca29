/* SPDX-License-Identifier: MIT */
/*
 * One step outwards on a call stack, as a rule of 64 bits: what a program's
 * own unwind tables (.eh_frame) say of one code address, boiled down to what
 * finding the caller takes on x86-64. Nearly all code needs no more than the
 * stack pointer and rbp; what needs more has no rule, and the stack ends there.
 *
 * Words: the CFA is the stack pointer's value before the call that made the
 * frame, so the return address lies at CFA - 8. "rbp" is its value in the
 * frame; the rule also says where the caller's is.
 *
 * Pure: reads the tables and nothing else, no locks, no memory, any thread,
 * any signal handler.
 */
#ifndef PAIL_SHIM_UNWIND_H
#define PAIL_SHIM_UNWIND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum unwind_kind {
	UNWIND_UNKNOWN,  /* no table covers the address */
	UNWIND_SP,       /* CFA = rsp + offset */
	UNWIND_BP,       /* CFA = rbp + offset */
	UNWIND_BP_DEREF, /* CFA = *(rbp + offset): frames that realign their stack */
	UNWIND_SIGNAL,   /* the registers lie in a ucontext at rsp */
	UNWIND_END,      /* the outermost frame */
	UNWIND_STOP,     /* the tables say what takes more than this to follow */
};

enum unwind_bp {
	UNWIND_BP_SAME, /* the caller's rbp is still in rbp */
	UNWIND_BP_CFA,  /* saved at CFA + bp_offset */
	UNWIND_BP_SELF, /* saved at rbp + bp_offset */
};

/* kind:3 | bp:2 | unused:3 | bp_offset:24 | offset:32; 0 = no rule */
static inline uint64_t unwind_rule(enum unwind_kind kind, int32_t offset, enum unwind_bp bp,
				   int32_t bp_offset)
{
	return (uint64_t)kind | (uint64_t)bp << 3 |
	       ((uint64_t)(uint32_t)bp_offset & 0xffffff) << 8 |
	       (uint64_t)(uint32_t)offset << 32;
}

static inline enum unwind_kind unwind_kind(uint64_t rule)
{
	return (enum unwind_kind)(rule & 7);
}

static inline enum unwind_bp unwind_bp(uint64_t rule)
{
	return (enum unwind_bp)(rule >> 3 & 3);
}

static inline int64_t unwind_bp_offset(uint64_t rule)
{
	return (int32_t)(uint32_t)rule >> 8;
}

static inline int64_t unwind_offset(uint64_t rule)
{
	return (int64_t)rule >> 32;
}

/* The classic frame: for code without tables, and for all code if asked for. */
#define UNWIND_RULE_FRAME_POINTER unwind_rule(UNWIND_BP, 16, UNWIND_BP_CFA, -16)

/* The rule for `pc`, by the .eh_frame_hdr of its module, whose memory is
 * [start, end): nothing outside is read. `pc` is the address of an instruction
 * of the frame (for a return address, subtract 1). */
uint64_t unwind_find(const void *eh_frame_hdr, uintptr_t start, uintptr_t end, uintptr_t pc)
	__attribute__((visibility("hidden")));

#endif
