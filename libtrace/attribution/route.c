/* SPDX-License-Identifier: MIT */
#include "libtrace/attribution/route.h"

#include "base/limits.h"

#include <stdlib.h>
#include <string.h>

void route_namer_init(struct route_namer *namer)
{
	memset(namer, 0, sizeof(*namer));
}

void route_namer_release(struct route_namer *namer)
{
	for (size_t i = 0; i < namer->count; i++)
		free(namer->name[i]);
	memset(namer, 0, sizeof(*namer));
}

bool route_is_identifier(struct str s)
{
	return limits_is_identifier(s); /* as the rules of pail.conf have it */
}

/* "http://host/path?query#x" -> "/path" */
static struct str path_of(struct str target)
{
	struct str path, rest;
	str_cut(target, '?', &path, &rest);
	str_cut(path, '#', &path, &rest);
	for (size_t i = 0; i + 2 < path.length && path.bytes[0] != '/'; i++)
		if (memcmp(path.bytes + i, "://", 3) == 0) {
			const char *slash =
				memchr(path.bytes + i + 3, '/', path.length - i - 3);
			if (!slash)
				return STR("/");
			return (struct str){slash, path.length - (size_t)(slash - path.bytes)};
		}
	return path;
}

static size_t put(char text[ROUTE_BYTES_MAX], size_t at, struct str s)
{
	size_t room = ROUTE_BYTES_MAX - at, take = s.length < room ? s.length : room;
	memcpy(text + at, s.bytes, take);
	return at + take;
}

static size_t put_grouped(char text[ROUTE_BYTES_MAX], size_t at, struct str path)
{
	while (path.length > 0) {
		struct str segment, rest;
		bool more = str_cut(path, '/', &segment, &rest);
		at = put(text, at, route_is_identifier(segment) ? STR(":id") : segment);
		if (more)
			at = put(text, at, STR("/"));
		path = rest;
	}
	return at;
}

/* Finds the name, or adds it while there are fewer than `most`. */
static bool known(struct route_namer *namer, struct str name, size_t most)
{
	size_t mask = sizeof(namer->slot) / sizeof(*namer->slot) - 1;
	uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a */
	for (size_t i = 0; i < name.length; i++)
		hash = (hash ^ (unsigned char)name.bytes[i]) * UINT64_C(0x100000001b3);
	size_t at = (size_t)(hash ^ hash >> 32) & mask;
	for (; namer->slot[at] != 0; at = (at + 1) & mask)
		if (str_equal(str_of(namer->name[namer->slot[at] - 1]), name))
			return true;
	if (namer->count >= most)
		return false;
	char *copy = strndup(name.bytes, name.length);
	if (!copy)
		return false;
	namer->name[namer->count++] = copy;
	namer->slot[at] = (uint16_t)namer->count;
	return true;
}

struct str route_name(struct route_namer *namer, struct str method, struct str target,
		      char text[ROUTE_BYTES_MAX])
{
	struct str path = path_of(target);
	size_t head = put(text, put(text, 0, method), STR(" "));
	struct str name = {text, put(text, head, path)};
	if (known(namer, name, ROUTES_PLAIN))
		return name;
	name.length = put_grouped(text, head, path);
	if (known(namer, name, ROUTES_MOST))
		return name;
	name.length = put(text, head, STR("(other)"));
	return name;
}
