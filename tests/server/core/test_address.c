/* SPDX-License-Identifier: MIT */
#include "server/connection/address.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include <cmocka.h>

enum { ROOM = 100 };

struct table {
	struct addresses all;
	void *memory;
};

static struct table *table_new(uint32_t connections, uint32_t requests)
{
	struct table *table = malloc(sizeof(*table));

	table->memory = malloc(addresses_bytes(ROOM)); /* ASan watches its end */
	addresses_init(&table->all, table->memory, ROOM, connections, requests,
		       UINT64_C(0x123456789abcdef));
	return table;
}

static void table_free(struct table *table)
{
	free(table->memory);
	free(table);
}

static int enter(struct table *table, const char *text, struct address **address)
{
	struct sockaddr_in four = {.sin_family = AF_INET};
	struct sockaddr_in6 six = {.sin6_family = AF_INET6};

	if (inet_pton(AF_INET, text, &four.sin_addr) == 1)
		return address_enter(&table->all, (struct sockaddr *)&four, address);
	assert_int_equal(inet_pton(AF_INET6, text, &six.sin6_addr), 1);
	return address_enter(&table->all, (struct sockaddr *)&six, address);
}

static void test_address__a_mapped_address_and_a_network_of_64_bits_are_one(void **state)
{
	static const struct {
		const char *one, *other;
		bool same;
	} pair[] = {
		{"192.0.2.1", "192.0.2.1", true},
		{"192.0.2.1", "::ffff:192.0.2.1", true},
		{"192.0.2.1", "192.0.2.2", false},
		{"2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", true},
		{"2001:db8::1", "2001:db8:0:1::1", false},
		{"::1", "127.0.0.1", false},
		{"::1", "::2", true},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(pair) / sizeof(pair[0]); i++) {
		struct table *table = table_new(2, 2);
		struct address *a, *b;
		assert_int_equal(enter(table, pair[i].one, &a), 0);
		assert_int_equal(enter(table, pair[i].other, &b), 0);
		assert_int_equal(a == b, pair[i].same);
		assert_int_equal(table->all.used, pair[i].same ? 1 : 2);
		table_free(table);
	}
}

static void test_address__a_unix_socket_has_none(void **state)
{
	struct table *table = table_new(1, 1);
	struct sockaddr_un from = {.sun_family = AF_UNIX};
	struct address *address = (struct address *)1;

	(void)state;
	for (int i = 0; i < 10; i++) {
		assert_int_equal(address_enter(&table->all, (struct sockaddr *)&from, &address),
				 0);
		assert_null(address);
	}
	table_free(table);
}

static void test_address__limits_hold_and_what_leaves_makes_room(void **state)
{
	struct table *table = table_new(2, 3);
	struct address *a, *b, *none;

	(void)state;
	assert_int_equal(enter(table, "192.0.2.1", &a), 0);
	assert_int_equal(enter(table, "192.0.2.1", &a), 0);
	assert_int_equal(enter(table, "192.0.2.1", &none), -1);
	assert_null(none);
	assert_int_equal(enter(table, "192.0.2.2", &b), 0);
	for (int i = 0; i < 3; i++)
		assert_true(address_claim(&table->all, a));
	assert_false(address_claim(&table->all, a));
	assert_true(address_claim(&table->all, b));
	address_unclaim(a);
	assert_true(address_claim(&table->all, a));
	address_leave(&table->all, a);
	assert_int_equal(enter(table, "192.0.2.1", &a), 0);
	table_free(table);
}

static void test_address__zero_is_no_limit(void **state)
{
	struct table *table = table_new(0, 0);
	struct address *a;

	(void)state;
	for (int i = 0; i < 10000; i++) {
		assert_int_equal(enter(table, "192.0.2.1", &a), 0);
		assert_true(address_claim(&table->all, a));
	}
	assert_int_equal(a->connections, 10000);
	table_free(table);
}

/* Against a table that is as plain as can be; all addresses in few chains. */
static void test_address__it_is_as_a_plain_table_whatever_comes_and_goes(void **state)
{
	struct table *table = table_new(3, 0);
	struct address *held[ROOM];
	int name[ROOM], count = 0;
	uint32_t seed = 1;

	(void)state;
	for (int step = 0; step < 200000; step++) {
		seed = seed * 1664525 + 1013904223;
		if (count < ROOM && (seed >> 16) % 5 < 3) {
			struct sockaddr_in from = {.sin_family = AF_INET};
			int who = (int)(seed >> 8) % 150, have = 0;
			from.sin_addr.s_addr = htonl((uint32_t)who << 8);
			for (int i = 0; i < count; i++)
				have += name[i] == who;
			struct address *address;
			int result =
				address_enter(&table->all, (struct sockaddr *)&from, &address);
			assert_int_equal(result, have < 3 ? 0 : -1);
			if (result < 0)
				continue;
			assert_int_equal(address->connections, have + 1);
			held[count] = address;
			name[count++] = who;
		} else if (count > 0) {
			int i = (int)(seed >> 8) % count;
			address_leave(&table->all, held[i]);
			held[i] = held[--count];
			name[i] = name[count];
		}
	}
	while (count > 0)
		address_leave(&table->all, held[--count]);
	assert_int_equal(table->all.used, 0);
	for (uint32_t i = 0; i <= table->all.mask; i++)
		assert_int_equal(table->all.head[i], 0);
	table_free(table);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			test_address__a_mapped_address_and_a_network_of_64_bits_are_one),
		cmocka_unit_test(test_address__a_unix_socket_has_none),
		cmocka_unit_test(test_address__limits_hold_and_what_leaves_makes_room),
		cmocka_unit_test(test_address__zero_is_no_limit),
		cmocka_unit_test(test_address__it_is_as_a_plain_table_whatever_comes_and_goes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
