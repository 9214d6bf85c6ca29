/* SPDX-License-Identifier: MIT */
#include "libtrace/shim/pieces.h"

#include <string.h>

struct pieces {
	pieces_batch *batch;
	void *context;
	size_t used;
	bool later; /* a batch has been given */
	_Alignas(8) unsigned char payload[EVENT_PAYLOAD_BYTES];
};

/* A message head at the start of `text`. */
struct head {
	size_t bytes;         /* with its empty line; 0: not all of it is here */
	size_t length_offset; /* of the Content-Length line, 0 = none */
	size_t length_bytes;
	uint64_t body_bytes;
	bool endless; /* chunked, or a response without a length: its end is not known */
};

static void pieces_flush(struct pieces *pieces)
{
	if (pieces->batch)
		pieces->batch(pieces->context, !pieces->later, pieces->payload, pieces->used);
	pieces->later = true;
	pieces->used = 0;
}

static void pieces_add(struct pieces *pieces, size_t offset, const void *data, size_t bytes)
{
	if (!pieces->batch)
		return;
	if (bytes > EVENT_PIECE_BYTES)
		bytes = EVENT_PIECE_BYTES;
	size_t need = sizeof(struct event_piece) + ((bytes + 7) & ~(size_t)7);
	if (pieces->used + need > EVENT_PAYLOAD_BYTES)
		pieces_flush(pieces);
	struct event_piece piece = {(uint32_t)offset, (uint32_t)bytes};
	unsigned char *at = pieces->payload + pieces->used;
	memset(at + need - 8, 0, 8);
	memcpy(at, &piece, sizeof(piece));
	memcpy(at + sizeof(piece), data, bytes);
	pieces->used += need;
}

/* A request line's method and space, or a response's version. */
static bool head_begins(const char *text, size_t bytes)
{
	size_t i = 0;

	if (bytes >= 7 && memcmp(text, "HTTP/1.", 7) == 0)
		return true;
	while (i < bytes && i < 24 && ((text[i] >= 'A' && text[i] <= 'Z') || text[i] == '-'))
		i++;
	if (i < 3 || i + 1 >= bytes || text[i] != ' ')
		return false;
	return text[i + 1] == '/' || text[i + 1] == '*' || text[i + 1] == 'h';
}

static bool name_is(const char *line, size_t bytes, const char *name, size_t name_bytes)
{
	return bytes > name_bytes && line[name_bytes] == ':' &&
	       strncasecmp(line, name, name_bytes) == 0;
}

static uint64_t number(const char *text, const char *end)
{
	uint64_t value = 0;

	while (text < end && (*text == ' ' || *text == '\t'))
		text++;
	for (; text < end && *text >= '0' && *text <= '9' && value < UINT64_MAX / 20; text++)
		value = value * 10 + (uint64_t)(*text - '0');
	return value;
}

/* Reads the lines up to the empty one; at most 64 KiB of them. */
static void head_read(struct head *head, const char *text, size_t bytes)
{
	const char *end = text + (bytes < 65536 ? bytes : 65536), *line = text;
	bool response = text[0] == 'H' && text[4] == '/';
	bool bodyless = response && bytes > 12 &&
			(text[9] == '1' || memcmp(text + 9, "204", 3) == 0 ||
			 memcmp(text + 9, "304", 3) == 0);

	memset(head, 0, sizeof(*head));
	head->endless = response && !bodyless;
	for (const char *next; line < end; line = next) {
		const char *newline = memchr(line, '\n', (size_t)(end - line));
		if (!newline)
			return;
		next = newline + 1;
		size_t length = (size_t)(newline - line);
		if (length && line[length - 1] == '\r')
			length--;
		if (length == 0) {
			head->bytes = (size_t)(next - text);
			break;
		}
		if ((line[0] | 32) == 'c' && name_is(line, length, "content-length", 14)) {
			head->length_offset = (size_t)(line - text);
			head->length_bytes = (size_t)(next - line);
			head->body_bytes = number(line + 15, newline);
			head->endless = false;
		} else if ((line[0] | 32) == 't' &&
			   name_is(line, length, "transfer-encoding", 17)) {
			head->length_offset = (size_t)(line - text);
			head->length_bytes = (size_t)(next - line);
			head->endless = true;
			head->body_bytes = 0;
			while (line < end && *line != '\n')
				line++;
		}
	}
	if (bodyless)
		head->body_bytes = 0;
}

/* The bytes at `offset`, as far as they lie in one piece of memory. */
static const char *bytes_at(const struct iovec *iov, size_t count, size_t offset, size_t total,
			    size_t *bytes)
{
	size_t start = 0;

	for (size_t i = 0; i < count && start < total; start += iov[i++].iov_len) {
		if (offset - start >= iov[i].iov_len)
			continue;
		*bytes = iov[i].iov_len - (offset - start);
		if (*bytes > total - offset)
			*bytes = total - offset;
		return (const char *)iov[i].iov_base + (offset - start);
	}
	*bytes = 0;
	return NULL;
}

uint64_t pieces_walk(const struct iovec *iov, size_t count, size_t total, uint64_t left,
		     size_t other_bytes, pieces_batch *batch, void *context)
{
	struct pieces pieces;
	struct head head;
	uint64_t at = left;
	size_t bytes;

	pieces.batch = batch;
	pieces.context = context;
	pieces.used = 0;
	pieces.later = false;
	const char *text = bytes_at(iov, count, 0, total, &bytes);
	if (text && (left || !head_begins(text, bytes)))
		pieces_add(&pieces, 0, text,
			   bytes < (left ? 64 : other_bytes) ? bytes
			   : left                            ? 64
							     : other_bytes);
	left = at > total ? at - total : 0;
	while (at < total) {
		text = bytes_at(iov, count, (size_t)at, total, &bytes);
		if (!text || !head_begins(text, bytes))
			break;
		head_read(&head, text, bytes);
		pieces_add(&pieces, (size_t)at, text, head.bytes ? head.bytes : bytes);
		if (head.length_offset + head.length_bytes > EVENT_PIECE_BYTES)
			pieces_add(&pieces, (size_t)at + head.length_offset,
				   text + head.length_offset, head.length_bytes);
		if (!head.bytes || head.endless)
			break;
		at += head.bytes + head.body_bytes;
		left = at > total ? at - total : 0;
	}
	if (pieces.used || !pieces.later)
		pieces_flush(&pieces);
	return left;
}

void pieces_show(const struct iovec *iov, size_t count, size_t total, size_t most, size_t last,
		 pieces_batch *batch, void *context)
{
	struct pieces pieces;
	size_t at = 0, bytes;

	pieces.batch = batch;
	pieces.context = context;
	pieces.used = 0;
	pieces.later = false;
	while (at < total) {
		if (at >= most && total - at > last)
			at = total - last;
		const char *text = bytes_at(iov, count, at, total, &bytes);
		if (!text)
			break;
		size_t end = at < most && most < total ? most : total;
		if (bytes > end - at)
			bytes = end - at;
		if (bytes > EVENT_PIECE_BYTES)
			bytes = EVENT_PIECE_BYTES;
		pieces_add(&pieces, at, text, bytes);
		at += bytes;
		if (at >= most && last == 0)
			break;
	}
	pieces_flush(&pieces);
}
