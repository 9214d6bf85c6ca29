/* SPDX-License-Identifier: MIT */
#include "cli/cli.h"

#include <argp.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What argp and getopt write while a command's words are read. */
static struct {
	FILE *memory, *before;
	char *text;
	size_t length;
	const char *argv0;
} complaint;

/* Also called by exit(), which is how argp leaves. */
static void pass_on(void)
{
	if (complaint.memory == NULL)
		return;
	stderr = complaint.before;
	fclose(complaint.memory);
	complaint.memory = NULL;
	if (complaint.length > 0) {
		size_t line = strcspn(complaint.text, "\n");
		fprintf(stderr, "%.*s; '%s --help' tells more\n", (int)line, complaint.text,
			complaint.argv0);
	}
	free(complaint.text);
	complaint.text = NULL;
}

int cli_argp_parse(const struct argp *argp, int argc, char **argv, unsigned flags, void *input)
{
	static bool registered;
	if (!registered)
		registered = atexit(pass_on) == 0;
	complaint.argv0 = argv[0];
	complaint.before = stderr;
	complaint.memory =
		registered ? open_memstream(&complaint.text, &complaint.length) : NULL;
	if (complaint.memory != NULL)
		stderr = complaint.memory;
	error_t error = argp_parse(argp, argc, argv, flags, NULL, input);
	pass_on();
	if (error == ENOMEM) { /* of argp's own; whatever else is wrong does not return */
		fprintf(stderr, "%s: out of memory\n", argv[0]);
		exit(EXIT_INPUT);
	}
	return error;
}
