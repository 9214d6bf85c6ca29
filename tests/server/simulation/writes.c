/* SPDX-License-Identifier: MIT */
#include "tests/server/simulation/writes.h"

#include "tests/server/simulation/world.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { TURNS = 200, PIPELINED = 16 };

struct exchange {
	const char *name, *request;
	int times; /* that it is sent, in one piece */
	int answers, writes;
};

static const struct exchange exchanges[] = {
	{"a response of the handler", "GET /x?1 HTTP/1.1\r\nHost: a\r\n\r\n", 1, 1, 1},
	{"one to HEAD", "HEAD /x?1 HTTP/1.1\r\nHost: a\r\n\r\n", 1, 1, 1},
	{"one behind a body", "POST /b?1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabcde",
	 1, 1, 1},
	{"one behind a body that no one reads",
	 "POST /x?1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabcde", 1, 1, 1},
	{"one of a request that failed", "GET /j?1 HTTP/1.1\r\nHost: a\r\n\r\n", 1, 1, 1},
	{"the core's own", "GET / HTTP/1.1\r\n\r\n", 1, 1, 1},
	{"those to pipelined requests", "GET /x?1 HTTP/1.1\r\nHost: a\r\n\r\n", PIPELINED,
	 PIPELINED, 1},
	{"one before a head that is not complete",
	 "GET /x?1 HTTP/1.1\r\nHost: a\r\n\r\nGET /x?2 HTTP/1.1\r\nHo", 1, 1, 1},
	{"one before a body that is not complete",
	 "GET /x?1 HTTP/1.1\r\nHost: a\r\n\r\n"
	 "POST /b?1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabc",
	 1, 1, 1},
};

static int answers_in(const char *bytes, size_t length)
{
	static const char begin[] = "HTTP/1.1 ";
	int count = 0;

	for (size_t i = 0; i + sizeof(begin) <= length; i++)
		count += memcmp(bytes + i, begin, sizeof(begin) - 1) == 0 &&
			 bytes[i + sizeof(begin) - 1] >= '1' &&
			 bytes[i + sizeof(begin) - 1] <= '5';
	return count;
}

static void exchange_check(const struct exchange *exchange, void (*turn)(void))
{
	char sent[1200], got[WORLD_OUT_BYTES];
	size_t length = 0, piece = strlen(exchange->request);
	int i = world_connect();

	if (i < 0)
		world_fail("no connection is to be had");
	for (int t = 0; t < TURNS; t++)
		turn();
	for (int k = 0; k < exchange->times; k++, length += piece)
		memcpy(sent + length, exchange->request, piece);
	if (world_client_send(i, sent, length) != length)
		world_fail("%s: the socket has no room for it", exchange->name);
	for (int t = 0; t < TURNS; t++)
		turn();
	uint64_t writes = world.socket[i].writes;
	length = world_client_recv(i, got, sizeof(got));
	int answers = answers_in(got, length);
	if (answers != exchange->answers || writes != (uint64_t)exchange->writes)
		world_fail("%s: %d answers in %llu writes, and not %d in %d", exchange->name,
			   answers, (unsigned long long)writes, exchange->answers,
			   exchange->writes);
	world_client_leave(i);
	for (int t = 0; t < TURNS && world.socket[i].used; t++)
		turn();
	if (world.socket[i].used)
		world_fail("%s: its connection stays", exchange->name);
}

void writes_check(void (*turn)(void))
{
	world.faults = false;
	world.whole = true;
	for (size_t k = 0; k < sizeof(exchanges) / sizeof(exchanges[0]); k++)
		exchange_check(&exchanges[k], turn);
	world.faults = true;
	world.whole = false;
}
