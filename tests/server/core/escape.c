/* SPDX-License-Identifier: MIT */
/* A plug-in that keeps what it must not, and one path that does not. */
#include <pail/handler.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *cached; /* of the first request that asked */
static __thread char *volatile of_thread;
static char **volatile outside; /* outlives requests by right; what it points to does not */

int pail_handle(struct pail_request *r)
{
	const char *path = pail_path(r);

	if (strcmp(path, "/clean") == 0) {
		char *copy = strdup("only for now");
		FILE *file = fopen("/dev/null", "w");
		fprintf(file, "%s", copy);
		fclose(file);
		pail_write(r, copy, strlen(copy));
		return 200;
	}
	if (strcmp(path, "/keep") == 0 && !cached)
		cached = strdup("kept for ever");
	if (strcmp(path, "/keep-in-thread") == 0)
		of_thread = malloc(100);
	if (strcmp(path, "/keep-outside") == 0) {
		pail_outside_begin();
		outside = malloc(sizeof(*outside));
		pail_outside_end();
		*outside = malloc(200);
	}
	if (strcmp(path, "/use") == 0)
		pail_write(r, cached, strlen(cached));
	return 200;
}
