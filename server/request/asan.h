/* SPDX-License-Identifier: MIT */
/*
 * AddressSanitizer has to be told of every change of stacks. Without it these
 * are nothing.
 */
#ifndef PAIL_SERVER_ASAN_H
#define PAIL_SERVER_ASAN_H

#include <stddef.h>

#ifdef __SANITIZE_ADDRESS__
#	include <sanitizer/asan_interface.h>
#	include <sanitizer/common_interface_defs.h>
/* Before leaving for the stack [bottom, bottom + size); `keep` is NULL when this one ends. */
#	define asan_leave(keep, bottom, size) \
		__sanitizer_start_switch_fiber((keep), (bottom), (size))
/* After arriving; gives the stack that was left. */
#	define asan_arrive(keep, bottom, size) \
		__sanitizer_finish_switch_fiber((keep), (const void **)(bottom), (size))
#	define asan_forget(bottom, size) __asan_unpoison_memory_region((bottom), (size))
#else
#	define asan_leave(keep, bottom, size)  ((void)(keep), (void)(bottom), (void)(size))
#	define asan_arrive(keep, bottom, size) ((void)(keep), (void)(bottom), (void)(size))
#	define asan_forget(bottom, size)       ((void)(bottom), (void)(size))
#endif

#endif
