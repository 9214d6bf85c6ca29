/* SPDX-License-Identifier: MIT */
/*
 * libmicrohttpd, as strict as it can be set: answers every request by what it
 * was. Prints its port; ends when its standard input does.
 */
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct seen {
	char *target;
	int begun;
	unsigned char body[65536];
	size_t length;
};

static void *begin(void *closure, const char *uri, struct MHD_Connection *connection)
{
	struct seen *seen = calloc(1, sizeof(*seen));

	(void)closure, (void)connection;
	if (seen)
		seen->target = strdup(uri);
	return seen;
}

static void end(void *closure, struct MHD_Connection *connection, void **state,
		enum MHD_RequestTerminationCode why)
{
	struct seen *seen = *state;

	(void)closure, (void)connection, (void)why;
	if (seen)
		free(seen->target);
	free(seen);
	*state = NULL;
}

static enum MHD_Result handle(void *closure, struct MHD_Connection *connection, const char *url,
			      const char *method, const char *version, const char *upload,
			      size_t *upload_size, void **state)
{
	struct seen *seen = *state;
	struct MHD_Response *response;
	enum MHD_Result result;
	char *text;
	size_t at;

	(void)closure, (void)url, (void)version;
	if (!seen)
		return MHD_NO;
	if (!seen->begun) {
		seen->begun = 1;
		return MHD_YES;
	}
	if (*upload_size) {
		if (*upload_size > sizeof(seen->body) - seen->length)
			return MHD_NO;
		memcpy(seen->body + seen->length, upload, *upload_size);
		seen->length += *upload_size;
		*upload_size = 0;
		return MHD_YES;
	}
	at = strlen(method) + strlen(seen->target) + 3 + 2 * seen->length;
	text = malloc(at);
	if (!text)
		return MHD_NO;
	at = (size_t)snprintf(text, at, "%s %s ", method, seen->target);
	for (size_t i = 0; i < seen->length; i++)
		at += (size_t)snprintf(text + at, 3, "%02x", seen->body[i]);
	response = MHD_create_response_from_buffer(at, text, MHD_RESPMEM_MUST_FREE);
	result = MHD_queue_response(connection, 200, response);
	MHD_destroy_response(response);
	return result;
}

int main(void)
{
	struct MHD_Daemon *daemon =
		MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD, 0, NULL, NULL, handle, NULL,
				 MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_URI_LOG_CALLBACK,
				 begin, NULL, MHD_OPTION_NOTIFY_COMPLETED, end, NULL,
				 MHD_OPTION_CONNECTION_TIMEOUT, 5u, MHD_OPTION_END);
	char byte;

	if (!daemon)
		return 1;
	printf("%u\n", MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_BIND_PORT)->port);
	fflush(stdout);
	while (read(0, &byte, 1) > 0)
		;
	MHD_stop_daemon(daemon);
	return 0;
}
