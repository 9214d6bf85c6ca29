/* SPDX-License-Identifier: MIT */
#include "cli/importing/importer.h"

#include "cli/importing/lines.h"
#include "cli/importing/tape.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/*
 * The lines (glibc 2.2 to 2.40, malloc/mtrace-impl.c):
 *
 *	= Start
 *	@ CALLER + ADDRESS SIZE		malloc, calloc, memalign
 *	@ CALLER - ADDRESS		free
 *	@ CALLER < ADDRESS		realloc: the old block,
 *	@ CALLER > ADDRESS SIZE		and at once the new one
 *	@ CALLER ! ADDRESS SIZE		a realloc that failed
 *	= End
 *
 * "@ CALLER" may be missing, and CALLER may hold blanks ("[0x...]" comes last).
 * A call that failed has (nil) for its address. Ours are "= Begin ROUTE" and
 * "= End"; mtrace(1) passes over them.
 */
struct mtrace {
	struct lines lines;
	struct tape tape;
	bool marked;    /* the file has "= Begin": what is outside is nobody's */
	bool in_marked; /* between Begin and End */
	bool any;       /* of the request that is read now */
	bool resizing, ended;
	uint64_t old;
	bool fresh; /* "= Start": what was alive was another process's */
	char route[256], next_route[256];
	int64_t requests;
};

static bool is_kind(struct str word)
{
	return word.length == 1 && memchr("+-<>!", word.bytes[0], 5);
}

/* Cuts the caller off: up to the operation, which stands alone and has an
 * address behind it. */
static bool find_kind(struct str *line, char *kind)
{
	struct str word;
	while (lines_word(line, &word))
		if (is_kind(word)) {
			*kind = word.bytes[0];
			return true;
		}
	return false;
}

static int apply(struct mtrace *m, char kind, uint64_t address, uint64_t size, struct err *err)
{
	enum tape_result result = TAPE_DONE;
	switch (kind) {
	case '+': result = tape_alloc(&m->tape, address, size); break;
	case '-': result = tape_free(&m->tape, address); break;
	case '>': result = tape_realloc(&m->tape, m->old, address, size); break;
	case '<': m->old = address; break;
	default: break;
	}
	m->resizing = kind == '<';
	m->any = true;
	if (result == TAPE_NO_MEMORY)
		return err_set(err, "out of memory reading \"%s\"", m->lines.name);
	if (result == TAPE_LIVE)
		return lines_bad(&m->lines, err,
				 "0x%" PRIx64
				 " is allocated already: is this the log of several"
				 " processes?",
				 address);
	return 0;
}

static int read_call(struct mtrace *m, struct str line, struct err *err)
{
	struct str word, more;
	uint64_t address, size = 0;
	char kind = 0;
	if (!find_kind(&line, &kind))
		return lines_bad(&m->lines, err, "no line of mtrace: it has none of + - < > !");
	if (m->resizing != (kind == '>'))
		return lines_bad(&m->lines, err,
				 kind == '>' ? "the new block of a realloc without its old one"
					     : "the line before begins a realloc, this does not"
					       " end it");
	bool sized = kind != '-' && kind != '<';
	if (!lines_word(&line, &word))
		return lines_bad(&m->lines, err, "the line is cut short");
	if (str_equal(word, STR("(nil)"))) {
		m->resizing = false;
		return 0;
	}
	if (!lines_number(word, &address))
		return lines_bad(&m->lines, err, "\"%.*s\" is no address",
				 (int)(word.length < 32 ? word.length : 32), word.bytes);
	if (sized && (!lines_word(&line, &word) || !lines_number(word, &size) ||
		      (size >> IMPORT_BLOCK_LOG2 && kind != '!')))
		return lines_bad(&m->lines, err,
				 "there is no size, or one that no bucket"
				 " could hold");
	if (lines_word(&line, &more))
		return lines_bad(&m->lines, err, "text behind the end of a call");
	return apply(m, kind, address, size, err);
}

static void set_route(char *route, size_t route_size, struct str text)
{
	text = str_trim(text);
	snprintf(route, route_size, "%.*s", (int)(text.length < 255 ? text.length : 255),
		 text.bytes);
}

/* A line that begins with "=": 1 if the request that was read ends before it. */
static int read_mark(struct mtrace *m, struct str line, struct err *err)
{
	struct str word, sign;
	lines_word(&line, &sign);
	if (m->resizing)
		return lines_bad(&m->lines, err, "the line before begins a realloc");
	if (!lines_word(&line, &word))
		return lines_bad(&m->lines, err, "a mark without a word");
	bool begin = str_equal(word, STR("Begin"));
	if (!begin && !str_equal(word, STR("Start")) && !str_equal(word, STR("End")))
		return lines_bad(&m->lines, err, "a mark is Start, Begin or End, not \"%.*s\"",
				 (int)(word.length < 32 ? word.length : 32), word.bytes);
	m->fresh = str_equal(word, STR("Start"));
	bool whole = m->marked || begin ? m->in_marked : m->any;
	m->marked |= begin;
	m->in_marked = begin;
	set_route(m->next_route, sizeof(m->next_route), begin ? line : STR(""));
	return whole;
}

static int take(struct mtrace *m, struct import_item *item)
{
	memset(item, 0, sizeof(*item));
	item->request.cpu_ns = item->request.status = -1;
	item->request.sequence = m->requests++;
	item->request.route = *m->route ? str_of(m->route) : import_route_of(m->lines.name);
	item->request.ended_by = STR("response");
	tape_fill(&m->tape, &item->request);
	item->ops = m->tape.op;
	item->count = m->tape.count;
	return 1;
}

static void begin(struct mtrace *m)
{
	tape_begin(&m->tape);
	if (m->fresh)
		tape_forget(&m->tape);
	m->fresh = m->any = false;
	memcpy(m->route, m->next_route, sizeof(m->route));
}

static int mtrace_next(void *state, struct import_item *item, struct err *err)
{
	struct mtrace *m = state;
	struct str line;
	int got = 0;
	if (m->ended)
		return 0;
	begin(m);
	while ((got = lines_next(&m->lines, &line, err)) == 1) {
		if (str_trim(line).length == 0)
			continue;
		bool mark = str_trim(line).bytes[0] == '=';
		int rc = mark ? read_mark(m, line, err) : read_call(m, line, err);
		if (rc < 0)
			return -1;
		if (rc == 1)
			return take(m, item);
		if (mark) /* what was before belongs to nobody */
			begin(m);
	}
	if (got < 0)
		return -1;
	if (m->resizing)
		return lines_bad(&m->lines, err, "the log ends within a realloc");
	m->ended = true;
	return (m->marked ? m->in_marked : m->any) ? take(m, item) : 0;
}

static void mtrace_close(void *state)
{
	struct mtrace *m = state;
	lines_release(&m->lines);
	tape_release(&m->tape);
	free(m);
}

int import_mtrace_open(struct importer *importer, FILE *in, const char *name, struct err *err)
{
	struct mtrace *m = calloc(1, sizeof(*m));
	if (!m)
		return err_set(err, "out of memory reading \"%s\"", name);
	lines_init(&m->lines, in, name);
	tape_init(&m->tape);
	*importer = (struct importer){.state = m, .next = mtrace_next, .close = mtrace_close};
	return 0;
}
