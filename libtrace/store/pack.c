/* SPDX-License-Identifier: MIT */
#include "libtrace/store/pack.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <zstd.h>

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "packed forms are little-endian");

enum { COLUMN_HEAD_BYTES = 10, ZSTD_LEVEL = 1 };

int pack_bytes(const void *raw, size_t length, struct buf *out)
{
	size_t room = ZSTD_compressBound(length);
	void *frame = malloc(room);
	if (!frame)
		return -1;
	size_t written = ZSTD_compress(frame, room, raw, length, ZSTD_LEVEL);
	if (!ZSTD_isError(written))
		buf_append(out, frame, written);
	free(frame);
	return ZSTD_isError(written) || out->failed ? -1 : 0;
}

unsigned char *unpack_bytes(const void *frame, size_t frame_length, size_t most, size_t *length)
{
	unsigned long long size = ZSTD_getFrameContentSize(frame, frame_length);
	if (size == ZSTD_CONTENTSIZE_ERROR || size == ZSTD_CONTENTSIZE_UNKNOWN || size > most)
		return NULL;
	unsigned char *raw = malloc((size_t)size + 1);
	if (!raw)
		return NULL;
	size_t got = ZSTD_decompress(raw, (size_t)size, frame, frame_length);
	if (ZSTD_isError(got) || got != size) {
		free(raw);
		return NULL;
	}
	*length = got;
	return raw;
}

/* -- columns ------------------------------------------------------------- */

struct frame_of_reference {
	int64_t base;
	int width;
};

static uint64_t difference(const int64_t *values, size_t i, bool delta)
{
	uint64_t before = delta && i > 0 ? (uint64_t)values[i - 1] : 0;
	return (uint64_t)values[i] - before;
}

static struct frame_of_reference measure(const int64_t *values, size_t count, bool delta)
{
	struct frame_of_reference f = {0, 0};
	if (count == 0)
		return f;
	f.base = (int64_t)difference(values, 0, delta);
	for (size_t i = 1; i < count; i++) {
		int64_t d = (int64_t)difference(values, i, delta);
		if (d < f.base)
			f.base = d;
	}
	uint64_t most = 0;
	for (size_t i = 0; i < count; i++) {
		uint64_t offset = difference(values, i, delta) - (uint64_t)f.base;
		if (offset > most)
			most = offset;
	}
	f.width = most == 0            ? 0
		  : most <= UINT8_MAX  ? 1
		  : most <= UINT16_MAX ? 2
		  : most <= UINT32_MAX ? 4
				       : 8;
	return f;
}

int pack_column(const int64_t *values, size_t count, struct buf *out)
{
	struct frame_of_reference plain = measure(values, count, false);
	struct frame_of_reference delta = measure(values, count, true);
	bool use_delta = delta.width < plain.width;
	struct frame_of_reference f = use_delta ? delta : plain;
	size_t width = (size_t)f.width;

	unsigned char *raw = malloc(count * width + 8);
	if (!raw)
		return -1;
	for (size_t i = 0; i < count; i++) {
		uint64_t offset = difference(values, i, use_delta) - (uint64_t)f.base;
		memcpy(raw + i * width, &offset, width);
	}
	unsigned char head[COLUMN_HEAD_BYTES] = {use_delta, (unsigned char)f.width};
	memcpy(head + 2, &f.base, sizeof(f.base));
	buf_append(out, head, sizeof(head));
	int rc = pack_bytes(raw, count * width, out);
	free(raw);
	return rc;
}

#define WIDEN(type)                                                    \
	for (size_t i = 0; i < count; i++) {                           \
		type offset;                                           \
		memcpy(&offset, raw + i * sizeof(type), sizeof(type)); \
		values[i] = (int64_t)((uint64_t)base + offset);        \
	}

int unpack_column(const void *bytes, size_t length, int64_t *values, size_t count)
{
	const unsigned char *head = bytes;
	if (length < COLUMN_HEAD_BYTES || head[0] > 1 || count > SIZE_MAX / 8)
		return -1;
	size_t width = head[1];
	if (width > 8 || (width & (width - 1)) != 0)
		return -1;
	int64_t base;
	memcpy(&base, head + 2, sizeof(base));
	size_t raw_length;
	unsigned char *raw = unpack_bytes(head + COLUMN_HEAD_BYTES, length - COLUMN_HEAD_BYTES,
					  count * width, &raw_length);
	if (!raw)
		return -1;
	if (raw_length != count * width) {
		free(raw);
		return -1;
	}
	switch (width) {
	case 0:
		for (size_t i = 0; i < count; i++)
			values[i] = base;
		break;
	case 1: WIDEN(uint8_t); break;
	case 2: WIDEN(uint16_t); break;
	case 4: WIDEN(uint32_t); break;
	default: WIDEN(uint64_t); break;
	}
	free(raw);
	if (head[0] == 1)
		for (size_t i = 1; i < count; i++)
			values[i] = (int64_t)((uint64_t)values[i] + (uint64_t)values[i - 1]);
	return 0;
}

/* -- operations ---------------------------------------------------------- */

enum { VARINT_BYTES_MAX = 10, OP_BYTES_MAX = 1 + 5 + VARINT_BYTES_MAX };

const unsigned char *unpack_varint(const unsigned char *at, const unsigned char *end,
				   uint64_t *value)
{
	uint64_t v = 0;
	for (int shift = 0; at && at < end && shift < 64; shift += 7) {
		unsigned char byte = *at++;
		v |= (uint64_t)(byte & 0x7f) << shift;
		if (byte < 0x80) {
			*value = v;
			return shift == 63 && byte > 1 ? NULL : at;
		}
	}
	return NULL;
}

int pack_ops(const struct replay_op *ops, size_t count, struct buf *out)
{
	unsigned char *raw = malloc(4 + count * OP_BYTES_MAX);
	if (!raw)
		return -1;
	unsigned char *at = raw + 4;
	for (size_t i = 0; i < count; i++) {
		assert(ops[i].kind <= REPLAY_REALLOC && ops[i].align_log2 < 64);
		*at++ = (unsigned char)(ops[i].kind | ops[i].align_log2 << 2);
	}
	unsigned char *slots = at;
	uint32_t before = 0;
	for (size_t i = 0; i < count; i++) {
		int32_t step = (int32_t)(ops[i].slot - before);
		at = pack_varint(at, (uint32_t)step << 1 ^ -(uint32_t)(step < 0));
		before = ops[i].slot;
	}
	uint32_t slots_length = (uint32_t)(at - slots);
	memcpy(raw, &slots_length, 4);
	for (size_t i = 0; i < count; i++)
		if (ops[i].kind != REPLAY_FREE)
			at = pack_varint(at, ops[i].size_bytes);
	int rc = pack_bytes(raw, (size_t)(at - raw), out);
	free(raw);
	return rc;
}

static int read_ops(const unsigned char *raw, size_t length, struct replay_op *ops,
		    size_t count)
{
	uint32_t slots_length;
	if (length < 4 + count)
		return -1;
	memcpy(&slots_length, raw, 4);
	if (slots_length > length - 4 - count)
		return -1;
	const unsigned char *tag = raw + 4;
	const unsigned char *slot = tag + count, *slot_end = slot + slots_length;
	const unsigned char *size = slot_end, *size_end = raw + length;
	uint32_t before = 0;
	for (size_t i = 0; i < count; i++) {
		uint64_t zigzag, bytes = 0;
		slot = unpack_varint(slot, slot_end, &zigzag);
		if (!slot || zigzag > UINT32_MAX || (tag[i] & 3) > REPLAY_REALLOC)
			return -1;
		if ((tag[i] & 3) != REPLAY_FREE &&
		    !(size = unpack_varint(size, size_end, &bytes)))
			return -1;
		before += (uint32_t)(zigzag >> 1) ^ (uint32_t) - (int32_t)(zigzag & 1);
		ops[i] = (struct replay_op){.slot = before,
					    .kind = tag[i] & 3,
					    .align_log2 = tag[i] >> 2,
					    .size_bytes = bytes};
	}
	return slot == slot_end && size == size_end ? 0 : -1;
}

int unpack_ops(const void *bytes, size_t length, struct replay_op *ops, size_t count)
{
	if (count > SIZE_MAX / OP_BYTES_MAX - 4)
		return -1;
	size_t raw_length;
	unsigned char *raw = unpack_bytes(bytes, length, 4 + count * OP_BYTES_MAX, &raw_length);
	if (!raw)
		return -1;
	int rc = read_ops(raw, raw_length, ops, count);
	free(raw);
	return rc;
}
