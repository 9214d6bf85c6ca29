/* SPDX-License-Identifier: MIT */
/*
 * The rest of pail/handler.h: what only reads the request or notes something
 * in it. Bodies are in body.c, responses in output.c, big stacks in stack.c.
 */
#include "server/request/bucket.h"
#include "server/connection/loop.h"
#include "server/memory/malloc.h"
#include "server/http/response.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

const char *pail_method(const struct pail_request *r)
{
	return r->method;
}

const char *pail_path(const struct pail_request *r)
{
	return r->path;
}

const char *pail_query(const struct pail_request *r)
{
	return r->query;
}

int pail_header_at(const struct pail_request *r, size_t i, const char **name,
		   const char **value)
{
	const char *bytes = r->connection->bytes + r->connection->start;

	if (i >= r->field_count)
		return 0;
	*name = bytes + r->field[i].name.offset;
	*value = bytes + r->field[i].value.offset;
	return 1;
}

const char *pail_header(const struct pail_request *r, const char *wanted)
{
	const char *bytes = r->connection->bytes + r->connection->start;
	size_t length = strlen(wanted);

	for (uint32_t i = 0; i < r->field_count; i++)
		if (r->field[i].name.length == length &&
		    strncasecmp(bytes + r->field[i].name.offset, wanted, length) == 0)
			return bytes + r->field[i].value.offset;
	return NULL;
}

/* Digits only, and less than 2^62. */
static int parse_length(const char *text, int64_t *length)
{
	int64_t value = 0;

	if (!*text)
		return -1;
	for (; *text; text++) {
		if (*text < '0' || *text > '9' || value > (INT64_MAX >> 1) / 10)
			return -1;
		value = 10 * value + (*text - '0');
	}
	*length = value;
	return 0;
}

int pail_set_header(struct pail_request *r, const char *name, const char *value)
{
	if (r->head_sent)
		return -1;
	if ((name[0] | 0x20) == 'c' && strlen(name) == 14 &&
	    strcasecmp(name, "Content-Length") == 0)
		return r->body_length ? -1 : parse_length(value, &r->declared_length);
	size_t length = response_field(r->fields + r->fields_length,
				       sizeof(r->fields) - r->fields_length, name, value);
	if (length == 0)
		return -1;
	r->fields_length += (uint32_t)length;
	return 0;
}

int pail_set_status(struct pail_request *r, int status)
{
	if (r->head_sent || status < 200 || status > 599)
		return -1;
	r->status = status;
	return 0;
}

void *pail_alloc(struct pail_request *r, size_t n)
{
	return malloc_in_bucket(r, n, (uintptr_t)__builtin_return_address(0));
}

size_t pail_bucket_size(const struct pail_request *r)
{
	return r->bucket->arena.size_bytes;
}

size_t pail_bucket_used(const struct pail_request *r)
{
	return r->bucket->arena.top_bytes;
}

void *pail_bucket_data(const struct pail_request *r)
{
	return r->bucket->data;
}

void pail_defer(struct pail_request *r, void (*fn)(void *), void *arg)
{
	struct request_defer *node;

	if (r->defer_count < REQUEST_DEFERS_MAX) {
		r->defer[r->defer_count++] = (struct request_defer){.fn = fn, .arg = arg};
		return;
	}
	node = malloc_in_bucket(r, sizeof(*node), (uintptr_t)__builtin_return_address(0));
	*node = (struct request_defer){.fn = fn, .arg = arg, .next = r->defer_more};
	r->defer_more = node;
	r->defer_more_count++;
}

void pail_explain(struct pail_request *r, const char *text)
{
	if (!r) {
		snprintf(handler_message, sizeof(handler_message), "%s", text);
		return;
	}
	snprintf(r->detail, sizeof(r->detail), "%s", text);
	r->explained = true;
}

void pail_outside_begin(void)
{
	malloc_outside(1);
}

void pail_outside_end(void)
{
	malloc_outside(-1);
}

int handler_send_file(struct pail_request *r, int fd, off_t offset, uint64_t length)
{
	streams_forget(r, fd);
	if (r->head_sent) {
		close(fd);
		return -1;
	}
	if (r->send_fd >= 0)
		close(r->send_fd);
	r->send_fd = fd;
	r->send_offset = offset;
	r->send_length = length;
	r->out_length = 0;
	r->body_length = 0;
	return 0;
}
