/* SPDX-License-Identifier: MIT */
#include "libtrace/ring/ring_guard.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

/* `begin` is set last and cleared first: a range is there while it is not 0. */
static struct guard {
	_Atomic uintptr_t begin, end;
	_Atomic bool cut;
} guards[RING_GUARDS_MAX];

static pthread_mutex_t changing = PTHREAD_MUTEX_INITIALIZER;
static size_t in_use;
static uintptr_t page_bytes;
static struct sigaction before;

/* Only mmap, which is a system call and nothing else. */
static bool replace(uintptr_t fault)
{
	for (size_t i = 0; i < RING_GUARDS_MAX; i++) {
		uintptr_t begin = atomic_load(&guards[i].begin), end = guards[i].end;
		if (begin == 0 || fault < begin || fault >= end)
			continue;
		uintptr_t from = fault & ~(page_bytes - 1);
		void *at = mmap((void *)from, end - from, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		atomic_store(&guards[i].cut, true);
		return at != MAP_FAILED;
	}
	return false;
}

static void on_bus_error(int sig, siginfo_t *info, void *context)
{
	int saved = errno;
	(void)context;
	/* Not ours: it comes again, and goes where it would have gone. */
	if (info->si_code <= 0 || !replace((uintptr_t)info->si_addr))
		sigaction(sig, &before, NULL);
	errno = saved;
}

static int catch_it(void)
{
	struct sigaction action = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO};
	page_bytes = (uintptr_t)sysconf(_SC_PAGESIZE);
	sigemptyset(&action.sa_mask);
	return sigaction(SIGBUS, &action, &before);
}

int ring_guard_add(void *at, size_t bytes)
{
	int guard = 0;
	pthread_mutex_lock(&changing);
	while (guard < RING_GUARDS_MAX && atomic_load(&guards[guard].begin) != 0)
		guard++;
	if (guard == RING_GUARDS_MAX) {
		errno = ENOSPC;
		guard = -1;
	} else if (in_use == 0 && catch_it() != 0) {
		guard = -1;
	} else {
		in_use++;
		atomic_store(&guards[guard].cut, false);
		atomic_store(&guards[guard].end, (uintptr_t)at + bytes);
		atomic_store(&guards[guard].begin, (uintptr_t)at);
	}
	pthread_mutex_unlock(&changing);
	return guard;
}

bool ring_guard_cut(int guard)
{
	return guard >= 0 && atomic_load(&guards[guard].cut);
}

void ring_guard_remove(int guard)
{
	if (guard < 0)
		return;
	pthread_mutex_lock(&changing);
	atomic_store(&guards[guard].begin, 0);
	if (--in_use == 0)
		sigaction(SIGBUS, &before, NULL);
	pthread_mutex_unlock(&changing);
}
