/* SPDX-License-Identifier: MIT */
/*
 * Any header values as the server reads them for a representation: codings,
 * lists of entity tags, ranges of a size, dates. One of each on a line.
 */
#include "server/http/date.h"
#include "server/http/negotiate.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool truth)
{
	if (!truth)
		abort();
}

static void codings(struct str value)
{
	struct accept_encoding accept;
	accept_encoding_init(&accept);
	accept_encoding_read(&accept, value);
	accept_encoding_read(&accept, value);
	for (enum coding c = 0; c < CODINGS; c++) {
		int q = accept_encoding_q(&accept, c);
		must(q >= 0 && q <= 1000);
	}
}

static void ranges(struct str value)
{
	static const uint64_t sizes[] = {0, 1, 500, UINT64_MAX};
	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		uint64_t first, length;
		if (range_read(value, sizes[i], &first, &length) == RANGE_PART)
			must(length > 0 && first < sizes[i] && length <= sizes[i] - first);
	}
}

static void dates(struct str value)
{
	int64_t s, again;
	char text[DATE_TEXT_BYTES];
	if (date_parse(value, 1700000000, &s) != 0)
		return;
	date_format(text, s);
	must(date_parse(str_of(text), 1700000000, &again) == 0 && again == s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str rest = {(const char *)data, size}, line;
	for (int lines = 0; lines < 8 && rest.length > 0; lines++) {
		str_cut(rest, '\n', &line, &rest);
		/* in memory of its own size */
		char *copy = malloc(line.length ? line.length : 1);
		if (!copy)
			abort();
		for (size_t i = 0; i < line.length; i++)
			copy[i] = line.bytes[i];
		struct str value = {copy, line.length};
		codings(value);
		ranges(value);
		dates(value);
		bool weak = etag_listed(value, STR("\"x\""), false);
		must(weak || !etag_listed(value, STR("\"x\""), true));
		free(copy);
	}
	return 0;
}
