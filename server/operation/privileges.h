/* SPDX-License-Identifier: MIT */
/*
 * Who the server is while it serves: [server] user and group, taken on when the
 * sockets are bound and the limits are raised that only root may raise, before
 * there is a second process or thread. Supplementary groups are the user's
 * own, no_new_privs is set, and it is tried that there is no way back.
 * Logs and the app are opened as that user, at start as on each reopening.
 */
#ifndef PAIL_SERVER_PRIVILEGES_H
#define PAIL_SERVER_PRIVILEGES_H

#include "base/err.h"
#include "base/limits.h"

/* Nothing if the plan names neither. *key is the one that is at fault. */
int privileges_drop(const struct plan *plan, const char **key, struct err *err);

#endif
