/* SPDX-License-Identifier: MIT */
#include "cli/cli.h"

#include "base/str.h"
#include "pail_version.h"

#include <argp.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* In the order of the path: record, look, ask, choose, serve, prove. */
const struct command cli_commands[] = {
	{"record", cmd_record, "run a program and record what its requests allocate"},
	{"doctor", cmd_doctor, "say whether a program can be recorded, and what to do if not"},
	{"attribute", cmd_attribute,
	 "tell the requests of a recording anew, from its raw events"},
	{"import", cmd_import, "make a trace of a CSV file or another tool's log"},
	{"export", cmd_export, "write a trace as CSV or in another tool's format"},
	{"merge", cmd_merge, "put the traces of several hosts into one"},
	{"report", cmd_report, "show who needs how much memory"},
	{"simulate", cmd_simulate, "tell what buckets of given sizes and counts would refuse"},
	{"combine", cmd_combine, "join the parts of a sharded simulation"},
	{"plan", cmd_plan, "choose the buckets and write pail.conf"},
	{"serve", cmd_serve, "run the arena server within its bound"},
	{"top", cmd_top, "watch a running server, or a recording"},
	{"verify", cmd_verify, "hold a running server against what was predicted"},
	{"drive", cmd_drive, "send a load to a server, open loop, and measure it"},
	{"stackbound", cmd_stackbound, "tell the most stack that a handler takes"},
	{"calc", cmd_calc, "work out one formula"},
	{NULL, NULL, NULL},
};

static const char version[] = "pail " PAIL_VERSION " (" PAIL_COMMIT ")";

static void print_version(void)
{
	printf("%s\n%s\n", version, PAIL_FEATURES);
}

static void print_help(void)
{
	printf("Usage: pail COMMAND [OPTION...]\n"
	       "Memory budgets for servers: how much each request needs, which fixed buckets\n"
	       "would hold the traffic, and a server that never needs more than that.\n\n"
	       "Commands:\n");
	for (const struct command *command = cli_commands; command->name; command++)
		printf("  %-11s %s\n", command->name, command->summary);
	printf("\n'pail COMMAND --help' tells the options of each, 'pail --version' the version.\n"
	       "Sizes are written 65536, 64K or 1M (powers of two), times 250ms or 2s.\n"
	       "Exit status: 0 done, 1 the answer is no, 2 usage, 3 bad input or environment.\n");
}

static const struct command *find(const char *name)
{
	for (const struct command *command = cli_commands; command->name; command++) {
		if (strcmp(command->name, name) == 0)
			return command;
	}
	return NULL;
}

/* Fewest letters to put in, take out, change or swap with a neighbour
 * (restricted Damerau-Levenshtein); names longer than the table are far. */
static size_t distance(const char *a, const char *b)
{
	enum { LONGEST = 24 };
	size_t row[LONGEST + 1][LONGEST + 1], n = strlen(a), m = strlen(b);
	if (n > LONGEST || m > LONGEST)
		return LONGEST;
	for (size_t i = 0; i <= n; i++) {
		for (size_t k = 0; k <= m; k++) {
			if (i == 0 || k == 0) {
				row[i][k] = i + k;
				continue;
			}
			size_t least = row[i - 1][k - 1] + (a[i - 1] != b[k - 1]);
			if (row[i - 1][k] + 1 < least)
				least = row[i - 1][k] + 1;
			if (row[i][k - 1] + 1 < least)
				least = row[i][k - 1] + 1;
			bool swapped =
				i > 1 && k > 1 && a[i - 1] == b[k - 2] && a[i - 2] == b[k - 1];
			if (swapped && row[i - 2][k - 2] + 1 < least)
				least = row[i - 2][k - 2] + 1;
			row[i][k] = least;
		}
	}
	return row[n][m];
}

static int unknown(const char *word)
{
	const char *nearest = NULL;
	size_t best = 3; /* further away is no typing error */
	for (const struct command *command = cli_commands; command->name; command++) {
		size_t far = distance(word, command->name);
		if (far < best && far < strlen(command->name)) {
			best = far;
			nearest = command->name;
		}
	}
	const char *what = word[0] == '-' ? "option" : "command";
	if (nearest)
		fprintf(stderr, "pail: unknown %s '%s'; did you mean 'pail %s'?\n", what, word,
			nearest);
	else
		fprintf(stderr, "pail: unknown %s '%s'; 'pail --help' lists what there is\n",
			what, word);
	return EXIT_USAGE;
}

/* Whatever printf() wrote must have arrived, also where argp leaves by exit(). */
static void close_stdout(void)
{
	signal(SIGPIPE, SIG_IGN);
	bool failed = ferror(stdout) != 0;
	int errnum = failed ? EIO : 0;
	if (fflush(stdout) != 0) {
		failed = true;
		errnum = errno;
	}
	if (!failed)
		return;
	fprintf(stderr, "pail: cannot write to standard output: %s\n", strerror(errnum));
	_exit(EXIT_INPUT);
}

static int run(const struct command *command, int argc, char **argv)
{
	char name[64];
	snprintf(name, sizeof(name), "pail %s", command->name);
	argv[0] = name;
	return command->run(argc, argv);
}

int main(int argc, char **argv)
{
	argp_program_version = version;
	argp_err_exit_status = EXIT_USAGE;
	atexit(close_stdout);
	if (argc < 2) {
		fprintf(stderr, "pail: no command; 'pail --help' lists them\n");
		return EXIT_USAGE;
	}
	const char *word = argv[1];
	if (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0) {
		print_version();
		return EXIT_DONE;
	}
	bool help = strcmp(word, "help") == 0;
	if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || (help && argc == 2)) {
		print_help();
		return EXIT_DONE;
	}
	const struct command *command = find(help ? argv[2] : word);
	if (!command)
		return unknown(help ? argv[2] : word);
	if (help) {
		char option[] = "--help";
		char *words[] = {argv[0], option, NULL};
		return run(command, 2, words);
	}
	return run(command, argc - 1, argv + 1);
}
