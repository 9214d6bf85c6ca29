/* SPDX-License-Identifier: MIT */
/* pail calc: one formula, worked out. */
#include "cli/cli.h"

#include "cli/calculating/calculation.h"

#include <argp.h>

enum { KEY_JSON = 0x200, KEY_INPUT = 0x300 };

struct words {
	struct calculation calculation;
	bool json;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct words *words = state->input;
	if (key >= KEY_INPUT && key < KEY_INPUT + CALCULATION_INPUTS) {
		words->calculation.text[key - KEY_INPUT] = arg;
		return 0;
	}
	switch (key) {
	case KEY_JSON: words->json = true; return 0;
	case ARGP_KEY_ARG:
		if (words->calculation.function)
			argp_error(state, "'%s' is one word too many", arg);
		words->calculation.function = arg;
		return 0;
	case ARGP_KEY_NO_ARGS:
		argp_error(state, "name a function; --help lists them");
		return 0;
	default: return ARGP_ERR_UNKNOWN;
	}
}

/* The list of functions for the end of --help. */
static char *help_filter(int key, const char *text, void *input)
{
	(void)input;
	if (key != ARGP_KEY_HELP_POST_DOC)
		return (char *)text;
	struct buf doc;
	buf_init(&doc);
	buf_append_str(&doc, "Functions:\n");
	calculation_list(&doc);
	return doc.bytes; /* argp frees it */
}

int cmd_calc(int argc, char **argv)
{
	struct argp_option options[CALCULATION_INPUTS + 2] = {0};
	for (int i = 0; i < CALCULATION_INPUTS; i++) {
		const struct calculation_input *input = &calculation_inputs[i];
		options[i] = (struct argp_option){input->name, KEY_INPUT + i, input->unit,
						  0,           input->help,   0};
	}
	options[CALCULATION_INPUTS] =
		(struct argp_option){"json", KEY_JSON, NULL, 0, "one JSON document", 0};
	const struct argp argp = {
		options,    parse,
		"FUNCTION", "Works out one formula of queueing or of statistics.\v ",
		NULL,       help_filter,
		NULL};
	struct words words = {0};
	if (cli_argp_parse(&argp, argc, argv, 0, &words) != 0)
		return EXIT_USAGE;

	struct err err = {0};
	struct buf out;
	buf_init(&out);
	int code = calculation_work(&words.calculation, words.json, &out, &err) < 0
			   ? cli_fail(argv[0], &err)
			   : cli_print(argv[0], &out);
	buf_release(&out);
	return code;
}
