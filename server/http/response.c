/* SPDX-License-Identifier: MIT */
#include "server/http/response.h"

#include "server/http/date.h"
#include "server/http/parse_class.h"

#include <assert.h>
#include <string.h>

static_assert((int)RESPONSE_DATE_BYTES == (int)DATE_TEXT_BYTES, "one date, one size");

/* A place in a buffer that remembers whether all fitted. */
struct out {
	char *at, *end;
	bool full;
};

/* Inline, so that what has a constant length is copied by a few moves. */
static inline __attribute__((always_inline)) void put(struct out *out, const char *bytes,
						      size_t length)
{
	if ((size_t)(out->end - out->at) < length) {
		out->full = true;
		return;
	}
	if (length) /* an empty view may be NULL */
		memcpy(out->at, bytes, length);
	out->at += length;
}

static inline __attribute__((always_inline)) void put_str(struct out *out, struct str s)
{
	put(out, s.bytes, s.length);
}

static void put_number(struct out *out, uint64_t value)
{
	size_t length = 1;

	for (uint64_t rest = value; rest >= 10; rest /= 10)
		length++;
	if ((size_t)(out->end - out->at) < length) {
		out->full = true;
		return;
	}
	for (char *at = out->at += length; length-- > 0; value /= 10)
		*--at = (char)('0' + value % 10);
}

static size_t written(const struct out *out, const char *start)
{
	return out->full ? 0 : (size_t)(out->at - start);
}

/* The registry of RFC 9110, 15, and of the RFCs that add to it. */
const char *response_reason(int status)
{
	switch (status) {
	case 100: return "Continue";
	case 101: return "Switching Protocols";
	case 102: return "Processing";
	case 103: return "Early Hints";
	case 200: return "OK";
	case 201: return "Created";
	case 202: return "Accepted";
	case 203: return "Non-Authoritative Information";
	case 204: return "No Content";
	case 205: return "Reset Content";
	case 206: return "Partial Content";
	case 207: return "Multi-Status";
	case 208: return "Already Reported";
	case 226: return "IM Used";
	case 300: return "Multiple Choices";
	case 301: return "Moved Permanently";
	case 302: return "Found";
	case 303: return "See Other";
	case 304: return "Not Modified";
	case 305: return "Use Proxy";
	case 307: return "Temporary Redirect";
	case 308: return "Permanent Redirect";
	case 400: return "Bad Request";
	case 401: return "Unauthorized";
	case 402: return "Payment Required";
	case 403: return "Forbidden";
	case 404: return "Not Found";
	case 405: return "Method Not Allowed";
	case 406: return "Not Acceptable";
	case 407: return "Proxy Authentication Required";
	case 408: return "Request Timeout";
	case 409: return "Conflict";
	case 410: return "Gone";
	case 411: return "Length Required";
	case 412: return "Precondition Failed";
	case 413: return "Content Too Large";
	case 414: return "URI Too Long";
	case 415: return "Unsupported Media Type";
	case 416: return "Range Not Satisfiable";
	case 417: return "Expectation Failed";
	case 421: return "Misdirected Request";
	case 422: return "Unprocessable Content";
	case 423: return "Locked";
	case 424: return "Failed Dependency";
	case 425: return "Too Early";
	case 426: return "Upgrade Required";
	case 428: return "Precondition Required";
	case 429: return "Too Many Requests";
	case 431: return "Request Header Fields Too Large";
	case 451: return "Unavailable For Legal Reasons";
	case 500: return "Internal Server Error";
	case 501: return "Not Implemented";
	case 502: return "Bad Gateway";
	case 503: return "Service Unavailable";
	case 504: return "Gateway Timeout";
	case 505: return "HTTP Version Not Supported";
	case 506: return "Variant Also Negotiates";
	case 507: return "Insufficient Storage";
	case 508: return "Loop Detected";
	case 511: return "Network Authentication Required";
	default: return "";
	}
}

void response_date(char out[RESPONSE_DATE_BYTES], time_t now)
{
	date_format(out, now);
}

static void put_status_line(struct out *out, int status)
{
	if (status == 200) {
		put_str(out, STR("HTTP/1.1 200 OK\r\n"));
		return;
	}
	put_str(out, STR("HTTP/1.1 "));
	put_number(out, (uint64_t)status);
	put_str(out, STR(" "));
	put_str(out, str_of(response_reason(status)));
	put_str(out, STR("\r\n"));
}

size_t response_head(char *out_bytes, size_t size, const struct response *response)
{
	struct out out = {out_bytes, out_bytes + size, false};
	int status = response->status;

	assert(status >= 100 && status <= 599);
	put_status_line(&out, status);
	if (response->date.length) {
		assert(response->date.length == DATE_TEXT_BYTES - 1);
		put_str(&out, STR("Date: "));
		put(&out, response->date.bytes, DATE_TEXT_BYTES - 1);
		put_str(&out, STR("\r\n"));
	}
	if (status >= 200) {
		if (!response_stays(response))
			put_str(&out, STR("Connection: close\r\n"));
		else if (response->minor == 0)
			put_str(&out, STR("Connection: keep-alive\r\n"));
		if (response_is_chunked(response)) {
			put_str(&out, STR("Transfer-Encoding: chunked\r\n"));
		} else if (response->length >= 0 && status != 204) {
			put_str(&out, STR("Content-Length: "));
			put_number(&out, (uint64_t)response->length);
			put_str(&out, STR("\r\n"));
		}
	}
	put_str(&out, response->fields);
	put_str(&out, STR("\r\n"));
	return written(&out, out_bytes);
}

static bool is_cores_own(const char *name, size_t length)
{
	static const char *const own[] = {
		"connection", "date",    "keep-alive", "proxy-connection",
		"te",         "trailer", "upgrade",    "transfer-encoding",
	};
	/* Bit n: one of them is n bytes long. */
	static const uint32_t lengths =
		1u << 2 | 1u << 4 | 1u << 7 | 1u << 10 | 1u << 16 | 1u << 17;

	if (length > 17 || !(lengths >> length & 1))
		return false;
	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
		if (str_equal_nocase((struct str){name, length}, str_of(own[i])))
			return true;
	return false;
}

size_t response_field(char *out_bytes, size_t size, const char *name, const char *value)
{
	struct out out = {out_bytes, out_bytes + size, false};
	size_t length = 0;

	while (is(name[length], TCHAR))
		length++;
	if (length == 0 || name[length] != '\0' || is_cores_own(name, length))
		return 0;
	struct str text = str_trim(str_of(value));
	if (parse_field_run(text.bytes, 0, text.length) != text.length)
		return 0;
	put(&out, name, length);
	put_str(&out, STR(": "));
	put_str(&out, text);
	put_str(&out, STR("\r\n"));
	return written(&out, out_bytes);
}

size_t response_error(char *out_bytes, size_t size, const struct response *response,
		      bool is_head, const char *detail)
{
	static const char type[] = "Content-Type: text/plain; charset=utf-8\r\n";
	struct str reason = str_of(detail ? detail : response_reason(response->status));
	struct response whole = *response;
	struct out out = {out_bytes, out_bytes + size, false};
	size_t head;

	whole.chunked = false;
	whole.length = (int64_t)reason.length + 1;
	head = response_head(out_bytes, size, &whole);
	if (!head)
		return 0;
	/* The empty line makes room for the type, and comes again behind it. */
	out.at = out_bytes + head - 2;
	if (response_has_body(response->status, false))
		put(&out, type, sizeof(type) - 1);
	put_str(&out, STR("\r\n"));
	if (response_has_body(response->status, is_head)) {
		put_str(&out, reason);
		put_str(&out, STR("\n"));
	}
	return written(&out, out_bytes);
}
