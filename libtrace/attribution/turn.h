/* SPDX-License-Identifier: MIT */
/*
 * What attribute.c, turn.c, wire.c and marks.c share: the state of the machine that
 * attribute.h describes. turn.c knows for whom a thread works and when its
 * unit is over; wire.c what goes over a connection and which request that
 * begins or answers; marks.c what the program says itself; attribute.c
 * everything else, and the door.
 */
#ifndef PAIL_LIBTRACE_TURN_H
#define PAIL_LIBTRACE_TURN_H

#include "libtrace/attribution/attribute.h"
#include "libtrace/attribution/fds.h"
#include "libtrace/attribution/http.h"
#include "libtrace/attribution/ledger.h"
#include "libtrace/attribution/message.h"
#include "libtrace/attribution/route.h"

static const struct ref nobody = {OWNER_NONE, 0, 0};

enum {
	UNIT_REQUESTS_MAX = 256, /* that one unit touched; more are judged early */
	PIPELINE_MAX = 8192,
	SNAPSHOTS_MAX = 64, /* tables on their way to children of one process */
	PENDING_BYTES = 8192,
	TIDYING_NS = 1000 * 1000, /* a thread is at it after an answer, if it is overtaken */
};

enum protocol {
	PROTOCOL_UNKNOWN,
	PROTOCOL_HTTP,
	PROTOCOL_MESSAGE,
	PROTOCOL_HTTP2, /* seen, not taken apart: its connection is one request */
	PROTOCOL_TLS,
	PROTOCOL_NONE
};

struct connection_extra {
	enum protocol protocol;
	struct ref current; /* the request that is answered next, or was last */
	struct ref newest;  /* whose head is being read */
	struct ref *queue;
	uint32_t queued, queue_room;
	bool plain_seen; /* TLS events tell its plain text */
	uint32_t writer; /* serial of the thread whose write waits for its result; 0: none */
	struct http_scan in, out;
	struct message_scan message; /* what is read, if it is not HTTP */
};

/* A write that waits for its result, or a read for its last hole. */
struct pending_io {
	bool active, write, tls;
	struct ref connection;
	int64_t time_ns, total;
	uint64_t fd, covered; /* read: bytes fed so far */
	uint32_t used, pieces;
	unsigned char bytes[PENDING_BYTES]; /* write: pieces as in the payload */
};

struct thread {
	uint32_t serial;
	struct process *process;
	pid_t tid;
	int64_t start_ns;
	uint64_t stack_top;
	/* For whom it works: `owner`, or, while `open`, whoever the segment
	 * turns out to belong to; `owner` is then the one to fall back on. */
	struct ref owner;
	bool open;
	struct segment segment;
	int64_t cpu_ns;         /* that the thread had had when it last said so */
	int64_t open_cpu_ns;    /* of it, what goes with the segment */
	int64_t waiting_cpu_ns; /* open_cpu_ns when it began to wait */
	struct ref marked;      /* rule 15 */
	struct ref named;       /* rule 10: a connection or request */
	bool fresh;             /* this unit began with a mark, and nothing else happened yet */
	bool waited;            /* this unit began with a wait */
	int64_t woke_ns;        /* when the last wait was over */
	bool several;           /* its wait returned several events */
	bool serves;            /* has touched a request */
	bool polls;             /* waits for descriptors: gets its work there, not by hand */
	bool listens;           /* it waits for connections by epoll */
	bool crowd;             /* it has waited for several by poll or select */
	bool ahead;             /* it has asked for the next request of its connection */
	struct ref unit[UNIT_REQUESTS_MAX];
	uint32_t unit_count;
	bool handed;          /* its request came to it by what it freed, or by a queue */
	uint64_t cond, mutex; /* it takes its work from the queue that these guard */
	bool locked;          /* it holds that mutex */
	struct ref batch; /* a connection: the segment is for all that was read there at once */
	struct ref *closing; /* connections closed in this unit */
	uint32_t closing_count, closing_room;
	struct block moving; /* between REALLOC_BEGIN and REALLOC_END */
	struct pending_io io;
};

/* A condition variable, and what was put into its queue and not yet taken. */
struct handoff {
	uint64_t cond;
	struct ref *token;
	uint32_t first, count, room;
};
enum { HANDOFFS_MAX = 64, TOKENS_MAX = 4096 };

struct snapshot {
	uint32_t token;
	struct fds fds;
};

struct process {
	uint32_t serial;
	pid_t pid;       /* 0: in another pid namespace, where it is */
	pid_t inner_pid; /* and may be another's, in a third */
	uint32_t parent;
	int64_t start_ns, end_ns;
	bool ended, served;
	bool execs; /* it has begun to, and did not fail */
	bool marks; /* it says itself for whom its threads work */
	char command[64];
	struct fds fds;
	struct live live;
	uint32_t thread_first, threads;      /* the least serial, and how many live */
	uint32_t active_first, active_count; /* requests in flight: index + 1 */
	struct snapshot snapshot[SNAPSHOTS_MAX];
	uint32_t snapshots;
	struct handoff *handoff; /* HANDOFFS_MAX, if there are any */
};

struct attribute {
	enum attribute_split split;
	enum redact redact;
	struct attribute_sink sink;
	struct ledger ledger;
	struct route_namer routes;
	struct process **process; /* by serial */
	struct thread **thread;
	uint32_t process_room, thread_room;
	int64_t connections;
	int64_t now_ns; /* of the event at hand */
	struct attribute_totals totals;
};

/* -- turn.c */
/* What a ref stands for; NULL when it is gone. */
static inline struct request *turn_request(const struct attribute *a, struct ref ref)
{
	return ledger_request(&a->ledger, ref);
}
static inline struct connection *turn_connection(const struct attribute *a, struct ref ref)
{
	return ledger_connection(&a->ledger, ref);
}
/* What the ledger could give to nobody, counted for the process. */
void turn_absorb_some(struct attribute *a, const struct process *p);
static inline void turn_absorb(struct attribute *a, const struct process *p)
{
	if (a->ledger.none_allocations != 0)
		turn_absorb_some(a, p);
}
/* The request is no surer than that any more. */
void turn_doubt(struct request *r, enum trace_confidence confidence);
/* No longer in flight. */
void turn_deactivate(struct attribute *a, struct request *r);
/* The request's connection has no more use for it. True if the thread that
 * answered it, not t, may still be at it: it ends at that one's boundary, and what
 * that one has done so far, and does for a short while, is for it. */
bool turn_leave(struct attribute *a, const struct thread *t, struct request *r);
/* Hands the request to the sink and forgets it. */
void turn_end_request(struct attribute *a, struct request *r, const char *how);
/* "response" if it had one, else `otherwise`. */
const char *turn_how_it_ended(const struct request *r, const char *otherwise);
/* A request begins; c may be NULL. NULL when memory runs out. */
struct request *turn_begin_request(struct attribute *a, struct process *p, struct connection *c,
				   int64_t time_ns);
/* Gives the open segment to an owner. */
void turn_settle(struct attribute *a, struct thread *t, struct ref owner);
/* From here on it is open whose the thread's allocations are; `fallback` has
 * them if nothing better turns up. */
void turn_open(struct thread *t, struct ref fallback);
/* From here on they are the owner's. */
void turn_work_for(struct thread *t, struct ref owner);
/* Who gets what is allocated now: maybe the segment. */
struct ref turn_worker_found(struct attribute *a, struct thread *t);
static inline struct ref turn_worker(struct attribute *a, struct thread *t)
{
	if (t->marked.kind == OWNER_NONE && t->open && !segment_full(&t->segment))
		return t->segment.self;
	if (t->marked.kind == OWNER_NONE && !t->open && turn_request(a, t->owner))
		return t->owner;
	return turn_worker_found(a, t);
}
/* The thread has had so much CPU: what is new of it is for whom it works. */
void turn_cpu(struct attribute *a, struct thread *t, int64_t cpu_ns);
/* The request will be judged at the end of the unit. */
void turn_add(struct attribute *a, struct thread *t, struct ref ref);
/* Rules 4 to 7: the thread does something for r. */
void turn_touch(struct attribute *a, struct thread *t, struct request *r, bool write);
/* The unit is over for all that it touched (rule 13). */
void turn_judge(struct attribute *a, struct thread *t);
/* Closes the segment, if one is open, in favour of who it falls to. */
void turn_settle_fallback(struct attribute *a, struct thread *t);
/* The end of a unit (rule 5). */
void turn_boundary(struct attribute *a, struct thread *t);
/* Those requests of a connection that were read and not answered, at most
 * `room`; not the one whose last byte has not come. */
uint32_t turn_unanswered(struct attribute *a, struct connection *c, struct ref *refs,
			 uint32_t room);
/* Its answer is under way, with a known length of which some is missing. */
bool turn_response_open(const struct connection *c);
void turn_extra_free(struct connection_extra *x); /* NULL is fine */
/* Hands the connection to the sink and forgets it. */
void turn_end_connection(struct attribute *a, struct connection *c);

/* -- wire.c */
/* All descriptors of a process that is gone, or of a copied table. */
void wire_drop_fds(struct attribute *a, struct fds *fds, int64_t time_ns, const char *how);
void wire_set_label(struct request *r, struct str label);
/* The event after a READ or WRITE and its MOREs has come. */
void wire_finish_io(struct attribute *a, struct thread *t, int64_t result);
void wire_io(struct attribute *a, struct thread *t, const struct ring_event *e);
void wire_accept(struct attribute *a, struct thread *t, const struct ring_event *e);
void wire_close(struct attribute *a, struct thread *t, int64_t fd, int64_t time_ns);
void wire_dup(struct attribute *a, struct thread *t, const struct ring_event *e);
void wire_connect(struct attribute *a, struct thread *t, const struct ring_event *e);
void wire_more(struct attribute *a, struct thread *t, const struct ring_event *e);

/* -- marks.c: rule 15 */
void mark_begin(struct attribute *a, struct thread *t, const struct ring_event *e);
void mark_end(struct attribute *a, struct thread *t, const struct ring_event *e);

/* -- handoff.c: rule 11, between threads */
void handoff_freed(struct attribute *a, struct thread *t, uint64_t address);
void handoff_signal(struct attribute *a, struct thread *t, const struct ring_event *e);
void handoff_wait(struct attribute *a, struct thread *t, const struct ring_event *e);
void handoff_lock(struct attribute *a, struct thread *t, const struct ring_event *e);
void handoff_release(struct process *p);

#endif
