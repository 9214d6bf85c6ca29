/* SPDX-License-Identifier: MIT */
/*
 * The registers that a signal interrupted, per architecture: where the code
 * was, how to have it go on step by step, and how to have it go on elsewhere.
 *
 * A user program on aarch64 can't single-step itself: registers_step() gives
 * false there, and who wants to wait until code has left libc has to look again
 * at the next signal.
 */
#ifndef PAIL_SERVER_REGISTERS_H
#define PAIL_SERVER_REGISTERS_H

#include "server/request/switch.h"

#include <stdbool.h>
#include <stdint.h>
#include <ucontext.h>

#if defined(__x86_64__)

enum {
	REGISTERS_FLAG_TRAP = 0x100,
	REGISTERS_FLAG_DIRECTION = 0x400,
	REGISTERS_FLAG_ALIGNMENT = 0x40000
};

static inline uintptr_t registers_pc(const ucontext_t *context)
{
	return (uintptr_t)context->uc_mcontext.gregs[REG_RIP];
}

static inline uintptr_t registers_sp(const ucontext_t *context)
{
	return (uintptr_t)context->uc_mcontext.gregs[REG_RSP];
}

/* A SIGTRAP after each instruction, from the next on, or no more. */
static inline bool registers_step(ucontext_t *context, bool on)
{
	if (on)
		context->uc_mcontext.gregs[REG_EFL] |= REGISTERS_FLAG_TRAP;
	else
		context->uc_mcontext.gregs[REG_EFL] &= ~(greg_t)REGISTERS_FLAG_TRAP;
	return true;
}

/* As if switch_abandon(top, fn, arg) had been called there. */
static inline void registers_abandon(ucontext_t *context, void *top, void (*fn)(void *),
				     void *arg)
{
	greg_t *regs = context->uc_mcontext.gregs;

	regs[REG_RIP] = (greg_t)(uintptr_t)switch_abandon;
	regs[REG_RSP] = (greg_t)((uintptr_t)top - 8);
	regs[REG_RDI] = (greg_t)(uintptr_t)top;
	regs[REG_RSI] = (greg_t)(uintptr_t)fn;
	regs[REG_RDX] = (greg_t)(uintptr_t)arg;
	regs[REG_EFL] &= ~(greg_t)(REGISTERS_FLAG_TRAP | REGISTERS_FLAG_DIRECTION |
				   REGISTERS_FLAG_ALIGNMENT);
}

#elif defined(__aarch64__)

static inline uintptr_t registers_pc(const ucontext_t *context)
{
	return (uintptr_t)context->uc_mcontext.pc;
}

static inline uintptr_t registers_sp(const ucontext_t *context)
{
	return (uintptr_t)context->uc_mcontext.sp;
}

static inline bool registers_step(ucontext_t *context, bool on)
{
	(void)context;
	return !on;
}

static inline void registers_abandon(ucontext_t *context, void *top, void (*fn)(void *),
				     void *arg)
{
	mcontext_t *machine = &context->uc_mcontext;

	machine->pc = (uintptr_t)switch_abandon;
	machine->sp = (uintptr_t)top;
	machine->regs[0] = (uintptr_t)top;
	machine->regs[1] = (uintptr_t)fn;
	machine->regs[2] = (uintptr_t)arg;
	machine->pstate &= ~UINT64_C(0xc00); /* BTYPE: it is no branch that got here */
}

#else
#	error "no registers for this architecture: see server/request/registers.h, switch_*.S"
#endif
#endif
