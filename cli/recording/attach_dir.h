/* SPDX-License-Identifier: MIT */
/*
 * A folder by which a recorder out here and programs in a container meet: it
 * holds the recording library, the ring (in a folder of its own), and pail.env,
 * the two variables that make a program that is started with them join the
 * recording. Inside the folder may have another path, `inside`.
 */
#ifndef PAIL_CLI_ATTACH_DIR_H
#define PAIL_CLI_ATTACH_DIR_H

#include "base/buf.h"
#include "base/err.h"

#include <limits.h>

struct attach_dir {
	char folder[PATH_MAX]; /* without symbolic links */
	char inside[PATH_MAX];
};

/* Looks whether it will do: there, and with a name that LD_PRELOAD can hold. */
int attach_dir_check(struct attach_dir *dir, const char *folder, const char *inside,
		     struct err *err);
/* Puts the library and pail.env there, over what an earlier recording left.
 * `environment` is what the recorder would start a program of its own with;
 * adds to `said` what a user has to do. */
int attach_dir_fill(const struct attach_dir *dir, const char *library, char *const *environment,
		    struct buf *said, struct err *err);
/* Takes pail.env away; the library stays, programs may run with it. */
void attach_dir_clear(const struct attach_dir *dir);

#endif
