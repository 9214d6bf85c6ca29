/* SPDX-License-Identifier: MIT */
/*
 * What `pail plan` says: the table, the JSON document, the comments of
 * pail.conf, all from the same sentences.
 */
#ifndef PAIL_CLI_PLAN_TEXT_H
#define PAIL_CLI_PLAN_TEXT_H

#include "cli/planning/lending.h"
#include "cli/planning/traffic.h"
#include "base/buf.h"

/* What the recorded stacks ask for. */
struct stacks {
	uint64_t *by_route;    /* stack to give, or NULL when nothing was recorded */
	uint64_t enough_bytes; /* peaks up to that fit the plan's stack with room to spare */
	uint64_t peak_bytes;   /* the highest above, or 0 */
	uint32_t peak_route;
	uint64_t big_requests; /* peaks above what the plan's stack is safe for */
	uint32_t big_overlap;  /* most of them at one time */
	uint64_t escapes, ambiguous, incomplete, requests;
	bool lent; /* deep stacks are lent, as said here; by_route is NULL then */
	struct lending lending;
};
/* The stack to give to who was seen to use that much. */
uint64_t stack_for(uint64_t peak_bytes);
int stacks_read(struct traffic *traffic, uint64_t stack_bytes, struct stacks *stacks,
		struct err *err);
void stacks_release(struct stacks *stacks);

struct plan_text {
	const struct traffic *traffic;
	const struct planner_ask *ask;
	const struct planner_result *result;
	const struct stacks *stacks;
	const struct plan *plan; /* valid when result->class_count > 0 */
	double load;
	bool provisional;
};

void plan_text_table(const struct plan_text *text, const char *output, struct buf *out);
void plan_text_json(const struct plan_text *text, struct buf *out);
/* Each reason, or each warning, in their order. */
void plan_text_sentences(const struct plan_text *text, bool warnings,
			 void (*each)(void *arg, const char *sentence), void *arg);
void plan_text_config(const struct plan_text *text, struct buf *out);

#endif
