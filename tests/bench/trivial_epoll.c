/* SPDX-License-Identifier: MIT */
/*
 * trivial_epoll PORT: what a server can't do without. One thread, one epoll,
 * edge-triggered; it counts the ends of heads ("\r\n\r\n") in what it reads and
 * writes as many copies of one constant answer, in one write. It parses nothing,
 * checks nothing and bounds nothing: the mark that bench_http.py measures servers
 * against, in requests per second of the server's own CPU time.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 256, FDS = 65536, BATCH = 64 };

/* As many bytes as pail's answer of builtin:send-static-file. */
static const char answer[] =
	"HTTP/1.1 200 OK\r\nDate: Sun, 22 Nov 2026 00:00:00 GMT\r\nContent-Length: 120\r\n"
	"Content-Type: text/html; charset=utf-8\r\n\r\n"
	"<!doctype html>\n<html lang=\"en\">\n<title>pail</title>\n"
	"<p>A bucket for each request, and none is ever larger.</p>\n</html>\n";
static char batch[BATCH * sizeof(answer)];
static unsigned char matched[FDS]; /* of "\r\n\r\n", by descriptor */

static void serve(int fd)
{
	static char in[65536];
	ssize_t got;

	while ((got = recv(fd, in, sizeof(in), 0)) > 0) {
		size_t heads = 0;
		for (ssize_t i = 0; i < got; i++) {
			unsigned char m = matched[fd];
			m = in[i] == "\r\n\r\n"[m] ? (unsigned char)(m + 1) : in[i] == '\r';
			heads += m == 4;
			matched[fd] = m & 3;
		}
		while (heads > 0) {
			size_t now = heads < BATCH ? heads : BATCH;
			if (send(fd, batch, now * (sizeof(answer) - 1), MSG_NOSIGNAL) < 0)
				break;
			heads -= now;
		}
		if ((size_t)got < sizeof(in))
			return;
	}
	if (got == 0 || errno != EAGAIN)
		close(fd);
}

int main(int argc, char **argv)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct epoll_event event = {.events = EPOLLIN}, events[EVENTS];
	int on = 1;

	if (argc != 2)
		return fprintf(stderr, "trivial_epoll PORT\n"), 2;
	address.sin_port = htons((unsigned short)strtol(argv[1], NULL, 10));
	for (int i = 0; i < BATCH; i++)
		memcpy(batch + (size_t)i * (sizeof(answer) - 1), answer, sizeof(answer) - 1);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0),
	    epoll = epoll_create1(0);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (bind(listener, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(listener, 1024) < 0)
		return perror("trivial_epoll"), 3;
	event.data.fd = listener;
	epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
	for (;;) {
		int count = epoll_wait(epoll, events, EVENTS, -1);
		for (int i = 0; i < count; i++) {
			if (events[i].data.fd != listener) {
				serve(events[i].data.fd);
				continue;
			}
			int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
			if (fd < 0 || fd >= FDS)
				continue;
			matched[fd] = 0;
			struct epoll_event more = {.events = EPOLLIN | EPOLLET, .data.fd = fd};
			epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &more);
		}
	}
}
