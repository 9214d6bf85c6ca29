/* SPDX-License-Identifier: MIT */
/*
 * What the plug-ins of this folder share: each does ordinary work with one
 * library in library_work(), writes what came of it, and gives 200, or 500 if
 * the library said that it had no memory. /?k=N makes the N-th allocation of
 * the request, and all after it, fail; &once=1 that one only (kth_hook.c). In a
 * server without the hook they are plain handlers.
 */
#ifndef PAIL_TESTS_SERVER_LIBRARY_H
#define PAIL_TESTS_SERVER_LIBRARY_H

#include <pail/handler.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

void pail_test_fail_at(struct pail_request *r, long k, int once) __attribute__((weak));
/* How many allocations were made fail since then. */
long pail_test_failed(void) __attribute__((weak));

static int library_work(struct pail_request *r);

static inline void library_say(struct pail_request *r, const char *text)
{
	pail_write(r, text, strlen(text));
}

static inline long library_number(struct pail_request *r, const char *name)
{
	const char *at = strstr(pail_query(r), name);
	return at ? strtol(at + strlen(name), NULL, 10) : 0;
}

int pail_handle(struct pail_request *r)
{
	char text[32];

	if (pail_test_fail_at)
		pail_test_fail_at(r, library_number(r, "k="), library_number(r, "once=") != 0);
	int status = library_work(r);
	snprintf(text, sizeof(text), "%ld", pail_test_failed ? pail_test_failed() : 0L);
	pail_set_header(r, "X-Failed", text);
	return status;
}

#ifdef __cplusplus
}
#endif
#endif
