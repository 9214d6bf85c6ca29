/* SPDX-License-Identifier: MIT */
/*
 * What libc would allocate for its caller, defined here so that it lies where
 * the caller's own malloc would have put it: in the bucket (malloc.h).
 */
#ifndef PAIL_MALLOC_OFF

#	include "server/memory/malloc.h"

#	include <dlfcn.h>
#	include <errno.h>
#	include <limits.h>
#	include <stdarg.h>
#	include <stdio.h>
#	include <stdlib.h>
#	include <string.h>
#	include <unistd.h>

#	define CALLER ((uintptr_t)__builtin_return_address(0))

char *strndup(const char *text, size_t most)
{
	size_t length = strnlen(text, most);
	char *copy = malloc_for(length + 1, CALLER);

	if (copy) {
		memcpy(copy, text, length);
		copy[length] = 0;
	}
	return copy;
}

char *strdup(const char *text)
{
	size_t size = strlen(text) + 1;
	char *copy = malloc_for(size, CALLER);

	return copy ? memcpy(copy, text, size) : NULL;
}

char *__strdup(const char *text) __attribute__((alias("strdup"), copy(strdup)));
char *__strndup(const char *text, size_t most) __attribute__((alias("strndup"), copy(strndup)));

static int print_allocated(char **out, const char *format, va_list args, uintptr_t caller)
{
	va_list again;

	va_copy(again, args);
	int length = vsnprintf(NULL, 0, format, again);
	va_end(again);
	if (length < 0)
		return -1;
	char *text = malloc_for((size_t)length + 1, caller);
	if (!text)
		return -1;
	vsnprintf(text, (size_t)length + 1, format, args);
	*out = text;
	return length;
}

#	undef vasprintf
#	undef asprintf
int vasprintf(char **out, const char *format, va_list args)
{
	return print_allocated(out, format, args, CALLER);
}

int asprintf(char **out, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	int length = print_allocated(out, format, args, CALLER);
	va_end(args);
	return length;
}

int __vasprintf_chk(char **out, int flag, const char *format, va_list args);
int __vasprintf_chk(char **out, int flag, const char *format, va_list args)
{
	(void)flag;
	return print_allocated(out, format, args, CALLER);
}

int __asprintf_chk(char **out, int flag, const char *format, ...);
int __asprintf_chk(char **out, int flag, const char *format, ...)
{
	va_list args;

	(void)flag;
	va_start(args, format);
	int length = print_allocated(out, format, args, CALLER);
	va_end(args);
	return length;
}

static ssize_t read_delimited(char **line, size_t *size, int delimiter, FILE *file,
			      uintptr_t caller)
{
	size_t length = 0;

	if (!line || !size) {
		errno = EINVAL;
		return -1;
	}
	if (!*line)
		*size = 0;
	for (;;) {
		int c = getc(file);
		if (c == EOF && (length == 0 || ferror(file)))
			return -1;
		if (length + 2 > *size) {
			size_t more = *size < 64 ? 120 : 2 * *size;
			char *grown = realloc_for(*line, more, caller);
			if (!grown)
				return -1;
			*line = grown;
			*size = more;
		}
		if (c != EOF)
			(*line)[length++] = (char)c;
		if (c == EOF || c == delimiter)
			break;
	}
	(*line)[length] = 0;
	return (ssize_t)length;
}

ssize_t getdelim(char **line, size_t *size, int delimiter, FILE *file)
{
	return read_delimited(line, size, delimiter, file, CALLER);
}

ssize_t __getdelim(char **line, size_t *size, int delimiter, FILE *file);
ssize_t __getdelim(char **line, size_t *size, int delimiter, FILE *file)
{
	return read_delimited(line, size, delimiter, file, CALLER);
}

#	undef realpath
char *realpath(const char *path, char *out)
{
	static char *(*next)(const char *, char *);
	char buffer[PATH_MAX];

	if (!next)
		*(void **)&next = dlsym(RTLD_NEXT, "realpath");
	if (out)
		return next(path, out);
	if (!next(path, buffer))
		return NULL;
	size_t size = strlen(buffer) + 1;
	char *copy = malloc_for(size, CALLER);
	return copy ? memcpy(copy, buffer, size) : NULL;
}

#	undef getcwd
char *getcwd(char *out, size_t room)
{
	static char *(*next)(char *, size_t);
	char buffer[PATH_MAX];

	if (!next)
		*(void **)&next = dlsym(RTLD_NEXT, "getcwd");
	if (out)
		return next(out, room);
	if (!next(buffer, room && room < sizeof(buffer) ? room : sizeof(buffer)))
		return NULL;
	size_t size = strlen(buffer) + 1;
	char *copy = malloc_for(room > size ? room : size, CALLER);
	return copy ? memcpy(copy, buffer, size) : NULL;
}

#	undef getline
ssize_t getline(char **line, size_t *size, FILE *file)
{
	return read_delimited(line, size, '\n', file, CALLER);
}

#endif
