/* SPDX-License-Identifier: MIT */
#include "libtrace/store/names.h"

#include <stdlib.h>
#include <string.h>

enum { NAMES_MOST = 1 << 16, BYTES_MOST = 8 << 20 };

static uint64_t hash_str(struct str s)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325), word;
	while (s.length >= sizeof(word)) {
		memcpy(&word, s.bytes, sizeof(word));
		h = (h ^ word) * UINT64_C(0x9e3779b97f4a7c15);
		h ^= h >> 32;
		s.bytes += sizeof(word);
		s.length -= sizeof(word);
	}
	for (size_t i = 0; i < s.length; i++)
		h = (h ^ (unsigned char)s.bytes[i]) * UINT64_C(0x100000001b3); /* FNV-1a */
	return h ^ h >> 32;
}

static void forget(struct names *names)
{
	for (uint32_t i = 0; i < names->count; i++)
		free((char *)(uintptr_t)names->name[i].bytes);
	names->count = 0;
	names->bytes = 0;
}

void names_clear(struct names *names, int64_t first)
{
	forget(names);
	if (names->slot)
		memset(names->slot, 0, names->slots * sizeof(*names->slot));
	names->first = first;
}

void names_release(struct names *names)
{
	forget(names);
	free(names->name);
	free(names->slot);
	memset(names, 0, sizeof(*names));
}

bool names_full(const struct names *names)
{
	return names->count >= NAMES_MOST || names->bytes >= BYTES_MOST;
}

/* The slot that holds the text, or the empty one where it belongs. */
static uint32_t *find(const struct names *names, struct str text)
{
	for (uint64_t i = hash_str(text);; i++) {
		uint32_t *slot = &names->slot[i & (names->slots - 1)];
		if (*slot == 0 || str_equal(names->name[*slot - 1], text))
			return slot;
	}
}

static int grow(struct names *names)
{
	uint32_t slots = names->slots > 0 ? names->slots * 2 : 256;
	uint32_t *slot = calloc(slots, sizeof(*slot));
	struct str *name = reallocarray(names->name, slots / 2, sizeof(*name));
	if (name)
		names->name = name;
	if (!slot || !name) {
		free(slot);
		return -1;
	}
	free(names->slot);
	names->slot = slot;
	names->slots = slots;
	names->room = slots / 2;
	for (uint32_t at = 1; at <= names->count; at++)
		*find(names, names->name[at - 1]) = at;
	return 0;
}

int64_t names_number(struct names *names, struct str text, bool *fresh)
{
	*fresh = false;
	if (names->count == names->room && grow(names) != 0)
		return -1;
	uint32_t *slot = find(names, text);
	if (*slot != 0)
		return names->first + *slot - 1;
	char *copy = malloc(text.length + 1);
	if (!copy)
		return -1;
	if (text.length > 0)
		memcpy(copy, text.bytes, text.length);
	*fresh = true;
	names->bytes += text.length;
	names->name[names->count] = (struct str){copy, text.length};
	*slot = ++names->count;
	return names->first + *slot - 1;
}
