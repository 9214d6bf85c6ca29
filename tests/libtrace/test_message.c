/* SPDX-License-Identifier: MIT */
/* Streams of messages, whole and cut anywhere: the same messages come out. */
#include "libtrace/attribution/message.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static char seen[4096]; /* "SET;" per message: (name) at its name, ';' at its end */

static void note(const struct message_event *event)
{
	size_t at = strlen(seen), room = sizeof(seen) - at;
	switch (event->kind) {
	case MESSAGE_BEGIN: snprintf(seen + at, room, "<"); break;
	case MESSAGE_NAME:
		snprintf(seen + at, room, "%.*s%s%.*s", STR_ARG(event->method),
			 event->method.length ? " " : "", STR_ARG(event->name));
		break;
	case MESSAGE_END: snprintf(seen + at, room, ">"); break;
	case MESSAGE_LOST: snprintf(seen + at, room, "!"); break;
	default: break;
	}
}

static void feed(struct message_scan *scan, const char *bytes, size_t length)
{
	struct str rest = {bytes, length};
	struct message_event event;
	do {
		size_t took = message_feed(scan, rest, &event);
		rest.bytes += took;
		rest.length -= took;
		note(&event);
	} while (event.kind != MESSAGE_NONE);
	assert_int_equal(rest.length, 0);
}

/* In pieces of every size. */
static void expect(struct str bytes, enum message_protocol protocol, const char *what)
{
	assert_int_equal(message_recognise(bytes), protocol);
	for (size_t size = 1; size <= bytes.length; size++) {
		struct message_scan scan;
		message_scan_init(&scan);
		scan.protocol = (uint8_t)protocol;
		seen[0] = '\0';
		for (size_t at = 0; at < bytes.length; at += size)
			feed(&scan, bytes.bytes + at,
			     bytes.length - at < size ? bytes.length - at : size);
		assert_string_equal(seen, what);
		message_scan_release(&scan);
	}
}

static void test_message__redis_commands_are_told_apart(void **state)
{
	(void)state;
	expect(STR("*1\r\n$4\r\nPING\r\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nv\r\nal\r\n"
		   "*2\r\n$3\r\nGET\r\n$0\r\n\r\nECHO inline\r\n*1\r\n$4\r\nQUIT\r\n"),
	       MESSAGE_RESP, "<PING><SET><GET><ECHO><QUIT>");
}

static void test_message__what_is_no_command_is_lost_until_one_begins(void **state)
{
	(void)state;
	struct message_scan scan;
	message_scan_init(&scan);
	scan.protocol = MESSAGE_RESP;
	seen[0] = '\0';
	feed(&scan, "*2\r\n$3\r\nGET\r\nrubbish\r\n", 22);
	assert_string_equal(seen, "<GET!");
	message_resume(&scan, STR("more"));
	feed(&scan, "more", 4);
	message_resume(&scan, STR("*1\r\n$4\r\nPING\r\n"));
	feed(&scan, "*1\r\n$4\r\nPING\r\n", 14);
	assert_string_equal(seen, "<GET!<PING>");
}

static void test_message__bodies_may_pass_unseen(void **state)
{
	(void)state;
	struct message_scan scan;
	struct message_event event;
	message_scan_init(&scan);
	scan.protocol = MESSAGE_RESP;
	seen[0] = '\0';
	feed(&scan, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1000\r\nxxx", 30);
	message_skip(&scan, 999, &event);
	note(&event);
	assert_string_equal(seen, "<SET>");
	assert_true(message_idle(&scan));
	feed(&scan, "*1\r\n", 4);
	message_skip(&scan, 1, &event);
	assert_int_equal(event.kind, MESSAGE_LOST);
}

static void test_message__memcached_lines_and_their_data(void **state)
{
	(void)state;
	expect(STR("get a b\r\nset k 0 0 6\r\nget \r\n\r\ncas k 0 0 2 77\r\nab\r\nms k 2 T0\r\nxx\r\n"
		   "delete k\r\nquit\r\n"),
	       MESSAGE_MEMCACHED, "<get><set><cas><ms><delete><quit>");
}

static void test_message__memcached_binary_headers(void **state)
{
	(void)state;
	static const char bytes[] =
		"\x80\x01\0\3\x08\0\0\0\0\0\0\x0c\0\0\0\0\0\0\0\0\0\0\0\0"
		"12345678keyv\x80\x0a\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
	expect((struct str){bytes, sizeof(bytes) - 1}, MESSAGE_MEMCACHED_BINARY, "<set><noop>");
}

static void test_message__fastcgi_requests_have_a_method_and_a_target(void **state)
{
	(void)state;
	static const char bytes[] = "\1\1\0\1\0\x08\0\0\0\1\0\0\0\0\0\0"
				    "\1\4\0\1\0\x2c\4\0"
				    "\x0e\3REQUEST_METHODGET\x0b\x0cREQUEST_URI/x.php?a=b\0\0"
				    "\0\0\0\0"
				    "\1\4\0\1\0\0\0\0"
				    "\1\5\0\1\0\0\0\0";
	expect((struct str){bytes, sizeof(bytes) - 1}, MESSAGE_FASTCGI, "<GET /x.php?a=b");
}

static void test_message__others_are_nothing_we_know(void **state)
{
	(void)state;
	assert_int_equal(message_recognise(STR("GET / HTTP/1.1\r\n")), MESSAGE_OTHER);
	assert_int_equal(message_recognise(STR("getaway\r\n")), MESSAGE_OTHER);
	assert_int_equal(message_recognise(STR("*x")), MESSAGE_OTHER);
	assert_int_equal(message_recognise(STR("")), MESSAGE_OTHER);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_message__redis_commands_are_told_apart),
		cmocka_unit_test(test_message__what_is_no_command_is_lost_until_one_begins),
		cmocka_unit_test(test_message__bodies_may_pass_unseen),
		cmocka_unit_test(test_message__memcached_lines_and_their_data),
		cmocka_unit_test(test_message__memcached_binary_headers),
		cmocka_unit_test(test_message__fastcgi_requests_have_a_method_and_a_target),
		cmocka_unit_test(test_message__others_are_nothing_we_know),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
