/* SPDX-License-Identifier: MIT */
/*
 * The shim's writer and the reader of its ring in one process, at the same time:
 * threads write, with waits for room and short lives, and each one's events come
 * out once and in order. Both use one mapping, so that a sanitizer of threads sees
 * them meet: the shim itself is built without.
 */
#include "libtrace/ring/ring.h"
#include "libtrace/shim/attach.h"
#include "libtrace/shim/depth.h"
#include "libtrace/shim/stack.h"
#include "libtrace/shim/writer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { THREADS = 4, LIVES = 3, EVENTS = 20000 };

/* -- what attach.c would do ---------------------------------------------- */

struct region *region;
uint32_t region_mapped, region_mode;
union process_page process_page __attribute__((aligned(4096)));

bool process_start(void)
{
	return true;
}

void attach_thread(struct writer *w)
{
	(void)w;
}

void depth_event(enum event_kind kind)
{
	(void)kind;
}

void stack_leave(void)
{
}

/* Where the reader has it. */
static struct region *mapped_at(const char *path)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	char line[1024];
	uintptr_t at = 0;
	assert_non_null(maps);
	while (at == 0 && fgets(line, sizeof(line), maps))
		if (strstr(line, path) && sscanf(line, "%" SCNxPTR, &at) != 1)
			at = 0;
	fclose(maps);
	assert_int_not_equal(at, 0);
	return (struct region *)at; /* NOLINT */
}

static void begin(const char *path)
{
	region = mapped_at(path);
	region_mapped = region->chunk_count;
	region_mode = region->flags;
	this_process.pid = (int32_t)getpid();
	this_process.serial = atomic_fetch_add(&region->next_process, 1) + 1;
	atomic_store(&this_process.state, PROCESS_LIVE);
	atomic_store(&this_process.alive, 1);
}

/* -- threads ------------------------------------------------------------- */

static void *write_events(void *which)
{
	uintptr_t first = ((uintptr_t)which + 1) << 24;
	writer_reset(&writer);
	for (uintptr_t i = 0; i < EVENTS; i++) {
		if (i % 64 == 0)
			write_long(EVENT_MARK_END, 0, first + i, 0, 0, "some bytes", 10);
		else if (i % 2 == 0)
			write_sized(EVENT_ALLOC, 0, (void *)(first + i), 100, 0);
		else
			write_bare(EVENT_FREE, (void *)(first + i));
	}
	writer_leave(&writer);
	return NULL;
}

/* One after the other, as threads of a pool that come and go. */
static void *live(void *which)
{
	for (uintptr_t i = 0; i < LIVES; i++) {
		pthread_t thread;
		if (pthread_create(&thread, NULL, write_events,
				   (void *)((uintptr_t)which * LIVES + i)) != 0)
			return which;
		pthread_join(thread, NULL);
	}
	return NULL;
}

struct seen {
	uintptr_t next[THREADS * LIVES];
	uint64_t total, wrong, dropped;
};

static void see(void *context, const struct ring_event *e)
{
	struct seen *seen = context;
	seen->dropped += e->kind == EVENT_DROPPED;
	if (e->kind != EVENT_FREE && e->kind != EVENT_ALLOC && e->kind != EVENT_MARK_END)
		return;
	uint64_t which = (e->value >> 24) - 1;
	seen->wrong += which >= THREADS * LIVES || seen->next[which]++ != (e->value & 0xffffff);
	seen->total++;
}

static void test_writer__each_thread_is_read_in_its_order(void **state)
{
	static struct seen seen;
	struct ring_options options = {.bytes = 1 << 20, .wait_max_ns = UINT64_C(60000000000)};
	struct ring *ring;
	struct err err;
	pthread_t thread[THREADS];
	(void)state;
	assert_int_equal(ring_create(&options, &ring, &err), 0);
	begin(ring_path(ring));
	for (uintptr_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, live, (void *)i), 0);
	while (seen.total < (uint64_t)THREADS * LIVES * EVENTS && seen.dropped == 0 &&
	       seen.wrong == 0)
		ring_poll(ring, 10, see, &seen);
	for (uintptr_t i = 0; i < THREADS; i++) {
		void *failed;
		assert_int_equal(pthread_join(thread[i], &failed), 0);
		assert_null(failed);
	}
	assert_int_equal(seen.wrong, 0);
	assert_int_equal(seen.dropped, 0);
	atomic_store(&this_process.alive, 0);
	ring_free(ring);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_writer__each_thread_is_read_in_its_order),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
