/* SPDX-License-Identifier: MIT */
/*
 * Where a long result goes, piece by piece: standard output, or a file that is
 * written beside its place and renamed there when it is whole.
 */
#ifndef PAIL_CLI_SINK_H
#define PAIL_CLI_SINK_H

#include "base/buf.h"
#include "base/err.h"

#include <limits.h>

struct sink {
	int fd;
	const char *path; /* NULL: standard output */
	char temporary[PATH_MAX];
};

/* `path` NULL or "-" is standard output. */
int sink_open(struct sink *sink, const char *path, struct err *err);
/* Writes and clears the buffer. */
int sink_write(struct sink *sink, struct buf *bytes, struct err *err);
/* whole: the file takes its name; else nothing is left of it. -1 keeps an
 * earlier message if it is not whole. */
int sink_close(struct sink *sink, bool whole, struct err *err);

#endif
