/* SPDX-License-Identifier: MIT */
/*
 * The changes of stack, checked without a framework, so that it runs on any
 * processor: what the ABI has a callee keep is kept on both sides, also the
 * rounding of floating point; calls nest; an abandoned stack begins anew; and
 * edited registers of a signal lead where they say. Prints "fine", or what not.
 */
#include "server/request/registers.h"
#include "server/request/switch.h"

#include <fenv.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { STACK_BYTES = 64 << 10, ROUNDS = 1000 };

static _Alignas(64) unsigned char stack[STACK_BYTES], other[STACK_BYTES], signals[STACK_BYTES];
static void *home, *there;
static int turns, abandoned;
static volatile int *volatile nowhere = (volatile int *)8;

static void must(int truth, const char *what)
{
	if (truth)
		return;
	printf("not fine: %s\n", what);
	exit(1);
}

static uintptr_t here(void)
{
	return (uintptr_t)__builtin_frame_address(0);
}

static int on(const unsigned char *low)
{
	return here() - (uintptr_t)low < STACK_BYTES;
}

/* More live values than there are registers to keep them in, of both kinds. */
#define KEEP(change)                                                                         \
	do {                                                                                 \
		volatile uint64_t seed = (uint64_t)turns * 7919 + 3;                         \
		uint64_t a = seed, b = a * 3, c = a * 5, d = a * 7, e = a * 11, f = a * 13,  \
			 g = a * 17, h = a * 19, i = a * 23, j = a * 29, k = a * 31;         \
		double p = (double)a, q = p / 3, s = p / 7, t = p / 11, u = p / 13,          \
		       v = p / 17, w = p / 19, x = p / 23, y = p / 29;                       \
		uint64_t sum = a ^ b ^ c ^ d ^ e ^ f ^ g ^ h ^ i ^ j ^ k;                    \
		double total = p + q + s + t + u + v + w + x + y;                            \
		__asm__ volatile("" : "+r"(a), "+r"(b), "+r"(c), "+r"(d), "+r"(e), "+r"(f)); \
		__asm__ volatile("" : "+r"(g), "+r"(h), "+r"(i), "+r"(j), "+r"(k));          \
		change;                                                                      \
		__asm__ volatile("" : "+r"(a), "+r"(b), "+r"(c), "+r"(d), "+r"(e), "+r"(f)); \
		__asm__ volatile("" : "+r"(g), "+r"(h), "+r"(i), "+r"(j), "+r"(k));          \
		must(sum == (a ^ b ^ c ^ d ^ e ^ f ^ g ^ h ^ i ^ j ^ k), "registers");       \
		must(total == p + q + s + t + u + v + w + x + y, "floating point");          \
	} while (0)

static void coroutine(void *arg)
{
	must(on(stack) && arg == &turns, "where a coroutine starts");
	must(fegetround() == FE_TONEAREST, "rounding at the start");
	fesetround(FE_UPWARD);
	for (;;) {
		turns++;
		must(fegetround() == FE_UPWARD, "the coroutine's own rounding");
		KEEP(switch_to(&there, home));
	}
}

static void *nested(void *arg)
{
	must(on(other), "where a call leads");
	return (char *)arg + 1;
}

static void begin_anew(void *arg)
{
	must(on(stack) && arg == &abandoned, "where an abandoned stack goes on");
	must((uintptr_t)__builtin_frame_address(0) > (uintptr_t)stack + STACK_BYTES - 512,
	     "an abandoned stack begins at its top");
	must(fegetround() == FE_TONEAREST, "rounding of an abandoned stack");
	abandoned++;
	switch_to(&there, home);
}

__attribute__((noinline)) static void dig(int depth)
{
	volatile char frame[1000];

	frame[0] = (char)depth;
	fesetround(FE_DOWNWARD);
	if (depth == 0)
		switch_abandon(stack + STACK_BYTES, begin_anew, &abandoned);
	dig(depth - 1);
	must(frame[0] == (char)depth, "never");
}

static void digs(void *arg)
{
	(void)arg;
	dig(20);
}

__attribute__((noinline)) static int fall(int depth)
{
	volatile char frame[500];

	frame[0] = (char)depth;
	if (depth == 0)
		*nowhere = 1;
	return fall(depth - 1) + frame[0];
}

static void falls(void *arg)
{
	(void)arg;
	fall(30);
}

static void on_fault(int signal, siginfo_t *info, void *context)
{
	(void)signal;
	must(info->si_addr == (void *)8, "the address of a fault");
	must(registers_pc(context) != 0, "the place of a fault");
	registers_abandon(context, stack + STACK_BYTES, begin_anew, &abandoned);
}

int main(void)
{
	for (int round = 0; round < ROUNDS; round++) {
		if (round == 0)
			KEEP(switch_start(&home, stack + STACK_BYTES, coroutine, &turns));
		else
			KEEP(switch_to(&home, there));
		must(fegetround() == FE_TONEAREST, "our own rounding");
		must(turns == round + 1, "turns");
		char byte = 0;
		must(switch_call(other + STACK_BYTES, nested, &byte) == &byte + 1, "a call");
	}
	switch_start(&home, stack + STACK_BYTES, digs, NULL);
	must(abandoned == 1, "an abandoned stack");

	stack_t alternate = {.ss_sp = signals, .ss_size = STACK_BYTES};
	struct sigaction action = {.sa_sigaction = on_fault,
				   .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
	must(sigaltstack(&alternate, NULL) == 0 && sigaction(SIGSEGV, &action, NULL) == 0,
	     "signals");
	for (int round = 0; round < ROUNDS; round++) {
		switch_start(&home, stack + STACK_BYTES, falls, NULL);
		must(abandoned == round + 2, "a fault");
	}
	puts("fine");
	return 0;
}
