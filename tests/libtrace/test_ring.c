/* SPDX-License-Identifier: MIT */
/* The reader's side of the ring, against chunks written by hand. */
#include "libtrace/ring/ring.h"
#include "libtrace/shim/region.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { GONE = 0x3ffffff }; /* a thread id that the kernel never gives out */

struct fixture {
	struct ring *ring;
	struct region *region; /* as a recorded process sees it */
	size_t bytes;
};

static struct fixture open_ring(void)
{
	struct fixture f;
	struct err err;
	struct stat status;
	struct ring_options options = {.bytes = 1 << 20};

	assert_int_equal(ring_create(&options, &f.ring, &err), 0);
	int fd = open(ring_path(f.ring), O_RDWR);
	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &status), 0);
	f.bytes = (size_t)status.st_size;
	f.region = mmap(NULL, f.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(f.region, MAP_FAILED);
	close(fd);
	return f;
}

static void close_ring(struct fixture *f)
{
	munmap(f->region, f->bytes);
	ring_free(f->ring);
}

static uint64_t ticks(const struct region *region)
{
#if defined(__x86_64__)
	if (region->flags & REGION_TSC)
		return __builtin_ia32_rdtsc();
#endif
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* A chunk as a writer leaves it: a stamp, then one FREE per address. */
static struct chunk *write_chunk(struct fixture *f, uint32_t index, uint32_t stream,
				 uint32_t sequence, enum chunk_state state, uint64_t stamp,
				 const uint64_t *addresses, size_t count)
{
	struct chunk *chunk = &f->region->chunk[index];
	uint64_t *words = (uint64_t *)(void *)region_chunk(f->region, index);

	words[0] = event_head(EVENT_TIME, 0, 0);
	words[1] = stamp;
	for (size_t i = 0; i < count; i++)
		words[2 + i] = event_head(EVENT_FREE, 0, addresses[i]);
	chunk->stream = stream;
	chunk->sequence = sequence;
	chunk->process = 1;
	chunk->pid = getpid();
	chunk->owner = chunk_owner(state, (uint32_t)getpid());
	chunk->committed = (uint32_t)(16 + count * 8);
	f->region->free_map[index / 64] &= ~(UINT64_C(1) << (index % 64));
	if (f->region->high_water <= index)
		f->region->high_water = index + 1;
	return chunk;
}

struct seen {
	uint64_t value[64];
	size_t count;
};

static void see(void *context, const struct ring_event *event)
{
	struct seen *seen = context;

	assert_true(seen->count < 64);
	seen->value[seen->count++] = event->value;
}

static void expect(const struct seen *seen, const uint64_t *values, size_t count)
{
	assert_int_equal(seen->count, count);
	assert_memory_equal(seen->value, values, count * sizeof(*values));
}

static void test_ring__threads_are_merged_by_their_stamps(void **state)
{
	struct fixture f = open_ring();
	struct seen seen = {0};
	uint64_t now = ticks(f.region);

	(void)state;
	write_chunk(&f, 0, 1, 0, CHUNK_OPEN, now - 10, (uint64_t[]){3, 4}, 2);
	write_chunk(&f, 1, 2, 0, CHUNK_OPEN, now - 20, (uint64_t[]){1, 2}, 2);
	write_chunk(&f, 2, 3, 0, CHUNK_FULL, now, (uint64_t[]){5}, 1);
	assert_int_equal(ring_poll(f.ring, 0, see, &seen), 5);
	expect(&seen, (uint64_t[]){1, 2, 3, 4, 5}, 5);
	/* What was read is not read again; the full chunk is free. */
	assert_int_equal(ring_poll(f.ring, 0, see, &seen), 0);
	assert_int_equal(chunk_state(f.region->chunk[2].owner), CHUNK_FREE);
	assert_true(f.region->free_map[0] & 4);
	close_ring(&f);
}

/* A process in a pid namespace of its own that does nothing; its pid here, or -1 where
 * that is not allowed. */
static pid_t container(void)
{
	int hello[2];
	pid_t inner = -1;

	assert_int_equal(pipe(hello), 0);
	pid_t outer = fork();
	if (outer == 0) {
		inner = unshare(CLONE_NEWPID) == 0 ? fork() : -1;
		if (inner == 0)
			for (;;)
				pause();
		_exit(write(hello[1], &inner, sizeof(inner)) == (ssize_t)sizeof(inner) ? 0 : 1);
	}
	assert_int_equal(read(hello[0], &inner, sizeof(inner)), (ssize_t)sizeof(inner));
	close(hello[0]);
	close(hello[1]);
	assert_int_equal(waitpid(outer, NULL, 0), outer);
	return inner;
}

static void test_ring__who_has_ended_in_another_namespace_is_forgotten(void **state)
{
	pid_t pid = container();
	char path[64];
	struct stat status;
	struct ring_stats stats;
	struct seen seen = {0};

	(void)state;
	if (pid < 0)
		skip();
	snprintf(path, sizeof(path), "/proc/%d/ns/pid", (int)pid);
	assert_int_equal(stat(path, &status), 0);
	struct fixture f = open_ring();
	struct chunk *chunk = write_chunk(&f, 0, 1, 0, CHUNK_OPEN, ticks(f.region) - 10,
					  (uint64_t[]){3, 4}, 2);
	chunk->pid = 0;
	chunk->namespace = (uint32_t)status.st_ino;
	chunk->inner_pid = 1;
	chunk->owner = chunk_owner(CHUNK_OPEN, 0);
	/* Two looks, at least a second apart: it lives. */
	for (int i = 0; i < 12; i++)
		ring_poll(f.ring, 100, see, &seen);
	assert_int_equal(chunk_state(chunk->owner), CHUNK_OPEN);
	assert_int_equal(kill(pid, SIGKILL), 0);
	for (int i = 0; i < 600 && chunk_state(chunk->owner) != CHUNK_FREE; i++)
		ring_poll(f.ring, 50, see, &seen);
	assert_int_equal(chunk_state(chunk->owner), CHUNK_FREE);
	for (int i = 0; i < 600; i++) {
		ring_poll(f.ring, 50, see, &seen);
		ring_stats(f.ring, &stats);
		if (stats.streams == 0)
			break;
	}
	assert_int_equal(stats.streams, 0);
	expect(&seen, (uint64_t[]){3, 4}, 2);
	close_ring(&f);
}

/* By whoever knows its name, at any moment: nothing of it is there any more. */
static void test_ring__a_file_that_is_truncated_is_lost_and_the_reader_is_not(void **state)
{
	struct fixture f = open_ring();
	struct seen seen = {0};
	struct ring_stats stats;

	(void)state;
	write_chunk(&f, 0, 1, 0, CHUNK_OPEN, ticks(f.region) - 10, (uint64_t[]){3, 4}, 2);
	assert_int_equal(ring_poll(f.ring, 0, see, &seen), 2);
	assert_false(ring_cut(f.ring));
	write_chunk(&f, 1, 2, 0, CHUNK_FULL, ticks(f.region) - 10, (uint64_t[]){5}, 1);
	assert_int_equal(truncate(ring_path(f.ring), 0), 0);
	assert_int_equal(ring_poll(f.ring, 1, see, &seen), 0);
	assert_true(ring_cut(f.ring));
	ring_finish(f.ring, see, &seen);
	ring_stats(f.ring, &stats);
	assert_int_equal(stats.events, 2);
	close_ring(&f);
}

/* Descriptors are there, and say that there is something in a chunk that is not. */
static void test_ring__a_file_that_lost_its_end_keeps_its_beginning(void **state)
{
	struct fixture f = open_ring();
	struct seen seen = {0};
	uint32_t last = f.region->chunk_count - 1;
	off_t first = (off_t)((size_t)f.region->chunks_offset + REGION_CHUNK_BYTES);

	(void)state;
	write_chunk(&f, last, 1, 0, CHUNK_FULL, ticks(f.region) - 10, (uint64_t[]){3, 4}, 2);
	write_chunk(&f, 0, 2, 0, CHUNK_FULL, ticks(f.region) - 10, (uint64_t[]){5}, 1);
	assert_int_equal(truncate(ring_path(f.ring), first), 0);
	ring_poll(f.ring, 0, see, &seen);
	ring_finish(f.ring, see, &seen);
	expect(&seen, (uint64_t[]){5}, 1);
	assert_true(ring_cut(f.ring));
	close_ring(&f);
}

static void test_ring__later_events_wait_for_the_next_poll(void **state)
{
	struct fixture f = open_ring();
	struct seen seen = {0};

	(void)state;
	write_chunk(&f, 0, 1, 0, CHUNK_OPEN, ticks(f.region) + UINT64_C(1000000000000),
		    (uint64_t[]){1}, 1);
	assert_int_equal(ring_poll(f.ring, 0, see, &seen), 0);
	assert_int_equal(ring_finish(f.ring, see, &seen), 1);
	close_ring(&f);
}

static void test_ring__a_chain_is_read_in_order_and_not_before_its_head(void **state)
{
	struct fixture f = open_ring();
	struct seen seen = {0};
	uint64_t now = ticks(f.region);

	(void)state;
	write_chunk(&f, 5, 1, 1, CHUNK_OPEN, now, (uint64_t[]){3}, 1);
	assert_int_equal(ring_poll(f.ring, 0, see, &seen), 0);
	write_chunk(&f, 7, 1, 0, CHUNK_FULL, now, (uint64_t[]){1, 2}, 2);
	assert_int_equal(ring_poll(f.ring, 0, see, &seen), 3);
	expect(&seen, (uint64_t[]){1, 2, 3}, 3);
	close_ring(&f);
}

static void test_ring__chunks_of_the_dead_are_read_and_taken_back(void **state)
{
	struct fixture f = open_ring();
	struct seen seen = {0};

	(void)state;
	struct chunk *chunk =
		write_chunk(&f, 0, 1, 0, CHUNK_OPEN, ticks(f.region), (uint64_t[]){1}, 1);
	chunk->owner = chunk_owner(CHUNK_OPEN, GONE);
	struct chunk *empty = write_chunk(&f, 1, 2, 0, CHUNK_OPEN, 0, NULL, 0);
	empty->owner = chunk_owner(CHUNK_OPEN, GONE);
	empty->committed = 0;
	assert_int_equal(ring_poll(f.ring, 0, see, &seen), 1);
	assert_int_equal(chunk_state(chunk->owner), CHUNK_FREE);
	assert_int_equal(chunk_state(empty->owner), CHUNK_FREE);
	assert_int_equal(chunk->committed, 0);
	close_ring(&f);
}

static void test_ring__nonsense_in_a_chunk_harms_only_that_chunk(void **state)
{
	struct fixture f = open_ring();
	struct seen seen = {0};
	struct ring_stats stats;
	uint64_t now = ticks(f.region);

	(void)state;
	write_chunk(&f, 0, 1, 0, CHUNK_FULL, now - 4, (uint64_t[]){1, 2}, 2);
	((uint64_t *)(void *)region_chunk(f.region, 0))[3] = 0xff; /* no such kind */
	write_chunk(&f, 1, 2, 0, CHUNK_FULL, now - 3, (uint64_t[]){3}, 1)->committed =
		UINT32_MAX;
	memset(region_chunk(f.region, 1) + 24, 0xee, REGION_CHUNK_BYTES - 24);
	write_chunk(&f, 2, 3, 0, CHUNK_FULL, now - 2, (uint64_t[]){4}, 1)->committed = 27;
	/* A long event whose length points out of the chunk. */
	write_chunk(&f, 3, 4, 0, CHUNK_FULL, now, (uint64_t[]){0, 0, 0, 0, 0}, 5);
	uint64_t *words = (uint64_t *)(void *)region_chunk(f.region, 3);
	words[2] = event_head(EVENT_READ, 0, 1);
	words[3] = now;
	words[4] = UINT64_MAX;
	assert_int_equal(ring_poll(f.ring, 0, see, &seen), 3);
	expect(&seen, (uint64_t[]){1, 3, 4}, 3);
	ring_stats(f.ring, &stats);
	assert_int_equal(stats.corrupt_chunks, 3);
	for (int i = 0; i < 4; i++)
		assert_int_equal(chunk_state(f.region->chunk[i].owner), CHUNK_FREE);
	close_ring(&f);
}

static void take_time(void *context, const struct ring_event *event)
{
	*(int64_t *)context = event->time_ns;
}

static void test_ring__times_are_nanoseconds_since_the_start(void **state)
{
	struct fixture f = open_ring();
	int64_t time_ns = 0;

	(void)state;
	usleep(50000);
	write_chunk(&f, 0, 1, 0, CHUNK_OPEN, ticks(f.region), (uint64_t[]){1}, 1);
	assert_int_equal(ring_poll(f.ring, 0, take_time, &time_ns), 1);
	assert_in_range(time_ns, 50000000, 10000000000);
	close_ring(&f);
}

static void test_ring__the_file_is_preallocated_private_and_removed(void **state)
{
	struct fixture f = open_ring();
	struct stat status;
	char path[256], folder[256];

	(void)state;
	snprintf(path, sizeof(path), "%s", ring_path(f.ring));
	snprintf(folder, sizeof(folder), "%s", path);
	*strrchr(folder, '/') = 0;
	assert_int_equal(stat(path, &status), 0);
	assert_true(status.st_blocks * 512 >= (off_t)f.bytes);
	assert_int_equal(status.st_mode & 0777, geteuid() == 0 ? 0666 : 0600);
	assert_int_equal(stat(folder, &status), 0);
	assert_int_equal(status.st_mode & 0777, geteuid() == 0 ? 0711 : 0700);
	close_ring(&f);
	assert_int_equal(stat(path, &status), -1);
	assert_int_equal(stat(folder, &status), -1);
}

static void test_ring__a_folder_without_room_is_an_error_and_leaves_nothing(void **state)
{
	char folder[] = "/tmp/pail-test-XXXXXX";
	struct ring_options options = {.folder = folder, .bytes = 4 << 20};
	struct ring *ring;
	struct err err;

	(void)state;
	assert_non_null(mkdtemp(folder));
	if (mount("none", folder, "tmpfs", 0, "size=1m") != 0) {
		rmdir(folder);
		skip(); /* needs root */
	}
	assert_int_equal(ring_create(&options, &ring, &err), -1);
	assert_non_null(strstr(err.text, folder));
	assert_non_null(strstr(err.text, "No space left"));
	struct stat status;
	assert_int_equal(stat(folder, &status), 0);
	assert_int_equal(status.st_nlink, 2); /* no subfolder is left */
	umount(folder);
	rmdir(folder);
}

/* Makes the folder of a recorder that is gone look old. */
static void age(const char *folder)
{
	struct timespec times[2] = {{1, 0}, {1, 0}};

	assert_int_equal(utimensat(AT_FDCWD, folder, times, 0), 0);
}

static void test_ring__what_a_killed_recorder_left_is_removed_by_the_next(void **state)
{
	char folder[] = "/tmp/pail-test-XXXXXX", dead[300], alive[300];
	struct ring_options options = {.folder = folder, .bytes = 1 << 20};
	struct ring *ring, *next;
	struct err err;
	struct stat status;
	int pipes[2];

	(void)state;
	assert_non_null(mkdtemp(folder));
	assert_int_equal(pipe(pipes), 0);
	pid_t child = fork();
	if (child == 0) {
		if (ring_create(&options, &ring, &err) == 0)
			(void)!write(pipes[1], ring_path(ring), strlen(ring_path(ring)) + 1);
		_exit(0);
	}
	assert_true(read(pipes[0], dead, sizeof(dead)) > 0);
	waitpid(child, NULL, 0);
	assert_int_equal(ring_create(&options, &ring, &err), 0);
	snprintf(alive, sizeof(alive), "%s", ring_path(ring));
	assert_int_equal(stat(dead, &status), 0); /* too young to be judged */
	char *slash = strrchr(dead, '/');
	*slash = 0;
	age(dead);
	*slash = '/';
	slash = strrchr(alive, '/');
	*slash = 0;
	age(alive);
	*slash = '/';
	assert_int_equal(ring_create(&options, &next, &err), 0);
	assert_int_equal(stat(dead, &status), -1);
	assert_int_equal(stat(alive, &status), 0);
	ring_free(next);
	ring_free(ring);
	close(pipes[0]);
	close(pipes[1]);
	assert_int_equal(rmdir(folder), 0); /* nothing is left in it */
}

static void test_ring__the_environment_keeps_what_was_preloaded(void **state)
{
	struct fixture f = open_ring();
	char *const before[] = {(char[]){"A=1"}, (char[]){"LD_PRELOAD=/x.so"},
				(char[]){"PAIL_RING=/old"}, NULL};
	char ring[300];

	(void)state;
	snprintf(ring, sizeof(ring), "PAIL_RING=%s", ring_path(f.ring));
	char **after = ring_environment(f.ring, before, "/lib.so");
	assert_string_equal(after[0], "A=1");
	assert_string_equal(after[1], "LD_PRELOAD=/lib.so:/x.so");
	assert_string_equal(after[2], ring);
	assert_null(after[3]);
	free(after);
	close_ring(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ring__threads_are_merged_by_their_stamps),
		cmocka_unit_test(test_ring__who_has_ended_in_another_namespace_is_forgotten),
		cmocka_unit_test(
			test_ring__a_file_that_is_truncated_is_lost_and_the_reader_is_not),
		cmocka_unit_test(test_ring__a_file_that_lost_its_end_keeps_its_beginning),
		cmocka_unit_test(test_ring__later_events_wait_for_the_next_poll),
		cmocka_unit_test(test_ring__a_chain_is_read_in_order_and_not_before_its_head),
		cmocka_unit_test(test_ring__chunks_of_the_dead_are_read_and_taken_back),
		cmocka_unit_test(test_ring__nonsense_in_a_chunk_harms_only_that_chunk),
		cmocka_unit_test(test_ring__times_are_nanoseconds_since_the_start),
		cmocka_unit_test(test_ring__the_file_is_preallocated_private_and_removed),
		cmocka_unit_test(
			test_ring__a_folder_without_room_is_an_error_and_leaves_nothing),
		cmocka_unit_test(test_ring__what_a_killed_recorder_left_is_removed_by_the_next),
		cmocka_unit_test(test_ring__the_environment_keeps_what_was_preloaded),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
