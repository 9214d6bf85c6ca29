/* SPDX-License-Identifier: MIT */
/*
 * Shared memory that may shrink while it is read: whoever can write a file can
 * truncate it, and from then on each touch of what was cut off raises SIGBUS. A
 * file that others find by its name can't be sealed against that (F_SEAL_SHRINK is
 * for memfd alone, which has no name), so the recorder catches the signal: for a
 * range that is guarded the missing pages become zero pages of its own, in place,
 * and the range is known to be cut. Zeros are no events and no chunks, so the
 * reader needs no other care.
 *
 * The handler is the process's, and is there while any range is guarded. Faults
 * elsewhere go to whoever had the signal before. Ranges may be added and removed by
 * several threads.
 */
#ifndef PAIL_LIBTRACE_RING_GUARD_H
#define PAIL_LIBTRACE_RING_GUARD_H

#include <stdbool.h>
#include <stddef.h>

/* Guards [at, at + bytes), whole pages of a private or shared mapping. Gives a
 * number for the others, or -1 with errno: ENOSPC with RING_GUARDS_MAX of them. */
enum { RING_GUARDS_MAX = 64 };
int ring_guard_add(void *at, size_t bytes);
/* Whether pages of it were missing. */
bool ring_guard_cut(int guard);
void ring_guard_remove(int guard); /* -1 is fine */

#endif
