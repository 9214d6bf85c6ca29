/* SPDX-License-Identifier: MIT */
/*
 * Finding the recorder's region and beginning a process image in it. Whatever
 * goes wrong makes the process inert: the program runs on, unrecorded.
 *
 * A forked child needs nothing more: it has the mapping. An image that is
 * exec'd opens the file again, by name; so not followed are exec after chroot
 * (the name is not there), exec of a program that is static, set-uid or closed
 * to LD_PRELOAD, and exec into another user's image if the recorder is not
 * root. io_uring and stdio on sockets go past every hook. In a seccomp'd
 * process the shim needs gettid (once a thread), madvise and futex (once a
 * chunk) from the filter, fstat for descriptors it has not seen made, and
 * rt_sigprocmask, by which it asks what may be read (memory.h).
 */
#ifndef PAIL_SHIM_ATTACH_H
#define PAIL_SHIM_ATTACH_H

#include "libtrace/shim/writer.h"

/* A thread has written its first event: arrange that its end is noticed. */
void attach_thread(struct writer *w) HIDDEN;

/* The environment entries that carry us across exec, with their names;
 * "" when not attached. */
extern char attach_ring[] HIDDEN, attach_preload[] HIDDEN;

#endif
