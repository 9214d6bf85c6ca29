/* SPDX-License-Identifier: MIT */
/*
 * The hot paths, each run so many times and nothing else, for instruction_counts.py,
 * which runs this under callgrind: the difference between two numbers of times is
 * what one takes, whatever came before.
 *
 *	hot_paths PATH TIMES [LIBRARY]
 *	hot_paths made
 *
 *	made    says what this was built with: numbers of another build are no match
 *	arena   a block of the arena taken and given back, sizes mixed
 *	clear   four blocks taken, then the arena cleared
 *	parse   a request's head of 9 fields, then cleared
 *	ring    an event written to the ring, by the shim's writer
 *	slot    one request put into the least free slot of 64
 *	hook    malloc and free of this program, which LIBRARY (the shim) records
 *	bare    the same without it: taken from what `hook` takes
 */
#include "base/arena.h"
#include "libtrace/ring/ring.h"
#include "server/http/parse.h"
#include "simulator/sim.h"
#include "tests/bench/hot_ring.h"

#include <gnu/libc-version.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static const size_t sizes[] = {24, 40, 64, 100, 256, 512, 17, 1000};
enum { SIZES = 8, HELD = 16, ARENA_BYTES = 1 << 20 };

static void *arena_room(struct arena *arena)
{
	void *room = aligned_alloc(4096, ARENA_BYTES);

	if (!room)
		exit(3);
	arena_init(arena, room, ARENA_BYTES, ARENA_REUSE);
	return room;
}

static void path_arena(long times)
{
	struct arena arena;
	void *room = arena_room(&arena), *held[HELD] = {0};

	for (long i = 0; i < times; i++) {
		if (held[i % HELD])
			arena_free(&arena, held[i % HELD]);
		held[i % HELD] = arena_alloc(&arena, sizes[i % SIZES], 16);
	}
	free(room);
}

static void path_clear(long times)
{
	struct arena arena;
	void *room = arena_room(&arena);

	for (long i = 0; i < times; i++) {
		for (int k = 0; k < 4; k++)
			if (!arena_alloc(&arena, sizes[k], 16))
				exit(3);
		arena_clear(&arena);
	}
	free(room);
}

static void path_parse(long times)
{
	static const char head[] =
		"GET /items/42?fields=name,price HTTP/1.1\r\nHost: shop.example.org\r\n"
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:120.0) Gecko/20100101\r\n"
		"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n"
		"Accept-Language: en-GB,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br\r\n"
		"Referer: http://shop.example.org/items\r\nConnection: keep-alive\r\n"
		"Cookie: session=0123456789abcdef; theme=dark\r\nCache-Control: max-age=0\r\n\r\n";
	static struct parse_field fields[PARSE_FIELDS_MAX];
	static struct parse_head parsed;

	for (long i = 0; i < times; i++) {
		parse_head_init(&parsed, fields, PARSE_FIELDS_MAX, 16384, false);
		if (parse_head(&parsed, head, sizeof(head) - 1) != PARSE_DONE)
			exit(3);
	}
}

static void path_slot(long times)
{
	struct sim_columns columns;
	struct err err;
	uint64_t random = 88172645463325252u, at = 0;
	static const uint32_t counts[] = {8, 16, 32, 64};
	static const uint64_t bytes[] = {65536};

	if (sim_columns_init(&columns, (size_t)times, &err) != 0)
		exit(3);
	for (long i = 0; i < times; i++) {
		random ^= random << 13;
		random ^= random >> 7;
		random ^= random << 17;
		at += random % 2000;
		columns.arrival_ns[i] = (int64_t)at;
		columns.service_ns[i] = (int64_t)(random >> 20) % 40000;
		columns.need_bytes[i] = 4096 + random % 65536;
	}
	const struct grid_ask ask = {.counts = counts,
				     .count_count = 4,
				     .sizes = bytes,
				     .size_count = 1,
				     .threads = 1,
				     .kernel = "portable"};
	struct grid grid;
	if (sim_columns_sort(&columns, (size_t)times, &err) != 0 ||
	    grid_run(&columns.trace, &ask, &grid, &err) != 0)
		exit(3);
	grid_release(&grid);
	sim_columns_release(&columns);
}

static void path_bare(long times)
{
	void *volatile held[HELD] = {0};

	for (long i = 0; i < times; i++) {
		free(held[i % HELD]);
		held[i % HELD] = malloc(sizes[i % SIZES]);
	}
}

static void ignore(void *context, const struct ring_event *event)
{
	*(uint64_t *)context += event->value;
}

/* The program again, as a child that is recorded; callgrind follows it. */
static int path_hook(const char *program, char *times, const char *library)
{
	struct ring_options options = {0};
	struct ring *ring;
	struct err err;
	uint64_t sink = 0;
	int status;

	if (ring_create(&options, &ring, &err) != 0) {
		fprintf(stderr, "hot_paths: %s\n", err.text);
		return 3;
	}
	char *words[] = {(char[]){"hot_paths"}, (char[]){"bare"}, times, NULL};
	pid_t child = fork();
	if (child == 0) {
		execve(program, words, /* not /proc/self/exe: under valgrind that is valgrind */
		       ring_environment(ring, environ, library));
		_exit(127);
	}
	while (waitpid(child, &status, WNOHANG) == 0)
		ring_poll(ring, 10, ignore, &sink);
	ring_finish(ring, ignore, &sink);
	ring_free(ring);
	return status == 0 && sink > 0 ? 0 : 3;
}

static void path_ring(long times)
{
	if (hot_ring(times) != 0)
		exit(3);
}

/* The compiler and its flags are those of the libraries, too. */
static int made(void)
{
#ifdef __clang__
	const char *compiler = "clang";
#else
	const char *compiler = "gcc";
#endif
	return printf("%s %s, %s, glibc %s\n", compiler, __VERSION__, HOT_PATHS_FLAGS,
		      gnu_get_libc_version()) < 0;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(long times);
	} paths[] = {{"arena", path_arena}, {"clear", path_clear}, {"parse", path_parse},
		     {"ring", path_ring},   {"slot", path_slot},   {"bare", path_bare}};

	if (argc == 2 && strcmp(argv[1], "made") == 0)
		return made();
	if (argc == 4 && strcmp(argv[1], "hook") == 0)
		return path_hook(argv[0], argv[2], argv[3]);
	for (size_t i = 0; argc == 3 && i < sizeof(paths) / sizeof(paths[0]); i++) {
		if (strcmp(argv[1], paths[i].name) == 0) {
			paths[i].run(strtol(argv[2], NULL, 10));
			return 0;
		}
	}
	fprintf(stderr,
		"usage: hot_paths made | hot_paths arena|clear|parse|ring|slot|bare|hook TIMES [LIBRARY]\n");
	return 2;
}
