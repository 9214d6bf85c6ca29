/* SPDX-License-Identifier: MIT */
/* What pail stackbound is tried on, compiled with -fcallgraph-info=su,da; and
 * run on a painted stack, to see that no more is used than it says. */
#include <stdlib.h>
#include <string.h>

int helper(int x);
int pail_handle(void *r);
int recursive(int n);
int circular(int n);
int by_pointer(int (*fn)(int), int x);
int dynamic_frame(int n);
int unknown_callee(int n);
int outside_function(int n);

static __attribute__((noinline)) int leaf(int x)
{
	volatile char bytes[500];

	for (int i = 0; i < 500; i++)
		bytes[i] = (char)(x + i);
	return bytes[x & 255];
}

static __attribute__((noinline)) int wide(int x)
{
	volatile char bytes[3000];

	bytes[x & 1023] = (char)x;
	bytes[2999] = 1;
	for (int i = 0; i < 3000; i++)
		bytes[i] = (char)x;
	return bytes[x & 511] + helper(x) + leaf(x);
}

int pail_handle(void *r)
{
	return wide((int)(size_t)r) + leaf(1);
}

__attribute__((noinline)) int recursive(int n)
{
	volatile char bytes[100];

	for (int i = 0; i < 100; i++)
		bytes[i] = (char)n;
	return n > 1 ? recursive(n - 1) + bytes[n & 63] : leaf(n);
}

static int odd(int n);
static __attribute__((noinline)) int even(int n)
{
	return n ? odd(n - 1) + 1 : 1;
}
static __attribute__((noinline)) int odd(int n)
{
	return n ? even(n - 1) + 2 : 0;
}
int circular(int n)
{
	return even(n) + leaf(n);
}

int by_pointer(int (*fn)(int), int x)
{
	return fn(x) + 1;
}

int dynamic_frame(int n)
{
	char *bytes = __builtin_alloca((size_t)n);

	memset(bytes, n, (size_t)n);
	return leaf(bytes[n / 2]) + bytes[0];
}

int unknown_callee(int n)
{
	return outside_function(n) + 1;
}
