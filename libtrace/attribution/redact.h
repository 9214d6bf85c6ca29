/* SPDX-License-Identifier: MIT */
/*
 * Takes out of a request's target what may be secret, before it is stored.
 *
 * A target is "/path?name=value&name=value", or in absolute form,
 * with user:password@host in front of the path. What is taken out is a '*' where it
 * stood, so that one sees that something was there. With REDACT_VALUES and more:
 *
 *	values of the query	?token=abc&x=	->	?token=*&x=
 *	words without a name	?abc		->	?*	(it may be the value)
 *	user and password	me:pw@host	->	*@host
 *	a fragment		/a#abc		->	/a#*
 *
 * Pairs are told apart by '&' and ';', as servers do. A target that was cut (the
 * recorder keeps LEDGER_TARGET_MAX bytes) is treated like any other.
 *
 * Pure: no memory, no files.
 */
#ifndef PAIL_LIBTRACE_REDACT_H
#define PAIL_LIBTRACE_REDACT_H

#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>

enum redact {
	REDACT_VALUES, /* names in the query stay */
	REDACT_NONE,
	REDACT_QUERY, /* nothing of the query stays, not the '?' either */
	REDACT_ALL,   /* nor segments of the path that look like identifiers: ":id" */
	REDACTS,
};

/* By enum redact, as in the meta key "redact". */
extern const char *const redact_name[REDACTS];

/* Writes at most `size` bytes, the rest is cut; gives the view of them, or the
 * target itself if nothing had to go (*changed false). */
struct str redact_target(enum redact redact, struct str target, char *text, size_t size,
			 bool *changed);

#endif
