/* SPDX-License-Identifier: MIT */
/* Another unit, with a static function of a name that the first has too. */
int helper(int x);

static __attribute__((noinline)) int leaf(int x)
{
	volatile char bytes[5000];

	for (int i = 0; i < 5000; i++)
		bytes[i] = (char)(x + i);
	return bytes[x & 1023];
}

__attribute__((noinline)) int helper(int x)
{
	return leaf(x) + 1;
}
