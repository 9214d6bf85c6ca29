/* SPDX-License-Identifier: MIT */
/*
 * Changing stacks, in assembly (switch_ARCH.S). What the ABI has a callee keep
 * is kept: registers, and the control words of the floating-point unit; not
 * the signal mask, which no coroutine of ours changes.
 *
 * There is no setjmp. A request that must die is left by switch_abandon(),
 * which starts anew at the top of its own stack, in the function that ends
 * requests; nothing had to be saved for that beforehand, so it is free until
 * it happens, and it works from a signal handler's edited registers as well.
 */
#ifndef PAIL_SERVER_SWITCH_H
#define PAIL_SERVER_SWITCH_H

/* Saves this context in *save and runs fn(arg) on the stack that ends at `top`
 * (aligned to 16). fn never returns. Returns when someone goes back to *save. */
void switch_start(void **save, void *top, void (*fn)(void *), void *arg);
/* Saves this context in *save and goes to one that was saved. */
void switch_to(void **save, void *to);
/* Forgets this context: runs fn(arg) at `top` with a clean floating-point unit. */
__attribute__((noreturn)) void switch_abandon(void *top, void (*fn)(void *), void *arg);
/* fn(arg) on the stack that ends at `top`, and back. */
void *switch_call(void *top, void *(*fn)(void *), void *arg);

#endif
