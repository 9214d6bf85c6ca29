/* SPDX-License-Identifier: MIT */
/*
 * What the file descriptors of a process are, as far as attribution cares:
 * listening, an accepted connection, an outbound connection, or anything else;
 * and which fd an epoll_data stands for. A fork copies the table as it was at
 * FORK_BEGIN, so a connection counts how many entries of all processes, and of
 * tables on their way to a child, name it.
 */
#ifndef PAIL_LIBTRACE_FDS_H
#define PAIL_LIBTRACE_FDS_H

#include "libtrace/attribution/ledger.h"

#include <stdbool.h>
#include <stdint.h>

enum fd_kind { FD_UNKNOWN, FD_LISTENING, FD_CONNECTION, FD_OUTBOUND, FD_OTHER };

struct fd_entry {
	uint8_t kind;
	struct ref owner; /* CONNECTION: the connection; OUTBOUND: the request it works for */
};

struct epoll_entry {
	int epfd, fd;
	uint64_t data;
};

struct fds {
	struct fd_entry *entry;
	uint32_t room;
	struct epoll_entry *epoll; /* of live fds, unordered */
	uint32_t epoll_count, epoll_room;
};

enum { FDS_MOST = 1 << 20 };

void fds_release(struct fds *fds);
/* NULL for a number that can't be a descriptor; else the entry, made if new. */
struct fd_entry *fds_entry(struct fds *fds, int64_t fd);
/* Copies; -1 when memory runs out. References are the caller's business. */
int fds_copy(struct fds *to, const struct fds *from);
void fds_epoll_set(struct fds *fds, int epfd, int fd, uint64_t data);
void fds_epoll_remove(struct fds *fds, int epfd, int fd); /* epfd -1: of all */
/* The fd behind an epoll_data, or -1. */
int fds_epoll_find(const struct fds *fds, int epfd, uint64_t data);

#endif
