/* SPDX-License-Identifier: MIT */
/*
 * The file behind a ring: made, preallocated and mapped by the recorder, and
 * found by name by the processes it records.
 *
 * It lies in a folder of its own. A recorder that is root lets every user open
 * the file, as servers give up their uid before they exec; the folder can then
 * be passed through but not listed (0711) and the name cannot be guessed, so
 * who may write is who was told. Otherwise both are the user's alone.
 *
 * The recorder holds a lock on the file while it lives. One that was killed
 * leaves its file behind, unlocked; the next recorder of that user removes it.
 */
#ifndef PAIL_LIBTRACE_RING_FILE_H
#define PAIL_LIBTRACE_RING_FILE_H

#include "libtrace/ring/ring.h"
#include "libtrace/shim/region.h"

struct ring_file {
	struct region *region;
	size_t bytes;
	int fd;    /* holds the lock; -1 = none */
	int guard; /* ring_guard.h; -1 = none */
	char folder[160];
	char path[REGION_PATH_MAX];
};

int ring_file_create(struct ring_file *file, const struct ring_options *options,
		     struct err *err);
/* Unmaps and unlinks. */
void ring_file_remove(struct ring_file *file);

#endif
