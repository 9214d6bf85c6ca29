/* SPDX-License-Identifier: MIT */
/*
 * Places in code and data by name: "libx.so+0x1a2b", as addr2line(1) takes them.
 * What is loaded is written down once, so that naming a place takes no lock and
 * can be done in a signal handler; what is loaded later has no name.
 */
#ifndef PAIL_SERVER_MODULES_H
#define PAIL_SERVER_MODULES_H

#include <stddef.h>
#include <stdint.h>

enum { MODULES_PLACE_BYTES = 72 };

/* Once, when all has been loaded, and before there are workers. */
void modules_find(void);
/* "0x..." for what lies in none. */
void modules_place(uintptr_t p, char *text, size_t size);

#endif
