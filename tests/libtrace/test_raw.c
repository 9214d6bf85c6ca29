/* SPDX-License-Identifier: MIT */
/* Raw events: what goes into a block comes out of it. */
#include "libtrace/attribution/raw.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* splitmix64 */
static uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

/* The events of a made-up program: event `i` of `seed`, always the same. */
static struct ring_event event_at(uint64_t seed, uint64_t i)
{
	static const char text[EVENT_PAYLOAD_BYTES] = "GET / HTTP/1.1\r\n\r\n";
	static const enum event_kind kinds[] = {
		EVENT_ALLOC, EVENT_FREE,  EVENT_REALLOC_BEGIN, EVENT_REALLOC_END,
		EVENT_READ,  EVENT_WRITE, EVENT_WAIT_BEGIN,    EVENT_UNLOCK,
	};
	uint64_t state = seed * 1000003 + i, r = next_random(&state);
	enum event_kind kind = kinds[r % 8];
	uint32_t thread = (uint32_t)(i / 5 % 700) + 1;
	struct ring_event e = {.kind = kind,
			       .process = thread % 3 + 1,
			       .thread = thread,
			       .pid = (pid_t)(thread % 3 + 100),
			       .tid = (pid_t)thread + 100,
			       .time_ns = (int64_t)(i / 3 * 977)};
	if (kind == EVENT_ALLOC || kind == EVENT_REALLOC_END) {
		e.size_bytes = r % 7 == 0 ? (UINT64_C(1) << 56) - 1 : r >> 50;
		e.flags = r >> 20 & 1;
		e.align_log2 = (uint8_t)(r >> 21 & 1 ? r >> 22 & 63 : 0);
		e.stack = (uint32_t)(r >> 30 & 0xffff);
	}
	if (kind <= EVENT_REALLOC_END) {
		e.value = next_random(&state) & EVENT_VALUE_MASK >> (r & 1 ? 0 : 34);
		return e;
	}
	e.timed = true;
	e.flags = (uint8_t)(r >> 40);
	e.value = next_random(&state) & EVENT_VALUE_MASK;
	e.a = (int64_t)next_random(&state) >> (r >> 48 & 63);
	e.b = next_random(&state) >> (r >> 54 & 63);
	e.stack_low = next_random(&state) & EVENT_VALUE_MASK;
	e.payload = (struct str){text, r >> 8 & 3 ? r % 40 : r % (EVENT_PAYLOAD_BYTES + 1)};
	return e;
}

struct expected {
	uint64_t seed, at;
	bool sites;
};

static void compare(void *context, const struct ring_event *e)
{
	struct expected *x = context;
	struct ring_event want = event_at(x->seed, x->at++);
	assert_int_equal(e->kind, want.kind);
	assert_int_equal(e->process, want.process);
	assert_int_equal(e->thread, want.thread);
	assert_int_equal(e->pid, want.pid);
	assert_int_equal(e->tid, want.tid);
	assert_int_equal(e->time_ns, want.time_ns);
	assert_int_equal(e->flags, want.flags);
	assert_int_equal(e->align_log2, want.align_log2);
	assert_int_equal(e->value, want.value);
	assert_int_equal(e->size_bytes, want.size_bytes);
	assert_int_equal(e->stack, x->sites ? want.stack : 0);
	assert_int_equal(e->timed, want.timed);
	assert_int_equal(e->a, want.a);
	assert_int_equal(e->b, want.b);
	assert_int_equal(e->stack_low, want.stack_low);
	assert_true(str_equal(e->payload, want.payload));
}

static void check_round(bool sites)
{
	enum { EVENTS = 60000 };
	struct raw_pack *pack = raw_pack_new(sites);
	struct expected x = {.seed = 7 + sites, .sites = sites};
	unsigned blocks = 0;
	assert_non_null(pack);
	for (uint64_t i = 0; i < EVENTS || raw_pack_count(pack) > 0;) {
		struct ring_event e = event_at(x.seed, i);
		if (i < EVENTS && raw_pack_add(pack, &e)) {
			i++;
			continue;
		}
		uint32_t count = raw_pack_count(pack);
		struct buf block;
		buf_init(&block);
		assert_int_equal(raw_pack_take(pack, &block), 0);
		assert_int_equal(raw_pack_count(pack), 0);
		assert_int_equal(raw_unpack(block.bytes, block.length, count, compare, &x), 0);
		buf_release(&block);
		blocks++;
	}
	assert_int_equal(x.at, EVENTS);
	assert_true(blocks >= EVENTS / RAW_EVENTS_MAX);
	raw_pack_free(pack);
}

static void test_raw__what_goes_in_comes_out(void **state)
{
	(void)state;
	check_round(false);
	check_round(true);
}

static void count_event(void *context, const struct ring_event *event)
{
	(void)event;
	++*(uint32_t *)context;
}

static void pack_some(struct buf *block, uint32_t count)
{
	struct raw_pack *pack = raw_pack_new(false);
	buf_init(block);
	assert_non_null(pack);
	for (uint32_t i = 0; i < count; i++) {
		struct ring_event e = event_at(3, i);
		assert_true(raw_pack_add(pack, &e));
	}
	assert_int_equal(raw_pack_take(pack, block), 0);
	raw_pack_free(pack);
}

static void test_raw__a_block_holds_as_many_as_it_says(void **state)
{
	(void)state;
	struct buf block;
	uint32_t seen = 0;
	pack_some(&block, 100);
	assert_int_equal(raw_unpack(block.bytes, block.length, 100, count_event, &seen), 0);
	assert_int_equal(seen, 100);
	assert_int_equal(raw_unpack(block.bytes, block.length, 99, count_event, &seen), -1);
	assert_int_equal(raw_unpack(block.bytes, block.length, 101, count_event, &seen), -1);
	assert_int_equal(
		raw_unpack(block.bytes, block.length, RAW_EVENTS_MAX + 1, count_event, &seen),
		-1);
	buf_release(&block);
}

static void test_raw__a_damaged_block_is_refused_or_read_within_its_bounds(void **state)
{
	(void)state;
	struct buf block;
	uint32_t seen = 0, refused = 0;
	pack_some(&block, 300);
	for (size_t length = 0; length < block.length; length += 7)
		refused += raw_unpack(block.bytes, length, 300, count_event, &seen) == -1;
	assert_int_equal(refused, (block.length + 6) / 7);
	for (size_t at = 0; at < block.length; at++) {
		block.bytes[at] ^= 0x20;
		raw_unpack(block.bytes, block.length, 300, count_event, &seen);
		block.bytes[at] ^= 0x20;
	}
	buf_release(&block);
}

static void test_raw__the_same_requests_again_take_next_to_nothing(void **state)
{
	(void)state;
	struct raw_pack *pack = raw_pack_new(false);
	struct buf block;
	buf_init(&block);
	for (uint32_t i = 0; i < RAW_EVENTS_MAX; i++) {
		uint64_t address = 0x55550000 + i / 2 % 40 * 0x70;
		struct ring_event e = {.kind = i % 2 ? EVENT_FREE : EVENT_ALLOC,
				       .process = 1,
				       .thread = 1,
				       .value = address,
				       .size_bytes = i % 2 ? 0 : 100};
		assert_true(raw_pack_add(pack, &e));
	}
	assert_int_equal(raw_pack_take(pack, &block), 0);
	assert_true(block.length < RAW_EVENTS_MAX / 32);
	buf_release(&block);
	raw_pack_free(pack);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_raw__what_goes_in_comes_out),
		cmocka_unit_test(test_raw__a_block_holds_as_many_as_it_says),
		cmocka_unit_test(
			test_raw__a_damaged_block_is_refused_or_read_within_its_bounds),
		cmocka_unit_test(test_raw__the_same_requests_again_take_next_to_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
