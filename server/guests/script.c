/* SPDX-License-Identifier: MIT */
#include "server/guests/script.h"

#include "pail/handler.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct script *newest;

void script_explain(struct pail_request *r, const char *format, ...)
{
	char text[256];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	pail_explain(r, text);
}

static void script_free(struct script *script)
{
	if (script)
		free(script->text);
	free(script);
}

static int script_read_all(int fd, struct script *script)
{
	size_t length = 0;

	while (length < script->bytes) {
		ssize_t got = read(fd, script->text + length, script->bytes - length);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -1;
		if (got == 0)
			break;
		length += (size_t)got;
	}
	script->bytes = length;
	script->text[length] = 0;
	return 0;
}

/* NULL after an explanation. */
static struct script *script_read(const char *path)
{
	struct stat about;
	struct script *script = NULL;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &about) < 0) {
		script_explain(NULL, "can't read the script '%s': %s", path, strerror(errno));
	} else if (!S_ISREG(about.st_mode) || about.st_size > SCRIPT_BYTES_MAX) {
		script_explain(NULL, "the script '%s' is no file of at most %d MiB", path,
			       SCRIPT_BYTES_MAX >> 20);
	} else if (!(script = calloc(1, sizeof(*script))) ||
		   !(script->text = malloc((size_t)about.st_size + 1))) {
		script_explain(NULL,
			       "the system region is too small for the script '%s' of %lld "
			       "bytes (raise [server] system)",
			       path, (long long)about.st_size);
		script_free(script);
		script = NULL;
	} else {
		const char *slash = strrchr(path, '/');
		script->path = path;
		script->name = slash ? slash + 1 : path;
		script->bytes = (size_t)about.st_size;
		if (script_read_all(fd, script) < 0) {
			script_explain(NULL, "can't read the script '%s': %s", path,
				       strerror(errno));
			script_free(script);
			script = NULL;
		}
	}
	if (fd >= 0)
		close(fd);
	return script;
}

int script_load(const char *path, script_try_fn *try)
{
	struct script *script = script_read(path);

	if (!script)
		return 1;
	if (try(script) != 0) {
		script_free(script);
		return 1;
	}
	script->users = 1; /* as the newest */
	pthread_mutex_lock(&lock);
	struct script *old = newest;
	newest = script;
	pthread_mutex_unlock(&lock);
	if (old)
		script_give(old);
	return 0;
}

int script_reload(script_try_fn *try)
{
	return script_load(newest->path, try);
}

struct script *script_take(void)
{
	pthread_mutex_lock(&lock);
	struct script *script = newest;
	script->users++;
	pthread_mutex_unlock(&lock);
	return script;
}

void script_give(struct script *script)
{
	pthread_mutex_lock(&lock);
	bool last = --script->users == 0;
	pthread_mutex_unlock(&lock);
	if (!last)
		return;
	/* From a bucket's beginning too: the text is the system region's. */
	pail_outside_begin();
	script_free(script);
	pail_outside_end();
}
