/* SPDX-License-Identifier: MIT */
/*
 * Files written whole or not at all: into a temporary neighbour, fsynced,
 * renamed over the target. A failure leaves the old file and no new one.
 */
#ifndef PAIL_BASE_FILE_H
#define PAIL_BASE_FILE_H

#include "base/err.h"

#include <stddef.h>

int file_write_atomic(const char *path, const void *bytes, size_t length, unsigned mode,
		      struct err *err);
/* Reads a whole regular file of at most `limit` bytes; *bytes is malloc'd,
 * NUL-terminated, and the caller's to free. */
int file_read_all(const char *path, size_t limit, char **bytes, size_t *length,
		  struct err *err);

/* Removes what writers of `path` left beside it when they were killed: regular files
 * of ours named ".NAME." and `letters` letters and digits, untouched for a minute and
 * not locked. Fails silently: it is done in passing, by the next writer. */
void file_sweep(const char *path, size_t letters);

#endif
