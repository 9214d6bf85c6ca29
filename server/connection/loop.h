/* SPDX-License-Identifier: MIT */
/*
 * A worker: one thread, its epoll, its connections, buckets and timers. Workers
 * share the listener and nothing else, but for a word each that says how loaded
 * it is, for newcomers to spread by (balance.h); a connection stays with the
 * worker that accepted it, and a coroutine never changes threads.
 *
 * One turn of the loop: wait; clock; events of connections, then what they made
 * ready (a bucket that came free starts the first who waits before anything
 * newly arrived can take it); timers; last the listener, so that a slot freed
 * in this turn is not taken while its old events are still to be looked at.
 */
#ifndef PAIL_SERVER_LOOP_H
#define PAIL_SERVER_LOOP_H

#include "server/request/bucket.h"
#include "server/connection/connection.h"
#include "server/core.h"
#include "server/operation/log.h"
#include "server/operation/metrics.h"
#include "server/request/output.h"
#include "server/operation/record.h"
#include "server/http/response.h"
#include "server/request/stack.h"
#include "server/connection/timer.h"

#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <time.h>

enum {
	LOOP_EVENTS = 256,
	LOOP_STACK_BYTES = 512 << 10,
	LOOP_ACCEPTS = 64,          /* per turn */
	LOOP_STARVED_NS = 10000000, /* a rest from the listener, without descriptors */
	LOOP_PIPELINE = 64,         /* requests of one connection per turn */
	LOOP_SLICE_NS = 100 * 1000, /* and for how long, about */
};

struct worker_counts {
	/* requests: that ran, of them failed: by a cause; rejected: 503 without
	 * a bucket; refused: 4xx of the core's own */
	uint64_t accepted, evicted, requests, failed, rejected, refused;
	uint64_t turned_away; /* newcomers whose address had as many as it may */
	uint64_t passed_on;   /* times that a newcomer was left to another worker */
	/* times that a handler waited for its own descriptors; the most at once */
	uint64_t io_waits, io_waiting_peak;
};

struct worker {
	uint32_t index;
	pthread_t thread;
	pid_t tid;
	int epoll_fd, wake_fd;
	bool listening, draining;
	uint64_t rest_until_ns; /* keeps away from the listener; 0: does not */
	uint32_t bucket_count;  /* of all classes */
	void *context;          /* the loop's own stack, while a request runs */
	const void *asan_stack; /* where that is, for asan.h */
	size_t asan_stack_bytes;
	struct pail_request *volatile running;
	_Atomic uint64_t resumed_ns; /* when `running` was last given the thread; 0: none */

	uint64_t turns; /* of the loop */
	/* As of this turn's beginning or the last stretch of a request in it. */
	uint64_t now_ns;
	time_t date_s;
	char date[RESPONSE_DATE_BYTES];

	struct timers timers;
	struct connection *slots;
	uint32_t slot_count, open_count;
	struct connection *free;
	struct connection *idle_first, *idle_last;
	struct connection *ready_first, *ready_last;
	struct connection *later_first, *later_last; /* have had their time for now */
	struct pool pool[LIMITS_CLASSES_MAX];
	struct big_stacks big_stacks;
	struct red_zone red_zone;
	struct worker_counts counts; /* written by metrics_add() */
	struct metrics *metrics;
	uint32_t io_waiting;  /* requests that wait for their own descriptors */
	const char *stepping; /* a deadline that waits for the code to leave libc */
	uint32_t steps, watched, looks;
	_Atomic bool stopped;    /* by a failure, for good (fail.h) */
	_Atomic int started;     /* 0 not yet, 1 serving, -1 pail_thread_start() failed */
	uint64_t unix_offset_ns; /* of the wall clock from ours */
	struct log log;
	struct output_batch batch;
	struct epoll_event events[LOOP_EVENTS];
};

extern _Thread_local struct worker *this_worker;

/* Everything but the thread: slots, buckets, epoll. Main thread. */
int worker_init(struct worker *worker, uint32_t index, struct err *err);
int worker_start(struct worker *worker, struct err *err);
/* The thread is this worker's from here on, which listens; and one turn of its
 * loop. Its thread does these, or the simulation of the core in its place. */
int worker_enter(struct worker *worker, struct err *err);
void worker_turn(struct worker *worker);
/* Wakes it, to look at core.draining and at the listener. Any thread. */
void worker_wake(struct worker *worker);

uint64_t loop_now_ns(void);
/* Goes on in this turn; or in the next, behind those that have news then. */
void worker_ready(struct worker *worker, struct connection *connection);
void worker_later(struct worker *worker, struct connection *connection);
void worker_idle_add(struct worker *worker, struct connection *connection);
void worker_idle_remove(struct worker *worker, struct connection *connection);
/* To the log, unless it is of no interest to the one asked for, and the recorder. */
void worker_log(struct worker *worker, struct log_line *line, uint64_t start_ns);
void worker_log_fields(struct log_line *line, const char *bytes,
		       const struct parse_field *fields, uint32_t count);
void worker_log_request(struct worker *worker, struct pail_request *r);
void worker_slot_free(struct worker *worker, struct connection *connection);

#endif
