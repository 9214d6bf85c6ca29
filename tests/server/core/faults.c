/* SPDX-License-Identifier: MIT */
/* A plug-in that does everything wrong that a handler can do, by path. */
#include <assert.h>
#include <errno.h>
#include <pail/handler.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static int ends, undone; /* of the process: what request_end and defers counted */

void pail_request_end(struct pail_request *r)
{
	__atomic_add_fetch(&ends, 1, __ATOMIC_RELAXED);
	if (strcmp(pail_path(r), "/fault-in-end") == 0)
		*(volatile int *)16 = 1;
}

static void undo(void *arg)
{
	(void)arg;
	__atomic_add_fetch(&undone, 1, __ATOMIC_RELAXED);
}

static void undo_badly(void *arg)
{
	(void)arg;
	abort();
}

static long number(struct pail_request *r, const char *name, long otherwise)
{
	const char *at = strstr(pail_query(r), name);
	return at && at[strlen(name)] == '=' ? strtol(at + strlen(name) + 1, NULL, 10)
					     : otherwise;
}

static int answer(struct pail_request *r, const char *format, long value)
{
	char text[128];
	int length = snprintf(text, sizeof(text), format, value);
	pail_write(r, text, (size_t)length);
	return 200;
}

__attribute__((noinline)) static int recurse(int depth)
{
	volatile char frame[200];
	frame[0] = (char)depth;
	return depth == 0 ? 0 : recurse(depth + 1) + frame[0];
}

/* One frame that is larger than a guard of one page. */
__attribute__((noinline)) static int leap(size_t bytes)
{
	volatile char *frame = __builtin_alloca(bytes);
	frame[0] = 1;
	frame[bytes - 1] = 1;
	return frame[0];
}

__attribute__((noinline)) static int recurse_printing(int depth)
{
	volatile char frame[600];
	static FILE *nowhere;
	if (!nowhere)
		nowhere = stderr;
	frame[0] = (char)depth;
	/* The overflow comes inside vfprintf, with the stream's lock held. */
	fprintf(nowhere, "%s%.0d", "", 0);
	return recurse_printing(depth + 1) + frame[0];
}

static int compare_and_eat(const void *a, const void *b)
{
	*(volatile char *)malloc(100000) = 1;
	return *(const char *)a - *(const char *)b;
}

static int compare_and_fall(const void *a, const void *b)
{
	(void)a;
	(void)b;
	return *(volatile int *)24;
}

static void eat(void)
{
	for (;;)
		memset(malloc(1000), 0x5a, 1000);
}

/* Holds a pattern over a sleep, in bucket and stack, and looks whether it is whole. */
static int neighbour(struct pail_request *r)
{
	enum { BYTES = 200000, STACK = 8000 };
	unsigned char on_stack[STACK], *block = malloc(BYTES);
	unsigned mark = (unsigned)number(r, "mark", 7);

	memset(block, (int)mark, BYTES);
	memset(on_stack, (int)mark, STACK);
	const void *body;
	if (pail_body(r, &body) == 0) /* with one it waits for that */
		usleep((useconds_t)number(r, "ms", 100) * 1000);
	for (int i = 0; i < BYTES; i++)
		if (block[i] != (unsigned char)mark)
			return answer(r, "block broken at %ld\n", i);
	for (int i = 0; i < STACK; i++)
		if (on_stack[i] != (unsigned char)mark)
			return answer(r, "stack broken at %ld\n", i);
	return answer(r, "whole %ld\n", mark);
}

static void *deep(void *arg)
{
	return (void *)(long)leap(*(size_t *)arg);
}

/* As long as somebody reads it; a client that does not is the server's to end. */
static int stream(struct pail_request *r, long bytes)
{
	char piece[4000];

	memset(piece, 'x', sizeof(piece));
	for (; bytes > 0; bytes -= (long)sizeof(piece))
		if (pail_write(r, piece, sizeof(piece)) != 0)
			return 500;
	return 200;
}

static int big_stack(struct pail_request *r, size_t bytes)
{
	int err = 0;
	void *result = pail_on_big_stack(r, deep, &bytes, &err);
	return err ? 503 : answer(r, "deep %ld\n", (long)result);
}

static void *body_there(void *arg)
{
	const void *body;
	return (void *)pail_body(arg, &body);
}

static int big_stack_hold(struct pail_request *r)
{
	int err = 0;
	void *length = pail_on_big_stack(r, body_there, r, &err);
	return err ? 503 : answer(r, "held %ld\n", (long)length);
}

static int block(void)
{
	int ends_of_pipe[2];
	char byte;

	if (pipe(ends_of_pipe) < 0)
		return 500;
	for (;;)
		if (read(ends_of_pipe[0], &byte, 1) == 1)
			return 200;
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;

static bool halfway; /* what the mutex keeps is not whole: its holder did not come to the end */

static int lock_twice(struct pail_request *r)
{
	pthread_mutex_lock(&mutex);
	pthread_rwlock_wrlock(&rwlock);
	bool was_halfway = halfway;
	halfway = false;
	pthread_rwlock_unlock(&rwlock);
	pthread_mutex_unlock(&mutex);
	return answer(r, was_halfway ? "halfway\n" : "locked\n", 0);
}

static int lock_across_a_wait(struct pail_request *r, const char *which)
{
	static pthread_mutex_t again = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
	static int inside; /* of the recursive one */
	bool writes = strcmp(which, "writing") == 0;
	const void *body;
	int with = 0;

	if (strcmp(which, "mutex") == 0) {
		pthread_mutex_lock(&mutex);
		pail_body(r, &body);
		pthread_mutex_unlock(&mutex);
	} else if (strcmp(which, "recursive") == 0) {
		pthread_mutex_lock(&again);
		pthread_mutex_lock(&again);
		with = inside++;
		pail_body(r, &body);
		inside--;
		pthread_mutex_unlock(&again);
		pthread_mutex_unlock(&again);
	} else {
		writes ? pthread_rwlock_wrlock(&rwlock) : pthread_rwlock_rdlock(&rwlock);
		pail_body(r, &body);
		pthread_rwlock_unlock(&rwlock);
	}
	return answer(r, "held with %ld others\n", with);
}

static int locked(struct pail_request *r, const char *what)
{
	pthread_mutex_lock(&mutex);
	pthread_rwlock_rdlock(&rwlock);
	halfway = true;
	if (strcmp(what, "eat") == 0) {
		/* The bucket, and some of the red zone; then it lets go. */
		for (size_t n = 0; n < pail_bucket_size(r) + 20000; n += 1000)
			*(volatile char *)malloc(1000) = 1;
		free(realloc(malloc(100), 2000));
	} else if (strcmp(what, "eat-all") == 0) {
		while (malloc(1000))
			;
	} else if (strcmp(what, "segv") == 0) {
		*(volatile int *)8 = 1;
	} else if (strcmp(what, "loop") == 0) {
		for (;;)
			__asm__ volatile("");
	} else if (strcmp(what, "loop-a-while") == 0) {
		for (volatile long i = 0; i < 300000000; i++)
			;
	}
	halfway = false;
	pthread_rwlock_unlock(&rwlock);
	pthread_mutex_unlock(&mutex);
	return answer(r, "never\n", 0);
}

int pail_handle(struct pail_request *r)
{
	const char *path = pail_path(r);
	volatile int zero = 0;

	if (strcmp(path, "/ok") == 0)
		return answer(r, "ok\n", 0);
	if (strcmp(path, "/neighbour") == 0)
		return neighbour(r);
	if (strcmp(path, "/stream") == 0)
		return stream(r, number(r, "bytes", 100000));
	if (strcmp(path, "/counts") == 0) {
		answer(r, "%ld ", __atomic_load_n(&ends, __ATOMIC_RELAXED));
		return answer(r, "%ld\n", __atomic_load_n(&undone, __ATOMIC_RELAXED));
	}
	if (strcmp(path, "/eat") == 0)
		eat();
	if (strcmp(path, "/huge") == 0)
		return answer(r, "%ld\n", malloc((size_t)1 << 60) != NULL);
	if (strcmp(path, "/segv") == 0)
		*(volatile int *)8 = 1;
	if (strcmp(path, "/wild") == 0)
		*(volatile int *)0x700000001000 = 1;
	if (strcmp(path, "/jump-wild") == 0)
		((void (*)(void))0x1234)();
	if (strcmp(path, "/fpe") == 0)
		return answer(r, "%ld\n", 1000 / zero);
	if (strcmp(path, "/ill") == 0)
		__builtin_trap();
	if (strcmp(path, "/abort") == 0)
		abort();
	if (strcmp(path, "/assert") == 0)
		assert(zero == 1);
	if (strcmp(path, "/exit") == 0)
		exit(0);
	if (strcmp(path, "/recurse") == 0)
		return answer(r, "%ld\n", recurse(1));
	if (strcmp(path, "/leap") == 0)
		return answer(r, "%ld\n", leap((size_t)number(r, "bytes", 100000)));
	if (strcmp(path, "/recurse-printing") == 0)
		return answer(r, "%ld\n", recurse_printing(1));
	if (strcmp(path, "/print") == 0) { /* hangs if a stream is still locked */
		fprintf(stderr, "%s", "");
		return answer(r, "printed\n", 0);
	}
	if (strcmp(path, "/sort-eat") == 0 || strcmp(path, "/sort-fall") == 0) {
		char letters[] = "the quick brown fox";
		qsort(letters, sizeof(letters) - 1, 1,
		      path[6] == 'e' ? compare_and_eat : compare_and_fall);
		return answer(r, "sorted\n", 0);
	}
	if (strcmp(path, "/loop") == 0)
		for (;;)
			__asm__ volatile("");
	if (strcmp(path, "/loop-libc") == 0)
		for (size_t n = 0;; n += strlen(path))
			__asm__ volatile("" : : "r"(n));
	if (strcmp(path, "/block") == 0)
		return block();
	if (strcmp(path, "/sleep") == 0) {
		usleep((useconds_t)number(r, "ms", 100) * 1000);
		return answer(r, "slept\n", 0);
	}
	if (strcmp(path, "/defer") == 0) {
		for (int i = 0; i < 40; i++)
			pail_defer(r, undo, NULL);
		if (number(r, "bad", 0))
			pail_defer(r, undo_badly, NULL);
		if (number(r, "segv", 0))
			*(volatile int *)8 = 1;
		return answer(r, "deferred\n", 0);
	}
	if (strcmp(path, "/fault-in-end") == 0)
		return answer(r, "never\n", 0);
	if (strcmp(path, "/late") == 0) { /* the head is out when it fails */
		char piece[4000];
		memset(piece, 'x', sizeof(piece));
		for (int i = 0; i < 5; i++)
			pail_write(r, piece, sizeof(piece));
		*(volatile int *)8 = 1;
	}
	if (strcmp(path, "/big-stack") == 0)
		return big_stack(r, (size_t)number(r, "bytes", 500000));
	if (strcmp(path, "/big-stack-hold") == 0) /* until the client sends the body */
		return big_stack_hold(r);
	if (strcmp(path, "/write-wild") == 0)
		return pail_write(r, (void *)8, 100) == 0 ? 200 : 599;
	if (strcmp(path, "/write-wild-long") == 0)
		return pail_write(r, (void *)8, 1000000) == 0 ? 200 : 599;
	if (strcmp(path, "/map") == 0) {
		void *p = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		return answer(r, "%ld\n", p == MAP_FAILED ? errno : 0);
	}
	if (strcmp(path, "/thread") == 0) {
		pthread_t thread;
		return answer(r, "%ld\n", pthread_create(&thread, NULL, deep, NULL));
	}
	if (strcmp(path, "/free-foreign") == 0) {
		free((void *)0x10);
		free(r);
		void *p = realloc(r, 10);
		return answer(r, "%ld\n", p != NULL);
	}
	if (strcmp(path, "/double-free") == 0) {
		char *p = malloc(100);
		free(p);
		free(p);
		return answer(r, "%ld\n", 0);
	}
	if (strcmp(path, "/smash") == 0) {
		memset(malloc(64), 0xff, 4096); /* over the headers behind it */
		for (int i = 0; i < 100; i++)
			free(malloc(40));
		return answer(r, "smashed\n", 0);
	}
	if (strcmp(path, "/overrun") == 0) { /* out of the arena, into the guard page */
		memset(malloc(64), 0xff, pail_bucket_size(r));
		return answer(r, "overran\n", 0);
	}
	if (strncmp(path, "/wait-with-", 11) == 0)
		return lock_across_a_wait(r, path + 11);
	if (strncmp(path, "/locked-", 8) == 0)
		return locked(r, path + 8);
	if (strcmp(path, "/lock") == 0) /* hangs if it is still locked */
		return lock_twice(r);
	if (strcmp(path, "/bad-status") == 0)
		return 42;
	return 404;
}
