/* SPDX-License-Identifier: MIT */
/*
 * Proof that a count without any 503 is minimal: as many requests of one class
 * as there are buckets were under way at one instant. Whoever has the trace can
 * check that with one look at each of them, without a simulator.
 *
 *	pail.certificate/1
 *	trace SHA256
 *	class NAME buckets N overlap M at NS
 *	route ROUTE            (the class's, one a line)
 *	request ID START END   (M of them)
 *	end
 */
#ifndef PAIL_CLI_CERTIFICATE_H
#define PAIL_CLI_CERTIFICATE_H

#include "cli/planning/traffic.h"
#include "base/buf.h"

/* Of a plan over the trace as recorded. */
int certificate_write(const struct traffic *traffic, const struct planner_result *result,
		      const struct plan *plan, struct buf *out, struct err *err);
/* 1 if it holds for the trace, 0 with a line in *out that says what does not, -1
 * when it can't be read. */
int certificate_check(const struct traffic *traffic, const char *path, struct buf *out,
		      struct err *err);

#endif
