/* SPDX-License-Identifier: MIT */
#include "server/waiting/resolve.h"

#include "server/waiting/aio.h"
#include "server/connection/loop.h"
#include "server/memory/malloc.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { NAME_MAX_BYTES = 256, SERVICE_MAX_BYTES = 64 };
static const uint64_t PAUSE_NS = 1000000;

typedef int lookup_fn(const char *node, const char *service, const struct addrinfo *hints,
		      struct addrinfo **result);

struct answer {
	int error, system_error;
	uint32_t count;
	struct {
		int family, type, protocol;
		socklen_t length;
		struct sockaddr_in6 address; /* the longest that a look-up gives */
	} item[RESOLVE_ADDRESSES];
	bool canonical;
	char name[NAME_MAX_BYTES];
};

enum job_state { JOB_FREE, JOB_QUEUED, JOB_RUNNING, JOB_DONE };

struct job {
	enum job_state state;
	uint64_t ticket;             /* of those that are queued the lowest is next */
	struct pail_request *waiter; /* NULL: it was left */
	struct worker *worker;
	bool has_node, has_service;
	char node[NAME_MAX_BYTES], service[SERVICE_MAX_BYTES];
	struct addrinfo hints;
	struct answer answer;
};

static struct {
	pthread_mutex_t mutex;
	pthread_cond_t come;
	struct job *jobs; /* RESOLVE_JOBS; NULL: there are no threads */
	uint64_t tickets;
} resolver = {.mutex = PTHREAD_MUTEX_INITIALIZER, .come = PTHREAD_COND_INITIALIZER};

static lookup_fn *lookup_libc(void)
{
	static lookup_fn *found;

	if (!found)
		*(void **)&found = dlsym(RTLD_NEXT, "getaddrinfo");
	return found;
}

/* libc's list, flat; the list is freed. */
static void answer_take(struct answer *answer, int error, struct addrinfo *list)
{
	answer->error = error;
	answer->system_error = errno;
	answer->count = 0;
	answer->canonical = false;
	if (error != 0)
		return;
	for (const struct addrinfo *i = list; i && answer->count < RESOLVE_ADDRESSES;
	     i = i->ai_next) {
		if (i->ai_addrlen > sizeof(answer->item[0].address))
			continue;
		uint32_t n = answer->count++;
		answer->item[n].family = i->ai_family;
		answer->item[n].type = i->ai_socktype;
		answer->item[n].protocol = i->ai_protocol;
		answer->item[n].length = i->ai_addrlen;
		memcpy(&answer->item[n].address, i->ai_addr, i->ai_addrlen);
	}
	if (list && list->ai_canonname) {
		answer->canonical = true;
		snprintf(answer->name, sizeof(answer->name), "%s", list->ai_canonname);
	}
	freeaddrinfo(list);
}

/* -- the threads ------------------------------------------------------------------------ */

static struct job *job_next(void)
{
	struct job *next = NULL;

	for (int i = 0; i < RESOLVE_JOBS; i++) {
		struct job *job = &resolver.jobs[i];
		if (job->state == JOB_QUEUED && (!next || job->ticket < next->ticket))
			next = job;
	}
	return next;
}

__attribute__((noreturn)) static void *resolver_main(void *argument)
{
	struct answer answer;

	(void)argument;
	pthread_mutex_lock(&resolver.mutex);
	for (;;) {
		struct job *job = job_next();
		if (!job) {
			pthread_cond_wait(&resolver.come, &resolver.mutex);
			continue;
		}
		job->state = JOB_RUNNING;
		pthread_mutex_unlock(&resolver.mutex);
		struct addrinfo *list = NULL;
		errno = 0;
		int error = lookup_libc()(job->has_node ? job->node : NULL,
					  job->has_service ? job->service : NULL, &job->hints,
					  &list);
		answer_take(&answer, error, list);
		pthread_mutex_lock(&resolver.mutex);
		if (!job->waiter) {
			job->state = JOB_FREE;
			continue;
		}
		job->answer = answer;
		job->state = JOB_DONE;
		worker_wake(job->worker);
	}
}

int resolve_open(struct err *err)
{
	pthread_attr_t attributes;
	pthread_t thread;

	if (core.plan.resolvers == 0)
		return 0;
	resolver.jobs = calloc(RESOLVE_JOBS, sizeof(*resolver.jobs));
	if (!resolver.jobs)
		return err_set(err, "[server] system: too small for %d look-ups of names",
			       RESOLVE_JOBS);
	/* What these look up at their first call is not to wait, later, for a thread
	 * that died inside the loader. */
	lookup_libc();
	pthread_mutex_lock(&resolver.mutex);
	pthread_mutex_unlock(&resolver.mutex);
	for (uint32_t i = 0; i < core.plan.resolvers; i++) {
		unsigned char *low = region_resolver(&core.region, i);
		pthread_attr_init(&attributes);
		pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
#ifdef __SANITIZE_THREAD__
		(void)low; /* its thread-local storage alone is larger */
#else
		pthread_attr_setstack(&attributes, low, LIMITS_RESOLVER_BYTES);
#endif
		errno = pthread_create(&thread, &attributes, resolver_main, NULL);
		pthread_attr_destroy(&attributes);
		if (errno != 0)
			return err_errno(err, "can't start a thread that looks up names");
	}
	return 0;
}

void resolve_deliver(struct worker *worker)
{
	if (!resolver.jobs)
		return;
	pthread_mutex_lock(&resolver.mutex);
	for (int i = 0; i < RESOLVE_JOBS; i++) {
		struct job *job = &resolver.jobs[i];
		if (job->state != JOB_DONE || job->worker != worker || !job->waiter)
			continue;
		job->waiter->io_ready = true;
		worker_ready(worker, job->waiter->connection);
	}
	pthread_mutex_unlock(&resolver.mutex);
}

/* -- on the request's stack, in its critical stretch -------------------------------------- */

static struct job *job_put(struct pail_request *r, const char *node, const char *service,
			   const struct addrinfo *hints)
{
	struct job *job = NULL;

	pthread_mutex_lock(&resolver.mutex);
	for (int i = 0; i < RESOLVE_JOBS && !job; i++)
		if (resolver.jobs[i].state == JOB_FREE)
			job = &resolver.jobs[i];
	if (job) {
		job->state = JOB_QUEUED;
		job->ticket = resolver.tickets++;
		job->waiter = r;
		job->worker = r->worker;
		job->has_node = node != NULL;
		job->has_service = service != NULL;
		snprintf(job->node, sizeof(job->node), "%s", node ? node : "");
		snprintf(job->service, sizeof(job->service), "%s", service ? service : "");
		job->hints = *hints;
		pthread_cond_signal(&resolver.come);
	}
	pthread_mutex_unlock(&resolver.mutex);
	return job;
}

static bool job_done(struct job *job)
{
	pthread_mutex_lock(&resolver.mutex);
	bool done = job->state == JOB_DONE;
	pthread_mutex_unlock(&resolver.mutex);
	return done;
}

/* Takes the answer, if there is one, and leaves the job. */
static bool job_leave(struct job *job, struct answer *answer)
{
	pthread_mutex_lock(&resolver.mutex);
	bool done = job->state == JOB_DONE;
	if (done)
		*answer = job->answer;
	job->waiter = NULL;
	if (job->state != JOB_RUNNING)
		job->state = JOB_FREE;
	pthread_mutex_unlock(&resolver.mutex);
	return done;
}

static void lookup(struct pail_request *r, const char *node, const char *service,
		   const struct addrinfo *hints, struct answer *answer)
{
	struct job *job;

	answer->error = EAI_AGAIN;
	aio_request(); /* for its look at the stack */
	request_enter(r);
	while (!(job = job_put(r, node, service, hints)) && !r->pending)
		aio_suspend(r, loop_now_ns() + PAUSE_NS);
	while (job && !job_done(job) && !r->pending)
		aio_suspend(r, UINT64_MAX);
	if (job)
		job_leave(job, answer);
	request_leave(r);
}

static struct addrinfo *answer_list(const struct answer *answer)
{
	struct addrinfo *first = NULL, **link = &first;

	for (uint32_t n = 0; n < answer->count; n++) {
		struct addrinfo *i = malloc(sizeof(*i) + answer->item[n].length);
		if (!i) {
			freeaddrinfo(first);
			return NULL;
		}
		*i = (struct addrinfo){.ai_family = answer->item[n].family,
				       .ai_socktype = answer->item[n].type,
				       .ai_protocol = answer->item[n].protocol,
				       .ai_addrlen = answer->item[n].length,
				       .ai_addr = (struct sockaddr *)(i + 1)};
		memcpy(i->ai_addr, &answer->item[n].address, answer->item[n].length);
		if (n == 0 && answer->canonical)
			i->ai_canonname = strdup(answer->name);
		*link = i;
		link = &i->ai_next;
	}
	return first;
}

/* -- what needs no look-up: numbers ------------------------------------------------------ */

static void answer_add(struct answer *answer, const struct addrinfo *hints, int family,
		       const void *address, unsigned port)
{
	static const struct {
		int type, protocol;
	} kind[] = {{SOCK_STREAM, IPPROTO_TCP}, {SOCK_DGRAM, IPPROTO_UDP}, {SOCK_RAW, 0}};

	for (size_t i = 0; i < sizeof(kind) / sizeof(kind[0]); i++) {
		if ((hints->ai_socktype && hints->ai_socktype != kind[i].type) ||
		    (hints->ai_protocol && kind[i].protocol &&
		     hints->ai_protocol != kind[i].protocol))
			continue;
		uint32_t n = answer->count++;
		answer->item[n].family = family;
		answer->item[n].type = kind[i].type;
		answer->item[n].protocol =
			kind[i].protocol ? kind[i].protocol : hints->ai_protocol;
		memset(&answer->item[n].address, 0, sizeof(answer->item[n].address));
		if (family == AF_INET) {
			struct sockaddr_in *four = (void *)&answer->item[n].address;
			*four = (struct sockaddr_in){.sin_family = AF_INET,
						     .sin_port = htons((uint16_t)port)};
			memcpy(&four->sin_addr, address, sizeof(four->sin_addr));
			answer->item[n].length = sizeof(*four);
		} else {
			struct sockaddr_in6 *six = &answer->item[n].address;
			six->sin6_family = AF_INET6;
			six->sin6_port = htons((uint16_t)port);
			memcpy(&six->sin6_addr, address, sizeof(six->sin6_addr));
			answer->item[n].length = sizeof(*six);
		}
	}
}

/* A number, or none at all: 0 to 65535. */
static bool port_is_numeric(const char *service, unsigned *port)
{
	*port = 0;
	for (const char *c = service; c && *c; c++) {
		if (*c < '0' || *c > '9')
			return false;
		*port = 10 * *port + (unsigned)(*c - '0');
		if (*port > 65535)
			return false;
	}
	return !service || *service;
}

/* The commonest questions, answered as libc does, without its locks. True if it
 * was one of them. */
static bool lookup_numeric(const char *node, const char *service, const struct addrinfo *hints,
			   struct answer *answer)
{
	static const int known = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV | AI_V4MAPPED |
				 AI_ADDRCONFIG | AI_CANONNAME;
	bool passive = hints->ai_flags & AI_PASSIVE;
	unsigned char address[sizeof(struct in6_addr)];
	int family = hints->ai_family;
	unsigned port;

	if (hints->ai_flags & ~known || !port_is_numeric(service, &port) ||
	    (!node && !service) || (!node && hints->ai_flags & AI_CANONNAME) ||
	    (family != AF_UNSPEC && family != AF_INET && family != AF_INET6) ||
	    hints->ai_socktype < 0 || hints->ai_socktype > SOCK_RAW ||
	    (hints->ai_protocol && hints->ai_protocol != IPPROTO_TCP &&
	     hints->ai_protocol != IPPROTO_UDP))
		return false;
	answer->error = 0;
	answer->count = 0;
	answer->canonical = false;
	if (!node) {
		struct in_addr four = {htonl(passive ? INADDR_ANY : INADDR_LOOPBACK)};
		bool both = !passive && family == AF_UNSPEC;
		if (both || family == AF_INET6)
			answer_add(answer, hints, AF_INET6,
				   passive ? &in6addr_any : &in6addr_loopback, port);
		if (family != AF_INET6)
			answer_add(answer, hints, AF_INET, &four, port);
		if (passive && family == AF_UNSPEC)
			answer_add(answer, hints, AF_INET6, &in6addr_any, port);
	} else if (family != AF_INET6 && inet_pton(AF_INET, node, address) == 1) {
		answer_add(answer, hints, AF_INET, address, port);
	} else if (family != AF_INET && inet_pton(AF_INET6, node, address) == 1) {
		answer_add(answer, hints, AF_INET6, address, port);
	} else {
		return false;
	}
	if (hints->ai_flags & AI_CANONNAME) {
		answer->canonical = true;
		snprintf(answer->name, sizeof(answer->name), "%s", node);
	}
	return answer->count > 0;
}

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
		struct addrinfo **result)
{
	/* As libc has it where there are no hints. */
	static const struct addrinfo usual = {.ai_flags = AI_V4MAPPED | AI_ADDRCONFIG,
					      .ai_family = AF_UNSPEC};
	struct pail_request *r = request_current();
	struct answer answer;
	answer.system_error = errno; /* unless it is one of the system's */

	if (!r || r->critical > 0 || r->stage >= REQUEST_CLOSE)
		return lookup_libc()(node, service, hints, result);
	if ((node && strlen(node) >= NAME_MAX_BYTES) ||
	    (service && strlen(service) >= SERVICE_MAX_BYTES))
		return EAI_NONAME;
	struct addrinfo wanted = hints ? *hints : usual;
	if (!lookup_numeric(node, service, &wanted, &answer)) {
		answer.error = EAI_AGAIN;
		if (resolver.jobs)
			lookup(r, node, service, &wanted, &answer);
	}
	if (answer.error == 0) {
		*result = answer_list(&answer);
		return *result ? 0 : EAI_MEMORY;
	}
	errno = answer.system_error;
	return answer.error;
}

/* -- libcurl's thread ------------------------------------------------------------------------
 */

static char inline_thread; /* its address stands for all that have been run */

bool resolve_inline(const void *caller, pthread_t *thread, void *(*start)(void *),
		    void *argument)
{
	struct pail_request *r = request_current();
	Dl_info module;

	request_enter(r);
	int found = dladdr(caller, &module);
	const char *slash = found && module.dli_fname ? strrchr(module.dli_fname, '/') : NULL;
	bool curl = slash && strncmp(slash, "/libcurl", 8) == 0;
	request_leave(r);
	if (!curl)
		return false;
	*thread = (pthread_t)&inline_thread;
	start(argument);
	return true;
}

#ifndef PAIL_MALLOC_OFF

static bool is_inline(pthread_t thread)
{
	return thread == (pthread_t)&inline_thread;
}

int pthread_join(pthread_t thread, void **result)
{
	static __typeof__(pthread_join) *next;

	if (is_inline(thread)) {
		if (result)
			*result = NULL;
		return 0;
	}
	if (!next)
		*(void **)&next = dlsym(RTLD_NEXT, "pthread_join");
	return next(thread, result);
}

int pthread_detach(pthread_t thread)
{
	static __typeof__(pthread_detach) *next;

	if (is_inline(thread))
		return 0;
	if (!next)
		*(void **)&next = dlsym(RTLD_NEXT, "pthread_detach");
	return next(thread);
}

#endif
