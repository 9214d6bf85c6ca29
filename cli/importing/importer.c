/* SPDX-License-Identifier: MIT */
#include "cli/importing/importer.h"

#include "cli/importing/csv.h"

#include <stdlib.h>
#include <string.h>

void import_close(struct importer *importer)
{
	if (importer->state)
		importer->close(importer->state);
	importer->state = NULL;
}

struct str import_route_of(const char *name)
{
	const char *slash = strrchr(name, '/');
	return str_of(slash ? slash + 1 : name);
}

/* -- csv ------------------------------------------------------------------ */

static int64_t known(int64_t value)
{
	return value < 0 ? 0 : value;
}

static enum trace_confidence confidence_of(struct str text)
{
	if (str_equal(text, STR("inferred")))
		return TRACE_INFERRED;
	return str_equal(text, STR("ambiguous")) ? TRACE_AMBIGUOUS : TRACE_EXACT;
}

/* All the numbers that pail export writes. */
static void fill_numbers(struct trace_request *r, const struct csv_request *row)
{
	const int64_t *n = row->number;
	r->need_bump_bytes = n[CSV_NEED_BUMP] < 0 ? row->need_bytes : n[CSV_NEED_BUMP];
	r->process = known(n[CSV_PROCESS]);
	r->connection = known(n[CSV_CONNECTION]);
	r->sequence = known(n[CSV_SEQUENCE]);
	r->cpu_ns = n[CSV_CPU];
	r->status = n[CSV_STATUS] <= 999 ? (int)n[CSV_STATUS] : -1;
	r->bytes_in = known(n[CSV_BYTES_IN]);
	r->bytes_out = known(n[CSV_BYTES_OUT]);
	r->allocations = known(n[CSV_ALLOCATIONS]);
	r->frees = known(n[CSV_FREES]);
	r->reallocations = known(n[CSV_REALLOCATIONS]);
	r->requested_bytes = known(n[CSV_REQUESTED]);
	r->live_peak_bytes = known(n[CSV_LIVE_PEAK]);
	r->largest_bytes = known(n[CSV_LARGEST]);
	r->escapes = known(n[CSV_ESCAPES]);
	r->escaped_bytes = known(n[CSV_ESCAPED]);
	r->foreign_frees = known(n[CSV_FOREIGN_FREES]);
	r->stack_peak_bytes = known(n[CSV_STACK]);
	r->incomplete = n[CSV_INCOMPLETE] > 0;
}

/* And all its texts. */
static void fill_texts(struct trace_request *r, const struct csv_request *row)
{
	r->method = row->text[CSV_METHOD];
	r->target = row->text[CSV_TARGET];
	r->confidence = confidence_of(row->text[CSV_CONFIDENCE]);
	if (row->text[CSV_ENDED_BY].length > 0)
		r->ended_by = row->text[CSV_ENDED_BY];
}

static int csv_item(void *state, struct import_item *item, struct err *err)
{
	struct csv_request row;
	struct str method, target;
	int got = csv_next(state, &row, err);
	if (got != 1)
		return got;
	*item = (struct import_item){.request = {
					     .start_ns = row.arrival_ns,
					     .end_ns = row.arrival_ns + row.service_ns,
					     .cpu_ns = -1,
					     .route = row.route,
					     .status = -1,
					     .need_bump_bytes = row.need_bytes,
					     .need_reuse_bytes = row.need_bytes,
					     .confidence = TRACE_EXACT,
					     .ended_by = STR("response"),
				     }};
	/* "GET /x" -> method and target, as a recording has them. */
	if (str_cut(row.route, ' ', &method, &target)) {
		item->request.method = method;
		item->request.target = target;
	}
	fill_numbers(&item->request, &row);
	if (row.exported)
		fill_texts(&item->request, &row);
	return 1;
}

static void csv_end(void *state)
{
	csv_close(state);
	free(state);
}

int import_csv_open(struct importer *importer, FILE *in, const char *name, struct err *err)
{
	struct csv *csv = malloc(sizeof(*csv));
	if (!csv)
		return err_set(err, "out of memory reading \"%s\"", name);
	if (csv_open(csv, in, name, err) != 0) {
		free(csv);
		return -1;
	}
	*importer = (struct importer){.state = csv, .next = csv_item, .close = csv_end};
	return 0;
}
