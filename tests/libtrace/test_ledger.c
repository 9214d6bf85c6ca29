/* SPDX-License-Identifier: MIT */
/* Blocks as a script of events: whose they are, and what becomes of them. */
#include "tests/libtrace/script.h"

#include <string.h>

static void test_ledger__escapes_are_judged_at_the_boundary(void **state)
{
	(void)state;
	script_on(1, 1);
	script_epoll(-1, 1, SCRIPT_LISTENER);
	script_accept(10);
	script_epoll(-1, 1, 10);
	script_get(10, 1);
	uint64_t cleaned = script_alloc(1000), kept = script_alloc(500);
	script_answer(10);
	script_free(cleaned); /* after the answer, before the wait: ordinary clean-up */
	script_epoll(-1, 1, 10);
	script_free(kept); /* later: it had outlived its request */
	script_get(10, 2);
	script_answer(10);
	script_epoll(-1, 0, 0);
	script_finish();
	assert_int_equal(script_row("GET /1")->escapes, 1);
	assert_int_equal(script_row("GET /1")->escaped_bytes, 500);
	assert_int_equal(script_row("GET /2")->escapes, 0);
}

static void test_ledger__realloc_keeps_the_owner(void **state)
{
	(void)state;
	script_on(1, 1);
	script_accept(10);
	script_get(10, 1);
	uint64_t p = script_alloc(1000);
	script_emit((struct ring_event){.kind = EVENT_REALLOC_BEGIN, .value = p});
	script_emit((struct ring_event){
		.kind = EVENT_REALLOC_END, .value = p + 0x100, .size_bytes = 3000});
	script_emit((struct ring_event){.kind = EVENT_REALLOC_BEGIN, .value = p + 0x100});
	script_emit((struct ring_event){
		.kind = EVENT_REALLOC_END, .value = 0, .size_bytes = 1 << 30});
	script_free(p + 0x100); /* the failed one left it alive */
	script_answer(10);
	script_close(10);
	script_finish();
	assert_int_equal(script_row("GET /1")->reallocations, 1);
	assert_int_equal(script_row("GET /1")->frees, 1);
	assert_int_equal(script_row("GET /1")->escapes, 0);
	assert_int_equal(script_row("GET /1")->foreign_frees, 0);
}

/* Behind its answer it is not yet known for whom a thread works. */
static void test_ledger__what_a_request_frees_behind_its_answer_is_its_own(void **state)
{
	(void)state;
	script_on(1, 1);
	script_accept(10);
	script_get(10, 1);
	uint64_t kept = script_alloc(100);
	script_answer(10);
	script_poll(10);
	script_get(10, 2);
	uint64_t p = script_alloc(1000), q = script_alloc(2000);
	script_answer(10);
	script_free(p);
	script_free(q);
	script_free(kept);
	script_poll(10);
	script_close(10);
	script_finish();
	assert_int_equal(script_row("GET /2")->frees, 2);
	assert_int_equal(script_row("GET /2")->foreign_frees, 1);
	assert_int_equal(script_row("GET /1")->foreign_frees, 0);
}

static void test_ledger__frees_out_of_order_are_matched_by_alternation(void **state)
{
	(void)state;
	script_on(1, 1);
	script_accept(10);
	script_get(10, 1);
	/* thread 2's free of the block comes out before its allocation */
	uint64_t early = script_next_address + 0x1000;
	script_on(1, 2);
	script_free(early);
	script_on(1, 1);
	assert_true(script_alloc(1000) == early);
	/* and here after the next allocation of the same address */
	uint64_t late = script_alloc(2000);
	script_emit(
		(struct ring_event){.kind = EVENT_ALLOC, .value = late, .size_bytes = 3000});
	script_on(1, 2);
	script_free(late);
	script_on(1, 1);
	script_answer(10);
	script_close(10);
	script_finish();
	const struct script_row *row = script_row("GET /1");
	assert_int_equal(row->bytes, 6000);
	assert_int_equal(row->frees, 2);
	assert_int_equal(row->escapes, 1);
	assert_int_equal(row->escaped_bytes, 3000);
}

/* The free between two allocations at one address was dropped, so the next one,
 * much later, is no late one. */
static void test_ledger__a_free_that_never_came_hides_no_other(void **state)
{
	(void)state;
	script_on(1, 1);
	script_accept(10);
	script_get(10, 1);
	uint64_t address = script_alloc(1000);
	script_next_address -= 0x1000;
	assert_int_equal(script_alloc(1000), address);
	script_now += 2000000000;
	script_on(1, 2);
	script_free(address);
	script_on(1, 1);
	script_answer(10);
	script_epoll(-1, 0, 0);
	script_finish();
	assert_int_equal(script_row("GET /1")->frees, 2);
	assert_int_equal(script_row("GET /1")->escapes, 0);
}

static void test_ledger__dropped_events_mark_who_was_in_flight(void **state)
{
	(void)state;
	script_on(1, 1);
	script_accept(10);
	script_get(10, 1);
	script_emit((struct ring_event){.kind = EVENT_DROPPED, .a = 77});
	script_answer(10);
	script_get(10, 2);
	script_answer(10);
	script_finish();
	assert_true(script_row("GET /1")->incomplete);
	assert_false(script_row("GET /2")->incomplete);
	struct attribute_totals t;
	attribute_totals(script_attribute, &t);
	assert_int_equal(t.dropped_events, 77);
}

/* Serials lie in memory that the program can overwrite. */
static void test_ledger__a_process_that_cannot_be_is_not_believed(void **state)
{
	(void)state;
	struct attribute_totals totals;
	script_on(UINT32_MAX - 1, 1);
	script_alloc(8);
	script_on(1, 1);
	script_alloc(8);
	attribute_totals(script_attribute, &totals);
	assert_int_equal(totals.events, 2);
	assert_false(totals.out_of_memory);
}

/* Nonsense of every kind must neither crash nor leak (run under ASan). */
static void test_ledger__random_events_do_no_harm(void **state)
{
	(void)state;
	static const char *const texts[] = {"GET /1 HTTP/1.1\r\n\r\n",
					    SCRIPT_OK,
					    "\x16\x03\x01",
					    "*1\r\n",
					    "POST / HTTP/1.1\r\nContent-Length: 99\r\n\r\n",
					    "G"};
	for (unsigned seed = 1; seed <= 200; seed++) {
		script_teardown(state);
		assert_int_equal(script_start((enum attribute_split)(seed % 5)), 0);
		uint64_t x = seed * UINT64_C(0x9e3779b97f4a7c15);
		for (int i = 0; i < 400; i++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			if (script_row_count > SCRIPT_ROWS - 20)
				script_row_count = 0;
			script_on(1 + (uint32_t)(x >> 8) % 3, 1 + (uint32_t)(x >> 16) % 5);
			int fd = (int)(x >> 24) % 6;
			switch ((x >> 40) % 8) {
			case 0:
				script_io(EVENT_READ, fd, texts[(x >> 50) % 6], (x >> 55) % 9,
					  0);
				break;
			case 1:
				script_io(EVENT_WRITE, fd, texts[(x >> 50) % 6], (x >> 55) % 9,
					  0);
				break;
			case 2: script_accept(fd); break;
			case 3:
			case 4:
				script_emit((struct ring_event){.kind = EVENT_ALLOC,
								.value = 0x1000 *
									 (1 + (x >> 50) % 20),
								.size_bytes = x >> 56});
				break;
			case 5: script_free(0x1000 * (1 + (x >> 50) % 20)); break;
			default:
				script_emit((struct ring_event){
					.kind = (enum event_kind)(
						1 + (x >> 50) % (EVENT_KINDS - 1)),
					.flags = (uint8_t)(x >> 57) & 7,
					.value = (uint64_t)fd,
					.a = (int64_t)(x >> 60) - 3,
					.b = (uint64_t)1 << 32 | (x >> 61)});
				break;
			}
		}
		script_row_count = 0;
		script_finish();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRIPT_TEST(test_ledger__escapes_are_judged_at_the_boundary),
		SCRIPT_TEST(test_ledger__realloc_keeps_the_owner),
		SCRIPT_TEST(test_ledger__what_a_request_frees_behind_its_answer_is_its_own),
		SCRIPT_TEST(test_ledger__frees_out_of_order_are_matched_by_alternation),
		SCRIPT_TEST(test_ledger__a_free_that_never_came_hides_no_other),
		SCRIPT_TEST(test_ledger__dropped_events_mark_who_was_in_flight),
		SCRIPT_TEST(test_ledger__a_process_that_cannot_be_is_not_believed),
		SCRIPT_TEST(test_ledger__random_events_do_no_harm),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
