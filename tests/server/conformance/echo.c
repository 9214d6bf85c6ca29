/* SPDX-License-Identifier: MIT */
/*
 * The plug-in behind the conformance test: says what of a request reached it,
 * and answers in every way that a response can be framed.
 */
#include <pail/handler.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void say(struct pail_request *r, const char *text)
{
	pail_write(r, text, strlen(text));
}

static int echo(struct pail_request *r)
{
	const void *body;
	size_t length = pail_body(r, &body);

	pail_set_header(r, "X-Method", pail_method(r));
	pail_set_header(r, "X-Path", pail_path(r));
	pail_set_header(r, "X-Query", pail_query(r));
	pail_write(r, body, length);
	return 200;
}

static int fields(struct pail_request *r)
{
	const char *name, *value;

	for (size_t i = 0; pail_header_at(r, i, &name, &value); i++) {
		say(r, name);
		say(r, "=");
		say(r, value);
		say(r, "\n");
	}
	return 200;
}

/* Tries to send what may not be sent; says what was refused. */
static int inject(struct pail_request *r)
{
	static const char *const tried[][2] = {
		{"X-A", "a\r\nX-Injected: 1"}, {"X-A", "a\nX-Injected: 1"},
		{"X-A\r\nX-Injected", "1"},    {"Connection", "close"},
		{"Transfer-Encoding", "gzip"}, {"Date", "now"},
	};

	for (size_t i = 0; i < sizeof(tried) / sizeof(tried[0]); i++)
		say(r, pail_set_header(r, tried[i][0], tried[i][1]) ? "refused\n" : "taken\n");
	return 200;
}

static int stream(struct pail_request *r, long kib)
{
	static char piece[1024];

	memset(piece, 'x', sizeof(piece));
	for (long i = 0; i < kib; i++)
		if (pail_write(r, piece, sizeof(piece)))
			return 200;
	return 200;
}

/* For the differential test: every request is answered by what it was. */
static int describing;

static int describe(struct pail_request *r)
{
	const void *body;
	size_t length = pail_body(r, &body);
	char hex[3];

	say(r, pail_method(r));
	say(r, " ");
	say(r, pail_path(r));
	if (*pail_query(r)) {
		say(r, "?");
		say(r, pail_query(r));
	}
	say(r, " ");
	for (size_t i = 0; i < length; i++) {
		snprintf(hex, sizeof(hex), "%02x", ((const unsigned char *)body)[i]);
		say(r, hex);
	}
	return 200;
}

int pail_start(int argc, char **argv);
int pail_start(int argc, char **argv)
{
	describing = argc == 2 && strcmp(argv[1], "describe") == 0;
	return 0;
}

int pail_handle(struct pail_request *r);
int pail_handle(struct pail_request *r)
{
	const char *path = pail_path(r);

	if (describing)
		return describe(r);
	if (strncmp(path, "/echo", 5) == 0 || strcmp(path, "*") == 0)
		return echo(r);
	if (strcmp(path, "/fields") == 0)
		return fields(r);
	if (strcmp(path, "/query") == 0) {
		say(r, pail_query(r));
		return 200;
	}
	if (strcmp(path, "/inject") == 0)
		return inject(r);
	if (strncmp(path, "/status/", 8) == 0) {
		say(r, "a body\n");
		return (int)strtol(path + 8, NULL, 10);
	}
	if (strncmp(path, "/stream/", 8) == 0)
		return stream(r, strtol(path + 8, NULL, 10));
	if (strncmp(path, "/length/", 8) == 0) {
		char text[32];
		long kib = strtol(path + 8, NULL, 10);

		snprintf(text, sizeof(text), "%ld", kib * 1024);
		pail_set_header(r, "Content-Length", text);
		return stream(r, kib);
	}
	if (strcmp(path, "/hungry") == 0)
		for (;;)
			memset(malloc(4096), 1, 4096);
	say(r, "hello\n");
	return 200;
}
