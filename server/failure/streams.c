/* SPDX-License-Identifier: MIT */
#include "server/failure/streams.h"

#include "server/request/bucket.h"
#include "server/failure/fault.h"
#include "server/connection/loop.h"
#include "server/waiting/sockets.h"

#include <assert.h>
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

static void forget_of(struct pail_request *r, enum stream_kind kind, const void *pointer,
		      int fd)
{
	struct streams *streams = r ? &r->streams : NULL;

	for (uint32_t i = streams ? streams->count : 0; i-- > 0;) {
		struct stream *stream = &streams->open[i];
		if (stream->kind != kind ||
		    (kind == STREAM_DESCRIPTOR ? stream->fd != fd : stream->pointer != pointer))
			continue;
		*stream = streams->open[--streams->count];
		return;
	}
}

void streams_forget(struct pail_request *r, int fd)
{
	forget_of(r, STREAM_DESCRIPTOR, NULL, fd);
}

void streams_note_descriptor(struct pail_request *r, int fd)
{
	if (!r || fd < 0 || r->outside || r->stage >= REQUEST_CLOSE ||
	    r->streams.count == STREAMS_MAX)
		return;
	r->streams.open[r->streams.count++] =
		(struct stream){.kind = STREAM_DESCRIPTOR, .fd = fd};
}

void streams_close(struct pail_request *r)
{
	while (r->streams.count > 0) {
		struct stream stream = r->streams.open[--r->streams.count];
		switch (stream.kind) {
		case STREAM_FILE:
			fault_release_stream(stream.pointer);
			fclose(stream.pointer);
			break;
		case STREAM_FOLDER: closedir(stream.pointer); break;
		case STREAM_DESCRIPTOR: close(stream.fd); break;
		}
	}
}

#ifndef PAIL_MALLOC_OFF

/* A request whose handler runs, or NULL. */
static struct pail_request *noting(void)
{
	struct pail_request *r = request_current();
	return r && r->critical == 0 && !r->outside && r->stage < REQUEST_CLOSE ? r : NULL;
}

static void note(enum stream_kind kind, void *pointer, int fd)
{
	struct pail_request *r = noting();

	if (!r || (kind == STREAM_DESCRIPTOR ? fd < 0 : !pointer) ||
	    r->streams.count == STREAMS_MAX)
		return;
	struct stream *stream = &r->streams.open[r->streams.count];
	stream->kind = kind;
	if (kind == STREAM_DESCRIPTOR)
		stream->fd = fd;
	else
		stream->pointer = pointer;
	r->streams.count++;
}

static void forget(enum stream_kind kind, const void *pointer, int fd)
{
	forget_of(request_current(), kind, pointer, fd);
}

/* libc's own function of that name. */
#	define NEXT(function)                     \
		static __typeof__(function) *next; \
		if (!next)                         \
		*(void **)&next = dlsym(RTLD_NEXT, #function)

#	define OPENS_FILE(function, parameters, ...)   \
		FILE *function parameters               \
		{                                       \
			NEXT(function);                 \
			FILE *file = next(__VA_ARGS__); \
			note(STREAM_FILE, file, -1);    \
			return file;                    \
		}

#	define OPENS_DESCRIPTOR(function, parameters, ...) \
		int function parameters                     \
		{                                           \
			NEXT(function);                     \
			int fd = next(__VA_ARGS__);         \
			note(STREAM_DESCRIPTOR, NULL, fd);  \
			return fd;                          \
		}

OPENS_FILE(fopen, (const char *path, const char *mode), path, mode)
OPENS_FILE(fopen64, (const char *path, const char *mode), path, mode)
OPENS_FILE(tmpfile, (void), )
OPENS_FILE(fmemopen, (void *bytes, size_t size, const char *mode), bytes, size, mode)
OPENS_FILE(open_memstream, (char **bytes, size_t *size), bytes, size)
OPENS_DESCRIPTOR(creat, (const char *path, mode_t mode), path, mode)
OPENS_DESCRIPTOR(eventfd, (unsigned value, int flags), value, flags)
OPENS_DESCRIPTOR(epoll_create, (int size), size)
OPENS_DESCRIPTOR(epoll_create1, (int flags), flags)
OPENS_DESCRIPTOR(timerfd_create, (clockid_t clock, int flags), clock, flags)
OPENS_DESCRIPTOR(memfd_create, (const char *name, unsigned flags), name, flags)
OPENS_DESCRIPTOR(inotify_init, (void), )
OPENS_DESCRIPTOR(inotify_init1, (int flags), flags)
OPENS_DESCRIPTOR(mkstemp, (char *path), path)
OPENS_DESCRIPTOR(mkstemp64, (char *path), path)
OPENS_DESCRIPTOR(mkostemp, (char *path, int flags), path, flags)
OPENS_DESCRIPTOR(mkostemp64, (char *path, int flags), path, flags)

/* One that was given is changed, and stays whose it was. */
int signalfd(int fd_old, const sigset_t *set, int flags)
{
	NEXT(signalfd);
	int fd = next(fd_old, set, flags);
	if (fd_old < 0)
		note(STREAM_DESCRIPTOR, NULL, fd);
	return fd;
}

/* The stream owns the descriptor from here on. */
FILE *fdopen(int fd, const char *mode)
{
	NEXT(fdopen);
	FILE *file = next(fd, mode);
	if (file)
		forget(STREAM_DESCRIPTOR, NULL, fd);
	note(STREAM_FILE, file, -1);
	return file;
}

int fclose(FILE *file)
{
	NEXT(fclose);
	forget(STREAM_FILE, file, -1);
	sockets_closed(fileno(file)); /* libc closes it by itself */
	return next(file);
}

DIR *opendir(const char *path)
{
	NEXT(opendir);
	DIR *folder = next(path);
	note(STREAM_FOLDER, folder, -1);
	return folder;
}

DIR *fdopendir(int fd)
{
	NEXT(fdopendir);
	DIR *folder = next(fd);
	if (folder)
		forget(STREAM_DESCRIPTOR, NULL, fd);
	note(STREAM_FOLDER, folder, -1);
	return folder;
}

int closedir(DIR *folder)
{
	NEXT(closedir);
	forget(STREAM_FOLDER, folder, -1);
	return next(folder);
}

static mode_t mode_of(int flags, va_list args)
{
	return flags & (O_CREAT | O_TMPFILE) ? va_arg(args, mode_t) : 0;
}

#	define OPENS_PATH(function)                           \
		int function(const char *path, int flags, ...) \
		{                                              \
			NEXT(function);                        \
			va_list args;                          \
			va_start(args, flags);                 \
			mode_t mode = mode_of(flags, args);    \
			va_end(args);                          \
			int fd = next(path, flags, mode);      \
			note(STREAM_DESCRIPTOR, NULL, fd);     \
			return fd;                             \
		}

#	define OPENS_PATH_AT(function)                                    \
		int function(int folder, const char *path, int flags, ...) \
		{                                                          \
			NEXT(function);                                    \
			va_list args;                                      \
			va_start(args, flags);                             \
			mode_t mode = mode_of(flags, args);                \
			va_end(args);                                      \
			int fd = next(folder, path, flags, mode);          \
			note(STREAM_DESCRIPTOR, NULL, fd);                 \
			return fd;                                         \
		}

OPENS_PATH(open)
OPENS_PATH(open64)
OPENS_PATH_AT(openat)
OPENS_PATH_AT(openat64)

int pipe(int ends[2])
{
	NEXT(pipe);
	int result = next(ends);
	for (int i = 0; i < 2 && result == 0; i++)
		note(STREAM_DESCRIPTOR, NULL, ends[i]);
	return result;
}

int pipe2(int ends[2], int flags)
{
	NEXT(pipe2);
	int result = next(ends, flags);
	for (int i = 0; i < 2 && result == 0; i++)
		note(STREAM_DESCRIPTOR, NULL, ends[i]);
	return result;
}

int close(int fd)
{
	NEXT(close);
	forget(STREAM_DESCRIPTOR, NULL, fd);
	sockets_closed(fd);
	return next(fd);
}

#endif
