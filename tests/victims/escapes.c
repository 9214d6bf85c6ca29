/* SPDX-License-Identifier: MIT */
/*
 * A server whose requests leave things behind, each in its own way:
 *
 *	/clean  nothing		/keep  a block, for ever
 *	/next   a block that the next /next frees
 *	/warm   a block, but only the first time
 *	/deep   nothing, but goes 30,000 bytes down its stack
 *
 *	victim_escapes PORT
 */
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define APART  __attribute__((noinline, noclone))
#define USE(p) __asm__ volatile("" : : "r"(p) : "memory")

static void *next_block, *warm_block;

APART static void *make_buffer(size_t bytes)
{
	char *p = malloc(bytes);

	USE(p);
	return p;
}

APART static void leave_for_ever(void)
{
	void *p = make_buffer(1001);

	USE(p);
}

APART static void leave_for_next(void)
{
	free(next_block);
	next_block = make_buffer(2002);
	USE(next_block);
}

APART static void fill_cache(void)
{
	if (!warm_block)
		warm_block = make_buffer(3003);
	USE(warm_block);
}

APART static void go_deep(int depth)
{
	char room[1000];

	USE(room);
	if (depth > 1)
		go_deep(depth - 1);
	USE(room);
}

APART static void handle(const char *path)
{
	void *scratch = make_buffer(500);

	if (strncmp(path, "/keep", 5) == 0)
		leave_for_ever();
	else if (strncmp(path, "/next", 5) == 0)
		leave_for_next();
	else if (strncmp(path, "/warm", 5) == 0)
		fill_cache();
	else if (strncmp(path, "/deep", 5) == 0)
		go_deep(30);
	free(scratch);
}

static void serve(int connection)
{
	static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
	char head[1024];
	ssize_t got;

	while ((got = read(connection, head, sizeof(head) - 1)) > 0) {
		head[got] = 0;
		if (strncmp(head, "GET ", 4) != 0)
			break;
		handle(head + 4);
		if (write(connection, answer, sizeof(answer) - 1) < 0)
			break;
	}
	close(connection);
}

int main(int argc, char **argv)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int listener = socket(AF_INET, SOCK_STREAM, 0), yes = 1;

	if (argc < 2)
		return 2;
	address.sin_port = htons((unsigned short)strtol(argv[1], NULL, 10));
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
	if (bind(listener, (struct sockaddr *)&address, sizeof(address)) != 0 ||
	    listen(listener, 16) != 0)
		return 3;
	for (;;) {
		int connection = accept(listener, NULL, NULL);
		if (connection >= 0)
			serve(connection);
	}
}
