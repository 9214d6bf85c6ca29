/* SPDX-License-Identifier: MIT */
/*
 * A plan, and its bound, as pure arithmetic: simulator and server meet here,
 * so what `pail plan` promises is what `pail serve --print-bound` prints.
 *
 *   bound = sum over classes of count x (arena + stack + meta)
 *         + big stacks + header buffers + connection table
 *         + connections x (2 x (rcvbuf + sndbuf) + the kernel's own)
 *         + sockets of handlers, likewise, and threads that look up names
 *         + the pool of TLS
 *         + system region + worker threads + rings of the log + text, data and libraries
 *         + the recorder of --record, its pipe and rings
 *         + page tables
 *
 * A plan holds every number that takes part. The factor 2 on socket buffers is
 * the kernel's: it doubles SO_RCVBUF and SO_SNDBUF for its own overhead
 * (socket(7)). `image` and `system` are allowances: the server measures what
 * it really has at start and refuses to run past them.
 */
#ifndef PAIL_BASE_LIMITS_H
#define PAIL_BASE_LIMITS_H

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

enum {
	LIMITS_NAME_MAX = 64,
	LIMITS_PATTERN_MAX = 256,
	LIMITS_CLASSES_MAX = 16,
	LIMITS_ROUTES_MAX = 256,
	LIMITS_LIBRARIES_MAX = 64,
	LIMITS_TERMS_MAX = LIMITS_CLASSES_MAX + 20,
	LIMITS_PAGE_BYTES = 4096,
	LIMITS_THREADS_MAX = 256,
	LIMITS_HEAD_LEAST_BYTES = 4096, /* its field table is in the same buffer */
};

struct plan_class {
	char name[LIMITS_NAME_MAX];
	uint64_t size_bytes; /* of one arena; a multiple of the page */
	uint32_t count;
};

struct plan_route {
	/* "GET /search", "/static/", "*", "\"SET\"" with its quotes: see limits_route() */
	char pattern[LIMITS_PATTERN_MAX];
	uint32_t class_index;
	bool retry;           /* once more in the next bigger class when it is oversize */
	uint64_t stack_bytes; /* 0: the plan's stack size */
};

struct plan_on_oom {
	char library[LIMITS_NAME_MAX]; /* "libsqlite3" or "*" */
	bool unwind;                   /* false: malloc gives NULL */
};

enum plan_log_format { PLAN_LOG_JSON, PLAN_LOG_COMMON, PLAN_LOG_COMBINED };

enum plan_isolation { PLAN_ISOLATION_NONE, PLAN_ISOLATION_PKEYS };

struct plan {
	/* [server] */
	char listen[128];         /* "127.0.0.1:8080", "[::1]:8080", "unix:/path" */
	char admin[128];          /* "" for none */
	bool admin_remote;        /* it need not be a loopback address */
	char user[64], group[64]; /* to serve as; "" for those that started it */
	char log[160];            /* "" for none, "-" for stderr */
	uint32_t threads;
	uint32_t connections;                /* of all threads together */
	uint64_t rcvbuf_bytes, sndbuf_bytes; /* as passed to setsockopt */
	uint64_t head_bytes;                 /* longest request head, and its buffer */
	uint64_t body_bytes_max; /* largest body accepted; 0: what the bucket holds */
	uint32_t queue;          /* requests that may wait for a bucket */
	uint64_t wait_ns;        /* how long one may wait */
	uint64_t patience_ns;    /* with a slow client while others wait; 0: any */
	/* Of one client's address: requests with a bucket or waiting for one, and open
	 * connections; 0: any number. */
	uint32_t per_address, connections_per_address;
	uint64_t drain_ns; /* how long requests under way may take when it ends */
	uint64_t head_timeout_ns, body_timeout_ns, write_timeout_ns, idle_timeout_ns;
	uint64_t cpu_deadline_ns;  /* CPU time of a handler; 0: none */
	uint64_t wall_deadline_ns; /* wall-clock time of a handler; 0: none */
	uint32_t outgoing;         /* sockets that handlers may have open, all together */
	uint64_t outgoing_rcvbuf_bytes, outgoing_sndbuf_bytes;
	uint64_t outgoing_wait_ns; /* how long one waits for a socket to come free */
	uint32_t resolvers;        /* threads that look up names for getaddrinfo() */
	uint64_t image_bytes;      /* allowance for text, data and libraries */
	uint64_t system_bytes;     /* the region that malloc outside a request uses */
	enum arena_policy policy;
	enum plan_isolation isolation; /* of buckets from each other */
	bool mlock;                    /* nothing of the region is ever swapped out */
	bool overlap;                  /* a new process may serve while a failed one drains */
	bool recorder;                 /* pail serve --record; no key of the file */
	/* [stack] */
	uint64_t stack_bytes, big_stack_bytes;
	uint32_t big_stack_count;
	uint64_t big_stack_wait_ns;
	struct plan_tls {
		char listen[128]; /* "" for none */
		char cert[192], key[192], ciphers[192];
		char min_version[8];              /* "1.2", "1.3" */
		uint32_t connections, handshakes; /* at once, of all threads together */
		uint64_t handshake_timeout_ns;
	} tls; /* [tls] */
	struct plan_log {
		enum plan_log_format format; /* of lines of the access log */
		char errors[160];    /* for lines with a cause; "": stderr, or the access log */
		bool forwarded;      /* the client is the last of X-Forwarded-For */
		uint64_t ring_bytes; /* of each thread: lines that wait to be written */
	} logs;                      /* [log] */
	/* [bucket NAME], [route PATTERN], [on_oom] */
	uint32_t class_count, route_count, on_oom_count;
	struct plan_class class[LIMITS_CLASSES_MAX]; /* ascending size */
	struct plan_route route[LIMITS_ROUTES_MAX];
	struct plan_on_oom on_oom[LIMITS_LIBRARIES_MAX];
};

/* The defaults that a file without a section gets: one class "main" of 16
 * buckets of 256 KiB, 64 KiB stacks, 1024 connections. */
void limits_defaults(struct plan *plan);

/* Impossible numbers: sizes that are no multiple of the page, zero counts,
 * more threads than buckets, overflow of the bound. The message names section
 * and key ("[bucket main] count"). */
int limits_check(const struct plan *plan, struct err *err);
/* The same, with the place apart from the message, for who knows its line. */
struct limits_place {
	char section[LIMITS_PATTERN_MAX + 16]; /* "bucket main" */
	const char *key;                       /* "count" */
};
int limits_check_at(const struct plan *plan, struct limits_place *place, struct err *err);

/*
 * Which route rule holds for a request: an exact "METHOD /path" before an
 * exact "/path", then a pattern in which segments ":id" stand for identifiers,
 * then the longest pattern that ends in '/' or '*' and is a prefix, with a method
 * before without, then "*". -1 if none (the first class). `path` is without query.
 */
int limits_route(const struct plan *plan, struct str method, struct str path);
/*
 * A pattern in double quotes is the whole name of a recorded route as it stands: what
 * a message's command ("SET") or a marker's label ("render page") is called. It fits
 * that name alone, "METHOD /path" of a request included. Within quotes \xHH is a byte.
 * This writes the pattern for a name: the name itself where that is a rule and means
 * it exactly, quoted otherwise. -1: too long for a rule.
 */
int limits_pattern_of(struct str name, char pattern[LIMITS_PATTERN_MAX]);
/* What ":id" stands for, in rules as in the names of recorded routes: digits, a
 * UUID, or 16 and more hexadecimal digits of which one is decimal. */
bool limits_is_identifier(struct str segment);

/*
 * The stack of every bucket of a class: the plan's, or the most that a route
 * asks for which can end up in it (its own class, and with `retry` any bigger).
 */
uint64_t limits_class_stack_bytes(const struct plan *plan, uint32_t class_index);

struct bound_term {
	char name[LIMITS_NAME_MAX + 16];
	char how[160]; /* "16 x (256 KiB arena + 64 KiB stack + 16 KiB meta)" */
	uint64_t bytes;
};

struct bound {
	uint32_t term_count;
	struct bound_term term[LIMITS_TERMS_MAX];
	uint64_t total_bytes;
};

/* The bound of a plan that passed limits_check(). */
void limits_bound(const struct plan *plan, struct bound *bound);
/* Entries of the table of clients' addresses; 0 without per_address and the other. */
uint32_t limits_addresses(const struct plan *plan);
/* The pool of [tls]; 0 without. */
uint64_t limits_tls_bytes(const struct plan *plan);
/* Only the sum; the simulator calls it for every candidate. */
uint64_t limits_bound_bytes(const struct plan *plan);

/* Fixed pieces that the server promises to stay within (asserted there). */
enum {
	LIMITS_BUCKET_META_BYTES = 16384, /* request state, output buffer, saved context */
	LIMITS_CONNECTION_BYTES = 512,    /* one slot of the connection table */
	LIMITS_ADDRESS_BYTES = 32,        /* one entry of the table of addresses */
	/* struct sock, file, inode, dentry, epoll item and timer of one connection:
	 * 6.1 KiB of slab measured with 1024, rounded up */
	LIMITS_KERNEL_CONNECTION_BYTES = 8192,
	LIMITS_GUARD_BYTES = 1 << 20, /* PROT_NONE below each stack: no memory but its tables */
	LIMITS_PAGE_TABLES_LEAST_BYTES = 256 << 10, /* of the image and the upper levels */
	/* Measured with OpenSSL 3.0 (docs/tls.md): 375 KB of a context, and of a
	 * connection 72 KB in its handshake, 14 KB at rest, 48 KB with a record each
	 * way half done. */
	LIMITS_TLS_BASE_BYTES = 2 << 20, /* two contexts, and what the library keeps */
	LIMITS_TLS_CONNECTION_BYTES = 48 << 10,
	LIMITS_TLS_HANDSHAKE_BYTES = 96 << 10,
	LIMITS_RESOLVER_BYTES = 256 << 10,    /* stack of a thread that looks up names */
	LIMITS_THREAD_BYTES = 768 << 10,      /* a worker's own stacks, epoll events */
	LIMITS_RECORD_RING_BYTES = 128 << 10, /* of each thread, with --record */
	/* The admin address: a stack and a buffer for each client; and of each client,
	 * in the kernel, 8 KiB as above and 2 x (4 KiB + 32 KiB) of socket buffers. */
	LIMITS_ADMIN_CLIENTS = 8,
	LIMITS_ADMIN_REGION_BYTES = 384 << 10,
	LIMITS_ADMIN_KERNEL_BYTES = LIMITS_ADMIN_CLIENTS * (80 << 10),
	/* --record: a pipe, and the process that writes the trace. */
	LIMITS_RECORD_PIPE_BYTES = 1 << 20,
	LIMITS_RECORDER_BYTES = 32 << 20,
};

#endif
