/* SPDX-License-Identifier: MIT */
/*
 * The allocation sites of a trace as a flame graph: one box per call, as wide as
 * the bytes that were asked for below it, callers below callees. An SVG of our
 * own, which page.js makes one can click; without JavaScript it is the whole
 * picture. Calls below a five-thousandth of the whole are left out.
 */
#ifndef PAIL_CLI_FLAME_H
#define PAIL_CLI_FLAME_H

#include "base/buf.h"
#include "base/err.h"
#include "libtrace/trace.h"

/* With its tools: search, reset, the line that tells of one box. */
int flame_write(struct buf *out, const struct trace_sites *sites, struct err *err);

#endif
