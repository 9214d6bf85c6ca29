/* SPDX-License-Identifier: MIT */
/*
 * Adapters: scripts that interpreters load by themselves and that mark for
 * which connection code runs (adapters/). To apply one is to set the variable
 * by which its interpreter finds it, before the program is looked at and
 * started; what the variable held stays behind it.
 */
#ifndef PAIL_CLI_ADAPTER_H
#define PAIL_CLI_ADAPTER_H

#include "base/err.h"

enum adapter { ADAPTER_PYTHON, ADAPTER_NODE, ADAPTERS };

extern const char *const adapter_names[ADAPTERS + 1]; /* ends with NULL */

/* Sets it in this process's environment and says so on stderr. -1 if the
 * adapter is not installed, or the command would not load it. */
int adapter_apply(enum adapter adapter, const char *argv0, char *const *command,
		  struct err *err);

#endif
