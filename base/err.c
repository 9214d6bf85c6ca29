/* SPDX-License-Identifier: MIT */
#define PAIL_ERR_DEFINED_HERE
#include "base/err.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static void write_text(struct err *err, enum err_kind kind, int errnum, const char *format,
		       va_list args)
{
	err->kind = kind;
	err->errnum = errnum;
	vsnprintf(err->text, sizeof(err->text), format, args);
}

int err_set(struct err *err, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	write_text(err, ERR_ENVIRONMENT, 0, format, args);
	va_end(args);
	return -1;
}

int err_usage(struct err *err, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	write_text(err, ERR_USAGE, 0, format, args);
	va_end(args);
	return -1;
}

int err_errno(struct err *err, const char *format, ...)
{
	int errnum = errno;
	va_list args;
	va_start(args, format);
	write_text(err, ERR_ENVIRONMENT, errnum, format, args);
	va_end(args);

	size_t length = strlen(err->text);
	char reason[128];
	/* GNU's strerror_r may answer with a constant string instead. */
	snprintf(err->text + length, sizeof(err->text) - length, ": %s",
		 strerror_r(errnum, reason, sizeof(reason)));
	return -1;
}

int err_prefix(struct err *err, const char *format, ...)
{
	char below[sizeof(err->text)];
	memcpy(below, err->text, sizeof(below));

	va_list args;
	va_start(args, format);
	vsnprintf(err->text, sizeof(err->text), format, args);
	va_end(args);

	size_t length = strlen(err->text);
	snprintf(err->text + length, sizeof(err->text) - length, ": %s", below);
	return -1;
}
