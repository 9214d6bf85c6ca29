/* SPDX-License-Identifier: MIT */
/*
 * Raw events, packed: what ring_poll() handed out, in that order, so that a
 * trace can be attributed again when the rules are better or are asked
 * something else. A block stands for itself: it can be read without those
 * before it, and a damaged one spoils nothing but itself.
 *
 * `stack` of the events is a site's number by then (sites.h): what lies in the
 * ring's table of stacks is gone with the ring.
 *
 * A block is one zstd frame of
 *	u8 RAW_FORMAT, u8 1 if sites follow allocations, varint lengths of the streams,
 *	the streams:
 *	head	a byte per event: its kind | HEAD_MORE if it has flags or an
 *		alignment | HEAD_CONTEXT if thread or time are not those before it
 *	context	varint thread, by number within the block; if it is the next
 *		new one: varints process, thread, pid, tid; zigzag of time_ns
 *		from that before it
 *	slot	u16 per address: where it is in a table of RAW_SLOTS addresses
 *		that both sides keep, or RAW_NEW and then it is put there
 *	fresh	zigzag of each new address from the new one before it
 *	size	of what allocates: varint; and with HEAD_MORE a byte of flags
 *		and one of alignment
 *	site	of what allocates: varint, if sites follow
 *	long	u8 flags, varints of value, zigzag a, zigzag b, zigzag stack_low
 *		from its thread's last, payload's length; of CPU only: zigzag of
 *		a from its thread's last
 *	payload	bytes
 * Varints are LEB128, all integers little-endian. Heaps hand out the same
 * addresses in the same order request after request: as slots they are short,
 * and zstd finds them to be the same.
 *
 * The reader takes bytes that anyone may have written: it checks everything
 * (tests/fuzz/fuzz_raw.c).
 */
#ifndef PAIL_LIBTRACE_RAW_H
#define PAIL_LIBTRACE_RAW_H

#include "base/buf.h"
#include "libtrace/ring/ring.h"

#include <stdbool.h>
#include <stdint.h>

enum {
	RAW_FORMAT = 1,
	RAW_EVENTS_MAX = 16384, /* of one block */
	RAW_SLOTS = 16384,
	RAW_NEW = 0xffff
};

struct raw_pack;
struct raw_pack *raw_pack_new(bool sites); /* NULL: out of memory */
void raw_pack_free(struct raw_pack *pack);
/* False, and the event is not taken, if the block is full. */
bool raw_pack_add(struct raw_pack *pack, const struct ring_event *event);
uint32_t raw_pack_count(const struct raw_pack *pack);
/* Appends the block to `out`, and begins the next one. -1 when memory runs out. */
int raw_pack_take(struct raw_pack *pack, struct buf *out);
/* Forgets what is in the block. */
void raw_pack_clear(struct raw_pack *pack);

/* Hands out the `count` events of a block. -1 if it does not hold them: some may
 * have been handed out by then. */
int raw_unpack(const void *bytes, size_t length, uint32_t count, ring_callback *callback,
	       void *context);

#endif
