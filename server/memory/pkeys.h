/* SPDX-License-Identifier: MIT */
/*
 * [server] isolation = pkeys: a request that reads or writes into another one's
 * bucket or stack faults, by the CPU's memory-protection keys (x86-64, "ospke").
 *
 * Each bucket's arena and stack have one of the process's 15 keys, neighbours
 * different ones; a request's code runs with the rights to its own key alone, and
 * the core with all. With more than 15 buckets some share a key, and from those
 * a request is not kept away: it is a net under wild writes, which hit what
 * lies near, and no wall against an attacker, who could write to the register.
 *
 * The cost is one register write on each change between core and request. The
 * kernel takes all rights but those to unkeyed memory from signal handlers, so
 * they take theirs with pkeys_all(), and returning from them restores the request's.
 */
#ifndef PAIL_SERVER_PKEYS_H
#define PAIL_SERVER_PKEYS_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

enum { PKEYS_MAX = 15 };

struct pkeys {
	bool on;
	uint32_t count;
	uint32_t rights[PKEYS_MAX]; /* the register's value for who has that key */
};
extern struct pkeys pkeys;

/* Takes the keys and gives them to all buckets of the region. Main thread, once,
 * before workers start. */
int pkeys_open(struct err *err);

static inline void pkeys_write(uint32_t rights)
{
#if defined(__x86_64__)
	__asm__ volatile(".byte 0x0f, 0x01, 0xef" /* wrpkru */
			 :
			 : "a"(rights), "c"(0), "d"(0)
			 : "memory");
#else
	(void)rights;
#endif
}

/* The core's rights. */
static inline void pkeys_all(void)
{
	if (pkeys.on)
		pkeys_write(0);
}

/* Those of a request in that bucket. */
static inline void pkeys_of(uint32_t bucket)
{
	if (pkeys.on)
		pkeys_write(pkeys.rights[bucket % pkeys.count]);
}

#endif
