/* SPDX-License-Identifier: MIT */
/* trace_ops TRACE: what each request allocated, a line each: its id, target and
 * route, then the sizes in order. For tests that tag requests by size. */
#include "libtrace/trace.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
	struct err err;
	struct trace *trace;
	struct trace_cursor *cursor;
	struct trace_request r;
	int got;
	if (argc != 2)
		return 2;
	if (trace_open(argv[1], &trace, &err) != 0 ||
	    trace_requests(trace, &cursor, &err) != 0) {
		fprintf(stderr, "%s\n", err.text);
		return 3;
	}
	while ((got = trace_next(cursor, &r, &err)) == 1) {
		struct replay_op *ops = NULL;
		size_t count = 0;
		if (trace_replay(trace, r.id, &ops, &count, &err) < 0) {
			got = -1;
			break;
		}
		printf("%" PRId64 "\t%.*s\t%.*s\t", r.id, STR_ARG(r.target), STR_ARG(r.route));
		for (size_t i = 0; i < count; i++)
			if (ops[i].kind != REPLAY_FREE)
				printf("%" PRIu64 " ", ops[i].size_bytes);
		putchar('\n');
		free(ops);
	}
	if (got < 0)
		fprintf(stderr, "%s\n", err.text);
	trace_cursor_close(cursor);
	trace_close(trace);
	return got < 0 ? 3 : 0;
}
