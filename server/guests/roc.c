/* SPDX-License-Identifier: MIT */
/*
 * The host that a compiled Roc application links against (libpail-roc.a), in
 * the ABI of Roc's LLVM compiler (its roc_std crate; the later compiler, which
 * hands a RocOps to every call, has another). With the application's object:
 *
 *	cc -shared -o app.so app.o -Wl,--whole-archive libpail-roc.a -Wl,--no-whole-archive
 *	pail serve --app app.so
 *
 * The platform's entry point is `mainForHost : Request -> Response` with
 *
 *	Header   : { name : Str, value : Str }
 *	Request  : { body : List U8, headers : List Header, method : Str, path : Str, query :
 *Str } Response : { body : List U8, headers : List Header, status : U16 }
 *
 * What the application allocates lies in the bucket, and so does what it is
 * given, with a reference count that says "constant": Roc neither frees it nor
 * changes it in place. Nothing is freed by us; the bucket is cleared.
 *
 * Layouts: a record's fields by falling alignment, then by name; a Str of up to
 * 23 bytes lies in its own 24, the last byte being its length with the high
 * bit set; in front of a list's elements are the reference count and, where the
 * elements have counts themselves, their number in front of that.
 */
#include "pail/handler.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct roc_list {
	void *elements;
	size_t length;
	size_t capacity; /* or, with the high bit, what it is a slice of */
};

union roc_str {
	struct {
		char *bytes;
		size_t length; /* the high bit: a slice */
		size_t capacity;
	} big;
	char small[24];
};

struct roc_header {
	union roc_str name, value;
};

struct roc_request {
	struct roc_list body, headers;
	union roc_str method, path, query;
};

struct roc_response {
	struct roc_list body, headers;
	uint16_t status;
};

_Static_assert(sizeof(union roc_str) == 24 && sizeof(struct roc_list) == 24, "Roc's layouts");
_Static_assert(sizeof(struct roc_request) == 120 && sizeof(struct roc_response) == 56,
	       "Roc's layouts");

/* Made by the compiler from mainForHost. */
void roc__mainForHost_1_exposed_generic(struct roc_response *response,
					struct roc_request *request);

enum { HEAD_BYTES = 2 * sizeof(size_t), SMALL_MAX = 23, ALIGN_OF_MALLOC = 16 };

/* -- what compiled Roc calls ------------------------------------------------------- */

void *roc_alloc(size_t size, uint32_t alignment);
void *roc_realloc(void *p, size_t new_size, size_t old_size, uint32_t alignment);
void roc_dealloc(void *p, uint32_t alignment);
void roc_panic(const union roc_str *message, uint32_t tag);
void roc_dbg(const union roc_str *where, const union roc_str *message,
	     const union roc_str *source);
void *roc_memset(void *to, int byte, size_t size);
void *roc_memcpy(void *to, const void *from, size_t size);
void *roc_memmove(void *to, const void *from, size_t size);

void *roc_alloc(size_t size, uint32_t alignment)
{
	return alignment <= ALIGN_OF_MALLOC
		       ? malloc(size)
		       : aligned_alloc(alignment,
				       (size + alignment - 1) & ~(size_t)(alignment - 1));
}

void *roc_realloc(void *p, size_t new_size, size_t old_size, uint32_t alignment)
{
	if (alignment <= ALIGN_OF_MALLOC)
		return realloc(p, new_size);
	void *moved = roc_alloc(new_size, alignment);
	memcpy(moved, p, old_size < new_size ? old_size : new_size);
	free(p);
	return moved;
}

void roc_dealloc(void *p, uint32_t alignment)
{
	(void)alignment;
	free(p);
}

static const char *str_text(const union roc_str *str, size_t *length)
{
	unsigned char last = (unsigned char)str->small[SMALL_MAX];

	if (last & 0x80) {
		*length = last & 0x7f;
		return str->small;
	}
	*length = str->big.length & SIZE_MAX >> 1;
	return str->big.bytes;
}

static _Thread_local struct pail_request *panicking;

/* It may not return; abort() costs the request (containment.md). */
void roc_panic(const union roc_str *message, uint32_t tag)
{
	char text[160];
	size_t length;
	const char *bytes = str_text(message, &length);

	snprintf(text, sizeof(text), "Roc %s: %.*s", tag ? "crashed" : "failed",
		 length > 120 ? 120 : (int)length, bytes);
	pail_explain(panicking, text);
	abort();
}

void roc_dbg(const union roc_str *where, const union roc_str *message,
	     const union roc_str *source)
{
	size_t length[3];
	const char *text[3] = {str_text(where, &length[0]), str_text(source, &length[1]),
			       str_text(message, &length[2])};

	fprintf(stderr, "[%.*s] %.*s = %.*s\n", (int)length[0], text[0], (int)length[1],
		text[1], (int)length[2], text[2]);
}

void *roc_memset(void *to, int byte, size_t size)
{
	return memset(to, byte, size);
}

void *roc_memcpy(void *to, const void *from, size_t size)
{
	return memcpy(to, from, size);
}

void *roc_memmove(void *to, const void *from, size_t size)
{
	return memmove(to, from, size);
}

/* -- what compiled Roc is given ------------------------------------------------------ */

/* Room for constant elements: their number and a reference count of 0 in front. */
static void *elements_new(size_t count, size_t bytes)
{
	size_t *head = malloc(HEAD_BYTES + bytes);

	head[0] = count;
	head[1] = 0;
	return (char *)head + HEAD_BYTES;
}

static void str_give(union roc_str *str, const char *text)
{
	size_t length = strlen(text);

	memset(str, 0, sizeof(*str));
	if (length <= SMALL_MAX) {
		memcpy(str->small, text, length);
		str->small[SMALL_MAX] = (char)(length | 0x80);
		return;
	}
	str->big.bytes = elements_new(length, length);
	memcpy(str->big.bytes, text, length);
	str->big.length = str->big.capacity = length;
}

static void headers_give(struct pail_request *r, struct roc_list *list)
{
	const char *name, *value;
	size_t count = 0;

	memset(list, 0, sizeof(*list));
	while (pail_header_at(r, count, &name, &value))
		count++;
	if (count == 0)
		return;
	struct roc_header *header = elements_new(count, count * sizeof(*header));
	for (size_t i = 0; pail_header_at(r, i, &name, &value); i++) {
		str_give(&header[i].name, name);
		str_give(&header[i].value, value);
	}
	*list = (struct roc_list){header, count, count};
}

static void body_give(struct pail_request *r, struct roc_list *list)
{
	const void *bytes;
	size_t length = pail_body(r, &bytes);

	memset(list, 0, sizeof(*list));
	if (length == 0)
		return;
	*list = (struct roc_list){elements_new(length, length), length, length};
	memcpy(list->elements, bytes, length);
}

/* -- a request ------------------------------------------------------------------------ */

static char *str_copy(const union roc_str *str)
{
	size_t length;
	const char *text = str_text(str, &length);
	char *copy = malloc(length + 1);

	memcpy(copy, text, length);
	copy[length] = 0;
	return copy;
}

int pail_handle(struct pail_request *r)
{
	struct roc_request request;
	struct roc_response response;

	body_give(r, &request.body);
	headers_give(r, &request.headers);
	str_give(&request.method, pail_method(r));
	str_give(&request.path, pail_path(r));
	str_give(&request.query, pail_query(r));
	memset(&response, 0, sizeof(response));
	panicking = r; /* Roc neither yields nor calls us back */
	roc__mainForHost_1_exposed_generic(&response, &request);
	panicking = NULL;
	const struct roc_header *header = response.headers.elements;
	for (size_t i = 0; i < response.headers.length; i++) {
		char *name = str_copy(&header[i].name);
		if (pail_set_header(r, name, str_copy(&header[i].value)) < 0) {
			char text[96];
			snprintf(text, sizeof(text), "the header '%s' can't be sent", name);
			pail_explain(r, text);
			return -1;
		}
	}
	pail_set_status(r, response.status);
	if (pail_write(r, response.body.elements, response.body.length) < 0)
		return -1;
	return response.status;
}
