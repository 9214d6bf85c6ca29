/* SPDX-License-Identifier: MIT */
/*
 * A change of stack and back: switch_to() beside Boost.Context's jump_fcontext(),
 * the least that could be done (six registers pushed, and a jump) and
 * swapcontext(3), in turns in one run. Prints the median of the rounds and their
 * spread, in ns a round trip.
 *
 * The loop alone is the best case: nobody returns but into the loop. So each but
 * the last is also run from under three calls, as a request that waits is, and
 * returns from all of them on both sides: the processor's memory of returns is
 * that of the other stack then. Sums are done between, as elsewhere: they leave
 * their marks in mxcsr.
 */
#include "server/request/switch.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <ucontext.h>

enum { STACK_BYTES = 64 << 10, ROUNDS = 41, TRIPS = 100 * 1000, TRIPS_SLOW = 10 * 1000 };

#define APART   __attribute__((noinline))
#define STAYS() __asm__ volatile("" ::: "memory") /* so that no call is the last thing */

/* -- ours ------------------------------------------------------------------------ */

static _Alignas(64) unsigned char stacks[8][STACK_BYTES];
static void *home, *there;

static void coroutine(void *arg)
{
	(void)arg;
	for (;;)
		switch_to(&there, home);
}

static double trip_switch(void)
{
	for (int i = 0; i < TRIPS; i++)
		switch_to(&home, there);
	return TRIPS;
}

APART static void wait_under(int depth)
{
	if (depth)
		wait_under(depth - 1);
	else
		switch_to(&there, home);
	STAYS();
}

APART static void resume_under(int depth)
{
	if (depth)
		resume_under(depth - 1);
	else
		switch_to(&home, there);
	STAYS();
}

static void coroutine_under(void *arg)
{
	(void)arg;
	for (;;)
		wait_under(2);
}

static double trip_switch_under(void)
{
	for (int i = 0; i < TRIPS; i++)
		resume_under(2);
	return TRIPS;
}

static void *nothing(void *arg)
{
	return arg;
}

static double trip_call(void)
{
	for (int i = 0; i < TRIPS; i++)
		switch_call(stacks[7] + STACK_BYTES, nothing, NULL);
	return TRIPS;
}

/* -- the least ------------------------------------------------------------------- */

#ifdef __x86_64__
void least_to(void **save, void *to);
__asm__(".text\n.p2align 4\nleast_to:\n"
	"pushq %rbp; pushq %rbx; pushq %r12; pushq %r13; pushq %r14; pushq %r15\n"
	"movq %rsp, (%rdi); movq %rsi, %rsp\n"
	"popq %r15; popq %r14; popq %r13; popq %r12; popq %rbx; popq %rbp\n"
	"popq %rcx; jmp *%rcx\n");

static void *least_home, *least_there;

static void least_coroutine(void)
{
	for (;;)
		least_to(&least_there, least_home);
}

static double trip_least(void)
{
	for (int i = 0; i < TRIPS; i++)
		least_to(&least_home, least_there);
	return TRIPS;
}

APART static void least_wait_under(int depth)
{
	if (depth)
		least_wait_under(depth - 1);
	else
		least_to(&least_there, least_home);
	STAYS();
}

APART static void least_resume_under(int depth)
{
	if (depth)
		least_resume_under(depth - 1);
	else
		least_to(&least_home, least_there);
	STAYS();
}

static void least_coroutine_under(void)
{
	for (;;)
		least_wait_under(2);
}

static double trip_least_under(void)
{
	for (int i = 0; i < TRIPS; i++)
		least_resume_under(2);
	return TRIPS;
}

static void least_make(unsigned char *stack, void (*fn)(void))
{
	void **top = (void **)(void *)(stack + STACK_BYTES);

	top[-2] = *(void **)&fn; /* as if called: the stack is 8 off 16 */
	least_there = memset(top - 8, 0, 6 * sizeof(*top));
}
#endif

/* -- Boost ----------------------------------------------------------------------- */

#ifdef HAVE_BOOST_CONTEXT
struct transfer {
	void *from, *data;
};
struct transfer jump_fcontext(void *to, void *data);
void *make_fcontext(void *top, size_t bytes, void (*fn)(struct transfer));

static void *boost_home, *boost_there;

static void boost_coroutine(struct transfer transfer)
{
	for (;;)
		transfer = jump_fcontext(transfer.from, NULL);
}

static double trip_boost(void)
{
	for (int i = 0; i < TRIPS; i++)
		boost_there = jump_fcontext(boost_there, NULL).from;
	return TRIPS;
}

APART static void boost_wait_under(int depth)
{
	if (depth)
		boost_wait_under(depth - 1);
	else
		boost_home = jump_fcontext(boost_home, NULL).from;
	STAYS();
}

APART static void boost_resume_under(int depth)
{
	if (depth)
		boost_resume_under(depth - 1);
	else
		boost_there = jump_fcontext(boost_there, NULL).from;
	STAYS();
}

static void boost_coroutine_under(struct transfer transfer)
{
	boost_home = transfer.from;
	for (;;)
		boost_wait_under(2);
}

static double trip_boost_under(void)
{
	for (int i = 0; i < TRIPS; i++)
		boost_resume_under(2);
	return TRIPS;
}
#endif

/* -- libc ------------------------------------------------------------------------ */

static ucontext_t home_context, there_context;

static void coroutine_of_libc(void)
{
	for (;;)
		swapcontext(&there_context, &home_context);
}

static double trip_libc(void)
{
	for (int i = 0; i < TRIPS_SLOW; i++)
		swapcontext(&home_context, &there_context);
	return TRIPS_SLOW;
}

/* -- all in turns ---------------------------------------------------------------- */

static void begin_switch(void)
{
	switch_start(&home, stacks[0] + STACK_BYTES, coroutine, NULL);
}
static void begin_switch_under(void)
{
	switch_start(&home, stacks[1] + STACK_BYTES, coroutine_under, NULL);
}
#ifdef __x86_64__
static void begin_least(void)
{
	least_make(stacks[2], least_coroutine);
}
static void begin_least_under(void)
{
	least_make(stacks[3], least_coroutine_under);
}
#endif
#ifdef HAVE_BOOST_CONTEXT
static void begin_boost(void)
{
	boost_there = make_fcontext(stacks[4] + STACK_BYTES, STACK_BYTES, boost_coroutine);
}
static void begin_boost_under(void)
{
	boost_there =
		make_fcontext(stacks[5] + STACK_BYTES, STACK_BYTES, boost_coroutine_under);
}
#endif
static void begin_libc(void)
{
	getcontext(&there_context);
	there_context.uc_stack.ss_sp = stacks[6];
	there_context.uc_stack.ss_size = STACK_BYTES;
	makecontext(&there_context, coroutine_of_libc, 0);
}

static const struct kind {
	const char *name;
	void (*begin)(void);  /* each round anew: a fresh coroutine */
	double (*trip)(void); /* how many it made */
} kinds[] = {
	{"switch_to, there and back", begin_switch, trip_switch},
#ifdef HAVE_BOOST_CONTEXT
	{"Boost.Context, there and back", begin_boost, trip_boost},
#endif
#ifdef __x86_64__
	{"registers and a jump alone", begin_least, trip_least},
#endif
	{"swapcontext, there and back", begin_libc, trip_libc},
	{"switch_to, under three calls", begin_switch_under, trip_switch_under},
#ifdef HAVE_BOOST_CONTEXT
	{"Boost.Context, under three calls", begin_boost_under, trip_boost_under},
#endif
#ifdef __x86_64__
	{"registers and a jump, under three", begin_least_under, trip_least_under},
#endif
	{"switch_call", NULL, trip_call},
};
enum { KINDS = sizeof(kinds) / sizeof(kinds[0]) };

static double now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

int main(void)
{
	static double ns[KINDS][ROUNDS];

	for (int round = 0; round < ROUNDS; round++) {
		for (int k = 0; k < KINDS; k++) {
			if (kinds[k].begin)
				kinds[k].begin();
			double start = now_ns(), trips = kinds[k].trip();
			ns[k][round] = (now_ns() - start) / trips;
		}
	}
	for (int k = 0; k < KINDS; k++) {
		qsort(ns[k], ROUNDS, sizeof(ns[k][0]), ascending);
		printf("%-34s %8.2f ns  (%.2f to %.2f, %d rounds)\n", kinds[k].name,
		       ns[k][ROUNDS / 2], ns[k][0], ns[k][ROUNDS - 1], ROUNDS);
	}
	for (int k = 1; k < KINDS; k++)
		if (strstr(kinds[k].name, "there and back"))
			printf("%.*s / switch_to: %.2f by the medians, %.2f by the least\n",
			       (int)strcspn(kinds[k].name, ","), kinds[k].name,
			       ns[k][ROUNDS / 2] / ns[0][ROUNDS / 2], ns[k][0] / ns[0][0]);
	return 0;
}
