/* SPDX-License-Identifier: MIT */
#include "tests/server/transcript.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct reader {
	const char *bytes;
	size_t length;
	size_t there; /* so many have come */
	uint64_t cut;
};

/* More bytes come: false at the end of the connection. */
static bool more(struct reader *reader)
{
	size_t step = 1, left = reader->length - reader->there;

	if (!left)
		return false;
	if (reader->cut == CUT_WHOLE) {
		step = left;
	} else if (reader->cut != CUT_BYTES) {
		reader->cut = reader->cut * 6364136223846793005u + 1442695040888963407u;
		step = 1 + (size_t)(reader->cut >> 33) % 24;
	}
	reader->there += step < left ? step : left;
	return true;
}

static char *exact_copy(const struct reader *reader, size_t from, size_t *length)
{
	char *copy;

	*length = reader->there - from;
	copy = malloc(*length ? *length : 1);
	assert(copy);
	memcpy(copy, reader->bytes + from, *length);
	return copy;
}

static void put_span(struct buf *out, const char *name, const char *bytes,
		     const struct parse_head *head, struct parse_span span)
{
	assert(span.offset <= head->head_bytes &&
	       span.length <= head->head_bytes - span.offset);
	buf_printf(out, " %s=", name);
	buf_append(out, bytes + span.offset, span.length);
}

static void put_head(struct buf *out, const char *bytes, const struct parse_head *head)
{
	struct str path = parse_path(head, bytes);

	assert(path.length > 0 && head->field_count <= head->fields_max);
	assert(head->framing != PARSE_BODY_LENGTH || head->content_length > 0);
	assert(!head->expect_continue || head->framing != PARSE_BODY_NONE);
	buf_append_str(out, "HEAD");
	put_span(out, "method", bytes, head, head->method);
	put_span(out, "target", bytes, head, head->target);
	buf_printf(out, " path=%.*s", STR_ARG(path));
	if (head->has_query)
		put_span(out, "query", bytes, head, head->query);
	put_span(out, "host", bytes, head, head->host);
	buf_printf(out, " 1.%d framing=%d length=%llu keep=%d expect=%d bytes=%u\n",
		   head->minor, (int)head->framing, (unsigned long long)head->content_length,
		   head->keep_alive, head->expect_continue, head->head_bytes);
	for (uint32_t i = 0; i < head->field_count; i++) {
		put_span(out, "name", bytes, head, head->fields[i].name);
		put_span(out, "value", bytes, head, head->fields[i].value);
		buf_append_str(out, "\n");
	}
}

static void put_error(struct buf *out, uint16_t status, const char *reason)
{
	assert(status >= 400 && status <= 505 && reason && *reason);
	buf_printf(out, "ERROR %u %s\n", status, reason);
}

/* The head at `start`: its length, or 0 if the connection is over with it. */
static size_t run_head(struct buf *out, struct reader *reader, size_t start,
		       struct transcript_limits limits, struct parse_head *head,
		       struct parse_field *fields)
{
	parse_head_init(head, fields, limits.fields_max, limits.head_bytes_max, false);
	for (;;) {
		size_t length;
		char *copy = exact_copy(reader, start, &length);
		enum parse_result result = parse_head(head, copy, length);
		size_t head_bytes = 0;

		if (result == PARSE_DONE) {
			head_bytes = head->head_bytes;
			assert(head_bytes <= length &&
			       parse_head(head, copy, length) == PARSE_DONE);
			put_head(out, copy, head);
		} else if (result == PARSE_ERROR) {
			assert(!head->keep_alive &&
			       parse_head(head, copy, length) == PARSE_ERROR);
			put_error(out, head->status, head->reason);
		}
		free(copy);
		if (result != PARSE_MORE)
			return head_bytes;
		if (!more(reader)) {
			buf_append_str(out, parse_head_idle(head) ? "IDLE\n" : "CUT\n");
			return 0;
		}
	}
}

/* The body from `start`: where the next request begins, or 0. */
static size_t run_body(struct buf *out, struct reader *reader, size_t start,
		       const struct parse_head *head)
{
	struct parse_body body;
	struct buf content;
	size_t end = 0;

	parse_body_init(&body, head);
	buf_init(&content);
	for (;;) {
		size_t length, consumed, produced;
		char *copy = exact_copy(reader, start, &length);
		enum parse_result result =
			parse_body_compact(&body, copy, length, &consumed, &produced);

		assert(consumed <= length && produced <= consumed);
		assert(result != PARSE_MORE || consumed == length);
		buf_append(&content, copy, produced);
		start += consumed;
		free(copy);
		if (result == PARSE_DONE) {
			assert(head->framing != PARSE_BODY_LENGTH ||
			       content.length == head->content_length);
			buf_append_str(out, "BODY ");
			end = start;
			break;
		}
		if (result == PARSE_ERROR) {
			put_error(out, body.status, body.reason);
			break;
		}
		if (!more(reader)) {
			buf_append_str(out, "BODY CUT ");
			break;
		}
	}
	assert(body.content_bytes == content.length);
	buf_append(out, content.bytes, content.length);
	buf_append_str(out, "\n");
	buf_release(&content);
	return end;
}

void transcript_write(struct buf *out, const void *bytes, size_t length, uint64_t cut,
		      struct transcript_limits limits)
{
	struct reader reader = {bytes, length, 0, cut};
	struct parse_field fields[PARSE_FIELDS_MAX];
	struct parse_head head;
	size_t start = 0, head_bytes;

	assert(limits.fields_max <= PARSE_FIELDS_MAX);
	do {
		head_bytes = run_head(out, &reader, start, limits, &head, fields);
		if (!head_bytes)
			return;
		start = run_body(out, &reader, start + head_bytes, &head);
	} while (start && head.keep_alive);
}
