/* SPDX-License-Identifier: MIT */
/*
 * How far a long piece of work has come: a line on stderr with a bar, the rate
 * and the time left, from its third second on, and only if that is a terminal.
 * Colour unless NO_COLOR is set or the terminal is dumb. progress_end() wipes it,
 * so that what is said next begins on an empty line.
 *
 * One thread per progress. progress_at() is cheap: call it for every item.
 */
#ifndef PAIL_CLI_PROGRESS_H
#define PAIL_CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
	const char *who;  /* "pail import" */
	const char *what; /* "requests" */
	uint64_t total;   /* 0: not known, so neither bar nor time left */
	uint64_t done;
	int64_t begun_ns, shown_ns;
	bool terminal, colour, shown;
};

void progress_begin(struct progress *progress, const char *who, const char *what,
		    uint64_t total);
void progress_at(struct progress *progress, uint64_t done);
void progress_end(struct progress *progress);

/* The line itself, without colour, for `columns` of terminal: for tests, too. */
void progress_line(const struct progress *progress, double seconds, int columns, char *text,
		   int size);

#endif
