/* SPDX-License-Identifier: MIT */
#include "cli/cli.h"

#include "base/units.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int cli_fail(const char *argv0, const struct err *err)
{
	assert(err->kind != ERR_NONE);
	fprintf(stderr, "%s: %s\n", argv0, err->text);
	return err->kind == ERR_USAGE ? EXIT_USAGE : EXIT_INPUT;
}

int cli_print(const char *argv0, struct buf *out)
{
	struct err err = {0};
	if (out->failed) {
		err_set(&err, "cannot write the result: out of memory");
		return cli_fail(argv0, &err);
	}
	/* A closed pipe should be told, not die of. The setting is put back, since
	 * programs that a command starts would inherit it. */
	void (*before)(int) = signal(SIGPIPE, SIG_IGN);
	bool written = fflush(stdout) == 0;
	for (size_t done = 0; written && done < out->length;) {
		ssize_t n = write(STDOUT_FILENO, out->bytes + done, out->length - done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			written = false;
		else
			done += (size_t)n;
	}
	if (!written)
		err_errno(&err, "cannot write to standard output");
	if (before != SIG_ERR)
		signal(SIGPIPE, before);
	return written ? EXIT_DONE : cli_fail(argv0, &err);
}

/* The folder that a piece's first component has in an installation: a
 * distribution may say "lib/x86_64-linux-gnu" for "lib". */
static const struct {
	const char *built, *installed;
} folders[] = {
	{"libexec/", PAIL_INSTALL_LIBEXECDIR "/"},
	{"lib/", PAIL_INSTALL_LIBDIR "/"},
	{"share/", PAIL_INSTALL_DATADIR "/"},
};

/* Whether prefix/folder + name exists; a folder may be absolute. */
static bool try_place(const char *prefix, const char *folder, const char *name, char *path,
		      size_t path_size)
{
	int length = folder[0] == '/'
			     ? snprintf(path, path_size, "%s%s", folder, name)
			     : snprintf(path, path_size, "%s/%s%s", prefix, folder, name);
	return length >= 0 && (size_t)length < path_size && access(path, R_OK) == 0;
}

int cli_locate(const char *piece, char *path, size_t path_size, struct err *err)
{
	char prefix[PATH_MAX];
	ssize_t length = readlink("/proc/self/exe", prefix, sizeof(prefix) - 1);
	if (length < 0)
		return err_errno(err, "cannot find '%s': no /proc/self/exe", piece);
	prefix[length] = '\0';
	for (int up = 0; up < 2; up++) { /* bin/pail */
		char *slash = strrchr(prefix, '/');
		if (slash)
			*slash = '\0';
	}
	if (try_place(prefix, "", piece, path, path_size))
		return 0;
	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
		size_t cut = strlen(folders[i].built);
		if (strncmp(piece, folders[i].built, cut) == 0 &&
		    try_place(prefix, folders[i].installed, piece + cut, path, path_size))
			return 0;
	}
	return err_set(err, "'%s' is missing under '%s'; build or install pail as a whole",
		       piece, prefix);
}

/* -- values of options ------------------------------------------------------ */

/* The faults below are usage errors whatever found them. */
static int wrong(const char *option, struct err *err)
{
	err_prefix(err, "%s", option);
	err->kind = ERR_USAGE;
	return -1;
}

int cli_parse_size(const char *option, const char *text, uint64_t *bytes, struct err *err)
{
	return units_parse_size(str_of(text), bytes, err) < 0 ? wrong(option, err) : 0;
}

int cli_parse_time(const char *option, const char *text, uint64_t *ns, struct err *err)
{
	return units_parse_time(str_of(text), ns, err) < 0 ? wrong(option, err) : 0;
}

int cli_parse_count(const char *option, const char *text, uint64_t *count, struct err *err)
{
	return units_parse_count(str_of(text), count, err) < 0 ? wrong(option, err) : 0;
}

int cli_parse_double(const char *option, const char *text, double low, double high,
		     double *value, struct err *err)
{
	double number;
	if (units_parse_double(str_of(text), &number, err) < 0)
		return wrong(option, err);
	if (number < low || number > high)
		return err_usage(err, "%s: %g is outside %g to %g", option, number, low, high);
	*value = number;
	return 0;
}

typedef int parse_word(struct str word, uint64_t *value, struct err *err);

static int parse_list(const char *option, const char *text, parse_word *parse,
		      uint64_t **values, size_t *count, struct err *err)
{
	size_t words = 1;
	for (const char *c = text; *c; c++)
		words += *c == ',';
	uint64_t *list = calloc(words, sizeof(*list));
	if (!list)
		return err_errno(err, "%s", option);
	struct str word, rest = str_of(text);
	for (size_t i = 0; i < words; i++) {
		str_cut(rest, ',', &word, &rest);
		if (parse(str_trim(word), &list[i], err) < 0) {
			free(list);
			return wrong(option, err);
		}
	}
	*values = list;
	*count = words;
	return 0;
}

int cli_parse_sizes(const char *option, const char *text, uint64_t **values, size_t *count,
		    struct err *err)
{
	return parse_list(option, text, units_parse_size, values, count, err);
}

int cli_parse_counts(const char *option, const char *text, uint64_t **values, size_t *count,
		     struct err *err)
{
	return parse_list(option, text, units_parse_count, values, count, err);
}
