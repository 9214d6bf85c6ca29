/* SPDX-License-Identifier: MIT */
/*
 * A request's route: "METHOD /path", without query, and few enough of them
 * that a report can be read.
 *
 * The first ROUTES_PLAIN different paths are taken as they are. From then on
 * segments that look like identifiers (digits, UUIDs, long hexadecimal) become
 * ":id", and once there are ROUTES_MOST routes the rest is "METHOD (other)".
 * So a small service sees its paths, and /item/1, /item/2, ... do not make a
 * million routes. A marker's label is a route as it stands.
 */
#ifndef PAIL_LIBTRACE_ROUTE_H
#define PAIL_LIBTRACE_ROUTE_H

#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ROUTES_PLAIN = 256, ROUTES_MOST = 1024, ROUTE_BYTES_MAX = 256 };

/* A target that was named before: most requests ask for what others have asked for. */
enum { ROUTES_KNOWN = 64 };
struct route_known {
	uint16_t method_bytes, target_bytes, name_bytes; /* name_bytes 0: none */
	char asked[ROUTE_BYTES_MAX], name[ROUTE_BYTES_MAX];
};

struct route_namer {
	struct route_known known[ROUTES_KNOWN]; /* by hash */
	char *name[ROUTES_MOST];
	uint16_t slot[4 * ROUTES_MOST]; /* index + 1 */
	size_t count;
};

void route_namer_init(struct route_namer *namer);
void route_namer_release(struct route_namer *namer);
/* The view lives until the next call or as long as the namer. */
struct str route_name(struct route_namer *namer, struct str method, struct str target,
		      char text[ROUTE_BYTES_MAX]);
/* One path segment that looks like an identifier. */
bool route_is_identifier(struct str segment);

#endif
