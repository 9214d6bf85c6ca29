/* SPDX-License-Identifier: MIT */
#include "libtrace/attribution/fds.h"

#include <stdlib.h>
#include <string.h>

void fds_release(struct fds *fds)
{
	free(fds->entry);
	free(fds->epoll);
	memset(fds, 0, sizeof(*fds));
}

struct fd_entry *fds_entry(struct fds *fds, int64_t fd)
{
	if (fd < 0 || fd >= FDS_MOST)
		return NULL;
	if (fd >= fds->room) {
		uint32_t room = fds->room > 0 ? fds->room : 64;
		while (room <= fd)
			room *= 2;
		struct fd_entry *grown = reallocarray(fds->entry, room, sizeof(*grown));
		if (!grown)
			return NULL;
		memset(grown + fds->room, 0, (room - fds->room) * sizeof(*grown));
		fds->entry = grown;
		fds->room = room;
	}
	return &fds->entry[fd];
}

int fds_copy(struct fds *to, const struct fds *from)
{
	memset(to, 0, sizeof(*to));
	if (from->room > 0) {
		to->entry = malloc(from->room * sizeof(*to->entry));
		if (!to->entry)
			return -1;
		memcpy(to->entry, from->entry, from->room * sizeof(*to->entry));
		to->room = from->room;
	}
	if (from->epoll_count > 0) {
		to->epoll = malloc(from->epoll_count * sizeof(*to->epoll));
		if (to->epoll) {
			memcpy(to->epoll, from->epoll, from->epoll_count * sizeof(*to->epoll));
			to->epoll_count = to->epoll_room = from->epoll_count;
		}
	}
	return 0;
}

void fds_epoll_remove(struct fds *fds, int epfd, int fd)
{
	for (uint32_t i = 0; i < fds->epoll_count;)
		if (fds->epoll[i].fd == fd && (epfd < 0 || fds->epoll[i].epfd == epfd))
			fds->epoll[i] = fds->epoll[--fds->epoll_count];
		else
			i++;
}

void fds_epoll_set(struct fds *fds, int epfd, int fd, uint64_t data)
{
	for (uint32_t i = 0; i < fds->epoll_count; i++)
		if (fds->epoll[i].fd == fd && fds->epoll[i].epfd == epfd) {
			fds->epoll[i].data = data;
			return;
		}
	if (fds->epoll_count == fds->epoll_room) {
		uint32_t room = fds->epoll_room > 0 ? fds->epoll_room * 2 : 32;
		struct epoll_entry *grown = reallocarray(fds->epoll, room, sizeof(*grown));
		if (!grown)
			return;
		fds->epoll = grown;
		fds->epoll_room = room;
	}
	fds->epoll[fds->epoll_count++] = (struct epoll_entry){epfd, fd, data};
}

int fds_epoll_find(const struct fds *fds, int epfd, uint64_t data)
{
	for (uint32_t i = fds->epoll_count; i-- > 0;)
		if (fds->epoll[i].data == data && fds->epoll[i].epfd == epfd)
			return fds->epoll[i].fd;
	return -1;
}
