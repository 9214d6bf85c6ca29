/* SPDX-License-Identifier: MIT */
#include "libtrace/attribution/http.h"

#include <assert.h>
#include <string.h>

void http_scan_init(struct http_scan *scan, bool response)
{
	memset(scan, 0, offsetof(struct http_scan, line));
	scan->response = response;
	scan->state = HTTP_START;
}

bool http_scan_idle(const struct http_scan *scan)
{
	return scan->state == HTTP_START;
}

/* -- first lines --------------------------------------------------------- */

/* RFC 9110's token characters. */
static bool is_token(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
	       (c && strchr("!#$%&'*+-.^_`|~", c));
}

enum { METHOD_BYTES_MAX = 24 };

/* Bytes of a method and the space behind it; 0 if it is none; SIZE_MAX if more
 * bytes are needed to tell. Methods are upper case in practice, and asking
 * for that keeps other protocols out. */
static size_t method_bytes(struct str bytes)
{
	for (size_t i = 0; i < bytes.length && i <= METHOD_BYTES_MAX; i++) {
		char c = bytes.bytes[i];
		if (c >= 'A' && c <= 'Z')
			continue;
		if (c == ' ')
			return i >= 3 ? i + 1 : 0;
		if (i == 0 || !is_token(c) || (c >= 'a' && c <= 'z'))
			return 0;
	}
	return bytes.length <= METHOD_BYTES_MAX ? SIZE_MAX : 0;
}

static bool is_http(struct str version)
{
	return version.length >= 5 && memcmp(version.bytes, "HTTP/", 5) == 0;
}

bool http_looks_like_request(struct str bytes)
{
	size_t method = method_bytes(bytes);
	if (bytes.length == 0 || method == 0)
		return false;
	if (method == SIZE_MAX || method == bytes.length)
		return true;
	struct str rest = {bytes.bytes + method, bytes.length - method};
	const char *end = memchr(rest.bytes, '\n', rest.length);
	if (rest.bytes[0] <= ' ')
		return false;
	if (!end)
		return true;
	struct str line = {rest.bytes, (size_t)(end - rest.bytes)};
	struct str target, version;
	return str_cut(line, ' ', &target, &version) && is_http(version);
}

static bool begins_like(const struct http_scan *scan, struct str bytes)
{
	if (!scan->response)
		return http_looks_like_request(bytes);
	static const char version[] = "HTTP/1.";
	size_t take = bytes.length < sizeof(version) - 1 ? bytes.length : sizeof(version) - 1;
	return take > 0 && memcmp(bytes.bytes, version, take) == 0;
}

static struct str without_return(struct str line)
{
	if (line.length > 0 && line.bytes[line.length - 1] == '\r')
		line.length--;
	return line;
}

static struct str held_line(const struct http_scan *scan)
{
	return without_return((struct str){scan->line, scan->line_bytes});
}

/* "GET /x HTTP/1.1", or, cut at HTTP_LINE_MAX, "GET /xxxx". */
static bool parse_request_line(struct str line, bool whole, struct http_event *event)
{
	struct str rest, version;
	size_t method = method_bytes(line);
	if (method == 0 || method == SIZE_MAX)
		return false;
	event->method = (struct str){line.bytes, method - 1};
	rest = (struct str){line.bytes + method, line.length - method};
	bool cut = str_cut(rest, ' ', &event->target, &version);
	if (event->target.length == 0)
		return false;
	return !whole || (cut && is_http(version));
}

static bool parse_status_line(struct str line, struct http_event *event)
{
	if (line.length < 12 || memcmp(line.bytes, "HTTP/1.", 7) != 0 || line.bytes[8] != ' ')
		return false;
	event->status = 0;
	for (int i = 9; i < 12; i++) {
		if (line.bytes[i] < '0' || line.bytes[i] > '9')
			return false;
		event->status = event->status * 10 + (line.bytes[i] - '0');
	}
	return event->status >= 100;
}

/* -- fields -------------------------------------------------------------- */

static void take_length(struct http_scan *scan, struct str value)
{
	uint64_t length = 0;
	value = str_trim(value);
	for (size_t i = 0; i < value.length; i++) {
		unsigned digit = (unsigned char)value.bytes[i] - '0';
		if (digit > 9 || length > (UINT64_MAX - 9) / 10) {
			scan->unknown_length = true;
			return;
		}
		length = length * 10 + digit;
	}
	scan->body_left = length;
	scan->length_known = true;
}

/* Whether it is "Content-Length", letters of either case; 14 bytes. */
static bool is_content_length(const char *name)
{
	static const char text[] = "content-length";
	static const char letters[] = "\x20\x20\x20\x20\x20\x20\x20\0\x20\x20\x20\x20\x20\x20";
	uint64_t first, last, wanted, mask;
	enum { LAST = sizeof(text) - 1 - sizeof(last) };
	memcpy(&first, name, sizeof(first));
	memcpy(&last, name + LAST, sizeof(last));
	memcpy(&wanted, text, sizeof(wanted));
	memcpy(&mask, letters, sizeof(mask));
	uint64_t wrong = (first | mask) ^ wanted;
	memcpy(&wanted, text + LAST, sizeof(wanted));
	memcpy(&mask, letters + LAST, sizeof(mask));
	return (wrong | ((last | mask) ^ wanted)) == 0;
}

/* A field's line. What it says of the length shows by where its colon is. */
static void take_field(struct http_scan *scan, struct str line)
{
	enum {
		LENGTH = sizeof("Content-Length") - 1,
		CODING = sizeof("Transfer-Encoding") - 1
	};
	if (line.length > LENGTH && line.bytes[LENGTH] == ':' && is_content_length(line.bytes))
		take_length(scan,
			    (struct str){line.bytes + LENGTH + 1, line.length - LENGTH - 1});
	else if (line.length > CODING && line.bytes[CODING] == ':' &&
		 str_equal_nocase((struct str){line.bytes, CODING}, STR("Transfer-Encoding")))
		scan->unknown_length = true;
}

/* The empty line: what follows is body, or the next message. */
static void end_fields(struct http_scan *scan, struct http_event *event)
{
	bool known = scan->length_known;
	scan->length_known = false;
	scan->line_bytes = 0;
	if (scan->bodiless || (!scan->response && !known && !scan->unknown_length))
		scan->body_left = 0;
	else if (scan->unknown_length || !known) {
		scan->state = HTTP_LOST;
		return;
	}
	if (scan->body_left > 0) {
		scan->state = HTTP_BODY;
	} else {
		scan->state = HTTP_START;
		event->kind = HTTP_END;
	}
}

/* -- feeding ------------------------------------------------------------- */

/* Adds to the held line up to a newline; true when there is one. What does not
 * fit is dropped; *take is what was consumed. */
static bool hold_line(struct http_scan *scan, struct str bytes, size_t *take)
{
	const char *end = memchr(bytes.bytes, '\n', bytes.length);
	size_t length = end ? (size_t)(end - bytes.bytes) : bytes.length;
	size_t room = HTTP_LINE_MAX - scan->line_bytes;
	size_t kept = length < room ? length : room;
	memcpy(scan->line + scan->line_bytes, bytes.bytes, kept);
	scan->line_bytes = (uint16_t)(scan->line_bytes + kept);
	*take = end ? length + 1 : length;
	return end != NULL;
}

/* Takes the lines of fields that are there as a whole, up to the empty one; gives
 * the bytes that they have. */
static size_t take_fields(struct http_scan *scan, struct str bytes, struct http_event *event)
{
	const char *at = bytes.bytes, *stop = at + bytes.length;
	while (at < stop && scan->state == HTTP_FIELDS) {
		const char *end = memchr(at, '\n', (size_t)(stop - at));
		if (!end)
			break;
		size_t length = (size_t)(end - at);
		if (length == 0 || (length == 1 && *at == '\r'))
			end_fields(scan, event);
		else if ((*at | 0x20) == 'c' || (*at | 0x20) == 't')
			take_field(scan, without_return((struct str){
						 at, length < HTTP_LINE_MAX ? length
									    : HTTP_LINE_MAX}));
		at = end + 1;
	}
	return (size_t)(at - bytes.bytes);
}

static void end_first_line(struct http_scan *scan, struct str line, bool whole,
			   struct http_event *event)
{
	bool good = scan->response ? parse_status_line(line, event)
				   : parse_request_line(line, whole, event);
	scan->line_bytes = 0; /* bytes that are held stay until the next feed */
	if (!good) {
		scan->state = HTTP_LOST;
		event->kind = HTTP_OTHER;
		return;
	}
	scan->state = HTTP_FIELDS;
	scan->unknown_length = scan->length_known = false;
	scan->body_left = 0;
	int status = event->status;
	scan->bodiless = scan->response &&
			 (scan->no_body || status < 200 || status == 204 || status == 304);
	event->kind = HTTP_HEAD;
}

/* The first line, where it is or as it was held; gives the bytes taken. */
static size_t take_first_line(struct http_scan *scan, struct str bytes,
			      struct http_event *event)
{
	const char *end =
		scan->line_bytes == 0 ? memchr(bytes.bytes, '\n', bytes.length) : NULL;
	size_t take = end ? (size_t)(end - bytes.bytes) : 0;
	if (end && take < HTTP_LINE_MAX) {
		end_first_line(scan, without_return((struct str){bytes.bytes, take}), true,
			       event);
		return take + 1;
	}
	if (hold_line(scan, bytes, &take) || scan->line_bytes == HTTP_LINE_MAX)
		end_first_line(scan, held_line(scan), scan->line_bytes < HTTP_LINE_MAX, event);
	return take;
}

size_t http_scan_feed(struct http_scan *scan, struct str bytes, bool piece_start,
		      struct http_event *event)
{
	size_t at = 0;
	*event = (struct http_event){.kind = HTTP_NONE};
	if (scan->state == HTTP_LOST && piece_start && begins_like(scan, bytes)) {
		scan->state = HTTP_START;
		scan->line_bytes = 0;
	}
	while (at < bytes.length && event->kind == HTTP_NONE) {
		struct str rest = {bytes.bytes + at, bytes.length - at};
		size_t take = rest.length;
		switch ((enum http_state)scan->state) {
		case HTTP_START:
			if (rest.bytes[0] == '\r' || rest.bytes[0] == '\n') {
				take = 1; /* empty lines before a message are allowed */
				break;
			}
			take = 0;
			scan->line_bytes = 0;
			scan->state = HTTP_LINE;
			event->kind = HTTP_BEGIN;
			if (!begins_like(scan, rest)) {
				scan->state = HTTP_LOST;
				event->kind = HTTP_OTHER;
			}
			break;
		case HTTP_LINE: take = take_first_line(scan, rest, event); break;
		case HTTP_FIELDS:
			if (scan->line_bytes == 0 &&
			    (take = take_fields(scan, rest, event)) > 0)
				break;
			take = rest.length;
			if (!hold_line(scan, rest, &take))
				break;
			if (held_line(scan).length == 0) {
				end_fields(scan, event);
			} else {
				take_field(scan, held_line(scan));
				scan->line_bytes = 0;
			}
			break;
		case HTTP_BODY:
			if (take > scan->body_left)
				take = (size_t)scan->body_left;
			scan->body_left -= take;
			if (scan->body_left == 0) {
				scan->state = HTTP_START;
				event->kind = HTTP_END;
			}
			break;
		case HTTP_LOST: break;
		}
		at += take;
	}
	return at;
}

void http_scan_skip(struct http_scan *scan, uint64_t count, struct http_event *event)
{
	*event = (struct http_event){.kind = HTTP_NONE};
	if (count == 0 || scan->state == HTTP_LOST)
		return;
	if (scan->state != HTTP_BODY || count > scan->body_left) {
		/* A hole in a head, or past the end of a body: what the length
		 * says and what passed do not agree any more. */
		scan->state = HTTP_LOST;
		scan->line_bytes = 0;
		return;
	}
	scan->body_left -= count;
	if (scan->body_left == 0) {
		scan->state = HTTP_START;
		event->kind = HTTP_END;
	}
}

/* -- RESP ---------------------------------------------------------------- */

static struct str take_number_line(struct str *bytes, char mark)
{
	struct str line = {0};
	const char *end = bytes->length > 0 ? memchr(bytes->bytes, '\n', bytes->length) : NULL;
	if (!end || bytes->bytes[0] != mark || end - bytes->bytes < 3 ||
	    end - bytes->bytes > 12 || end[-1] != '\r')
		return line;
	line = (struct str){bytes->bytes + 1, (size_t)(end - bytes->bytes) - 2};
	for (size_t i = 0; i < line.length; i++)
		if (line.bytes[i] < '0' || line.bytes[i] > '9')
			return (struct str){0};
	bytes->length -= (size_t)(end + 1 - bytes->bytes);
	bytes->bytes = end + 1;
	return line;
}

struct str http_resp_command(struct str bytes)
{
	if (take_number_line(&bytes, '*').length == 0 ||
	    take_number_line(&bytes, '$').length == 0)
		return (struct str){0};
	size_t length = 0;
	while (length < bytes.length && length < 32 &&
	       ((bytes.bytes[length] >= 'A' && bytes.bytes[length] <= 'Z') ||
		(bytes.bytes[length] >= 'a' && bytes.bytes[length] <= 'z')))
		length++;
	return (struct str){bytes.bytes, length};
}
