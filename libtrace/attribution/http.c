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
		if (c == ' ')
			return i >= 3 ? i + 1 : 0;
		if (!is_token(c) || (c >= 'a' && c <= 'z') || (i == 0 && (c < 'A' || c > 'Z')))
			return 0;
	}
	return bytes.length <= METHOD_BYTES_MAX ? SIZE_MAX : 0;
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
	return str_cut(line, ' ', &target, &version) && str_starts(version, STR("HTTP/"));
}

static bool begins_like(const struct http_scan *scan, struct str bytes)
{
	if (!scan->response)
		return http_looks_like_request(bytes);
	static const char version[] = "HTTP/1.";
	size_t take = bytes.length < sizeof(version) - 1 ? bytes.length : sizeof(version) - 1;
	return take > 0 && memcmp(bytes.bytes, version, take) == 0;
}

static struct str held_line(const struct http_scan *scan)
{
	struct str line = {scan->line, scan->line_bytes};
	if (line.length > 0 && line.bytes[line.length - 1] == '\r')
		line.length--;
	return line;
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
	return !whole || (cut && str_starts(version, STR("HTTP/")));
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

static void take_field(struct http_scan *scan, struct str line)
{
	struct str name, value;
	if (!str_cut(line, ':', &name, &value))
		return;
	value = str_trim(value);
	if (str_equal_nocase(name, STR("Transfer-Encoding"))) {
		scan->unknown_length = true;
	} else if (str_equal_nocase(name, STR("Content-Length"))) {
		uint64_t length = 0;
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

/* The bytes of a field at the start of `bytes` that says nothing of a length, if
 * it is there as a whole; most are such. */
static size_t other_field(struct str bytes)
{
	char first = (char)(bytes.bytes[0] | 0x20);
	if (first == 'c' || first == 't' || bytes.bytes[0] == '\r' || bytes.bytes[0] == '\n')
		return 0;
	const char *end = memchr(bytes.bytes, '\n', bytes.length);
	return end ? (size_t)(end - bytes.bytes) + 1 : 0;
}

static void end_first_line(struct http_scan *scan, bool whole, struct http_event *event)
{
	struct str line = held_line(scan);
	bool good = scan->response ? parse_status_line(line, event)
				   : parse_request_line(line, whole, event);
	scan->line_bytes = 0; /* the bytes stay until the next feed */
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
		case HTTP_LINE:
			if (hold_line(scan, rest, &take) || scan->line_bytes == HTTP_LINE_MAX)
				end_first_line(scan, scan->line_bytes < HTTP_LINE_MAX, event);
			break;
		case HTTP_FIELDS:
			if (scan->line_bytes == 0 && (take = other_field(rest)) > 0)
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
