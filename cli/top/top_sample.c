/* SPDX-License-Identifier: MIT */
#include "cli/top/top_sample.h"

#include <stdlib.h>
#include <string.h>

void top_sample_release(struct top_sample *sample)
{
	free(sample->route);
	*sample = (struct top_sample){0};
}

void top_name(char name[TOP_NAME_MAX], const char *text)
{
	size_t i = 0;
	/* Bytes above 126 may begin control characters of eight bits, and their width
	 * is anyone's guess. */
	for (; text && text[i] && i < TOP_NAME_MAX - 1; i++)
		name[i] = text[i] >= ' ' && text[i] <= '~' ? text[i] : '?';
	name[i] = '\0';
}

static double per_second(uint64_t now, uint64_t before, double seconds)
{
	return now > before && seconds > 0 ? (double)(now - before) / seconds : 0;
}

void top_sample_rates(struct top_sample *now, const struct top_sample *before)
{
	double seconds = (double)(now->at_ns - before->at_ns) / 1e9;
	/* A server that was started anew counts from zero. */
	now->rate = per_second(now->requests, before->requests, seconds);
	now->rate_500 = per_second(now->rejected_500, before->rejected_500, seconds);
	now->rate_503 = per_second(now->rejected_503, before->rejected_503, seconds);
	for (size_t i = 0; i < now->route_count; i++) {
		struct top_route *r = &now->route[i];
		uint64_t was = 0;
		for (size_t k = 0; k < before->route_count; k++)
			if (strcmp(before->route[k].name, r->name) == 0)
				was = before->route[k].requests;
		r->rate = per_second(r->requests, was, seconds);
	}
}
