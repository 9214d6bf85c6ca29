/* SPDX-License-Identifier: MIT */
#include "tests/server/simulation/client.h"

#include "tests/server/simulation/world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CLIENTS = 40, SEND_BYTES = 12000, LINE_BYTES = 4096, ASKED_MAX = 64, HEAD_BYTES = 64 };

enum reading { HEAD, LENGTH, CHUNK_SIZE, CHUNK, CHUNK_END, TRAILER, UNTIL_CLOSE };

struct client {
	int socket; /* -1: has none */
	bool last;  /* the response said that it is the last one */
	char out[SEND_BYTES];
	size_t out_at, out_bytes;
	uint32_t asked, answered;
	char kind[ASKED_MAX]; /* of the requests asked */
	enum reading reading;
	char line[LINE_BYTES];
	size_t line_bytes;
	int status;
	uint64_t left;
	char body[HEAD_BYTES]; /* its beginning */
	size_t body_bytes;
};

static struct client clients[CLIENTS];
struct client_counts client_counts;

void clients_init(void)
{
	memset(clients, 0, sizeof(clients));
	memset(&client_counts, 0, sizeof(client_counts));
	for (int i = 0; i < CLIENTS; i++)
		clients[i].socket = -1;
}

bool clients_gone(void)
{
	for (int i = 0; i < CLIENTS; i++)
		if (clients[i].socket >= 0)
			return false;
	return true;
}

/* -- what it asks ------------------------------------------------------------------ */

static void say(struct client *c, const char *text, size_t length)
{
	if (c->out_bytes + length > sizeof(c->out))
		world_fail("a client says too much");
	memcpy(c->out + c->out_bytes, text, length);
	c->out_bytes += length;
}

static void say_body(struct client *c, bool chunked)
{
	static const char filler[3000];
	char text[64];
	size_t length = world_draw(sizeof(filler));

	if (!chunked) {
		int n = snprintf(text, sizeof(text), "Content-Length: %zu\r\n\r\n", length);
		say(c, text, (size_t)n);
		say(c, filler, length);
		return;
	}
	say(c, "Transfer-Encoding: chunked\r\n\r\n", 30);
	while (length > 0) {
		size_t piece = 1 + world_draw(length);
		int n = snprintf(text, sizeof(text), "%zx\r\n", piece);
		say(c, text, (size_t)n);
		say(c, filler, piece);
		say(c, "\r\n", 2);
		length -= piece;
	}
	say(c, "0\r\n\r\n", 5);
}

static void ask(struct client *c)
{
	/* o ok, w waits, b and p read the body, i ignores it, l long, e out of bucket,
	 * s faults, j fails, d defers, m holds a mutex, n gives no status */
	static const char kinds[] = "oooowwwbbpillesjdmn";
	char text[160];
	char kind = kinds[world_draw(sizeof(kinds) - 1)];
	bool body = kind == 'b' || kind == 'p' || kind == 'i';

	if (c->asked == ASKED_MAX || c->out_bytes > sizeof(c->out) - 5000 ||
	    (c->asked - c->answered >= 3 && !world_chance(10)))
		return;
	if (world_chance(60)) { /* what no server answers but with a 4xx, and closes */
		say(c, "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 37);
		c->kind[c->asked++] = '?';
		return;
	}
	int n = snprintf(text, sizeof(text), "%s /%c?%u HTTP/1.1\r\nHost: sim\r\n%s",
			 body ? "POST" : "GET", kind, c->asked,
			 world_chance(12) ? "Connection: close\r\n" : "");
	say(c, text, (size_t)n);
	if (body)
		say_body(c, world_chance(2));
	else
		say(c, "\r\n", 2);
	c->kind[c->asked++] = kind;
	client_counts.requests++;
}

/* -- what it gets -------------------------------------------------------------------- */

/* Whole: is it the one that is due? */
static void answered(struct client *c)
{
	unsigned id;

	if (c->answered == c->asked)
		world_fail("a response to no request: %d", c->status);
	char kind = c->kind[c->answered];
	if (c->status == 200) {
		if (kind == '?' || sscanf(c->body, "%u\n", &id) != 1 || id != c->answered)
			world_fail("response %u is '%.20s', of kind %c", c->answered, c->body,
				   kind);
		if (strchr("esjn", kind))
			world_fail("a request of kind %c succeeded", kind);
	} else if (c->status == 500 && !strchr("esjndlwmobpi", kind)) {
		world_fail("a request of kind %c failed", kind);
	} else if (c->status != 500 && c->status != 503 && c->status != 504 &&
		   c->status != 408 && !(c->status == 400 && kind == '?') &&
		   !(c->status == 413 && kind != 'o')) {
		world_fail("status %d for a request of kind %c", c->status, kind);
	}
	client_counts.answers++;
	client_counts.by_class[c->status / 100]++;
	c->answered++;
	c->reading = HEAD;
	c->line_bytes = 0;
}

static void head(struct client *c)
{
	const char *length, *text = c->line;

	c->line[c->line_bytes] = 0;
	if (strncmp(text, "HTTP/1.1 ", 9) != 0 ||
	    (c->status = (int)strtol(text + 9, NULL, 10)) < 200 || c->status > 599)
		world_fail("no response: '%.60s'", text);
	if (c->last)
		world_fail("a response behind the last one");
	c->last = strcasestr(text, "\r\nConnection: close\r\n") != NULL;
	c->body_bytes = 0;
	memset(c->body, 0, sizeof(c->body));
	length = strcasestr(text, "\r\nContent-Length: ");
	c->line_bytes = 0;
	if (length) {
		c->left = strtoull(length + 18, NULL, 10);
		c->reading = LENGTH;
		if (c->left == 0)
			answered(c);
	} else if (strcasestr(text, "\r\nTransfer-Encoding: chunked\r\n")) {
		c->reading = CHUNK_SIZE;
	} else {
		c->reading = UNTIL_CLOSE;
	}
}

static void content(struct client *c, char byte)
{
	if (c->body_bytes < sizeof(c->body) - 1)
		c->body[c->body_bytes++] = byte;
}

static bool line_ends(struct client *c, char byte, const char *mark, size_t length)
{
	if (c->line_bytes == sizeof(c->line) - 1)
		world_fail("a line without an end");
	c->line[c->line_bytes++] = byte;
	return c->line_bytes >= length &&
	       memcmp(c->line + c->line_bytes - length, mark, length) == 0;
}

static void take(struct client *c, char byte)
{
	switch (c->reading) {
	case HEAD:
		if (line_ends(c, byte, "\r\n\r\n", 4))
			head(c);
		break;
	case LENGTH:
		content(c, byte);
		if (--c->left == 0)
			answered(c);
		break;
	case CHUNK_SIZE:
		if (!line_ends(c, byte, "\r\n", 2))
			break;
		c->line[c->line_bytes] = 0;
		c->left = strtoull(c->line, NULL, 16);
		c->line_bytes = 0;
		c->reading = c->left ? CHUNK : TRAILER;
		break;
	case CHUNK:
		content(c, byte);
		if (--c->left == 0)
			c->reading = CHUNK_END;
		break;
	case CHUNK_END:
		if (line_ends(c, byte, "\r\n", 2)) {
			c->line_bytes = 0;
			c->reading = CHUNK_SIZE;
		}
		break;
	case TRAILER:
		if (line_ends(c, byte, "\r\n", 2))
			answered(c);
		break;
	case UNTIL_CLOSE: content(c, byte); break;
	}
}

static void receive(struct client *c)
{
	char bytes[2048];
	size_t most = world_chance(3) ? sizeof(bytes) : 1 + world_draw(300);
	size_t got = world_client_recv(c->socket, bytes, most);
	const struct world_socket *s = &world.socket[c->socket];

	for (size_t i = 0; i < got; i++)
		take(c, bytes[i]);
	if (s->out_bytes > 0 || (!s->closed && !s->shut))
		return;
	/* The server's end is shut. */
	if (c->reading == UNTIL_CLOSE)
		answered(c);
	client_counts.cut += c->answered < c->asked;
	world_client_leave(c->socket);
	c->socket = -1;
}

/* -- what it does ------------------------------------------------------------------- */

static void connect_one(struct client *c)
{
	int socket = world_connect();

	if (socket < 0)
		return;
	memset(c, 0, offsetof(struct client, out));
	c->out_at = c->out_bytes = c->line_bytes = 0;
	c->asked = c->answered = 0;
	c->reading = HEAD;
	c->socket = socket;
	client_counts.connections++;
}

static void send_some(struct client *c)
{
	size_t left = c->out_bytes - c->out_at;

	if (left == 0 || world.socket[c->socket].fin)
		return;
	size_t length = world_chance(3) ? 1 + world_draw(left) : left;
	c->out_at += world_client_send(c->socket, c->out + c->out_at, length);
	if (c->out_at == c->out_bytes)
		c->out_at = c->out_bytes = 0;
}

void clients_step(bool quiet)
{
	struct client *c = &clients[world_draw(CLIENTS)];

	if (c->socket < 0) {
		if (!quiet && world_chance(4))
			connect_one(c);
		return;
	}
	switch (world_draw(quiet ? 6 : 12)) {
	case 0:
	case 1:
	case 2: receive(c); return;
	case 3:
	case 4:
	case 5: send_some(c); return;
	case 6:
		if (world_chance(40))
			world_client_fin(c->socket);
		return;
	case 7:
		if (world_chance(60)) {
			world_client_reset(c->socket);
			world_client_leave(c->socket);
			c->socket = -1;
		}
		return;
	default: ask(c); return;
	}
}
