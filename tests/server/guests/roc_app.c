/* SPDX-License-Identifier: MIT */
/*
 * What a compiled Roc application does to its host, written in C: it takes its
 * argument by reference, writes its result through the first pointer, allocates
 * with roc_alloc() with room for the reference count in front, frees what it
 * owns when a count comes to 0, leaves constants (count 0) alone, and panics
 * with a Str. Written from the layouts, without the host's own declarations.
 */
#include <stdint.h>
#include <string.h>

void *roc_alloc(size_t size, uint32_t alignment);
void *roc_realloc(void *p, size_t new_size, size_t old_size, uint32_t alignment);
void roc_dealloc(void *p, uint32_t alignment);
void roc_panic(const void *message, uint32_t tag);

typedef struct {
	uint8_t *bytes;
	size_t length, capacity;
} words;

typedef struct {
	words name, value;
} header;

/* Alphabetical, since all align alike: body, headers, method, path, query. */
typedef struct {
	words body, headers, method, path, query;
} request;

typedef struct {
	words body, headers;
	uint16_t status;
} response;

static const uint8_t *text_of(const words *str, size_t *length)
{
	const uint8_t *raw = (const uint8_t *)str;

	if (raw[23] & 0x80) {
		*length = raw[23] & 0x7f;
		return raw;
	}
	*length = str->length;
	return str->bytes;
}

static int is(const words *str, const char *text)
{
	size_t length;
	const uint8_t *bytes = text_of(str, &length);
	return length == strlen(text) && memcmp(bytes, text, length) == 0;
}

static words small(const char *text)
{
	words str = {0};
	memcpy(&str, text, strlen(text));
	((uint8_t *)&str)[23] = (uint8_t)(strlen(text) | 0x80);
	return str;
}

/* A list of bytes with the count of one owner in front. */
static words owned(size_t capacity)
{
	int64_t *head = roc_alloc(8 + capacity, 8);
	head[0] = INT64_MIN; /* one */
	return (words){(uint8_t *)(head + 1), 0, capacity};
}

static void append(words *list, const void *bytes, size_t length)
{
	if (list->length + length > list->capacity) {
		size_t capacity = 2 * (list->length + length);
		int64_t *head =
			roc_realloc(list->bytes - 8, 8 + capacity, 8 + list->capacity, 8);
		list->bytes = (uint8_t *)(head + 1);
		list->capacity = capacity;
	}
	memcpy(list->bytes + list->length, bytes, length);
	list->length += length;
}

static void drop(words *list)
{
	int64_t *count = list->bytes ? (int64_t *)(list->bytes - 8) : NULL;

	if (count && *count == INT64_MIN)
		roc_dealloc(count, 8);
	else if (count && *count != 0)
		--*count;
}

static void append_str(words *list, const words *str)
{
	size_t length;
	const uint8_t *bytes = text_of(str, &length);
	append(list, bytes, length);
}

void roc__mainForHost_1_exposed_generic(response *out, request *in)
{
	words body = owned(4), scratch = owned(100);
	static const char reason[] = "this path was never meant to be asked for";

	if (is(&in->path, "/panic")) {
		words str = owned(sizeof(reason));
		append(&str, reason, sizeof(reason) - 1);
		roc_panic(&str, 0);
	}
	while (is(&in->path, "/hungry"))
		append(&scratch, reason, sizeof(reason));
	append_str(&body, &in->method);
	append(&body, " ", 1);
	append_str(&body, &in->path);
	append(&body, "?", 1);
	append_str(&body, &in->query);
	append(&body, "\n", 1);
	const header *headers = (const header *)in->headers.bytes;
	for (size_t i = 0; i < in->headers.length; i++) {
		append_str(&body, &headers[i].name);
		append(&body, "=", 1);
		append_str(&body, &headers[i].value);
		append(&body, "\n", 1);
	}
	append(&body, in->body.bytes, in->body.length);
	drop(&scratch);
	drop(&in->body);
	drop(&in->headers);

	/* One header: a list with its elements' number and the count in front. */
	int64_t *head = roc_alloc(16 + sizeof(header), 8);
	head[0] = 1;
	head[1] = INT64_MIN;
	header *given = (header *)(head + 2);
	*given = (header){small("Content-Type"), small("text/x-roc")};
	out->body = body;
	out->headers = (words){(uint8_t *)given, 1, 1};
	out->status = is(&in->path, "/teapot") ? 418 : 200;
}
