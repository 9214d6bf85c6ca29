/* SPDX-License-Identifier: MIT */
/*
 * What a request has opened of libc and the kernel: stdio streams, folders,
 * descriptors, POSIX timers. Opening and closing calls are defined in the server and noted in
 * the request. A request that ends by a jump can't close them any more, so they
 * are closed for it; one that returns may keep them, which is its own affair.
 *
 * A request has at most STREAMS_MAX of them open at a time, as it would under a limit
 * of the system's: opening a further one is EMFILE (EAGAIN for a timer). They are noted
 * in the request and not in its bucket, where a wild write could have another's closed.
 */
#ifndef PAIL_SERVER_STREAMS_H
#define PAIL_SERVER_STREAMS_H

#include <stdbool.h>
#include <stdint.h>

enum { STREAMS_MAX = 80 };

enum stream_kind { STREAM_FILE, STREAM_FOLDER, STREAM_DESCRIPTOR, STREAM_TIMER };

/* Two arrays of one index, since the place is dear. */
struct streams {
	uint32_t count;
	uint8_t kind[STREAMS_MAX];
	uintptr_t open[STREAMS_MAX]; /* a pointer, or a descriptor */
};

struct pail_request;

/* Closes all that is noted, last opened first. Each is forgotten before it is
 * closed, so that a fault in one leads on to the next. */
void streams_close(struct pail_request *r);
/* The request opened it (if there is one, and it is not outside). */
void streams_note_descriptor(struct pail_request *r, int fd);
/* Whether so many more can be noted. */
bool streams_have_room(const struct pail_request *r, uint32_t more);
/* The descriptor has another owner now. */
void streams_forget(struct pail_request *r, int fd);

#endif
