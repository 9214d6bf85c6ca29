/* SPDX-License-Identifier: MIT */
/*
 * Looks at a program before it is run: whether the preloaded library would be
 * loaded into it at all. What the dynamic loader ignores (a static program, a
 * setuid one) would otherwise give an empty trace and no word why. Scripts are
 * followed to their interpreter.
 */
#ifndef PAIL_CLI_INSPECT_H
#define PAIL_CLI_INSPECT_H

#include "base/err.h"

#include <stddef.h>

/* Finds `name` as execvp(3) would and checks it. `path` gets where it is.
 * -1: the message says what stands in the way and what to do. */
int inspect_program(const char *name, char *path, size_t path_size, struct err *err);

#endif
