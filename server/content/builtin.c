/* SPDX-License-Identifier: MIT */
#include "server/content/builtin.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -- send-static-file: a file that is part of the program ------------------ */

static const char static_file[] = "<!doctype html>\n"
				  "<html lang=\"en\">\n"
				  "<title>pail</title>\n"
				  "<p>A bucket for each request, and none is ever larger.</p>\n"
				  "</html>\n";

static int send_static_file(struct pail_request *r)
{
	pail_set_header(r, "Content-Type", "text/html; charset=utf-8");
	pail_write(r, static_file, sizeof(static_file) - 1);
	return 200;
}

/* -- varying-allocations: GET /N allocates and fills N KiB ----------------- */

/* Decimal digits to the end; false if there are none, others, or too many. */
static bool number_read(const char *text, uint64_t *number)
{
	*number = 0;
	if (!*text)
		return false;
	for (; *text; text++) {
		unsigned digit = (unsigned)*text - '0';

		if (digit > 9 || *number > (UINT64_MAX - digit) / 10)
			return false;
		*number = *number * 10 + digit;
	}
	return true;
}

static int varying_allocations(struct pail_request *r)
{
	uint64_t kib;
	size_t bytes;
	char text[24], *block;
	int length;

	if (!number_read(pail_path(r) + 1, &kib))
		return builtin_text(r, 404, "ask for /N: N KiB are allocated and filled\n");
	bytes = kib > SIZE_MAX / 2048 ? SIZE_MAX / 2 : (size_t)kib * 1024;
	block = malloc(bytes);
	if (!block)
		return builtin_text(r, 500, "no memory\n");
	memset(block, 0xaa, bytes);
	/* The compiler may not see that nobody reads it. */
	__asm__ volatile("" : : "r"(block) : "memory");
	length = snprintf(text, sizeof(text), "%zu", bytes);
	free(block);
	pail_set_header(r, "Content-Type", "text/plain; charset=utf-8");
	pail_write(r, text, (size_t)length);
	return 200;
}

/* -- the list -------------------------------------------------------------- */

int builtin_text(struct pail_request *r, int status, const char *text)
{
	pail_set_header(r, "Content-Type", "text/plain; charset=utf-8");
	pail_write(r, text, strlen(text));
	return status;
}

static const struct handler send_static_file_handler = {
	.name = "send-static-file",
	.handle = send_static_file,
};
static const struct handler varying_allocations_handler = {
	.name = "varying-allocations",
	.handle = varying_allocations,
};

const struct handler *const builtin_all[] = {
	&send_static_file_handler,
	&builtin_csv_svg_path,
	&varying_allocations_handler,
	&builtin_replay,
	NULL,
};

const struct handler *builtin_find(const char *name)
{
	for (size_t i = 0; builtin_all[i]; i++)
		if (strcmp(builtin_all[i]->name, name) == 0)
			return builtin_all[i];
	return NULL;
}
