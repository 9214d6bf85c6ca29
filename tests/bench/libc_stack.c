/* SPDX-License-Identifier: MIT */
/*
 * How much stack calls of libc take, for cli/stackbound/stack_known.c: each is made on a
 * painted stack of its own, cold and then with many arguments, and what was
 * overwritten is counted, less what an empty function overwrites. Prints
 * "NAME BYTES" lines. A measured figure is no proof: it is the most that was
 * seen, on this libc and processor.
 *
 * Run it with LD_BIND_NOW=1, since the server binds all symbols of a plug-in as
 * it loads it: otherwise each first call goes through ld.so, which saves the
 * vector registers and takes 3 KiB on a machine with AVX-512.
 */
#include <ctype.h>
#include <errno.h>
#include <gnu/libc-version.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/time.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

enum { STACK_BYTES = 1 << 20, PAINT = 0xa5 };

static unsigned char *stack;
static ucontext_t home, there;
static char text[1 << 17], other[1 << 17], out[1 << 17];
static volatile size_t sink;
static size_t size_arg;
static const char *format_arg;
static double double_arg;

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

static void empty(void)
{
	sink = 0;
}

#define CALL(name, expression)                \
	static void call_##name(void)         \
	{                                     \
		sink += (size_t)(expression); \
	}
CALL(memcpy, memcpy(out, text, size_arg))
CALL(memmove, memmove(out, out + 7, size_arg))
CALL(memset, memset(out, (int)size_arg, size_arg))
CALL(memcmp, memcmp(text, other, size_arg))
CALL(memchr, memchr(text, 'q', size_arg))
CALL(strlen, strlen(text + sizeof(text) - 1 - size_arg))
CALL(strnlen, strnlen(text, size_arg))
CALL(strcmp, strcmp(text, other))
CALL(strncmp, strncmp(text, other, size_arg))
CALL(strcasecmp, strcasecmp(text, other))
CALL(strncasecmp, strncasecmp(text, other, size_arg))
CALL(strchr, strchr(text, 'q'))
CALL(strrchr, strrchr(text, 'q'))
CALL(strstr, strstr(text, "xy"))
CALL(strspn, strspn(text, "x"))
CALL(strcspn, strcspn(text, "q"))
CALL(strtol, strtol("-123456789", NULL, 10))
CALL(strtoul, strtoul("7b", NULL, 16))
CALL(strtoll, strtoll("-123456789012345", NULL, 0))
CALL(strtoull, strtoull("123456789012345", NULL, 10))
CALL(atoi, atoi("1234"))
CALL(strtod, strtod(text + sizeof(text) - 1 - size_arg % 2000, NULL) + strtod("1.5e-320", NULL))
CALL(snprintf, snprintf(out, sizeof(out), format_arg, (int)size_arg, double_arg, "text", 7L))
CALL(snprintf_plain, snprintf(out, sizeof(out), "%d %5u %x %s %.*s %c %p %zu", -7, 8U, 9U,
			      text + 129000, (int)size_arg, text, 'c', (void *)text, size_arg))
CALL(clock_gettime, clock_gettime(CLOCK_MONOTONIC, &(struct timespec){0}))
CALL(time, time(NULL))
CALL(getpid, getpid())
CALL(gmtime_r, gmtime_r(&(time_t){1234567890}, &(struct tm){0}))
CALL(strerror_r, strerror_r(ENOENT, out, 100))

static const struct {
	const char *name;
	void (*fn)(void);
} calls[] = {
#define ROW(name)                  \
	{                          \
#		name, call_##name \
	}
	ROW(memcpy),      ROW(memmove), ROW(memset),   ROW(memcmp),         ROW(memchr),
	ROW(strlen),      ROW(strnlen), ROW(strcmp),   ROW(strncmp),        ROW(strcasecmp),
	ROW(strncasecmp), ROW(strchr),  ROW(strrchr),  ROW(strstr),         ROW(strspn),
	ROW(strcspn),     ROW(strtol),  ROW(strtoul),  ROW(strtoll),        ROW(strtoull),
	ROW(atoi),        ROW(strtod),  ROW(snprintf), ROW(snprintf_plain), ROW(clock_gettime),
	ROW(time),        ROW(getpid),  ROW(gmtime_r), ROW(strerror_r),
};

static size_t most_of(void (*fn)(void), size_t base)
{
	static const size_t sizes[] = {0,   1,   5,    15,   16,   31,   33,    64,    100,
				       255, 700, 1024, 3000, 5000, 9999, 20000, 65536, 100000};
	static const char *const formats[] = {"%d %g %s %ld", "%.*f", "%.*e", "%.*g", "%.*a"};
	static const double doubles[] = {0.1, 1.7e308, 5e-324, 123456.789};
	size_t most = 0;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
		for (size_t f = 0; f < (fn == call_snprintf ? 5U : 1U); f++)
			for (size_t d = 0; d < (fn == call_snprintf ? 4U : 1U); d++) {
				size_arg = sizes[i];
				format_arg = formats[f];
				double_arg = doubles[d];
				size_t used = used_by(fn);
				if (used > most)
					most = used;
			}
	return most > base ? most - base : 0;
}

int main(void)
{
	stack = aligned_alloc(4096, STACK_BYTES);
	if (!stack)
		return 3;
	memset(text, '1', sizeof(text) - 1);
	memset(other, '1', sizeof(other) - 1);
	/* What an empty function leaves, less its return address. */
	size_t base = used_by(empty) - sizeof(void *);
	printf("# glibc %s\n", gnu_get_libc_version());
	for (size_t i = 0; i < sizeof(calls) / sizeof(*calls); i++)
		printf("%s %zu\n", calls[i].name, most_of(calls[i].fn, base));
	return 0;
}
