/* SPDX-License-Identifier: MIT */
/*
 * Which code lies where in this process, and what its unwind tables say: the
 * rules of stack.c, found once per code address and kept, and the MODULE
 * events that let the recorder name the addresses.
 *
 * The modules that stacks have led to so far are a "map", with a number of the
 * region's. It only grows, so that an address means one thing in one map; where
 * it could come to mean another (a module was unloaded, or a forked child
 * loads one of its own) a new map is begun.
 */
#ifndef PAIL_SHIM_MODULES_H
#define PAIL_SHIM_MODULES_H

#include "libtrace/shim/writer.h"

/* The rule for a return address (exact: for an interrupted instruction). */
uint64_t modules_rule(uintptr_t pc, bool exact) HIDDEN;
/* The number of this process's map. Walks remembered under another are void. */
uint32_t modules_map(void) HIDDEN;

#endif
