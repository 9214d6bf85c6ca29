/* SPDX-License-Identifier: MIT */
/*
 * A load: which requests arrive when, decided before the first is sent, so
 * that a slow server cannot slow its own load down.
 *
 * A load file has one stream of requests a line; '#' starts a comment:
 *
 *	RATE[xBATCH] LABEL METHOD TARGET [@FILE]
 *	200    lookup  GET   /lookup?key={1000-2800}
 *	2x10   sort    POST  /sort   @list.json
 *
 * Each stream is a Poisson process of its own: RATE arrivals a second, each of
 * BATCH requests at one instant. {A-B} in a target is replaced by a whole
 * number drawn evenly from A to B. @FILE is the body, looked for beside the
 * load file. A stream's arrivals are a function of the seed and of its own
 * line: adding a stream leaves the others as they were.
 */
#ifndef PAIL_CLI_LOAD_H
#define PAIL_CLI_LOAD_H

#include "base/err.h"
#include "base/str.h"

#include <stddef.h>
#include <stdint.h>

struct load_request {
	int64_t at_ns; /* since the load's start */
	struct str method, target, body;
	uint32_t label;  /* index into the load's labels */
	uint32_t number; /* in order of drawing: tells ties apart */
};

struct load_stream {
	double rate;
	uint32_t batch, label;
	uint64_t hash; /* of the line: the stream's own randomness */
	char *method, *target;
	char *body; /* NULL for none */
	size_t body_bytes;
};

struct load {
	size_t stream_count, label_count;
	struct load_stream *stream;
	char **label;
	/* filled by load_schedule(), in order of at_ns */
	size_t request_count;
	struct load_request *request;
	char **page; /* the memory of targets */
	size_t page_count, page_used;
};

void load_init(struct load *load);
void load_release(struct load *load);

/* Adds the streams of a file. The message names file and line. */
int load_read(struct load *load, const char *path, struct err *err);
/* Adds one stream given as a line; `directory` is where @FILE is looked for. */
int load_add(struct load *load, const char *line, const char *directory, struct err *err);
/* The index of a label, which is added if it is new. -1: out of memory. */
int64_t load_label(struct load *load, struct str name);

/* Draws the arrivals of [0, span_ns). The strings live as long as the load. */
int load_schedule(struct load *load, int64_t span_ns, uint64_t seed, struct err *err);

#endif
