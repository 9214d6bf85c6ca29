/* SPDX-License-Identifier: MIT */
/*
 * A plug-in whose requests die inside libc: with a stream's lock held, in
 * callbacks of libc, or with a lock that only libc knows.
 */
#include <link.h>
#include <netdb.h>
#include <pail/handler.h>
#include <printf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static FILE *opened, *cookie; /* before the first request, for all of them */
static volatile int *volatile nowhere = (int *)8;
static __thread int armed; /* the callbacks fault */

static ssize_t cookie_write(void *where, const char *bytes, size_t n)
{
	(void)where;
	(void)bytes;
	if (armed)
		*nowhere = 1;
	return (ssize_t)n;
}

static int print_pail(FILE *stream, const struct printf_info *info, const void *const *args)
{
	(void)info;
	(void)args;
	if (armed)
		*nowhere = 1;
	return fprintf(stream, "pail");
}

static int size_pail(const struct printf_info *info, size_t n, int *types, int *sizes)
{
	(void)info;
	(void)n;
	(void)types;
	(void)sizes;
	return 0;
}

int pail_start(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	opened = fopen("/dev/null", "w");
	cookie = fopencookie(NULL, "w", (cookie_io_functions_t){.write = cookie_write});
	if (!opened || !cookie)
		return 1;
	setvbuf(cookie, NULL, _IONBF, 0);
	return register_printf_specifier('P', print_pail, size_pail);
}

/* Something that takes a lock at each depth, until the stack ends in it. */
__attribute__((noinline)) static int fall(const char *how, int pad, int depth)
{
	volatile char *frame = __builtin_alloca((size_t)pad);
	struct addrinfo hints = {.ai_flags = AI_NUMERICHOST}, *found = NULL;
	time_t now = 1000000 + depth;
	struct tm tm;

	frame[0] = 1;
	if (strcmp(how, "file") == 0)
		fprintf(opened, "%d %s %.3f\n", depth, how, depth / 3.0);
	else if (strcmp(how, "stdout") == 0)
		printf("%s", "");
	else if (strcmp(how, "zone") == 0)
		mktime(localtime_r(&now, &tm));
	else if (strcmp(how, "strftime") == 0)
		strftime((char[64]){0}, 64, "%c %Z", localtime_r(&now, &tm));
	else if (getaddrinfo("127.0.0.1", "80", &hints, &found) == 0)
		freeaddrinfo(found);
	return fall(how, pad, depth + 1) + frame[0];
}

static int compare(const void *a, const void *b)
{
	if (armed == 1)
		*nowhere = 1;
	while (armed == 2)
		__asm__ volatile("");
	return *(const char *)a - *(const char *)b;
}

static int module(struct dl_phdr_info *info, size_t size, void *arg)
{
	(void)info;
	(void)size;
	(void)arg;
	*nowhere = 1;
	return 0;
}

/* Takes every lock that one of the others may have left behind. */
static int probe(struct pail_request *r)
{
	char text[128];
	time_t now = time(NULL);
	struct addrinfo hints = {.ai_flags = AI_NUMERICHOST}, *found;
	struct tm tm;

	armed = 0;
	fprintf(opened, "%P", 1);
	fprintf(cookie, "probe");
	printf("%s", "");
	fflush(NULL);
	localtime_r(&now, &tm);
	if (getaddrinfo("127.0.0.1", "80", &hints, &found) == 0)
		freeaddrinfo(found);
	int length = snprintf(text, sizeof(text), "%d\n", (int)getpid());
	pail_write(r, text, (size_t)length);
	return 200;
}

int pail_handle(struct pail_request *r)
{
	const char *path = pail_path(r);

	armed = 0;
	if (strcmp(path, "/probe") == 0)
		return probe(r);
	if (strcmp(path, "/hold") == 0) { /* until the client sends the body */
		const void *body;
		pail_body(r, &body);
		return probe(r);
	}
	if (strncmp(path, "/fall-", 6) == 0)
		return fall(path + 6, atoi(pail_query(r)), 0) ? 200 : 201;
	armed = 1;
	if (strcmp(path, "/registered") == 0)
		fprintf(opened, "%P", 1);
	if (strcmp(path, "/cookie") == 0)
		fprintf(cookie, "x");
	if (strncmp(path, "/sort", 5) == 0) {
		char letters[] = "the quick brown fox";
		armed = strcmp(path, "/sort-loop") == 0 ? 2 : 1;
		qsort(letters, sizeof(letters) - 1, 1, compare);
	}
	if (strcmp(path, "/locked") == 0) { /* by the handler itself */
		flockfile(opened);
		*nowhere = 1;
	}
	if (strcmp(path, "/modules") == 0)
		dl_iterate_phdr(module, NULL);
	return 404;
}
