/* SPDX-License-Identifier: MIT */
#include "cli/top/top_sample.h"

#include "base/buf.h"

#include <errno.h>
#include <jansson.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { TIMEOUT_MS = 5000, ANSWER_MAX = 16 << 20 };

/* -- asking ---------------------------------------------------------------------- */

static int address_split(const char *address, char host[256], char port[16], struct err *err)
{
	const char *at = strncmp(address, "http://", 7) == 0 ? address + 7 : address;
	size_t length = strcspn(at, "/"), colon = length;
	while (colon > 0 && at[colon - 1] != ':')
		colon--;
	if (colon < 2 || colon == length || length - colon > 5 || colon > 255 ||
	    strstr(at, "://"))
		return err_usage(err, "'%s' is neither a file nor an address HOST:PORT",
				 address);
	bool bracketed = at[0] == '[' && at[colon - 2] == ']';
	snprintf(host, 256, "%.*s", (int)(colon - 1 - 2 * bracketed), at + bracketed);
	snprintf(port, 16, "%.*s", (int)(length - colon), at + colon);
	return 0;
}

static int connect_to(const char *address, struct err *err)
{
	char host[256], port[16];
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list;
	const struct timeval patience = {.tv_sec = TIMEOUT_MS / 1000};
	if (address_split(address, host, port, err) != 0)
		return -1;
	int failed = getaddrinfo(host, port, &hints, &list);
	if (failed)
		return err_set(err, "cannot find '%s': %s", address, gai_strerror(failed));
	int fd = -1;
	for (const struct addrinfo *a = list; a && fd < 0; a = a->ai_next) {
		fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
		if (fd < 0)
			continue;
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
		if (connect(fd, a->ai_addr, a->ai_addrlen) != 0) {
			int error = errno;
			close(fd);
			fd = -1;
			errno = error;
		}
	}
	int error = errno;
	freeaddrinfo(list);
	errno = error;
	return fd < 0 ? err_errno(err, "cannot reach '%s'", address) : fd;
}

/* The whole answer to one request of HTTP/1.0, head and all. */
static int ask(const char *address, struct buf *answer, struct err *err)
{
	static const char request[] = "GET /stats HTTP/1.0\r\nHost: pail\r\n\r\n";
	char bytes[65536];
	int fd = connect_to(address, err), result = 0;
	if (fd < 0)
		return -1;
	if (send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL) != sizeof(request) - 1)
		result = err_errno(err, "cannot ask '%s'", address);
	while (result == 0) {
		ssize_t got = recv(fd, bytes, sizeof(bytes), 0);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			result = err_errno(err, "no answer from '%s'", address);
		if (got <= 0)
			break;
		buf_append(answer, bytes, (size_t)got);
		if (answer->length > ANSWER_MAX)
			result = err_set(err, "'%s' does not stop answering", address);
	}
	close(fd);
	if (result == 0 && answer->failed)
		return err_set(err, "out of memory");
	return result;
}

/* -- reading ------------------------------------------------------------------------- */

static uint64_t number(const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);
	double real = json_number_value(value);
	if (json_is_integer(value))
		return json_integer_value(value) > 0 ? (uint64_t)json_integer_value(value) : 0;
	return real > 0 && real < 1.8e19 ? (uint64_t)real : 0;
}

/* The upper edge of the bin with the q-quantile; `most` in the last, open one. */
static uint64_t quantile(const json_t *edges, const json_t *bins, double q, uint64_t most)
{
	uint64_t all = 0, seen = 0;
	for (size_t i = 0; i < json_array_size(bins); i++)
		all += (uint64_t)json_integer_value(json_array_get(bins, i));
	for (size_t i = 0; i < json_array_size(bins) && i < json_array_size(edges); i++) {
		seen += (uint64_t)json_integer_value(json_array_get(bins, i));
		if (all > 0 && (double)seen >= q * (double)all) {
			uint64_t edge = (uint64_t)json_integer_value(json_array_get(edges, i));
			return most > 0 && edge > most ? most : edge;
		}
	}
	return most;
}

static void read_class(const json_t *from, struct top_class *class)
{
	top_name(class->name, json_string_value(json_object_get(from, "name")));
	class->size_bytes = number(from, "size_bytes");
	class->need_max = number(from, "need_peak_bytes");
	class->count = (uint32_t)number(from, "count");
	class->in_use = (uint32_t)number(from, "in_use");
	class->in_use_peak = (uint32_t)number(from, "in_use_peak");
	class->waiting = (uint32_t)number(from, "waiting");
	class->queue = (uint32_t)number(from, "queue");
}

static void read_route(const json_t *root, const json_t *from, struct top_route *route)
{
	const char *cause;
	json_t *count;
	top_name(route->name, json_string_value(json_object_get(from, "route")));
	route->requests = number(from, "requests");
	route->need_max = number(from, "need_peak_bytes");
	const json_t *edges = json_object_get(root, "need_edges_bytes");
	const json_t *bins = json_object_get(from, "need_bytes_bins");
	if (route->need_max > 0) {
		route->need_p50 = quantile(edges, bins, 0.5, route->need_max);
		route->need_p99 = quantile(edges, bins, 0.99, route->need_max);
	}
	route->service_p50_ns = quantile(json_object_get(root, "time_edges_ns"),
					 json_object_get(from, "service_ns_bins"), 0.5, 0);
	/* The others are 400s, or answers that were cut short. */
	json_object_foreach(json_object_get(from, "causes"), cause, count)
	{
		uint64_t n = (uint64_t)json_integer_value(count);
		if (strncmp(cause, "busy", 4) == 0)
			route->rejected_503 += n;
		else if (strcmp(cause, "oversize") == 0)
			route->rejected_500 += n;
	}
}

static int read_routes(const json_t *root, struct top_sample *s, struct err *err)
{
	const json_t *list = json_object_get(root, "routes");
	s->route = calloc(json_array_size(list) + 1, sizeof(*s->route));
	if (!s->route)
		return err_set(err, "out of memory");
	for (size_t i = 0; i < json_array_size(list); i++)
		read_route(root, json_array_get(list, i), &s->route[s->route_count++]);
	return 0;
}

static int read_stats(const json_t *root, struct top_sample *s, struct err *err)
{
	const json_t *memory = json_object_get(root, "memory");
	const json_t *requests = json_object_get(root, "requests");
	const json_t *connections = json_object_get(root, "connections");
	const json_t *classes = json_object_get(root, "classes");
	s->server = true;
	char state[TOP_NAME_MAX];
	top_name(state, json_string_value(json_object_get(root, "state")));
	snprintf(s->state, sizeof(s->state), "%.60s", state);
	s->up_seconds =
		((double)number(root, "time_unix_ns") - (double)number(root, "start_unix_ns")) /
		1e9;
	s->requests = number(requests, "started");
	s->rejected_500 = number(requests, "failed");
	s->rejected_503 = number(requests, "rejected");
	s->bound_bytes = number(memory, "bound_bytes");
	s->resident_bytes = number(memory, "resident_bytes");
	s->system_bytes = number(memory, "system_bytes");
	s->system_used_bytes = number(memory, "system_used_bytes");
	s->connections = number(connections, "open");
	s->connections_limit = number(connections, "limit");
	for (size_t i = 0; i < json_array_size(classes) && i < TOP_CLASSES_MAX; i++)
		read_class(json_array_get(classes, i), &s->class[s->class_count++]);
	return read_routes(root, s, err);
}

int top_server_sample(const char *address, struct top_sample *sample, struct err *err)
{
	struct buf answer;
	struct timespec now;
	json_error_t why;
	buf_init(&answer);
	*sample = (struct top_sample){0};
	int result = ask(address, &answer, err);
	clock_gettime(CLOCK_MONOTONIC, &now);
	sample->at_ns = now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
	if (result == 0) {
		const char *body = strstr(buf_text(&answer), "\r\n\r\n");
		json_t *root = body ? json_loads(body + 4, 0, &why) : NULL;
		const char *schema = json_string_value(json_object_get(root, "schema"));
		if (schema && strcmp(schema, "pail.stats/1") == 0)
			result = read_stats(root, sample, err);
		else
			result = err_set(err,
					 "'%s' is not the admin address of a pail server "
					 "([server] admin in its pail.conf)",
					 address);
		json_decref(root);
	}
	buf_release(&answer);
	return result;
}
