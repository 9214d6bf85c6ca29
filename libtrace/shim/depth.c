/* SPDX-License-Identifier: MIT */
#include "libtrace/shim/depth.h"

#include <errno.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAINT UINT64_C(0x7061696c7061696c)
/* Between the stack pointer and the paint: our own frames and red zones. */
enum { MARGIN = 512, LEAST = 1024 };

static __thread struct {
	uintptr_t low, top;             /* of this thread's stack; 0: not asked yet */
	uintptr_t painted, painted_end; /* painted == painted_end: nothing is */
	uint32_t process;
} mine __attribute__((tls_model("initial-exec")));

static void find_stack(void)
{
	extern void *__libc_stack_end;
	struct rlimit limit;
	pthread_attr_t attributes;
	void *low;
	size_t bytes, guard = 0;

	mine.low = mine.top = 1; /* asked, in vain */
	if (this_process.pid == (int32_t)syscall(SYS_gettid)) {
		/* The kernel keeps what is below free, as far as the limit goes. */
		bytes = 8 << 20;
		if (getrlimit(RLIMIT_STACK, &limit) == 0 && limit.rlim_cur < bytes)
			bytes = (size_t)limit.rlim_cur;
		mine.top = (uintptr_t)__libc_stack_end;
		mine.low = mine.top - bytes + bytes / 8;
		return;
	}
	if (pthread_getattr_np(pthread_self(), &attributes) != 0)
		return;
	if (pthread_attr_getstack(&attributes, &low, &bytes) == 0 &&
	    pthread_attr_getguardsize(&attributes, &guard) == 0) {
		mine.low = (uintptr_t)low + guard;
		mine.top = (uintptr_t)low + bytes;
	}
	pthread_attr_destroy(&attributes);
}

__attribute__((noinline)) static void paint(void)
{
	uintptr_t here = (uintptr_t)__builtin_frame_address(0);

	if (!mine.low)
		find_stack();
	if (here < mine.low + MARGIN + LEAST || here >= mine.top)
		return;
	uintptr_t end = (here - MARGIN) & ~(uintptr_t)63;
	uintptr_t start = (mine.low + 63) & ~(uintptr_t)63;
	if (end - start > DEPTH_BYTES)
		start = end - DEPTH_BYTES;
	/* Downwards, as a stack grows, and by no function that has a frame. */
	for (volatile uint64_t *at = (uint64_t *)end; at > (uint64_t *)start;)
		*--at = PAINT;
	mine.painted = start;
	mine.painted_end = end;
}

/* The lowest word that is not painted any more. */
__attribute__((noinline)) static void measure(void)
{
	const uint64_t *at = (const uint64_t *)mine.painted;
	const uint64_t *end = (const uint64_t *)mine.painted_end;

	mine.painted = mine.painted_end = 0;
	/* On another stack now, or deeper than it was: nothing to be said. */
	if ((uintptr_t)__builtin_frame_address(0) < (uintptr_t)at ||
	    (uintptr_t)__builtin_frame_address(0) >= mine.top)
		return;
	for (; at < end; at += 8)
		if ((at[0] ^ PAINT) | (at[1] ^ PAINT) | (at[2] ^ PAINT) | (at[3] ^ PAINT) |
		    (at[4] ^ PAINT) | (at[5] ^ PAINT) | (at[6] ^ PAINT) | (at[7] ^ PAINT))
			break;
	while (at < end && *at == PAINT)
		at++;
	if (at < end && (uintptr_t)at < writer.stack_low)
		writer.stack_low = (uintptr_t)at;
}

void depth_event(enum event_kind kind)
{
	int saved = errno;

	if (mine.process != this_process.serial) {
		mine.process = this_process.serial;
		mine.painted = mine.painted_end = 0;
		mine.low = 0;
	}
	switch (kind) {
	case EVENT_WRITE:
	case EVENT_WAIT_BEGIN:
	case EVENT_CLOSE:
	case EVENT_MARK_END:
	case EVENT_THREAD_EXIT:
		if (mine.painted != mine.painted_end)
			measure();
		break;
	case EVENT_READ:
	case EVENT_MARK_BEGIN:
		if (mine.painted == mine.painted_end)
			paint();
		break;
	default: break;
	}
	errno = saved;
}
