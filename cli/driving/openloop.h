/* SPDX-License-Identifier: MIT */
/*
 * Drives an HTTP/1.1 server open loop: every request is sent when its time has
 * come, whether or not earlier ones were answered, and its latency counts from
 * the time at which it was due. So a server that stalls is charged for all who
 * came meanwhile; a client that waits for one answer before it asks again
 * would leave them out (coordinated omission).
 *
 * One thread, one epoll. A request takes an idle connection, or opens a new
 * one; at `connections_max` it waits in line for one, and that wait is part of
 * its latency. A kept connection that the server closed just as a request went
 * out is replaced and the request sent once more, as HTTP clients do.
 */
#ifndef PAIL_CLI_OPENLOOP_H
#define PAIL_CLI_OPENLOOP_H

#include "base/err.h"
#include "base/str.h"
#include "cli/driving/load.h"

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

enum openloop_outcome {
	OPENLOOP_UNSENT,   /* stopped before its time came */
	OPENLOOP_ANSWERED, /* a whole response, whatever its status */
	OPENLOOP_REFUSED,  /* no connection to be had */
	OPENLOOP_CLOSED,   /* the server closed before the response was whole */
	OPENLOOP_TIMEOUT,
	OPENLOOP_GARBLED, /* what came was not HTTP/1.1 */
	OPENLOOP_OUTCOMES,
};
const char *openloop_outcome_name(enum openloop_outcome outcome);

/* Times are nanoseconds since the start of the run. */
struct openloop_result {
	int64_t due_ns, sent_ns, done_ns; /* sent_ns: -1 if it never was */
	uint64_t bytes;                   /* of the response */
	uint16_t status;                  /* 0 if not answered */
	uint8_t outcome;
};

struct openloop_server {
	struct sockaddr_storage address;
	socklen_t address_length;
	char host[256]; /* for the Host field */
};
/* "http://host:port" with nothing or a path behind it; `path` (may be NULL)
 * gets the view of that path, "/" if there is none. */
int openloop_resolve(const char *url, struct openloop_server *server, struct str *path,
		     struct err *err);

/* Asks for the CPU before others, for this process and what it starts, where the
 * system allows it (root, mostly): an instrument that waits for a CPU measures
 * the machine and not the server. No matter if it is refused. */
void openloop_hurry(void);

struct openloop_options {
	uint32_t connections_max;
	int64_t timeout_ns;          /* from the time when the request was due */
	volatile sig_atomic_t *stop; /* set to end early; may be NULL */
	void (*progress)(void *arg, size_t sent, int64_t now_ns); /* a few times a second */
	void *progress_arg;
};

struct openloop_stats {
	int64_t took_ns;
	uint32_t connections_peak; /* open at one time */
	uint64_t connections_opened;
	uint64_t resent; /* on a fresh connection, see above */
	uint64_t waited; /* requests that found all connections busy */
	bool stopped;
};

/* Sends requests[0..count), which are in order of at_ns; results[i] belongs to
 * requests[i]. -1 only if the run could not take place at all. */
int openloop_run(const struct openloop_server *server, const struct load_request *requests,
		 size_t count, const struct openloop_options *options,
		 struct openloop_result *results, struct openloop_stats *stats,
		 struct err *err);

#endif
