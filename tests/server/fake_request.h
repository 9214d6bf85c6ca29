/* SPDX-License-Identifier: MIT */
/*
 * A request without a server: the pail_ functions over plain arrays, so that
 * handlers can be called from a test and their answers looked at.
 */
#ifndef PAIL_TESTS_SERVER_FAKE_REQUEST_H
#define PAIL_TESTS_SERVER_FAKE_REQUEST_H

#include "base/buf.h"
#include "server/handler.h"

enum { FAKE_FIELDS_MAX = 16, FAKE_DEFERS_MAX = 8 };

struct fake_field {
	const char *name, *value;
};

struct pail_request {
	const char *method, *path, *query;
	struct fake_field field[FAKE_FIELDS_MAX]; /* ends at a NULL name */
	const char *body;
	/* The answer. */
	int status;
	struct buf head;    /* "Name: value\n"... */
	struct buf content; /* what was written, or the part of the file */
	bool sent_file;
	int outside; /* pail_outside_begin() less pail_outside_end() */
	struct {
		void (*fn)(void *);
		void *arg;
	} defer[FAKE_DEFERS_MAX];
	int defers;
};

/* Runs the handler and what it deferred. `spec` is the request: method, path and
 * fields; query and body may be NULL. Release it afterwards. */
void fake_run(struct pail_request *r, const struct handler *handler);
void fake_release(struct pail_request *r);
/* The value of a field of the answer, or NULL; lives until the next call. */
const char *fake_field(struct pail_request *r, const char *name);

#endif
