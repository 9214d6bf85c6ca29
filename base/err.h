/* SPDX-License-Identifier: MIT */
/*
 * One message about the world's fault, written once where it happened.
 *
 * A function that can fail for reasons outside the program returns 0 or -1
 * and takes a `struct err *` last. The place that fails writes the message:
 * cause first, lower case, names quoted, no full stop; it says what, where
 * and, if it can, what to do. Callers handle it or pass it up. `kind` chooses
 * the exit code of a command. Nothing here allocates.
 */
#ifndef PAIL_BASE_ERR_H
#define PAIL_BASE_ERR_H

#include <stdarg.h>

enum err_kind {
	ERR_NONE = 0,
	ERR_USAGE = 2,       /* the caller asked for something that can't be: exit 2 */
	ERR_ENVIRONMENT = 3, /* bad input, or the machine said no: exit 3 */
};

struct err {
	enum err_kind kind;
	int errnum; /* the errno behind it, or 0 */
	char text[512];
};

/* Each writes the message and returns -1, so that `return err_set(...)` reads. */
int err_set(struct err *err, const char *format, ...) __attribute__((format(printf, 2, 3)));
int err_usage(struct err *err, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* As err_set, and appends ": " and the text of errno. */
int err_errno(struct err *err, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Puts "prefix: " before a message that came from below; returns -1. */
int err_prefix(struct err *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* scripts/lint looks at one file at a time, and would follow paths on which
 * these give something else. */
#if defined(__clang_analyzer__) && !defined(PAIL_ERR_DEFINED_HERE)
#	define err_set(...)    ((void)err_set(__VA_ARGS__), -1)
#	define err_usage(...)  ((void)err_usage(__VA_ARGS__), -1)
#	define err_errno(...)  ((void)err_errno(__VA_ARGS__), -1)
#	define err_prefix(...) ((void)err_prefix(__VA_ARGS__), -1)
#endif

#endif
