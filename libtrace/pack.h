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
 * All integers little-endian, varints as LEB128.
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

#endif
