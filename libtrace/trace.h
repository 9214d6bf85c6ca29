/* SPDX-License-Identifier: MIT */
/*
 * A trace: one SQLite file with everything that was recorded, and the only
 * door to it. The schema is in docs/man/pail-trace.5; only store.c knows it.
 *
 * A trace is either written (trace_create .. trace_close) by one process at a
 * time, in transactions, so that a writer that is killed leaves a file that
 * opens and holds all it had committed; or read (trace_open) by many.
 * Strings handed out by a reader live until the next step of that reader.
 * Not thread-safe: one trace handle, one thread.
 */
#ifndef PAIL_LIBTRACE_TRACE_H
#define PAIL_LIBTRACE_TRACE_H

#include "base/err.h"
#include "base/replay.h"
#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

struct trace;

enum trace_confidence { TRACE_EXACT, TRACE_INFERRED, TRACE_AMBIGUOUS };

/* One row of `request`. Times are nanoseconds since the start of the
 * recording (meta key `start_unix_ns`). -1 in `status` means unknown. */
struct trace_request {
	int64_t id; /* 1.. in the order they were stored; 0 when writing: given on insert */
	int64_t process, connection, sequence;
	int64_t start_ns, end_ns, cpu_ns;
	struct str method, target, route;
	int status;
	int64_t bytes_in, bytes_out;
	int64_t allocations, frees, reallocations;
	int64_t requested_bytes, need_bump_bytes, need_reuse_bytes;
	int64_t live_peak_bytes, largest_bytes;
	int64_t escapes, escaped_bytes, foreign_frees;
	int64_t stack_peak_bytes;
	enum trace_confidence confidence;
	struct str
		ended_by; /* "response", "next-request", "close", "crash", "end-of-recording" */
	bool incomplete;  /* events of it were dropped */
};

/* -- reading ------------------------------------------------------------ */

/* Opens and checks that it is a pail trace of a version we read. The message
 * tells a missing file, an unreadable one, no database, another application's
 * database and a newer version apart. */
int trace_open(const char *path, struct trace **trace, struct err *err);
void trace_close(struct trace *trace);
const char *trace_path(const struct trace *trace);

/* A meta value, or NULL. Lives until trace_close(). Keys: pail_version,
 * command, start_unix_ns, span_ns, detail, split, dropped_events,
 * unattributed_allocations, unattributed_bytes, lost_requests (could not be
 * stored), machine, complete ("1", or "0": the recorder did not get to the end). */
const char *trace_meta(struct trace *trace, const char *key);
int64_t trace_meta_int(struct trace *trace, const char *key, int64_t otherwise);

/* Iterates the requests in order of (start_ns, id): 1 item, 0 end, -1 error. */
struct trace_cursor;
int trace_requests(struct trace *trace, struct trace_cursor **cursor, struct err *err);
/* The same in the order in which they were stored: by id. */
int trace_requests_stored(struct trace *trace, struct trace_cursor **cursor, struct err *err);
/* The same for those alone with ids above that one: what came in since. */
int trace_requests_after(struct trace *trace, int64_t id, struct trace_cursor **cursor,
			 struct err *err);
/* The same for those requests alone that used more stack than that, let memory
 * escape, could not be told apart or lost events; in order of id. Quick where
 * they are few. */
int trace_remarkable(struct trace *trace, int64_t stack_above_bytes,
		     struct trace_cursor **cursor, struct err *err);
int trace_next(struct trace_cursor *cursor, struct trace_request *request, struct err *err);
void trace_cursor_close(struct trace_cursor *cursor);

/* All requests as columns, for the simulator: arrays of `count`, malloc'd.
 * Much faster than a cursor. route_index points into route[]. */
struct trace_columns {
	size_t count;
	int64_t *id, *arrival_ns, *service_ns;
	uint64_t *need_bytes; /* under the policy asked for */
	uint32_t *route_index;
	size_t route_count;
	char **route;
	int64_t span_ns; /* first arrival to last departure */
	char sha256[65]; /* of the columns under both policies: tells one trace from another */
};
int trace_columns_load(struct trace *trace, enum arena_policy policy,
		       struct trace_columns *columns, struct err *err);
void trace_columns_release(struct trace_columns *columns);

/* Puts into need_bytes what the requests would need if every block were aligned to
 * `align`, a power of two from ARENA_ALIGN to ARENA_ALIGN_BASE: their events, played
 * again. The columns are as loaded under that policy. The first answer is kept in the
 * trace, if it is complete and can be written, and taken from there later. -1 if the
 * trace holds no events. */
int trace_columns_align(struct trace *trace, enum arena_policy policy, size_t align,
			struct trace_columns *columns, struct err *err);

/* The same columns in parts, in order of (start_ns, id), for a trace that need
 * not fit in memory: room for one part, and for what is in flight at a time.
 * Everything in a part lives until the next call. */
enum { TRACE_PART_MAX = 1 << 14 };
struct trace_part {
	size_t count; /* at most TRACE_PART_MAX */
	const int64_t *id, *arrival_ns, *service_ns;
	const uint64_t *need_bytes;
	const uint32_t *route_index; /* into route[] */
	size_t route_count;
	char *const *route; /* until trace_stream_close() */
};
struct trace_stream;
int trace_stream_open(struct trace *trace, enum arena_policy policy,
		      struct trace_stream **stream, struct err *err);
/* How many there are in all. */
uint64_t trace_stream_requests(const struct trace_stream *stream);
/* 1 and a part that is not empty, 0 at the end, -1 error. */
int trace_stream_next(struct trace_stream *stream, struct trace_part *part, struct err *err);
void trace_stream_close(struct trace_stream *stream); /* NULL is fine */

/* The allocation events of one request as a replay list (malloc'd, caller
 * frees). 1 if there are any, 0 if the trace holds none for it (recorded with
 * --detail summary, or imported), -1 error. */
int trace_replay(struct trace *trace, int64_t request_id, struct replay_op **ops, size_t *count,
		 struct err *err);

/* Where allocations come from (recorded with --detail stacks). A frame is an
 * address in a file, the last byte of the call; inlined functions are frames of
 * their own at the same address. A site is a list of frames, innermost first. */
struct trace_frame {
	int64_t id;
	uint64_t address; /* as linked; where `module` is empty: as it was in memory */
	struct str module, function, file; /* function, file: empty if not known */
	int line;                          /* 0: not known */
};

struct trace_site {
	int64_t id;
	struct str name;       /* the innermost frame that is not an allocator's own */
	const uint32_t *frame; /* ids; reading: index into frames of trace_sites */
	uint32_t frames;
	/* over the whole recording, requests or not */
	int64_t allocations, requested_bytes;
	int64_t live_peak_bytes; /* at one time */
	int64_t left_bytes;      /* not freed when its process ended */
};

/* What a site did in the requests of one route. */
struct trace_site_use {
	int64_t site;
	struct str route;
	int64_t requests, allocations, requested_bytes;
	int64_t escapes, escaped_bytes; /* outlived their request */
	/* of the escapes: freed later, by whom, and how long after the request */
	int64_t freed_by_request, freed_by_connection, freed_by_other;
	int64_t kept_ns_sum, kept_ns_max;
};

struct trace_sites {
	struct trace_frame *frame;
	struct trace_site *site; /* in order of id */
	struct trace_site_use *use;
	size_t frames, sites, uses;
	void *memory; /* strings and lists */
};
/* All sites; none (sites == 0) in a trace without. */
int trace_sites_load(struct trace *trace, struct trace_sites *sites, struct err *err);
void trace_sites_release(struct trace_sites *sites);
/* The site of each operation of trace_replay(), 0 where there is none: 1 and a
 * malloc'd array, 0 if the trace holds none, -1 error. */
int trace_replay_sites(struct trace *trace, int64_t request_id, uint32_t **sites, size_t *count,
		       struct err *err);

/* Raw events, to be attributed again (raw.h): blocks in the order of the
 * recording. Numbers of events that no block has were lost to a full disk. */
struct trace_raw {
	int64_t first_event; /* its number, from 0 */
	uint32_t events;
	const void *bytes; /* reading: until the next step */
	size_t length;
};
struct trace_raw_cursor;
/* 1, or 0 if the trace holds none (and no cursor is made), -1 error. */
int trace_raw(struct trace *trace, struct trace_raw_cursor **cursor, struct err *err);
int trace_raw_next(struct trace_raw_cursor *cursor, struct trace_raw *raw, struct err *err);
void trace_raw_close(struct trace_raw_cursor *cursor); /* NULL is fine */

/* -- writing ------------------------------------------------------------ */

struct trace_process {
	int64_t id;               /* the writer's own number, as in trace_request.process */
	int64_t pid, parent;      /* parent: another process's id, or 0 */
	int64_t start_ns, end_ns; /* end_ns -1: it outlived the recording */
	struct str command;
};

struct trace_thread {
	int64_t id, process, tid;
	int64_t start_ns, end_ns;
};

/* What a connection owns itself (its buffers, its state, between and around
 * requests) is counted here and in no request. */
struct trace_connection {
	int64_t id, process;
	int fd;
	int64_t start_ns, end_ns;
	int64_t requests, bytes_in, bytes_out;
	int64_t allocations, frees, requested_bytes, live_peak_bytes;
};

/* Creates `path` anew. Until the first commit everything is in a temporary
 * neighbour, which is then renamed over `path`; a trace or an empty file of
 * that name is replaced, any other file is refused. Closing without a commit
 * leaves nothing behind; what is not committed is not kept. */
int trace_create(const char *path, struct trace **trace, struct err *err);
/* Each puts a row, or replaces the one of the same id or key. */
int trace_put_process(struct trace *trace, const struct trace_process *process,
		      struct err *err);
int trace_put_thread(struct trace *trace, const struct trace_thread *thread, struct err *err);
int trace_put_connection(struct trace *trace, const struct trace_connection *connection,
			 struct err *err);
int trace_put_meta(struct trace *trace, const char *key, const char *value, struct err *err);
/* ops may be NULL. Gives the row's id. */
int trace_put_request(struct trace *trace, const struct trace_request *request,
		      const struct replay_op *ops, size_t count, int64_t *id, struct err *err);
/* The same, with the site of each operation in parallel. */
int trace_put_request_sites(struct trace *trace, const struct trace_request *request,
			    const struct replay_op *ops, const uint32_t *sites, size_t count,
			    int64_t *id, struct err *err);
/* That a request, by its id, waited so long for a bucket before its service. */
int trace_put_wait(struct trace *trace, int64_t request, int64_t wait_ns, struct err *err);
int trace_put_raw(struct trace *trace, const struct trace_raw *raw, struct err *err);
/* Puts all keys of another. */
int trace_copy_meta(struct trace *to, struct trace *from, struct err *err);
int trace_put_frame(struct trace *trace, const struct trace_frame *frame, struct err *err);
int trace_put_site(struct trace *trace, const struct trace_site *site, struct err *err);
int trace_put_site_use(struct trace *trace, const struct trace_site_use *use, struct err *err);
/* Makes what was put so far safe against the death of this process, and from
 * trace_close() on against that of the machine. */
int trace_commit(struct trace *trace, struct err *err);
/* After a failure of the above (a full disk): forgets what was put since the
 * last commit. The trace can be written on. -1 if even that fails. */
int trace_rollback(struct trace *trace, struct err *err);
/* Changes a meta value that was put before, in place and at once, and needs no
 * new room on a full disk (the value's length must not grow). Only after a
 * commit or a rollback. */
int trace_amend_meta(struct trace *trace, const char *key, const char *value, struct err *err);

/* -- merging -------------------------------------------------------------- */

enum trace_align {
	TRACE_ALIGN_CLOCK, /* each begins when its own clock says it did */
	TRACE_ALIGN_START, /* all begin at once */
	TRACE_ALIGN_CHAIN, /* each begins where the one before ends */
};

/* Called now and then with the requests done so far; not 0 ends the merge. */
typedef int trace_merge_step(int64_t requests, void *arg);

/* Writes everything of `count` traces into a new one at `path`, as
 * docs/man/pail-merge.1 says; the file appears when it is whole. */
int trace_merge(const char *path, char *const *paths, size_t count, enum trace_align align,
		trace_merge_step *step, void *arg, struct err *err);

#endif
