/* SPDX-License-Identifier: MIT */
/*
 * The driver against a small scripted server in a thread of its own, on a
 * loopback port of the kernel's choice.
 */
#include "cli/driving/openloop.h"

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define OK_ANSWER "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
enum { MS = 1000000, LIMIT = 64, CONNECTIONS = 128 };

/* What the server does with each request that it has read whole. */
struct script {
	const char *answer;
	long stall_first_ms;                   /* before the very first answer */
	bool close_after;                      /* each answer, saying so in the head or not */
	bool close_later;                      /* each answer, after 5 ms, without saying so */
	bool silent;                           /* reads and never answers */
	size_t requests, accepted, body_bytes; /* seen */
};

struct fixture {
	struct script script;
	int listener, stop[2];
	pthread_t thread;
	struct openloop_server server;
};

static void pause_ms(long ms)
{
	struct timespec left = {ms / 1000, ms % 1000 * MS};
	nanosleep(&left, NULL);
}

/* Reads what is there and answers every whole request in it; false: closed.
 * `text` keeps what was read of the next one. */
static bool serve_some(struct script *s, int fd, char *text, size_t *length)
{
	ssize_t n = recv(fd, text + *length, 4095 - *length, 0);
	if (n <= 0)
		return false;
	*length += (size_t)n;
	text[*length] = '\0';
	char *end = strstr(text, "\r\n\r\n"), *field = strstr(text, "Content-Length: ");
	if (end == NULL)
		return true;
	size_t body = field && field < end ? strtoul(field + 16, NULL, 10) : 0;
	size_t have = *length - (size_t)(end + 4 - text);
	while (have < body) {
		char sink[4096];
		n = recv(fd, sink, sizeof sink, 0);
		if (n <= 0)
			return false;
		have += (size_t)n;
	}
	s->body_bytes += body;
	*length = 0;
	if (s->requests++ == 0 && s->stall_first_ms)
		pause_ms(s->stall_first_ms);
	if (s->silent)
		return true;
	if (send(fd, s->answer, strlen(s->answer), MSG_NOSIGNAL) == -1)
		return false;
	if (s->close_later)
		pause_ms(5);
	return !s->close_after && !s->close_later;
}

static void *serve(void *arg)
{
	struct fixture *f = arg;
	struct pollfd fd[CONNECTIONS + 2] = {{.fd = f->listener, .events = POLLIN},
					     {.fd = f->stop[0], .events = POLLIN}};
	char(*text)[4096] = calloc(CONNECTIONS + 2, sizeof *text);
	size_t length[CONNECTIONS + 2] = {0};
	nfds_t count = 2;
	while (poll(fd, count, -1) > 0 && !fd[1].revents) {
		for (nfds_t i = 2; i < count; i++) {
			if (fd[i].revents &&
			    !serve_some(&f->script, fd[i].fd, text[i], &length[i])) {
				close(fd[i].fd);
				count--;
				fd[i] = fd[count];
				memcpy(text[i], text[count], sizeof text[i]);
				length[i] = length[count];
				i--;
			}
		}
		if (fd[0].revents && count < CONNECTIONS + 2) {
			fd[count] = (struct pollfd){accept(f->listener, NULL, NULL), POLLIN, 0};
			length[count++] = 0;
			f->script.accepted++;
		}
	}
	for (nfds_t i = 2; i < count; i++)
		close(fd[i].fd);
	free(text);
	return NULL;
}

static void fixture_open(struct fixture *f, struct script script)
{
	char url[64];
	struct err err;
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof address;
	f->script = script;
	f->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(f->listener, (struct sockaddr *)&address, length), 0);
	assert_int_equal(listen(f->listener, 128), 0);
	assert_int_equal(getsockname(f->listener, (struct sockaddr *)&address, &length), 0);
	assert_int_equal(pipe(f->stop), 0);
	assert_int_equal(pthread_create(&f->thread, NULL, serve, f), 0);
	snprintf(url, sizeof url, "http://127.0.0.1:%d", ntohs(address.sin_port));
	assert_int_equal(openloop_resolve(url, &f->server, NULL, &err), 0);
}

static void fixture_close(struct fixture *f)
{
	assert_int_equal(write(f->stop[1], "x", 1), 1);
	pthread_join(f->thread, NULL);
	close(f->stop[0]);
	close(f->stop[1]);
	close(f->listener);
}

static struct openloop_result result[LIMIT];
static struct openloop_stats stats;

/* `count` requests, one every gap_ms. */
static void drive(struct fixture *f, size_t count, long gap_ms, uint32_t connections,
		  int64_t timeout_ns, struct str body)
{
	struct load_request request[LIMIT];
	struct err err;
	assert_true(count <= LIMIT);
	for (size_t i = 0; i < count; i++)
		request[i] = (struct load_request){
			.at_ns = (int64_t)i * gap_ms * MS,
			.method = body.length ? STR("POST") : STR("GET"),
			.target = STR("/"),
			.body = body,
		};
	struct openloop_options options = {.connections_max = connections,
					   .timeout_ns = timeout_ns};
	if (openloop_run(&f->server, request, count, &options, result, &stats, &err) == -1)
		fail_msg("%s", err.text);
}

static void all_have(size_t count, enum openloop_outcome outcome)
{
	for (size_t i = 0; i < count; i++) {
		assert_int_equal(result[i].outcome, outcome);
		assert_true(outcome != OPENLOOP_ANSWERED || result[i].status == 200);
	}
}

static void test_openloop__a_stall_is_charged_to_all_who_came_meanwhile(void **state)
{
	(void)state;
	struct fixture f;
	fixture_open(&f, (struct script){.answer = OK_ANSWER, .stall_first_ms = 200});
	drive(&f, 10, 10, 1, 5000ll * MS, STR(""));
	fixture_close(&f);
	all_have(10, OPENLOOP_ANSWERED);
	for (size_t i = 0; i < 10; i++) {
		assert_int_equal(result[i].due_ns, (int64_t)i * 10 * MS);
		assert_true(result[i].done_ns - result[i].due_ns >=
			    (int64_t)(199 - 10 * i) * MS);
	}
	assert_int_equal(stats.connections_peak, 1);
	assert_int_equal(stats.waited, 9);
}

static void test_openloop__requests_go_out_while_others_are_unanswered(void **state)
{
	(void)state;
	struct fixture f;
	fixture_open(&f, (struct script){.answer = OK_ANSWER, .silent = true});
	drive(&f, 20, 1, CONNECTIONS, 150 * MS, STR(""));
	fixture_close(&f);
	all_have(20, OPENLOOP_TIMEOUT);
	assert_int_equal(f.script.requests, 20);
	assert_int_equal(stats.connections_peak, 20);
	for (size_t i = 0; i < 20; i++)
		assert_true(result[i].sent_ns >= result[i].due_ns &&
			    result[i].done_ns - result[i].due_ns >= 150 * MS);
}

static void test_openloop__a_kept_connection_is_used_again(void **state)
{
	(void)state;
	struct fixture f;
	fixture_open(&f, (struct script){.answer = OK_ANSWER});
	drive(&f, 20, 3, 1, 5000ll * MS, STR(""));
	fixture_close(&f);
	all_have(20, OPENLOOP_ANSWERED);
	assert_int_equal(f.script.accepted, 1);
	assert_int_equal(stats.connections_opened, 1);
}

static void test_openloop__an_announced_close_opens_a_new_connection(void **state)
{
	(void)state;
	struct fixture f;
	fixture_open(&f, (struct script){.answer = "HTTP/1.1 200 OK\r\nConnection: close\r\n"
						   "Content-Length: 2\r\n\r\nok",
					 .close_after = true});
	drive(&f, 10, 2, CONNECTIONS, 5000ll * MS, STR(""));
	fixture_close(&f);
	all_have(10, OPENLOOP_ANSWERED);
	assert_int_equal(f.script.accepted, 10);
	assert_int_equal(stats.resent, 0);
}

/* The server closes 5 ms after each answer; requests are due every ms, so that
 * some are on their way when it does. None may be lost. */
static void test_openloop__an_unannounced_close_loses_no_request(void **state)
{
	(void)state;
	struct fixture f;
	fixture_open(&f, (struct script){.answer = OK_ANSWER, .close_later = true});
	drive(&f, 40, 1, 1, 5000ll * MS, STR(""));
	fixture_close(&f);
	all_have(40, OPENLOOP_ANSWERED);
	assert_true(stats.resent > 0);
}

static void test_openloop__an_answer_cut_short_is_closed_not_answered(void **state)
{
	(void)state;
	struct fixture f;
	fixture_open(&f,
		     (struct script){.answer = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok",
				     .close_after = true});
	drive(&f, 5, 1, CONNECTIONS, 5000ll * MS, STR(""));
	fixture_close(&f);
	all_have(5, OPENLOOP_CLOSED);
}

static void test_openloop__what_is_not_http_is_garbled(void **state)
{
	(void)state;
	struct fixture f;
	fixture_open(&f, (struct script){.answer = "+PONG\r\n\r\n\r\n"});
	drive(&f, 5, 1, CONNECTIONS, 5000ll * MS, STR(""));
	fixture_close(&f);
	all_have(5, OPENLOOP_GARBLED);
}

static void test_openloop__nobody_listening_is_refused(void **state)
{
	(void)state;
	struct fixture f;
	fixture_open(&f, (struct script){.answer = OK_ANSWER});
	fixture_close(&f);
	drive(&f, 5, 1, CONNECTIONS, 5000ll * MS, STR(""));
	all_have(5, OPENLOOP_REFUSED);
}

static void test_openloop__a_body_larger_than_socket_buffers_arrives_whole(void **state)
{
	(void)state;
	struct fixture f;
	size_t length = 8 << 20;
	char *bytes = calloc(1, length);
	assert_non_null(bytes);
	fixture_open(&f, (struct script){.answer = OK_ANSWER});
	drive(&f, 3, 1, CONNECTIONS, 20000ll * MS, (struct str){bytes, length});
	fixture_close(&f);
	all_have(3, OPENLOOP_ANSWERED);
	assert_int_equal(f.script.body_bytes, 3 * length);
	free(bytes);
}

static void test_openloop__addresses_are_read_or_refused(void **state)
{
	(void)state;
	struct openloop_server server;
	struct str path;
	struct err err;
	assert_int_equal(openloop_resolve("http://127.0.0.1:80/a?b", &server, &path, &err), 0);
	assert_true(str_equal(path, STR("/a?b")));
	assert_string_equal(server.host, "127.0.0.1:80");
	assert_int_equal(openloop_resolve("http://[::1]:8080", &server, &path, &err), 0);
	assert_true(str_equal(path, STR("/")));
	assert_int_equal(server.address.ss_family, AF_INET6);
	static const char *const bad[] = {"127.0.0.1:80", "https://x",   "http://",
					  "http://:80",   "http://[::1", "http://x:123456789"};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_int_equal(openloop_resolve(bad[i], &server, &path, &err), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_openloop__a_stall_is_charged_to_all_who_came_meanwhile),
		cmocka_unit_test(test_openloop__requests_go_out_while_others_are_unanswered),
		cmocka_unit_test(test_openloop__a_kept_connection_is_used_again),
		cmocka_unit_test(test_openloop__an_announced_close_opens_a_new_connection),
		cmocka_unit_test(test_openloop__an_unannounced_close_loses_no_request),
		cmocka_unit_test(test_openloop__an_answer_cut_short_is_closed_not_answered),
		cmocka_unit_test(test_openloop__what_is_not_http_is_garbled),
		cmocka_unit_test(test_openloop__nobody_listening_is_refused),
		cmocka_unit_test(
			test_openloop__a_body_larger_than_socket_buffers_arrives_whole),
		cmocka_unit_test(test_openloop__addresses_are_read_or_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
