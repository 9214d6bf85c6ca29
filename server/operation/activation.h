/* SPDX-License-Identifier: MIT */
/*
 * What systemd, or who speaks like it, asks of a service: listening sockets
 * that come with the process (LISTEN_FDS, sd_listen_fds(3)), and word of its
 * state (NOTIFY_SOCKET, sd_notify(3)): READY, STOPPING, STATUS, WATCHDOG.
 *
 * Both are a few lines of text by environment and datagram, so there is no
 * libsystemd here, which would add five libraries to what the bound counts.
 *
 * In the process that was started, once, before anything else opens descriptors;
 * the variables are taken out of the environment. Its main thread only.
 */
#ifndef PAIL_SERVER_ACTIVATION_H
#define PAIL_SERVER_ACTIVATION_H

#include "base/err.h"
#include "base/limits.h"

#include <stdint.h>

/*
 * The sockets that came along: of two, the one named "admin" (FileDescriptorName=)
 * or else the second is the admin address. -1 where there is none. -1 as the
 * result: one is not a listening stream socket, or there are more than two.
 */
int activation_sockets(int *listen_fd, int *admin_fd, struct err *err);

/* "READY=1\nSTATUS=..."; nothing if nobody listens. Never waits. */
void activation_notify(const char *state);
/* How often WATCHDOG=1 is wanted at the least; 0: not. */
uint64_t activation_watchdog_ns(void);

#endif
