/* SPDX-License-Identifier: MIT */
/*
 * malloc and its family for the whole process. Three places give memory:
 *
 *	a bucket's arena   inside a request, to everyone but libc and ld.so
 *	the system region  outside a request; to libc and ld.so always, since what
 *	                   they keep (stdio, time zones, NSS, thread-local
 *	                   storage) outlives the request; between
 *	                   pail_outside_begin() and _end(). Fixed in size, locked
 *	the cradle         a static piece, for what runs before there is a region
 *
 * Who calls is told by the return address. strdup, strndup, asprintf, getline,
 * realpath and their kin are defined here too, so that what they give a handler
 * lies in the bucket though libc allocates it.
 * Whose a pointer is, free and realloc tell by its address: of this request's
 * bucket, of the system region, of the cradle; one of another bucket or of
 * nowhere is counted and left alone, and realloc refuses it.
 *
 * A bucket that is full: policy by the library that called, [on_oom]: NULL,
 * at most MALLOC_NULLS_MAX times, or the jump (request_fail). The system region
 * full: NULL.
 *
 * In a sanitizer build (PAIL_MALLOC_OFF) the sanitizer owns malloc: only
 * pail_alloc() and pail_body() use the bucket, need is theirs alone, a handler's
 * blocks leak when it is jumped out of, and nothing bounds them.
 */
#ifndef PAIL_SERVER_MALLOC_H
#define PAIL_SERVER_MALLOC_H

#include "base/arena.h"
#include "base/limits.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pail_request;

enum { MALLOC_NULLS_MAX = 64, MALLOC_CRADLE_BYTES = 512 << 10 };

/* From here on the system region serves; the cradle only takes back. */
void malloc_system_open(void *bytes, size_t size);
/* Looks up where libc, ld.so and the libraries of [on_oom] lie. Again after
 * anything was loaded. */
void malloc_modules_find(const struct plan *plan);
/* pc lies in libc or ld.so; in ld.so. */
bool malloc_pc_in_libc(uintptr_t pc);
bool malloc_pc_in_loader(uintptr_t pc);
/* Where their code lies, for who has many to ask about. */
struct malloc_code {
	uintptr_t low, bytes;
};
void malloc_libc_code(struct malloc_code *libc, struct malloc_code *loader);

/* What this thread runs now: a request and its arena, or NULL and NULL. With an
 * arena but no request (bucket_start) a full arena gives NULL. */
void malloc_switch(struct pail_request *r, struct arena *arena);
/* Nesting; the depth is the request's and comes back with malloc_switch(). */
void malloc_outside(int step);

/* Of the arena of r, for the code at `caller`, or out of here. */
void *malloc_in_bucket(struct pail_request *r, size_t size, uintptr_t caller);

/* malloc() and realloc() on behalf of who called a function of libc that we
 * define: the return address there. */
void *malloc_for(size_t size, uintptr_t caller);
void *realloc_for(void *p, size_t size, uintptr_t caller);

/* p lies where nothing is ever unmapped: libc's data, the system region. */
bool malloc_lasts(const void *p);
/* The part of the system region that has been given out so far. */
size_t malloc_system_used(const void **from);
/* This thread holds the lock of the system region. */
bool malloc_system_held(void);

struct malloc_counts {
	uint64_t system_bytes_peak, system_bytes_now, system_bytes_room;
	uint64_t system_blocks; /* living: what libc, libraries and leaks keep */
	uint64_t refused;       /* times that the system region was full */
};
void malloc_count(struct malloc_counts *counts);

#endif
