/* SPDX-License-Identifier: MIT */
#include "libtrace/doctor/doctor_checks.h"

#include "base/buf.h"
#include "base/units.h"

#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	RING_BYTES = 64 << 20,  /* pail record's default */
	MAPPED_SHARE = 16,      /* of an address space limit, the library's at most */
	MAPPED_LEAST = 1 << 20, /* below that it would rather map nothing */
	LISTING_MAX = 4 << 20,
};

/* -- the machine ---------------------------------------------------------- */

void check_machine(struct patient *p)
{
	struct rlimit limit;
	struct statvfs room;
	char have[UNITS_TEXT_MAX], want[UNITS_TEXT_MAX], cause[256];
	uint64_t ring =
		p->options && p->options->ring_bytes ? p->options->ring_bytes : RING_BYTES;
	units_format_size(ring, want);
	if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
	    limit.rlim_cur / MAPPED_SHARE < ring) {
		bool none = limit.rlim_cur / MAPPED_SHARE < MAPPED_LEAST;
		snprintf(cause, sizeof(cause),
			 "the address space is limited to %s (ulimit -v), of which the library"
			 " takes a sixteenth at most: %s of its %s ring",
			 units_format_size(limit.rlim_cur, have),
			 none ? "nothing" : "only part", want);
		doctor_add(p, none ? DOCTOR_NO : DOCTOR_NOTE, "address-space", "RLIMIT_AS",
			   cause, "raise the limit for the recording: ulimit -v unlimited");
	}
	if (statvfs("/dev/shm", &room) != 0) {
		doctor_add(p, DOCTOR_NO, "no-shm", "/dev/shm",
			   "there is no /dev/shm for the shared memory between program and"
			   " recorder",
			   "mount a tmpfs there");
	} else if ((uint64_t)room.f_bavail * room.f_frsize < ring) {
		snprintf(cause, sizeof(cause), "it has %s free and the ring takes %s",
			 units_format_size((uint64_t)room.f_bavail * room.f_frsize, have),
			 want);
		doctor_add(p, DOCTOR_CURE, "small-shm", "/dev/shm", cause,
			   "give --ring a smaller size, or the container a larger --shm-size");
	}
	const char *preload = patient_variable(p, "LD_PRELOAD");
	if (preload && *preload && !strstr(preload, "libpailtrace"))
		doctor_add(p, DOCTOR_NOTE, "preload", "LD_PRELOAD",
			   "another library is preloaded; the recording library goes in front"
			   " of it",
			   "if that one replaces malloc too, it still gets the calls");
	if (access("/etc/ld.so.preload", R_OK) == 0)
		doctor_add(p, DOCTOR_NOTE, "preload", "/etc/ld.so.preload",
			   "libraries are preloaded into every program here",
			   "if the trace stays empty, look there first");
}

/* -- the loader ----------------------------------------------------------- */

/* The loader of this very program. */
static int note_interpreter(struct dl_phdr_info *info, size_t size, void *arg)
{
	(void)size;
	for (int i = 0; i < info->dlpi_phnum; i++)
		if (info->dlpi_phdr[i].p_type == PT_INTERP) {
			*(const char **)arg =
				(const char *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);
			return 1;
		}
	return 0;
}

static void read_lines(int fd, loader_line *visit, void *arg)
{
	struct buf text;
	char piece[4096];
	ssize_t got;
	buf_init(&text);
	while ((got = read(fd, piece, sizeof(piece))) > 0 || (got < 0 && errno == EINTR))
		if (got > 0 && text.length < LISTING_MAX)
			buf_append(&text, piece, (size_t)got);
	struct str line, rest = {buf_text(&text), text.failed ? 0 : text.length};
	while (rest.length > 0) {
		str_cut(rest, '\n', &line, &rest);
		visit(line, arg);
	}
	buf_release(&text);
}

/* Runs the loader with the words and, beside our environment, `extra`. */
static int run_loader(char *const *words, const char *const *extra, size_t extras,
		      loader_line *visit, void *arg, struct err *err)
{
	size_t count = 0, kept = 0;
	while (environ[count])
		count++;
	char **environment = calloc(count + extras + 1, sizeof(*environment));
	int ends[2];
	if (!environment || pipe2(ends, O_CLOEXEC) != 0) {
		free(environment);
		return err_errno(err, "cannot ask the dynamic loader");
	}
	for (size_t i = 0; i < count; i++)
		if (strncmp(environ[i], "LD_PRELOAD=", 11) != 0 &&
		    strncmp(environ[i], "LD_TRACE", 8) != 0 &&
		    strncmp(environ[i], "LD_DEBUG", 8) != 0)
			environment[kept++] = environ[i];
	for (size_t i = 0; i < extras; i++)
		if (extra[i])
			environment[kept++] = (char *)extra[i];
	posix_spawn_file_actions_t actions;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
	posix_spawn_file_actions_adddup2(&actions, ends[1], STDERR_FILENO);
	pid_t pid;
	int failed = posix_spawn(&pid, words[0], &actions, NULL, words, environment);
	posix_spawn_file_actions_destroy(&actions);
	free(environment);
	close(ends[1]);
	if (failed == 0)
		read_lines(ends[0], visit, arg);
	close(ends[0]);
	errno = failed;
	if (failed != 0)
		return err_errno(err, "cannot run the dynamic loader \"%s\"", words[0]);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		continue;
	return 0;
}

static int list(const char *program, const char *preload, bool bind, loader_line *visit,
		void *arg, struct err *err)
{
	const char *loader = NULL;
	char variable[PATH_MAX + 16], path[PATH_MAX + 2];
	dl_iterate_phdr(note_interpreter, &loader);
	if (!loader)
		return err_set(err, "pail has no dynamic loader to ask");
	snprintf(variable, sizeof(variable), "LD_PRELOAD=%s", preload ? preload : "");
	/* A name without a slash would be looked for among the libraries. */
	snprintf(path, sizeof(path), "%s%s", strchr(program, '/') ? "" : "./", program);
	/* Called by its own name and so told, the loader lists and ends: --list
	 * would stop at the first library that is missing. */
	char *words[] = {(char *)loader, path, NULL};
	const char *const extra[] = {"LD_TRACE_LOADED_OBJECTS=1", preload ? variable : NULL,
				     bind ? "LD_WARN=yes" : NULL,
				     bind ? "LD_BIND_NOW=yes" : NULL};
	return run_loader(words, extra, 4, visit, arg, err);
}

int loader_list(const char *program, const char *preload, loader_line *visit, void *arg,
		struct err *err)
{
	return list(program, preload, false, visit, arg, err);
}

int loader_bind(const char *program, const char *preload, loader_line *visit, void *arg,
		struct err *err)
{
	return list(program, preload, true, visit, arg, err);
}

/* -- what it says --------------------------------------------------------- */

struct listing {
	struct patient *patient;
	bool preloaded;
	size_t missing;
};

static void note_line(struct str line, void *arg)
{
	struct listing *l = arg;
	char text[512];
	snprintf(text, sizeof(text), "%.*s", STR_ARG(line));
	const char *library = l->patient->options ? l->patient->options->library_path : NULL;
	char *arrow = strstr(text, " => not found");
	if (library && strstr(text, library) && !strstr(text, "ERROR"))
		l->preloaded = true;
	if (!arrow)
		return;
	*arrow = '\0';
	l->missing++;
	doctor_add(l->patient, DOCTOR_NO, "missing-library", text + strspn(text, " \t"),
		   "the program needs this library and the loader does not find it",
		   "install it, or set LD_LIBRARY_PATH");
}

void check_loader(struct patient *p)
{
	struct listing listing = {.patient = p};
	struct err err = {0};
	const char *library = p->options ? p->options->library_path : NULL;
	if (loader_list(p->path, library, note_line, &listing, &err) != 0) {
		doctor_add(p, DOCTOR_NOTE, "loader", NULL, err.text,
			   "whether the library would be loaded was not tried");
		return;
	}
	if (library && !listing.preloaded)
		doctor_add(p, DOCTOR_NO, "not-preloaded", NULL,
			   "the loader does not take the recording library into it",
			   "see what it says: LD_PRELOAD=%s LD_DEBUG=libs %s", library,
			   p->path);
}
