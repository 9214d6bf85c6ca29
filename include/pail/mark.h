/* SPDX-License-Identifier: MIT */
/*
 * pail/mark.h: tells the recorder where a request begins and ends, for a
 * program that it cannot see into (requests that hop between threads in ways
 * that leave no mark, coroutines on one thread, a protocol of its own).
 * Both are weak: without the recorder they are NULL, cost one test, and
 * nothing need be linked. Marks override whatever else was found out.
 *
 *	uint64_t id = next++;
 *	PAIL_MARK_BEGIN(id, fd, "GET /search");
 *	...
 *	PAIL_MARK_END(id);
 *
 * A script can do the same through a path that does not exist:
 * access("/@pail/begin/ID/fd=N,label"), access("/@pail/end/ID").
 */
#ifndef PAIL_MARK_H
#define PAIL_MARK_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* From here on this thread works for request `id` (unique in the process, not
 * 0; but see below). fd: the connection that it came by, or -1; the mark then
 * merges with what was seen on that connection. label: its route, copied, or
 * NULL. Marking an id again, on any thread, makes it that thread's current
 * request again.
 *
 * Id 0 names no request: with an fd, the thread does the work of that
 * connection, for whichever request is unanswered there; with fd -1, it works
 * for none from here on, though what it worked for goes on. So a scheduler of
 * coroutines says (0, fd) before it resumes one and (0, -1) after. */
void pail_mark_begin(uint64_t id, int fd, const char *label) __attribute__((weak));
/* The request is over; this thread works for none. */
void pail_mark_end(uint64_t id) __attribute__((weak));

#define PAIL_MARK_BEGIN(id, fd, label) \
	(pail_mark_begin ? pail_mark_begin((id), (fd), (label)) : (void)0)
#define PAIL_MARK_END(id) (pail_mark_end ? pail_mark_end((id)) : (void)0)

#ifdef __cplusplus
}
#endif
#endif
