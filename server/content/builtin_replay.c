/* SPDX-License-Identifier: MIT */
/*
 * GET /replay/ID, or /replay/ANY/ID for a rule of its own: the calls that
 * recorded request ID made, on this request's malloc, spread evenly over the time
 * that it took; then an answer of one word. It holds memory as the recorded one
 * did and burns no CPU for it: between calls it sleeps, and others run.
 *
 * One that outgrows its bucket is left by a jump at the very call, and yet holds
 * the bucket to the end of its time: a deferred function waits for it.
 *
 * The table from slots to blocks is the handler's, not the request's, so it
 * lies outside the bucket: 8 bytes x the slots of the request, from the
 * server's system region, given back at every end of the request.
 */
#include "server/content/builtin.h"

#include "base/replay_file.h"

#include <errno.h>
#include <malloc.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Shorter sleeps than this are not worth a timer; the time is not lost, the
 * next call or the end waits for it. */
enum { SLEEP_MIN_NS = 50000 };

static struct replay_file file;

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void sleep_until(int64_t then_ns, int64_t at_least_ns)
{
	int64_t left = then_ns - now_ns();

	while (left > at_least_ns) {
		struct timespec span = {left / 1000000000, left % 1000000000};

		nanosleep(&span, NULL);
		left = then_ns - now_ns();
	}
}

/* What the handler knows of a request that runs, outside its bucket. */
struct run {
	int64_t end_ns;
	void *block[]; /* by slot */
};

/* Also after a jump: an oversize request holds its bucket for the whole time
 * that it was recorded to take, as the simulator has it. */
static void run_end(void *context)
{
	struct run *run = context;

	sleep_until(run->end_ns, 0);
	pail_outside_begin();
	free(run);
	pail_outside_end();
}

static struct run *run_new(struct pail_request *r, size_t slots, int64_t end_ns)
{
	struct run *run;

	pail_outside_begin();
	run = calloc(1, sizeof(*run) + slots * sizeof(run->block[0]));
	pail_outside_end();
	if (run) {
		run->end_ns = end_ns;
		pail_defer(r, run_end, run);
	}
	return run;
}

/* One recorded call. False if the bucket said no and nobody jumped. */
static bool call(const struct replay_op *op, void **block)
{
	void *moved;

	switch ((enum replay_kind)op->kind) {
	case REPLAY_ALLOC:
		if (op->align_log2)
			*block = memalign((size_t)1 << op->align_log2, op->size_bytes);
		else
			*block = malloc(op->size_bytes);
		return *block != NULL;
	case REPLAY_REALLOC:
		moved = realloc(*block, op->size_bytes);
		/* realloc to 0 bytes may be a free. */
		if (!moved && op->size_bytes)
			return false;
		*block = moved;
		return true;
	case REPLAY_FREE:
		free(*block);
		*block = NULL;
		return true;
	}
	return false;
}

static bool id_read(const char *path, int64_t *id)
{
	static const char prefix[] = "/replay/";
	char *end;

	if (strncmp(path, prefix, sizeof(prefix) - 1))
		return false;
	path = strrchr(path, '/') + 1;
	if (*path < '0' || *path > '9')
		return false;
	errno = 0;
	*id = strtoll(path, &end, 10);
	return errno == 0 && *end == '\0';
}

static int handle(struct pail_request *r)
{
	int64_t id, start = now_ns();
	const struct replay_file_item *item;
	const struct replay_op *ops;
	struct run *run;

	if (!id_read(pail_path(r), &id) || !(item = replay_file_find(&file, id)))
		return builtin_text(r, 404, "no such recorded request\n");
	run = run_new(r, item->slots, start + item->service_ns);
	if (!run)
		return builtin_text(r, 500,
				    "the system region has no room: raise [server] system\n");
	ops = file.ops + item->op_first;
	for (uint32_t i = 0; i < item->op_count; i++) {
		/* Call i of n at i/n of the time; a double has room for the product. */
		double part = (double)i / item->op_count;

		sleep_until(start + (int64_t)(part * (double)item->service_ns), SLEEP_MIN_NS);
		if (!call(&ops[i], &run->block[ops[i].slot]))
			return builtin_text(r, 500, "no memory\n");
	}
	sleep_until(run->end_ns, 0);
	return builtin_text(r, 200, "replayed\n");
}

static int start(int argc, char **argv)
{
	struct err err;

	if (argc != 3 || strcmp(argv[1], "--replay")) {
		snprintf(handler_message, sizeof(handler_message),
			 "it needs a file of requests: -- --replay FILE");
		return -1;
	}
	if (replay_file_open(argv[2], &file, &err)) {
		snprintf(handler_message, sizeof(handler_message), "%.255s", err.text);
		return -1;
	}
	return 0;
}

const struct handler builtin_replay = {.name = "replay", .handle = handle, .start = start};
