/* SPDX-License-Identifier: MIT */
/*
 * What --app names, made into a struct handler: a script (it ends in ".lua" or
 * ".js"; the guest that runs it is a plug-in of ours), a plug-in (any other
 * regular file), "builtin:NAME", or a folder.
 */
#ifndef PAIL_SERVER_APP_H
#define PAIL_SERVER_APP_H

#include "base/err.h"
#include "server/handler.h"

/* Loads it; runs nothing of it yet but its constructors. */
int app_open(const char *app, struct handler *handler, struct err *err);
/* Where NAME, a piece of ours that is loaded when it is needed, is. */
int app_library(const char *name, char *path, size_t room, struct err *err);

#endif
