/* SPDX-License-Identifier: MIT */
/*
 * One formula of queueing or of statistics, by its name and its inputs as they
 * were typed: what `pail calc` works out. The table of formulas says which
 * inputs each takes and where it has an answer; whatever is typed gives an
 * answer or a reason why there is none. Recursions take a step for each server:
 * 10^9 of them about ten seconds.
 *
 * Nothing is kept between calls. Any thread.
 */
#ifndef PAIL_CLI_CALCULATION_H
#define PAIL_CLI_CALCULATION_H

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>

enum { CALCULATION_INPUTS = 22 };

struct calculation_input {
	const char *name, *unit, *help;
	bool whole;
	double low, high; /* 0, 0: it is no number but a list */
};
extern const struct calculation_input calculation_inputs[CALCULATION_INPUTS];

struct calculation {
	const char *function;
	const char *text[CALCULATION_INPUTS]; /* in the table's order; NULL: not given */
};

/* Appends the answer as text, or as one JSON document. */
int calculation_work(const struct calculation *calculation, bool json, struct buf *out,
		     struct err *err);
/* Appends the formulas with what they take, for people. */
void calculation_list(struct buf *out);

#endif
