/* SPDX-License-Identifier: MIT */
#include "cli/importing/csv.h"

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

const char *const csv_column[CSV_COLUMNS] = {
	[CSV_ARRIVAL] = "arrival_ns",
	[CSV_SERVICE] = "service_ns",
	[CSV_NEED] = "need_bytes",
	[CSV_ROUTE] = "route",
};

const char *const csv_numbers[CSV_NUMBERS] = {
	[CSV_NEED_BUMP] = "need_bump_bytes",
	[CSV_PROCESS] = "process",
	[CSV_CONNECTION] = "connection",
	[CSV_SEQUENCE] = "sequence",
	[CSV_CPU] = "cpu_ns",
	[CSV_STATUS] = "status",
	[CSV_BYTES_IN] = "bytes_in",
	[CSV_BYTES_OUT] = "bytes_out",
	[CSV_ALLOCATIONS] = "allocations",
	[CSV_FREES] = "frees",
	[CSV_REALLOCATIONS] = "reallocations",
	[CSV_REQUESTED] = "requested_bytes",
	[CSV_LIVE_PEAK] = "live_peak_bytes",
	[CSV_LARGEST] = "largest_bytes",
	[CSV_ESCAPES] = "escapes",
	[CSV_ESCAPED] = "escaped_bytes",
	[CSV_FOREIGN_FREES] = "foreign_frees",
	[CSV_STACK] = "stack_peak_bytes",
	[CSV_INCOMPLETE] = "incomplete",
};

const char *const csv_texts[CSV_TEXTS] = {
	[CSV_METHOD] = "method",
	[CSV_TARGET] = "target",
	[CSV_CONFIDENCE] = "confidence",
	[CSV_ENDED_BY] = "ended_by",
};

/* -- rows ---------------------------------------------------------------- */

static int bad_row(const struct csv *csv, struct err *err, size_t field, const char *what)
{
	return err_set(err, "%s:%" PRIu64 ":%zu: %s", csv->name, csv->line, field, what);
}

enum { AT_FIELD, IN_PLAIN, IN_QUOTES, AFTER_QUOTE };

/* Reads one row into csv->row, fields apart by NUL. 1, 0 at the end, -1. */
static int read_row(struct csv *csv, struct err *err)
{
	size_t start[CSV_FIELDS_MAX + 1], fields = 0;
	int state = AT_FIELD, c;
	bool any = false;
	buf_clear(&csv->row);
	csv->line = csv->next_line;
	start[0] = 0;
	while ((c = getc_unlocked(csv->in)) != EOF) {
		char byte = (char)c;
		any = true;
		if (csv->row.length > CSV_ROW_BYTES_MAX)
			return bad_row(csv, err, fields + 1, "the row is longer than 1 MiB");
		if (c == '\0')
			return bad_row(csv, err, fields + 1, "a zero byte in the text");
		csv->next_line += c == '\n';
		if (state == IN_QUOTES) {
			if (c == '"')
				state = AFTER_QUOTE;
			else
				buf_append(&csv->row, &byte, 1);
			continue;
		}
		if (c == '\n')
			break;
		if (c == ',') {
			if (fields + 1 >= CSV_FIELDS_MAX)
				return bad_row(csv, err, fields + 1, "more than 1024 columns");
			buf_append(&csv->row, "", 1);
			start[++fields] = csv->row.length;
			state = AT_FIELD;
		} else if (c == '"' && state == AT_FIELD) {
			state = IN_QUOTES;
		} else if (c == '"' && state == AFTER_QUOTE) {
			buf_append(&csv->row, "\"", 1);
			state = IN_QUOTES;
		} else if (c == '\r' && state != IN_PLAIN) {
			continue; /* of a CRLF behind a quote or an empty field */
		} else if (state == AFTER_QUOTE) {
			return bad_row(csv, err, fields + 1, "text behind a closing quote");
		} else {
			buf_append(&csv->row, &byte, 1);
			state = IN_PLAIN;
		}
	}
	if (ferror(csv->in))
		return err_errno(err, "cannot read \"%s\"", csv->name);
	if (state == IN_QUOTES)
		return bad_row(csv, err, fields + 1, "a quote that is not closed");
	if (!any)
		return 0;
	buf_append(&csv->row, "", 1);
	if (csv->row.failed)
		return err_set(err, "out of memory reading \"%s\"", csv->name);
	csv->fields = fields + 1;
	for (size_t i = 0; i < csv->fields; i++) {
		size_t end = i + 1 < csv->fields ? start[i + 1] : csv->row.length;
		csv->field[i] = (struct str){csv->row.bytes + start[i], end - start[i] - 1};
	}
	struct str *last = &csv->field[fields];
	if (last->length > 0 && last->bytes[last->length - 1] == '\r')
		last->length--;
	return 1;
}

static bool is_empty(const struct csv *csv)
{
	return csv->fields == 1 && csv->field[0].length == 0;
}

/* -- requests ------------------------------------------------------------ */

/* The last column of that name, counted from 1; 0 if there is none. */
static size_t find_column(const struct csv *csv, const char *name)
{
	for (size_t i = csv->fields; i > 0; i--)
		if (str_equal(str_trim(csv->field[i - 1]), str_of(name)))
			return i;
	return 0;
}

/* Names that another's file may well have for something else. */
static bool is_common(enum csv_number number)
{
	return number == CSV_PROCESS || number == CSV_CONNECTION || number == CSV_SEQUENCE ||
	       number == CSV_STATUS;
}

static void find_further(struct csv *csv)
{
	csv->exported = find_column(csv, csv_numbers[CSV_NEED_BUMP]) > 0;
	for (int i = 0; i < CSV_NUMBERS; i++)
		if (csv->exported || !is_common((enum csv_number)i))
			csv->number_at[i] = find_column(csv, csv_numbers[i]);
	for (int i = 0; csv->exported && i < CSV_TEXTS; i++)
		csv->text_at[i] = find_column(csv, csv_texts[i]);
}

int csv_open(struct csv *csv, FILE *in, const char *name, struct err *err)
{
	memset(csv, 0, sizeof(*csv));
	csv->in = in;
	csv->name = name;
	csv->next_line = 1;
	buf_init(&csv->row);
	int got;
	do
		got = read_row(csv, err);
	while (got == 1 && is_empty(csv));
	if (got == 0)
		err_set(err, "%s:1:1: there is no header line", name);
	if (got != 1) {
		csv_close(csv);
		return -1;
	}
	if (csv->field[0].length >= 3 && memcmp(csv->field[0].bytes, "\xef\xbb\xbf", 3) == 0) {
		csv->field[0].bytes += 3; /* a byte order mark, as spreadsheets write */
		csv->field[0].length -= 3;
	}
	csv->header_fields = csv->fields;
	for (int c = 0; c < CSV_COLUMNS; c++) {
		size_t found = 0;
		for (size_t i = 0; i < csv->fields; i++)
			if (str_equal(str_trim(csv->field[i]), str_of(csv_column[c]))) {
				csv->at[c] = i;
				found++;
			}
		if (found != 1) {
			err_set(err, "%s:%" PRIu64 ":1: the header line has %s column \"%s\"",
				name, csv->line, found == 0 ? "no" : "more than one",
				csv_column[c]);
			csv_close(csv);
			return -1;
		}
	}
	find_further(csv);
	return 0;
}

/* `at` counts from 0. */
static int take_number(struct csv *csv, size_t at, const char *name, int64_t *value,
		       struct err *err)
{
	struct str text = str_trim(csv->field[at]);
	size_t field = at + 1;
	uint64_t number = 0;
	char what[160];
	bool good = text.length > 0;
	for (size_t i = 0; good && i < text.length; i++) {
		unsigned digit = (unsigned char)text.bytes[i] - '0';
		good = digit <= 9;
		if (good &&
		    (__builtin_mul_overflow(number, 10, &number) ||
		     __builtin_add_overflow(number, digit, &number) || number > INT64_MAX)) {
			snprintf(what, sizeof(what), "%s is too large", name);
			return bad_row(csv, err, field, what);
		}
	}
	if (!good) {
		snprintf(what, sizeof(what), "%s is no whole number: \"%.*s\"", name,
			 (int)(text.length < 64 ? text.length : 64), text.bytes);
		return bad_row(csv, err, field, what);
	}
	*value = (int64_t)number;
	return 0;
}

static int take_further(struct csv *csv, struct csv_request *request, struct err *err)
{
	for (int i = 0; i < CSV_NUMBERS; i++) {
		size_t at = csv->number_at[i];
		request->number[i] = -1;
		if (at > 0 && str_trim(csv->field[at - 1]).length > 0 &&
		    take_number(csv, at - 1, csv_numbers[i], &request->number[i], err) != 0)
			return -1;
	}
	for (int i = 0; i < CSV_TEXTS; i++)
		request->text[i] = csv->text_at[i] > 0 ? csv->field[csv->text_at[i] - 1]
						       : (struct str){"", 0};
	return 0;
}

int csv_next(struct csv *csv, struct csv_request *request, struct err *err)
{
	int got;
	do
		got = read_row(csv, err);
	while (got == 1 && is_empty(csv));
	if (got != 1)
		return got;
	if (csv->fields != csv->header_fields) {
		char what[96];
		snprintf(what, sizeof(what), "the row has %zu columns, the header %zu",
			 csv->fields, csv->header_fields);
		return bad_row(csv, err, csv->fields, what);
	}
	int64_t *const required[] = {
		[CSV_ARRIVAL] = &request->arrival_ns,
		[CSV_SERVICE] = &request->service_ns,
		[CSV_NEED] = &request->need_bytes,
	};
	for (int c = CSV_ARRIVAL; c <= CSV_NEED; c++)
		if (take_number(csv, csv->at[c], csv_column[c], required[c], err) != 0)
			return -1;
	if (request->service_ns > INT64_MAX - request->arrival_ns)
		return bad_row(csv, err, csv->at[CSV_SERVICE] + 1,
			       "arrival_ns + service_ns is too large");
	request->route = csv->field[csv->at[CSV_ROUTE]];
	request->exported = csv->exported;
	return take_further(csv, request, err) != 0 ? -1 : 1;
}

void csv_close(struct csv *csv)
{
	buf_release(&csv->row);
}
