/* SPDX-License-Identifier: MIT */
/*
 * A binary min-heap of departures: times of 64 bits, nothing else.
 */
#ifndef PAIL_SIMULATOR_HEAP_H
#define PAIL_SIMULATOR_HEAP_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

struct heap {
	uint64_t *key;
	size_t count, capacity;
};

/* Room for one more; -1 when there is no memory. */
static inline int heap_reserve(struct heap *heap, size_t count)
{
	if (count <= heap->capacity)
		return 0;
	size_t capacity = heap->capacity ? heap->capacity : 64;
	while (capacity < count)
		capacity *= 2;
	uint64_t *key = realloc(heap->key, capacity * sizeof(*key));
	if (!key)
		return -1;
	heap->key = key;
	heap->capacity = capacity;
	return 0;
}

static inline void heap_release(struct heap *heap)
{
	free(heap->key);
	*heap = (struct heap){0};
}

/* The caller has reserved the room. */
static inline void heap_push(struct heap *heap, uint64_t key)
{
	assert(heap->count < heap->capacity);
	size_t at = heap->count++;
	while (at > 0) {
		size_t parent = (at - 1) / 2;
		if (heap->key[parent] <= key)
			break;
		heap->key[at] = heap->key[parent];
		at = parent;
	}
	heap->key[at] = key;
}

/* Puts `key` in place of the least one. */
static inline void heap_replace(struct heap *heap, uint64_t key)
{
	size_t at = 0, count = heap->count;
	for (;;) {
		size_t child = 2 * at + 1;
		if (child >= count)
			break;
		if (child + 1 < count && heap->key[child + 1] < heap->key[child])
			child++;
		if (heap->key[child] >= key)
			break;
		heap->key[at] = heap->key[child];
		at = child;
	}
	heap->key[at] = key;
}

static inline void heap_pop(struct heap *heap)
{
	assert(heap->count > 0);
	uint64_t last = heap->key[--heap->count];
	if (heap->count)
		heap_replace(heap, last);
}

#endif
