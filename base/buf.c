/* SPDX-License-Identifier: MIT */
#include "base/buf.h"

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void buf_init(struct buf *buf)
{
	*buf = (struct buf){0};
}

void buf_release(struct buf *buf)
{
	free(buf->bytes);
	buf_init(buf);
}

void buf_clear(struct buf *buf)
{
	buf->length = 0;
	buf->failed = false;
	if (buf->bytes)
		buf->bytes[0] = '\0';
}

/* Room for `more` bytes and the terminator. */
static bool reserve(struct buf *buf, size_t more)
{
	if (buf->failed)
		return false;
	if (more < buf->capacity - buf->length)
		return true;
	if (more > SIZE_MAX / 4 || buf->length > SIZE_MAX / 4) {
		buf->failed = true;
		return false;
	}
	size_t capacity = buf->capacity ? buf->capacity : 256;
	while (capacity - buf->length <= more)
		capacity *= 2;
	char *bytes = realloc(buf->bytes, capacity);
	if (!bytes) {
		buf->failed = true;
		return false;
	}
	buf->bytes = bytes;
	buf->capacity = capacity;
	return true;
}

void buf_append(struct buf *buf, const void *bytes, size_t length)
{
	if (!reserve(buf, length))
		return;
	if (length > 0)
		memcpy(buf->bytes + buf->length, bytes, length);
	buf->length += length;
	buf->bytes[buf->length] = '\0';
}

void buf_append_str(struct buf *buf, const char *text)
{
	buf_append(buf, text, strlen(text));
}

void buf_vprintf(struct buf *buf, const char *format, va_list args)
{
	va_list again;
	va_copy(again, args);
	/* Most lines are short: the first try writes straight into the buffer. */
	size_t room = reserve(buf, 128) ? buf->capacity - buf->length : 0;
	int length = room ? vsnprintf(buf->bytes + buf->length, room, format, args) : -1;
	if (length >= 0 && (size_t)length >= room && reserve(buf, (size_t)length))
		length = vsnprintf(buf->bytes + buf->length, (size_t)length + 1, format, again);
	va_end(again);
	if (length < 0)
		buf->failed = true;
	if (buf->failed) {
		if (buf->bytes)
			buf->bytes[buf->length] = '\0';
		return;
	}
	buf->length += (size_t)length;
	assert(buf->length < buf->capacity);
}

void buf_printf(struct buf *buf, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	buf_vprintf(buf, format, args);
	va_end(args);
}

const char *buf_text(struct buf *buf)
{
	return buf->bytes && !buf->failed ? buf->bytes : "";
}
