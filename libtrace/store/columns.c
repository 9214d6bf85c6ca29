/* SPDX-License-Identifier: MIT */
#include "libtrace/store/columns.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void chunk_digest(const struct chunk *chunk, unsigned char digest[SHA256_DIGEST_SIZE])
{
	struct sha256_ctx sha;
	sha256_init(&sha);
	for (int c = 0; c < COLUMN_COUNT; c++)
		sha256_update(&sha, chunk->count * sizeof(int64_t),
			      (const uint8_t *)chunk->value[c]);
	sha256_digest(&sha, SHA256_DIGEST_SIZE, digest);
}

int columns_init(struct trace_columns *columns, size_t count)
{
	memset(columns, 0, sizeof(*columns));
	size_t room = count > 0 ? count : 1;
	columns->id = calloc(room, sizeof(*columns->id));
	columns->arrival_ns = calloc(room, sizeof(*columns->arrival_ns));
	columns->service_ns = calloc(room, sizeof(*columns->service_ns));
	columns->need_bytes = calloc(room, sizeof(*columns->need_bytes));
	columns->route_index = calloc(room, sizeof(*columns->route_index));
	if (!columns->id || !columns->arrival_ns || !columns->service_ns ||
	    !columns->need_bytes || !columns->route_index) {
		trace_columns_release(columns);
		return -1;
	}
	columns->count = count;
	return 0;
}

void trace_columns_release(struct trace_columns *columns)
{
	free(columns->id);
	free(columns->arrival_ns);
	free(columns->service_ns);
	free(columns->need_bytes);
	free(columns->route_index);
	for (size_t i = 0; i < columns->route_count; i++)
		free(columns->route[i]);
	free(columns->route);
	memset(columns, 0, sizeof(*columns));
}

/* -- the order ----------------------------------------------------------- */

static bool before(const struct trace_columns *c, uint32_t a, uint32_t b)
{
	if (c->arrival_ns[a] != c->arrival_ns[b])
		return c->arrival_ns[a] < c->arrival_ns[b];
	return c->id[a] < c->id[b];
}

static void sort_run(const struct trace_columns *c, uint32_t *order, size_t from, size_t to)
{
	for (size_t i = from + 1; i < to; i++) {
		uint32_t item = order[i];
		size_t j = i;
		for (; j > from && before(c, item, order[j - 1]); j--)
			order[j] = order[j - 1];
		order[j] = item;
	}
}

/* Merges the sorted [from, mid) and [mid, to). What is in place already, at
 * both ends, is left alone: usually nearly all of it. */
static void merge_runs(const struct trace_columns *c, uint32_t *order, uint32_t *spare,
		       size_t from, size_t mid, size_t to)
{
	if (!before(c, order[mid], order[mid - 1]))
		return;
	size_t low = from, high = mid; /* the first of the left run behind order[mid] */
	while (low < high) {
		size_t half = low + (high - low) / 2;
		if (before(c, order[mid], order[half]))
			high = half;
		else
			low = half + 1;
	}
	size_t left = mid - low;
	memcpy(spare, order + low, left * sizeof(*spare));
	size_t a = 0, b = mid, out = low;
	while (a < left && b < to)
		order[out++] = before(c, order[b], spare[a]) ? order[b++] : spare[a++];
	memcpy(order + out, spare + a, (left - a) * sizeof(*order));
}

#define PERMUTE(type, array)                                       \
	do {                                                       \
		type *from_ = (array), *to_ = scratch;             \
		for (size_t i_ = 0; i_ < columns->count; i_++)     \
			to_[i_] = from_[order[i_]];                \
		memcpy(from_, to_, columns->count * sizeof(type)); \
	} while (0)

static int reorder(struct trace_columns *columns)
{
	size_t count = columns->count;
	assert(count <= UINT32_MAX);
	uint32_t *order = malloc(count * sizeof(*order));
	void *scratch = malloc(count * sizeof(int64_t));
	if (!order || !scratch) {
		free(order);
		free(scratch);
		return -1;
	}
	enum { RUN = 16 };
	for (size_t i = 0; i < count; i++)
		order[i] = (uint32_t)i;
	for (size_t from = 0; from < count; from += RUN)
		sort_run(columns, order, from, from + RUN < count ? from + RUN : count);
	for (size_t width = RUN; width < count; width *= 2)
		for (size_t from = 0; from + width < count; from += 2 * width)
			merge_runs(columns, order, scratch, from, from + width,
				   from + 2 * width < count ? from + 2 * width : count);
	PERMUTE(int64_t, columns->id);
	PERMUTE(int64_t, columns->arrival_ns);
	PERMUTE(int64_t, columns->service_ns);
	PERMUTE(uint64_t, columns->need_bytes);
	PERMUTE(uint32_t, columns->route_index);
	free(order);
	free(scratch);
	return 0;
}

int columns_sort(struct trace_columns *columns)
{
	bool sorted = true;
	int64_t last = INT64_MIN;
	for (size_t i = 0; i < columns->count; i++) {
		if (i > 0 && before(columns, (uint32_t)i, (uint32_t)(i - 1)))
			sorted = false;
		int64_t end;
		if (__builtin_add_overflow(columns->arrival_ns[i], columns->service_ns[i],
					   &end))
			end = INT64_MAX;
		if (end > last)
			last = end;
	}
	if (!sorted && reorder(columns) != 0)
		return -1;
	columns->span_ns = columns->count > 0 ? last - columns->arrival_ns[0] : 0;
	return 0;
}
