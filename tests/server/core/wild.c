/* SPDX-License-Identifier: MIT */
/* A plug-in whose requests write to each other's memory, and measure keys' cost. */
#include <pail/handler.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static unsigned char *volatile block, *volatile on_stack; /* of the request that holds */

static int answer(struct pail_request *r, const char *format, double value)
{
	char text[64];
	int length = snprintf(text, sizeof(text), format, value);
	pail_write(r, text, (size_t)length);
	return 200;
}

static int hold(struct pail_request *r)
{
	unsigned char local[512], *mine = malloc(4096);

	memset(local, 7, sizeof(local));
	memset(mine, 7, 4096);
	block = mine;
	on_stack = local;
	const void *body;
	pail_body(r, &body); /* waits for the client */
	for (int i = 0; i < 4096; i++)
		if (mine[i] != 7 || local[i % 512] != 7)
			return answer(r, "broken\n", 0);
	return answer(r, "whole\n", 0);
}

/* Both ways of the change of rights that a stretch of a request costs. */
static double cost_ns(void)
{
	enum { TIMES = 1000000 };
	struct timespec begin, end;

	clock_gettime(CLOCK_MONOTONIC, &begin);
#if defined(__x86_64__)
	for (int i = 0; i < TIMES; i++) {
		unsigned rights, high;
		__asm__ volatile(".byte 0x0f, 0x01, 0xee" : "=a"(rights), "=d"(high) : "c"(0));
		for (int k = 0; k < 2; k++)
			__asm__ volatile(".byte 0x0f, 0x01, 0xef"
					 :
					 : "a"(rights), "c"(0), "d"(0)
					 : "memory");
	}
#endif
	clock_gettime(CLOCK_MONOTONIC, &end);
	return ((double)(end.tv_sec - begin.tv_sec) * 1e9 +
		(double)(end.tv_nsec - begin.tv_nsec)) /
	       TIMES;
}

int pail_handle(struct pail_request *r)
{
	const char *path = pail_path(r);

	if (strcmp(path, "/hold") == 0)
		return hold(r);
	if (strcmp(path, "/write-block") == 0)
		block[100] = 1;
	if (strcmp(path, "/write-stack") == 0)
		on_stack[100] = 1;
	if (strcmp(path, "/read-block") == 0)
		return answer(r, "%.0f\n", block[100]);
	if (strcmp(path, "/cost") == 0)
		return answer(r, "%.1f\n", cost_ns());
	return 200;
}
