/* SPDX-License-Identifier: MIT */
#include "simulator/sim.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int by_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

/* Brings the `top` greatest values, and the one below them, to the end
 * (Hoare's selection): a sort of all would cost more than the simulation. */
static void select_top(uint64_t *values, size_t count, size_t top)
{
	size_t low = 0, high = count - 1, want = count - top - 1;
	while (low < high) {
		uint64_t pivot = values[low + (high - low) / 2];
		size_t i = low, j = high;
		for (;;) {
			while (values[i] < pivot)
				i++;
			while (values[j] > pivot)
				j--;
			if (i >= j)
				break;
			uint64_t swap = values[i];
			values[i++] = values[j];
			values[j--] = swap;
		}
		if (want <= j)
			high = j;
		else
			low = j + 1;
	}
}

int tail_fit(const uint64_t *values, size_t count, struct gpd *tail, struct err *err)
{
	size_t excesses = count / 20;
	if (excesses < TAIL_EXCESSES_LEAST)
		return 0;
	uint64_t *sorted = malloc(count * sizeof(*sorted));
	if (!sorted)
		return err_set(err, "no memory to sort %zu values", count);
	memcpy(sorted, values, count * sizeof(*sorted));
	select_top(sorted, count, excesses);
	uint64_t *top = sorted + (count - excesses);
	qsort(top, excesses, sizeof(*top), by_u64);
	double u = (double)top[-1], k = (double)excesses, a0 = 0, a1 = 0;
	for (size_t i = 0; i < excesses; i++) {
		double y = (double)top[i] - u, p = ((double)i + 0.65) / k;
		a0 += y / k;
		a1 += (1 - p) * y / k;
	}
	free(sorted);
	double apart = a0 - 2 * a1;
	if (!(a0 > 0) || !(apart > 0))
		return 0;
	*tail = (struct gpd){
		.threshold = u,
		.scale = 2 * a0 * a1 / apart,
		.shape = 2 - a0 / apart,
		.exceed = k / (double)count,
	};
	return tail->scale > 0;
}
