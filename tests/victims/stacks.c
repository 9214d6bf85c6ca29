/* SPDX-License-Identifier: MIT */
/*
 * Allocates from stacks of every kind, and says by libunwind what the stack
 * was: a line per allocation, "SIZE START-END ADDRESS,ADDRESS...", the function
 * that allocated and the return addresses of its callers. Sizes are all
 * different, and name the allocation.
 *
 *	victim_stacks CASE [COUNT [FILE]]
 *
 * FILE is where the lines go; else to stdout.
 */
#define UNW_LOCAL_ONLY
#include <libunwind.h>

#include <alloca.h>
#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

enum { FIRST_SIZE = 20000, FRAMES_MAX = 1000 };

static FILE *out;
static long next_size = FIRST_SIZE;
static long wanted = 1;
#define APART __attribute__((noinline, noclone))

/* Says what the stack of the caller is. */
APART void expect(long size);
APART void expect(long size)
{
	unw_context_t context;
	unw_cursor_t cursor;
	unw_proc_info_t function;
	unw_word_t ip;

	unw_getcontext(&context);
	unw_init_local(&cursor, &context);
	unw_step(&cursor);
	unw_get_proc_info(&cursor, &function);
	fprintf(out, "%ld %lx-%lx ", size, (long)function.start_ip, (long)function.end_ip);
	for (int i = 0; i < FRAMES_MAX && unw_step(&cursor) > 0; i++) {
		unw_get_reg(&cursor, UNW_REG_IP, &ip);
		fprintf(out, "%s%lx", i ? "," : "", (long)ip);
	}
	fprintf(out, "\n");
}

/* Part of whoever allocates. */
#define ALLOCATE()                                    \
	do {                                          \
		long size_ = next_size++;             \
		void *block_ = malloc((size_t)size_); \
		expect(size_);                        \
		free(block_);                         \
	} while (0)
/* Room on the stack that is really there. */
#define USE(room) __asm__ volatile("" : : "r"(room) : "memory")
#define NO_JUMP() __asm__ volatile("" ::: "memory") /* not a tail call */

/* -- functions with frames of all kinds, that call each other at random -------- */

static uint64_t seed = 1;

static unsigned draw(unsigned below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (unsigned)(seed >> 33) % below;
}

static int deepest;
static void call_next(int depth);

APART static void plain(int depth)
{
	if (draw(3) == 0)
		ALLOCATE();
	call_next(depth + 1);
	if (draw(4) == 0)
		ALLOCATE();
	NO_JUMP();
}

APART static void wide(int depth)
{
	char room[333];

	USE(room);
	if (draw(2) == 0)
		ALLOCATE();
	call_next(depth + 1);
	USE(room);
}

APART static void variable(int depth)
{
	char *room = alloca(16 + draw(200));

	USE(room);
	if (draw(3) == 0)
		ALLOCATE();
	call_next(depth + 1);
	USE(room);
}

APART static void realigned(int depth)
{
	char room[64] __attribute__((aligned(64)));

	USE(room);
	if (draw(3) == 0)
		ALLOCATE();
	call_next(depth + 1);
	USE(room);
}

APART static void realigned_variable(int depth)
{
	char room[64] __attribute__((aligned(128)));
	char *more = alloca(16 + draw(99));

	USE(room);
	USE(more);
	call_next(depth + 1);
	if (draw(3) == 0)
		ALLOCATE();
	USE(room);
}

__attribute__((optimize("no-omit-frame-pointer"))) APART static void with_pointer(int depth)
{
	if (draw(3) == 0)
		ALLOCATE();
	call_next(depth + 1);
	NO_JUMP();
}

/* rbp as a common register, changing while outer frames stand. */
__attribute__((optimize("omit-frame-pointer"))) APART static void busy(int depth)
{
	unsigned a = draw(9), b = draw(9), c = draw(9), d = draw(9), e = draw(9), f = draw(9);

	for (unsigned i = 0; i < 2; i++) {
		if (draw(3) == 0)
			ALLOCATE();
		a += b ^ i, b += c, c += d, d += e, e += f, f += a;
		if (i == 1)
			call_next(depth + 1);
		__asm__ volatile("" : "+r"(a), "+r"(b), "+r"(c), "+r"(d), "+r"(e), "+r"(f));
	}
}

static int compare(const void *left, const void *right)
{
	if (draw(4) == 0)
		ALLOCATE();
	return *(const int *)left - *(const int *)right;
}

APART static void sorting(int depth)
{
	int values[6] = {3, 1, 2, 9, 7, 5};

	qsort(values, 6, sizeof(*values), compare);
	call_next(depth + 1);
	NO_JUMP();
}

static void call_next(int depth)
{
	static void (*const kinds[])(int) = {plain,        wide, variable, realigned,
					     with_pointer, busy, sorting,  realigned_variable};

	if (depth >= deepest || next_size - FIRST_SIZE >= wanted)
		return;
	int calls = 1 + (draw(3) == 0);
	while (calls--)
		kinds[draw(8)](depth);
	NO_JUMP();
}

APART static void at_random(void)
{
	while (next_size - FIRST_SIZE < wanted) {
		deepest = 3 + (int)draw(20);
		call_next(0);
	}
}

/* The same few runs again and again, that go the same way at first or at last. */
static void again(void)
{
	for (unsigned turn = 0; next_size - FIRST_SIZE < wanted; turn++) {
		seed = 1 + (turn ^ turn / 9) % 7;
		deepest = 3 + (int)(turn / 50 % 3);
		call_next(0);
	}
}

/* -- places ---------------------------------------------------------------------- */

static void handler(int signal)
{
	(void)signal;
	ALLOCATE();
	deepest = 5;
	call_next(0);
}

static void signals(bool alternate)
{
	struct sigaction action = {.sa_handler = handler,
				   .sa_flags = alternate ? SA_ONSTACK : 0};
	stack_t stack = {.ss_size = 1 << 17, .ss_sp = malloc(1 << 17)};

	if (alternate)
		sigaltstack(&stack, NULL);
	sigaction(SIGUSR1, &action, NULL);
	while (next_size - FIRST_SIZE < wanted) {
		raise(SIGUSR1);
		ALLOCATE();
	}
}

/* A signal where it hits: in the middle of code, not in a call. */
static volatile sig_atomic_t hit;

static void hit_handler(int signal)
{
	(void)signal;
	ALLOCATE();
	hit++;
}

APART static void interrupted(void)
{
	struct sigaction action = {.sa_handler = hit_handler};

	sigaction(SIGTRAP, &action, NULL);
	for (long i = 0; i < wanted; i++)
		__asm__ volatile("int3" ::: "memory");
}

static ucontext_t main_context, other_context;

static void coroutine(void)
{
	for (;;) {
		deepest = 6;
		call_next(0);
		ALLOCATE();
		swapcontext(&other_context, &main_context);
	}
}

static void coroutines(void)
{
	size_t bytes = 1 << 17;
	char *stack = mmap(NULL, bytes + 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	mprotect(stack + 4096, bytes, PROT_READ | PROT_WRITE);
	getcontext(&other_context);
	other_context.uc_stack.ss_sp = stack + 4096;
	other_context.uc_stack.ss_size = bytes;
	makecontext(&other_context, coroutine, 0);
	while (next_size - FIRST_SIZE < wanted) {
		swapcontext(&main_context, &other_context);
		ALLOCATE();
	}
}

APART static void recurse(long depth)
{
	if (depth > 0)
		recurse(depth - 1);
	else
		ALLOCATE();
	NO_JUMP();
}

/* A library that comes, goes, and comes again. */
static void plugin(const char *path)
{
	for (long i = 0; i < wanted; i++) {
		void *library = dlopen(path, RTLD_NOW);
		if (!library) {
			fprintf(stderr, "%s\n", dlerror());
			exit(9);
		}
		void (*call)(void (*)(void)) =
			(void (*)(void (*)(void)))(uintptr_t)dlsym(library, "plugin_call");
		deepest = 4;
		call(at_random);
		long until = wanted;
		wanted = next_size - FIRST_SIZE + 20;
		call(at_random);
		wanted = until;
		dlclose(library);
		at_random();
	}
}

static void *thread(void *unused)
{
	at_random();
	return unused;
}

static void forks(void)
{
	at_random();
	for (int i = 0; i < 3; i++) {
		fflush(out);
		pid_t child = fork();
		if (child == 0) {
			wanted += 50;
			at_random();
			fflush(out);
			_exit(0);
		}
		next_size += 60;
		wanted += 60;
		siginfo_t info;
		waitid(P_PID, (id_t)child, &info, WEXITED);
	}
}

int main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : "random";

	mallopt(M_MMAP_THRESHOLD, 1 << 25);
	wanted = argc > 2 ? strtol(argv[2], NULL, 10) : 100;
	out = argc > 3 ? fopen(argv[3], "we") : stdout;
	if (!out)
		return 9;
	if (strcmp(name, "random") == 0) {
		at_random();
	} else if (strcmp(name, "again") == 0) {
		again();
	} else if (strcmp(name, "signals") == 0 || strcmp(name, "alternate") == 0) {
		signals(*name == 'a');
	} else if (strcmp(name, "interrupted") == 0) {
		interrupted();
	} else if (strcmp(name, "coroutines") == 0) {
		coroutines();
	} else if (strcmp(name, "recursion") == 0) {
		for (long depth = 1; depth < wanted; depth += depth / 3 + 1)
			recurse(depth);
	} else if (strcmp(name, "plugin") == 0) {
		plugin(argv[4]);
	} else if (strcmp(name, "forks") == 0) {
		forks();
	} else if (strcmp(name, "thread") == 0) {
		pthread_t other;
		pthread_create(&other, NULL, thread, NULL);
		pthread_join(other, NULL);
	} else {
		return 2;
	}
	fclose(out);
	return 0;
}
