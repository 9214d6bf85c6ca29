/* SPDX-License-Identifier: MIT */
/*
 * Each call of libc that may wait, as a handler uses it. A path is a case; the
 * answer is "fine", or what was not as it should be.
 */
#include <pail/handler.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define SAY(...) return say(r, __VA_ARGS__)
#define MUST(condition)                                                             \
	do {                                                                        \
		if (!(condition))                                                   \
			SAY("line %d: %s (errno %d)", __LINE__, #condition, errno); \
	} while (0)

static int say(struct pail_request *r, const char *format, ...)
{
	char text[256];
	va_list args;

	va_start(args, format);
	int length = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	pail_write(r, text, (size_t)length);
	return 200;
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static int number(struct pail_request *r)
{
	return atoi(pail_query(r));
}

/* The peer of whoever waits: another request of the same thread. What it is
 * given lies here between the two. */
static int shared[2] = {-1, -1};

static int make_pair(struct pail_request *r)
{
	pail_outside_begin();
	int failed = strcmp(pail_query(r), "pipe") == 0
			     ? pipe(shared)
			     : socketpair(AF_UNIX, SOCK_STREAM, 0, shared);
	pail_outside_end();
	MUST(failed == 0);
	SAY("fine");
}

static int drop_pair(struct pail_request *r)
{
	for (int i = 0; i < 2; i++)
		if (shared[i] >= 0)
			close(shared[i]);
	shared[0] = shared[1] = -1;
	SAY("fine");
}

/* Each reads one message: it must be whole. */
static int wait_read(struct pail_request *r, const char *how)
{
	char text[8] = "";
	struct iovec pieces[2] = {{text, 2}, {text + 2, 3}};
	struct msghdr message = {.msg_iov = pieces, .msg_iovlen = 2};
	struct pollfd one = {.fd = shared[0], .events = POLLIN};
	struct epoll_event event = {.events = EPOLLIN};
	fd_set set;

	if (strcmp(how, "poll") == 0) {
		MUST(poll(&one, 1, -1) == 1 && one.revents & POLLIN);
	} else if (strcmp(how, "ppoll") == 0) {
		MUST(ppoll(&one, 1, NULL, NULL) == 1);
	} else if (strcmp(how, "select") == 0) {
		FD_ZERO(&set);
		FD_SET(shared[0], &set);
		MUST(select(shared[0] + 1, &set, NULL, NULL, NULL) == 1 &&
		     FD_ISSET(shared[0], &set));
	} else if (strcmp(how, "epoll") == 0) {
		int fd = epoll_create1(0);
		MUST(fd >= 0 && epoll_ctl(fd, EPOLL_CTL_ADD, shared[0], &event) == 0);
		MUST(epoll_wait(fd, &event, 1, -1) == 1 && event.events & EPOLLIN);
		close(fd);
	}
	ssize_t got = strcmp(how, "recv") == 0 ? recv(shared[0], text, 5, MSG_WAITALL)
		      : strcmp(how, "recvfrom") == 0
			      ? recvfrom(shared[0], text, 5, 0, NULL, NULL)
		      : strcmp(how, "recvmsg") == 0 ? recvmsg(shared[0], &message, 0)
		      : strcmp(how, "readv") == 0   ? readv(shared[0], pieces, 2)
						    : read(shared[0], text, 5);
	MUST(got == 5 && strcmp(text, "hello") == 0);
	MUST(!(fcntl(shared[0], F_GETFL) & O_NONBLOCK));
	SAY("fine");
}

/* More than the buffers hold, all of it by one call. */
static int wait_write(struct pail_request *r, const char *how)
{
	size_t length = 300000;
	char *bytes = malloc(length);
	struct iovec pieces[3] = {
		{bytes, 1000}, {bytes + 1000, 0}, {bytes + 1000, length - 1000}};
	struct msghdr message = {.msg_iov = pieces, .msg_iovlen = 3};

	for (size_t i = 0; i < length; i++)
		bytes[i] = (char)(i % 251);
	ssize_t sent = strcmp(how, "send") == 0 ? send(shared[1], bytes, length, 0)
		       : strcmp(how, "sendto") == 0
			       ? sendto(shared[1], bytes, length, 0, NULL, 0)
		       : strcmp(how, "sendmsg") == 0 ? sendmsg(shared[1], &message, 0)
		       : strcmp(how, "writev") == 0  ? writev(shared[1], pieces, 3)
						     : write(shared[1], bytes, length);
	MUST(sent == (ssize_t)length);
	SAY("fine");
}

static int take_all(struct pail_request *r)
{
	unsigned char bytes[3000];

	for (size_t at = 0; at < 300000;) {
		ssize_t got = read(shared[0], bytes, sizeof(bytes));
		MUST(got > 0);
		for (ssize_t i = 0; i < got; i++, at++)
			MUST(bytes[i] == at % 251);
	}
	SAY("fine");
}

static int timeouts(struct pail_request *r)
{
	struct timeval limit = {0, 50000};
	struct pollfd one = {.events = POLLIN};
	char text[8];
	int ends[2], wide = 0;
	socklen_t length = sizeof(wide);

	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
	MUST(setsockopt(ends[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) == 0);
	MUST(setsockopt(ends[0], SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) == 0);
	double begin = now();
	MUST(recv(ends[0], text, 8, 0) == -1 && errno == EAGAIN);
	MUST(now() - begin >= 0.049);
	/* What went before the time was over counts. */
	size_t big = 4 << 20;
	pail_outside_begin();
	char *bytes = malloc(big);
	pail_outside_end();
	MUST(bytes);
	ssize_t sent = send(ends[0], bytes, big, 0);
	free(bytes);
	MUST(sent > 0 && sent < (ssize_t)big);
	MUST(send(ends[0], text, 8, 0) == -1 && errno == EAGAIN);
	/* Non-blocking is the handler's own affair. */
	MUST(fcntl(ends[1], F_SETFL, O_NONBLOCK) == 0);
	while (recv(ends[1], text, 8, 0) > 0)
		;
	MUST(errno == EAGAIN);
	MUST(recv(ends[0], text, 8, MSG_DONTWAIT) == -1 && errno == EAGAIN);
	begin = now();
	one.fd = ends[0];
	MUST(poll(&one, 1, 30) == 0 && now() - begin >= 0.029);
	/* Buffers are the plan's, whatever is wished. */
	wide = 1 << 24;
	MUST(setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &wide, sizeof(wide)) == 0);
	MUST(getsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &wide, &length) == 0);
	MUST(wide <= 64 << 10);
	/* Copies of a descriptor share what it is. */
	int copy = dup(ends[0]);
	MUST(copy >= 0 && recv(copy, text, 8, 0) == -1 && errno == EAGAIN);
	close(copy);
	close(ends[0]);
	close(ends[1]);
	SAY("fine");
}

static int other_kinds(struct pail_request *r)
{
	char text[64] = "", path[] = "/tmp/pail-aio-XXXXXX";
	uint64_t count = 5;
	struct stat about;
	int ends[2];

	int file = mkstemp(path);
	MUST(file >= 0);
	unlink(path);
	MUST(write(file, "abcdef", 6) == 6 && lseek(file, 2, SEEK_SET) == 2);
	MUST(read(file, text, sizeof(text)) == 4 && strcmp(text, "cdef") == 0);
	MUST(read(file, text, 8) == 0 && fstat(file, &about) == 0 && about.st_size == 6);
	close(file);
	int event = eventfd(0, 0);
	MUST(write(event, &count, 8) == 8 && read(event, &count, 8) == 8 && count == 5);
	close(event);
	MUST(pipe(ends) == 0 && write(ends[1], "xy", 2) == 2);
	MUST(read(ends[0], text, 64) == 2);
	close(ends[1]);
	MUST(read(ends[0], text, 64) == 0);
	close(ends[0]);
	errno = 0;
	MUST(read(ends[0], text, 8) == -1 && errno == EBADF);
	MUST(poll(NULL, 0, 1) == 0);
	SAY("fine");
}

static int listener(struct sockaddr_in *address)
{
	socklen_t length = sizeof(*address);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	*address = (struct sockaddr_in){.sin_family = AF_INET,
					.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	if (fd < 0 || bind(fd, (struct sockaddr *)address, length) < 0 || listen(fd, 4) < 0 ||
	    getsockname(fd, (struct sockaddr *)address, &length) < 0)
		return -1;
	return fd;
}

static int waiting_port;

/* accept() waits; /dial of another request is who comes. */
static int accepts(struct pail_request *r)
{
	struct sockaddr_in address;
	char text[8] = "";
	int fd = listener(&address);

	MUST(fd >= 0);
	waiting_port = ntohs(address.sin_port);
	int peer = accept(fd, NULL, NULL);
	MUST(peer >= 0 && read(peer, text, 5) == 5 && strcmp(text, "hello") == 0);
	MUST(write(peer, "world", 5) == 5);
	close(peer);
	close(fd);
	SAY("fine");
}

static int dial(struct pail_request *r)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_port = htons((uint16_t)waiting_port),
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	char text[8] = "";
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (waiting_port == 0)
		SAY("nobody");
	MUST(fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
	MUST(!(fcntl(fd, F_GETFL) & O_NONBLOCK));
	MUST(write(fd, "hello", 5) == 5 && recv(fd, text, 5, 0) == 5);
	MUST(strcmp(text, "world") == 0);
	close(fd);
	waiting_port = 0;
	SAY("fine");
}

/* A port where nobody listens, and one whose line is full and stays so. */
static int refused(struct pail_request *r)
{
	struct sockaddr_in address;
	struct timeval limit = {0, 200000};
	int fd = listener(&address), dialled[12];

	MUST(fd >= 0);
	close(fd);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	MUST(connect(fd, (struct sockaddr *)&address, sizeof(address)) == -1 &&
	     errno == ECONNREFUSED);
	close(fd);
	fd = listener(&address);
	MUST(fd >= 0 && listen(fd, 0) == 0);
	int last = 0;
	for (int i = 0; i < 12; i++) {
		dialled[i] = socket(AF_INET, SOCK_STREAM, 0);
		MUST(dialled[i] >= 0);
		setsockopt(dialled[i], SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
		if (connect(dialled[i], (struct sockaddr *)&address, sizeof(address)) < 0) {
			last = errno;
			break;
		}
	}
	MUST(last == EINPROGRESS);
	SAY("fine"); /* what is open is closed for it, or not: see /count */
}

/* Opens `n` sockets and keeps them for a while. */
static int hold(struct pail_request *r)
{
	int fd[64], count = number(r), open = 0;

	for (; open < count && open < 64; open++) {
		fd[open] = socket(AF_INET, SOCK_STREAM, 0);
		if (fd[open] < 0)
			break;
	}
	int error = open < count ? errno : 0;
	usleep(300000);
	for (int i = 0; i < open; i++)
		close(fd[i]);
	SAY("%d %d", open, error);
}

/* Waits for ever, with a socket and an epoll of its own. */
static int stuck(struct pail_request *r)
{
	int ends[2], fd = epoll_create1(0);
	struct epoll_event event = {.events = EPOLLIN};
	char text[8];

	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
	MUST(epoll_ctl(fd, EPOLL_CTL_ADD, ends[0], &event) == 0);
	struct pollfd both[2] = {{.fd = fd, .events = POLLIN},
				 {.fd = ends[0], .events = POLLIN}};
	if (number(r) == 1)
		poll(both, 2, -1);
	else if (number(r) == 2)
		epoll_wait(fd, &event, 1, -1);
	recv(ends[0], text, 8, 0);
	SAY("woken");
}

static int names(struct pail_request *r)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
	char text[INET6_ADDRSTRLEN];

	int error = getaddrinfo(pail_query(r), "80", &hints, &found);
	if (error)
		SAY("%s", gai_strerror(error));
	for (struct addrinfo *i = found; i; i = i->ai_next) {
		const void *address =
			i->ai_family == AF_INET
				? (void *)&((struct sockaddr_in *)i->ai_addr)->sin_addr
				: (void *)&((struct sockaddr_in6 *)i->ai_addr)->sin6_addr;
		say(r, "%s ", inet_ntop(i->ai_family, address, text, sizeof(text)));
	}
	freeaddrinfo(found);
	return 200;
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

/* With the mutex held across a wait: two of these are one after the other. */
static int locked(struct pail_request *r)
{
	static int inside;
	struct pollfd one = {.fd = shared[0], .events = POLLIN};

	pthread_mutex_lock(&mutex);
	int seen = inside++;
	poll(&one, 1, 50);
	inside--;
	pthread_mutex_unlock(&mutex);
	MUST(seen == 0);
	SAY("fine");
}

int pail_handle(struct pail_request *r)
{
	const char *path = pail_path(r);

	if (strncmp(path, "/read/", 6) == 0)
		return wait_read(r, path + 6);
	if (strncmp(path, "/write/", 7) == 0)
		return wait_write(r, path + 7);
	static const struct {
		const char *path;
		int (*run)(struct pail_request *r);
	} cases[] = {{"/pair", make_pair},    {"/drop", drop_pair},    {"/take", take_all},
		     {"/timeouts", timeouts}, {"/kinds", other_kinds}, {"/accept", accepts},
		     {"/dial", dial},         {"/refused", refused},   {"/hold", hold},
		     {"/stuck", stuck},       {"/names", names},       {"/locked", locked}};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		if (strcmp(path, cases[i].path) == 0)
			return cases[i].run(r);
	if (strcmp(path, "/hello") == 0) {
		MUST(write(shared[1], "hello", 5) == 5);
		SAY("fine");
	}
	return 404;
}
