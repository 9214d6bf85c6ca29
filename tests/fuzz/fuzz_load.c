/* SPDX-License-Identifier: MIT */
/*
 * Any text as a load file of `pail drive`: a line is refused with a message, or
 * its arrivals lie within the span, in order, and their targets can be sent.
 */
#include "cli/driving/load.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { INPUT_MAX = 4096, REQUESTS = 2000 };

static void must(bool truth)
{
	if (!truth)
		abort();
}

static void check(const struct load *load, int64_t span_ns)
{
	int64_t before = 0;
	for (size_t i = 0; i < load->request_count; i++) {
		const struct load_request *r = &load->request[i];
		must(r->at_ns >= before && r->at_ns < span_ns);
		must(r->label < load->label_count);
		must(r->target.length > 0 &&
		     memchr(r->target.bytes, ' ', r->target.length) == NULL &&
		     memchr(r->target.bytes, '\n', r->target.length) == NULL);
		before = r->at_ns;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct load load;
	double per_s = 0;
	if (size > INPUT_MAX)
		return 0;
	char *text = malloc(size + 1), *rest = text, *line;
	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	load_init(&load);
	while ((line = strsep(&rest, "\n")) != NULL) {
		struct err err = {0};
		/* a body is a file's whole: of those of this machine, none */
		if (strstr(line, "@/") == NULL &&
		    load_add(&load, line, "/nonexistent/pail", &err) != 0)
			must(err.text[0] != '\0');
	}
	for (size_t i = 0; i < load.stream_count; i++)
		per_s += load.stream[i].rate * load.stream[i].batch;
	if (load.stream_count > 0) {
		double span_ns = REQUESTS / per_s * 1e9;
		struct err err = {0};
		int64_t span = span_ns < 1      ? 1
			       : span_ns > 1e15 ? (int64_t)1e15
						: (int64_t)span_ns;
		if (load_schedule(&load, span, 7, &err) == 0)
			check(&load, span);
		else
			must(err.text[0] != '\0');
	}
	load_release(&load);
	free(text);
	return 0;
}
