/* SPDX-License-Identifier: MIT */
/*
 * What the commands of `pail` share. A command is one file, cmd_NAME(), which
 * parses its own words with argp(3) (--help and --usage come from its option
 * table) and returns the exit code: 0 done, 1 the answer is no, 2 usage,
 * 3 bad input or environment. Results go to stdout, messages to stderr as
 * "pail NAME: message".
 */
#ifndef PAIL_CLI_CLI_H
#define PAIL_CLI_CLI_H

#include "base/err.h"
#include "base/buf.h"

#include <stdbool.h>
#include <stdint.h>

enum { EXIT_DONE = 0, EXIT_NO = 1, EXIT_USAGE = 2, EXIT_INPUT = 3 };

struct command {
	const char *name;
	int (*run)(int argc, char **argv); /* argv[0] is "pail NAME" */
	const char *summary;
};
extern const struct command cli_commands[]; /* ends with a NULL name */

/* Prints "pail NAME: message" and gives the exit code of the error's kind. */
int cli_fail(const char *argv0, const struct err *err);
/* Writes a whole buffer to stdout; 0, or the exit code after saying why not
 * (a closed pipe, a full disk). */
int cli_print(const char *argv0, struct buf *out);
/* The path of an installed piece, found beside this binary whether it runs
 * from the build or from an installation: "libexec/pail/pail-server",
 * "lib/pail/libpailtrace.so". 0, or -1 with a message. */
int cli_locate(const char *piece, char *path, size_t path_size, struct err *err);

/* argp_parse(3), but a complaint is one line: argp's own first one, and where
 * to read more. A wrong word still ends the program with EXIT_USAGE. */
struct argp;
int cli_argp_parse(const struct argp *argp, int argc, char **argv, unsigned flags, void *input);
#ifdef __clang_analyzer__ /* it ends the program, which its header does not say */
#	include <argp.h>
void argp_error(const struct argp_state *state, const char *format, ...)
	__attribute__((noreturn, format(printf, 2, 3)));
#endif

/* Comma-separated lists of an option: malloc'd array, count; -1 with a message
 * that names the option and the word that is wrong. */
int cli_parse_sizes(const char *option, const char *text, uint64_t **values, size_t *count,
		    struct err *err);
int cli_parse_counts(const char *option, const char *text, uint64_t **values, size_t *count,
		     struct err *err);
/* One value of an option, in its range. */
int cli_parse_size(const char *option, const char *text, uint64_t *bytes, struct err *err);
int cli_parse_time(const char *option, const char *text, uint64_t *ns, struct err *err);
int cli_parse_count(const char *option, const char *text, uint64_t *count, struct err *err);
int cli_parse_double(const char *option, const char *text, double low, double high,
		     double *value, struct err *err);

int cmd_record(int argc, char **argv);
int cmd_attribute(int argc, char **argv);
int cmd_report(int argc, char **argv);
int cmd_import(int argc, char **argv);
int cmd_simulate(int argc, char **argv);
int cmd_plan(int argc, char **argv);
int cmd_calc(int argc, char **argv);
int cmd_top(int argc, char **argv);
int cmd_serve(int argc, char **argv);
int cmd_verify(int argc, char **argv);
int cmd_drive(int argc, char **argv);
int cmd_doctor(int argc, char **argv);
int cmd_export(int argc, char **argv);
int cmd_merge(int argc, char **argv);
int cmd_combine(int argc, char **argv);
int cmd_stackbound(int argc, char **argv);

#endif
