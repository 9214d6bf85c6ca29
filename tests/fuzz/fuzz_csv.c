/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as a CSV of requests: refused with a message that names the file,
 * or rows whose numbers are in range and whose times can be added.
 */
#include "cli/importing/csv.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int truth)
{
	if (!truth)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct csv csv;
	struct err err = {0};
	struct csv_request row;
	FILE *in = size > 0 ? fmemopen((void *)(uintptr_t)data, size, "r") : NULL;
	if (!in)
		return 0;
	int got = csv_open(&csv, in, "f.csv", &err);
	if (got == 0) {
		while ((got = csv_next(&csv, &row, &err)) == 1) {
			must(row.arrival_ns >= 0 && row.service_ns >= 0 && row.need_bytes >= 0);
			must(row.service_ns <= INT64_MAX - row.arrival_ns);
			must(memchr(row.route.bytes, '\0', row.route.length) == NULL);
		}
		csv_close(&csv);
	}
	if (got < 0)
		must(strncmp(err.text, "f.csv:", 6) == 0);
	fclose(in);
	return 0;
}
