/* SPDX-License-Identifier: MIT */
#include "libtrace/shim/fds.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/stat.h>

uint8_t fds_kinds[FDS_MAX], fds_talks[FDS_MAX];
static uint64_t body_left[FDS_MAX][2];

enum fd_kind fds_kind_of_type(int type)
{
	type &= 0xf; /* without SOCK_NONBLOCK, SOCK_CLOEXEC */
	return type == SOCK_STREAM || type == SOCK_SEQPACKET ? FD_STREAM : FD_DATAGRAM;
}

enum fd_kind fds_ask(int fd)
{
	int saved = errno;
	struct stat status;
	enum fd_kind kind = FD_OTHER;

	if (fstat(fd, &status) != 0) {
		errno = saved;
		return FD_OTHER; /* not open: don't remember */
	}
	if (S_ISSOCK(status.st_mode)) {
		int type = SOCK_STREAM;
		socklen_t size = sizeof(type);
		(void)!getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size);
		kind = fds_kind_of_type(type);
	}
	fds_set(fd, kind);
	errno = saved;
	return kind;
}

void fds_set(int fd, enum fd_kind kind)
{
	if ((unsigned)fd >= FDS_MAX)
		return;
	__atomic_store_n(&fds_kinds[fd], (uint8_t)kind, __ATOMIC_RELAXED);
	if (fds_talks[fd])
		fds_talks[fd] = TALK_UNKNOWN;
	if (body_left[fd][0] | body_left[fd][1])
		body_left[fd][0] = body_left[fd][1] = 0;
}

uint64_t fds_body_left(int fd, enum fd_way way)
{
	return (unsigned)fd < FDS_MAX ? body_left[fd][way] : 0;
}

void fds_set_body_left(int fd, enum fd_way way, uint64_t left)
{
	if ((unsigned)fd < FDS_MAX && body_left[fd][way] != left)
		body_left[fd][way] = left;
}
