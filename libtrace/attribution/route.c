/* SPDX-License-Identifier: MIT */
#include "libtrace/attribution/route.h"

#include "base/limits.h"

#include <assert.h>
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

static struct str new_name(struct route_namer *namer, struct str method, struct str target,
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

static struct route_known *known_place(struct route_namer *namer, struct str method,
				       struct str target)
{
	uint64_t last = 0, hash = method.length << 16 ^ target.length;
	size_t take = target.length < sizeof(last) ? target.length : sizeof(last);
	memcpy(&last, target.bytes + target.length - take, take);
	hash = (hash ^ last) * UINT64_C(0x9e3779b97f4a7c15);
	return &namer->known[hash >> 58];
}
static_assert(ROUTES_KNOWN == 64, "known_place() gives 6 bits");

/* A name that was given stays the same: none is ever forgotten, nor is there room again. */
struct str route_name(struct route_namer *namer, struct str method, struct str target,
		      char text[ROUTE_BYTES_MAX])
{
	if (method.length + target.length > ROUTE_BYTES_MAX || target.length == 0)
		return new_name(namer, method, target, text);
	struct route_known *place = known_place(namer, method, target);
	if (place->name_bytes == 0 || place->method_bytes != method.length ||
	    place->target_bytes != target.length ||
	    memcmp(place->asked, method.bytes, method.length) != 0 ||
	    memcmp(place->asked + method.length, target.bytes, target.length) != 0) {
		struct str name = new_name(namer, method, target, text);
		place->method_bytes = (uint16_t)method.length;
		place->target_bytes = (uint16_t)target.length;
		place->name_bytes = (uint16_t)name.length;
		memcpy(place->asked, method.bytes, method.length);
		memcpy(place->asked + method.length, target.bytes, target.length);
		memcpy(place->name, name.bytes, name.length);
		return name;
	}
	return (struct str){place->name, place->name_bytes};
}
