/* SPDX-License-Identifier: MIT */
/*
 * How deep a request's stack goes, exactly (REGION_PAINT): when a thread reads
 * from a socket, what lies below its stack pointer is painted, and when it
 * writes, waits or ends, the lowest place that is no longer so says how deep it
 * went in between, which the hooks alone would not have seen.
 *
 * Painted are up to DEPTH_BYTES that surely are this thread's own stack, by the
 * thread library's word, never a handler's or a coroutine's.
 */
#ifndef PAIL_SHIM_DEPTH_H
#define PAIL_SHIM_DEPTH_H

#include "libtrace/shim/writer.h"

enum { DEPTH_BYTES = 64 * 1024 };

/* An event of this kind is about to be written: may lower writer.stack_low. */
void depth_event(enum event_kind kind) HIDDEN;

#endif
