/* SPDX-License-Identifier: MIT */
/*
 * A plug-in that does what no jump makes good: it reaches into the core's own
 * state, as a wild write could, so that the core itself faults; or it faults in
 * the dynamic loader.
 */
#include "server/connection/loop.h"
#include "server/request/request.h"

#include <dlfcn.h>
#include <pail/handler.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int answer(struct pail_request *r, const char *format, long value)
{
	char text[64];
	int length = snprintf(text, sizeof(text), format, value);
	pail_write(r, text, (size_t)length);
	return 200;
}

int pail_start(int argc, char **argv)
{
	/* "FILE": fail while it is there, as a plug-in whose database is away does. */
	if (argc > 1 && access(argv[1], F_OK) == 0)
		return 7;
	return 0;
}

int pail_handle(struct pail_request *r)
{
	const char *path = pail_path(r);

	if (strcmp(path, "/worker") == 0) /* which thread and process one talks to */
		return answer(r, "%ld\n", (long)r->worker->index);
	if (strcmp(path, "/pid") == 0)
		return answer(r, "%ld\n", (long)getpid());
	if (strcmp(path, "/sleep") == 0) {
		usleep((useconds_t)atoi(pail_query(r)) * 1000);
		return answer(r, "slept on %ld\n", (long)r->worker->index);
	}
	if (strcmp(path, "/hold") == 0) { /* until the client sends the body */
		const void *body;
		pail_body(r, &body);
		return answer(r, "held by %ld\n", (long)r->worker->index);
	}
	if (strcmp(path, "/compute") == 0) { /* keeps the thread, which takes no newcomer */
		const volatile char *query = pail_query(r);
		while (access((const char *)query, F_OK) == 0)
			continue;
		return answer(r, "%ld\n", (long)r->worker->index);
	}
	if (strcmp(path, "/in-core") == 0) { /* in its own doings, on a request's stack */
		r->critical++;
		*(volatile int *)8 = 1;
	}
	if (strcmp(path, "/in-loop") == 0) { /* on the loop's stack, later */
		r->worker->timers.heap = (struct timer **)64;
		usleep(1000);
	}
	if (strcmp(path, "/in-end") == 0) { /* while the response is sent */
		answer(r, "%ld\n", 0);
		r->connection = (struct connection *)64;
		return 200;
	}
	if (strcmp(path, "/in-loader") == 0)
		dlsym((void *)(uintptr_t)64, "nothing");
	if (strcmp(path, "/leave") == 0)
		_exit(0);
	if (strcmp(path, "/ill") == 0) /* of all threads at once */
		kill(getpid(), SIGILL);
	return 404;
}
