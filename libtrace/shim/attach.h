/* SPDX-License-Identifier: MIT */
/*
 * Finding the recorder's region and beginning a process image in it. Whatever
 * goes wrong makes the process inert: the program runs on, unrecorded.
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
