/* SPDX-License-Identifier: MIT */
/*
 * A recorded program that writes what it likes into the shared memory: the
 * recorder may lose its events, and no more. The input is what that program does,
 * one step after the other:
 *
 *	0  bytes into a chunk, and that it holds them: chunk, stream, state, length, bytes
 *	1  a word of the head of the region: its place, 8 bytes
 *	2  a word of the chunk descriptors: its place, 4 bytes
 *	3  the recorder polls
 *
 * What comes out is attributed, and its pieces, modules and stacks are looked at,
 * as the recorder does.
 */
#include "attributing.h"

#include "libtrace/ring/ring.h"
#include "libtrace/shim/region.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
	const uint8_t *at, *end;
};

static uint64_t take(struct input *in, size_t bytes)
{
	uint64_t value = 0;
	size_t left = (size_t)(in->end - in->at), n = bytes < left ? bytes : left;
	memcpy(&value, in->at, n);
	in->at += n;
	return value;
}

struct reader {
	struct ring *ring;
	struct attribute *attribute;
};

static volatile unsigned sum; /* of bytes that must be readable */

static void touch(struct str s)
{
	for (size_t i = 0; i < s.length; i++)
		sum += (unsigned char)s.bytes[i];
}

static void take_event(void *context, const struct ring_event *event)
{
	struct reader *r = context;
	struct ring_module module;
	struct ring_frame frame;
	struct str bytes;
	uint32_t offset, stack = event->stack;
	size_t at = 0;
	touch(event->payload);
	while (ring_piece(event, &at, &offset, &bytes))
		touch(bytes);
	if (ring_module(event, &module)) {
		touch(module.build_id);
		touch(module.path);
	}
	for (int depth = 0; depth < 100 && ring_frame(r->ring, stack, &frame); depth++)
		stack = frame.outer;
	struct ring_event plain = *event;
	plain.stack = 0; /* there are no sites here */
	attribute_event(r->attribute, &plain);
}

static void write_chunk(struct region *region, const unsigned char *chunks, struct input *in)
{
	uint32_t index = (uint32_t)take(in, 1) % REGION_CHUNKS_MIN;
	struct chunk *chunk = &region->chunk[index];
	chunk->stream = (uint32_t)take(in, 1);
	uint8_t state = (uint8_t)take(in, 1);
	size_t length = (size_t)take(in, 2), left = (size_t)(in->end - in->at);
	length = length < left ? length : left;
	length = length < REGION_CHUNK_BYTES ? length : REGION_CHUNK_BYTES;
	memcpy((unsigned char *)(uintptr_t)chunks + (size_t)index * REGION_CHUNK_BYTES, in->at,
	       length);
	in->at += length;
	chunk->sequence = state >> 4;
	chunk->process = 1;
	chunk->pid = state & 4 ? getpid() : 0;
	chunk->owner = chunk_owner((enum chunk_state)(state & 3), 0);
	chunk->committed = (uint32_t)length;
	if (region->high_water <= index)
		region->high_water = index + 1;
}

static void step(struct reader *r, struct region *region, const unsigned char *chunks,
		 struct input *in)
{
	size_t words = offsetof(struct region, chunk) / 8;
	size_t descriptors = REGION_CHUNKS_MIN * sizeof(struct chunk) / 4;
	uint64_t place, value;
	switch (take(in, 1) % 4) {
	case 0: write_chunk(region, chunks, in); break;
	case 1:
		place = take(in, 2) % words * 8;
		value = take(in, 8);
		memcpy((unsigned char *)region + place, &value, 8);
		break;
	case 2:
		place = offsetof(struct region, chunk) + take(in, 2) % descriptors * 4;
		value = take(in, 4);
		memcpy((unsigned char *)region + place, &value, 4);
		break;
	default: ring_poll(r->ring, 0, take_event, r);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct attribute_sink sink = attributing_sink();
	struct ring_options options = {.bytes = 1 << 20, .stacks = true, .stack_entries = 1024};
	struct input in = {data, data + size};
	struct reader r = {0};
	struct err err;
	struct stat st;
	if (ring_create(&options, &r.ring, &err) != 0)
		return 0;
	r.attribute = attribute_new(SPLIT_AUTO, &sink);
	int fd = open(ring_path(r.ring), O_RDWR | O_CLOEXEC);
	if (!r.attribute || fd < 0 || fstat(fd, &st) != 0)
		abort();
	struct region *region =
		mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (region == MAP_FAILED)
		abort();
	const unsigned char *chunks = region_chunk(region, 0);
	for (int steps = 0; in.at < in.end && steps < 64; steps++)
		step(&r, region, chunks, &in);
	ring_finish(r.ring, take_event, &r);
	attribute_finish(r.attribute, INT64_MAX);
	attribute_free(r.attribute);
	ring_free(r.ring);
	munmap(region, (size_t)st.st_size);
	return 0;
}
