/* SPDX-License-Identifier: MIT */
/*
 * Reads and writes of known bytes over socket pairs, one case per argument:
 * what the recorder may see of them is compared by test_shim.py.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <pail/mark.h>

static int pair[2]; /* what is put into [0] by the outside comes out of [1] */

static void must(int good)
{
	if (!good)
		_exit(99);
}

static void put(const char *text)
{
	must(write(pair[0], text, strlen(text)) == (ssize_t)strlen(text));
}

static void get(size_t bytes)
{
	static char buffer[100000];

	must(recv(pair[1], buffer, bytes, 0) > 0);
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";
	static char body[5000];

	memset(body, 'b', sizeof(body));
	must(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
	if (strcmp(mode, "pipelined") == 0) {
		put("POST /one HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nGET /"
		    "GET /two HTTP/1.1\r\nHost: a\r\n\r\n"
		    "GET /three HTTP/1.1\r\nHost: a\r\n\r\n");
		get(4096);
	} else if (strcmp(mode, "body") == 0) {
		/* A body in three reads, then the next head right behind it. */
		put("POST /one HTTP/1.1\r\nContent-Length: 5000\r\n\r\n");
		get(4096);
		must(write(pair[0], body, 4000) == 4000);
		get(4000);
		must(write(pair[0], body, 1000) == 1000);
		put("GET /two HTTP/1.1\r\n\r\n");
		get(4096);
	} else if (strcmp(mode, "responses") == 0) {
		/* A head and its body by writev, then two responses in one write. */
		char head[] = "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n";
		struct iovec iov[2] = {{head, strlen(head)}, {body, sizeof(body)}};
		must(writev(pair[0], iov, 2) == (ssize_t)(strlen(head) + sizeof(body)));
		put("HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 404 Not Found\r\n"
		    "Content-Length: 2\r\n\r\nno");
	} else if (strcmp(mode, "partial") == 0) {
		/* A response that is taken in parts, and its end by another write. */
		static char big[4000000];
		memset(big, 'x', sizeof(big));
		int length = snprintf(big, sizeof(big),
				      "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n",
				      sizeof(big) - 100);
		big[length] = 'x';
		must(fcntl(pair[0], F_SETFL, O_NONBLOCK) == 0);
		ssize_t done = write(pair[0], big, sizeof(big));
		must(done > 0 && done < (ssize_t)sizeof(big));
		must(write(pair[0], big + done, 10) == -1 && errno == EAGAIN);
		printf("done %zd\n", done);
	} else if (strcmp(mode, "many") == 0) {
		/* Two of three messages can be read; of 2000 the kernel takes 1024. */
		static struct mmsghdr lots[2000];
		static char text[] = "firstsecond";
		int datagrams[2], room = 8 << 20;
		struct iovec part[3] = {{text, 5}, {text + 5, 6}, {NULL, 7}}, x = {text, 1};
		struct mmsghdr three[3] = {0};
		must(socketpair(AF_UNIX, SOCK_STREAM, 0, datagrams) == 0);
		must(setsockopt(datagrams[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room)) == 0);
		for (int i = 0; i < 3; i++)
			three[i].msg_hdr =
				(struct msghdr){.msg_iov = &part[i], .msg_iovlen = 1};
		printf("sent %d\n", sendmmsg(datagrams[0], three, 3, MSG_DONTWAIT));
		for (int i = 0; i < 2000; i++)
			lots[i].msg_hdr = (struct msghdr){.msg_iov = &x, .msg_iovlen = 1};
		printf("most %d\n", sendmmsg(datagrams[0], lots, 2000, MSG_DONTWAIT));
	} else if (strcmp(mode, "sendfile") == 0) {
		char path[] = "/tmp/pail-victim-XXXXXX";
		int file = mkstemp(path);
		must(file >= 0 && unlink(path) == 0 && write(file, body, 3000) == 3000);
		put("HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n");
		must(sendfile(pair[0], file, &(off_t){0}, 3000) == 3000);
		put("HTTP/1.1 304 Not Modified\r\nContent-Length: 3000\r\n\r\n");
		put("HTTP/1.1 200 OK\r\n\r\n");
	} else if (strcmp(mode, "files") == 0) {
		/* Neither files nor pipes are told of, also not on a socket's old number. */
		int pipes[2];
		must(pipe(pipes) == 0 && write(pipes[1], "x", 1) == 1);
		must(dup2(pipes[0], pair[1]) == pair[1] && read(pair[1], body, 1) == 1);
		int fd = open("/dev/null", O_RDWR);
		must(fd >= 0 && write(fd, "x", 1) == 1 && close(fd) == 0);
	} else if (strcmp(mode, "descriptors") == 0) {
		int copy = dup(pair[0]), other = fcntl(pair[0], F_DUPFD, 50);
		must(copy >= 0 && other == 50 && write(copy, "copy", 4) == 4);
		must(dup2(pair[1], 60) == 60 && close(copy) == 0);
		must(shutdown(pair[0], SHUT_WR) == 0);
		must(close_range(50, 60, 0) == 0);
	} else if (strcmp(mode, "waits") == 0) {
		struct epoll_event events[8] = {{EPOLLOUT, {.u64 = 0x1111}}};
		int epfd = epoll_create1(0);
		must(epoll_ctl(epfd, EPOLL_CTL_ADD, pair[0], &events[0]) == 0);
		events[0].data.u64 = 0x2222;
		must(epoll_ctl(epfd, EPOLL_CTL_ADD, pair[1], &events[0]) == 0);
		printf("ready %d\n", epoll_wait(epfd, events, 8, 1000));
		must(epoll_wait(epfd, events, 1, 0) == 1);
		struct pollfd fds[2] = {{pair[0], POLLIN, 0}, {pair[1], POLLOUT, 0}};
		must(poll(fds, 2, 250) == 1);
		fd_set set;
		FD_ZERO(&set);
		FD_SET(pair[1], &set);
		must(select(pair[1] + 1, NULL, &set, NULL, NULL) == 1);
	} else if (strcmp(mode, "marks") == 0) {
		must(pail_mark_begin && pail_mark_end);
		PAIL_MARK_BEGIN(42, 7, "GET /x");
		PAIL_MARK_END(42);
		must(access("/@pail/begin/43/fd=9,GET /y", F_OK) == -1 && errno == ENOENT);
		must(access("/@pail/end/43", F_OK) == -1);
		must(access("/", F_OK) == 0);
	} else {
		return 98;
	}
	return 0;
}
