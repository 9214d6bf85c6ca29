/* SPDX-License-Identifier: MIT */
/*
 * How far a long piece of work has come: a line on stderr with a bar, the rate
 * and the time left, from its third second on, and only if that is a terminal.
 * Colour unless NO_COLOR is set or the terminal is dumb. progress_end() wipes it,
 * so that what is said next begins on an empty line.
 *
 * One thread may use a progress at a time. progress_at() is cheap: call it for every item.
 */
#ifndef PAIL_CLI_PROGRESS_H
#define PAIL_CLI_PROGRESS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct progress {
	const char *who;  /* "pail import" */
	const char *what; /* "requests" */
	uint64_t total;   /* 0: not known, so neither bar nor time left */
	uint64_t done;
	int64_t begun_ns, shown_ns;
	bool terminal, colour, shown;
	pthread_t watcher;
	bool watched;
	int wake[2]; /* closed to end the watcher */
};

void progress_begin(struct progress *progress, const char *who, const char *what,
		    uint64_t total);
void progress_at(struct progress *progress, uint64_t done);
void progress_end(struct progress *progress);

/* For work that is one call and cannot tell how far it is: a thread beside it that
 * tells how long it takes already. progress_end() ends it. */
void progress_watch(struct progress *progress, const char *who, const char *what);

/* Requests that a trace has, as a total; 0 where that can't be told. */
struct trace;
uint64_t progress_requests(struct trace *trace);

/* The line itself, without colour, for `columns` of terminal: for tests, too. */
void progress_line(const struct progress *progress, double seconds, int columns, char *text,
		   int size);

#endif
