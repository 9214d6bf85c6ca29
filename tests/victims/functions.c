/* SPDX-License-Identifier: MIT */
/*
 * Requests that no socket tells of: objects that one function makes and another
 * ends, two alive at a time, on two threads. Each holds one block of 1000 bytes
 * and its number, and is allocated within the function that begins it.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { ROUNDS = 50 };

struct job {
	long number;
	void *block;
};

struct job *job_begin(long number);
void job_end(struct job *job);

__attribute__((noinline)) struct job *job_begin(long number)
{
	struct job *volatile job = malloc(sizeof(*job));

	if (!job)
		_Exit(99);
	job->number = number;
	job->block = malloc(1000 + (size_t)number);
	return job;
}

__attribute__((noinline)) void job_end(struct job *job)
{
	__asm__ volatile("");
	(void)job;
}

static void *work(void *first)
{
	long number = (long)(intptr_t)first;

	free(malloc(1)); /* of no request */
	for (int i = 0; i < ROUNDS; i++, number += 2) {
		struct job *a = job_begin(number), *b = job_begin(number + 1);
		free(a->block);
		free(b->block);
		job_end(a); /* not the last that was begun */
		job_end(b);
		free(malloc(77777)); /* of none, again */
		free(a);
		free(b);
	}
	return NULL;
}

int main(void)
{
	pthread_t other;

	if (pthread_create(&other, NULL, work, (void *)(intptr_t)1000) != 0)
		return 98;
	work((void *)(intptr_t)1);
	pthread_join(other, NULL);
	puts("done");
	return 0;
}
