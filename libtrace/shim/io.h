/* SPDX-License-Identifier: MIT */
/* What went over a TLS connection, as its plain text: for tls.c, which sees it. */
#ifndef PAIL_SHIM_IO_H
#define PAIL_SHIM_IO_H

#include "libtrace/shim/writer.h"

#include <sys/types.h>

/* The last stream that this thread read from. */
extern __thread int io_last_fd __attribute__((tls_model("initial-exec"))) HIDDEN;

/* `bytes` were read into, or written from, `buffer`; both after the call. */
void io_plain_read(int fd, const void *buffer, size_t bytes) HIDDEN;
void io_plain_write(int fd, const void *buffer, size_t bytes) HIDDEN;

#endif
