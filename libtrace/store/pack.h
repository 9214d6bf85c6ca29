/* SPDX-License-Identifier: MIT */
/*
 * The packed forms in a trace: columns of integers, and lists of replay
 * operations. The only file that knows zstd. Both readers take bytes from a
 * file that anyone may have written: they check everything and give -1 rather
 * than read or write out of bounds (tests/fuzz/fuzz_trace.c).
 *
 * A column is
 *	u8 form	   0: values, 1: differences between neighbours (the first
 *		   from 0)
 *	u8 width   0, 1, 2, 4 or 8: bytes per value
 *	i64 base   what to add to each, modulo 2^64
 *	zstd frame of count x width bytes
 * and a list of operations is one zstd frame of
 *	u32 bytes of the slot stream
 *	u8 per operation: kind | align_log2 << 2
 *	slot stream: zigzag varint of the difference to the slot before
 *	size stream: varint, for all but REPLAY_FREE
 * All integers little-endian, varints as LEB128. Raw events have a form of their
 * own, made of the same (raw.h).
 */
#ifndef PAIL_LIBTRACE_PACK_H
#define PAIL_LIBTRACE_PACK_H

#include "base/buf.h"
#include "base/replay.h"

#include <stddef.h>
#include <stdint.h>

/* Appends; 0, or -1 when memory runs out. */
int pack_column(const int64_t *values, size_t count, struct buf *out);
int pack_ops(const struct replay_op *ops, size_t count, struct buf *out);

/* Fills exactly `count` items; -1 if the bytes do not hold that many. */
int unpack_column(const void *bytes, size_t length, int64_t *values, size_t count);
int unpack_ops(const void *bytes, size_t length, struct replay_op *ops, size_t count);

/* Appends any bytes as a zstd frame; 0, or -1 when memory runs out. */
int pack_bytes(const void *bytes, size_t length, struct buf *out);
/* What a frame holds, malloc'd; NULL if it is none or longer than `most`. */
unsigned char *unpack_bytes(const void *frame, size_t frame_length, size_t most,
			    size_t *length);
/* Writes up to 10 bytes and gives the place behind them. */
static inline unsigned char *pack_varint(unsigned char *at, uint64_t value)
{
	for (; value >= 0x80; value >>= 7)
		*at++ = (unsigned char)(value | 0x80);
	*at++ = (unsigned char)value;
	return at;
}
/* NULL at the end or for more than 64 bits, or if `at` is NULL. */
const unsigned char *unpack_varint(const unsigned char *at, const unsigned char *end,
				   uint64_t *value);

#endif
