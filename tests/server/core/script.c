/* SPDX-License-Identifier: MIT */
/*
 * A plug-in that plays a list of allocator calls, which comes as the body, with
 * plain malloc, calloc, realloc, aligned_alloc and free, and keeps its own
 * books on the stack: its need must be the arena's for the same calls.
 * Lines: "a SLOT SIZE", "c SLOT SIZE", "m SLOT SIZE ALIGN_LOG2", "r SLOT SIZE", "f SLOT".
 */
#include <pail/handler.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SLOTS = 256, LINE = 128 };

struct play {
	unsigned char *block[SLOTS];
	size_t size[SLOTS];
	long bad;
};

static void look(struct play *play, unsigned slot)
{
	for (size_t i = 0; i < play->size[slot]; i += 37)
		play->bad += play->block[slot][i] != (unsigned char)slot;
}

static void step(struct play *play, const char *line)
{
	unsigned slot = 0, align = 0;
	unsigned long size = 0;
	char kind = 0;

	if (sscanf(line, "%c %u %lu %u", &kind, &slot, &size, &align) < 2 || slot >= SLOTS)
		return;
	unsigned char *old = play->block[slot];
	if (kind == 'a')
		play->block[slot] = malloc(size);
	else if (kind == 'c')
		play->block[slot] = calloc(1, size);
	else if (kind == 'm')
		play->block[slot] = aligned_alloc((size_t)1 << align, size);
	else
		look(play, slot);
	if (kind == 'r') {
		play->block[slot] = realloc(old, size);
		if (play->size[slot] < size)
			for (size_t i = 0; i < play->size[slot]; i += 37)
				play->bad += play->block[slot][i] != (unsigned char)slot;
	}
	if (kind == 'c')
		for (size_t i = 0; i < size; i++)
			play->bad += play->block[slot][i] != 0;
	if (kind == 'm')
		play->bad += (uintptr_t)play->block[slot] % ((size_t)1 << align) != 0;
	if (kind == 'f')
		free(old);
	play->size[slot] = kind == 'f' ? 0 : size;
	if (kind != 'f')
		memset(play->block[slot], (int)slot, size);
}

int pail_handle(struct pail_request *r)
{
	struct play play;
	char buffer[4096], line[LINE];
	size_t length = 0;
	ssize_t got;

	memset(&play, 0, sizeof(play));
	while ((got = pail_body_read(r, buffer, sizeof(buffer))) > 0) {
		for (ssize_t i = 0; i < got; i++) {
			if (buffer[i] != '\n' && length < LINE - 1) {
				line[length++] = buffer[i];
				continue;
			}
			line[length] = 0;
			step(&play, line);
			length = 0;
		}
	}
	int n = snprintf(buffer, sizeof(buffer), "%ld %zu\n", play.bad, pail_bucket_used(r));
	pail_write(r, buffer, (size_t)n);
	return got < 0 ? 500 : 200;
}
