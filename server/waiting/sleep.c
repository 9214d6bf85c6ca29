/* SPDX-License-Identifier: MIT */
/*
 * Calls of libc that wait. Inside a request they let other requests of the
 * thread run meanwhile; anywhere else they are libc's own.
 */
#include "server/connection/connection.h"
#include "server/connection/loop.h"
#include "server/request/request.h"

#include <dlfcn.h>
#include <errno.h>
#include <time.h>
#include <unistd.h>

static const uint64_t SECOND_NS = 1000000000;

static bool may_yield(const struct pail_request *r)
{
	return r && r->critical == 0 && r->stage < REQUEST_CLOSE;
}

static bool timespec_valid(const struct timespec *time)
{
	return time->tv_sec >= 0 && time->tv_nsec >= 0 && time->tv_nsec < 1000000000;
}

static void sleep_until(struct pail_request *r, uint64_t until_ns)
{
	while (loop_now_ns() < until_ns)
		request_wait(r, REQUEST_WAIT_TIME, until_ns);
}

int clock_nanosleep(clockid_t clock, int flags, const struct timespec *time,
		    struct timespec *left)
{
	static int (*next)(clockid_t, int, const struct timespec *, struct timespec *);
	struct pail_request *r = request_current();

	if (!may_yield(r) || clock == CLOCK_THREAD_CPUTIME_ID ||
	    clock == CLOCK_PROCESS_CPUTIME_ID) {
		if (!next)
			*(void **)&next = dlsym(RTLD_NEXT, "clock_nanosleep");
		return next(clock, flags, time, left);
	}
	if (!timespec_valid(time))
		return EINVAL;
	uint64_t ns = (uint64_t)time->tv_sec * SECOND_NS + (uint64_t)time->tv_nsec;
	if (flags & TIMER_ABSTIME) {
		struct timespec now;
		if (clock_gettime(clock, &now) < 0)
			return errno;
		uint64_t now_ns = (uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec;
		ns = ns > now_ns ? ns - now_ns : 0;
	}
	sleep_until(r, loop_now_ns() + ns);
	return 0;
}

int nanosleep(const struct timespec *time, struct timespec *left)
{
	int error = clock_nanosleep(CLOCK_MONOTONIC, 0, time, left);

	if (error == 0)
		return 0;
	errno = error;
	return -1;
}

int usleep(useconds_t us)
{
	struct timespec time = {us / 1000000, (long)(us % 1000000) * 1000};
	return nanosleep(&time, NULL);
}

unsigned sleep(unsigned seconds)
{
	struct timespec time = {seconds, 0}, left = {0, 0};

	return nanosleep(&time, &left) == 0 ? 0 : (unsigned)left.tv_sec;
}
