/* SPDX-License-Identifier: MIT */
/*
 * The clients of the simulation: each connects, sends requests in pieces of any
 * size (several behind each other, some of them broken), reads as fast or slowly
 * as chance has it, and goes away politely or not. It checks what it gets: whole
 * responses, in the order of its requests, each for the request whose turn it is,
 * and none for a request that it has not sent.
 */
#ifndef PAIL_TESTS_SIMULATION_CLIENT_H
#define PAIL_TESTS_SIMULATION_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

struct client_counts {
	uint64_t connections, requests, answers,
		by_class[6]; /* 2xx .. 5xx by their first digit */
	uint64_t cut;        /* connections that the server closed with requests unanswered */
};
extern struct client_counts client_counts;

void clients_init(void);
/* One of them does something. Not `quiet`: it may also begin something. */
void clients_step(bool quiet);
/* None has a connection any more. */
bool clients_gone(void);

#endif
