/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as a block of raw events, and whatever comes out of it attributed:
 * refused, or read without stepping outside. A recorder's events come out of
 * memory that the recorded program can overwrite, so attribution must take
 * anything. Bytes: 0 for a block as it is stored, 1 for what its frame holds;
 * how to split; the number of events, 2; the block.
 */
#include "attributing.h"

#include "libtrace/store/pack.h"
#include "libtrace/attribution/raw.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void take_event(void *context, const struct ring_event *event)
{
	attribute_event(context, event);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct attribute_sink sink = attributing_sink();
	struct buf frame;
	if (size < 4)
		return 0;
	struct attribute *a = attribute_new((enum attribute_split)(data[1] % 5), &sink);
	if (!a)
		return 0;
	uint32_t count = (uint32_t)(data[2] | data[3] << 8);
	buf_init(&frame);
	if (data[0] % 2 == 0)
		buf_append(&frame, data + 4, size - 4);
	else
		pack_bytes(data + 4, size - 4, &frame);
	raw_unpack(frame.bytes, frame.length, count, take_event, a);
	attribute_gap(a);
	attribute_finish(a, INT64_MAX);
	attribute_free(a);
	buf_release(&frame);
	return 0;
}
