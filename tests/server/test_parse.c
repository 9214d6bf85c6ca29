/* SPDX-License-Identifier: MIT */
#include "server/http/parse.h"
#include "tests/server/transcript.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct transcript_limits wide = {8192, PARSE_FIELDS_MAX};

/* The transcript of these bytes, which must not depend on how they are cut. */
static void transcript(struct buf *out, const char *bytes, size_t length,
		       struct transcript_limits limits)
{
	struct buf cut;

	buf_init(&cut);
	buf_clear(out);
	transcript_write(out, bytes, length, CUT_WHOLE, limits);
	for (uint64_t seed = CUT_BYTES; seed < 20; seed++) {
		buf_clear(&cut);
		transcript_write(&cut, bytes, length, seed, limits);
		assert_int_equal(cut.length, out->length);
		assert_memory_equal(buf_text(&cut), buf_text(out), out->length);
	}
	buf_release(&cut);
}

/* The first status: 0 for a request that is fine, -1 for one that is cut off. */
static int status_of(const char *bytes, size_t length, struct transcript_limits limits)
{
	const char *error;
	struct buf out;
	int status = -1;

	buf_init(&out);
	transcript(&out, bytes, length, limits);
	error = strstr(buf_text(&out), "ERROR ");
	if (error)
		status = (int)strtol(error + 6, NULL, 10);
	else if (strncmp(buf_text(&out), "HEAD", 4) == 0 && !strstr(buf_text(&out), "BODY CUT"))
		status = 0;
	buf_release(&out);
	return status;
}

struct line {
	int status;
	const char *text;
	size_t length;
};

#define LINE(status, literal)                        \
	{                                            \
		status, literal, sizeof(literal) - 1 \
	}

static void expect_all(const struct line *line, size_t count, const char *before,
		       const char *after)
{
	for (size_t i = 0; i < count; i++) {
		size_t length = strlen(before) + line[i].length + strlen(after);
		char *bytes = malloc(length + 1);
		int status;

		assert_non_null(bytes);
		memcpy(bytes, before, strlen(before));
		memcpy(bytes + strlen(before), line[i].text, line[i].length);
		memcpy(bytes + length - strlen(after), after, strlen(after) + 1);
		status = status_of(bytes, length, wide);
		free(bytes);
		if (status != line[i].status)
			fail_msg("'%s': %d, not %d", line[i].text, status, line[i].status);
	}
}

#define EXPECT_ALL(lines, before, after) \
	expect_all(lines, sizeof(lines) / sizeof(lines[0]), before, after)

static void test_parse__request_lines_are_taken_or_refused(void **state)
{
	static const struct line lines[] = {
		LINE(0, "GET / HTTP/1.1\r\n"),
		LINE(0, "GET /a/b;c=d,e@f:g?h=i/j?k HTTP/1.1\r\n"),
		LINE(0, "GET /%41%fF?100% HTTP/1.1\r\n"),
		LINE(0, "GET /?a[]=1|2^{3}`\\ HTTP/1.1\r\n"),
		LINE(0, "GET //a HTTP/1.1\r\n"),
		LINE(0, "get / HTTP/1.1\r\n"),
		LINE(0, "M-SEARCH!#$%&'*+.^_`|~9 / HTTP/1.1\r\n"),
		LINE(0, "GET / HTTP/1.0\r\n"),
		LINE(0, "GET / HTTP/1.9\r\n"),
		LINE(0, "\r\nGET / HTTP/1.1\r\n"),
		LINE(0, "\r\n\r\nGET / HTTP/1.1\r\n"),
		LINE(400, "\r\n\r\n\r\nGET / HTTP/1.1\r\n"),
		LINE(400, "\nGET / HTTP/1.1\r\n"),
		LINE(400, " GET / HTTP/1.1\r\n"),
		LINE(400, "GET  / HTTP/1.1\r\n"),
		LINE(400, "GET\t/ HTTP/1.1\r\n"),
		LINE(400, "GET / HTTP/1.1 \r\n"),
		LINE(400, "GET /  HTTP/1.1\r\n"),
		LINE(400, "GET / HTTP/1.1\n"),
		LINE(400, "GET / HTTP/1.1\r\r\n"),
		LINE(400, "GET /\r\n"),
		LINE(400, "GET\r\n"),
		LINE(400, "GET / \r\n"),
		LINE(400, "GET / http/1.1\r\n"),
		LINE(400, "GET / HTTP/1\r\n"),
		LINE(400, "GET / HTTP/1.\r\n"),
		LINE(400, "GET / HTTP/1.11\r\n"),
		LINE(400, "GET / HTTP/11.1\r\n"),
		LINE(400, "GET / HTTP/-1.1\r\n"),
		LINE(400, "G\xc3\xa4T / HTTP/1.1\r\n"),
		LINE(400, "G(T / HTTP/1.1\r\n"),
		LINE(400, "GET /\x7f HTTP/1.1\r\n"),
		LINE(400, "GET /\xc3\xa4 HTTP/1.1\r\n"),
		LINE(400, "GET /\0 HTTP/1.1\r\n"),
		LINE(400, "GET /#a HTTP/1.1\r\n"),
		LINE(400, "GET /?#a HTTP/1.1\r\n"),
		LINE(400, "GET /<a> HTTP/1.1\r\n"),
		LINE(400, "GET /a|b HTTP/1.1\r\n"),
		LINE(400, "GET /a\\b HTTP/1.1\r\n"),
		LINE(400, "GET /?\"a\" HTTP/1.1\r\n"),
		LINE(400, "GET /% HTTP/1.1\r\n"),
		LINE(400, "GET /%4 HTTP/1.1\r\n"),
		LINE(400, "GET /%4g HTTP/1.1\r\n"),
		LINE(400, "GET a HTTP/1.1\r\n"),
		LINE(400, "GET ?a HTTP/1.1\r\n"),
		LINE(505, "GET / HTTP/2.0\r\n"),
		LINE(505, "GET / HTTP/0.9\r\n"),
		LINE(400, "PRI * HTTP/2.0\r\n") /* the target comes first */,
		LINE(501, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA / HTTP/1.1\r\n"),
		LINE(0, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA / HTTP/1.1\r\n"),
	};

	(void)state;
	EXPECT_ALL(lines, "", "Host: a\r\n\r\n");
}

static void test_parse__the_four_forms_of_targets(void **state)
{
	static const struct line lines[] = {
		LINE(0, "GET http://a/b"),
		LINE(0, "GET HTTP://a"),
		LINE(0, "GET http://a?b"),
		LINE(0, "GET http://a:80/b"),
		LINE(0, "GET http://a:/b"),
		LINE(0, "GET http://[::1]:80/"),
		LINE(0, "GET http://[v1.a:b]/"),
		LINE(0, "OPTIONS *"),
		LINE(0, "OPTIONS http://a"),
		LINE(0, "OPTIONS /"),
		LINE(400, "GET *"),
		LINE(400, "OPTIONS **"),
		LINE(400, "OPTIONS *?a"),
		LINE(400, "GET http://"),
		LINE(400, "GET http:///a"),
		LINE(400, "GET http://:80/"),
		LINE(400, "GET http://u@a/"),
		LINE(400, "GET http://u:p@a/"),
		LINE(400, "GET http://a:b/"),
		LINE(400, "GET http://a:65536/"),
		LINE(400, "GET http://[::1/"),
		LINE(400, "GET http://[::g]/"),
		LINE(400, "GET http://[]/"),
		LINE(400, "GET http://[v.a]/"),
		LINE(400, "GET http://a%4/"),
		LINE(400, "GET http:/a"),
		LINE(400, "GET ftp://a/"),
		LINE(400, "GET a:80"),
		LINE(421, "GET https://a/"),
		LINE(501, "CONNECT a:80"),
		LINE(501, "CONNECT [::1]:80"),
		LINE(400, "CONNECT a"),
		LINE(400, "CONNECT a:"),
		LINE(400, "CONNECT /"),
		LINE(400, "CONNECT http://a/"),
		LINE(400, "CONNECT a:80/b"),
	};

	(void)state;
	EXPECT_ALL(lines, "", " HTTP/1.1\r\nHost: a\r\n\r\n");
}

static void test_parse__header_lines_are_taken_or_refused(void **state)
{
	static const struct line lines[] = {
		LINE(0, "X: a\r\n"),
		LINE(0, "X:a\r\n"),
		LINE(0, "X: \t a b\tc \t\r\n"),
		LINE(0, "X:\r\n"),
		LINE(0, "X: \xc3\xa4\xff\r\n"),
		LINE(0, "!#$%&'*+-.^_`|~09azAZ: a\r\n"),
		LINE(400, "X : a\r\n"),
		LINE(400, "X\t: a\r\n"),
		LINE(400, ": a\r\n"),
		LINE(400, "X\r\n"),
		LINE(400, "X y: a\r\n"),
		LINE(400, "X(: a\r\n"),
		LINE(400, "X\xc3: a\r\n"),
		LINE(400, " X: a\r\n"),
		LINE(400, "X: a\r\n b\r\n"),
		LINE(400, "X: a\r\n\tb\r\n"),
		LINE(400, "X: a\r\n \r\n"),
		LINE(400, "X: a\n"),
		LINE(400, "X: a\r"),
		LINE(400, "X: a\rb\r\n"),
		LINE(400, "X: a\r\r\n"),
		LINE(400, "X: a\0b\r\n"),
		LINE(400, "X: a\x01\r\n"),
		LINE(400, "X: a\x7f\r\n"),
		LINE(400, "X: a\x0b\r\n"),
		LINE(400, "X\0: a\r\n"),
		LINE(400, "\0: a\r\n"),
	};

	(void)state;
	EXPECT_ALL(lines, "GET / HTTP/1.1\r\nHost: a\r\n", "\r\n");
	EXPECT_ALL(lines, "GET / HTTP/1.1\r\n", "Host: a\r\n\r\n");
}

static void test_parse__a_host_is_there_once_and_valid(void **state)
{
	static const struct line lines[] = {
		LINE(0, "Host: a\r\n"),
		LINE(0, "Host:\r\n"),
		LINE(0, "hOST: a.b-c_d~e!$&'()*+,;=%41:80\r\n"),
		LINE(0, "Host: 127.0.0.1\r\n"),
		LINE(0, "Host: [::ffff:1.2.3.4]:65535\r\n"),
		LINE(0, "Host: a:\r\n"),
		LINE(400, ""),
		LINE(400, "Host: a\r\nHost: a\r\n"),
		LINE(400, "Host: a\r\nX: y\r\nHOST: b\r\n"),
		LINE(400, "Host: a b\r\n"),
		LINE(400, "Host: a, b\r\n"),
		LINE(400, "Host: a/b\r\n"),
		LINE(400, "Host: a@b\r\n"),
		LINE(400, "Host: http://a\r\n"),
		LINE(400, "Host: a:b\r\n"),
		LINE(400, "Host: a:99999\r\n"),
		LINE(400, "Host: :80\r\n"),
		LINE(400, "Host: ::1\r\n"),
		LINE(400, "Host: [1.2.3.4]\r\n"),
		LINE(400, "Host: [::1]a\r\n"),
		LINE(400, "Host: [fe80::1%eth0]\r\n"),
		LINE(400, "Host: a%zz\r\n"),
		LINE(400, "Host: \xc3\xa4\r\n"),
		LINE(400, "Host: a?b\r\n"),
		LINE(400, "Host: a#b\r\n"),
	};
	static const struct line old[] = {
		LINE(0, ""),
		LINE(0, "Host: a\r\n"),
		LINE(400, "Host: a b\r\n"),
		LINE(400, "Host: a\r\nHost: a\r\n"),
	};

	(void)state;
	EXPECT_ALL(lines, "GET / HTTP/1.1\r\n", "\r\n");
	EXPECT_ALL(lines, "GET http://x/ HTTP/1.1\r\n", "\r\n");
	EXPECT_ALL(old, "GET / HTTP/1.0\r\n", "\r\n");
}

static void test_parse__ambiguous_framing_is_refused(void **state)
{
	static const struct line lines[] = {
		LINE(0, "Content-Length: 0\r\n\r\n"),
		LINE(0, "Content-Length: 3\r\n\r\nabc"),
		LINE(0, "Content-Length: 0000000000000000000003\r\n\r\nabc"),
		LINE(-1, "Content-Length: 4\r\n\r\nabc"),
		LINE(-1, "Content-Length: 9223372036854775807\r\n\r\nabc"),
		LINE(413, "Content-Length: 9223372036854775808\r\n\r\n"),
		LINE(413, "Content-Length: 18446744073709551619\r\n\r\nabc"),
		LINE(413, "Content-Length: 99999999999999999999999999\r\n\r\n"),
		LINE(400, "Content-Length:\r\n\r\n"),
		LINE(400, "Content-Length: -3\r\n\r\nabc"),
		LINE(400, "Content-Length: +3\r\n\r\nabc"),
		LINE(400, "Content-Length: 3 3\r\n\r\nabc"),
		LINE(400, "Content-Length: 3,3\r\n\r\nabc"),
		LINE(400, "Content-Length: 3, 4\r\n\r\nabc"),
		LINE(400, "Content-Length: 0x3\r\n\r\nabc"),
		LINE(400, "Content-Length: 3.0\r\n\r\nabc"),
		LINE(400, "Content-Length: 3a\r\n\r\nabc"),
		LINE(400, "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc"),
		LINE(400, "Content-Length: 3\r\ncontent-length: 4\r\n\r\nabc"),
		LINE(400, "Content-Length: 0\r\nContent-Length: 3\r\n\r\nabc"),
		LINE(0, "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
		LINE(0, "transfer-encoding: CHUNKED\r\n\r\n0\r\n\r\n"),
		LINE(400, "Transfer-Encoding: , chunked\r\n\r\n0\r\n\r\n"),
		LINE(400, "Transfer-Encoding: chunked,\r\n\r\n0\r\n\r\n"),
		LINE(400, "Transfer-Encoding: chunked ,\t\r\n\r\n0\r\n\r\n"),
		LINE(400, "Transfer-Encoding: gzip,,chunked\r\n\r\n0\r\n\r\n"),
		LINE(400, "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n"),
		LINE(400, "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
		LINE(400, "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
		LINE(400, "Content-Length: 3\r\nTransfer-Encoding: identity\r\n\r\nabc"),
		LINE(400, "Transfer-Encoding:\r\n\r\n"),
		LINE(400, "Transfer-Encoding: identity\r\n\r\n"),
		LINE(400, "Transfer-Encoding: gzip\r\n\r\n"),
		LINE(400, "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
		LINE(400, "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n"),
		LINE(400, "Transfer-Encoding: chunked;a=b\r\n\r\n0\r\n\r\n"),
		LINE(400, "Transfer-Encoding: chunked chunked\r\n\r\n0\r\n\r\n"),
		LINE(400, "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
		LINE(400, "Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"),
		LINE(400,
		     "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
		LINE(400,
		     "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n"),
		LINE(400, "Transfer-Encoding: \x0b"
			  "chunked\r\n\r\n0\r\n\r\n"),
		LINE(400, "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
		LINE(501, "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
		LINE(501,
		     "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
		LINE(417, "Expect: 200-ok\r\n\r\n"),
		LINE(417, "Expect: 100-continue, x\r\n\r\n"),
	};
	static const struct line old[] = {
		LINE(0, "Expect: 200-ok\r\n\r\n"),
		LINE(400, "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
	};

	(void)state;
	EXPECT_ALL(lines, "POST / HTTP/1.1\r\nHost: a\r\n", "");
	EXPECT_ALL(old, "POST / HTTP/1.0\r\n", "");
}

static void test_parse__chunks_are_taken_or_refused(void **state)
{
	static const struct line lines[] = {
		LINE(0, "3\r\nabc\r\n0\r\n"),
		LINE(0, "0003\r\nabc\r\n0000000000000000\r\n"),
		LINE(0, "A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n"),
		LINE(0, "3;a\r\nabc\r\n0;b=c\r\n"),
		LINE(0, "3 ; a = b ;c=\"d;\\\"\xc3\xa4\"; e\r\nabc\r\n0\r\n"),
		LINE(0, "0\r\nX: y\r\nZ:\r\n"),
		LINE(0, "0\r\nContent-Length: 9\r\nTransfer-Encoding: x\r\nHost: z\r\n"),
		LINE(400, "3\r\nab"),
		LINE(-1, "5\r\nab"),
		LINE(400, "\r\n"),
		LINE(400, ";a\r\n"),
		LINE(400, " 3\r\nabc\r\n0\r\n"),
		LINE(400, "3 \r\nabc\r\n0\r\n"),
		LINE(400, "+3\r\nabc\r\n0\r\n"),
		LINE(400, "-1\r\nabc\r\n0\r\n"),
		LINE(400, "0x3\r\nabc\r\n0\r\n"),
		LINE(400, "3g\r\nabc\r\n0\r\n"),
		LINE(400, "3_0\r\nabc\r\n0\r\n"),
		LINE(400, "3\nabc\r\n0\r\n"),
		LINE(400, "3\rabc\r\n0\r\n"),
		LINE(400, "3\r\nabc\n0\r\n"),
		LINE(400, "3\r\nabcd\r\n0\r\n"),
		LINE(400, "3\r\nab\r\n0\r\n\r\n"),
		LINE(400, "3\r\nabc0\r\n"),
		LINE(400, "8000000000000000\r\nabc"),
		LINE(400, "10000000000000003\r\nabc\r\n0\r\n"),
		LINE(400, "00000000000000003\r\nabc\r\n0\r\n"),
		LINE(-1, "7fffffffffffffff\r\nabc"),
		LINE(400, "3;\r\nabc\r\n0\r\n"),
		LINE(400, "3;a=\r\nabc\r\n0\r\n"),
		LINE(400, "3;a\nabc\r\n0\r\n"),
		LINE(400, "3;a=\"\nb\"\r\nabc\r\n0\r\n"),
		LINE(400, "3;a=\"b\r\nabc\r\n0\r\n"),
		LINE(400, "3;a \r\nabc\r\n0\r\n"),
		LINE(400, "3;a b\r\nabc\r\n0\r\n"),
		LINE(400, "3;a\0\r\nabc\r\n0\r\n"),
		LINE(400, "0\r\nX : y\r\n"),
		LINE(400, "0\r\nX: y\r\n z\r\n"),
		LINE(400, "0\r\nX: y\n"),
		LINE(400, "0\r\nX\r\n"),
		LINE(400, "0\r\n: y\r\n"),
		LINE(400, "0\r\nX: \x01\r\n"),
		LINE(400, "0\r\n\rX"),
	};

	(void)state;
	EXPECT_ALL(lines, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
		   "\r\n");
}

static void test_parse__what_is_unbounded_elsewhere_is_bounded_here(void **state)
{
	static const char head[] =
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
	struct buf bytes;

	(void)state;
	buf_init(&bytes);
	buf_append_str(&bytes, head);
	for (int i = 0; i < 300; i++) /* 5 bytes a chunk */
		buf_append_str(&bytes, "1;abc\r\nx\r\n");
	assert_int_equal(status_of(bytes.bytes, bytes.length, wide), 400);

	buf_clear(&bytes);
	buf_append_str(&bytes, head);
	buf_append_str(&bytes, "0\r\n");
	for (int i = 0; i < 1000; i++)
		buf_append_str(&bytes, "X-Trailer: a\r\n");
	assert_int_equal(status_of(bytes.bytes, bytes.length, wide), 431);
	buf_release(&bytes);
}

static void test_parse__limits_of_a_head_have_their_statuses(void **state)
{
	static const char fields[] = "GET / HTTP/1.1\r\nHost: a\r\nB: c\r\nD: e\r\n\r\n";
	struct transcript_limits limits = {8192, 3};
	struct buf bytes;

	(void)state;
	assert_int_equal(status_of(fields, sizeof(fields) - 1, limits), 0);
	limits.fields_max = 2;
	assert_int_equal(status_of(fields, sizeof(fields) - 1, limits), 431);

	/* To the byte: a head of exactly the limit is fine. */
	limits = (struct transcript_limits){sizeof(fields) - 1, 3};
	assert_int_equal(status_of(fields, sizeof(fields) - 1, limits), 0);
	limits.head_bytes_max--;
	assert_int_equal(status_of(fields, sizeof(fields) - 1, limits), 431);

	buf_init(&bytes);
	buf_append_str(&bytes, "GET /");
	for (int i = 0; i < 9000; i++)
		buf_append_str(&bytes, "a");
	assert_int_equal(status_of(bytes.bytes, bytes.length, wide), 414);
	buf_clear(&bytes);
	buf_append_str(&bytes, "GET / HTTP/1.1\r\nHost: a\r\nX: ");
	for (int i = 0; i < 9000; i++)
		buf_append_str(&bytes, "a");
	assert_int_equal(status_of(bytes.bytes, bytes.length, wide), 431);
	buf_release(&bytes);
}

static void test_parse__a_transcript_has_all_that_was_sent(void **state)
{
	static const char bytes[] =
		"POST http://h:8/p?q HTTP/1.1\r\nHost: other\r\nA: \t b c \t\r\n"
		"Expect: 100-Continue\r\nTransfer-Encoding: chunked\r\n\r\n"
		"2\r\nhe\r\n3;x\r\nllo\r\n0\r\nT: u\r\n\r\n"
		"\r\nHEAD /? HTTP/1.1\r\nHost: [::1]:80\r\nContent-Length: 2\r\nConnection: x, "
		"CLOSE\r\n\r\nhi"
		"GET /never HTTP/1.1\r\nHost: a\r\n\r\n";
	struct buf out;

	(void)state;
	buf_init(&out);
	transcript(&out, bytes, sizeof(bytes) - 1, wide);
	assert_string_equal(
		buf_text(&out),
		"HEAD method=POST target=http://h:8/p?q path=/p query=q host=h:8 1.1 framing=2 "
		"length=0 keep=1 expect=1 bytes=107\n"
		" name=Host value=other\n name=A value=b c\n name=Expect value=100-Continue\n"
		" name=Transfer-Encoding value=chunked\n"
		"BODY hello\n"
		"HEAD method=HEAD target=/? path=/ query= host=[::1]:80 1.1 framing=1 length=2 "
		"keep=0 expect=0 bytes=79\n"
		" name=Host value=[::1]:80\n name=Content-Length value=2\n"
		" name=Connection value=x, CLOSE\n"
		"BODY hi\n");
	buf_release(&out);
}

struct persistence {
	const char *head;
	bool keep_alive;
};

static void test_parse__connections_stay_as_version_and_options_say(void **state)
{
	static const struct persistence cases[] = {
		{"GET / HTTP/1.1\r\nHost: a\r\n\r\n", true},
		{"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", true},
		{"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", false},
		{"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, close\r\n\r\n", false},
		{"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nConnection: Close\r\n\r\n",
		 false},
		{"GET / HTTP/1.1\r\nHost: a\r\nConnection: closed\r\n\r\n", true},
		{"GET / HTTP/1.0\r\n\r\n", false},
		{"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true},
		{"GET / HTTP/1.0\r\nConnection: , Keep-Alive\r\n\r\n", true},
		{"GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct parse_field fields[8];
		struct parse_head head;

		parse_head_init(&head, fields, 8, 1024, false);
		assert_int_equal(parse_head(&head, cases[i].head, strlen(cases[i].head)),
				 PARSE_DONE);
		if (head.keep_alive != cases[i].keep_alive)
			fail_msg("%s", cases[i].head);
	}
}

static void test_parse__empty_paths_of_absolute_targets_have_one(void **state)
{
	static const struct {
		const char *head, *path;
	} cases[] = {
		{"GET http://h HTTP/1.1\r\nHost: h\r\n\r\n", "/"},
		{"GET http://h?q HTTP/1.1\r\nHost: h\r\n\r\n", "/"},
		{"OPTIONS http://h HTTP/1.1\r\nHost: h\r\n\r\n", "*"},
		{"OPTIONS http://h?q HTTP/1.1\r\nHost: h\r\n\r\n", "/"},
		{"OPTIONS http://h/ HTTP/1.1\r\nHost: h\r\n\r\n", "/"},
		{"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", "*"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct parse_field fields[8];
		struct parse_head head;

		parse_head_init(&head, fields, 8, 1024, false);
		assert_int_equal(parse_head(&head, cases[i].head, strlen(cases[i].head)),
				 PARSE_DONE);
		assert_true(str_equal(parse_path(&head, cases[i].head), str_of(cases[i].path)));
		assert_true(str_equal(parse_str(cases[i].head, head.host), STR("h")));
	}
}

static void test_parse__https_targets_are_at_home_on_tls(void **state)
{
	static const char text[] = "GET https://h/ HTTP/1.1\r\nHost: h\r\n\r\n";
	struct parse_field fields[8];
	struct parse_head head;

	(void)state;
	parse_head_init(&head, fields, 8, 1024, true);
	assert_int_equal(parse_head(&head, text, sizeof(text) - 1), PARSE_DONE);
	parse_head_init(&head, fields, 8, 1024, false);
	assert_int_equal(parse_head(&head, text, sizeof(text) - 1), PARSE_ERROR);
	assert_int_equal(head.status, 421);
}

static void test_parse__an_idle_connection_is_told_from_a_slow_one(void **state)
{
	struct parse_field fields[8];
	struct parse_head head;

	(void)state;
	parse_head_init(&head, fields, 8, 1024, false);
	assert_int_equal(parse_head(&head, "", 0), PARSE_MORE);
	assert_true(parse_head_idle(&head));
	assert_int_equal(parse_head(&head, "\r\n", 2), PARSE_MORE);
	assert_true(parse_head_idle(&head));
	assert_int_equal(parse_head(&head, "\r\nH", 3), PARSE_MORE);
	assert_false(parse_head_idle(&head));
	assert_int_equal(parse_head(&head, "\r\nHEAD ", 7), PARSE_MORE);
	assert_true(head.is_head);
	/* Known even if the rest is wrong: the 400 then goes without a body. */
	assert_int_equal(parse_head(&head, "\r\nHEAD  ", 8), PARSE_ERROR);
	assert_true(head.is_head);
}

static void test_parse__mutations_never_depend_on_the_cuts(void **state)
{
	static const char seed[] =
		"POST /a?b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
		"5;a=\"b\"\r\nhello\r\n0\r\nX: y\r\n\r\nGET http://a/ HTTP/1.0\r\nContent-Length: "
		"1\r\nConnection: keep-alive\r\n\r\nxGET / HTTP/1.1\r\nHost: a\r\n\r\n";
	static const char odd[] = "\r\n\0 \t:;,%/?\"0aZ\x80\x7f";
	char bytes[sizeof(seed)];
	uint64_t random = 1;
	struct buf out;

	(void)state;
	buf_init(&out);
	for (int round = 0; round < 3000; round++) {
		memcpy(bytes, seed, sizeof(seed));
		for (int i = 0; i < 1 + round % 3; i++) {
			random = random * 6364136223846793005u + 1442695040888963407u;
			bytes[(random >> 33) % (sizeof(seed) - 1)] =
				odd[(random >> 20) % (sizeof(odd) - 1)];
		}
		transcript(&out, bytes, sizeof(seed) - 1, wide);
	}
	buf_release(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse__request_lines_are_taken_or_refused),
		cmocka_unit_test(test_parse__the_four_forms_of_targets),
		cmocka_unit_test(test_parse__header_lines_are_taken_or_refused),
		cmocka_unit_test(test_parse__a_host_is_there_once_and_valid),
		cmocka_unit_test(test_parse__ambiguous_framing_is_refused),
		cmocka_unit_test(test_parse__chunks_are_taken_or_refused),
		cmocka_unit_test(test_parse__what_is_unbounded_elsewhere_is_bounded_here),
		cmocka_unit_test(test_parse__limits_of_a_head_have_their_statuses),
		cmocka_unit_test(test_parse__a_transcript_has_all_that_was_sent),
		cmocka_unit_test(test_parse__connections_stay_as_version_and_options_say),
		cmocka_unit_test(test_parse__empty_paths_of_absolute_targets_have_one),
		cmocka_unit_test(test_parse__https_targets_are_at_home_on_tls),
		cmocka_unit_test(test_parse__an_idle_connection_is_told_from_a_slow_one),
		cmocka_unit_test(test_parse__mutations_never_depend_on_the_cuts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
