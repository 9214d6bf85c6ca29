/* SPDX-License-Identifier: MIT */
#include "server/failure/fail.h"

#include "server/connection/loop.h"
#include "server/memory/malloc.h"
#include "server/operation/log_writer.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

extern const char __executable_start[], etext[];

static _Atomic int failed; /* the signal, or FAIL_SIGNAL for a taint; 0: not */

static void tell(int signal, uintptr_t pc, const char *what, const char *then)
{
	char text[256], where[48] = "", which[32] = "";
	uintptr_t low = (uintptr_t)__executable_start, high = (uintptr_t)etext;

	if (pc >= low && pc < high)
		snprintf(where, sizeof(where), " at pail-server+0x%lx",
			 (unsigned long)(pc - low));
	else if (pc)
		snprintf(where, sizeof(where), " at 0x%lx", (unsigned long)pc);
	if (this_worker)
		snprintf(which, sizeof(which), "worker %u: ", this_worker->index);
	int length =
		signal == FAIL_SIGNAL
			? snprintf(text, sizeof(text), "pail serve: %s%s%s; %s\n", which, what,
				   where, then)
			: snprintf(text, sizeof(text), "pail serve: %s%s (signal %d)%s; %s\n",
				   which, what, signal, where, then);
	if (length > 0 && write(STDERR_FILENO, text, (size_t)length) < 0)
		return;
}

__attribute__((noreturn)) static void end_by(int signal)
{
	struct sigaction action = {.sa_handler = SIG_DFL};
	sigset_t set;

	sigaction(signal, &action, NULL);
	sigemptyset(&set);
	sigaddset(&set, signal);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	raise(signal);
	_exit(127);
}

void fail_now(int signal, uintptr_t pc, const char *what)
{
	tell(signal, pc, what, "this can't be contained, and the process ends");
	log_writer_hurry();
	end_by(signal);
}

/* The main thread waits for that signal too (main.c). */
static void raise_to_main(int signal)
{
	int none = 0;

	/* The worse of two stands: a signal over a taint. */
	if (!atomic_compare_exchange_strong(&failed, &none, signal) && none == FAIL_SIGNAL)
		atomic_store(&failed, signal);
	syscall(SYS_tgkill, getpid(), getpid(), FAIL_SIGNAL);
}

/* Plain system calls: our close() would look at the request's state. */
static void leave_connections(struct worker *worker)
{
	syscall(SYS_close, worker->epoll_fd);
	for (uint32_t i = 0; i < worker->slot_count; i++) {
		const struct connection *c = &worker->slots[i];
		if (c->state != CONNECTION_FREE && c->fd > STDERR_FILENO) {
			shutdown(c->fd, SHUT_RDWR);
			syscall(SYS_close, c->fd);
		}
	}
	log_wake(&worker->log); /* what it has told is still written */
}

void fail_stop(int signal, uintptr_t pc, const char *what)
{
	static _Thread_local bool again;
	struct worker *worker = this_worker;
	sigset_t all;

	if (!worker || again || malloc_system_held() || atomic_load(&worker->started) <= 0)
		fail_now(signal, pc, what);
	again = true;
	sigfillset(&all);
	/* But for faults: one in here ends the process. */
	sigdelset(&all, SIGSEGV);
	sigdelset(&all, SIGBUS);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
	tell(signal, pc, what,
	     "its connections are closed, the others are answered, then a new process serves");
	atomic_store(&worker->resumed_ns, 0);
	balance_say(core.balance, worker->index, BALANCE_AWAY);
	leave_connections(worker);
	atomic_store(&worker->stopped, true);
	raise_to_main(signal);
	for (;;)
		syscall(SYS_ppoll, NULL, 0, NULL, NULL, 0);
}

void fail_taint(uintptr_t pc, const char *what)
{
	static _Atomic bool told;

	if (!atomic_exchange(&told, true))
		tell(FAIL_SIGNAL, pc, what,
		     "all requests are answered, then a new process serves");
	raise_to_main(FAIL_SIGNAL);
}

bool fail_pending(void)
{
	return atomic_load(&failed) != 0;
}

void fail_end(void)
{
	int signal = atomic_load(&failed);

	if (signal == FAIL_SIGNAL)
		_exit(FAIL_EXIT_TAINTED);
	end_by(signal);
}
