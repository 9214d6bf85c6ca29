/* SPDX-License-Identifier: MIT */
/*
 * A plug-in that calls what the server gives to handlers, each by a path and a
 * function of its own: what pail stackbound says of one is held against the stack
 * that the server has measured.
 */
#include <dirent.h>
#include <fcntl.h>
#include <pail/handler.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define USE(name) __attribute__((noinline)) int use_##name(struct pail_request *r)

USE(nothing)
{
	(void)r;
	return 200;
}

USE(write)
{
	pail_write(r, "some", 4);
	return 200;
}

USE(stream)
{
	static char piece[3000];
	for (int i = 0; i < 40; i++)
		pail_write(r, piece, sizeof(piece));
	return 200;
}

USE(headers)
{
	pail_set_header(r, "x-one", pail_header(r, "host"));
	pail_set_status(r, 202);
	return pail_path(r) == pail_query(r) || pail_bucket_used(r) == 1 ? 500 : 202;
}

USE(body)
{
	const void *bytes;
	return pail_body(r, &bytes) == 0 ? 200 : 201;
}

USE(body_read)
{
	char bytes[100];
	while (pail_body_read(r, bytes, sizeof(bytes)) > 0)
		;
	return 200;
}

static void nothing_more(void *arg)
{
	(void)arg;
}

USE(defer)
{
	for (int i = 0; i < 100; i++)
		pail_defer(r, nothing_more, NULL);
	return pail_alloc(r, 100) ? 200 : 201;
}

USE(malloc)
{
	void *block[200];
	for (int i = 0; i < 200; i++)
		block[i] = malloc((size_t)(i * 37 % 1000));
	for (int i = 0; i < 200; i += 2)
		block[i] = realloc(block[i], (size_t)i * 11 + 1);
	for (int i = 0; i < 200; i++)
		free(block[i]);
	return calloc(7, 9) && aligned_alloc(256, 1024) ? 200 : 201;
}

USE(eat)
{
	(void)r;
	while (malloc(1000))
		;
	return 200;
}

USE(strings)
{
	char *copy = strdup(pail_path(r)), *more = strndup(copy, 2);
	char *path = realpath("/usr/../usr/bin", NULL), *here = getcwd(NULL, 0);
	return copy && more && path && here ? 200 : 201;
}

USE(print)
{
	char *text;
	int length = asprintf(&text, "%s %d %.3f %.900f", pail_path(r), 7, 1e300, 1.0 / 3);
	pail_write(r, text, (size_t)length);
	return 200;
}

USE(sleep)
{
	(void)r;
	usleep(1000);
	return nanosleep(&(struct timespec){0, 1000000}, NULL) == 0 ? 200 : 201;
}

USE(pipe)
{
	int ends[2], pair[2];
	char byte = 1;

	(void)r;
	if (pipe(ends) < 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
		return 500;
	struct pollfd wanted = {ends[0], POLLIN, 0};
	fd_set set;
	FD_ZERO(&set);
	FD_SET(pair[0], &set);
	poll(&wanted, 1, 2); /* both wait: nothing comes */
	select(pair[0] + 1, &set, NULL, NULL, &(struct timeval){0, 2000});
	if (write(ends[1], &byte, 1) != 1 || read(ends[0], &byte, 1) != 1 ||
	    send(pair[1], &byte, 1, 0) != 1 || recv(pair[0], &byte, 1, 0) != 1)
		return 500;
	return close(ends[0]) + close(ends[1]) + close(pair[0]) + close(pair[1]) ? 500 : 200;
}

USE(files)
{
	char line[100], *longer = NULL;
	size_t room = 0;
	FILE *file = fopen("/etc/passwd", "r");
	DIR *folder = opendir("/");
	int fd = open("/dev/null", O_RDONLY);

	(void)r;
	if (!file || !folder || fd < 0 || !fgets(line, sizeof(line), file) ||
	    getline(&longer, &room, file) < 0 || !readdir(folder))
		return 500;
	return fclose(file) + closedir(folder) + close(fd) ? 500 : 200;
}

USE(locks)
{
	static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
	static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;

	(void)r;
	pthread_mutex_lock(&mutex);
	pthread_rwlock_wrlock(&rwlock);
	pthread_rwlock_unlock(&rwlock);
	pthread_mutex_unlock(&mutex);
	return 200;
}

static void *deep(void *arg)
{
	volatile char room[300000];
	(void)arg;
	return (void *)(size_t)(room[0] = 1);
}

USE(big_stack)
{
	int err = 0;
	pail_on_big_stack(r, deep, NULL, &err);
	return err ? 503 : 200;
}

static const struct {
	const char *path;
	int (*use)(struct pail_request *);
} uses[] = {
#define ROW(name)                     \
	{                             \
		"/" #name, use_##name \
	}
	ROW(nothing), ROW(write),  ROW(stream), ROW(headers),   ROW(body),  ROW(body_read),
	ROW(defer),   ROW(malloc), ROW(eat),    ROW(strings),   ROW(print), ROW(sleep),
	ROW(pipe),    ROW(files),  ROW(locks),  ROW(big_stack),
};

int pail_handle(struct pail_request *r)
{
	for (size_t i = 0; i < sizeof(uses) / sizeof(*uses); i++)
		if (strcmp(pail_path(r), uses[i].path) == 0)
			return uses[i].use(r);
	return 404;
}
