/* SPDX-License-Identifier: MIT */
/*
 * Any words behind `pail calc`: a reason why there is no answer, or an answer, in
 * a time that grows with its numbers. The first line is the function, each other
 * one NAME=TEXT.
 */
#include "base/units.h"
#include "cli/calculating/calculation.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { INPUT_MAX = 4096, STEPS_MAX = 20000 };

static void must(bool truth)
{
	if (!truth)
		abort();
}

/* Recursions take as many steps as there are servers: 10^9 of them are seconds. */
static bool takes_long(int input, const char *text)
{
	double number;
	struct err ignored;
	return calculation_inputs[input].high > STEPS_MAX &&
	       units_parse_double(str_of(text), &number, &ignored) == 0 && number > STEPS_MAX &&
	       (strcmp(calculation_inputs[input].name, "servers") == 0 ||
		strcmp(calculation_inputs[input].name, "capacity") == 0 ||
		strcmp(calculation_inputs[input].name, "sources") == 0);
}

static void take(struct calculation *c, char *line)
{
	char *value = strchr(line, '=');
	if (!value)
		return;
	*value++ = '\0';
	for (int i = 0; i < CALCULATION_INPUTS; i++) {
		if (strcmp(line, calculation_inputs[i].name) == 0 && !takes_long(i, value))
			c->text[i] = value;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct calculation c = {0};
	if (size > INPUT_MAX)
		return 0;
	char *text = malloc(size + 1), *rest = text;
	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	c.function = strsep(&rest, "\n");
	while (rest)
		take(&c, strsep(&rest, "\n"));
	for (int json = 0; json < 2; json++) {
		struct err err = {0};
		struct buf out;
		buf_init(&out);
		if (calculation_work(&c, json, &out, &err) == 0)
			must(out.length > 0 && out.bytes[out.length - 1] == '\n');
		else
			must(err.kind != ERR_NONE && err.text[0] != '\0');
		buf_release(&out);
	}
	free(text);
	return 0;
}
