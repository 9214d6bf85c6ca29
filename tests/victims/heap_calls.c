/* SPDX-License-Identifier: MIT */
/*
 * Calls each function of the malloc family and says on stdout, call by call,
 * what it did, in the words of shim_dump: the events must be the same.
 * Nothing here may allocate on the side, so no stdio.
 */
#include <errno.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void *volatile kept;

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *format, ...)
{
	char line[128];
	va_list list;

	va_start(list, format);
	int length = vsnprintf(line, sizeof(line), format, list);
	va_end(list);
	if (write(1, line, (size_t)length) != length)
		_exit(98);
}

static void *made(void *p, size_t size, unsigned align, unsigned flags)
{
	kept = p;
	say("alloc flags=%u value=%lx size=%zu align=%u\n", flags, (unsigned long)(uintptr_t)p,
	    size, align);
	return p;
}

static void gone(void *p)
{
	say("free flags=0 value=%lx\n", (unsigned long)(uintptr_t)p);
	free(p);
}

static void *moved(void *old, size_t size)
{
	say("realloc-begin flags=0 value=%lx\n", (unsigned long)(uintptr_t)old);
	void *p = realloc(old, size);
	say("realloc-end flags=%d value=%lx size=%zu align=0\n", !p && !size,
	    (unsigned long)(uintptr_t)p, size);
	kept = p;
	return p;
}

int main(void)
{
	volatile size_t huge = SIZE_MAX >> 9;
	void *p, *q;

	say("begin\n");
	errno = 77;
	p = made(malloc(1), 1, 0, 0);
	gone(p);
	p = made(malloc(0), 0, 0, 0);
	gone(p);
	p = made(malloc(7000000), 7000000, 0, 0);
	gone(p);
	p = made(calloc(7, 11), 77, 0, 1);
	for (int i = 0; i < 77; i++)
		if (((char *)p)[i])
			return 1;
	p = moved(p, 1000);
	q = made(malloc(100), 100, 0, 0);
	p = moved(p, 100000);
	p = moved(p, 10);
	if (errno != 77)
		return 2; /* a hook has changed errno where nothing failed */
	moved(p, huge);   /* fails: p lives on */
	if (errno != ENOMEM)
		return 3;
	gone(p);
	gone(q);
	free(NULL); /* no event */
	p = made(realloc(NULL, 55), 55, 0, 0);
	say("realloc-begin flags=0 value=%lx\n", (unsigned long)(uintptr_t)p);
	p = reallocarray(p, 10, 20);
	say("realloc-end flags=0 value=%lx size=200 align=0\n", (unsigned long)(uintptr_t)p);
	if (reallocarray(p, huge << 8, 16) != NULL || errno != ENOMEM)
		return 4; /* no event: the size cannot be said */
	p = moved(p, 0);
	p = made(memalign(64, 100), 100, 6, 0);
	if ((uintptr_t)p % 64 || malloc_usable_size(p) < 100)
		return 5;
	gone(p);
	p = made(aligned_alloc(128, 256), 256, 7, 0);
	gone(p);
	if (posix_memalign(&q, 4096, 10) != 0)
		return 6;
	made(q, 10, 12, 0);
	gone(q);
	p = made(valloc(5), 5, 12, 0);
	gone(p);
	p = made(pvalloc(5), 4096, 12, 0);
	gone(p);
	made(malloc(huge), huge, 0, 0);
	say("end\n");
	return 0;
}
