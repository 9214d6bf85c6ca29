/* SPDX-License-Identifier: MIT */
/*
 * Processes of other pid namespaces than ours: whether they still live. A program in a
 * container knows its pid there and which namespace that is, and we do not know what
 * it is called here. /proc does: the last number of NSpid in a process's status is its
 * pid where it lives, and ns/pid leads to the namespace (proc(5)).
 *
 * A look goes through all of /proc, some 20 us a process, so it is taken now and then,
 * and only while there is somebody to look for. Who is not there is dead only if we
 * would have seen it: as root in the first namespace of the machine, all are there; as
 * root elsewhere, if we have seen another of its namespace; else, if it was there
 * before. Unknown is never dead: its memory would be taken from under it.
 */
#ifndef PAIL_LIBTRACE_OUTSIDE_H
#define PAIL_LIBTRACE_OUTSIDE_H

#include <stdbool.h>
#include <stdint.h>

enum { OUTSIDE_NAMESPACES = 256 };

struct outside {
	uint64_t *key; /* of those that live, sorted: namespace << 32 | pid there */
	uint32_t count, room;
	int32_t *hidden; /* pids of those whose namespace we may not know */
	uint32_t hidden_count, hidden_room;
	uint32_t seen[OUTSIDE_NAMESPACES]; /* namespaces that we have seen somebody of */
	uint32_t namespaces;
	uint64_t looks; /* that were taken */
	bool good;      /* the last one worked */
	uint64_t own;   /* inode of our namespace */
	bool root;
};

static inline uint64_t outside_key(uint32_t namespace, int32_t pid)
{
	return (uint64_t) namespace << 32 | (uint32_t)pid;
}

/* `proc`: the folder, "/proc". When it can't be read, or memory runs out, nothing is
 * known until the next look. */
void outside_look(struct outside *outside, const char *proc);

enum outside_life { OUTSIDE_UNKNOWN, OUTSIDE_ALIVE, OUTSIDE_DEAD };
/* By the last look; `there`: it was alive in an earlier one. */
enum outside_life outside_judge(const struct outside *outside, uint64_t key, bool there);
void outside_release(struct outside *outside);

#endif
