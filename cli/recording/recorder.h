/* SPDX-License-Identifier: MIT */
/*
 * The recorder of `pail serve --record`: a child of the process that becomes the
 * server, so that SQLite is in its image and not in the server's. It reads what
 * the server tells until nobody holds the other end of the pipe any more, through
 * restarts of the process that serves. Signals that end a server, from a terminal
 * or a service manager that sends them to all, are not for it.
 */
#ifndef PAIL_CLI_RECORDER_H
#define PAIL_CLI_RECORDER_H

#include "base/err.h"
#include "libtrace/served.h"

#include <sys/types.h>

struct recorder {
	const char *argv0, *trace_path, *command;
	enum redact redact;
};

/* Starts it. Gives the pipe's end that the server is to inherit, which does not
 * wait. -1: the trace can't be begun. */
int recorder_start(const struct recorder *recorder, int *fd, pid_t *pid, struct err *err);
/* -1 if it is none of the names. */
int recorder_redact(const char *name, enum redact *redact);

#endif
