/* SPDX-License-Identifier: MIT */
#include "tests/fuzz/importing.h"

#include "base/replay.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void must(bool truth)
{
	if (!truth)
		abort();
}

static void check(struct replay *replay, const struct import_item *item)
{
	const struct trace_request *r = &item->request;
	struct replay_need need;
	must(r->start_ns >= 0 && r->end_ns >= r->start_ns && r->need_reuse_bytes >= 0);
	must(r->escapes >= 0 && r->escaped_bytes >= 0 && r->status >= -1 && r->status <= 999);
	must(memchr(r->route.bytes, '\0', r->route.length) == NULL);
	if (!item->ops)
		return;
	must(r->allocations + r->frees + r->reallocations >= (int64_t)item->count);
	/* A list may ask for more than there is, but never make no sense. */
	must(replay_run(replay, item->ops, item->count, ARENA_REUSE, &need) == 0 ||
	     errno == ENOMEM);
}

void import_bytes(import_open *open, const uint8_t *data, size_t size)
{
	struct importer from = {0};
	struct import_item item;
	struct replay replay;
	struct err err = {0};
	FILE *in = size > 0 ? fmemopen((void *)(uintptr_t)data, size, "r") : NULL;
	if (!in)
		return;
	must(replay_init(&replay, (size_t)1 << 30) == 0);
	int got = open(&from, in, "f.in", &err);
	if (got == 0)
		while ((got = from.next(from.state, &item, &err)) == 1)
			check(&replay, &item);
	must(got == 0 || strncmp(err.text, "f.in:", 5) == 0);
	import_close(&from);
	replay_release(&replay);
	fclose(in);
}
