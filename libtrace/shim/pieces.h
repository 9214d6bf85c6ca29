/* SPDX-License-Identifier: MIT */
/*
 * Choosing what of the bytes read and written the recorder gets to see: the
 * beginning, and every HTTP/1 message head behind it that can be found by
 * walking heads and their Content-Length. Bodies are skipped, not looked at.
 *
 * A head that arrives in two reads is given as two beginnings. Not followed:
 * chunked bodies, whose end is not looked for; what follows one in the same
 * read is not seen.
 */
#ifndef PAIL_SHIM_PIECES_H
#define PAIL_SHIM_PIECES_H

#include "libtrace/shim/event.h"
#include "libtrace/shim/writer.h"

/* Called with each batch of pieces of at most EVENT_PAYLOAD_BYTES. */
typedef void pieces_batch(void *context, bool first, const void *payload, size_t bytes);

/* The first `total` bytes of what lies in iov. Its vectors can be read; what
 * they lead to only as far as the kernel has said so, unless `accepted`. */
struct pieces_of {
	const struct iovec *iov;
	size_t count, total;
	bool accepted;
};

/* Walks the bytes, of which the first `left` are the rest of a body. Calls
 * batch at least once (batch may be NULL: only walks). Gives how many bytes of
 * the last body are still to come. `other_bytes` is how much is shown of a
 * beginning that is no HTTP head. */
uint64_t pieces_walk(const struct pieces_of *of, uint64_t left, size_t other_bytes,
		     pieces_batch *batch, void *context) HIDDEN;

/* Gives the first `most` bytes as they are, and, if there is more, `last` of the
 * end. */
void pieces_show(const struct pieces_of *of, size_t most, size_t last, pieces_batch *batch,
		 void *context) HIDDEN;

#endif
