/* SPDX-License-Identifier: MIT */
/*
 * A change of stack and back: switch_to() beside swapcontext(3), in turns in
 * one run. Prints the median of the rounds and their spread, in ns a round trip.
 */
#include "server/request/switch.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <ucontext.h>

enum { STACK_BYTES = 64 << 10, ROUNDS = 15, TRIPS = 1000 * 1000, TRIPS_SLOW = 100 * 1000 };

static _Alignas(64) unsigned char ours[STACK_BYTES], theirs[STACK_BYTES];
static void *home, *there;
static ucontext_t home_context, there_context;

static void coroutine(void *arg)
{
	(void)arg;
	for (;;)
		switch_to(&there, home);
}

static void coroutine_of_libc(void)
{
	for (;;)
		swapcontext(&there_context, &home_context);
}

static void *nothing(void *arg)
{
	return arg;
}

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

static void report(const char *name, double *ns)
{
	qsort(ns, ROUNDS, sizeof(*ns), ascending);
	printf("%-28s %8.2f ns  (%.2f to %.2f, %d rounds)\n", name, ns[ROUNDS / 2], ns[0],
	       ns[ROUNDS - 1], ROUNDS);
}

int main(void)
{
	double trip[ROUNDS], call[ROUNDS], libc[ROUNDS];

	switch_start(&home, ours + STACK_BYTES, coroutine, NULL);
	getcontext(&there_context);
	there_context.uc_stack.ss_sp = theirs;
	there_context.uc_stack.ss_size = STACK_BYTES;
	makecontext(&there_context, coroutine_of_libc, 0);
	swapcontext(&home_context, &there_context);
	for (int round = 0; round < ROUNDS; round++) {
		double start = now_ns();
		for (int i = 0; i < TRIPS; i++)
			switch_to(&home, there);
		trip[round] = (now_ns() - start) / TRIPS;
		start = now_ns();
		for (int i = 0; i < TRIPS; i++)
			switch_call(theirs + STACK_BYTES / 2, nothing, NULL);
		call[round] = (now_ns() - start) / TRIPS;
		start = now_ns();
		for (int i = 0; i < TRIPS_SLOW; i++)
			swapcontext(&home_context, &there_context);
		libc[round] = (now_ns() - start) / TRIPS_SLOW;
	}
	report("switch_to, there and back", trip);
	report("switch_call", call);
	report("swapcontext, there and back", libc);
	printf("swapcontext / switch_to: %.1f\n", libc[ROUNDS / 2] / trip[ROUNDS / 2]);
	return 0;
}
