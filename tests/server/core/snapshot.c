/* SPDX-License-Identifier: MIT */
/* A plug-in whose state is made once per bucket and must be fresh every time. */
#include <pail/handler.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct state {
	int used;
	char *text;
	struct state *self;
};

int pail_bucket_start(void)
{
	struct state *state = malloc(sizeof(*state));

	state->used = 0;
	state->text = strdup("fresh");
	state->self = state;
	pail_bucket_data_set(state);
	return 0;
}

int pail_handle(struct pail_request *r)
{
	struct state *state = pail_bucket_data(r);
	char text[100];
	int n = snprintf(text, sizeof(text), "%s %d %d\n", state->text, ++state->used,
			 state->self == state);

	memset(state->text, '!', strlen(state->text));
	free(state->text);
	state->self = malloc(5000);
	pail_write(r, text, (size_t)n);
	if (strcmp(pail_path(r), "/die") == 0)
		abort();
	return 200;
}
