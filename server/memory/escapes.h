/* SPDX-License-Identifier: MIT */
/*
 * --debug-escapes: finds memory of a request that something keeps beyond it.
 *
 * After each request all that lasts is searched for words that point into its
 * bucket: the data of every module, the thread's local storage, the system
 * region (what is freed there is zeroed, so that only living blocks speak). Each
 * is told once on stderr: which library allocated the block and where, and in
 * which module the pointer lies. Then the bucket is made inaccessible and goes
 * to the end of the line, so that a later use of it faults, as "escape", in the
 * request that does it, for as long as other buckets are taken instead.
 *
 * For debugging: what it notes takes ESCAPES_BLOCKS_MAX x 16 bytes per bucket
 * beyond the bound, and each request takes a search of megabytes. Blocks that
 * pail_bucket_start() made are the bucket's own, and no escape.
 */
#ifndef PAIL_SERVER_ESCAPES_H
#define PAIL_SERVER_ESCAPES_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ESCAPES_BLOCKS_MAX = 4096, ESCAPES_TOLD_MAX = 256 };

struct arena;
struct bucket;
struct pail_request;

int escapes_open(struct err *err);
bool escapes_on(void);
size_t escapes_bytes(void); /* what it has mapped */
uint64_t escapes_count(void);

/* A block of a bucket's arena was given to `caller`. */
void escapes_note(const struct arena *arena, const void *p, size_t size, uintptr_t caller);
/* Its next request begins: accessible again, and cleared. */
void escapes_begin(struct bucket *bucket);
/* Its request is over: searches, tells, and takes the bucket away. */
void escapes_end(struct bucket *bucket, struct pail_request *r);
/* A fault at p: whose block that was, if p lies in a bucket that was taken away. */
bool escapes_describe(const void *p, char *text, size_t size);

#endif
