/* SPDX-License-Identifier: MIT */
#include "cli/recording/attach_dir.h"

#include "base/file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LIBRARY "libpailtrace.so"
enum { LIBRARY_MAX = 64 << 20 };

int attach_dir_check(struct attach_dir *dir, const char *folder, const char *inside,
		     struct err *err)
{
	struct stat st;
	if (!realpath(folder, dir->folder))
		return err_errno(err, "cannot use the folder \"%s\"", folder);
	if (stat(dir->folder, &st) != 0 || !S_ISDIR(st.st_mode))
		return err_set(err, "\"%s\" is no folder", folder);
	const char *there = inside ? inside : dir->folder;
	if (there[0] != '/' || strlen(there) >= sizeof(dir->inside))
		return err_set(err,
			       "\"%s\" is to be the folder's path in the container, from the"
			       " root",
			       there);
	if (strpbrk(there, " :\n"))
		return err_set(err,
			       "\"%s\" has a space or a colon in it, which LD_PRELOAD cannot"
			       " name: give --attach-as a path without",
			       there);
	snprintf(dir->inside, sizeof(dir->inside), "%s", there);
	size_t length = strlen(dir->inside);
	while (length > 1 && dir->inside[length - 1] == '/')
		dir->inside[--length] = '\0';
	return 0;
}

static int put(const struct attach_dir *dir, const char *name, const void *bytes, size_t length,
	       unsigned mode, struct err *err)
{
	char path[PATH_MAX + 32];
	snprintf(path, sizeof(path), "%s/%s", dir->folder, name);
	return file_write_atomic(path, bytes, length, mode, err);
}

/* The ring's path behind the folder's. */
static const char *ring_name(const struct attach_dir *dir, char *const *environment)
{
	static const char name[] = "PAIL_RING=";
	size_t length = strlen(dir->folder);
	for (; *environment; environment++)
		if (strncmp(*environment, name, sizeof(name) - 1) == 0 &&
		    strncmp(*environment + sizeof(name) - 1, dir->folder, length) == 0)
			return *environment + sizeof(name) - 1 + length;
	return NULL;
}

int attach_dir_fill(const struct attach_dir *dir, const char *library, char *const *environment,
		    struct buf *said, struct err *err)
{
	char *bytes;
	size_t length;
	struct buf text;
	const char *ring = ring_name(dir, environment);
	if (!ring)
		return err_set(err, "the ring is not in \"%s\"", dir->folder);
	if (file_read_all(library, LIBRARY_MAX, &bytes, &length, err) != 0)
		return -1;
	int rc = put(dir, LIBRARY, bytes, length, 0755, err);
	free(bytes);
	buf_init(&text);
	buf_printf(&text, "LD_PRELOAD=%s/%s\nPAIL_RING=%s%s\n", dir->inside, LIBRARY,
		   dir->inside, ring);
	if (rc == 0)
		rc = text.failed ? err_set(err, "out of memory")
				 : put(dir, "pail.env", text.bytes, text.length, 0644, err);
	buf_release(&text);
	buf_printf(said,
		   "waiting for programs that are started with the variables of %s/pail.env"
		   " and see that folder at %s; ^C ends the recording\n",
		   dir->folder, dir->inside);
	return rc;
}

void attach_dir_clear(const struct attach_dir *dir)
{
	char path[PATH_MAX + 32];
	snprintf(path, sizeof(path), "%s/pail.env", dir->folder);
	(void)unlink(path);
}
