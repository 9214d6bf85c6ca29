/* SPDX-License-Identifier: MIT */
/*
 * From addresses in a file to functions and source lines, by elfutils: the
 * file's own symbols and DWARF, or those of its separate debug file (by
 * build-id, .gnu_debuglink, .gnu_debugdata), if they are installed. C++ and
 * Rust names are demangled. One image is open at a time, to bound the memory;
 * when there is none for one, the rest of its addresses have no names.
 */
#ifndef PAIL_LIBTRACE_SYMBOLS_H
#define PAIL_LIBTRACE_SYMBOLS_H

#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

struct symbols;

/* NULL if the file is not there, or is not the one with that build-id
 * (length 0: not known) and no debug file of that one is installed. */
struct symbols *symbols_open(const char *path, struct str build_id);
void symbols_close(struct symbols *symbols);

/* What lies at an address (as linked): one call per function, the innermost
 * inlined one first. function "" or file "": not known; line 0: not known. The
 * strings live until symbols_close(). Gives the number of calls. */
typedef void symbols_found(void *context, const char *function, const char *file, int line);
int symbols_find(struct symbols *symbols, uint64_t address, symbols_found *found,
		 void *context);

/* The name as a person writes it, without parameters; malloc'd, or NULL if it
 * is not mangled. */
char *symbols_demangle(const char *name);

#endif
