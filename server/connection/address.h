/* SPDX-License-Identifier: MIT */
/*
 * How much each client's address holds, so that one of them does not hold all
 * ([server] per_address and
 * connections_per_address): a table with an entry for each address that has a
 * connection, shared by all threads.
 *
 * An address is an IPv4 address, mapped ones too, or an IPv6 network of 64 bits,
 * which is what one subscriber is given. Clients of a unix socket have none and
 * are not counted.
 *
 * Its memory is fixed: as many entries as there can be connections, and a hash
 * table of chains through them with at least as many heads. The hash has a key
 * of its own for every start, so nobody can choose addresses that collide.
 *
 * Threads: entering and leaving take the table's lock, once for a connection;
 * claims of requests are one atomic addition. An entry stays where it is for as
 * long as a connection of it is open.
 */
#ifndef PAIL_SERVER_ADDRESS_H
#define PAIL_SERVER_ADDRESS_H

#include "base/limits.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct address {
	uint64_t name;             /* the IPv6 network, or the IPv4 address as in address.c */
	uint32_t next;             /* of the chain or of the free entries, from 1; 0: none */
	uint32_t connections;      /* open now, never 0 in a chain */
	_Atomic uint32_t requests; /* that hold a bucket or wait for one */
};

struct addresses {
	pthread_mutex_t lock;
	uint32_t connections_most, requests_most; /* of one address */
	uint32_t room, mask, free, used;
	uint64_t key;
	struct address *entry; /* [0, room) */
	uint32_t *head;        /* [0, mask] */
};

/* Bytes of its memory, for `room` connections. */
uint64_t addresses_bytes(uint32_t room);
/* `memory` holds addresses_bytes(room). A limit of 0 is none. */
void addresses_init(struct addresses *all, void *memory, uint32_t room,
		    uint32_t connections_most, uint32_t requests_most, uint64_t key);
/* One connection more: 0, *address is its entry or NULL (it has no address); -1 if
 * the address has as many as it may. */
int address_enter(struct addresses *all, const struct sockaddr *from, struct address **address);
/* And one less. */
void address_leave(struct addresses *all, struct address *address);
/* One request more, unless there are as many as there may be. */
bool address_claim(const struct addresses *all, struct address *address);
void address_unclaim(struct address *address);

#endif
