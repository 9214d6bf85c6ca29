/* SPDX-License-Identifier: MIT */
/* What payloads say; they need no ring. */
#include "libtrace/ring/ring.h"

#include <string.h>

bool ring_piece(const struct ring_event *event, size_t *at, uint32_t *offset, struct str *bytes)
{
	struct event_piece piece;

	if (event->payload.length < *at + sizeof(piece))
		return false;
	memcpy(&piece, event->payload.bytes + *at, sizeof(piece));
	if (piece.bytes > event->payload.length - *at - sizeof(piece))
		return false;
	*offset = piece.offset;
	bytes->bytes = event->payload.bytes + *at + sizeof(piece);
	bytes->length = piece.bytes;
	*at += sizeof(piece) + ((piece.bytes + 7) & ~(size_t)7);
	return true;
}

bool ring_module(const struct ring_event *event, struct ring_module *module)
{
	const char *bytes = event->payload.bytes;
	size_t head = 8 + EVENT_BUILD_ID_BYTES, id = event->b & 0xffffffff;

	if (event->kind != EVENT_MODULE || event->payload.length < head ||
	    id > EVENT_BUILD_ID_BYTES)
		return false;
	*module = (struct ring_module){.map = (uint32_t)(event->b >> 32),
				       .start = event->value,
				       .end = (uint64_t)event->a,
				       .build_id = {bytes + 8, id},
				       .path = {bytes + head, event->payload.length - head}};
	memcpy(&module->bias, bytes, 8);
	return true;
}
