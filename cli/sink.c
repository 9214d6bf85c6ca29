/* SPDX-License-Identifier: MIT */
#include "cli/sink.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *name(const struct sink *sink)
{
	return sink->path ? sink->path : "standard output";
}

int sink_open(struct sink *sink, const char *path, struct err *err)
{
	struct stat st;
	*sink = (struct sink){.fd = STDOUT_FILENO};
	signal(SIGPIPE, SIG_IGN); /* a closed pipe should be told, not die of */
	if (!path || strcmp(path, "-") == 0)
		return 0;
	sink->path = path;
	if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) {
		errno = S_ISDIR(st.st_mode) ? EISDIR : EEXIST;
		return err_errno(err, "cannot write \"%s\"", path);
	}
	const char *slash = strrchr(path, '/');
	int folder = slash ? (int)(slash - path + 1) : 0;
	int length = snprintf(sink->temporary, sizeof(sink->temporary), "%.*s.%s.XXXXXX",
			      folder, path, path + folder);
	if (length >= (int)sizeof(sink->temporary))
		return err_set(err, "cannot write \"%s\": the path is too long", path);
	sink->fd = mkstemp(sink->temporary);
	if (sink->fd < 0)
		return err_errno(err, "cannot write \"%s\"", path);
	mode_t mask = umask(0);
	umask(mask);
	(void)fchmod(sink->fd, 0666 & ~mask);
	return 0;
}

int sink_write(struct sink *sink, struct buf *bytes, struct err *err)
{
	if (bytes->failed)
		return err_set(err, "cannot write to %s: out of memory", name(sink));
	for (size_t done = 0; done < bytes->length;) {
		ssize_t n = write(sink->fd, bytes->bytes + done, bytes->length - done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_errno(err, "cannot write to %s", name(sink));
		done += (size_t)n;
	}
	buf_clear(bytes);
	return 0;
}

int sink_close(struct sink *sink, bool whole, struct err *err)
{
	if (!sink->path)
		return 0;
	if (whole && fsync(sink->fd) != 0 && errno != EINVAL)
		whole = err_errno(err, "cannot write \"%s\"", sink->path) == 0;
	close(sink->fd);
	if (whole && rename(sink->temporary, sink->path) != 0)
		whole = err_errno(err, "cannot write \"%s\"", sink->path) == 0;
	if (!whole)
		unlink(sink->temporary);
	return whole ? 0 : -1;
}
