/* SPDX-License-Identifier: MIT */
#include "server/connection/loop.h"

#include "server/waiting/aio.h"
#include "server/failure/fault.h"
#include "server/memory/malloc.h"
#include "server/memory/modules.h"
#include "server/connection/patience.h"
#include "server/waiting/resolve.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

struct core core;
_Thread_local struct worker *this_worker;

static_assert(LOOP_STACK_BYTES + sizeof(struct worker) + ARENA_ALIGN_BASE + LOCKS_RED_BYTES <=
		      REGION_WORKER_BYTES,
	      "a worker, its stack and its red zone");

uint64_t loop_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void worker_clock(struct worker *worker)
{
	worker->now_ns = loop_now_ns();
	/* Once per turn would do for the date, and once per second is enough. */
	time_t second = (time_t)((worker->now_ns + worker->unix_offset_ns) / 1000000000);
	if (second != worker->date_s) {
		struct timespec wall;
		clock_gettime(CLOCK_REALTIME, &wall);
		worker->unix_offset_ns = (uint64_t)wall.tv_sec * 1000000000 +
					 (uint64_t)wall.tv_nsec - worker->now_ns;
		worker->date_s = second;
		response_date(worker->date, wall.tv_sec);
	}
}

/* -- lists --------------------------------------------------------------------------- */

void worker_ready(struct worker *worker, struct connection *c)
{
	if (c->ready)
		return;
	c->ready = true;
	c->ready_next = NULL;
	if (worker->ready_last)
		worker->ready_last->ready_next = c;
	else
		worker->ready_first = c;
	worker->ready_last = c;
}

void worker_later(struct worker *worker, struct connection *c)
{
	if (c->ready)
		return;
	c->ready = c->later = true;
	c->ready_next = NULL;
	if (worker->later_last)
		worker->later_last->ready_next = c;
	else
		worker->later_first = c;
	worker->later_last = c;
}

static void worker_listen(struct worker *worker, bool on)
{
	/* Exclusive: one thread wakes for a newcomer, one that has nothing else to do. */
	struct epoll_event event = {.events = EPOLLIN | EPOLLEXCLUSIVE, .data.ptr = NULL};

	struct epoll_event secure = {.events = EPOLLIN | EPOLLEXCLUSIVE,
				     .data.ptr = &core.tls_fd};

	if (worker->listening == on || (on && (worker->draining || worker->rest_until_ns)))
		return;
	if (epoll_ctl(worker->epoll_fd, on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, core.listen_fd,
		      &event) == 0)
		worker->listening = on;
	if (core.tls_fd >= 0 && worker->listening == on)
		epoll_ctl(worker->epoll_fd, on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, core.tls_fd,
			  &secure);
}

void worker_idle_add(struct worker *worker, struct connection *c)
{
	c->next = NULL;
	c->previous = worker->idle_last;
	if (worker->idle_last)
		worker->idle_last->next = c;
	else
		worker->idle_first = c;
	worker->idle_last = c;
	worker_listen(worker, true); /* it could make room for another */
}

void worker_idle_remove(struct worker *worker, struct connection *c)
{
	if (c->previous)
		c->previous->next = c->next;
	else
		worker->idle_first = c->next;
	if (c->next)
		c->next->previous = c->previous;
	else
		worker->idle_last = c->previous;
}

/* -- the log --------------------------------------------------------------------------- */

void worker_log(struct worker *worker, struct log_line *line, uint64_t start_ns)
{
	line->worker = worker->index;
	line->start_unix_ns = start_ns + worker->unix_offset_ns;
	log_request(&worker->log, line);
	if (core.record_fd >= 0 && !line->again)
		record_request(&worker->log, line);
}

/* The fields that a log may want, if this one does. */
void worker_log_fields(struct log_line *line, const char *bytes,
		       const struct parse_field *fields, uint32_t count)
{
	const struct plan_log *logs = &core.plan.logs;
	const struct {
		struct str name, *value;
		bool wanted;
	} wanted[] = {
		{STR("referer"), &line->referer, logs->format == PLAN_LOG_COMBINED},
		{STR("user-agent"), &line->agent, logs->format == PLAN_LOG_COMBINED},
		{STR("x-forwarded-for"), &line->forwarded, logs->forwarded},
	};

	for (int i = 0; i < 3; i++) {
		for (uint32_t k = 0; k < count && wanted[i].wanted; k++)
			if (str_equal_nocase(parse_str(bytes, fields[k].name), wanted[i].name))
				*wanted[i].value = parse_str(bytes, fields[k].value);
	}
}

void worker_log_request(struct worker *worker, struct pail_request *r)
{
	struct bucket *bucket = r->bucket;
	bool written_down = core.log_fd >= 0 || core.record_fd >= 0 || r->cause;
	bool one_route = true;
	size_t stack_bytes = stack_is_due(bucket, written_down, r->route)
				     ? stack_measure(bucket, r->route, &one_route)
				     : 0;
	uint64_t now_ns = worker->now_ns;
	struct metrics_request counted = {
		.route = r->route,
		.class_index = bucket->class_index,
		.status = r->head_sent ? r->status : 0,
		.cause = r->cause,
		.queued = r->connection->queued,
		.wait_ns = r->start_ns > r->arrival_ns ? r->start_ns - r->arrival_ns : 0,
		.service_ns = now_ns > r->start_ns ? now_ns - r->start_ns : 0,
		/* Of one that was too large: what it would have come to at the least. */
		.need_bytes = r->wanted_bytes > bucket->arena.peak_bytes
				      ? r->wanted_bytes
				      : bucket->arena.peak_bytes,
		.stack_bytes = stack_bytes,
		.stack_of_route = one_route,
		.bytes_in = r->connection->body.content_bytes,
		.bytes_out = r->send_length ? r->send_length : r->body_length,
	};

	metrics_request(worker->metrics, &core.plan, &counted);
	metrics_add(&worker->counts.failed, r->cause != NULL);
	if (!written_down)
		return;
	struct log_line line = {
		.status = counted.status,
		.minor = r->minor,
		.method = str_of(r->method),
		.path = r->route_path,
		.query = str_of(r->query),
		.client = r->connection->client,
		.route = str_of(r->route >= 0 ? core.plan.route[r->route].pattern : "*"),
		.bucket = str_of(core.plan.class[bucket->class_index].name),
		.wait_ns = counted.wait_ns,
		.service_ns = counted.service_ns,
		.need_bytes = bucket->arena.peak_bytes,
		.bucket_bytes = bucket->arena.size_bytes,
		.wanted_bytes = r->wanted_bytes,
		.stack_bytes = stack_bytes,
		.body_in_bytes = counted.bytes_in,
		.body_out_bytes = counted.bytes_out,
		.foreign_frees = r->foreign_frees,
		.system_blocks = r->system_blocks,
		.again = r->connection->retry,
		.cause = r->cause,
		.detail = r->detail,
	};
	char site[MODULES_PLACE_BYTES];
	if (r->site) {
		modules_place(r->site, site, sizeof(site));
		line.site = site;
	}
	worker_log_fields(&line, r->connection->bytes + r->connection->start, r->field,
			  r->field_count);
	worker_log(worker, &line, r->start_ns);
}

/* -- the listener ------------------------------------------------------------------------ */

/* A slot for a newcomer, at the cost of the one that has been without a
 * request for longest. There is one if worker_has_room(). */
static struct connection *worker_slot_take(struct worker *worker)
{
	if (!worker->free) {
		metrics_add(&worker->counts.evicted, 1);
		connection_close(worker->idle_first);
	}
	struct connection *c = worker->free;
	worker->free = c->next;
	metrics_set(&worker->open_count, worker->open_count + 1);
	return c;
}

static bool worker_has_room(const struct worker *worker)
{
	return worker->free || worker->idle_first;
}

void worker_slot_free(struct worker *worker, struct connection *c)
{
	c->next = worker->free;
	worker->free = c;
	metrics_set(&worker->open_count, worker->open_count - 1);
	worker_listen(worker, true);
}

/* What the others are to know of this one. */
static void worker_say_load(const struct worker *worker)
{
	uint32_t busy = 0, load = BALANCE_AWAY;

	if (core.plan.threads == 1)
		return;
	for (uint32_t i = 0; i < core.plan.class_count; i++) {
		const struct pool *pool = &worker->pool[i];
		busy += pool->count - pool->free_count + pool->waiting;
	}
	if (!worker->draining && worker_has_room(worker))
		load = balance_load(worker->open_count, busy);
	balance_say(core.balance, worker->index, load);
}

static void worker_rest(struct worker *worker, uint64_t ns)
{
	worker_listen(worker, false);
	worker->rest_until_ns = worker->now_ns + ns;
}

/* True if another is to take the newcomer, and knows. */
static bool worker_pass_on(struct worker *worker)
{
	if (core.plan.threads == 1)
		return false;
	worker_say_load(worker);
	int better = balance_better(core.balance, core.plan.threads, worker->index,
				    balance_margin(worker->bucket_count));
	if (better < 0)
		return false;
	worker->counts.passed_on++;
	worker_rest(worker, BALANCE_REST_NS);
	worker_wake(core.worker[better]);
	return true;
}

enum { WORKER_TURNED_AWAY = -2 };

/* accept4(), or -1: there is none, or one can't be had now; or WORKER_TURNED_AWAY. */
static int worker_accept_one(struct worker *worker, int listen_fd, struct address **address,
			     struct log_address *client)
{
	struct sockaddr_storage from = {.ss_family = AF_UNSPEC};
	socklen_t length = sizeof(from);
	bool counts = limits_addresses(&core.plan) > 0;
	int fd = accept4(listen_fd, (struct sockaddr *)&from, &length,
			 SOCK_NONBLOCK | SOCK_CLOEXEC);

	*address = NULL;
	*client = log_address((const struct sockaddr *)&from);
	if (fd >= 0 && counts &&
	    address_enter(&core.addresses, (struct sockaddr *)&from, address) < 0) {
		metrics_add(&worker->counts.turned_away, 1);
		close(fd);
		return WORKER_TURNED_AWAY;
	}

	if (fd >= 0 ||
	    (errno != EMFILE && errno != ENFILE && errno != ENOBUFS && errno != ENOMEM))
		return fd;
	/* No descriptor for it; one that idles has one. Else the listener, which
	 * stays readable, would keep this thread turning. */
	if (worker->idle_first)
		connection_close(worker->idle_first);
	else
		worker_rest(worker, LOOP_STARVED_NS);
	return -1;
}

/* Takes newcomers; `regardless` of load: so many of them. */
static void worker_accept(struct worker *worker, int listen_fd, int regardless)
{
	bool any = false;

	for (int i = 0; i < LOOP_ACCEPTS; i++) {
		if (!worker_has_room(worker)) {
			worker_listen(worker, false); /* until a slot comes free */
			return;
		}
		if (i >= regardless && worker_pass_on(worker))
			return;
		struct address *address;
		struct log_address client;
		int fd = worker_accept_one(worker, listen_fd, &address, &client);
		if (fd == WORKER_TURNED_AWAY)
			continue;
		if (fd < 0)
			break;
		struct connection *c = worker_slot_take(worker);
		struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
					    .data.ptr = c};
		any = true;
		metrics_add(&worker->counts.accepted, 1);
		connection_open(c, fd, address, listen_fd == core.tls_fd);
		c->client = client;
		if (epoll_ctl(worker->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
			connection_close(c);
		else
			connection_advance(c);
	}
	/* To the end of the line: the kernel wakes the first in it that sleeps, and
	 * would wake the same one again. */
	if (any && core.plan.threads > 1 && worker->listening) {
		worker_listen(worker, false);
		worker_listen(worker, true);
	}
}

/* It has been left to others for long enough. */
static void worker_rested(struct worker *worker)
{
	if (!worker->rest_until_ns || worker->rest_until_ns > worker->now_ns)
		return;
	worker->rest_until_ns = 0;
	worker_listen(worker, true);
	if (worker->listening)
		worker_accept(worker, core.listen_fd, BALANCE_AFTER_REST);
	if (worker->listening && core.tls_fd >= 0)
		worker_accept(worker, core.tls_fd, BALANCE_AFTER_REST);
}

/* -- the loop ------------------------------------------------------------------------------ */

static void worker_run_ready(struct worker *worker)
{
	/* Those that come on meanwhile have their turn in the next turn. */
	struct connection *last = worker->ready_last;

	while (worker->ready_first) {
		struct connection *c = worker->ready_first;
		worker->ready_first = c->ready_next;
		if (!worker->ready_first)
			worker->ready_last = NULL;
		c->ready = false;
		connection_advance(c);
		if (c == last)
			return;
	}
}

/* Those that had their time before this turn, up to `last`: for about one slice,
 * however many they are, since whoever has news meanwhile waits for them all. */
static void worker_run_later(struct worker *worker, const struct connection *last)
{
	uint64_t until_ns = last ? loop_now_ns() + LOOP_SLICE_NS : 0;
	struct connection *c = NULL;

	while (last && c != last && (!c || loop_now_ns() < until_ns)) {
		c = worker->later_first;
		worker->later_first = c->ready_next;
		if (!worker->later_first)
			worker->later_last = NULL;
		c->ready = c->later = false;
		connection_advance(c);
		worker_run_ready(worker);
	}
}

static void worker_run_timers(struct worker *worker)
{
	struct timer *timer;

	while ((timer = timers_take(&worker->timers, worker->now_ns)) != NULL) {
		connection_timeout((struct connection *)timer);
		worker_run_ready(worker);
	}
}

/* How long to wait for events; NULL: until one comes. In nanoseconds, since a
 * handler's sleep that is rounded to milliseconds holds its bucket for as much
 * longer, and the plan did not reckon with that. */
static const struct timespec *worker_patience(const struct worker *worker,
					      struct timespec *patience)
{
	uint64_t until_ns = timers_next_ns(&worker->timers);
	uint64_t due_ns = patience_due_ns(worker);
	uint64_t ns = 0;

	if (due_ns < until_ns)
		until_ns = due_ns;
	if (worker->rest_until_ns && worker->rest_until_ns < until_ns)
		until_ns = worker->rest_until_ns;
	bool ready = worker->ready_first || worker->later_first;
	if (!ready && until_ns == UINT64_MAX)
		return NULL;
	if (!ready && until_ns > worker->now_ns)
		ns = until_ns - worker->now_ns;
	if (ns > UINT64_C(60000000000))
		ns = UINT64_C(60000000000);
	*patience = (struct timespec){(time_t)(ns / 1000000000), (long)(ns % 1000000000)};
	return patience;
}

/* Someone woke it: to drain, or for a newcomer. True if that. */
static bool worker_woken(struct worker *worker)
{
	uint64_t count;

	if (read(worker->wake_fd, &count, sizeof(count)) < 0)
		return false;
	resolve_deliver(worker);
	if (!atomic_load(&core.draining))
		return true;
	worker_listen(worker, false);
	worker->draining = true;
	for (struct connection *c = worker->idle_first, *next; c; c = next) {
		next = c->next;
		if (!c->armed && !c->readable)
			connection_close(c);
	}
	return false;
}

/* To the nanosecond; on a kernel before 5.11 to the millisecond above. */
static int worker_wait(struct worker *worker)
{
	static _Atomic bool coarse;
	struct timespec patience;
	const struct timespec *until = worker_patience(worker, &patience);

	if (!atomic_load_explicit(&coarse, memory_order_relaxed)) {
		int count = epoll_pwait2(worker->epoll_fd, worker->events, LOOP_EVENTS, until,
					 NULL);
		if (count >= 0 || errno != ENOSYS)
			return count;
		atomic_store_explicit(&coarse, true, memory_order_relaxed);
	}
	int ms = -1;
	if (until)
		ms = until->tv_sec >= 60 ? 60 * 1000
					 : (int)(until->tv_sec * 1000 +
						 (until->tv_nsec + 999999) / 1000000);
	return epoll_wait(worker->epoll_fd, worker->events, LOOP_EVENTS, ms);
}

void worker_turn(struct worker *worker)
{
	bool newcomers = false, secure = false;
	const struct connection *last = worker->later_last;
	int count = worker_wait(worker);

	metrics_add(&worker->turns, 1);
	worker_clock(worker);
	for (int i = 0; i < count; i++) {
		void *who = worker->events[i].data.ptr;
		if (who == NULL)
			newcomers = true;
		else if (who == &core.tls_fd)
			secure = true;
		else if (who == worker)
			newcomers |= worker_woken(worker);
		else if (aio_tagged(who))
			aio_event(aio_tagged(who));
		else
			connection_event(who, worker->events[i].events);
		worker_run_ready(worker);
	}
	worker_run_ready(worker);
	worker_run_later(worker, last);
	worker_run_timers(worker);
	patience_look(worker);
	worker_run_ready(worker);
	if (newcomers && worker->listening)
		worker_accept(worker, core.listen_fd, 0);
	/* A wake from another worker does not say which of the two. */
	if ((secure || newcomers) && worker->listening && core.tls_fd >= 0)
		worker_accept(worker, core.tls_fd, 0);
	worker_rested(worker);
	worker_run_ready(worker);
	worker_say_load(worker);
	log_wake(&worker->log);
}

int worker_enter(struct worker *worker, struct err *err)
{
	this_worker = worker;
	worker->tid = (pid_t)syscall(SYS_gettid);
	worker_clock(worker);
	if (fault_thread_open(worker, err) < 0 ||
	    (core.handler.thread_start && core.handler.thread_start() != 0))
		return -1;
	worker_listen(worker, true);
	return 0;
}

static void *worker_main(void *argument)
{
	struct worker *worker = argument;
	struct err err;

	if (worker_enter(worker, &err) < 0) {
		atomic_store(&worker->started, -1);
		return NULL;
	}
	atomic_store(&worker->started, 1);
	while (!worker->draining || worker->open_count > 0) {
		worker_turn(worker);
		if (atomic_load_explicit(&core.halting, memory_order_relaxed))
			break;
	}
	log_wake(&worker->log);
	return NULL;
}

/* -- opening ----------------------------------------------------------------------------------
 */

static void worker_slots_init(struct worker *worker)
{
	const struct plan *plan = &core.plan;
	struct connection *all = (struct connection *)region_connections(&core.region);
	struct timer **heaps = (struct timer **)(all + plan->connections);
	uint32_t first =
		(uint32_t)((uint64_t)plan->connections * worker->index / plan->threads);
	uint32_t end =
		(uint32_t)((uint64_t)plan->connections * (worker->index + 1) / plan->threads);

	worker->slots = all + first;
	worker->slot_count = end - first;
	/* The heap has its entries from 1: room for one more than slots, made by
	 * counting from one before, which is the last of the worker before. */
	timers_init(&worker->timers, heaps + first - 1, worker->slot_count);
	for (uint32_t i = end; i-- > first;) {
		struct connection *c = &all[i];
		c->worker = worker;
		c->fd = -1;
		c->state = CONNECTION_FREE;
		c->bytes = (char *)region_head(&core.region, i);
		c->room = (uint32_t)(region_head_bytes(&core.region) - CONNECTION_FIELDS_BYTES);
		c->next = worker->free;
		worker->free = c;
	}
}

static int worker_buckets_init(struct worker *worker, struct err *err)
{
	const struct plan *plan = &core.plan;
	uint32_t index = 0;

	for (uint32_t i = 0; i < plan->class_count; i++) {
		uint32_t queue = (plan->queue + plan->threads - 1) / plan->threads;
		pool_init(&worker->pool[i], queue);
		for (uint32_t k = 0; k < plan->class[i].count; k++, index++) {
			if (k % plan->threads != worker->index)
				continue;
			struct bucket *bucket = bucket_init(index);
			if (bucket_start(bucket, err) < 0)
				return -1;
			pool_give(&worker->pool[i], bucket);
			worker->pool[i].count++;
			worker->bucket_count++;
		}
		assert(worker->pool[i].count > 0); /* limits_check() */
	}
	for (uint32_t i = worker->index; i < plan->big_stack_count; i += plan->threads) {
		struct big_stacks *stacks = &worker->big_stacks;
		if (stacks->count == STACK_BIG_MAX)
			return err_set(err, "[stack] big_count: more than %d for each thread",
				       STACK_BIG_MAX);
		stacks->free[stacks->free_count++] = (uint16_t)i;
		stacks->count++;
	}
	return 0;
}

int worker_init(struct worker *worker, uint32_t index, struct err *err)
{
	memset(worker, 0, sizeof(*worker));
	worker->index = index;
	log_init(&worker->log, core.log_memory, &core.plan, index);
	worker->metrics = metrics_new(&core.plan);
	if (!worker->metrics)
		return err_set(err,
			       "the system region is too small for the counts of %u "
			       "routes (raise [server] system)",
			       core.plan.route_count);
	worker->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	worker->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = worker};
	if (worker->epoll_fd < 0 || worker->wake_fd < 0 ||
	    epoll_ctl(worker->epoll_fd, EPOLL_CTL_ADD, worker->wake_fd, &event) < 0)
		return err_errno(err, "can't make an epoll");
	/* Behind the struct: its block has room for it. */
	arena_init(&worker->red_zone.arena,
		   (void *)(((uintptr_t)(worker + 1) + ARENA_ALIGN_BASE - 1) &
			    ~(uintptr_t)(ARENA_ALIGN_BASE - 1)),
		   LOCKS_RED_BYTES, ARENA_REUSE);
	worker_slots_init(worker);
	return worker_buckets_init(worker, err);
}

int worker_start(struct worker *worker, struct err *err)
{
	unsigned char *low = region_worker(&core.region, worker->index);
	pthread_attr_t attributes;

	pthread_attr_init(&attributes);
#ifdef __SANITIZE_THREAD__
	(void)low; /* its thread-local storage alone is larger */
#else
	pthread_attr_setstack(&attributes, low, LOOP_STACK_BYTES);
#endif
	errno = pthread_create(&worker->thread, &attributes, worker_main, worker);
	pthread_attr_destroy(&attributes);
	if (errno != 0)
		return err_errno(err, "can't start a thread");
	while (atomic_load(&worker->started) == 0)
		usleep(100);
	if (atomic_load(&worker->started) < 0)
		return err_set(err,
			       "pail_thread_start() of '%s' failed, or a thread could not be "
			       "set up",
			       core.handler.name);
	return 0;
}

void worker_wake(struct worker *worker)
{
	uint64_t one = 1;

	if (write(worker->wake_fd, &one, sizeof(one)) < 0)
		return;
}
