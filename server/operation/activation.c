/* SPDX-License-Identifier: MIT */
#include "server/operation/activation.h"

#include "base/str.h"
#include "base/units.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { FIRST_FD = 3, SOCKETS_MAX = 2 };

/* A number from the environment, 0 if it is none. */
static uint64_t number_of(const char *name)
{
	const char *text = getenv(name);
	struct err ignored;
	uint64_t value;

	return text && units_parse_count(str_of(text), &value, &ignored) == 0 ? value : 0;
}

static int socket_check(int fd, struct err *err)
{
	int type = 0, listens = 0;
	socklen_t length = sizeof(int);

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) < 0 || type != SOCK_STREAM ||
	    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length) < 0 || !listens)
		return err_set(err,
			       "descriptor %d of LISTEN_FDS is no listening stream socket "
			       "(ListenStream= and Accept=no)",
			       fd);
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	return fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

int activation_sockets(int *listen_fd, int *admin_fd, struct err *err)
{
	uint64_t count = number_of("LISTEN_FDS");
	bool ours = number_of("LISTEN_PID") == (uint64_t)getpid();
	const char *names = getenv("LISTEN_FDNAMES");
	/* By position, or by the name of either. */
	bool first_is_admin =
		names && (strcmp(names, "admin") == 0 || strncmp(names, "admin:", 6) == 0);

	*listen_fd = *admin_fd = -1;
	if (ours && count > SOCKETS_MAX)
		return err_set(err,
			       "LISTEN_FDS brings %d sockets; give one to serve on, and "
			       "perhaps one for the admin address",
			       (int)count);
	for (int i = 0; ours && i < (int)count; i++) {
		if (socket_check(FIRST_FD + i, err) < 0)
			return -1;
		bool is_admin = first_is_admin ? i == 0 : i == 1;
		*(is_admin ? admin_fd : listen_fd) = FIRST_FD + i;
	}
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDNAMES");
	return 0;
}

void activation_notify(const char *state)
{
	static int fd = -2; /* not looked for yet */
	static struct sockaddr_un address = {.sun_family = AF_UNIX};
	static socklen_t length;

	if (fd == -2) {
		const char *path = getenv("NOTIFY_SOCKET");
		size_t bytes = path ? strlen(path) : 0;
		fd = -1;
		if (bytes < 2 || bytes >= sizeof(address.sun_path) || !strchr("/@", path[0]))
			return;
		memcpy(address.sun_path, path, bytes);
		if (path[0] == '@') /* the abstract namespace */
			address.sun_path[0] = '\0';
		length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + bytes);
		fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		unsetenv("NOTIFY_SOCKET");
	}
	if (fd >= 0 && sendto(fd, state, strlen(state), MSG_NOSIGNAL,
			      (const struct sockaddr *)&address, length) < 0)
		return; /* word that does not get through costs nobody a request */
}

uint64_t activation_watchdog_ns(void)
{
	uint64_t pid = number_of("WATCHDOG_PID"), us = number_of("WATCHDOG_USEC");

	return pid == 0 || pid == (uint64_t)getpid() ? us * 1000 : 0;
}
