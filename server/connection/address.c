/* SPDX-License-Identifier: MIT */
#include "server/connection/address.h"

#include <assert.h>
#include <netinet/in.h>
#include <string.h>

static_assert(sizeof(struct address) + 2 * sizeof(uint32_t) <= LIMITS_ADDRESS_BYTES,
	      "an entry, and its share of the heads");

static uint32_t heads_of(uint32_t room)
{
	uint32_t heads = 1;

	while (heads < room)
		heads *= 2;
	return heads; /* fewer than 2 x room */
}

uint64_t addresses_bytes(uint32_t room)
{
	return room * (uint64_t)sizeof(struct address) +
	       heads_of(room) * (uint64_t)sizeof(uint32_t);
}

void addresses_init(struct addresses *all, void *memory, uint32_t room,
		    uint32_t connections_most, uint32_t requests_most, uint64_t key)
{
	assert(room > 0);
	memset(all, 0, sizeof(*all));
	memset(memory, 0, addresses_bytes(room));
	pthread_mutex_init(&all->lock, NULL);
	all->connections_most = connections_most ? connections_most : UINT32_MAX;
	all->requests_most = requests_most ? requests_most : UINT32_MAX;
	all->room = room;
	all->mask = heads_of(room) - 1;
	all->key = key;
	all->entry = memory;
	all->head = (uint32_t *)(all->entry + room);
	for (uint32_t i = room; i > 0; i--) {
		all->entry[i - 1].next = all->free;
		all->free = i;
	}
}

/* Its name in the table. IPv4 addresses are ::1:a.b:c.d, which is of 0000::/8 and
 * nobody's network (RFC 4291). False if it has none. */
static bool name_of(const struct sockaddr *from, uint64_t *name)
{
	const struct sockaddr_in *four = (const struct sockaddr_in *)from;
	const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)from;
	uint32_t low;
	uint64_t network;

	switch (from->sa_family) {
	case AF_INET: low = four->sin_addr.s_addr; break;
	case AF_INET6:
		if (!IN6_IS_ADDR_V4MAPPED(&six->sin6_addr)) {
			memcpy(&network, &six->sin6_addr, sizeof(network));
			*name = be64toh(network);
			return true;
		}
		memcpy(&low, six->sin6_addr.s6_addr + 12, sizeof(low));
		break;
	default: return false;
	}
	*name = UINT64_C(1) << 32 | be32toh(low);
	return true;
}

/* The finalizer of splitmix64, over the name and the key. */
static uint32_t head_of(const struct addresses *all, uint64_t name)
{
	uint64_t x = name ^ all->key;

	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = ((x ^ x >> 27) + all->key) * UINT64_C(0x94d049bb133111eb);
	return (uint32_t)(x ^ x >> 31) & all->mask;
}

int address_enter(struct addresses *all, const struct sockaddr *from, struct address **address)
{
	uint64_t name;
	int result = 0;

	*address = NULL;
	if (!name_of(from, &name))
		return 0;
	uint32_t *head = &all->head[head_of(all, name)];
	pthread_mutex_lock(&all->lock);
	uint32_t i = *head;
	while (i && all->entry[i - 1].name != name)
		i = all->entry[i - 1].next;
	if (!i) {
		i = all->free;
		assert(i > 0); /* there is one for each connection */
		struct address *entry = &all->entry[i - 1];
		all->free = entry->next;
		entry->name = name;
		entry->next = *head;
		entry->connections = 0;
		*head = i;
		all->used++;
	}
	struct address *entry = &all->entry[i - 1];
	if (entry->connections < all->connections_most) {
		entry->connections++;
		*address = entry;
	} else {
		result = -1;
	}
	pthread_mutex_unlock(&all->lock);
	return result;
}

void address_leave(struct addresses *all, struct address *address)
{
	uint32_t i = (uint32_t)(address - all->entry) + 1;

	pthread_mutex_lock(&all->lock);
	assert(address->connections > 0);
	if (--address->connections == 0) {
		assert(atomic_load(&address->requests) == 0);
		uint32_t *link = &all->head[head_of(all, address->name)];
		while (*link != i)
			link = &all->entry[*link - 1].next;
		*link = address->next;
		address->next = all->free;
		all->free = i;
		all->used--;
	}
	pthread_mutex_unlock(&all->lock);
}

bool address_claim(const struct addresses *all, struct address *address)
{
	if (atomic_fetch_add(&address->requests, 1) < all->requests_most)
		return true;
	atomic_fetch_sub(&address->requests, 1);
	return false;
}

void address_unclaim(struct address *address)
{
	uint32_t before = atomic_fetch_sub(&address->requests, 1);

	assert(before > 0);
	(void)before;
}
