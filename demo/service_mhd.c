/* SPDX-License-Identifier: MIT */
/*
 * The demo service as it would be run today: libmicrohttpd, a thread per
 * connection (the handlers wait for their database), glibc's malloc.
 *
 *	service PORT TABLE
 *
 * Port 0 takes a free one. Prints "listening on 127.0.0.1:PORT" when it
 * serves; ends on SIGINT or SIGTERM.
 */
#include "demo/service.h"

#include <arpa/inet.h>
#include <microhttpd.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BODY_BYTES_MAX = 16 << 20, IDLE_SECONDS = 60 };

/* One request on its way in. */
struct exchange {
	char *uri; /* as sent, query included */
	char *body;
	size_t body_bytes, body_room;
	bool started, too_big;
};

static void *exchange_begin(void *closure, const char *uri, struct MHD_Connection *connection)
{
	(void)closure, (void)connection;
	struct exchange *x = calloc(1, sizeof *x);
	if (x != NULL)
		x->uri = strdup(uri);
	return x;
}

static void exchange_end(void *closure, struct MHD_Connection *connection, void **context,
			 enum MHD_RequestTerminationCode code)
{
	(void)closure, (void)connection, (void)code;
	struct exchange *x = *context;
	if (x == NULL)
		return;
	free(x->uri);
	free(x->body);
	free(x);
	*context = NULL;
}

static void exchange_add(struct exchange *x, const char *bytes, size_t length)
{
	if (x->too_big || length > BODY_BYTES_MAX - x->body_bytes) {
		x->too_big = true;
		return;
	}
	if (x->body_bytes + length > x->body_room) {
		size_t room = x->body_room ? x->body_room * 2 : 4096;
		while (room < x->body_bytes + length)
			room *= 2;
		char *grown = realloc(x->body, room);
		if (grown == NULL) {
			x->too_big = true;
			return;
		}
		x->body = grown;
		x->body_room = room;
	}
	memcpy(x->body + x->body_bytes, bytes, length);
	x->body_bytes += length;
}

static enum MHD_Result send_reply(struct MHD_Connection *connection,
				  const struct service_reply *reply)
{
	static char sorry[] = "{\"error\":\"out of memory\"}";
	struct MHD_Response *response;
	if (reply->body != NULL)
		response = MHD_create_response_from_buffer(reply->body_bytes, reply->body,
							   MHD_RESPMEM_MUST_FREE);
	else
		response = MHD_create_response_from_buffer(sizeof sorry - 1, sorry,
							   MHD_RESPMEM_PERSISTENT);
	if (response == NULL) {
		free(reply->body);
		return MHD_NO;
	}
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE,
				reply->body ? reply->type : "application/json");
	enum MHD_Result result =
		MHD_queue_response(connection, (unsigned)reply->status, response);
	MHD_destroy_response(response);
	return result;
}

/* libmicrohttpd calls this once with the head, then with each piece of the
 * body, and once more at its end. */
static enum MHD_Result serve(void *closure, struct MHD_Connection *connection, const char *url,
			     const char *method, const char *version, const char *upload,
			     size_t *upload_bytes, void **context)
{
	(void)closure, (void)version;
	struct exchange *x = *context;
	if (x == NULL || x->uri == NULL)
		return MHD_NO;
	if (!x->started) {
		x->started = true;
		return MHD_YES;
	}
	if (*upload_bytes > 0) {
		exchange_add(x, upload, *upload_bytes);
		*upload_bytes = 0;
		return MHD_YES;
	}
	struct service_reply reply = {.status = 413, .type = "application/json"};
	const char *query = strchr(x->uri, '?');
	struct service_request request = {
		.method = method,
		.path = url,
		.query = query ? query + 1 : "",
		.body = x->body ? x->body : "",
		.body_bytes = x->body_bytes,
	};
	if (!x->too_big)
		service_handle(&request, &reply);
	return send_reply(connection, &reply);
}

int main(int argc, char **argv)
{
	char *end = NULL;
	unsigned long port = argc == 3 ? strtoul(argv[1], &end, 10) : 0;
	if (argc != 3 || *argv[1] == '\0' || *end != '\0' || port > 65535) {
		fputs("usage: service PORT TABLE\n", stderr);
		return 2;
	}
	if (service_start(argv[2]) == -1)
		return 3;
	sigset_t ends;
	sigemptyset(&ends);
	sigaddset(&ends, SIGINT);
	sigaddset(&ends, SIGTERM);
	sigprocmask(SIG_BLOCK, &ends, NULL);

	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t)port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	struct MHD_Daemon *daemon = MHD_start_daemon(
		MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL |
			MHD_USE_ERROR_LOG,
		0, NULL, NULL, serve, NULL, MHD_OPTION_SOCK_ADDR, (struct sockaddr *)&address,
		MHD_OPTION_URI_LOG_CALLBACK, exchange_begin, NULL, MHD_OPTION_NOTIFY_COMPLETED,
		exchange_end, NULL, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_SECONDS,
		MHD_OPTION_CONNECTION_LIMIT, 1000u, MHD_OPTION_END);
	if (daemon == NULL) {
		fprintf(stderr, "service: cannot listen on 127.0.0.1:%lu\n", port);
		return 3;
	}
	const union MHD_DaemonInfo *info =
		MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_BIND_PORT);
	printf("listening on 127.0.0.1:%u\n", (unsigned)info->port);
	fflush(stdout);
	int which;
	sigwait(&ends, &which);
	MHD_stop_daemon(daemon);
	return 0;
}
