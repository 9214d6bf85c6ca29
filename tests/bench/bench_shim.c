/* SPDX-License-Identifier: MIT */
/*
 * What an event costs: a malloc/free pair bare and under the shim with a
 * recorder that drains the ring on the same machine, in turns, on 1 and on 2
 * threads. Prints the median of the rounds, the least and the most.
 *
 *	bench_shim [--stacks|--pointers] [--depth N] LIBRARY [ROUNDS [PAIRS]]
 *
 * --stacks: with the call stack of each allocation, made N frames deep (8).
 */
#include "libtrace/ring/ring.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

enum { ROUNDS_MAX = 99, HELD = 16 };

/* -- the work, in a process of its own ------------------------------------------ */

static long pairs;
static struct ring_options options;
static char depth[12] = "8";

static double now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static void spin(void *result)
{
	static const size_t size[] = {24, 40, 64, 100, 256, 512, 17, 1000};
	void *volatile held[HELD] = {0};
	struct timespec start, end;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &start);
	for (long i = 0; i < pairs; i++) {
		free(held[i % HELD]);
		held[i % HELD] = malloc(size[i % 8]);
	}
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
	for (int i = 0; i < HELD; i++)
		free(held[i]);
	*(double *)result = ((double)(end.tv_sec - start.tv_sec) * 1e9 +
			     (double)(end.tv_nsec - start.tv_nsec)) /
			    (double)pairs;
}

/* Not a loop, nor a jump: each makes a frame. */
__attribute__((noinline)) static void descend(long frames, void *result)
{
	if (frames > 0)
		descend(frames - 1, result);
	else
		spin(result);
	__asm__ volatile("" ::: "memory");
}

static void *work(void *result)
{
	descend(strtol(depth, NULL, 10), result);
	return NULL;
}

static int be_worker(int threads)
{
	pthread_t thread[16];
	double each[16], sum = 0, start = now_ns();

	for (int i = 0; i < threads; i++)
		pthread_create(&thread[i], NULL, work, &each[i]);
	for (int i = 0; i < threads; i++)
		pthread_join(thread[i], NULL);
	for (int i = 0; i < threads; i++)
		sum += each[i];
	printf("%.3f %.3f\n", sum / threads, (now_ns() - start) / (double)pairs);
	return 0;
}

/* -- the measuring ---------------------------------------------------------------- */

struct sample {
	double cpu_ns, wall_ns; /* per pair and thread */
	double recorder_ns;     /* per event */
	uint64_t dropped;
};

static void ignore(void *context, const struct ring_event *event)
{
	*(uint64_t *)context += event->value;
}

static double self_cpu_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static struct sample measure(const char *library, char *threads, char *count)
{
	struct ring *ring = NULL;
	struct err err;
	struct sample sample = {0};
	uint64_t sink = 0;
	char text[64] = "";
	int pipes[2];

	if (library && ring_create(&options, &ring, &err) != 0) {
		fprintf(stderr, "bench_shim: %s\n", err.text);
		exit(3);
	}
	if (pipe(pipes) != 0)
		exit(3);
	pid_t child = fork();
	if (child == 0) {
		char *words[] = {(char[]){"work"}, threads, count, depth, NULL};
		dup2(pipes[1], 1);
		execve("/proc/self/exe", words,
		       ring ? ring_environment(ring, environ, library) : environ);
		_exit(127);
	}
	close(pipes[1]);
	if (ring) {
		double before = self_cpu_ns();
		while (waitpid(child, NULL, WNOHANG) == 0)
			ring_poll(ring, 10, ignore, &sink);
		ring_finish(ring, ignore, &sink);
		struct ring_stats stats;
		ring_stats(ring, &stats);
		sample.recorder_ns = (self_cpu_ns() - before) / (double)stats.events;
		sample.dropped = stats.dropped;
		ring_free(ring);
	} else {
		waitpid(child, NULL, 0);
	}
	if (read(pipes[0], text, sizeof(text) - 1) <= 0 ||
	    sscanf(text, "%lf %lf", &sample.cpu_ns, &sample.wall_ns) != 2)
		exit(3);
	close(pipes[0]);
	return sample;
}

static int order(const void *a, const void *b)
{
	double left = *(const double *)a, right = *(const double *)b;

	return left < right ? -1 : left > right;
}

static double report(const char *name, double *values, int count)
{
	qsort(values, (size_t)count, sizeof(*values), order);
	printf("  %-34s %8.1f   (%.1f .. %.1f)\n", name, values[count / 2], values[0],
	       values[count - 1]);
	return values[count / 2];
}

int main(int argc, char **argv)
{
	static double bare[ROUNDS_MAX], shim[ROUNDS_MAX], wall[ROUNDS_MAX], reader[ROUNDS_MAX];
	char count[24] = "4000000";

	if (argc > 3 && strcmp(argv[0], "work") == 0) {
		snprintf(depth, sizeof(depth), "%s", argv[3]);
		pairs = strtol(argv[2], NULL, 10);
		return be_worker((int)strtol(argv[1], NULL, 10));
	}
	for (; argc > 1 && argv[1][0] == '-'; argc--, argv++) {
		if (strcmp(argv[1], "--stacks") == 0)
			options.stacks = true;
		else if (strcmp(argv[1], "--pointers") == 0)
			options.stacks = options.pointers = true;
		else if (strcmp(argv[1], "--depth") == 0 && argc > 2) {
			snprintf(depth, sizeof(depth), "%s", argv[2]);
			argc--, argv++;
		}
	}
	if (argc < 2) {
		fprintf(stderr,
			"usage: bench_shim [--stacks|--pointers] [--depth N] LIBRARY [ROUNDS [PAIRS]]\n");
		return 2;
	}
	int rounds = argc > 2 ? (int)strtol(argv[2], NULL, 10) : 7;
	if (rounds < 1 || rounds > ROUNDS_MAX)
		rounds = 7;
	if (argc > 3)
		snprintf(count, sizeof(count), "%s", argv[3]);
	for (int threads = 1; threads <= 2; threads++) {
		char number[2] = {(char)('0' + threads), 0};
		uint64_t dropped = 0;
		for (int i = 0; i < rounds; i++) {
			bare[i] = measure(NULL, number, count).cpu_ns;
			struct sample sample = measure(argv[1], number, count);
			shim[i] = sample.cpu_ns;
			wall[i] = sample.wall_ns;
			reader[i] = sample.recorder_ns;
			dropped += sample.dropped;
		}
		printf("%d thread%s, %s pairs each, %d rounds, %llu events dropped\n", threads,
		       threads > 1 ? "s" : "", count, rounds, (unsigned long long)dropped);
		double without = report("bare, CPU ns per pair", bare, rounds);
		double with = report("recorded, CPU ns per pair", shim, rounds);
		report("recorded, wall ns per pair", wall, rounds);
		report("recorder, CPU ns per event", reader, rounds);
		printf("  %-34s %+8.1f\n", "cost of the shim per pair", with - without);
	}
	return 0;
}
