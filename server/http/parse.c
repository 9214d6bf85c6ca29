/* SPDX-License-Identifier: MIT */
#include "server/http/parse.h"

#include "server/http/parse_class.h"

#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <string.h>

enum head_state {
	START, /* before the request line; empty lines are skipped here */
	START_LF,
	METHOD,
	TARGET,
	VERSION,
	LINE_LF,
	FIELD, /* at the start of a field line, or of the empty one */
	NAME,
	VALUE_SPACE, /* behind the colon, before the value */
	VALUE,
	VALUE_LF,
	END_LF,
	COMPLETE,
	FAILED,
};

enum head_flag {
	HAS_HOST = 1,
	HAS_LENGTH = 2,
	HAS_CODING = 4,
	CHUNKED = 8,       /* and nothing behind it so far */
	CODING_OTHER = 16, /* a coding that we don't have */
	CLOSE = 32,
	KEEP_ALIVE = 64,
	EXPECT_CONTINUE = 128,
	EXPECT_OTHER = 256,
};

static int fail(struct parse_head *head, uint16_t status, const char *reason)
{
	head->status = status;
	head->reason = reason;
	head->state = FAILED;
	head->keep_alive = false;
	return -1;
}

void parse_head_init(struct parse_head *head, struct parse_field *fields, uint32_t fields_max,
		     uint32_t head_bytes_max, bool secure)
{
	size_t bytes = sizeof(*head);

	/* By the library, whose stores are wide: gcc would write "rep stosq". */
	__asm__("" : "+r"(bytes));
	memset(head, 0, bytes);
	head->fields = fields;
	head->fields_max = fields_max;
	head->head_bytes_max = head_bytes_max;
	head->secure = secure;
}

bool parse_head_idle(const struct parse_head *head)
{
	return head->state == START;
}

struct str parse_path(const struct parse_head *head, const char *bytes)
{
	if (head->path.length)
		return parse_str(bytes, head->path);
	if (!head->has_query && str_equal(parse_str(bytes, head->method), STR("OPTIONS")))
		return STR("*");
	return STR("/");
}

int parse_field_find(const struct parse_head *head, const char *bytes, struct str name,
		     uint32_t from)
{
	for (uint32_t i = from; i < head->field_count; i++)
		if (str_equal_nocase(parse_str(bytes, head->fields[i].name), name))
			return (int)i;
	return -1;
}

static bool all_are(struct str s, unsigned classes)
{
	for (size_t i = 0; i < s.length; i++)
		if (!is(s.bytes[i], classes))
			return false;
	return true;
}

/* Every '%' stands before two hexadecimal digits. */
static bool percents_are_right(struct str s)
{
	for (size_t i = 0; i < s.length; i++) {
		if (s.bytes[i] != '%')
			continue;
		if (s.length - i < 3 || !is(s.bytes[i + 1], XCHAR) ||
		    !is(s.bytes[i + 2], XCHAR))
			return false;
		i += 2;
	}
	return true;
}

/* "[" IPv6 or IPvFuture "]", from the '[' to the ']'. */
static bool ip_literal_is_right(struct str s)
{
	char text[INET6_ADDRSTRLEN];
	struct in6_addr address;
	size_t i = 1;

	if (s.length < 4)
		return false;
	s = (struct str){s.bytes + 1, s.length - 2};
	if (s.bytes[0] == 'v' || s.bytes[0] == 'V') {
		while (i < s.length && is(s.bytes[i], XCHAR))
			i++;
		if (i == 1 || i + 1 >= s.length || s.bytes[i] != '.')
			return false;
		for (i++; i < s.length; i++)
			if (s.bytes[i] == '%' || (!is(s.bytes[i], HCHAR) && s.bytes[i] != ':'))
				return false;
		return true;
	}
	if (s.length >= sizeof(text))
		return false;
	memcpy(text, s.bytes, s.length);
	text[s.length] = '\0';
	return inet_pton(AF_INET6, text, &address) == 1;
}

/* uri-host [ ":" port ]. An empty host is right only where `empty_host` says. */
static bool authority_is_right(struct str s, bool empty_host, bool needs_port)
{
	size_t host = 0;
	unsigned port = 0;

	if (s.length && s.bytes[0] == '[') {
		const char *close = memchr(s.bytes, ']', s.length);
		if (!close)
			return false;
		host = (size_t)(close - s.bytes) + 1;
		if (!ip_literal_is_right((struct str){s.bytes, host}))
			return false;
	} else {
		while (host < s.length && is(s.bytes[host], HPLAIN))
			host++;
		if (host < s.length && s.bytes[host] == '%') {
			while (host < s.length && is(s.bytes[host], HCHAR))
				host++;
			if (!percents_are_right((struct str){s.bytes, host}))
				return false;
		}
		if (host == 0 && (!empty_host || s.length))
			return false;
	}
	if (host == s.length)
		return !needs_port;
	if (s.bytes[host] != ':' || (needs_port && host + 1 == s.length))
		return false;
	for (size_t i = host + 1; i < s.length; i++) {
		if (!is_digit(s.bytes[i]))
			return false;
		port = port * 10 + (unsigned)(s.bytes[i] - '0');
		if (port > 65535)
			return false;
	}
	return true;
}

/* Path and query from `offset` to the target's end. */
static int path_finish(struct parse_head *head, const char *bytes, uint32_t offset)
{
	uint32_t end = head->target.offset + head->target.length, at = offset;

	while (at < end && is(bytes[at], PPLAIN))
		at++;
	bool percent = at < end && bytes[at] == '%';
	while (percent && at < end && is(bytes[at], PCHAR))
		at++;
	if (at < end && bytes[at] != '?')
		return fail(head, 400, "a character in the path that must be percent-encoded");
	head->path = (struct parse_span){offset, at - offset};
	head->has_query = at < end;
	head->query = (struct parse_span){at < end ? at + 1 : end, 0};
	if (percent && !percents_are_right(parse_str(bytes, head->path)))
		return fail(head, 400,
			    "a percent sign in the path without two hexadecimal digits");
	if (!head->has_query)
		return 0;
	head->query.length = end - head->query.offset;
	if (!all_are(parse_str(bytes, head->query), QCHAR))
		return fail(head, 400, "a character in the query that must be percent-encoded");
	return 0;
}

static int absolute_finish(struct parse_head *head, const char *bytes)
{
	struct str target = parse_str(bytes, head->target);
	uint32_t scheme, end;

	if (target.length >= 7 &&
	    str_equal_nocase((struct str){bytes + head->target.offset, 7}, STR("http://")))
		scheme = 7;
	else if (target.length >= 8 &&
		 str_equal_nocase((struct str){bytes + head->target.offset, 8},
				  STR("https://")))
		scheme = 8;
	else
		return fail(head, 400, "a target that is neither a path nor an http URI");
	for (end = scheme; end < target.length; end++)
		if (target.bytes[end] == '/' || target.bytes[end] == '?')
			break;
	head->form = PARSE_ABSOLUTE;
	head->host = (struct parse_span){head->target.offset + scheme, end - scheme};
	if (!authority_is_right(parse_str(bytes, head->host), false, false))
		return fail(head, 400, "a target whose host is not valid");
	if (scheme == 8 && !head->secure)
		return fail(head, 421, "an https target on a connection without TLS");
	return path_finish(head, bytes, head->target.offset + end);
}

static int target_finish(struct parse_head *head, const char *bytes)
{
	struct str method = parse_str(bytes, head->method);
	struct str target = parse_str(bytes, head->target);

	if (target.length == 0)
		return fail(head, 400, "a request line without a target, or with two spaces");
	if (method.length == 7 && str_equal(method, STR("CONNECT"))) {
		head->form = PARSE_AUTHORITY;
		if (!authority_is_right(target, false, true))
			return fail(head, 400, "a CONNECT whose target is no host and port");
		return fail(head, 501, "CONNECT, but this is no proxy");
	}
	if (target.bytes[0] == '/') {
		head->form = PARSE_ORIGIN;
		return path_finish(head, bytes, head->target.offset);
	}
	if (str_equal(target, STR("*"))) {
		head->form = PARSE_ASTERISK;
		head->path = head->target;
		head->query = (struct parse_span){head->target.offset + 1, 0};
		if (!str_equal(method, STR("OPTIONS")))
			return fail(head, 400,
				    "the target '*' with a method other than OPTIONS");
		return 0;
	}
	return absolute_finish(head, bytes);
}

/* "HTTP/1.1", all eight bytes of it, or fewer so far: is it right up to here? */
static int version_step(struct parse_head *head, const char *bytes, uint32_t index)
{
	static const char pattern[] = "HTTP/d.d";
	char c = bytes[head->mark + index];

	if (index < sizeof(pattern) - 1)
		return (pattern[index] == 'd' ? is_digit(c) : c == pattern[index])
			       ? 0
			       : fail(head, 400, "a request line without an HTTP version");
	if (c != '\r')
		return fail(head, 400, "something behind the HTTP version");
	if (bytes[head->mark + 5] != '1')
		return fail(head, 505, "a version other than HTTP/1.0 and HTTP/1.1");
	/* A later 1.x is answered as the highest that we conform to (RFC 9110, 2.5). */
	head->minor = bytes[head->mark + 7] == '0' ? 0 : 1;
	return 0;
}

/* Takes the next element off a comma-separated list, trimmed; false at its end.
 * Quoted strings are not looked into: of the lists read here, none that has
 * one is accepted. */
static bool list_next(struct str *list, struct str *item)
{
	while (list->length) {
		str_cut(*list, ',', item, list);
		*item = str_trim(*item);
		if (item->length)
			return true;
	}
	return false;
}

static int content_length_finish(struct parse_head *head, struct str value)
{
	uint64_t length = 0;

	if (head->flags & HAS_LENGTH)
		return fail(head, 400, "more than one Content-Length");
	head->flags |= HAS_LENGTH;
	if (value.length == 0)
		return fail(head, 400, "an empty Content-Length");
	for (size_t i = 0; i < value.length; i++)
		if (!is_digit(value.bytes[i]))
			return fail(head, 400,
				    "a Content-Length that is not one decimal number");
	for (size_t i = 0; i < value.length; i++) {
		unsigned digit = (unsigned)(value.bytes[i] - '0');
		if (length > ((uint64_t)INT64_MAX - digit) / 10)
			return fail(head, 413, "a Content-Length of more than 63 bits");
		length = length * 10 + digit;
	}
	head->content_length = length;
	return 0;
}

/* No empty elements, though a list may have them (RFC 9110, 5.6.1): servers
 * that were asked do not agree on whether ", chunked" is chunked. */
static int transfer_encoding_finish(struct parse_head *head, struct str value)
{
	struct str item;

	head->flags |= HAS_CODING;
	while (value.length) {
		bool more = str_cut(value, ',', &item, &value);

		item = str_trim(item);
		if (!item.length || (more && !value.length))
			return fail(head, 400, "a Transfer-Encoding with an empty element");
		if (head->flags & CHUNKED)
			return fail(head, 400,
				    "a Transfer-Encoding with something behind chunked");
		if (str_equal_nocase(item, STR("chunked")))
			head->flags |= CHUNKED;
		else
			head->flags |= CODING_OTHER;
	}
	return 0;
}

static void connection_finish(struct parse_head *head, struct str value)
{
	struct str item;

	while (list_next(&value, &item)) {
		if (str_equal_nocase(item, STR("close")))
			head->flags |= CLOSE;
		else if (str_equal_nocase(item, STR("keep-alive")))
			head->flags |= KEEP_ALIVE;
	}
}

static void expect_finish(struct parse_head *head, struct str value)
{
	struct str item;

	while (list_next(&value, &item))
		head->flags |= str_equal_nocase(item, STR("100-continue")) ? EXPECT_CONTINUE
									   : EXPECT_OTHER;
}

static int host_finish(struct parse_head *head, const char *bytes, struct parse_span value)
{
	if (head->flags & HAS_HOST)
		return fail(head, 400, "more than one Host");
	head->flags |= HAS_HOST;
	if (!authority_is_right(parse_str(bytes, value), true, false))
		return fail(head, 400, "a Host that is not valid");
	head->host_field = value;
	return 0;
}

/* `lower` is of letters and hyphens, `name` a token of the same length: then the bit
 * that tells the cases apart turns no other byte of a token into one of them. */
static inline bool name_is(const char *name, const char *lower, size_t length)
{
	unsigned differs = 0;

#pragma GCC unroll 17
	for (size_t i = 0; i < length; i++)
		differs |= ((unsigned char)name[i] | 0x20u) ^ (unsigned char)lower[i];
	return differs == 0;
}

/* One field line is complete up to its CR at `end`. */
static int field_finish(struct parse_head *head, const char *bytes, uint32_t end)
{
	struct parse_field *field = &head->fields[head->field_count];
	const char *name = bytes + field->name.offset;
	struct str value;

	while (end > head->mark && (bytes[end - 1] == ' ' || bytes[end - 1] == '\t'))
		end--;
	field->value = (struct parse_span){head->mark, end - head->mark};
	head->field_count++;
	value = parse_str(bytes, field->value);
	switch (field->name.length) {
	case 4:
		if (name_is(name, "host", 4))
			return host_finish(head, bytes, field->value);
		break;
	case 6:
		if (name_is(name, "expect", 6))
			expect_finish(head, value);
		break;
	case 10:
		if (name_is(name, "connection", 10))
			connection_finish(head, value);
		break;
	case 14:
		if (name_is(name, "content-length", 14))
			return content_length_finish(head, value);
		break;
	case 17:
		if (name_is(name, "transfer-encoding", 17))
			return transfer_encoding_finish(head, value);
		break;
	default: break;
	}
	return 0;
}

/* A whole field line that is as most are, from head->at in state FIELD: true, and
 * the next begins at head->at. False: nothing was done, the switch is to see why. */
static bool field_line(struct parse_head *head, const char *bytes, uint32_t end, int *failed)
{
	uint32_t start = head->at, at = start;

	while (at < end && is(bytes[at], TCHAR))
		at++;
	if (at == start || end - at < 4 || bytes[at] != ':' ||
	    head->field_count == head->fields_max)
		return false;
	uint32_t value = at + 1;
	while (value < end && (bytes[value] == ' ' || bytes[value] == '\t'))
		value++;
	uint32_t stop = (uint32_t)parse_field_run(bytes, value, end);
	if (end - stop < 2 || bytes[stop] != '\r' || bytes[stop + 1] != '\n')
		return false;
	head->fields[head->field_count].name = (struct parse_span){start, at - start};
	head->mark = value;
	*failed = field_finish(head, bytes, stop);
	head->at = stop + 2;
	return true;
}

/* The empty line came: what all the fields say together. */
static int head_finish(struct parse_head *head)
{
	unsigned flags = head->flags;

	if (head->minor == 1 && !(flags & HAS_HOST))
		return fail(head, 400, "an HTTP/1.1 request without Host");
	if (head->form != PARSE_ABSOLUTE)
		head->host = head->host_field;
	if (flags & HAS_CODING) {
		if (head->minor == 0)
			return fail(head, 400, "a Transfer-Encoding in HTTP/1.0");
		if (flags & HAS_LENGTH)
			return fail(head, 400, "both Transfer-Encoding and Content-Length");
		if (!(flags & CHUNKED))
			return fail(head, 400,
				    "a Transfer-Encoding that does not end in chunked");
		if (flags & CODING_OTHER)
			return fail(head, 501, "a transfer coding other than chunked");
		head->framing = PARSE_BODY_CHUNKED;
	} else if (head->content_length) {
		head->framing = PARSE_BODY_LENGTH;
	}
	if (head->minor == 1 && (flags & EXPECT_OTHER))
		return fail(head, 417, "an expectation other than 100-continue");
	head->expect_continue = head->minor == 1 && (flags & EXPECT_CONTINUE) &&
				head->framing != PARSE_BODY_NONE;
	head->keep_alive = !(flags & CLOSE) && (head->minor == 1 || (flags & KEEP_ALIVE));
	head->state = COMPLETE;
	return 0;
}

static int fail_too_long(struct parse_head *head)
{
	if (head->state == TARGET)
		return fail(head, 414, "a target longer than the head may be");
	return fail(head, 431, "a head longer than it may be");
}

/* One long, flat switch: every byte passes here once, and the loops inside it
 * are where the time goes. Stops at `end`; 0, or -1 after fail(). */
static int head_run(struct parse_head *head, const char *bytes, uint32_t end)
{
	uint32_t at = head->at;
	int failed = 0;

	while (at < end && head->state != COMPLETE && !failed) {
		char c = bytes[at];
		switch ((enum head_state)head->state) {
		case START:
			if (end - at >= 4 && memcmp(bytes + at, "GET ", 4) == 0) {
				head->method = (struct parse_span){at, 3};
				head->mark = at += 4;
				head->state = TARGET;
			} else if (c == '\r' && head->empty_lines < PARSE_EMPTY_LINES_MAX) {
				head->state = START_LF;
				at++;
			} else if (is(c, TCHAR)) {
				head->mark = at;
				head->state = METHOD;
			} else {
				failed = fail(head, 400, "no request line");
			}
			break;
		case START_LF:
			if (c != '\n')
				failed = fail(head, 400, "a CR without LF");
			head->empty_lines++;
			head->state = failed ? FAILED : START;
			at++;
			break;
		case METHOD:
			while (at < end && at - head->mark <= PARSE_METHOD_MAX &&
			       is(bytes[at], TCHAR))
				at++;
			if (at - head->mark > PARSE_METHOD_MAX) {
				failed = fail(head, 501, "a method longer than any");
			} else if (at < end) {
				if (bytes[at] != ' ') {
					failed = fail(head, 400, "a method that is no token");
					break;
				}
				head->method = (struct parse_span){head->mark, at - head->mark};
				head->is_head = at - head->mark == 4 &&
						memcmp(bytes + head->mark, "HEAD", 4) == 0;
				head->mark = ++at;
				head->state = TARGET;
			}
			break;
		case TARGET:
			at = (uint32_t)parse_target_run(bytes, at, end);
			if (at == end)
				break;
			if (bytes[at] != ' ') {
				failed = fail(
					head, 400,
					bytes[at] == '\r' || bytes[at] == '\n'
						? "a request line without an HTTP version"
						: "a control or non-ASCII byte in the target");
				break;
			}
			head->target = (struct parse_span){head->mark, at - head->mark};
			failed = target_finish(head, bytes);
			if (!failed) {
				head->mark = ++at;
				head->state = VERSION;
			}
			break;
		case VERSION:
			if (at == head->mark && end - at >= 10 &&
			    memcmp(bytes + at, "HTTP/1.1\r\n", 10) == 0) {
				head->minor = 1;
				head->state = FIELD;
				at += 10;
				break;
			}
			failed = version_step(head, bytes, at - head->mark);
			if (!failed && c == '\r')
				head->state = LINE_LF;
			at++;
			break;
		case LINE_LF:
		case VALUE_LF:
			if (c != '\n')
				failed = fail(head, 400, "a CR without LF");
			else
				head->state = FIELD;
			at++;
			break;
		case FIELD:
			head->at = at;
			if (field_line(head, bytes, end, &failed)) {
				at = head->at;
			} else if (c == '\r') {
				head->state = END_LF;
				at++;
			} else if (is(c, TCHAR)) {
				if (head->field_count == head->fields_max) {
					failed = fail(head, 431, "too many header fields");
					break;
				}
				head->mark = at;
				head->state = NAME;
			} else {
				failed = fail(
					head, 400,
					c == ' ' || c == '\t'
						? "a header line that starts with whitespace"
						: "a header line without a name");
			}
			break;
		case NAME:
			while (at < end && is(bytes[at], TCHAR))
				at++;
			if (at == end)
				break;
			if (bytes[at] != ':') {
				failed = fail(
					head, 400,
					bytes[at] == ' ' || bytes[at] == '\t'
						? "whitespace before the colon of a header field"
						: "a header name that is no token");
				break;
			}
			head->fields[head->field_count].name =
				(struct parse_span){head->mark, at - head->mark};
			head->mark = ++at;
			head->state = VALUE_SPACE;
			break;
		case VALUE_SPACE:
			while (at < end && (bytes[at] == ' ' || bytes[at] == '\t'))
				at++;
			head->mark = at;
			if (at < end)
				head->state = VALUE;
			break;
		case VALUE:
			at = (uint32_t)parse_field_run(bytes, at, end);
			if (at == end)
				break;
			if (bytes[at] != '\r') {
				failed = fail(
					head, 400,
					bytes[at] == '\n'
						? "a header line that ends in LF without CR"
						: "a control character in a header field");
				break;
			}
			failed = field_finish(head, bytes, at);
			if (!failed)
				head->state = VALUE_LF;
			at++;
			break;
		case END_LF:
			at++;
			if (c != '\n')
				failed = fail(head, 400, "a CR without LF");
			else
				failed = head_finish(head);
			break;
		case COMPLETE:
		case FAILED: assert(!"left the loop"); break;
		}
	}
	head->at = at;
	return failed;
}

enum parse_result parse_head(struct parse_head *head, const char *bytes, size_t length)
{
	uint32_t end = length < head->head_bytes_max ? (uint32_t)length : head->head_bytes_max;

	assert(head->at <= length);
	if (head->state == FAILED)
		return PARSE_ERROR;
	if (head->state != COMPLETE && head_run(head, bytes, end))
		return PARSE_ERROR;
	if (head->state == COMPLETE) {
		head->head_bytes = head->at;
		return PARSE_DONE;
	}
	if (end == head->head_bytes_max) {
		fail_too_long(head);
		return PARSE_ERROR;
	}
	return PARSE_MORE;
}
