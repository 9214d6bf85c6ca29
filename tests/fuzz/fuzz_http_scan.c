/* SPDX-License-Identifier: MIT */
/*
 * Any bytes, cut anywhere and with any holes, as what a server read or wrote:
 * the scan ends, consumes what it is given, and its views lie within it. What
 * begins ends or goes on: no message ends that did not begin.
 */
#include "libtrace/attribution/http.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool truth)
{
	if (!truth)
		abort();
}

static void check(const struct http_scan *scan, const struct http_event *event)
{
	if (event->kind != HTTP_HEAD)
		return;
	if (scan->response) {
		must(event->status >= 100 && event->status <= 999);
		return;
	}
	must(event->method.length > 0 && event->target.length > 0);
	must(event->method.bytes >= scan->line &&
	     event->target.bytes + event->target.length <= scan->line + HTTP_LINE_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2)
		return 0;
	struct http_scan scan;
	struct http_event event;
	http_scan_init(&scan, data[0] & 1);
	size_t step = 1 + (data[0] >> 1);
	unsigned hole_every = data[1];
	http_looks_like_request((struct str){(const char *)data + 2, size - 2});
	http_resp_command((struct str){(const char *)data + 2, size - 2});
	for (size_t at = 2, piece = 0; at < size; piece++) {
		size_t take = size - at < step ? size - at : step;
		struct str bytes = {(const char *)data + at, take};
		bool start = true;
		at += take;
		for (unsigned turns = 0;; turns++) {
			must(turns <= 3 * take + 3);
			size_t took = http_scan_feed(&scan, bytes, start, &event);
			must(took <= bytes.length);
			check(&scan, &event);
			start = false;
			bytes.bytes += took;
			bytes.length -= took;
			if (event.kind == HTTP_NONE)
				break;
		}
		must(bytes.length == 0);
		if (hole_every > 0 && piece % hole_every == 0)
			http_scan_skip(&scan, piece * 7, &event);
	}
	return 0;
}
