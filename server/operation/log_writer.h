/* SPDX-License-Identifier: MIT */
/*
 * The thread that writes out what workers have put into their rings (log.h): the
 * access log, the error log, the recorder's pipe. It alone waits for files. Made
 * at start, on a stack of the image; it allocates nothing.
 *
 * A file that takes nothing (a full disk, EFBIG, a reader that is gone) is told
 * once on stderr and tried again; what is in the ring stays there meanwhile, in
 * order, and goes on at the byte where it stopped. Descriptors other than regular
 * files get pieces of PIPE_BUF when poll(2) says that there is room, since they
 * are often not ours to make non-blocking; a line that was begun is ended before
 * another worker's.
 */
#ifndef PAIL_SERVER_LOG_WRITER_H
#define PAIL_SERVER_LOG_WRITER_H

#include "base/err.h"
#include "base/limits.h"
#include "server/operation/log.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A log's file: -1 for "none" and NULL, stderr for "-". -2: it can't be opened. */
int log_file_open(const char *path, struct err *err);

/* The thread, for core's workers, with core.log_fd and core.error_fd; paths are for
 * opening them anew. Nothing goes to core.record_fd before log_writer_record(). */
int log_writer_open(const char *access_path, const char *error_path, struct err *err);
void log_writer_record(void);
/* `much`: a ring fills up, do not wait for more. Any worker. */
void log_writer_wake(bool much);
/* Its files are opened anew, soon. */
void log_writer_reopen(void);
/* Workers put no more: writes the rest and ends, without waiting more than some
 * seconds for what takes nothing. */
void log_writer_close(void);
/* A last line, behind all others. */
void log_writer_last(const char *line, size_t length);
/* In a process that is about to end by a signal, whatever it was: waits a little for
 * the thread to write what there is. */
void log_writer_hurry(void);

struct log_writer_counts {
	uint64_t failures;          /* writes that a file refused */
	uint64_t record_lost;       /* messages that the recorder was not there to take */
	uint64_t left[LOG_STREAMS]; /* after log_writer_close(): what nothing took */
};
struct log_writer_counts log_writer_count(void);

/* In the supervisor: what a process that has ended left in its rings, as far as
 * the files take it at once. Empties them. */
void log_salvage(void *memory, const struct plan *plan, const char *access_path,
		 const char *error_path, int record_fd);

#endif
