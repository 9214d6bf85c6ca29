/* SPDX-License-Identifier: MIT */
#include "libtrace/shim/pieces.h"

#include "libtrace/shim/memory.h"

#include <string.h>

/* Bytes of a body that are shown; of a head at first, and at the most. */
enum { BODY_SHOWN = 64, HEAD_LIKELY = 1024, HEAD_MOST = 65536 };

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
	const char *end = text + (bytes < HEAD_MOST ? bytes : HEAD_MOST), *line = text;
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

/* The bytes at `offset`, as far as they lie in one piece of memory that can be
 * read, and at most `most`. */
static const char *bytes_at(const struct pieces_of *of, size_t offset, size_t most,
			    size_t *bytes)
{
	size_t start = 0;

	*bytes = 0;
	for (size_t i = 0; i < of->count && start < of->total; start += of->iov[i++].iov_len) {
		const struct iovec *v = &of->iov[i];
		if (offset - start >= v->iov_len)
			continue;
		const char *text = (const char *)v->iov_base + (offset - start);
		size_t there = v->iov_len - (offset - start);
		if (there > of->total - offset)
			there = of->total - offset;
		if (there > most)
			there = most;
		*bytes = of->accepted ? there : memory_prefix(text, there);
		return *bytes ? text : NULL;
	}
	return NULL;
}

/* What the head at `text` says: by its first bytes or, if they are not all of
 * it, by more. */
static const char *read_head(const struct pieces_of *of, size_t at, struct head *head,
			     const char *text, size_t *bytes)
{
	head_read(head, text, *bytes);
	if (head->bytes || *bytes < HEAD_LIKELY)
		return text;
	text = bytes_at(of, at, HEAD_MOST, bytes);
	if (text)
		head_read(head, text, *bytes);
	return text;
}

uint64_t pieces_walk(const struct pieces_of *of, uint64_t left, size_t other_bytes,
		     pieces_batch *batch, void *context)
{
	struct pieces pieces;
	struct head head;
	uint64_t at = left, total = of->total;
	size_t bytes;

	pieces.batch = batch;
	pieces.context = context;
	pieces.used = 0;
	pieces.later = false;
	if (batch && left) {
		const char *text = bytes_at(of, 0, BODY_SHOWN, &bytes);
		if (text)
			pieces_add(&pieces, 0, text, bytes);
	}
	left = at > total ? at - total : 0;
	while (at < total) {
		const char *text = bytes_at(of, (size_t)at, HEAD_LIKELY, &bytes);
		if (!text)
			break;
		if (!head_begins(text, bytes)) {
			if (at == 0)
				pieces_add(&pieces, 0, text,
					   bytes < other_bytes ? bytes : other_bytes);
			break;
		}
		text = read_head(of, (size_t)at, &head, text, &bytes);
		if (!text)
			break;
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

void pieces_show(const struct pieces_of *of, size_t most, size_t last, pieces_batch *batch,
		 void *context)
{
	struct pieces pieces;
	size_t at = 0, bytes, total = of->total;

	pieces.batch = batch;
	pieces.context = context;
	pieces.used = 0;
	pieces.later = false;
	while (at < total) {
		if (at >= most && total - at > last)
			at = total - last;
		size_t end = at < most && most < total ? most : total;
		size_t some = end - at < EVENT_PIECE_BYTES ? end - at : EVENT_PIECE_BYTES;
		const char *text = bytes_at(of, at, some, &bytes);
		if (!text)
			break;
		pieces_add(&pieces, at, text, bytes);
		at += bytes;
		if (at >= most && last == 0)
			break;
	}
	pieces_flush(&pieces);
}
