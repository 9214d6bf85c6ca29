/* SPDX-License-Identifier: MIT */
/*
 * What kind of thing a descriptor is, so that only sockets cost anything, and
 * how many bytes of a message body are still to pass over it, so that bodies
 * are neither scanned nor copied. A table by number, in private memory: forked
 * children have their own. Descriptors beyond FDS_MAX are asked about anew.
 *
 * Races between threads on one descriptor are the program's own; here they
 * cost at most a piece too many or too few.
 */
#ifndef PAIL_SHIM_FDS_H
#define PAIL_SHIM_FDS_H

#include "libtrace/shim/writer.h"

enum fd_kind { FD_UNKNOWN, FD_OTHER, FD_STREAM, FD_DATAGRAM };
enum fd_way { FD_READ, FD_WRITE };
/* What a stream's bytes are, judged by the first that are read. */
enum fd_talk {
	TALK_UNKNOWN, /* nothing read yet */
	TALK_OTHER,   /* HTTP, or nothing we know: heads and beginnings are shown */
	TALK_RECORDS, /* TLS, whose plain text nobody has shown yet */
	TALK_WHOLE,   /* messages of small parts: all that is read is shown */
	TALK_TLS,     /* its plain text is shown where TLS gives it; here nothing */
};
enum { FDS_MAX = 65536 };

extern uint8_t fds_kinds[FDS_MAX] HIDDEN;
/* Asks the kernel, and remembers. */
enum fd_kind fds_ask(int fd) HIDDEN;

static inline enum fd_kind fds_kind(int fd)
{
	if (UNLIKELY((unsigned)fd >= FDS_MAX))
		return fd < 0 ? FD_OTHER : fds_ask(fd);
	enum fd_kind kind = (enum fd_kind)__atomic_load_n(&fds_kinds[fd], __ATOMIC_RELAXED);
	return LIKELY(kind != FD_UNKNOWN) ? kind : fds_ask(fd);
}

static inline bool fds_socket(int fd)
{
	return fds_kind(fd) >= FD_STREAM;
}

/* What we know without asking: true also for numbers past the table. */
static inline bool fds_may_be_socket(int fd)
{
	return fd >= 0 && ((unsigned)fd >= FDS_MAX || fds_kinds[fd] >= FD_STREAM);
}

extern uint8_t fds_talks[FDS_MAX] HIDDEN;
static inline enum fd_talk fds_talk(int fd)
{
	return (unsigned)fd < FDS_MAX ? (enum fd_talk)fds_talks[fd] : TALK_OTHER;
}

static inline void fds_set_talk(int fd, enum fd_talk talk)
{
	if ((unsigned)fd < FDS_MAX)
		fds_talks[fd] = (uint8_t)talk;
}

/* A new descriptor of that kind, or none (FD_UNKNOWN) any more. */
void fds_set(int fd, enum fd_kind kind) HIDDEN;
enum fd_kind fds_kind_of_type(int type) HIDDEN;

/* The bytes of the body that the way is in the midst of. */
uint64_t fds_body_left(int fd, enum fd_way way) HIDDEN;
void fds_set_body_left(int fd, enum fd_way way, uint64_t left) HIDDEN;

#endif
