/* SPDX-License-Identifier: MIT */
#include "cli/export_stacks.h"

#include "base/buf.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { FLUSH_BYTES = 1 << 20, VALUES = 4 };
static const char no_request[] = "[no request]";

static int load(struct trace *trace, struct trace_sites *sites, struct err *err)
{
	if (trace_sites_load(trace, sites, err) != 0)
		return -1;
	if (sites->sites > 0)
		return 0;
	trace_sites_release(sites);
	return err_set(err,
		       "trace \"%s\" has no call stacks: they are in one recorded with --detail"
		       " stacks",
		       trace_path(trace));
}

/* -- samples: the uses of each site, and what is left of it for no request ------ */

struct sample {
	const struct trace_site *site;
	struct str route;
	int64_t value[VALUES];
};

typedef int take_sample(void *context, const struct sample *sample, struct err *err);

/* Uses come in order of their sites, as the sites do. */
static int each_sample(const struct trace_sites *s, take_sample *take, void *context,
		       struct err *err)
{
	size_t u = 0;
	for (size_t i = 0; i < s->sites; i++) {
		const struct trace_site *site = &s->site[i];
		int64_t allocations = site->allocations, bytes = site->requested_bytes;
		while (u < s->uses && s->use[u].site < site->id)
			u++;
		for (; u < s->uses && s->use[u].site == site->id; u++) {
			const struct trace_site_use *use = &s->use[u];
			struct sample sample = {site,
						use->route,
						{use->allocations, use->requested_bytes,
						 use->escapes, use->escaped_bytes}};
			if (take(context, &sample, err) != 0)
				return -1;
			allocations -= use->allocations;
			bytes -= use->requested_bytes;
		}
		struct sample rest = {site, str_of(no_request), {allocations, bytes}};
		if (allocations > 0 && take(context, &rest, err) != 0)
			return -1;
	}
	return 0;
}

static const char *last_part(struct str path)
{
	const char *slash = memrchr(path.bytes, '/', path.length);
	return slash ? slash + 1 : path.bytes;
}

/* What a frame is called when its function is not known. */
static void put_place(struct buf *out, const struct trace_frame *f)
{
	if (f->module.length > 0)
		buf_printf(out, "%s+0x%" PRIx64, last_part(f->module), f->address);
	else
		buf_printf(out, "0x%" PRIx64, f->address);
}

/* -- folded ----------------------------------------------------------------------- */

struct folded {
	const struct trace_sites *sites;
	struct sink *sink;
	struct buf out;
};

/* Frames end at ";" and the line at its last blank: neither may be in a name
 * where it would be taken for that. */
static void put_frame(struct buf *out, struct str name)
{
	size_t from = out->length;
	buf_append(out, name.bytes, name.length);
	for (size_t i = from; i < out->length; i++)
		if (out->bytes[i] == ';' || out->bytes[i] == '\n')
			out->bytes[i] = ':';
}

static int put_folded(void *context, const struct sample *sample, struct err *err)
{
	struct folded *f = context;
	if (sample->value[1] <= 0)
		return 0;
	put_frame(&f->out, sample->route);
	for (uint32_t i = sample->site->frames; i-- > 0;) {
		const struct trace_frame *frame = &f->sites->frame[sample->site->frame[i]];
		buf_append(&f->out, ";", 1);
		if (frame->function.length > 0)
			put_frame(&f->out, frame->function);
		else
			put_place(&f->out, frame);
	}
	buf_printf(&f->out, " %" PRId64 "\n", sample->value[1]);
	return f->out.length >= FLUSH_BYTES ? sink_write(f->sink, &f->out, err) : 0;
}

int export_folded(struct trace *trace, struct sink *sink, struct err *err)
{
	struct trace_sites sites;
	struct folded f = {.sites = &sites, .sink = sink};
	if (load(trace, &sites, err) != 0)
		return -1;
	buf_init(&f.out);
	int rc = each_sample(&sites, put_folded, &f, err);
	if (rc == 0)
		rc = sink_write(sink, &f.out, err);
	buf_release(&f.out);
	trace_sites_release(&sites);
	return rc;
}

/* -- pprof: the fields of profile.proto, by number ---------------------------------- */

enum {
	PROFILE_SAMPLE_TYPE = 1,
	PROFILE_SAMPLE = 2,
	PROFILE_MAPPING = 3,
	PROFILE_LOCATION = 4,
	PROFILE_FUNCTION = 5,
	PROFILE_STRING = 6,
	PROFILE_TIME_NS = 9,
	PROFILE_DURATION_NS = 10,
	PROFILE_DEFAULT_TYPE = 14,
	TYPE_TYPE = 1,
	TYPE_UNIT = 2,
	SAMPLE_LOCATION = 1,
	SAMPLE_VALUE = 2,
	SAMPLE_LABEL = 3,
	LABEL_KEY = 1,
	LABEL_TEXT = 2,
	MAPPING_ID = 1,
	MAPPING_START = 2,
	MAPPING_LIMIT = 3,
	MAPPING_FILE = 5,
	MAPPING_HAS_FUNCTIONS = 7,
	LOCATION_ID = 1,
	LOCATION_MAPPING = 2,
	LOCATION_ADDRESS = 3,
	LOCATION_LINE = 4,
	LINE_FUNCTION = 1,
	LINE_LINE = 2,
	FUNCTION_ID = 1,
	FUNCTION_NAME = 2,
	FUNCTION_SYSTEM_NAME = 3,
	FUNCTION_FILE = 4,
	WIRE_VARINT = 0,
	WIRE_BYTES = 2,
};

static void put_varint(struct buf *out, uint64_t value)
{
	unsigned char bytes[10];
	size_t count = 0;
	for (; value >= 0x80; value >>= 7)
		bytes[count++] = (unsigned char)(value | 0x80);
	bytes[count++] = (unsigned char)value;
	buf_append(out, bytes, count);
}

static void put_number(struct buf *out, unsigned field, uint64_t value)
{
	put_varint(out, field << 3 | WIRE_VARINT);
	put_varint(out, value);
}

static void put_bytes(struct buf *out, unsigned field, const void *bytes, size_t length)
{
	put_varint(out, field << 3 | WIRE_BYTES);
	put_varint(out, length);
	buf_append(out, bytes, length);
}

static void put_message(struct buf *out, unsigned field, struct buf *message)
{
	put_bytes(out, field, buf_text(message), message->length);
	buf_clear(message);
}

struct pprof {
	const struct trace_sites *sites;
	struct buf out, part, inner, text;
	/* strings, functions and mappings by what they are: sorted lists of what
	 * the frames hold would save nothing, so plain hashing */
	struct str *string;
	size_t strings, string_room;
	uint32_t *slot;
	size_t slots;
	bool failed;
};

static uint64_t hash_text(struct str text)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325); /* FNV-1a */
	for (size_t i = 0; i < text.length; i++)
		h = (h ^ (unsigned char)text.bytes[i]) * UINT64_C(0x100000001b3);
	return h ^ h >> 32;
}

static uint32_t *string_slot(struct pprof *p, struct str text)
{
	for (uint64_t i = hash_text(text);; i++) {
		uint32_t *slot = &p->slot[i & (p->slots - 1)];
		if (*slot == 0 || str_equal(p->string[*slot - 1], text))
			return slot;
	}
}

/* The number of a string in the profile's table; it is kept by a copy. */
static uint64_t string_id(struct pprof *p, struct str text)
{
	if (p->failed)
		return 0;
	if (p->strings * 2 >= p->slots) {
		size_t slots = p->slots > 0 ? p->slots * 2 : 1024;
		uint32_t *slot = calloc(slots, sizeof(*slot));
		struct str *string = realloc(p->string, slots / 2 * sizeof(*string));
		if (string)
			p->string = string;
		if (!slot || !string) {
			free(slot);
			p->failed = true;
			return 0;
		}
		free(p->slot);
		p->slot = slot;
		p->slots = slots;
		for (uint32_t i = 0; i < p->strings; i++)
			*string_slot(p, p->string[i]) = i + 1;
	}
	uint32_t *slot = string_slot(p, text);
	if (*slot == 0) {
		char *copy = malloc(text.length + 1);
		if (!copy) {
			p->failed = true;
			return 0;
		}
		if (text.length > 0)
			memcpy(copy, text.bytes, text.length);
		copy[text.length] = '\0';
		p->string[p->strings] = (struct str){copy, text.length};
		*slot = (uint32_t)++p->strings;
	}
	return *slot - 1;
}

static void put_type(struct pprof *p, const char *type, const char *unit)
{
	put_number(&p->part, TYPE_TYPE, string_id(p, str_of(type)));
	put_number(&p->part, TYPE_UNIT, string_id(p, str_of(unit)));
	put_message(&p->out, PROFILE_SAMPLE_TYPE, &p->part);
}

/* Frames of one address are one location with a line for each inlined call. */
static bool same_location(const struct trace_frame *a, const struct trace_frame *b)
{
	return a->address == b->address && str_equal(a->module, b->module);
}

static int put_sample(void *context, const struct sample *sample, struct err *err)
{
	struct pprof *p = context;
	const struct trace_site *site = sample->site;
	(void)err;
	for (uint32_t i = 0; i < site->frames; i++) {
		/* The location is named by the first of its calls. */
		const struct trace_frame *f = &p->sites->frame[site->frame[i]];
		if (i > 0 && same_location(f, &p->sites->frame[site->frame[i - 1]]) &&
		    f->id > p->sites->frame[site->frame[i - 1]].id)
			continue;
		put_varint(&p->inner, site->frame[i] + 1);
	}
	put_message(&p->part, SAMPLE_LOCATION, &p->inner);
	for (int v = 0; v < VALUES; v++)
		put_varint(&p->inner, (uint64_t)sample->value[v]);
	put_message(&p->part, SAMPLE_VALUE, &p->inner);
	put_number(&p->inner, LABEL_KEY, string_id(p, STR("route")));
	put_number(&p->inner, LABEL_TEXT, string_id(p, sample->route));
	put_message(&p->part, SAMPLE_LABEL, &p->inner);
	put_message(&p->out, PROFILE_SAMPLE, &p->part);
	return 0;
}

/* Modules by their string's number, so that each is told once. */
static void put_mapping(struct pprof *p, uint64_t id, struct str module)
{
	put_number(&p->part, MAPPING_ID, id);
	put_number(&p->part, MAPPING_START, 0);
	put_number(&p->part, MAPPING_LIMIT, UINT64_MAX);
	put_number(&p->part, MAPPING_FILE, string_id(p, module));
	put_number(&p->part, MAPPING_HAS_FUNCTIONS, 1);
	put_message(&p->out, PROFILE_MAPPING, &p->part);
}

static void put_line(struct pprof *p, size_t frame)
{
	const struct trace_frame *f = &p->sites->frame[frame];
	put_number(&p->inner, LINE_FUNCTION, frame + 1);
	if (f->line > 0)
		put_number(&p->inner, LINE_LINE, (uint64_t)f->line);
	put_message(&p->part, LOCATION_LINE, &p->inner);
}

static void put_function(struct pprof *p, size_t frame)
{
	const struct trace_frame *f = &p->sites->frame[frame];
	struct str name = f->function;
	if (name.length == 0) {
		buf_clear(&p->text);
		put_place(&p->text, f);
		name = str_of(buf_text(&p->text));
	}
	uint64_t id = string_id(p, name);
	put_number(&p->part, FUNCTION_ID, frame + 1);
	put_number(&p->part, FUNCTION_NAME, id);
	put_number(&p->part, FUNCTION_SYSTEM_NAME, id);
	if (f->file.length > 0)
		put_number(&p->part, FUNCTION_FILE, string_id(p, f->file));
	put_message(&p->out, PROFILE_FUNCTION, &p->part);
}

/* Which calls follow the first of a location: as a site lists them. */
static void put_locations(struct pprof *p)
{
	const struct trace_sites *s = p->sites;
	bool *done = calloc(s->frames + 1, sizeof(*done));
	bool *mapped = calloc(p->strings + s->frames + 1, sizeof(*mapped));
	if (!done || !mapped) {
		p->failed = true;
		free(done);
		free(mapped);
		return;
	}
	size_t mappings = p->strings + s->frames;
	for (size_t i = 0; i < s->sites; i++) {
		const struct trace_site *site = &s->site[i];
		for (uint32_t f = 0; f < site->frames; f++) {
			uint32_t at = site->frame[f];
			const struct trace_frame *frame = &s->frame[at];
			if (done[at])
				continue;
			uint64_t mapping = string_id(p, frame->module);
			if (mapping > 0 && mapping < mappings && !mapped[mapping]) {
				put_mapping(p, mapping, frame->module);
				mapped[mapping] = true;
			}
			put_number(&p->part, LOCATION_ID, at + 1);
			if (mapping > 0)
				put_number(&p->part, LOCATION_MAPPING, mapping);
			put_number(&p->part, LOCATION_ADDRESS, frame->address);
			put_line(p, at);
			done[at] = true;
			for (uint32_t n = f + 1; n < site->frames; n++) {
				const struct trace_frame *next = &s->frame[site->frame[n]];
				if (!same_location(next, frame) ||
				    next->id <= s->frame[site->frame[n - 1]].id)
					break;
				put_line(p, site->frame[n]);
				done[site->frame[n]] = true;
			}
			put_message(&p->out, PROFILE_LOCATION, &p->part);
		}
	}
	for (size_t i = 0; i < s->frames; i++)
		put_function(p, i);
	free(done);
	free(mapped);
}

static int write_pprof(struct pprof *p, struct trace *trace, struct sink *sink, struct err *err)
{
	string_id(p, STR("")); /* number 0 is that */
	put_type(p, "alloc_objects", "count");
	put_type(p, "alloc_space", "bytes");
	put_type(p, "escaped_objects", "count");
	put_type(p, "escaped_space", "bytes");
	if (each_sample(p->sites, put_sample, p, err) != 0)
		return -1;
	put_locations(p);
	put_number(&p->out, PROFILE_TIME_NS,
		   (uint64_t)trace_meta_int(trace, "start_unix_ns", 0));
	put_number(&p->out, PROFILE_DURATION_NS, (uint64_t)trace_meta_int(trace, "span_ns", 0));
	put_number(&p->out, PROFILE_DEFAULT_TYPE, string_id(p, STR("alloc_space")));
	for (size_t i = 0; i < p->strings; i++)
		put_bytes(&p->out, PROFILE_STRING, p->string[i].bytes, p->string[i].length);
	if (p->failed || p->part.failed || p->inner.failed || p->text.failed)
		return err_set(err, "out of memory writing a profile");
	return sink_write(sink, &p->out, err);
}

int export_pprof(struct trace *trace, struct sink *sink, struct err *err)
{
	struct trace_sites sites;
	struct pprof p = {.sites = &sites};
	if (load(trace, &sites, err) != 0)
		return -1;
	buf_init(&p.out);
	buf_init(&p.part);
	buf_init(&p.inner);
	buf_init(&p.text);
	int rc = write_pprof(&p, trace, sink, err);
	for (size_t i = 0; i < p.strings; i++)
		free((char *)(uintptr_t)p.string[i].bytes);
	free(p.string);
	free(p.slot);
	buf_release(&p.out);
	buf_release(&p.part);
	buf_release(&p.inner);
	buf_release(&p.text);
	trace_sites_release(&sites);
	return rc;
}
