/* SPDX-License-Identifier: MIT */
/*
 * mhd_builtin PORT NAME: one of pail's built-in handlers, the same code, on
 * libmicrohttpd: one thread, epoll, malloc of whoever is linked or preloaded.
 * The peer of bench_http.py.
 */
#include "server/content/builtin.h"

#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

_Thread_local char handler_message[256];

/* Not among those that are compared. */
const struct handler builtin_replay = {.name = "replay"};

enum { FIELDS_MAX = 8, BODY_LEAST = 8192 };

struct pail_request {
	const char *method, *path;
	const char *name[FIELDS_MAX], *value[FIELDS_MAX];
	int fields;
	char *body, *sent;
	size_t length, room, sent_length;
};

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
	(void)r;
	return "";
}

const char *pail_header(const struct pail_request *r, const char *name)
{
	(void)r;
	(void)name;
	return NULL;
}

size_t pail_body(struct pail_request *r, const void **bytes)
{
	*bytes = r->sent ? r->sent : "";
	return r->sent_length;
}

int pail_set_header(struct pail_request *r, const char *name, const char *value)
{
	if (r->fields == FIELDS_MAX)
		return -1;
	r->name[r->fields] = name;
	r->value[r->fields++] = value;
	return 0;
}

int pail_write(struct pail_request *r, const void *bytes, size_t length)
{
	if (r->room - r->length < length) {
		size_t room = r->room ? 2 * r->room : BODY_LEAST;
		while (room < r->length + length)
			room *= 2;
		char *body = realloc(r->body, room);
		if (!body)
			return -1;
		r->body = body;
		r->room = room;
	}
	memcpy(r->body + r->length, bytes, length);
	r->length += length;
	return 0;
}

/* Stands for a request that sends no body: nothing to keep from call to call. */
static struct pail_request bodiless;

/* A body comes in pieces, between the head's call and the one to answer. */
static enum MHD_Result take(struct pail_request *r, const char *upload, size_t *upload_length)
{
	char *sent = realloc(r->sent, r->sent_length + *upload_length);

	if (!sent)
		return MHD_NO;
	memcpy(sent + r->sent_length, upload, *upload_length);
	r->sent = sent;
	r->sent_length += *upload_length;
	*upload_length = 0;
	return MHD_YES;
}

static void finished(void *arg, struct MHD_Connection *connection, void **state,
		     enum MHD_RequestTerminationCode code)
{
	struct pail_request *r = *state;

	(void)arg;
	(void)connection;
	(void)code;
	if (r && r != &bodiless) {
		free(r->sent);
		free(r);
	}
}

static enum MHD_Result answer(void *arg, struct MHD_Connection *connection, const char *url,
			      const char *method, const char *version, const char *upload,
			      size_t *upload_length, void **state)
{
	const struct handler *handler = arg;
	struct pail_request plain = {0}, *r = *state;

	(void)version;
	/* The head alone is there: to answer now would cost the client its connection,
	 * for libmicrohttpd closes it then. */
	if (!r) {
		*state = r = strcmp(method, "GET") == 0 ? &bodiless : calloc(1, sizeof(*r));
		return r ? MHD_YES : MHD_NO;
	}
	if (*upload_length)
		return take(r, upload, upload_length);
	if (r == &bodiless)
		r = &plain;
	r->method = method;
	r->path = url;
	int status = handler->handle(r);
	struct MHD_Response *response =
		MHD_create_response_from_buffer(r->length, r->body, MHD_RESPMEM_MUST_FREE);
	for (int i = 0; i < r->fields; i++)
		MHD_add_response_header(response, r->name[i], r->value[i]);
	enum MHD_Result result = MHD_queue_response(connection, (unsigned)status, response);
	MHD_destroy_response(response);
	return result;
}

int main(int argc, char **argv)
{
	const struct handler *handler = NULL;

	for (int i = 0; argc == 3 && builtin_all[i]; i++)
		if (strcmp(builtin_all[i]->name, argv[2]) == 0)
			handler = builtin_all[i];
	if (!handler)
		return fprintf(stderr, "mhd_builtin PORT NAME\n"), 2;
	if (!MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_TURBO,
			      (uint16_t)strtol(argv[1], NULL, 10), NULL, NULL, answer,
			      (void *)handler, MHD_OPTION_CONNECTION_LIMIT, 2000u,
			      MHD_OPTION_NOTIFY_COMPLETED, finished, NULL, MHD_OPTION_END))
		return perror("mhd_builtin"), 3;
	for (;;)
		pause();
}
