/* SPDX-License-Identifier: MIT */
/*
 * models MODEL PORT: a small HTTP server in one of the ways that servers are
 * built. Request /how/K allocates six blocks of 7,000,000 + 16 K bytes, where
 * it is read, handled and answered, so that each tells whose it is; /burn/K also
 * uses 2 ms of its thread's CPU time, 4, 6 or 8, by K % 4.
 *
 *	thread		a thread per connection
 *	fork		a process per connection
 *	epoll		one loop that reads, handles and answers in one turn
 *	deferred	one loop that reads in one turn and does the rest in another
 *	writes		a loop reads, workers handle and answer
 *	frees		a loop reads, workers free what it allocated and handle, the
 *			loop answers
 *	silent		a loop reads, workers handle, the loop answers; a worker does
 *			nothing else that shows for whom it works
 *	marked		a loop that interleaves the handling of all that it has read, and
 *			says by pail/mark.h for whom it works
 *	followed	the same, naming the connection and not the request
 */
#include <pail/mark.h>

#include <netinet/in.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

enum { TAG = 7000000, WORKERS = 4 };

struct job {
	int fd;
	unsigned long k;
	bool burns;
	void *block; /* what was allocated while reading */
	struct job *next;
};

struct queue {
	pthread_mutex_t mutex;
	pthread_cond_t filled;
	struct job *first, **last;
};

static struct queue work = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, NULL,
			    &work.first};
static struct queue done = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, NULL,
			    &done.first};
static const char *model;
static int wake, idle; /* workers that wait, and have been seen to */

static bool is(const char *name)
{
	return strcmp(model, name) == 0;
}

static void push(struct queue *q, struct job *job)
{
	job->next = NULL;
	pthread_mutex_lock(&q->mutex);
	*q->last = job;
	q->last = &job->next;
	if (q == &work)
		pthread_cond_signal(&q->filled);
	pthread_mutex_unlock(&q->mutex);
}

static struct job *pop(struct queue *q, bool wait)
{
	pthread_mutex_lock(&q->mutex);
	while (wait && !q->first) {
		idle++;
		pthread_cond_wait(&q->filled, &q->mutex);
		idle--;
	}
	struct job *job = q->first;
	if (job && !(q->first = job->next))
		q->last = &q->first;
	pthread_mutex_unlock(&q->mutex);
	return job;
}

static void *block(unsigned long k)
{
	return malloc(TAG + 16 * k);
}

/* A job that was read, or false at the end. Jobs are reused, and allocated when
 * nobody is served. */
static struct job jobs[1024];

static bool take(int fd, struct job *job)
{
	char text[2048];
	ssize_t got = read(fd, text, sizeof(text) - 1);
	if (got <= 0)
		return false;
	text[got] = '\0';
	const char *k = strchr(text, '/');
	k = k ? strchr(k + 1, '/') : NULL;
	job->fd = fd;
	job->burns = strstr(text, "/burn/") != NULL;
	job->k = k ? strtoul(k + 1, NULL, 10) : 0;
	job->block = block(job->k);
	return true;
}

static long cpu_us(void)
{
	struct timespec now;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* One of `parts` of what the request is to use. */
static void burn(const struct job *job, long parts)
{
	long end = cpu_us() + (1 + (long)(job->k % 4)) * 2000 / parts;
	while (job->burns && cpu_us() < end)
		;
}

static void handle(struct job *job)
{
	void *more[3];
	if (is("frees")) {
		free(job->block);
		job->block = NULL;
	}
	for (int i = 0; i < 3; i++)
		more[i] = block(job->k);
	for (volatile int spin = 0; spin < 20000; spin++)
		;
	burn(job, 1);
	for (int i = 0; i < 3; i++)
		free(more[i]);
}

static void answer(struct job *job)
{
	char text[128], body[32];
	/* With the answer sent, the job may be another's. */
	void *p = block(job->k), *first = job->block;
	int length = snprintf(body, sizeof(body), "ok %lu", job->k);
	int all = snprintf(text, sizeof(text),
			   "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", length, body);
	free(block(job->k));
	if (write(job->fd, text, (size_t)all) != all)
		abort();
	free(p);
	free(first);
}

static void *worker(void *unused)
{
	(void)unused;
	for (;;) {
		struct job *job = pop(&work, true);
		handle(job);
		if (is("writes")) {
			answer(job);
			continue;
		}
		push(&done, job);
		uint64_t one = 1;
		(void)!write(wake, &one, sizeof(one));
	}
	return NULL;
}

/* What takes work from a queue is known when it has waited there. */
static void start_workers(void)
{
	pthread_t thread;
	int waiting = 0;
	for (int i = 0; i < WORKERS; i++)
		pthread_create(&thread, NULL, worker, NULL);
	while (waiting < WORKERS) {
		usleep(1000);
		pthread_mutex_lock(&work.mutex);
		waiting = idle;
		pthread_mutex_unlock(&work.mutex);
	}
}

static void *serve_one(void *fd)
{
	struct job job = {0};
	while (take((int)(intptr_t)fd, &job)) {
		handle(&job);
		answer(&job);
	}
	close((int)(intptr_t)fd);
	return NULL;
}

static void watch(int epfd, int fd)
{
	struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
	epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &event);
}

/* What a scheduler of coroutines says before it resumes one, and after. */
static void resume(const struct job *job)
{
	if (is("marked"))
		PAIL_MARK_BEGIN(1 + job->k, job->fd, "GET marked");
	else
		PAIL_MARK_BEGIN(0, job->fd, NULL);
}

static void suspend(void)
{
	PAIL_MARK_BEGIN(0, -1, NULL);
}

/* All of them a step at a time. */
static void interleave(struct job **all, size_t count)
{
	static void *more[3][1024];
	for (int step = 0; step < 3; step++)
		for (size_t i = 0; i < count; i++) {
			resume(all[i]);
			more[step][i] = block(all[i]->k);
			burn(all[i], 3);
			suspend();
		}
	for (size_t i = 0; i < count; i++) {
		unsigned long k = all[i]->k;
		resume(all[i]);
		for (int step = 0; step < 3; step++)
			free(more[step][i]);
		answer(all[i]);
		if (is("marked"))
			PAIL_MARK_END(1 + k);
		else
			suspend();
	}
}

static void ready(int fd)
{
	static struct job *deferred[1024];
	static size_t count;
	struct job *job = &jobs[fd];
	if (fd == wake) {
		uint64_t n;
		(void)!read(wake, &n, sizeof(n));
		while ((job = pop(&done, false)))
			answer(job);
		if (is("marked") || is("followed"))
			interleave(deferred, count);
		for (size_t i = 0; is("deferred") && i < count; i++) {
			handle(deferred[i]);
			answer(deferred[i]);
		}
		count = 0;
		return;
	}
	if (!take(fd, job)) {
		close(fd);
	} else if (is("epoll")) {
		handle(job);
		answer(job);
	} else if (is("deferred") || is("marked") || is("followed")) {
		uint64_t one = 1;
		deferred[count++] = job;
		(void)!write(wake, &one, sizeof(one));
	} else {
		push(&work, job);
	}
}

int main(int argc, char **argv)
{
	int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1, epfd = epoll_create1(0);
	pthread_t thread;
	if (argc != 3)
		return 2;
	model = argv[1];
	struct sockaddr_in at = {.sin_family = AF_INET,
				 .sin_port = htons((uint16_t)atoi(argv[2])),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	signal(SIGCHLD, SIG_IGN);
	wake = eventfd(0, 0);
	if (is("writes") || is("frees") || is("silent"))
		start_workers();
	if (bind(listener, (struct sockaddr *)&at, sizeof(at)) != 0 ||
	    listen(listener, 64) != 0)
		return 1;
	if (is("thread") || is("fork")) {
		for (;;) {
			int fd = accept(listener, NULL, NULL);
			if (is("thread")) {
				pthread_create(&thread, NULL, serve_one, (void *)(intptr_t)fd);
				pthread_detach(thread);
			} else if (fork() == 0) {
				serve_one((void *)(intptr_t)fd);
				_exit(0);
			} else {
				close(fd);
			}
		}
	}
	watch(epfd, listener);
	watch(epfd, wake);
	for (;;) {
		struct epoll_event events[64];
		int count = epoll_wait(epfd, events, 64, -1);
		for (int i = 0; i < count; i++)
			if (events[i].data.fd == listener)
				watch(epfd, accept(listener, NULL, NULL));
			else
				ready(events[i].data.fd);
	}
}
