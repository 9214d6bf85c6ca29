/* SPDX-License-Identifier: MIT */
#include "libtrace/store/pack.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* xorshift64 */
static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static void test_pack__columns_of_every_width_come_back(void **state)
{
	(void)state;
	enum { N = 1000 };
	int64_t in[N], out[N];
	uint64_t random = 7;
	for (int round = 0; round < 200; round++) {
		int shift = round % 64;
		for (int i = 0; i < N; i++)
			in[i] = (int64_t)(next_random(&random) >> shift) +
				(round % 3 == 0 ? i * INT64_C(1000000000000) : 0);
		if (round == 199) {
			in[0] = INT64_MIN;
			in[1] = INT64_MAX;
		}
		struct buf packed;
		buf_init(&packed);
		assert_int_equal(pack_column(in, N, &packed), 0);
		assert_int_equal(unpack_column(packed.bytes, packed.length, out, N), 0);
		assert_memory_equal(in, out, sizeof(in));
		/* neither one more nor one byte less */
		assert_int_equal(unpack_column(packed.bytes, packed.length - 1, out, N), -1);
		if (packed.bytes[1] != 0)
			assert_int_equal(unpack_column(packed.bytes, packed.length, out, N - 1),
					 -1);
		buf_release(&packed);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pack__columns_of_every_width_come_back),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
