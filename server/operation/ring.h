/* SPDX-License-Identifier: MIT */
/*
 * A ring of bytes from one thread to another. The one puts whole pieces, or, if
 * there is no room, nothing; the other takes bytes as it can pass them on.
 * Neither waits, neither locks. Positions run on for ever; the place in the ring
 * is their remainder by the room.
 *
 * The two positions lie in memory that may be shared with another process, which
 * takes what is left when the first has died; ring_sound() says whether they
 * still make sense. Where the bytes lie and how many there is room for each
 * process knows for itself.
 */
#ifndef PAIL_SERVER_RING_H
#define PAIL_SERVER_RING_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/uio.h>

/* Zeroed memory is an empty ring's. Each end in a cache line of its own. */
struct ring_ends {
	alignas(64) _Atomic uint64_t head; /* put so far */
	alignas(64) _Atomic uint64_t tail; /* taken so far */
};

struct ring {
	struct ring_ends *ends; /* NULL: there is none, and nothing fits */
	char *bytes;
	uint64_t room;
};

static inline uint64_t ring_used(const struct ring *ring)
{
	if (!ring->ends)
		return 0;
	uint64_t tail = atomic_load_explicit(&ring->ends->tail, memory_order_acquire);
	return atomic_load_explicit(&ring->ends->head, memory_order_acquire) - tail;
}

static inline bool ring_sound(const struct ring *ring)
{
	return ring_used(ring) <= ring->room;
}

/* False, and nothing is put, if it does not fit. */
static inline bool ring_put(struct ring *ring, const void *piece, size_t length)
{
	if (!ring->ends)
		return false;
	uint64_t head = atomic_load_explicit(&ring->ends->head, memory_order_relaxed);
	uint64_t tail = atomic_load_explicit(&ring->ends->tail, memory_order_acquire);
	if (ring->room - (head - tail) < length)
		return false;
	size_t at = (size_t)(head % ring->room), first = (size_t)(ring->room - at);
	if (first > length)
		first = length;
	memcpy(ring->bytes + at, piece, first);
	memcpy(ring->bytes, (const char *)piece + first, length - first);
	atomic_store_explicit(&ring->ends->head, head + length, memory_order_release);
	return true;
}

/* Up to `most` bytes from the first on, in one or two pieces: how many. */
static inline size_t ring_peek(const struct ring *ring, struct iovec piece[2], size_t most)
{
	uint64_t used = ring_used(ring);
	size_t length = used < most ? (size_t)used : most;

	piece[0] = piece[1] = (struct iovec){ring->bytes, 0};
	if (length == 0)
		return 0;
	size_t at = (size_t)(atomic_load_explicit(&ring->ends->tail, memory_order_relaxed) %
			     ring->room);
	size_t first = (size_t)(ring->room - at);
	if (first > length)
		first = length;
	piece[0] = (struct iovec){ring->bytes + at, first};
	piece[1].iov_len = length - first;
	return length;
}

static inline void ring_drop(struct ring *ring, size_t length)
{
	uint64_t tail = atomic_load_explicit(&ring->ends->tail, memory_order_relaxed);

	atomic_store_explicit(&ring->ends->tail, tail + length, memory_order_release);
}

#endif
