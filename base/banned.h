/* SPDX-License-Identifier: MIT */
/*
 * Calls that this house does not use. The build puts this header in front of
 * every C file of ours (cmake/PailParts.cmake), and a name below, used in any
 * way, breaks the build; only the preloaded shim is spared, since it has to
 * name what it intercepts.
 *
 *   no length is checked    gets, strcpy, stpcpy, strcat, sprintf, vsprintf
 *   a length that misleads  strncpy (may leave no NUL), strncat
 *   errors cannot be seen   atoi, atoll, atof
 *   hidden, shared state    strtok, gmtime, localtime, ctime, asctime, rand
 *   a race on a file name   mktemp, tmpnam, tempnam
 *   a shell in between      popen
 *
 * (atol and system would belong here, but they are also good names for a
 * tolerance and a region, and headers that we include use them so.)
 *
 * Instead: snprintf, struct str and struct buf, memcpy with a length that was
 * checked, strtol and units_parse_*, the _r functions, mkstemp, posix_spawn.
 */
#ifndef PAIL_BASE_BANNED_H
#define PAIL_BASE_BANNED_H

/* The headers that declare them come first: a poisoned name may not even be
 * declared. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* For clang, fortified headers make it a macro, which poisoning would remark on. */
#undef sprintf
#pragma GCC poison gets strcpy stpcpy strcat sprintf vsprintf strncpy strncat
#pragma GCC poison atoi atoll atof
#pragma GCC poison strtok gmtime localtime ctime asctime rand srand
#pragma GCC poison mktemp tmpnam tempnam
#pragma GCC poison popen

#endif
