/* SPDX-License-Identifier: MIT */
/*
 * The stacks of a trace for other programs: folded (a line per stack, for
 * flamegraph.pl, inferno and speedscope) and pprof (profile.proto, for `go tool
 * pprof` and whoever reads that). Both have the route as what is outermost:
 * in folded as the first frame, in pprof as the label "route"; what no request
 * allocated is of "[no request]".
 */
#ifndef PAIL_CLI_EXPORT_STACKS_H
#define PAIL_CLI_EXPORT_STACKS_H

#include "cli/sink.h"
#include "libtrace/trace.h"

/* Lines "route;outermost;...;innermost BYTES", by bytes asked for. */
int export_folded(struct trace *trace, struct sink *sink, struct err *err);
/* Sample types: alloc_objects, alloc_space, escaped_objects, escaped_space. */
int export_pprof(struct trace *trace, struct sink *sink, struct err *err);

#endif
