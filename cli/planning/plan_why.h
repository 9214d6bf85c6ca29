/* SPDX-License-Identifier: MIT */
/*
 * Why a plan is as it is, and what to beware of, in sentences: those that the
 * table, the JSON document, the page and the comments of pail.conf all show. The
 * numbers in them are the planner's, but for what is read off the trace here: the
 * tail of the needs, and what the need that sets a size is made of.
 */
#ifndef PAIL_CLI_PLAN_WHY_H
#define PAIL_CLI_PLAN_WHY_H

#include "cli/planning/plan_text.h"

enum { SENTENCES_MAX = 128, SENTENCE_MAX = 640 };

struct sentences {
	char text[SENTENCES_MAX][SENTENCE_MAX];
	size_t count; /* what is said beyond the most is lost */
	bool failed;  /* there was no memory to find out what to say */
};

/* Each appends. Of one class: */
void plan_why_count(const struct plan_text *text, uint32_t class_index, struct sentences *s);
void plan_why_size(const struct plan_text *text, uint32_t class_index, struct sentences *s);
/* And of the whole: the verdict and the rate, the line, the stacks. */
void plan_why_rate(const struct plan_text *text, struct sentences *s);
void plan_why_queue(const struct plan_text *text, struct sentences *s);
void plan_why_stacks(const struct plan_text *text, struct sentences *s);
/* All of them, and waste and fragmentation, in their order. */
void plan_why(const struct plan_text *text, struct sentences *s);
void plan_warnings(const struct plan_text *text, struct sentences *s);

/* d ln P(503) / d ln load of a class, for the traffic's own peakedness (Hayward). */
double plan_elasticity(const struct planner_class *c);
/* What a request that fits leaves of its bucket, on average. */
uint64_t plan_waste_bytes(const struct planner_class *c);

/* The greatest need that fits a class, and how much of it was in use at one time: the
 * rest is headers, rounding and holes. False where the trace does not tell. */
struct plan_parts {
	uint64_t need_bytes, live_bytes;
	double fragmentation; /* 1 - live / need */
};
bool plan_parts(const struct plan_text *text, uint32_t class_index, struct plan_parts *parts);

#endif
