/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as what a server of RESP, memcached or FastCGI reads, in pieces of
 * any size and with holes: the scan consumes all of it, hands out names that lie
 * within itself, begins no message inside another, and comes to an end. Bytes:
 * size of the pieces; every how-manieth is followed by a hole; which protocol
 * (0: as it is recognised); the rest.
 */
#include "libtrace/attribution/message.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool truth)
{
	if (!truth)
		abort();
}

static bool within(struct str view, const void *from, size_t length)
{
	return view.length == 0 || (view.bytes >= (const char *)from &&
				    view.bytes + view.length <= (const char *)from + length);
}

static void check(const struct message_scan *scan, const struct message_event *event,
		  int *depth)
{
	bool fastcgi = scan->protocol == MESSAGE_FASTCGI; /* requests may be interleaved */
	switch (event->kind) {
	case MESSAGE_BEGIN:
		must(fastcgi || *depth == 0);
		*depth = 1;
		break;
	case MESSAGE_NAME:
		must(fastcgi || event->name.length > 0);
		must(within(event->name, scan, sizeof(*scan)) ||
		     within(event->name, scan->params, MESSAGE_PARAMS_MAX));
		must(within(event->method, scan, sizeof(*scan)) ||
		     within(event->method, scan->params, MESSAGE_PARAMS_MAX));
		break;
	case MESSAGE_END:
	case MESSAGE_LOST: *depth = 0; break;
	default: break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 4)
		return 0;
	struct message_scan scan;
	struct message_event event;
	message_scan_init(&scan);
	size_t step = 1 + data[0];
	unsigned hole_every = data[1];
	unsigned which = data[2] % 5;
	scan.protocol = (uint8_t)(which == 0 ? message_recognise((struct str){
						       (const char *)data + 3, size - 3})
					     : MESSAGE_OTHER + which);
	int depth = 0;
	for (size_t at = 3, piece = 0; at < size && scan.protocol > MESSAGE_OTHER; piece++) {
		size_t take = size - at < step ? size - at : step;
		struct str bytes = {(const char *)data + at, take};
		at += take;
		message_resume(&scan, bytes);
		for (unsigned turns = 0;; turns++) {
			must(turns <= 3 * take + 3);
			size_t took = message_feed(&scan, bytes, &event);
			must(took <= bytes.length);
			check(&scan, &event, &depth);
			bytes.bytes += took;
			bytes.length -= took;
			if (event.kind == MESSAGE_NONE)
				break;
		}
		must(bytes.length == 0);
		message_idle(&scan);
		if (hole_every > 0 && piece % hole_every == 0) {
			message_skip(&scan, piece * 7, &event);
			check(&scan, &event, &depth);
		}
	}
	message_scan_release(&scan);
	return 0;
}
