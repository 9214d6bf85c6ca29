/* SPDX-License-Identifier: MIT */
/*
 * The arena beside glibc, mimalloc and jemalloc, in turns, in one process:
 * each round runs every workload once with every allocator, so a slow moment
 * of the machine falls on all of them. Prints nanoseconds for one unit of each
 * workload: median, spread (quartiles) and the arena's ratio to it, which is the
 * median of the rounds' ratios, with their quartiles.
 *
 * The peers come by dlopen() under their own heaps; what is not installed is
 * left out. The malloc of this process stays glibc's.
 */
#include "base/arena.h"
#include "base/replay.h"
#include "tests/base/sequence.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS = 41, BLOCKS = 100, REQUESTS = 64, ARENA_BYTES = 1 << 20, CHURN = 20000 };

struct allocator {
	const char *name;
	void *(*alloc)(size_t size);
	void (*free)(void *p);
	void (*begin)(void); /* of a request */
};

static struct arena arena;

static void *arena_take(size_t size)
{
	return arena_alloc(&arena, size, 0);
}

static void arena_give(void *p)
{
	arena_free(&arena, p);
}

static void arena_begin(void)
{
	arena_clear(&arena);
}

static void nothing(void)
{
}

static uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* -- workloads: each returns the nanoseconds of one unit --------------------- */

static size_t sizes[REQUESTS][BLOCKS];
static unsigned order[BLOCKS];

/* SAME: the same hundred sizes in each request, so that every block is asked for
 * again in the size that was just freed; otherwise each request has its own. */
enum request_kind {
	SAME = 1,
	LAST_FIRST = 2,
	SHUFFLED = 4,
	HEAD_ONLY = 8, /* 16 bytes of each block are written, not all */
	CLEARED = 16,  /* the arena frees nothing, as at a request's end */
};

/* A request: 100 blocks of 16..4096 bytes allocated, written and freed. */
static double request(const struct allocator *a, unsigned kind)
{
	enum { REPEATS = 384 };
	void *p[BLOCKS];
	uint64_t start = now_ns();
	for (int r = 0; r < REPEATS; r++) {
		const size_t *size = sizes[kind & SAME ? 0 : r % REQUESTS];
		a->begin();
		for (int i = 0; i < BLOCKS; i++) {
			p[i] = a->alloc(size[i]);
			memset(p[i], i, kind & HEAD_ONLY ? 16 : size[i]);
			__asm__ volatile("" : : "r"(p[i]) : "memory");
		}
		if (kind & CLEARED && a->free == arena_give)
			continue;
		for (int i = 0; i < BLOCKS; i++)
			a->free(p[kind & LAST_FIRST ? BLOCKS - 1 - i
				  : kind & SHUFFLED ? (int)order[i]
						    : i]);
	}
	return (double)(now_ns() - start) / REPEATS;
}

/* What no allocator can spare: the same bytes written to blocks that are there. */
static double write_alone(bool same)
{
	enum { REPEATS = 384 };
	static unsigned char room[BLOCKS * 4112];
	uint64_t start = now_ns();
	for (int r = 0; r < REPEATS; r++) {
		const size_t *size = sizes[same ? 0 : r % REQUESTS];
		unsigned char *p = room;
		for (int i = 0; i < BLOCKS; i++) {
			memset(p, i, size[i]);
			__asm__ volatile("" : : "r"(p) : "memory");
			p += (size[i] + 23) / 16 * 16;
		}
	}
	return (double)(now_ns() - start) / REPEATS;
}

#define REQUEST(name, kind)                           \
	static double name(const struct allocator *a) \
	{                                             \
		return request(a, kind);              \
	}
REQUEST(in_order, 0)
REQUEST(last_first, LAST_FIRST)
REQUEST(shuffled, SHUFFLED)
REQUEST(head_only, HEAD_ONLY)
REQUEST(cleared, CLEARED)
REQUEST(head_cleared, HEAD_ONLY | CLEARED)
REQUEST(same, SAME)
REQUEST(same_head_only, SAME | HEAD_ONLY)

static double writing_alone(const struct allocator *a)
{
	(void)a;
	return write_alone(false);
}
static double same_writing_alone(const struct allocator *a)
{
	(void)a;
	return write_alone(true);
}

/* One block at a time, as a loop that builds and drops a string does. */
static double pair(const struct allocator *a)
{
	enum { REPEATS = 50000 };
	a->begin();
	uint64_t start = now_ns();
	for (int i = 0; i < REPEATS; i++) {
		char *p = a->alloc(sizes[0][i % BLOCKS]);
		*p = 1;
		__asm__ volatile("" : : "r"(p) : "memory");
		a->free(p);
	}
	return (double)(now_ns() - start) / REPEATS;
}

static struct sequence churn[2];

/* A mixed life of many blocks, no payload written: nanoseconds a call. */
static double play(const struct allocator *a, const struct sequence *sequence)
{
	void **p = calloc(sequence->slots, sizeof(*p));
	if (!p)
		abort();
	a->begin();
	uint64_t start = now_ns();
	for (size_t i = 0; i < sequence->count; i++) {
		const struct replay_op *op = &sequence->ops[i];
		if (op->kind == REPLAY_FREE) {
			a->free(p[op->slot]);
			p[op->slot] = NULL;
		} else {
			p[op->slot] = a->alloc(op->size_bytes);
		}
	}
	double ns = (double)(now_ns() - start) / (double)sequence->count;
	for (uint32_t slot = 0; slot < sequence->slots; slot++) {
		if (p[slot])
			a->free(p[slot]);
	}
	free(p);
	return ns;
}

static double small_churn(const struct allocator *a)
{
	return play(a, &churn[0]);
}
static double phases(const struct allocator *a)
{
	return play(a, &churn[1]);
}

static const struct workload {
	const char *name, *unit;
	double (*run)(const struct allocator *a);
} workloads[] = {
	{"100 x malloc 16..4096, write, free in order", "ns/request", in_order},
	{"the same, last one freed first", "ns/request", last_first},
	{"the same, freed in random order", "ns/request", shuffled},
	{"the same, the arena only cleared", "ns/request", cleared},
	{"the same, 16 bytes of each written", "ns/request", head_only},
	{"the same, 16 bytes, the arena only cleared", "ns/request", head_cleared},
	{"the writing alone, which no allocator can spare", "ns/request", writing_alone},
	{"the same hundred sizes in each request", "ns/request", same},
	{"the same sizes, 16 bytes of each written", "ns/request", same_head_only},
	{"the writing alone of the same sizes", "ns/request", same_writing_alone},
	{"malloc and free of one block", "ns/pair", pair},
	{"churn of 300 small blocks", "ns/call", small_churn},
	{"phases of other sizes", "ns/call", phases},
};
enum { WORKLOADS = sizeof(workloads) / sizeof(workloads[0]), ALLOCATORS_MAX = 4 };

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static void add_peer(struct allocator *list, size_t *count, const char *name,
		     const char *library, const char *alloc, const char *release)
{
	/* DEEPBIND: the peer's own calls must reach the peer */
	void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
	if (!handle) {
		fprintf(stderr, "bench_arena: %s is left out: %s\n", name, dlerror());
		return;
	}
	struct allocator *a = &list[*count];
	*a = (struct allocator){.name = name, .begin = nothing};
	*(void **)&a->alloc = dlsym(handle, alloc);
	*(void **)&a->free = dlsym(handle, release);
	if (a->alloc && a->free)
		(*count)++;
}

static void replay_speed(void)
{
	struct replay replay;
	struct replay_need need;
	if (replay_init(&replay, (size_t)1 << 34) < 0)
		return;
	for (int shape = 0; shape < SEQUENCE_SHAPES; shape++) {
		struct sequence sequence = sequence_make((enum sequence_shape)shape, 5, 20000);
		for (int policy = 0; policy < 2; policy++) {
			double rate[ROUNDS];
			for (int r = 0; r < ROUNDS; r++) {
				uint64_t start = now_ns();
				if (replay_run(&replay, sequence.ops, sequence.count,
					       (enum arena_policy)policy, &need) < 0)
					abort();
				rate[r] = (double)sequence.count * 1e3 /
					  (double)(now_ns() - start);
			}
			qsort(rate, ROUNDS, sizeof(rate[0]), compare);
			printf("replay, shape %d, %-5s %8.1f M calls/s, need %zu KiB, live peak "
			       "%zu KiB\n",
			       shape, arena_policy_name((enum arena_policy)policy),
			       rate[ROUNDS / 2], (size_t)need.need_bytes / 1024,
			       (size_t)need.live_peak_bytes / 1024);
		}
		sequence_free(&sequence);
	}
	replay_release(&replay);
}

int main(int argc, char **argv)
{
	(void)argc;
	/* jemalloc wants static TLS, which a library loaded late gets only by asking. */
	const char *tunables = "glibc.rtld.optional_static_tls=16384";
	if (!getenv("GLIBC_TUNABLES") && setenv("GLIBC_TUNABLES", tunables, 0) == 0)
		execv("/proc/self/exe", argv);
	static double ns[WORKLOADS][ALLOCATORS_MAX][ROUNDS], ratio[ALLOCATORS_MAX][ROUNDS];
	struct allocator list[ALLOCATORS_MAX] = {
		{"arena", arena_take, arena_give, arena_begin},
		{"glibc", malloc, free, nothing},
	};
	size_t count = 2;
	add_peer(list, &count, "mimalloc", "libmimalloc.so.2", "mi_malloc", "mi_free");
	add_peer(list, &count, "jemalloc", "libjemalloc.so.2", "malloc", "free");

	void *memory = mmap(NULL, 64 * ARENA_BYTES, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (memory == MAP_FAILED)
		return 3;
	arena_init(&arena, memory, 64 * ARENA_BYTES, ARENA_REUSE);
	uint64_t random = 1;
	for (unsigned r = 0; r < REQUESTS; r++)
		for (unsigned i = 0; i < BLOCKS; i++)
			sizes[r][i] = 16 + sequence_random(&random) % 4081;
	for (unsigned i = 0; i < BLOCKS; i++) {
		unsigned k = (unsigned)(sequence_random(&random) % (i + 1));
		order[i] = order[k];
		order[k] = i;
	}
	churn[0] = sequence_make(SEQUENCE_SMALL, 1, CHURN);
	churn[1] = sequence_make(SEQUENCE_PHASES, 1, CHURN);

	for (int round = 0; round < ROUNDS; round++) {
		for (size_t w = 0; w < WORKLOADS; w++) {
			for (size_t i = 0; i < count; i++) {
				/* another one first in each round */
				size_t k = (i + (size_t)round) % count;
				ns[w][k][round] = workloads[w].run(&list[k]);
			}
		}
	}
	for (size_t w = 0; w < WORKLOADS; w++) {
		printf("%s\n", workloads[w].name);
		for (size_t k = count; k-- > 0;)
			for (int round = 0; round < ROUNDS; round++)
				ratio[k][round] = ns[w][0][round] / ns[w][k][round];
		for (size_t k = 0; k < count; k++) {
			qsort(ns[w][k], ROUNDS, sizeof(ns[w][k][0]), compare);
			qsort(ratio[k], ROUNDS, sizeof(ratio[k][0]), compare);
			printf("  %-9s %9.1f %-10s (%.1f..%.1f)  arena/this %.2f (%.2f..%.2f)\n",
			       list[k].name, ns[w][k][ROUNDS / 2], workloads[w].unit,
			       ns[w][k][ROUNDS / 4], ns[w][k][ROUNDS * 3 / 4],
			       ratio[k][ROUNDS / 2], ratio[k][ROUNDS / 4],
			       ratio[k][ROUNDS * 3 / 4]);
		}
	}
	replay_speed();
	return 0;
}
