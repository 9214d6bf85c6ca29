/* SPDX-License-Identifier: MIT */
#include "libtrace/attribution/message.h"

#include <stdlib.h>
#include <string.h>

enum state { START, LINE, ARGUMENT, BODY, HEADER, RECORD, PADDING, LOST };

enum fastcgi_record { FASTCGI_BEGIN = 1, FASTCGI_ABORT = 2, FASTCGI_PARAMS = 4 };
enum { BINARY_HEADER_BYTES = 24, FASTCGI_HEADER_BYTES = 8, BINARY_REQUEST = 0x80 };

void message_scan_init(struct message_scan *scan)
{
	memset(scan, 0, sizeof(*scan));
}

void message_scan_release(struct message_scan *scan)
{
	free(scan->params);
	message_scan_init(scan);
}

bool message_idle(const struct message_scan *scan)
{
	return scan->state == START;
}

/* -- which protocol ------------------------------------------------------ */

/* `data`: which word of the line is the length of the data that follows. */
static const struct verb {
	const char *name;
	int data;
} verbs[] = {
	{"get", 0},     {"gets", 0},      {"gat", 0},       {"gats", 0},    {"set", 5},
	{"add", 5},     {"replace", 5},   {"append", 5},    {"cas", 5},     {"ms", 3},
	{"mg", 0},      {"md", 0},        {"ma", 0},        {"mn", 0},      {"me", 0},
	{"incr", 0},    {"decr", 0},      {"touch", 0},     {"prepend", 5}, {"delete", 0},
	{"stats", 0},   {"slabs", 0},     {"quit", 0},      {"lru", 0},     {"watch", 0},
	{"version", 0}, {"flush_all", 0}, {"verbosity", 0},
};

static struct str first_word(struct str line)
{
	size_t i = 0;
	while (i < line.length && line.bytes[i] > ' ')
		i++;
	return (struct str){line.bytes, i};
}

static const struct verb *find_verb(struct str word)
{
	for (size_t i = 0; i < sizeof(verbs) / sizeof(*verbs); i++)
		if (str_equal(word, str_of(verbs[i].name)))
			return &verbs[i];
	return NULL;
}

enum message_protocol message_recognise(struct str bytes)
{
	const unsigned char *b = (const unsigned char *)bytes.bytes;
	if (bytes.length >= 2 && b[0] == '*' && b[1] >= '0' && b[1] <= '9')
		return MESSAGE_RESP;
	if (bytes.length >= FASTCGI_HEADER_BYTES && b[0] == 1 && b[1] == FASTCGI_BEGIN &&
	    b[4] == 0 && b[5] == 8)
		return MESSAGE_FASTCGI;
	if (bytes.length >= BINARY_HEADER_BYTES && b[0] == BINARY_REQUEST && b[5] == 0)
		return MESSAGE_MEMCACHED_BINARY;
	struct str word = first_word(bytes);
	if (word.length < bytes.length && find_verb(word))
		return MESSAGE_MEMCACHED;
	return MESSAGE_OTHER;
}

/* -- lines --------------------------------------------------------------- */

/* Holds up to a newline; true when it is there. What does not fit is dropped. */
static bool hold_line(struct message_scan *scan, struct str bytes, size_t *take)
{
	const char *end = memchr(bytes.bytes, '\n', bytes.length);
	size_t length = end ? (size_t)(end - bytes.bytes) : bytes.length;
	size_t room = (size_t)(MESSAGE_HELD_MAX - scan->held);
	size_t kept = length < room ? length : room;
	memcpy(scan->line + scan->held, bytes.bytes, kept);
	scan->held = (uint16_t)(scan->held + kept);
	*take = end ? length + 1 : length;
	return end != NULL;
}

static struct str held(const struct message_scan *scan)
{
	struct str line = {scan->line, scan->held};
	if (line.length > 0 && line.bytes[line.length - 1] == '\r')
		line.length--;
	return line;
}

/* Holds a header of so many bytes; true when it is complete. */
static bool hold_header(struct message_scan *scan, struct str bytes, size_t want, size_t *take)
{
	size_t missing = want - scan->held;
	*take = bytes.length < missing ? bytes.length : missing;
	memcpy(scan->line + scan->held, bytes.bytes, *take);
	scan->held = (uint16_t)(scan->held + *take);
	return scan->held == want;
}

static bool parse_count(struct str text, int64_t *value)
{
	*value = 0;
	if (text.length == 0 || text.length > 12)
		return false;
	for (size_t i = 0; i < text.length; i++) {
		if (text.bytes[i] < '0' || text.bytes[i] > '9')
			return false;
		*value = *value * 10 + (text.bytes[i] - '0');
	}
	return true;
}

static void set_name(struct message_scan *scan, struct str name, struct message_event *event)
{
	size_t room = sizeof(scan->name) - scan->name_bytes;
	size_t take = name.length < room ? name.length : room;
	memcpy(scan->name + scan->name_bytes, name.bytes, take);
	scan->name_bytes = (uint8_t)(scan->name_bytes + take);
	if (event) {
		scan->named = true;
		event->kind = MESSAGE_NAME;
		event->name = (struct str){scan->name, scan->name_bytes};
	}
}

static void lose(struct message_scan *scan, struct message_event *event)
{
	scan->state = LOST;
	scan->held = 0;
	event->kind = MESSAGE_LOST;
}

static void end(struct message_scan *scan, struct message_event *event)
{
	scan->state = START;
	scan->held = 0;
	event->kind = MESSAGE_END;
}

/* -- RESP ---------------------------------------------------------------- */

static void resp_argument(struct message_scan *scan, struct message_event *event)
{
	int64_t length;
	struct str line = held(scan);
	scan->held = 0;
	if (line.length < 2 || line.bytes[0] != '$' ||
	    !parse_count((struct str){line.bytes + 1, line.length - 1}, &length)) {
		lose(scan, event);
		return;
	}
	scan->left = (uint64_t)length + 2;
	scan->state = BODY;
}

/* "*3", or a command as a person types it, which is over with its line. */
static void resp_line(struct message_scan *scan, struct message_event *event)
{
	struct str line = held(scan);
	if (line.length > 1 && line.bytes[0] == '*') {
		if (!parse_count((struct str){line.bytes + 1, line.length - 1},
				 &scan->arguments) ||
		    scan->arguments == 0) {
			lose(scan, event);
			return;
		}
		scan->held = 0;
		scan->state = ARGUMENT;
		return;
	}
	struct str word = first_word(line);
	if (word.length == 0) {
		end(scan, event);
		return;
	}
	set_name(scan, word, event);
	scan->left = 0;
	scan->arguments = 0;
	scan->state = BODY; /* of no bytes: the end is the next event */
}

static void resp_body(struct message_scan *scan, struct str bytes, struct message_event *event)
{
	if (!scan->named && scan->left > 2) {
		size_t text =
			scan->left - 2 < bytes.length ? (size_t)scan->left - 2 : bytes.length;
		set_name(scan, (struct str){bytes.bytes, text},
			 text == scan->left - 2 ? event : NULL);
	}
	scan->left -= bytes.length;
}

/* -- memcached ----------------------------------------------------------- */

static void memcached_line(struct message_scan *scan, struct message_event *event)
{
	struct str line = held(scan), word = first_word(line), rest = line;
	const struct verb *verb = find_verb(word);
	if (!verb) {
		lose(scan, event);
		return;
	}
	set_name(scan, word, event);
	int64_t length = 0;
	for (int i = 1; i < verb->data && rest.length > 0; i++) {
		struct str head;
		if (!str_cut(rest, ' ', &head, &rest))
			rest.length = 0;
	}
	if (verb->data > 0 && !parse_count(first_word(rest), &length)) {
		lose(scan, event);
		return;
	}
	scan->left = verb->data > 0 ? (uint64_t)length + 2 : 0;
	scan->state = BODY;
}

static void memcached_header(struct message_scan *scan, struct message_event *event)
{
	static const char *const names[] = {
		"get",    "set",     "add",   "replace", "delete",  "incr",     "decr",
		"quit",   "flush",   "getq",  "noop",    "version", "getk",     "getkq",
		"append", "prepend", "stat",  "setq",    "addq",    "replaceq", "deleteq",
		"incrq",  "decrq",   "quitq", "flushq",  "appendq", "prependq"};
	const unsigned char *b = (const unsigned char *)scan->line;
	if (b[0] != BINARY_REQUEST) {
		lose(scan, event);
		return;
	}
	scan->left = (uint64_t)b[8] << 24 | (uint64_t)b[9] << 16 | (uint64_t)b[10] << 8 | b[11];
	scan->held = 0;
	scan->state = BODY;
	set_name(scan, str_of(b[1] < sizeof(names) / sizeof(*names) ? names[b[1]] : "other"),
		 event);
}

/* -- FastCGI ------------------------------------------------------------- */

static bool take_length(struct str *params, uint32_t *length)
{
	const unsigned char *b = (const unsigned char *)params->bytes;
	size_t bytes = params->length > 0 && b[0] & 0x80 ? 4 : 1;
	if (params->length < bytes)
		return false;
	*length = bytes == 1 ? b[0]
			     : (uint32_t)(b[0] & 0x7f) << 24 | (uint32_t)b[1] << 16 |
				       (uint32_t)b[2] << 8 | b[3];
	params->bytes += bytes;
	params->length -= bytes;
	return true;
}

static void read_params(struct message_scan *scan, struct message_event *event)
{
	struct str params = {scan->params, scan->params_bytes};
	uint32_t name_bytes, value_bytes;
	struct str script = {0};
	event->kind = MESSAGE_NAME;
	while (take_length(&params, &name_bytes) && take_length(&params, &value_bytes) &&
	       (uint64_t)name_bytes + value_bytes <= params.length) {
		struct str name = {params.bytes, name_bytes};
		struct str value = {params.bytes + name_bytes, value_bytes};
		if (str_equal(name, STR("REQUEST_METHOD")))
			event->method = value;
		else if (str_equal(name, STR("REQUEST_URI")))
			event->name = value;
		else if (str_equal(name, STR("SCRIPT_NAME")))
			script = value;
		params.bytes += name_bytes + value_bytes;
		params.length -= name_bytes + value_bytes;
	}
	if (event->name.length == 0)
		event->name = script;
}

/* Records without content are over with their header. */
static void fastcgi_header(struct message_scan *scan, struct message_event *event)
{
	const unsigned char *b = (const unsigned char *)scan->line;
	scan->held = 0;
	if (b[0] != 1) {
		lose(scan, event);
		return;
	}
	scan->record = b[1];
	scan->left = (uint64_t)b[4] << 8 | b[5];
	scan->padding = b[6];
	scan->state = scan->left > 0 ? RECORD : scan->padding > 0 ? PADDING : HEADER;
	if (scan->left == 0 && scan->padding > 0)
		scan->left = scan->padding;
	if (scan->record == FASTCGI_BEGIN) {
		scan->params_bytes = 0;
		event->kind = MESSAGE_BEGIN;
	} else if (scan->record == FASTCGI_PARAMS && b[4] == 0 && b[5] == 0) {
		read_params(scan, event);
	}
}

static void fastcgi_content(struct message_scan *scan, struct str bytes)
{
	if (scan->record == FASTCGI_PARAMS) {
		if (!scan->params)
			scan->params = malloc(MESSAGE_PARAMS_MAX);
		size_t room =
			scan->params ? (size_t)(MESSAGE_PARAMS_MAX - scan->params_bytes) : 0;
		size_t kept = bytes.length < room ? bytes.length : room;
		if (kept > 0)
			memcpy(scan->params + scan->params_bytes, bytes.bytes, kept);
		scan->params_bytes = (uint16_t)(scan->params_bytes + kept);
	}
	scan->left -= bytes.length;
}

/* What follows when the bytes that were left have passed. */
static void content_ended(struct message_scan *scan, struct message_event *event)
{
	if (scan->protocol == MESSAGE_FASTCGI) {
		bool padded = scan->state == RECORD && scan->padding > 0;
		scan->left = padded ? scan->padding : 0;
		scan->state = padded ? PADDING : HEADER;
	} else if (scan->protocol == MESSAGE_RESP && --scan->arguments > 0) {
		scan->state = ARGUMENT;
	} else if (event->kind == MESSAGE_NONE) {
		end(scan, event);
	}
}

/* -- feeding ------------------------------------------------------------- */

static void start(struct message_scan *scan, struct message_event *event)
{
	scan->held = 0;
	scan->name_bytes = 0;
	scan->named = false;
	switch ((enum message_protocol)scan->protocol) {
	case MESSAGE_FASTCGI: scan->state = HEADER; return; /* a record may be no BEGIN */
	case MESSAGE_MEMCACHED_BINARY: scan->state = HEADER; break;
	default: scan->state = LINE; break;
	}
	event->kind = MESSAGE_BEGIN;
}

/* One step; gives the bytes it took. */
static size_t step(struct message_scan *scan, struct str bytes, struct message_event *event)
{
	size_t take = bytes.length;
	switch ((enum state)scan->state) {
	case START: start(scan, event); return 0;
	case LINE:
		if (hold_line(scan, bytes, &take)) {
			if (scan->protocol == MESSAGE_RESP)
				resp_line(scan, event);
			else
				memcached_line(scan, event);
		}
		return take;
	case ARGUMENT:
		if (hold_line(scan, bytes, &take))
			resp_argument(scan, event);
		return take;
	case HEADER:
		if (!hold_header(scan, bytes,
				 scan->protocol == MESSAGE_FASTCGI ? FASTCGI_HEADER_BYTES
								   : BINARY_HEADER_BYTES,
				 &take))
			return take;
		if (scan->protocol == MESSAGE_FASTCGI)
			fastcgi_header(scan, event);
		else
			memcached_header(scan, event);
		return take;
	case BODY:
	case RECORD:
	case PADDING:
		if (take > scan->left)
			take = (size_t)scan->left;
		bytes.length = take;
		if (scan->protocol == MESSAGE_RESP)
			resp_body(scan, bytes, event);
		else if (scan->state == RECORD)
			fastcgi_content(scan, bytes);
		else
			scan->left -= take;
		/* With a name to tell first, the end is the next call's. */
		if (scan->left == 0 && (event->kind == MESSAGE_NONE || scan->arguments > 1))
			content_ended(scan, event);
		return take;
	case LOST: return take;
	}
	return take;
}

size_t message_feed(struct message_scan *scan, struct str bytes, struct message_event *event)
{
	size_t at = 0;
	*event = (struct message_event){.kind = MESSAGE_NONE};
	while (event->kind == MESSAGE_NONE &&
	       (at < bytes.length || (scan->state == BODY && scan->left == 0)))
		at += step(scan, (struct str){bytes.bytes + at, bytes.length - at}, event);
	return at;
}

void message_skip(struct message_scan *scan, uint64_t count, struct message_event *event)
{
	*event = (struct message_event){.kind = MESSAGE_NONE};
	if (count == 0 || scan->state == LOST)
		return;
	bool body = scan->state == BODY || scan->state == RECORD || scan->state == PADDING;
	if (!body || count > scan->left) {
		lose(scan, event);
		return;
	}
	scan->left -= count;
	if (scan->left == 0)
		content_ended(scan, event);
}

void message_resume(struct message_scan *scan, struct str bytes)
{
	if (scan->state == LOST && message_recognise(bytes) == scan->protocol) {
		scan->state = START;
		scan->held = 0;
	}
}
