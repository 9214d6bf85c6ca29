/* SPDX-License-Identifier: MIT */
/*
 * Media types by file name extension: the system's table, /etc/mime.types,
 * read once at start, and behind it a handful that every site needs, for
 * systems without one. Lookups neither allocate nor write, so any thread may.
 */
#ifndef PAIL_SERVER_MIME_H
#define PAIL_SERVER_MIME_H

#include "base/err.h"
#include "base/str.h"

/* A table that is not there is no error: the built-in types remain. Allocates
 * once (about the file's size); call it outside any request. */
int mime_load(const char *path, struct err *err);
void mime_release(void);

/* Of a file's name, by what is behind its last dot, in any case; never NULL:
 * "application/octet-stream" if nothing is known. */
const char *mime_of(struct str name);

#endif
