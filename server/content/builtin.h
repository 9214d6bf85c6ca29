/* SPDX-License-Identifier: MIT */
/*
 * The built-in handlers, written as plug-ins are: against pail/handler.h, with
 * plain malloc. The first three do what the benchmarks of Nea do, so that the
 * two can be compared:
 *
 *	send-static-file     a page that is part of the program
 *	csv-svg-path         POST: lines "x, y" become an SVG path; GET: the same
 *	                     of 52 points that the handler writes itself
 *	varying-allocations  GET /N allocates and fills N KiB; Nea uses 1, 10, 50
 *	replay               GET /replay/ID does what the recorded request did:
 *	                     "--app builtin:replay -- --replay FILE"
 */
#ifndef PAIL_SERVER_BUILTIN_H
#define PAIL_SERVER_BUILTIN_H

#include "server/handler.h"

extern const struct handler builtin_csv_svg_path, builtin_replay;

/* A line of text as the answer; gives `status` back. */
int builtin_text(struct pail_request *r, int status, const char *text);

#endif
