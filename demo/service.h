/* SPDX-License-Identifier: MIT */
/*
 * An ordinary JSON service, as people write them: malloc, jansson, a database
 * that takes its time. It knows neither an HTTP library nor pail; two thin
 * fronts call it, service_mhd.c (libmicrohttpd, a thread per connection) and
 * service_pail.c (a plug-in for `pail serve`), and both link the very same
 * handlers object.
 *
 *	GET  /lookup?key=K    one product and what goes with it
 *	POST /svg             CSV lines "x,y" in, an SVG path out
 *	POST /sort            a JSON list of numbers or strings in, sorted out
 *	GET  /report?rows=N   N rows of a joined table as one document: nobody
 *	                      checks N, so this is the route that eats the machine
 *
 * service_start() fills the table once; after that service_handle() may be
 * called from any number of threads at once and keeps nothing between calls.
 */
#ifndef PAIL_DEMO_SERVICE_H
#define PAIL_DEMO_SERVICE_H

#include <stddef.h>

struct service_request {
	const char *method, *path, *query; /* terminated; query "" if there is none */
	const void *body;
	size_t body_bytes;
};

struct service_reply {
	int status;
	const char *type; /* of the body, static */
	char *body;       /* malloc'd: the caller frees it; NULL: out of memory, status 500 */
	size_t body_bytes;
};

/* Loads the products from a CSV file "key,name,price,stock" with a head line.
 * 0, or -1 after saying why on stderr. */
int service_start(const char *table_path);

/* Answers one request. Always fills `out`; returns its status. */
int service_handle(const struct service_request *in, struct service_reply *out);

#endif
