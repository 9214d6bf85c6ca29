/* SPDX-License-Identifier: MIT */
/*
 * What can be known before a run: whether the preloaded library would be
 * loaded into a program at all, whether it would see what the program
 * allocates, and what to do if not. Nothing is executed: files are read, and
 * the dynamic loader is asked what it would load.
 *
 * A finding is one of three things:
 *	no	the recording would be empty, or the program would not start
 *	cure	there would be numbers, but not the true ones, unless the cure
 *		is taken; `variable` and `value` are a cure that an
 *		environment variable is
 *	note	worth knowing, changes nothing
 *
 * All texts are the doctor's own and live until doctor_release().
 */
#ifndef PAIL_LIBTRACE_DOCTOR_H
#define PAIL_LIBTRACE_DOCTOR_H

#include "base/err.h"

#include <limits.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum doctor_level { DOCTOR_NOTE, DOCTOR_CURE, DOCTOR_NO };

struct finding {
	enum doctor_level level;
	const char *id; /* "static-program": stable, for other programs */
	char *subject;  /* the file, or what else it is about */
	char *cause, *cure;
	const char *variable, *value; /* NULL, or what --cure sets */
};

struct doctor {
	char path[PATH_MAX];     /* of the program or library */
	char examined[PATH_MAX]; /* what really runs: a script's interpreter */
	struct finding *finding; /* the worst first, once a doctor_X() is done */
	size_t count;
};

struct doctor_options {
	const char *library_path; /* of the preloaded library; NULL: not tried */
	uint64_t ring_bytes;      /* 0: the default */
};

/* Each examines one patient into an empty doctor: 0, also when there is no
 * hope; -1 if it cannot be found or read. doctor_release() in both cases. */

/* A command as execvp(3) would run it, in this process's environment. */
int doctor_program(struct doctor *doctor, char *const *command,
		   const struct doctor_options *options, struct err *err);
/* A running process: what a restart of it under the recorder would meet. */
int doctor_process(struct doctor *doctor, pid_t pid, const struct doctor_options *options,
		   struct err *err);
/* A handler for `pail serve --app`, against the server that would load it. */
int doctor_plugin(struct doctor *doctor, const char *path, const char *server_path,
		  struct err *err);
/* A program along PATH, or a file by its path, as the file that it is. */
int doctor_find(const char *name, char *path, size_t path_size, struct err *err);
void doctor_release(struct doctor *doctor);

/* The level of the worst finding. */
enum doctor_level doctor_verdict(const struct doctor *doctor);
const char *doctor_level_name(enum doctor_level level); /* "no", "cure", "note" */

#endif
