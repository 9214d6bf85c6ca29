/* SPDX-License-Identifier: MIT */
#include "server/failure/fault.h"

#include "server/request/asan.h"
#include "server/request/bucket.h"
#include "server/memory/escapes.h"
#include "server/failure/fail.h"
#include "server/failure/libc_lock.h"
#include "server/connection/loop.h"
#include "server/memory/malloc.h"
#include "server/memory/pkeys.h"
#include "server/request/registers.h"
#include "server/request/request.h"

#include <assert.h>
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

enum { STEPS_MAX = 1000 * 1000, WATCH_PATIENCE = 3, LOOKS_MAX = 50, STREAMS_LISTED_MAX = 4096 };

static void context_abandon(ucontext_t *context, struct pail_request *r)
{
	libc_lock_left(r, registers_pc(context), registers_sp(context), true);
	registers_abandon(context, r->stack_top, request_abandoned, r);
}

/* -- faults ------------------------------------------------------------------------- */

static bool in_guard_of(const unsigned char *low, const unsigned char *p)
{
	return (size_t)(p - (low - REGION_GUARD_BYTES)) < REGION_GUARD_BYTES;
}

static bool in_guard(const struct pail_request *r, const void *address)
{
	if (in_guard_of(r->bucket->stack, address))
		return true;
	return r->big_stack >= 0 &&
	       in_guard_of(region_big_stack(&core.region, (uint32_t)r->big_stack), address);
}

static const char *fault_cause(int signal, const struct pail_request *r, const siginfo_t *info)
{
	switch (signal) {
	case SIGSEGV: return in_guard(r, info->si_addr) ? "stack-overflow" : "segv";
	case SIGBUS: return "bus";
	case SIGFPE: return "fpe";
	case SIGILL: return "ill";
	default: return "abort";
	}
}

/* The request that runs handler code just now, and can be left. */
static struct pail_request *leavable(void)
{
	struct pail_request *r = request_current();
	return r && r->critical == 0 && r->stage < REQUEST_CLOSE ? r : NULL;
}

static void on_fault(int signal, siginfo_t *info, void *context)
{
	pkeys_all();
	struct pail_request *r = leavable();
	uintptr_t pc = registers_pc(context);
	libc_lock_walk_failed();
	bool sent = info->si_code <= 0 && !(signal == SIGABRT && info->si_pid == getpid());

	if (sent)
		fail_now(signal, pc, "a signal was sent");
	if (!r)
		fail_stop(signal, pc, "a fault outside a handler");
	const char *cause = fault_cause(signal, r, info);
	if (malloc_pc_in_loader(pc) && strcmp(cause, "stack-overflow") != 0)
		fail_stop(signal, pc, "a fault in the dynamic loader");
	if (escapes_describe(info->si_addr, r->detail, sizeof(r->detail)))
		cause = "escape";
	else if (info->si_code == SEGV_PKUERR && signal == SIGSEGV)
		snprintf(r->detail, sizeof(r->detail), "in another bucket");
	request_note(r, cause, 500, pc);
	asan_forget(r->bucket->stack, r->bucket->stack_bytes);
	context_abandon(context, r);
}

/* -- deadlines ---------------------------------------------------------------------- */

static void deadline_now(struct pail_request *r, const char *cause, ucontext_t *context)
{
	registers_step(context, false);
	r->worker->stepping = NULL;
	r->worker->looks = 0;
	request_note(r, cause, 504, registers_pc(context));
	context_abandon(context, r);
}

/* In the midst of what is not to be left: libc, or a note of a lock. */
static bool passes_soon(uintptr_t pc)
{
	return malloc_pc_in_libc(pc) || locks_pc(pc);
}

static void deadline_passed(struct pail_request *r, const char *cause, ucontext_t *context,
			    bool patient)
{
	if (r->critical > 0) {
		r->pending = cause;
		r->pending_status = 504;
	} else if (r->locks.depth > 0 && r->locks.cause != cause) {
		/* At the unlock, or at the next deadline whatever is held. */
		r->locks.cause = cause;
		r->locks.status = 504;
		r->cpu_ticks = 0;
	} else if (patient && passes_soon(registers_pc(context))) {
		if (!registers_step(context, true)) {
			/* It is looked at again at the next tick, a few times. */
			if (++r->worker->looks > LOOKS_MAX)
				deadline_now(r, cause, context);
			return;
		}
		r->worker->stepping = cause;
		r->worker->steps = 0;
	} else {
		deadline_now(r, cause, context);
	}
}

static void on_tick(int signal, siginfo_t *info, void *context)
{
	struct pail_request *r = request_current();

	(void)signal;
	(void)info;
	pkeys_all();
	if (!r || r->stage >= REQUEST_CLOSE || !core.plan.cpu_deadline_ns)
		return;
	r->cpu_ticks++;
	if ((uint64_t)r->cpu_ticks * FAULT_TICK_NS >= core.plan.cpu_deadline_ns)
		deadline_passed(r, "deadline-cpu", context, true);
}

static void on_step(int signal, siginfo_t *info, void *context)
{
	struct pail_request *r = leavable();

	pkeys_all();
	if (!this_worker || !this_worker->stepping) {
		if (!r || info->si_code <= 0)
			fail_stop(signal, registers_pc(context), "a trap outside a handler");
		request_note(r, "trap", 500,
			     registers_pc(context)); /* a breakpoint of the handler's own */
		context_abandon(context, r);
		return;
	}
	const char *cause = this_worker->stepping;
	if (!r) { /* it went into the core, which will look */
		r = request_current();
		if (r && r->stage < REQUEST_CLOSE) {
			r->pending = cause;
			r->pending_status = 504;
		}
		this_worker->stepping = NULL;
		registers_step(context, false);
	} else if (!passes_soon(registers_pc(context)) || ++this_worker->steps > STEPS_MAX) {
		this_worker->stepping = NULL;
		registers_step(context, false);
		/* At the unlock, if it has come to hold a lock by these steps. */
		deadline_passed(r, cause, context, false);
	}
}

static uint64_t watched_since(struct worker *worker)
{
	return atomic_load_explicit(&worker->resumed_ns, memory_order_relaxed);
}

static void on_watch(int signal, siginfo_t *info, void *context)
{
	struct worker *worker = this_worker;
	struct pail_request *r = request_current();

	(void)signal;
	(void)info;
	pkeys_all();
	if (!r || r->stage >= REQUEST_CLOSE ||
	    loop_now_ns() - watched_since(worker) < core.plan.wall_deadline_ns)
		return;
	/* It may hang inside libc for ever: then out of there all the same. */
	bool patient = worker->watched++ < WATCH_PATIENCE;
	if (!patient)
		worker->watched = 0;
	deadline_passed(r, "deadline-wall", context, patient);
}

void fault_watch(struct worker *worker)
{
	uint64_t since_ns = watched_since(worker);

	if (since_ns && loop_now_ns() > since_ns + core.plan.wall_deadline_ns)
		pthread_kill(worker->thread, FAULT_WATCH_SIGNAL);
}

/* -- streams ------------------------------------------------------------------------- */

/* glibc's _IO_lock_t, which has been this since 2.0 and is reached through the
 * public struct _IO_FILE. The owner tells whether it is held: what `count` starts
 * with differs between versions. */
struct stream_lock {
	int lock, count;
	void *owner;
};

void fault_release_stream(void *file)
{
	FILE *stream = file;
	const struct stream_lock *lock = (const struct stream_lock *)stream->_lock;

	while (lock && lock->owner == (void *)pthread_self())
		funlockfile(stream);
}

/* libc's own variable; named in the program, it would become a copy of it. */
static FILE **streams_first;

/* All that libc knows, by its own list. Another thread may change that list
 * meanwhile: its memory is always there (streams lie in libc's data, in the
 * system region or in a handler's), but what has been read is not followed
 * anywhere else. */
void fault_release_streams(void)
{
	FILE *stream = streams_first ? *streams_first : NULL;

	for (int i = 0; i < STREAMS_LISTED_MAX && stream && malloc_lasts(stream) &&
			malloc_lasts(stream->_lock);
	     i++) {
		fault_release_stream(stream);
		stream = stream->_chain;
	}
}

/* -- ends that libc knows --------------------------------------------------------------- */

#ifndef PAIL_MALLOC_OFF
#	define CALLER ((uintptr_t)__builtin_return_address(0))

void abort(void)
{
	struct pail_request *r = leavable();

	if (r) {
		r->site = CALLER;
		request_fail(r, "abort", 500);
	}
	fail_stop(SIGABRT, 0, "abort() was called");
}

void __assert_fail(const char *assertion, const char *file, unsigned line, const char *function)
{
	struct pail_request *r = leavable();
	char text[256];

	if (r) {
		const char *slash = strrchr(file, '/');
		snprintf(r->detail, sizeof(r->detail), "%s:%u: %s", slash ? slash + 1 : file,
			 line, assertion);
		r->site = CALLER;
		request_fail(r, "assert", 500);
	}
	int length =
		snprintf(text, sizeof(text), "pail serve: %s:%u: %s: assertion '%s' failed\n",
			 file, line, function, assertion);
	if (length > 0 && write(STDERR_FILENO, text, (size_t)length) < 0)
		fail_now(SIGABRT, 0, "an assertion failed");
	fail_stop(SIGABRT, 0, "an assertion failed");
}

void __stack_chk_fail(void) __attribute__((noreturn));
void __stack_chk_fail(void)
{
	struct pail_request *r = leavable();

	if (r) {
		r->site = CALLER;
		request_fail(r, "stack-smashed", 500);
	}
	fail_stop(SIGABRT, 0, "a smashed stack");
}

void exit(int status)
{
	struct pail_request *r = leavable();
	void (*next)(int);

	if (r) {
		r->site = CALLER;
		request_fail(r, "exit", 500);
	}
	*(void **)&next = dlsym(RTLD_NEXT, "exit");
	if (next)
		next(status);
	_exit(status);
}
#endif

/* -- opening -------------------------------------------------------------------------- */

static int handle(int signal, void (*handler)(int, siginfo_t *, void *), int flags,
		  struct err *err)
{
	struct sigaction action = {.sa_sigaction = handler,
				   .sa_flags = SA_SIGINFO | SA_ONSTACK | flags};

	sigemptyset(&action.sa_mask);
	if (flags & SA_NODEFER) {
		sigaddset(&action.sa_mask, FAULT_TICK_SIGNAL);
		sigaddset(&action.sa_mask, FAULT_WATCH_SIGNAL);
	}
	if (sigaction(signal, &action, NULL) < 0)
		return err_errno(err, "can't handle signal %d", signal);
	return 0;
}

int fault_open(struct err *err)
{
	static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};

	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
		if (handle(faults[i], on_fault, SA_NODEFER, err) < 0)
			return -1;
	if (handle(SIGTRAP, on_step, SA_NODEFER, err) < 0 ||
	    handle(FAULT_TICK_SIGNAL, on_tick, SA_RESTART, err) < 0 ||
	    handle(FAULT_WATCH_SIGNAL, on_watch, 0, err) < 0)
		return -1;
	signal(SIGPIPE, SIG_IGN);
	*(void **)&streams_first = dlsym(RTLD_DEFAULT, "_IO_list_all");
	return 0;
}

int fault_thread_open(struct worker *worker, struct err *err)
{
	stack_t stack = {.ss_sp = region_signal_stack(&core.region, worker->index),
			 .ss_size = REGION_SIGNAL_STACK_BYTES};
	struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID,
				 .sigev_signo = FAULT_TICK_SIGNAL};
	struct timespec tick = {0, FAULT_TICK_NS};
	struct itimerspec every = {.it_interval = tick, .it_value = tick};
	timer_t timer;

	if (sigaltstack(&stack, NULL) < 0)
		return err_errno(err, "can't set a signal stack");
	if (!core.plan.cpu_deadline_ns)
		return 0;
	event._sigev_un._tid = worker->tid;
	if (timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &timer) < 0 ||
	    timer_settime(timer, 0, &every, NULL) < 0)
		return err_errno(err, "can't have a timer of CPU time");
	return 0;
}
