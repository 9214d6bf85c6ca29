/* SPDX-License-Identifier: MIT */
#include "cli/importing/importer.h"

#include "cli/importing/lines.h"
#include "cli/importing/tape.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct rep {
	struct lines lines;
	struct tape tape;
	uint64_t head[4];
	size_t heads;
	uint64_t ops;
	bool done;
};

enum { HEAD_HEAP, HEAD_IDS, HEAD_OPS, HEAD_WEIGHT, HEADS };

static int read_id(struct rep *r, struct str word, uint64_t *id, struct err *err)
{
	if (!lines_number(word, id))
		return lines_bad(&r->lines, err, "\"%.*s\" is no block's number",
				 (int)(word.length < 32 ? word.length : 32), word.bytes);
	if (*id >= r->head[HEAD_IDS])
		return lines_bad(&r->lines, err,
				 "block %" PRIu64 ", but the header says there are %" PRIu64,
				 *id, r->head[HEAD_IDS]);
	return 0;
}

static int done(struct rep *r, enum tape_result result, const char *what, uint64_t id,
		struct err *err)
{
	if (result == TAPE_DONE)
		return 0;
	if (result == TAPE_NO_MEMORY)
		return err_set(err, "out of memory reading \"%s\"", r->lines.name);
	return lines_bad(&r->lines, err, "block %" PRIu64 " is %s", id, what);
}

static int read_op(struct rep *r, struct str line, struct err *err)
{
	struct str kind, id_word, size_word = STR(""), more;
	uint64_t id, size = 0;
	lines_word(&line, &kind);
	bool is_free = str_equal(kind, STR("f"));
	if (!is_free && !str_equal(kind, STR("a")) && !str_equal(kind, STR("r")))
		return lines_bad(&r->lines, err, "the line begins neither with a, r nor f");
	if (!lines_word(&line, &id_word) || (!is_free && !lines_word(&line, &size_word)) ||
	    lines_word(&line, &more))
		return lines_bad(&r->lines, err, "wants %s",
				 is_free ? "one number" : "two numbers");
	r->ops++;
	if (is_free && str_equal(id_word, STR("-1"))) /* free(NULL) */
		return 0;
	if (read_id(r, id_word, &id, err) != 0)
		return -1;
	if (!is_free && (!lines_number(size_word, &size) || size >> IMPORT_BLOCK_LOG2))
		return lines_bad(&r->lines, err, "\"%.*s\" is no size",
				 (int)(size_word.length < 32 ? size_word.length : 32),
				 size_word.bytes);
	if (is_free)
		return done(r, tape_free(&r->tape, id), "not allocated", id, err);
	if (kind.bytes[0] == 'a')
		return done(r, tape_alloc(&r->tape, id, size), "allocated already", id, err);
	return done(r, tape_realloc(&r->tape, id, id, size), "taken", id, err);
}

static int read_head(struct rep *r, struct str line, struct err *err)
{
	struct str word;
	while (lines_word(&line, &word)) {
		if (r->heads == HEADS || !lines_number(word, &r->head[r->heads]))
			return lines_bad(
				&r->lines, err,
				"a .rep file begins with four numbers: heap, ids, operations,"
				" weight");
		r->heads++;
	}
	return 0;
}

static int rep_next(void *state, struct import_item *item, struct err *err)
{
	struct rep *r = state;
	struct str line;
	int got;
	if (r->done)
		return 0;
	tape_begin(&r->tape);
	while ((got = lines_next(&r->lines, &line, err)) == 1) {
		if (str_trim(line).length == 0)
			continue;
		if ((r->heads < HEADS ? read_head(r, line, err) : read_op(r, line, err)) != 0)
			return -1;
	}
	if (got < 0)
		return -1;
	if (r->heads < HEADS)
		return lines_bad(&r->lines, err, "the file ends within its four numbers");
	if (r->ops != r->head[HEAD_OPS])
		return lines_bad(&r->lines, err,
				 "the file ends after %" PRIu64
				 " operations, its header says %" PRIu64,
				 r->ops, r->head[HEAD_OPS]);
	r->done = true;
	memset(item, 0, sizeof(*item));
	item->request.cpu_ns = item->request.status = -1;
	item->request.route = import_route_of(r->lines.name);
	item->request.ended_by = STR("response");
	tape_fill(&r->tape, &item->request);
	item->ops = r->tape.op;
	item->count = r->tape.count;
	return 1;
}

static void rep_close(void *state)
{
	struct rep *r = state;
	lines_release(&r->lines);
	tape_release(&r->tape);
	free(r);
}

int import_rep_open(struct importer *importer, FILE *in, const char *name, struct err *err)
{
	struct rep *r = calloc(1, sizeof(*r));
	if (!r)
		return err_set(err, "out of memory reading \"%s\"", name);
	lines_init(&r->lines, in, name);
	tape_init(&r->tape);
	*importer = (struct importer){.state = r, .next = rep_next, .close = rep_close};
	return 0;
}
