/* SPDX-License-Identifier: MIT */
/*
 * The demo service as a plug-in of `pail serve`: the glue between pail/handler.h
 * and the handlers, which are the same object file that the ordinary server
 * links. Every malloc below runs in the request's bucket, so nothing here is
 * freed in haste; the bucket is cleared as a whole.
 */
#include "demo/service.h"
#include "pail/handler.h"

#include <stdio.h>
#include <stdlib.h>

int pail_start(int argc, char **argv)
{
	const char *table = argc > 1 ? argv[1] : getenv("SERVICE_TABLE");
	if (table == NULL) {
		fputs("service: set SERVICE_TABLE to the table of products\n", stderr);
		return -1;
	}
	return service_start(table);
}

int pail_handle(struct pail_request *r)
{
	struct service_request in = {
		.method = pail_method(r),
		.path = pail_path(r),
		.query = pail_query(r),
	};
	in.body_bytes = pail_body(r, &in.body);
	struct service_reply out;
	service_handle(&in, &out);
	if (out.body == NULL)
		return 500;
	pail_set_header(r, "Content-Type", out.type);
	pail_set_status(r, out.status);
	if (pail_write(r, out.body, out.body_bytes) == -1)
		return 500; /* the client went away: nobody reads this */
	free(out.body);
	return out.status;
}
