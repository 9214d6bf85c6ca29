/* SPDX-License-Identifier: MIT */
/*
 * A growing byte buffer on the heap, for the tools (never for the server's
 * requests). A failed growth sets `failed` and later appends do nothing, so a
 * writer checks once at the end. buf_text() is always NUL-terminated.
 */
#ifndef PAIL_BASE_BUF_H
#define PAIL_BASE_BUF_H

#include "base/str.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

struct buf {
	char *bytes;
	size_t length, capacity;
	bool failed;
};

void buf_init(struct buf *buf);
void buf_release(struct buf *buf);
void buf_clear(struct buf *buf);
void buf_append(struct buf *buf, const void *bytes, size_t length);
void buf_append_str(struct buf *buf, const char *text);
void buf_printf(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
void buf_vprintf(struct buf *buf, const char *format, va_list args);
const char *buf_text(struct buf *buf); /* "" when empty or failed */

#endif
