/* SPDX-License-Identifier: MIT */
/* Prints what each of the samples' functions really uses of a painted stack. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

int pail_handle(void *r);
int recursive(int n);
int circular(int n);
int dynamic_frame(int n);
int by_pointer(int (*fn)(int), int x);
int helper(int x);

enum { STACK_BYTES = 256 << 10, PAINT = 0x5a };
static unsigned char *stack;
static ucontext_t home, there;
static volatile int sink;

static size_t used_by(void (*fn)(void))
{
	memset(stack, PAINT, STACK_BYTES);
	getcontext(&there);
	there.uc_stack.ss_sp = stack;
	there.uc_stack.ss_size = STACK_BYTES;
	there.uc_link = &home;
	makecontext(&there, fn, 0);
	swapcontext(&home, &there);
	size_t at = 0;
	while (at < STACK_BYTES && stack[at] == PAINT)
		at++;
	return STACK_BYTES - at;
}

static void nothing(void)
{
	sink = 1;
}
static void run_handle(void)
{
	sink = pail_handle((void *)3);
}
static void run_recursive(void)
{
	sink = recursive(10);
}
static void run_circular(void)
{
	sink = circular(9);
}
static void run_dynamic(void)
{
	sink = dynamic_frame(1000);
}
static void run_pointer(void)
{
	sink = by_pointer(helper, 1);
}

int main(void)
{
	stack = aligned_alloc(4096, STACK_BYTES);
	if (!stack)
		return 3;
	size_t base = used_by(nothing) - sizeof(void *);
	printf("pail_handle %zu\n", used_by(run_handle) - base);
	printf("recursive %zu\n", used_by(run_recursive) - base);
	printf("circular %zu\n", used_by(run_circular) - base);
	printf("dynamic_frame %zu\n", used_by(run_dynamic) - base);
	printf("by_pointer %zu\n", used_by(run_pointer) - base);
	return 0;
}
