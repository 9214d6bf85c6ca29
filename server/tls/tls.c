/* SPDX-License-Identifier: MIT */
#include "server/tls/tls.h"

#include "base/arena.h"
#include "server/app.h"
#include "server/connection/loop.h"
#include "server/memory/malloc.h"
#include "server/tls/tls_ops.h"

#include <assert.h>
#include <dlfcn.h>
#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { RECORD_BYTES = 16384 };

static struct {
	const struct tls_ops *ops;
	atomic_flag lock;
	struct arena pool;
	_Atomic(void *) context;
	void *retired; /* the one before: a worker may just be taking it */
	unsigned char *scratch[LIMITS_THREADS_MAX];
} tls = {.lock = ATOMIC_FLAG_INIT};

/* -- memory -------------------------------------------------------------------------- */

/* Set around each call of the library's that is the server's own. */
static _Thread_local struct {
	bool active;
	uint32_t *charge; /* what this connection holds; NULL: nobody's */
	uint32_t most;
} scope;

static void scope_enter(struct connection *c)
{
	scope.active = true;
	scope.charge = c ? &c->tls_bytes : NULL;
	scope.most =
		c && c->tls_done ? LIMITS_TLS_CONNECTION_BYTES : LIMITS_TLS_HANDSHAKE_BYTES;
}

static void scope_leave(void)
{
	scope.active = false;
	scope.charge = NULL;
}

static void pool_lock(void)
{
	while (atomic_flag_test_and_set_explicit(&tls.lock, memory_order_acquire))
		sched_yield();
}

static void pool_unlock(void)
{
	atomic_flag_clear_explicit(&tls.lock, memory_order_release);
}

static uint32_t charged_bytes(const void *p)
{
	return (uint32_t)arena_usable_bytes(&tls.pool, (void *)p) + 8;
}

static void *pool_alloc(size_t size, const char *file, int line)
{
	(void)file;
	(void)line;
	if (!scope.active)
#ifdef PAIL_MALLOC_OFF
		return malloc(size);
#else
		return malloc_for(size, (uintptr_t)__builtin_return_address(0));
#endif
	if (scope.charge && *scope.charge + size > scope.most)
		return NULL;
	pool_lock();
	void *p = arena_alloc(&tls.pool, size, 0);
	if (p && scope.charge)
		*scope.charge += charged_bytes(p);
	pool_unlock();
	return p;
}

static void pool_free(void *p, const char *file, int line)
{
	(void)file;
	(void)line;
	if (!p)
		return;
	if (!arena_owns(&tls.pool, p)) {
		free(p);
		return;
	}
	pool_lock();
	if (scope.charge) {
		uint32_t bytes = charged_bytes(p);
		*scope.charge -= bytes < *scope.charge ? bytes : *scope.charge;
	}
	arena_free(&tls.pool, p);
	pool_unlock();
}

static void *pool_realloc(void *p, size_t size, const char *file, int line)
{
	if (!p)
		return pool_alloc(size, file, line);
	if (size == 0) {
		pool_free(p, file, line);
		return NULL;
	}
	if (!arena_owns(&tls.pool, p))
#ifdef PAIL_MALLOC_OFF
		return realloc(p, size);
#else
		return realloc_for(p, size, (uintptr_t)__builtin_return_address(0));
#endif
	size_t old = arena_usable_bytes(&tls.pool, p);
	if (size <= old && size > old / 2)
		return p;
	void *q = pool_alloc(size, file, line);
	if (q) {
		memcpy(q, p, old < size ? old : size);
		pool_free(p, file, line);
	}
	return q;
}

__attribute__((noinline)) void tls_touch_stack(void)
{
	volatile char room[TLS_STACK_BYTES];

	room[0] = 0;
	(void)room[0];
}

/* -- opening --------------------------------------------------------------------------- */

static void *context_read(struct err *err)
{
	char why[TLS_WHY_BYTES] = "";
	const struct tls_words words = {.cert = core.plan.tls.cert,
					.key = core.plan.tls.key,
					.ciphers = core.plan.tls.ciphers,
					.only_13 =
						strcmp(core.plan.tls.min_version, "1.3") == 0};

	scope_enter(NULL);
	void *context = tls.ops->context_new(&words, why);
	scope_leave();
	if (!context)
		err_set(err, "%s", why);
	return context;
}

int tls_open(struct err *err)
{
	static const struct tls_memory memory = {pool_alloc, pool_realloc, pool_free};
	char path[4096];

	if (!core.plan.tls.listen[0])
		return 0;
	if (app_library("pail-tls.so", path, sizeof(path), err) < 0)
		return -1;
	void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	tls.ops = library ? dlsym(library, "pail_tls_ops") : NULL;
	if (!tls.ops)
		return err_set(err, "can't load '%s': %s", path, dlerror());
	arena_init(&tls.pool, region_tls(&core.region), limits_tls_bytes(&core.plan),
		   ARENA_REUSE);
	if (!tls.ops->set_memory(&memory))
		return err_set(err, "OpenSSL was in use before the server's memory was");
	for (uint32_t i = 0; i < core.plan.threads; i++) { /* for records of several pieces */
		tls.scratch[i] = malloc(RECORD_BYTES);
		if (!tls.scratch[i])
			return err_set(err, "[server] system: too small for TLS");
	}
	void *context = context_read(err);
	atomic_store(&tls.context, context);
	if (!context)
		return -1;
	scope_enter(NULL);
	bool warm = tls.ops->warm(context);
	scope_leave();
	return warm ? 0 : err_set(err, "the pool of TLS is too small to begin with");
}

uint64_t tls_pool_peak(void)
{
	return tls.pool.peak_bytes;
}

int tls_reload(struct err *err)
{
	if (!tls.ops)
		return 0;
	void *context = context_read(err);
	if (!context)
		return -1;
	scope_enter(NULL);
	if (tls.retired)
		tls.ops->context_free(tls.retired);
	scope_leave();
	tls.retired = atomic_exchange(&tls.context, context);
	return 0;
}

/* -- sessions ---------------------------------------------------------------------------- */

/* This worker's. */
static _Thread_local uint32_t sessions, handshakes;

static uint32_t share(uint32_t all)
{
	return all / core.plan.threads; /* at least one: limits_check() */
}

/* Of those without a request the one that has been so for longest. */
static struct connection *oldest(struct worker *worker, bool done)
{
	struct connection *c = worker->idle_first;

	while (c && !(c->tls && c->tls_done == done))
		c = c->next;
	return c;
}

/* Makes room at another's cost. False: there is none. */
static bool make_room(struct connection *newcomer)
{
	struct worker *worker = newcomer->worker;
	struct connection *victim;

	if (handshakes >= share(core.plan.tls.handshakes)) {
		victim = oldest(worker, false);
		if (!victim)
			return false;
		metrics_add(&worker->counts.evicted, 1);
		connection_close(victim);
	}
	if (sessions >= share(core.plan.tls.connections)) {
		victim = oldest(worker, true);
		if (!victim)
			return false;
		metrics_add(&worker->counts.evicted, 1);
		connection_close(victim);
	}
	return true;
}

/* The session of one whose first byte is there. 1, 0 it is not, -1. */
static int session_begin(struct connection *c)
{
	char byte;
	ssize_t got = recv(c->fd, &byte, 1, MSG_PEEK);

	if (got < 0 && errno == EAGAIN) {
		c->readable = false;
		return 0;
	}
	if (got <= 0 || !make_room(c))
		return -1;
	c->tls_bytes = 0;
	scope_enter(c);
	c->tls = tls.ops->session_new(atomic_load(&tls.context), c->fd);
	scope_leave();
	if (!c->tls)
		return -1;
	sessions++;
	handshakes++;
	return 1;
}

int tls_handshake(struct connection *c)
{
	if (!c->tls) {
		int begun = session_begin(c);
		if (begun <= 0)
			return begun;
	}
	scope_enter(c);
	int result = tls.ops->handshake(c->tls);
	scope_leave();
	if (result == TLS_WANT_READ)
		c->readable = false;
	if (result == TLS_WANT_READ || result == TLS_WANT_WRITE)
		return 0;
	if (result != 1)
		return -1;
	c->tls_done = true;
	handshakes--;
	return 1;
}

ssize_t tls_receive(struct connection *c, void *to, size_t bytes)
{
	scope_enter(c);
	ssize_t got = tls.ops->receive(c->tls, to, bytes);
	scope_leave();
	if (got >= 0)
		return got;
	errno = got == TLS_FAILED ? ECONNRESET : EAGAIN;
	return -1;
}

ssize_t tls_send(struct connection *c, const struct iovec *pieces, int count)
{
	unsigned char *scratch = tls.scratch[c->worker->index];
	const void *from = pieces->iov_base;
	size_t length = 0;

	/* Head and body in one record. What is not taken comes again in the same way. */
	if (count > 1) {
		for (int i = 0; i < count && length < RECORD_BYTES; i++) {
			size_t room = RECORD_BYTES - length;
			size_t piece = pieces[i].iov_len < room ? pieces[i].iov_len : room;
			if (piece > 0)
				memcpy(scratch + length, pieces[i].iov_base, piece);
			length += piece;
		}
		from = scratch;
	} else {
		length = pieces->iov_len < RECORD_BYTES ? pieces->iov_len : RECORD_BYTES;
	}
	if (length == 0)
		return 0;
	scope_enter(c);
	ssize_t sent = tls.ops->send(c->tls, from, length);
	scope_leave();
	if (sent >= 0)
		return sent;
	errno = sent == TLS_FAILED ? ECONNRESET : EAGAIN;
	return -1;
}

void tls_goodbye(struct connection *c)
{
	if (!c->tls || !c->tls_done)
		return;
	scope_enter(c);
	tls.ops->goodbye(c->tls);
	scope_leave();
}

void tls_close(struct connection *c)
{
	if (!c->tls)
		return;
	scope_enter(c);
	tls.ops->session_free(c->tls);
	scope_leave();
	assert(sessions > 0);
	sessions--;
	handshakes -= !c->tls_done;
	c->tls = NULL;
}
