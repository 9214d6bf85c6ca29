/* SPDX-License-Identifier: MIT */
/*
 * What a request has opened of libc and the kernel: stdio streams, folders,
 * descriptors. Opening and closing calls are defined in the server and noted in
 * the request. A request that ends by a jump can't close them any more, so they
 * are closed for it; one that returns may keep them, which is its own affair.
 *
 * At most STREAMS_MAX are noted for each request; further ones are not.
 */
#ifndef PAIL_SERVER_STREAMS_H
#define PAIL_SERVER_STREAMS_H

#include <stdint.h>

enum { STREAMS_MAX = 32 };

enum stream_kind { STREAM_FILE, STREAM_FOLDER, STREAM_DESCRIPTOR };

struct streams {
	uint32_t count;
	struct stream {
		enum stream_kind kind;
		union {
			void *pointer;
			int fd;
		};
	} open[STREAMS_MAX];
};

struct pail_request;

/* Closes all that is noted, last opened first. Each is forgotten before it is
 * closed, so that a fault in one leads on to the next. */
void streams_close(struct pail_request *r);
/* The request opened it (if there is one, and it is not outside). */
void streams_note_descriptor(struct pail_request *r, int fd);
/* The descriptor has another owner now. */
void streams_forget(struct pail_request *r, int fd);

#endif
