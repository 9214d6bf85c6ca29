/* SPDX-License-Identifier: MIT */
/*
 * A folder of files as an app. What a path may name, and nothing else:
 *
 * - It is percent-decoded once, strictly. A NUL or a '/' that was encoded, an
 *   empty segment, "." and "..", and names that start with a dot (but for
 *   .well-known) name nothing: 404. So a path has one spelling, and a redirect
 *   can't be led to another host by "//".
 * - The kernel resolves it beneath the folder (openat2(2), RESOLVE_BENEATH and
 *   RESOLVE_NO_MAGICLINKS): links that lead out are 404, and no race changes
 *   that. Kernels before 5.6 have no openat2, and the folder can't be served:
 *   files_handler's start() says so.
 * - Regular files are sent; a folder is its index.html, behind a 301 that adds
 *   the slash; anything else is 404.
 *
 * GET, HEAD and OPTIONS; else 405, or 501. Validators are ETag (size, mtime in
 * nanoseconds, coding) and Last-Modified; the order of preconditions is that
 * of RFC 9110, 13.2.2; one range is honoured, several get the whole file.
 * "f.br", "f.zst" and "f.gz" beside "f", no older than it, are sent in its
 * place to clients that take them.
 *
 * A request allocates nothing; it uses about 6 KiB of stack. files_handler
 * is what the core runs (server/handler.h); the rest is here for tests.
 */
#ifndef PAIL_SERVER_FILES_H
#define PAIL_SERVER_FILES_H

#include "base/str.h"
#include "server/handler.h"

enum { FILES_PATH_MAX = 4096, FILES_ETAG_MAX = 64 };

/* Decodes the path of a request, "/a%20b/", to what openat2() gets, "a b/",
 * "." for "/". Its length, or -1 if it can name nothing here. */
int files_path(char out[FILES_PATH_MAX], struct str path);

#endif
