/* SPDX-License-Identifier: MIT */
/*
 * Recognises requests of protocols other than HTTP in what a server was seen
 * to read: RESP (redis), memcached's text and binary protocols, FastCGI. Like
 * http.h it judges nothing, follows what it can, and is lost where bytes are
 * missing that it would have had to see.
 *
 * One scan per connection; it holds a line or a header, and FastCGI's
 * parameters. Feed it bytes and holes in order; each call consumes up to the
 * next event.
 */
#ifndef PAIL_LIBTRACE_MESSAGE_H
#define PAIL_LIBTRACE_MESSAGE_H

#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MESSAGE_HELD_MAX = 512, MESSAGE_NAME_MAX = 32, MESSAGE_PARAMS_MAX = 4096 };

enum message_protocol {
	MESSAGE_UNKNOWN, /* nothing was fed yet */
	MESSAGE_OTHER,   /* none of those below: by turns */
	MESSAGE_RESP,
	MESSAGE_MEMCACHED,
	MESSAGE_MEMCACHED_BINARY,
	MESSAGE_FASTCGI,
};

enum message_event_kind {
	MESSAGE_NONE,  /* all consumed, nothing happened */
	MESSAGE_BEGIN, /* the first byte of a message */
	MESSAGE_NAME,  /* what it asks for is known */
	MESSAGE_END,   /* its last byte has passed */
	MESSAGE_LOST,  /* it is none, or bytes are missing */
};

struct message_event {
	enum message_event_kind kind;
	/* NAME: views into the scan; method is empty but for FastCGI, whose name
	 * is the target */
	struct str name, method;
};

struct message_scan {
	uint8_t protocol; /* enum message_protocol */
	uint8_t state;
	bool named;
	uint16_t held;
	int64_t arguments; /* RESP: still to come */
	uint64_t left;     /* of a body, a FastCGI record or its padding */
	uint8_t record, padding;
	char line[MESSAGE_HELD_MAX];
	char name[MESSAGE_NAME_MAX];
	uint8_t name_bytes;
	char *params; /* FastCGI, malloc'd when first needed */
	uint16_t params_bytes;
};

void message_scan_init(struct message_scan *scan); /* all zero will do */
void message_scan_release(struct message_scan *scan);
/* By a connection's first bytes. */
enum message_protocol message_recognise(struct str bytes);
/* Consumes up to and including the next event's last byte; call again with the
 * rest until the event is MESSAGE_NONE. A scan that is lost stays so until
 * message_resume(). */
size_t message_feed(struct message_scan *scan, struct str bytes, struct message_event *event);
/* `count` bytes passed unseen. May give END or LOST. */
void message_skip(struct message_scan *scan, uint64_t count, struct message_event *event);
/* Between two messages, as far as can be known. */
bool message_idle(const struct message_scan *scan);
/* If it is lost, and bytes begin like a message: goes on there. */
void message_resume(struct message_scan *scan, struct str bytes);

#endif
