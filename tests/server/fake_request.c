/* SPDX-License-Identifier: MIT */
#include "tests/server/fake_request.h"

#include "server/http/response.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

_Thread_local char handler_message[256];

static struct pail_request *running;

void fake_run(struct pail_request *r, const struct handler *handler)
{
	buf_init(&r->head);
	buf_init(&r->content);
	running = r;
	r->status = handler->handle(r);
	while (r->defers) {
		r->defers--;
		r->defer[r->defers].fn(r->defer[r->defers].arg);
	}
	running = NULL;
	assert(r->outside == 0);
}

void fake_release(struct pail_request *r)
{
	buf_release(&r->head);
	buf_release(&r->content);
}

const char *fake_field(struct pail_request *r, const char *name)
{
	static char value[1024];
	size_t length = strlen(name);

	for (const char *line = buf_text(&r->head); *line; line = strchr(line, '\n') + 1) {
		if (strncasecmp(line, name, length) || line[length] != ':')
			continue;
		size_t bytes = strcspn(line + length + 2, "\r\n");
		assert(bytes < sizeof(value));
		memcpy(value, line + length + 2, bytes);
		value[bytes] = '\0';
		return value;
	}
	return NULL;
}

const char *pail_method(const struct pail_request *r)
{
	return r->method ? r->method : "GET";
}

const char *pail_path(const struct pail_request *r)
{
	return r->path;
}

const char *pail_query(const struct pail_request *r)
{
	return r->query ? r->query : "";
}

int pail_header_at(const struct pail_request *r, size_t i, const char **name,
		   const char **value)
{
	if (i >= FAKE_FIELDS_MAX || !r->field[i].name)
		return 0;
	*name = r->field[i].name;
	*value = r->field[i].value;
	return 1;
}

const char *pail_header(const struct pail_request *r, const char *name)
{
	const char *field, *value;

	for (size_t i = 0; pail_header_at(r, i, &field, &value); i++)
		if (strcasecmp(field, name) == 0)
			return value;
	return NULL;
}

size_t pail_body(struct pail_request *r, const void **bytes)
{
	*bytes = r->body;
	return r->body ? strlen(r->body) : 0;
}

/* By the real response_field(), so that what a handler sets is what can be sent. */
int pail_set_header(struct pail_request *r, const char *name, const char *value)
{
	char line[8192];
	size_t length = response_field(line, sizeof(line), name, value);

	buf_append(&r->head, line, length);
	return length ? 0 : -1;
}

int pail_write(struct pail_request *r, const void *buf, size_t n)
{
	buf_append(&r->content, buf, n);
	return 0;
}

void pail_defer(struct pail_request *r, void (*fn)(void *), void *arg)
{
	assert(r->defers < FAKE_DEFERS_MAX);
	r->defer[r->defers].fn = fn;
	r->defer[r->defers++].arg = arg;
}

void pail_outside_begin(void)
{
	running->outside++;
}

void pail_outside_end(void)
{
	running->outside--;
}

int handler_send_file(struct pail_request *r, int fd, off_t offset, uint64_t length)
{
	char *bytes = malloc(length ? length : 1);

	assert(bytes && pread(fd, bytes, length, offset) == (ssize_t)length);
	buf_clear(&r->content);
	buf_append(&r->content, bytes, length);
	r->sent_file = true;
	free(bytes);
	close(fd);
	return 0;
}
