/* SPDX-License-Identifier: MIT */
#include "libtrace/served.h"

#include "base/record_message.h"
#include "libtrace/attribution/route.h"
#include "libtrace/attribution/rows.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

enum { READ_BYTES = 1 << 16, TARGET_BYTES = 2 * RECORD_TEXT_MAX + 1 };
/* Between looks into the pipe, so that a message each costs no wake-up each. */
static const struct timespec rest = {0, 10 * 1000 * 1000};
static const int64_t COMMIT_EVERY_NS = INT64_C(1000000000);

struct served {
	struct trace *trace;
	struct route_namer namer;
	enum redact redact;
	int64_t start_unix_ns, last_ns;
	int64_t committed_ns; /* by the monotonic clock */
	bool begun;           /* the file is in its place */
	bool storing;         /* no: since a failure, until the next try */
	bool broken;          /* no: nothing to try again with */
	int64_t uncommitted, uncommitted_refused, redacted;
	struct served_summary sums;
	struct trace_process process; /* the last that began; id 0: none */
	char lost_because[512];
	size_t filled;
	_Alignas(8) char bytes[READ_BYTES];
};

static int64_t clock_now(clockid_t clock)
{
	struct timespec now;
	clock_gettime(clock, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* -- storing -------------------------------------------------------------------- */

static void stop_storing(struct served *s, const struct err *why)
{
	struct err err;
	if (s->lost_because[0] == '\0')
		snprintf(s->lost_because, sizeof(s->lost_because), "%s", why->text);
	s->storing = false;
	s->sums.unstored += s->uncommitted;
	s->sums.requests -= s->uncommitted;
	s->sums.refused -= s->uncommitted_refused;
	s->uncommitted = s->uncommitted_refused = 0;
	/* No file, no name: nothing to try again with later. */
	s->broken = !s->begun;
	trace_rollback(s->trace, &err);
}

static int64_t lost(const struct served *s)
{
	return s->sums.unstored + (int64_t)s->sums.dropped;
}

static int put_sums(struct served *s, struct err *err)
{
	char text[32];
	rows_lost_text(lost(s), text);
	if (s->process.id > 0 && trace_put_process(s->trace, &s->process, err) != 0)
		return -1;
	if (rows_put_number(s->trace, "span_ns", s->last_ns, err) != 0 ||
	    rows_put_number(s->trace, "redacted_targets", s->redacted, err) != 0)
		return -1;
	return trace_put_meta(s->trace, "lost_requests", text, err);
}

static void commit(struct served *s)
{
	struct err err;
	if (s->broken)
		return;
	s->storing = true;
	if (put_sums(s, &err) != 0 || trace_commit(s->trace, &err) != 0) {
		stop_storing(s, &err);
		return;
	}
	s->begun = true;
	s->uncommitted = s->uncommitted_refused = 0;
}

/* -- messages --------------------------------------------------------------------- */

/* What a server's memory held when somebody had written over it: times and sizes
 * of this magnitude can still be added up. */
static const uint64_t CREDIBLE_MAX = INT64_MAX / 4;

static int64_t credible(uint64_t value)
{
	return (int64_t)(value < CREDIBLE_MAX ? value : CREDIBLE_MAX);
}

/* 0 when the clock was set back. */
static int64_t since_start(const struct served *s, uint64_t unix_ns)
{
	int64_t ns = credible(unix_ns) - s->start_unix_ns;
	return ns > 0 ? ns : 0;
}

static struct str take_text(const char **at, uint16_t length)
{
	struct str text = {*at, length};
	*at += length;
	return text;
}

static struct str target_of(struct served *s, struct str path, struct str query,
			    char joined[TARGET_BYTES], char text[TARGET_BYTES])
{
	size_t length = path.length;
	bool changed;
	memcpy(joined, path.bytes, path.length);
	if (query.length > 0) {
		joined[length++] = '?';
		memcpy(joined + length, query.bytes, query.length);
		length += query.length;
	}
	struct str target = redact_target(s->redact, (struct str){joined, length}, text,
					  TARGET_BYTES, &changed);
	s->redacted += changed;
	return target;
}

static void take_request(struct served *s, const struct record_message *m, const char *at)
{
	char joined[TARGET_BYTES], text[TARGET_BYTES], name[ROUTE_BYTES_MAX];
	struct str method = take_text(&at, m->method_bytes);
	struct str path = take_text(&at, m->path_bytes);
	struct str query = take_text(&at, m->query_bytes);
	struct str cause = take_text(&at, m->cause_bytes);
	bool refused = str_equal(cause, STR("busy")) || str_equal(cause, STR("busy-wait"));
	uint64_t need = m->wanted_bytes > m->need_bytes ? m->wanted_bytes : m->need_bytes;
	int64_t start = since_start(s, m->arrival_unix_ns);
	int64_t end = start + credible(m->service_ns);
	if (end > s->last_ns)
		s->last_ns = end;
	if (!s->storing) {
		s->sums.unstored++;
		return;
	}
	struct trace_request row = {
		.process = (int64_t)m->generation + 1,
		.start_ns = start,
		.end_ns = end,
		.cpu_ns = -1,
		.method = method,
		.target = target_of(s, path, query, joined, text),
		.status = m->status ? m->status : -1,
		.bytes_in = credible(m->bytes_in),
		.bytes_out = credible(m->bytes_out),
		.need_bump_bytes = credible(need),
		.need_reuse_bytes = credible(need),
		.live_peak_bytes = credible(m->need_bytes),
		.escapes = m->blocks_left > 0 ? m->blocks_left : 0,
		.foreign_frees = credible(m->foreign_frees),
		.stack_peak_bytes = credible(m->stack_bytes),
		.confidence = TRACE_EXACT,
		.ended_by = cause.length > 0 ? cause : STR("response"),
		.incomplete = m->wanted_bytes > m->need_bytes || refused,
	};
	/* A head that could not be read is of no route. */
	row.route =
		method.length > 0 ? route_name(&s->namer, method, row.target, name) : STR("");
	struct err err;
	s->uncommitted++;
	s->uncommitted_refused += refused;
	s->sums.requests++;
	s->sums.refused += refused;
	int64_t id;
	if (trace_put_request(s->trace, &row, NULL, 0, &id, &err) != 0 ||
	    (m->wait_ns > 0 && trace_put_wait(s->trace, id, credible(m->wait_ns), &err) != 0))
		stop_storing(s, &err);
}

/* The one before it, if it did not say so itself, has ended at some time before. */
static void process_ended(struct served *s, int64_t end_ns)
{
	struct err err;
	if (s->process.id == 0)
		return;
	if (s->process.end_ns < 0)
		s->process.end_ns = end_ns;
	if (s->storing && trace_put_process(s->trace, &s->process, &err) != 0)
		stop_storing(s, &err);
}

static void take_message(struct served *s, const struct record_message *m, const char *texts)
{
	int64_t now = since_start(s, m->arrival_unix_ns);
	int64_t id = (int64_t)m->generation + 1;
	if (m->dropped < CREDIBLE_MAX - s->sums.dropped)
		s->sums.dropped += m->dropped;
	else
		s->sums.dropped = CREDIBLE_MAX;
	switch (m->kind) {
	case RECORD_BEGIN:
		if (s->sums.processes++ > 0)
			process_ended(s, now);
		s->process = (struct trace_process){.id = id,
						    .pid = m->pid,
						    .start_ns = now,
						    .end_ns = -1,
						    .command = STR("pail-server")};
		commit(s);
		break;
	case RECORD_REQUEST: take_request(s, m, texts); break;
	case RECORD_END:
		if (id == s->process.id)
			s->process.end_ns = now;
		if (now > s->last_ns)
			s->last_ns = now;
		break;
	}
}

/* All that are whole. */
static int take_messages(struct served *s, struct err *err)
{
	size_t at = 0;
	while (s->filled - at >= sizeof(struct record_message)) {
		struct record_message m;
		memcpy(&m, s->bytes + at, sizeof(m));
		size_t texts =
			(size_t)m.method_bytes + m.path_bytes + m.query_bytes + m.cause_bytes;
		if (m.bytes % 8 != 0 || m.bytes > RECORD_MESSAGE_MAX ||
		    m.bytes < sizeof(m) + texts || m.kind < RECORD_BEGIN ||
		    m.kind > RECORD_END || m.path_bytes > RECORD_TEXT_MAX ||
		    m.query_bytes > RECORD_TEXT_MAX)
			return err_set(err,
				       "what the server tells makes no sense (are pail and "
				       "pail-server of one version?)");
		if (s->filled - at < m.bytes)
			break;
		take_message(s, &m, s->bytes + at + sizeof(m));
		at += m.bytes;
	}
	memmove(s->bytes, s->bytes + at, s->filled - at);
	s->filled -= at;
	return 0;
}

/* -- from the beginning to the end --------------------------------------------------- */

static int put_first_meta(struct served *s, const struct served_options *o, struct err *err)
{
	struct utsname machine;
	char text[512], none[32];
	uname(&machine);
	snprintf(text, sizeof(text), "%s %s %s, %ld CPUs", machine.sysname, machine.release,
		 machine.machine, sysconf(_SC_NPROCESSORS_ONLN));
	rows_lost_text(0, none);
	if (trace_put_meta(s->trace, "pail_version", PAIL_VERSION, err) != 0 ||
	    trace_put_meta(s->trace, "command", o->command, err) != 0 ||
	    trace_put_meta(s->trace, "detail", rows_detail_name[ROWS_SUMMARY], err) != 0 ||
	    trace_put_meta(s->trace, "redact", redact_name[o->redact], err) != 0 ||
	    trace_put_meta(s->trace, "machine", text, err) != 0 ||
	    trace_put_meta(s->trace, "lost_requests", none, err) != 0 ||
	    trace_put_meta(s->trace, "complete", "0", err) != 0)
		return -1;
	return rows_put_number(s->trace, "start_unix_ns", s->start_unix_ns, err);
}

int served_open(const struct served_options *o, struct served **served, struct err *err)
{
	struct served *s = calloc(1, sizeof(*s));
	if (!s)
		return err_set(err, "out of memory");
	route_namer_init(&s->namer);
	s->redact = o->redact;
	s->storing = true;
	s->start_unix_ns = clock_now(CLOCK_REALTIME);
	s->committed_ns = clock_now(CLOCK_MONOTONIC);
	if (trace_create(o->trace_path, &s->trace, err) != 0 ||
	    put_first_meta(s, o, err) != 0) {
		served_close(s);
		return -1;
	}
	*served = s;
	return 0;
}

static int finish(struct served *s, bool sense, struct err *err)
{
	if (s->sums.processes == 0)
		return 0; /* it never came to serve */
	process_ended(s, s->last_ns);
	commit(s);
	bool complete = sense && lost(s) == 0;
	if (s->storing &&
	    trace_put_meta(s->trace, "complete", complete ? "1" : "0", err) == 0 &&
	    trace_commit(s->trace, err) == 0)
		return s->sums.unstored > 0 ? err_set(err, "%s", s->lost_because) : 0;
	if (s->storing)
		stop_storing(s, err);
	/* What is missing is said in the trace even when it is full. */
	char text[32];
	struct err ignored;
	rows_lost_text(lost(s), text);
	if (s->begun)
		trace_amend_meta(s->trace, "lost_requests", text, &ignored);
	return err_set(err, "%s", s->lost_because);
}

/* Waits for something, but not for long when there is something to commit. 1: read
 * some, 0: the end, -1. */
static int fill(struct served *s, int fd, struct err *err)
{
	bool dirty = s->uncommitted > 0 || (!s->storing && !s->broken);
	struct pollfd input = {.fd = fd, .events = POLLIN};
	if (poll(&input, 1, dirty ? 100 : -1) <= 0)
		return 1;
	ssize_t got = read(fd, s->bytes + s->filled, sizeof(s->bytes) - s->filled);
	if (got < 0 && errno != EINTR)
		return err_errno(err, "can't read what the server tells");
	if (got > 0)
		s->filled += (size_t)got;
	if (got > 0 && (size_t)got < READ_BYTES / 2)
		nanosleep(&rest, NULL);
	return got != 0;
}

int served_run(struct served *s, int fd, struct err *err)
{
	struct err nonsense;
	int got;
	while ((got = fill(s, fd, err)) == 1) {
		if (take_messages(s, &nonsense) != 0) {
			snprintf(s->lost_because, sizeof(s->lost_because), "%s", nonsense.text);
			got = -1;
			break;
		}
		int64_t now = clock_now(CLOCK_MONOTONIC);
		if (s->begun && now - s->committed_ns >= COMMIT_EVERY_NS) {
			commit(s);
			s->committed_ns = now;
		}
	}
	struct err told = *err;
	if (got < 0 && s->lost_because[0] == '\0')
		snprintf(s->lost_because, sizeof(s->lost_because), "%s", told.text);
	if (finish(s, got == 0, err) != 0)
		return -1;
	return got < 0 ? err_set(err, "%s", s->lost_because) : 0;
}

void served_summary(const struct served *s, struct served_summary *summary)
{
	*summary = s->sums;
}

void served_close(struct served *s)
{
	if (!s)
		return;
	trace_close(s->trace);
	route_namer_release(&s->namer);
	free(s);
}
