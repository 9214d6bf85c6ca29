/* SPDX-License-Identifier: MIT */
/*
 * Every kernel of this machine against a plain search for the lowest free slot, and
 * their histograms against a plain count, without a framework, so that it runs on any
 * processor. Prints "fine" and the kernels that were tried, or what is not fine.
 */
#include "simulator/sim.h"
#include "simulator/slots.h"
#include "tests/simulator/reference.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REQUESTS = 8000, SIZES_MOST = 70 };

static void must(int truth, const char *kernel, uint32_t width, const char *what)
{
	if (truth)
		return;
	printf("not fine: %s with %u slots: %s\n", kernel, width, what);
	exit(1);
}

static void requests_make(struct random *random, uint32_t width, struct sim_columns *c)
{
	struct err err;
	if (sim_columns_init(c, REQUESTS, &err) < 0)
		abort();
	int64_t t = 0;
	for (size_t i = 0; i < REQUESTS; i++) {
		/* Ties, and gaps beyond the reach of 31 bits. */
		t += i % 2000 == 0 ? 3000000000 : (int64_t)random_below(random, 2000);
		c->arrival_ns[i] = t;
		c->service_ns[i] = (int64_t)random_exponential(random, 1000.0 * width);
		c->need_bytes[i] = random_below(random, i % 100 ? 10000 : UINT64_MAX / 2);
	}
}

/* want[i]: 1-based, width + 1 for none. */
static void search(const struct sim_trace *trace, uint32_t width, uint32_t *want)
{
	uint64_t *until = calloc(width, sizeof(*until));
	for (size_t i = 0; i < trace->count; i++) {
		uint32_t s = 0;
		uint64_t t = (uint64_t)trace->arrival_ns[i];
		while (s < width && until[s] > t)
			s++;
		want[i] = s + 1;
		if (s < width)
			until[s] = t + (uint64_t)trace->service_ns[i];
	}
	free(until);
}

static void kernel_check(const char *name, const struct sim_trace *trace, uint32_t width,
			 const uint32_t *want, size_t size_count)
{
	uint64_t sizes[SIZES_MOST];
	for (size_t s = 0; s < size_count; s++)
		sizes[s] = 100 * (s + 1);
	struct grid_ask ask = {.sizes = sizes,
			       .size_count = size_count,
			       .counts = &width,
			       .count_count = 1,
			       .keep_slots = true,
			       .kernel = name};
	struct grid grid;
	struct err err;
	must(grid_run(trace, &ask, &grid, &err) == 0, name, width, "it ran");
	must(memcmp(grid.slot, want, trace->count * sizeof(*want)) == 0, name, width, "slots");
	for (size_t s = 0; s < size_count; s++) {
		uint64_t fit = 0;
		for (size_t i = 0; i < trace->count; i++)
			fit += want[i] <= width && trace->need_bytes[i] <= sizes[s];
		must(grid.served[s] == fit, name, width, "those served");
	}
	grid_release(&grid);
}

int main(void)
{
	static const char *const names[] = {"portable", "neon", "avx2", "avx512"};
	static const uint32_t widths[] = {1, 2, 15, 16, 17, 63, 64, 65, 300, 5000};
	static const size_t sizes[] = {1, 5, 12, 33, SIZES_MOST};
	struct random random = {20260101};
	uint32_t *want = calloc(REQUESTS, sizeof(*want));
	for (size_t w = 0; want && w < sizeof(widths) / sizeof(*widths); w++) {
		struct sim_columns columns;
		requests_make(&random, widths[w], &columns);
		search(&columns.trace, widths[w], want);
		for (size_t k = 0; k < sizeof(names) / sizeof(*names); k++) {
			if (slots_kernel_choose(names[k]))
				kernel_check(names[k], &columns.trace, widths[w], want,
					     sizes[w % (sizeof(sizes) / sizeof(*sizes))]);
		}
		sim_columns_release(&columns);
	}
	free(want);
	printf("fine:");
	for (size_t k = 0; k < sizeof(names) / sizeof(*names); k++)
		printf("%s%s", slots_kernel_choose(names[k]) ? " " : "",
		       slots_kernel_choose(names[k]) ? names[k] : "");
	printf("\n");
	return 0;
}
