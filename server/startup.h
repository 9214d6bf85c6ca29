/* SPDX-License-Identifier: MIT */
/*
 * What happens before there is a second process or thread: listening sockets
 * are made, or taken over from who started us, and the user is changed. And
 * --check, which goes the same way and tells the line of pail.conf where it ends.
 */
#ifndef PAIL_SERVER_STARTUP_H
#define PAIL_SERVER_STARTUP_H

#include "base/err.h"
#include "base/limits.h"
#include "server/connection/listen.h"

struct startup {
	int listen_fd, admin_fd, tls_fd; /* -1: none */
	char name[LISTEN_NAME_MAX], admin_name[LISTEN_NAME_MAX], tls_name[LISTEN_NAME_MAX];
	unsigned port;
};

/* `conf` is the plan's file, NULL if there is none. */
int startup(const struct plan *plan, const char *conf, struct startup *s, struct err *err);
/* The same without keeping anything, and the log's file and folder. A port that
 * is taken (by the server that runs now) is a note on stderr and no fault. */
int startup_check(const struct plan *plan, const char *conf, const char *log, struct err *err);

#endif
