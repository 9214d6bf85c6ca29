/* SPDX-License-Identifier: MIT */
#include "server/failure/streams.h"

#include "server/request/bucket.h"
#include "server/failure/fault.h"
#include "server/connection/loop.h"
#include "server/waiting/sockets.h"

#include <assert.h>
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
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
#include <time.h>
#include <unistd.h>

static void forget_of(struct pail_request *r, enum stream_kind kind, uintptr_t what)
{
	struct streams *streams = r ? &r->streams : NULL;

	for (uint32_t i = streams ? streams->count : 0; i-- > 0;) {
		if (streams->kind[i] != kind || streams->open[i] != what)
			continue;
		streams->count--;
		streams->kind[i] = streams->kind[streams->count];
		streams->open[i] = streams->open[streams->count];
		return;
	}
}

void streams_forget(struct pail_request *r, int fd)
{
	forget_of(r, STREAM_DESCRIPTOR, (uintptr_t)fd);
}

static void note_in(struct streams *streams, enum stream_kind kind, uintptr_t what)
{
	if (streams->count == STREAMS_MAX)
		return;
	streams->kind[streams->count] = (uint8_t)kind;
	streams->open[streams->count++] = what;
}

void streams_note_descriptor(struct pail_request *r, int fd)
{
	if (r && fd >= 0 && !r->outside && r->stage < REQUEST_CLOSE)
		note_in(&r->streams, STREAM_DESCRIPTOR, (uintptr_t)fd);
}

bool streams_have_room(const struct pail_request *r, uint32_t more)
{
	return !r || r->outside || r->stage >= REQUEST_CLOSE ||
	       r->streams.count + more <= STREAMS_MAX;
}

void streams_close(struct pail_request *r)
{
	while (r->streams.count > 0) {
		uint32_t last = --r->streams.count;
		uintptr_t what = r->streams.open[last];
		switch ((enum stream_kind)r->streams.kind[last]) {
		case STREAM_FILE:
			fault_release_stream((FILE *)what);
			fclose((FILE *)what);
			break;
		case STREAM_FOLDER: closedir((DIR *)what); break;
		case STREAM_DESCRIPTOR: close((int)what); break;
		case STREAM_TIMER: timer_delete((timer_t)what); break;
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

static void note(enum stream_kind kind, uintptr_t what)
{
	struct pail_request *r = noting();

	if (r)
		note_in(&r->streams, kind, what);
}

static void note_pointer(enum stream_kind kind, const void *pointer)
{
	if (pointer)
		note(kind, (uintptr_t)pointer);
}

static void note_descriptor(int fd)
{
	if (fd >= 0)
		note(STREAM_DESCRIPTOR, (uintptr_t)fd);
}

/* Whether so many more can be noted; asked before they are opened. */
static bool has_room(uint32_t more)
{
	if (streams_have_room(noting(), more))
		return true;
	errno = EMFILE;
	return false;
}

static void forget(enum stream_kind kind, uintptr_t what)
{
	forget_of(request_current(), kind, what);
}

/* libc's own function of that name. */
#	define NEXT(function)                     \
		static __typeof__(function) *next; \
		if (!next)                         \
		*(void **)&next = dlsym(RTLD_NEXT, #function)

#	define OPENS_FILE(function, parameters, ...)    \
		FILE *function parameters                \
		{                                        \
			NEXT(function);                  \
			if (!has_room(1))                \
				return NULL;             \
			FILE *file = next(__VA_ARGS__);  \
			note_pointer(STREAM_FILE, file); \
			return file;                     \
		}

#	define OPENS_DESCRIPTOR(function, parameters, ...) \
		int function parameters                     \
		{                                           \
			NEXT(function);                     \
			if (!has_room(1))                   \
				return -1;                  \
			int fd = next(__VA_ARGS__);         \
			note_descriptor(fd);                \
			return fd;                          \
		}

OPENS_FILE(fopen, (const char *path, const char *mode), path, mode)
OPENS_FILE(fopen64, (const char *path, const char *mode), path, mode)
OPENS_FILE(tmpfile, (void), )
OPENS_FILE(tmpfile64, (void), )
OPENS_FILE(fopencookie, (void *cookie, const char *mode, cookie_io_functions_t calls), cookie,
	   mode, calls)
OPENS_FILE(fmemopen, (void *bytes, size_t size, const char *mode), bytes, size, mode)
OPENS_FILE(open_memstream, (char **bytes, size_t *size), bytes, size)
OPENS_DESCRIPTOR(creat, (const char *path, mode_t mode), path, mode)
OPENS_DESCRIPTOR(creat64, (const char *path, mode_t mode), path, mode)
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
	if (fd_old < 0 && !has_room(1))
		return -1;
	int fd = next(fd_old, set, flags);
	if (fd_old < 0)
		note_descriptor(fd);
	return fd;
}

/* The stream owns the descriptor from here on. */
FILE *fdopen(int fd, const char *mode)
{
	NEXT(fdopen);
	FILE *file = next(fd, mode);
	if (file)
		forget(STREAM_DESCRIPTOR, (uintptr_t)fd);
	note_pointer(STREAM_FILE, file);
	return file;
}

int fclose(FILE *file)
{
	NEXT(fclose);
	forget(STREAM_FILE, (uintptr_t)file);
	sockets_closed(fileno(file)); /* libc closes it by itself */
	return next(file);
}

DIR *opendir(const char *path)
{
	NEXT(opendir);
	if (!has_room(1))
		return NULL;
	DIR *folder = next(path);
	note_pointer(STREAM_FOLDER, folder);
	return folder;
}

DIR *fdopendir(int fd)
{
	NEXT(fdopendir);
	DIR *folder = next(fd);
	if (folder)
		forget(STREAM_DESCRIPTOR, (uintptr_t)fd);
	note_pointer(STREAM_FOLDER, folder);
	return folder;
}

int closedir(DIR *folder)
{
	NEXT(closedir);
	forget(STREAM_FOLDER, (uintptr_t)folder);
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
			if (!has_room(1))                      \
				return -1;                     \
			int fd = next(path, flags, mode);      \
			note_descriptor(fd);                   \
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
			if (!has_room(1))                                  \
				return -1;                                 \
			int fd = next(folder, path, flags, mode);          \
			note_descriptor(fd);                               \
			return fd;                                         \
		}

OPENS_PATH(open)
OPENS_PATH(open64)
OPENS_PATH_AT(openat)
OPENS_PATH_AT(openat64)

int pipe(int ends[2])
{
	NEXT(pipe);
	if (!has_room(2))
		return -1;
	int result = next(ends);
	for (int i = 0; i < 2 && result == 0; i++)
		note_descriptor(ends[i]);
	return result;
}

int pipe2(int ends[2], int flags)
{
	NEXT(pipe2);
	if (!has_room(2))
		return -1;
	int result = next(ends, flags);
	for (int i = 0; i < 2 && result == 0; i++)
		note_descriptor(ends[i]);
	return result;
}

int close(int fd)
{
	NEXT(close);
	forget(STREAM_DESCRIPTOR, (uintptr_t)fd);
	sockets_closed(fd);
	return next(fd);
}

/* A thread that calls a function is refused, like any other (pthread_create()). */
int timer_create(clockid_t clock, struct sigevent *event, timer_t *timer)
{
	NEXT(timer_create);
	struct pail_request *r = noting();
	if (r && (!has_room(1) || (event && event->sigev_notify == SIGEV_THREAD))) {
		errno = EAGAIN;
		return -1;
	}
	int result = next(clock, event, timer);
	if (result == 0)
		note(STREAM_TIMER, (uintptr_t)*timer);
	return result;
}

int timer_delete(timer_t timer)
{
	NEXT(timer_delete);
	forget(STREAM_TIMER, (uintptr_t)timer);
	return next(timer);
}

#endif
