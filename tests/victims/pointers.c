/* SPDX-License-Identifier: MIT */
/*
 * Pointers that lead nowhere, or end at the edge of what is there: says of each
 * call what it gave and errno, which must be the same with and without a
 * preloaded library. Nothing here may end the program. Not here: what libc itself
 * reads, as the timeouts of select, pselect and ppoll.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096, EDGE = 40 };

static char *nowhere; /* nothing is there */
static char *edge;    /* EDGE bytes are there, then nothing */
static int out, in;   /* a pair of sockets */

#define SAY(call)                                                                           \
	do {                                                                                \
		errno = 0;                                                                  \
		long result_ = (long)(call);                                                \
		printf("%s: %ld %s\n", #call, result_, result_ < 0 ? strerror(errno) : ""); \
	} while (0)

static void drain(void)
{
	static char room[1 << 16];

	while (recv(in, room, sizeof(room), MSG_DONTWAIT) > 0)
		;
}

static void fill(const char *text)
{
	drain();
	if (send(out, text, strlen(text), 0) < 0)
		_exit(97);
}

static void write_calls(void)
{
	struct iovec bad[2] = {{edge, EDGE}, {nowhere, 100}}, worse = {nowhere, 100};
	struct msghdr message = {.msg_iov = bad, .msg_iovlen = 2};
	struct msghdr wild = {.msg_iov = (struct iovec *)(void *)nowhere, .msg_iovlen = 1};
	struct msghdr many = {.msg_iov = bad, .msg_iovlen = 5000};

	free(malloc(100000)); /* there is a heap */
	char *last = (char *)sbrk(0) - 8;
	SAY(write(out, last, 8));
	SAY(write(out, last, 8 + 8192));
	SAY(write(out, last + 8192, 8));
	SAY(write(out, nowhere, 100));
	SAY(write(out, NULL, 100));
	SAY(write(out, (void *)-1, 100));
	SAY(write(out, (void *)0x8000000000000000, 100));
	SAY(write(out, edge, EDGE));
	SAY(write(out, edge, EDGE + 100));
	SAY(write(out, edge, SIZE_MAX));
	SAY(send(out, nowhere, 100, 0));
	SAY(sendto(out, nowhere, 100, 0, NULL, 0));
	SAY(writev(out, (struct iovec *)(void *)nowhere, 1));
	SAY(writev(out, (struct iovec *)(void *)(edge + EDGE - 16), 2));
	SAY(writev(out, bad, 2));
	SAY(writev(out, &worse, 1));
	SAY(writev(out, bad, -1));
	SAY(writev(out, bad, 5000));
	SAY(writev(out, NULL, 0));
	SAY(sendmsg(out, (struct msghdr *)(void *)nowhere, 0));
	SAY(sendmsg(out, &message, 0));
	SAY(sendmsg(out, &wild, 0));
	SAY(sendmsg(out, &many, 0));
	drain();
}

static void many_calls(void)
{
	struct iovec good = {edge, EDGE}, worse = {nowhere, 100};
	struct mmsghdr m[3] = {{{.msg_iov = &good, .msg_iovlen = 1}, 0},
			       {{.msg_iov = &worse, .msg_iovlen = 1}, 0},
			       {{.msg_iov = &good, .msg_iovlen = 1}, 0}};

	SAY(sendmmsg(out, (struct mmsghdr *)(void *)nowhere, 3, 0));
	SAY(sendmmsg(out, m, 3, 0));
	SAY(sendmmsg(out, m + 1, 1, 0));
	m[0].msg_hdr.msg_iovlen = 1u << 20;
	SAY(sendmmsg(out, m, 1, 0));
	m[0].msg_hdr.msg_iovlen = 1;
	fill("GET / HTTP/1.1\r\n\r\n");
	SAY(recvmmsg(in, m + 1, 1, MSG_DONTWAIT, NULL));
	fill("GET / HTTP/1.1\r\n\r\n");
	SAY(recvmmsg(in, m, 2, MSG_DONTWAIT, NULL));
	SAY(recvmmsg(in, (struct mmsghdr *)(void *)nowhere, 2, MSG_DONTWAIT, NULL));
	drain();
}

static void read_calls(void)
{
	struct iovec bad[2] = {{edge, EDGE}, {nowhere, 100}};
	struct msghdr message = {.msg_iov = bad, .msg_iovlen = 2};

	fill("GET / HTTP/1.1\r\n\r\n");
	SAY(read(in, nowhere, 100));
	SAY(recv(in, nowhere, 100, MSG_DONTWAIT));
	SAY(recvfrom(in, nowhere, 100, MSG_DONTWAIT, NULL, NULL));
	SAY(readv(in, (struct iovec *)(void *)nowhere, 1));
	SAY(recvmsg(in, (struct msghdr *)(void *)nowhere, MSG_DONTWAIT));
	SAY(recvmsg(in, NULL, MSG_DONTWAIT));
	SAY(recvmsg(in, &message, MSG_DONTWAIT));
	SAY(recv(in, edge, EDGE, MSG_DONTWAIT));
	fill("GET /of-more-than-forty-bytes-so-that-it-does-not-fit HTTP/1.1\r\n\r\n");
	SAY(readv(in, bad, 2));
	fill("GET /of-more-than-forty-bytes-so-that-it-does-not-fit HTTP/1.1\r\n\r\n");
	SAY(read(in, edge, 4096));
	fill("x");
	SAY(recv(in, edge, EDGE, MSG_TRUNC));
	drain();
}

static void wait_calls(void)
{
	int epfd = epoll_create1(0);
	struct timespec *never = (struct timespec *)(void *)nowhere;
	fd_set set;

	FD_ZERO(&set);
	FD_SET(out, &set);
	SAY(poll((struct pollfd *)(void *)nowhere, 2, 0));
	SAY(poll(NULL, 0, 0));
	SAY(select(64, (fd_set *)(void *)nowhere, NULL, NULL, NULL));
	SAY(select(1 << 20, NULL, &set, NULL, &(struct timeval){0, 0}));
	SAY(select(-1, NULL, NULL, NULL, NULL));
	SAY(epoll_ctl(epfd, EPOLL_CTL_ADD, in, (struct epoll_event *)(void *)nowhere));
	SAY(epoll_ctl(epfd, EPOLL_CTL_ADD, out, &(struct epoll_event){EPOLLOUT, {.u64 = 1}}));
	SAY(epoll_wait(epfd, (struct epoll_event *)(void *)nowhere, 8, 0));
	SAY(epoll_pwait2(epfd, NULL, 8, never, NULL));
	SAY(nanosleep(never, NULL));
	SAY(clock_nanosleep(CLOCK_MONOTONIC, 0, never, NULL));
}

static void other_calls(void)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	socklen_t *no_length = (socklen_t *)(void *)nowhere, two = 2;
	char *const *wild = (char *const *)(void *)nowhere;
	char *const words[] = {(char *)"x", NULL}, *const lost[] = {nowhere, NULL};
	int listener = socket(AF_UNIX, SOCK_STREAM, 0), client;

	SAY(bind(listener, (struct sockaddr *)(void *)&name, sizeof(name.sun_family)));
	SAY(listen(listener, 8));
	socklen_t length = sizeof(name);
	getsockname(listener, (struct sockaddr *)(void *)&name, &length);
	for (int i = 0; i < 3; i++) {
		client = socket(AF_UNIX, SOCK_STREAM, 0);
		if (connect(client, (struct sockaddr *)(void *)&name, length) != 0)
			_exit(96);
	}
	SAY(accept(listener, (struct sockaddr *)(void *)&name, no_length));
	SAY(accept(listener, (struct sockaddr *)(void *)(edge + EDGE - 2), &two) >= 0);
	SAY(connect(client, (struct sockaddr *)(void *)nowhere, 16));
	SAY(connect(client, (struct sockaddr *)(void *)(edge + EDGE - 2), 100));
	SAY(connect(client, NULL, 1u << 30));
	SAY(access(nowhere, F_OK));
	SAY(access(strcpy(edge + EDGE - 2, "/"), F_OK));
	SAY(execve(nowhere, words, environ));
	SAY(execve("/bin/true", words, wild));
	SAY(execve("/bin/true", words, lost));
	SAY(execve("/", words, NULL));
}

/* Three pages, the middle one of which has just been sent from. */
static char *sent_from(void)
{
	char *pages = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			   -1, 0);

	if (pages == MAP_FAILED || send(out, pages + PAGE, EDGE, 0) != EDGE)
		_exit(95);
	drain();
	return pages;
}

static void *unmap_first(void *pages)
{
	if (munmap(pages, PAGE) != 0)
		_exit(94);
	return NULL;
}

/* Halves of what is there go at once; then none of it can be sent. */
static void unmapped_at_once(void)
{
	enum { ROUNDS = 200 };
	int refused = 0;

	for (int i = 0; i < ROUNDS; i++) {
		char *pages = sent_from();
		pthread_t thread;
		if (pthread_create(&thread, NULL, unmap_first, pages) != 0)
			_exit(93);
		munmap(pages + PAGE, PAGE);
		pthread_join(thread, NULL);
		refused += send(out, pages, EDGE, 0) < 0 && errno == EFAULT;
		refused += send(out, pages + PAGE, EDGE, 0) < 0 && errno == EFAULT;
		refused += send(out, pages + 2 * PAGE, EDGE, 0) == EDGE;
		munmap(pages + 2 * PAGE, PAGE);
		drain();
	}
	printf("unmapped at once: %d of %d\n", refused, 3 * ROUNDS);
}

/* Memory that could be sent from a moment ago. */
static void mapping_calls(void)
{
	char *pages = sent_from();
	int status;

	munmap(pages + PAGE, PAGE);
	SAY(send(out, pages + PAGE, EDGE, 0));
	SAY(send(out, pages, PAGE, 0));
	SAY(send(out, pages, PAGE + EDGE, 0));
	SAY(send(out, pages + 2 * PAGE, EDGE, 0));
	drain();
	pages = sent_from();
	mprotect(pages + PAGE, PAGE, PROT_NONE);
	SAY(send(out, pages + PAGE, EDGE, 0));
	mprotect(pages + PAGE, PAGE, PROT_READ);
	SAY(send(out, pages + PAGE, EDGE, 0));
	pages = sent_from();
	char *moved =
		mremap(pages, 3 * PAGE, 3 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, sent_from());
	SAY(send(out, pages + PAGE, EDGE, 0));
	SAY(send(out, moved + PAGE, EDGE, 0));
	pages = sent_from();
	if (mmap(pages + PAGE, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
		 0) == MAP_FAILED)
		_exit(92);
	SAY(send(out, pages + PAGE, EDGE, 0));
	pages = sent_from();
	madvise(pages, 3 * PAGE, MADV_DONTFORK);
	SAY(send(out, pages + PAGE, EDGE, 0));
	fflush(stdout);
	pid_t child = fork();
	if (child == 0)
		_exit(send(out, pages + PAGE, EDGE, 0) < 0 && errno == EFAULT ? 0 : 1);
	waitpid(child, &status, 0);
	printf("not in the child: %x\n", (unsigned)status);
	drain();
	unmapped_at_once();
}

static void on_alarm(int signal_number)
{
	(void)signal_number;
}

/* A signal ends a wait, and says so. */
static void interrupted(void)
{
	struct sigaction action = {.sa_handler = on_alarm};
	struct itimerval soon = {{0, 20000}, {0, 20000}}, off = {{0, 0}, {0, 0}};
	char byte;

	drain();
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &soon, NULL);
	SAY(read(in, &byte, 1));
	SAY(recv(in, &byte, 1, 0));
	SAY(poll(&(struct pollfd){in, POLLIN, 0}, 1, -1));
	SAY(select(in + 1, &(fd_set){{1l << in}}, NULL, NULL, NULL));
	SAY(nanosleep(&(struct timespec){100, 0}, NULL));
	setitimer(ITIMER_REAL, &off, NULL);
}

int main(void)
{
	int pair[2];
	char *pages = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			   -1, 0);

	if (pages == MAP_FAILED || socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0 ||
	    munmap(pages + PAGE, 2 * PAGE) != 0)
		return 99;
	nowhere = pages + PAGE;
	edge = nowhere - EDGE;
	memcpy(edge, "HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n", EDGE);
	out = pair[0];
	in = pair[1];
	signal(SIGPIPE, SIG_IGN);
	setvbuf(stdout, NULL, _IONBF, 0);
	write_calls();
	many_calls();
	read_calls();
	mapping_calls();
	wait_calls();
	other_calls();
	interrupted();
	return 0;
}
