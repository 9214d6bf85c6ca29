/* SPDX-License-Identifier: MIT */
/*
 * --seal: from here on the kernel refuses every call that would change what is
 * mapped (mmap, mremap, munmap, brk, madvise, and shared memory), with ENOMEM,
 * for all threads and for good. The server makes none of them after its start;
 * a handler that tries (dlopen, mmap) is refused, so that the bound holds
 * whatever a plug-in does.
 */
#ifndef PAIL_SERVER_SEAL_H
#define PAIL_SERVER_SEAL_H

#include "base/err.h"

/* Once, when all threads run. */
int seal_close(struct err *err);

#endif
