/* SPDX-License-Identifier: MIT */
#include "server/connection/listen.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { LISTEN_BACKLOG = 1024 };

static int listen_options(int fd, const struct plan *plan, int family, struct err *err)
{
	int on = 1;
	int receive = (int)plan->rcvbuf_bytes, send = (int)plan->sndbuf_bytes;

	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive, sizeof(receive)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &send, sizeof(send)) < 0)
		return err_errno(err, "can't set the sizes of socket buffers");
	if (family != AF_UNIX)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return 0;
}

static int listen_at(const struct plan *plan, const char *where, const struct sockaddr *address,
		     socklen_t length, struct err *err)
{
	int on = 1;
	int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return err_errno(err, "can't make a socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (listen_options(fd, plan, address->sa_family, err) < 0) {
		close(fd);
		return -1;
	}
	if (bind(fd, address, length) < 0 || listen(fd, LISTEN_BACKLOG) < 0) {
		int busy = errno == EADDRINUSE;
		err_errno(err, "can't listen on '%s'%s", where,
			  busy ? " (another program has that port; stop it or give --listen)"
			       : "");
		close(fd);
		return -1;
	}
	return fd;
}

static int listen_unix(const struct plan *plan, const char *where, struct err *err)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", where + 5);
	return listen_at(plan, where, (struct sockaddr *)&address, sizeof(address), err);
}

/* Cuts "[::1]:80" and "host:80" in two. */
static int listen_split(const char *text, char host[128], char port[16])
{
	const char *colon = strrchr(text, ':');
	size_t length = colon ? (size_t)(colon - text) : 0;

	if (!colon || strlen(colon + 1) >= 16 || length >= 128)
		return -1;
	if (length >= 2 && text[0] == '[' && text[length - 1] == ']') {
		text++;
		length -= 2;
	}
	snprintf(host, 128, "%.*s", (int)length, text);
	snprintf(port, 16, "%s", colon + 1);
	return 0;
}

static int listen_inet(const struct plan *plan, const char *where, struct err *err)
{
	char host[128], port[16];
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
				 .ai_flags = AI_PASSIVE | AI_NUMERICSERV | AI_NUMERICHOST};
	struct addrinfo *found = NULL;

	if (listen_split(where, host, port) < 0)
		return err_usage(
			err, "'%s' is no address; give HOST:PORT, [IPV6]:PORT or unix:/PATH",
			where);
	const char *node = *host && strcmp(host, "*") != 0 ? host : NULL;
	int result = getaddrinfo(node, port, &hints, &found);
	if (result == EAI_NONAME) { /* a name: this reads files and loads libraries */
		hints.ai_flags &= ~AI_NUMERICHOST;
		result = getaddrinfo(node, port, &hints, &found);
	}
	if (result != 0)
		return err_set(err, "can't listen on '%s': %s", where, gai_strerror(result));
	int fd = listen_at(plan, where, found->ai_addr, found->ai_addrlen, err);
	freeaddrinfo(found);
	return fd;
}

/* What it is bound to. */
static int listen_name(int fd, char name[LISTEN_NAME_MAX], unsigned *port, struct err *err)
{
	struct sockaddr_storage address = {0};
	socklen_t length = sizeof(address);
	char host[128];

	*port = 0;
	if (getsockname(fd, (struct sockaddr *)&address, &length) < 0)
		return err_errno(err, "can't read the address of the listening socket");
	if (address.ss_family == AF_UNIX) {
		const struct sockaddr_un *at = (const struct sockaddr_un *)&address;
		snprintf(name, LISTEN_NAME_MAX, "unix:%s", at->sun_path);
		return 0;
	}
	if (getnameinfo((struct sockaddr *)&address, length, host, sizeof(host), NULL, 0,
			NI_NUMERICHOST) != 0)
		return err_set(err, "can't read the address of the listening socket");
	bool six = address.ss_family == AF_INET6;
	/* NOLINTNEXTLINE(clang-analyzer-core.CallAndMessage): getsockname() has filled it */
	*port = ntohs(six ? ((struct sockaddr_in6 *)&address)->sin6_port
			  : ((struct sockaddr_in *)&address)->sin_port);
	snprintf(name, LISTEN_NAME_MAX, six ? "[%s]:%u" : "%s:%u", host, *port);
	return 0;
}

int listen_adopt(const struct plan *plan, int fd, char name[LISTEN_NAME_MAX], unsigned *port,
		 struct err *err)
{
	if (listen_name(fd, name, port, err) < 0)
		return -1;
	return listen_options(fd, plan, strncmp(name, "unix:", 5) == 0 ? AF_UNIX : AF_INET,
			      err);
}

int listen_open(const struct plan *plan, const char *where, char name[LISTEN_NAME_MAX],
		unsigned *port, struct err *err)
{
	int fd = strncmp(where, "unix:", 5) == 0 ? listen_unix(plan, where, err)
						 : listen_inet(plan, where, err);

	if (fd >= 0 && listen_name(fd, name, port, err) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}
