/* SPDX-License-Identifier: MIT */
/* A plug-in for conversations: echoes, streams, headers, statuses. */
#include <pail/handler.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static long number(struct pail_request *r, const char *name, long otherwise)
{
	const char *at = strstr(pail_query(r), name);
	return at && at[strlen(name)] == '=' ? strtol(at + strlen(name) + 1, NULL, 10)
					     : otherwise;
}

static int stream(struct pail_request *r, long bytes, long piece)
{
	char *block = malloc((size_t)piece);

	for (long i = 0; i < piece; i++)
		block[i] = (char)('a' + i % 26);
	for (long sent = 0; sent < bytes; sent += piece) {
		long n = bytes - sent < piece ? bytes - sent : piece;
		if (pail_write(r, block, (size_t)n) < 0)
			return 500;
	}
	return 200;
}

static int echo(struct pail_request *r)
{
	const void *bytes, *again;
	size_t length = pail_body(r, &bytes);

	if (pail_body(r, &again) != length || again != bytes)
		return 500;
	pail_write(r, bytes, length);
	return 200;
}

static int echo_in_pieces(struct pail_request *r)
{
	char piece[700];
	ssize_t got;

	while ((got = pail_body_read(r, piece, (size_t)number(r, "piece", sizeof(piece)))) > 0)
		if (pail_write(r, piece, (size_t)got) < 0)
			return 500;
	return got < 0 ? 400 : 200;
}

static int headers(struct pail_request *r)
{
	const char *name, *value;

	for (size_t i = 0; pail_header_at(r, i, &name, &value); i++) {
		pail_write(r, name, strlen(name));
		pail_write(r, "=", 1);
		pail_write(r, value, strlen(value));
		pail_write(r, "\n", 1);
	}
	return 200;
}

static double now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static void spin(long ms)
{
	double end_ms = now_ms() + (double)ms;

	while (now_ms() < end_ms)
		;
}

int pail_handle(struct pail_request *r)
{
	const char *path = pail_path(r);
	char text[200];

	if (strcmp(path, "/echo") == 0)
		return echo(r);
	if (strcmp(path, "/echo-pieces") == 0)
		return echo_in_pieces(r);
	if (strcmp(path, "/headers") == 0)
		return headers(r);
	if (strcmp(path, "/stream") == 0)
		return stream(r, number(r, "bytes", 100000), number(r, "piece", 1000));
	if (strcmp(path, "/stream-length") == 0) {
		snprintf(text, sizeof(text), "%ld", number(r, "bytes", 100000));
		if (pail_set_header(r, "Content-Length", text) < 0)
			return 500;
		return stream(r, number(r, "give", 100000), 1000);
	}
	if (strcmp(path, "/refused-headers") == 0) {
		int refused = pail_set_header(r, "Connection", "close") < 0;
		refused += pail_set_header(r, "Transfer-Encoding", "chunked") < 0;
		refused += pail_set_header(r, "X-Split", "a\r\nX-Evil: 1") < 0;
		refused += pail_set_header(r, "bad name", "x") < 0;
		refused += pail_set_header(r, "X-Good", "yes") == 0;
		snprintf(text, sizeof(text), "%d\n", refused);
	} else if (strcmp(path, "/status") == 0) {
		return (int)number(r, "is", 204);
	} else if (strcmp(path, "/status-twice") == 0) {
		/* Written while the status had no body: then nothing of it is sent. */
		pail_set_status(r, 204);
		pail_write(r, "lost", 4);
		pail_set_status(r, 200);
		return 200;
	} else if (strcmp(path, "/sleep") == 0) {
		usleep((useconds_t)number(r, "ms", 100) * 1000);
		snprintf(text, sizeof(text), "slept\n");
	} else if (strcmp(path, "/spin") == 0) { /* for so long nobody else has its turn */
		spin(number(r, "ms", 100));
		snprintf(text, sizeof(text), "spun\n");
	} else if (strcmp(path, "/ignore-body") == 0) {
		snprintf(text, sizeof(text), "ignored\n");
	} else {
		snprintf(text, sizeof(text), "%s %s?%s\n", pail_method(r), path, pail_query(r));
	}
	pail_write(r, text, strlen(text));
	return 200;
}
