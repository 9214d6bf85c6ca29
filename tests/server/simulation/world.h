/* SPDX-License-Identifier: MIT */
/*
 * A kernel for one thread, as far as the server's core asks for one: a clock
 * that moves when it is told, sockets that are two buffers, epoll as epoll(7)
 * has it (edge-triggered for connections, a level for the listener and for
 * eventfds), and all that is left to chance drawn from one seed. The linker puts
 * it in the place of libc's calls (--wrap): the core's objects are those of the
 * real server.
 *
 * A socket is known by its number; its client's end is sim_client.c's. Calls
 * that the core must not make (a close of what is closed, a call on a strange
 * descriptor) end the run.
 */
#ifndef PAIL_TESTS_SIMULATION_WORLD_H
#define PAIL_TESTS_SIMULATION_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	WORLD_SOCKETS = 48,
	WORLD_WORKERS = 2,
	WORLD_IN_BYTES = 4096,
	WORLD_OUT_BYTES = 3000,
	WORLD_LISTENER = 900,
	WORLD_LOG = 901,
	WORLD_EPOLLS = 910,
	WORLD_WAKES = 920,
	WORLD_FIRST_SOCKET = 1000,
};

struct world_socket {
	bool used;     /* the client has it still, or the server has not closed it */
	bool accepted; /* the server has it */
	bool closed;   /* the server has closed it */
	bool fin, reset /* by the client */, shut /* by the server */;
	bool wants_out; /* the server has met a full buffer */
	int epoll;      /* whose events it is among, or -1 */
	void *pointer;
	uint32_t events; /* not told yet */
	size_t in_bytes, out_bytes;
	uint64_t writes; /* of the server's that wrote something */
	unsigned char in[WORLD_IN_BYTES], out[WORLD_OUT_BYTES];
};

struct world {
	uint64_t random, seed, step, now_ns;
	bool faults; /* descriptors run out now and then, and the like */
	bool whole;  /* no write is shorter than it must be */
	struct world_socket socket[WORLD_SOCKETS];
	int backlog[WORLD_SOCKETS], backlog_count;
	bool listens[WORLD_WORKERS];
	void *wake_pointer[WORLD_WORKERS];
	uint64_t woken[WORLD_WORKERS];
	uint64_t accepted, closed;
	int epolls, wakes;
};
extern struct world world;

void world_init(uint64_t seed);
/* 0..below-1 */
uint64_t world_draw(uint64_t below);
static inline bool world_chance(uint64_t one_in)
{
	return world_draw(one_in) == 0;
}

/* The client's calls. connect: a socket's number, or -1: the line is full. */
int world_connect(void);
size_t world_client_send(int socket, const void *bytes, size_t length);
size_t world_client_recv(int socket, void *bytes, size_t length);
void world_client_fin(int socket);
void world_client_reset(int socket);
/* The client is done with it. */
void world_client_leave(int socket);

/* Ends the run: what is wrong, and how to see it again. */
__attribute__((noreturn, format(printf, 1, 2))) void world_fail(const char *format, ...);

#endif
