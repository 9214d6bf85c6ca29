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

/* By code address: the key is mixed with the rule, so that two words that two
 * threads wrote do not pass for one. */
enum { RULES = 1 << 14 };
struct rule_place {
	_Atomic uint64_t mixed, rule;
};
extern struct rule_place rules[RULES] HIDDEN;
static inline struct rule_place *rule_place(uint64_t key)
{
	return &rules[key * UINT64_C(0x9e3779b97f4a7c15) >> 50];
}
static_assert(RULES == 1 << 14, "what rule_place() gives");
uint64_t modules_find_rule(uintptr_t pc, bool exact, uint64_t key) HIDDEN;

/* The rule for a return address (exact: for an interrupted instruction). */
static inline uint64_t modules_rule(uintptr_t pc, bool exact)
{
	uint64_t key = (uint64_t)pc << 1 | exact;
	struct rule_place *place = rule_place(key);
	uint64_t mixed = atomic_load_explicit(&place->mixed, memory_order_acquire);
	uint64_t rule = atomic_load_explicit(&place->rule, memory_order_acquire);

	return LIKELY((mixed ^ rule) == key && mixed) ? rule
						      : modules_find_rule(pc, exact, key);
}
/* The number of this process's map. Walks remembered under another are void. */
uint32_t modules_map(void) HIDDEN;

#endif
