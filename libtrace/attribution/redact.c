/* SPDX-License-Identifier: MIT */
#include "libtrace/attribution/redact.h"

#include "libtrace/attribution/route.h"

#include <string.h>

const char *const redact_name[REDACTS] = {"values", "none", "query", "all"};

struct out {
	char *text;
	size_t size, used;
};

static void put(struct out *out, struct str s)
{
	size_t room = out->size - out->used, take = s.length < room ? s.length : room;
	if (take > 0)
		memcpy(out->text + out->used, s.bytes, take);
	out->used += take;
}

/* The bytes up to the first of `any`; the rest of *s begins with it. */
static struct str take_until(struct str *s, const char *any)
{
	size_t length = 0;
	while (length < s->length &&
	       (s->bytes[length] == '\0' || !strchr(any, s->bytes[length])))
		length++;
	struct str taken = {s->bytes, length};
	s->bytes += length;
	s->length -= length;
	return taken;
}

static struct str take_one(struct str *s)
{
	struct str one = {s->bytes, s->length > 0 ? 1 : 0};
	s->bytes += one.length;
	s->length -= one.length;
	return one;
}

static void put_query(struct out *out, struct str query)
{
	while (query.length > 0) {
		struct str pair = take_until(&query, "&;");
		struct str name = take_until(&pair, "=");
		if (pair.length > 0) {
			put(out, name);
			put(out, take_one(&pair));
		} else {
			pair = name;
		}
		if (pair.length > 0)
			put(out, STR("*"));
		put(out, take_one(&query));
	}
}

/* "scheme://" and what stands between it and the path. */
static void put_authority(struct out *out, struct str *target)
{
	struct str rest = *target, scheme = take_until(&rest, ":/?#");
	if (scheme.length == 0 || rest.length < 3 || memcmp(rest.bytes, "://", 3) != 0)
		return;
	rest.bytes += 3;
	rest.length -= 3;
	put(out, scheme);
	put(out, STR("://"));
	struct str authority = take_until(&rest, "/?#");
	const char *at = memrchr(authority.bytes, '@', authority.length);
	if (at) {
		put(out, STR("*"));
		authority.length -= (size_t)(at - authority.bytes);
		authority.bytes = at;
	}
	put(out, authority);
	*target = rest;
}

/* ";name=value" behind a segment (jsessionid and its like) goes with the rest. */
static void put_path(struct out *out, struct str path)
{
	while (path.length > 0) {
		struct str segment = take_until(&path, "/");
		struct str plain = take_until(&segment, ";");
		put(out, route_is_identifier(plain) ? STR(":id") : plain);
		if (segment.length > 0)
			put(out, STR(";*"));
		put(out, take_one(&path));
	}
}

struct str redact_target(enum redact redact, struct str target, char *text, size_t size,
			 bool *changed)
{
	struct out out = {text, size, 0};
	struct str rest = target;
	*changed = false;
	if (redact == REDACT_NONE || target.length == 0)
		return target;
	put_authority(&out, &rest);
	struct str path = take_until(&rest, "?#");
	if (redact == REDACT_ALL)
		put_path(&out, path);
	else
		put(&out, path);
	struct str query = take_until(&rest, "#");
	if (redact == REDACT_VALUES && query.length > 0) {
		put(&out, take_one(&query));
		put_query(&out, query);
	}
	if (redact == REDACT_VALUES && rest.length > 0)
		put(&out, rest.length > 1 ? STR("#*") : STR("#"));
	struct str result = {text, out.used};
	*changed = !str_equal(result, target);
	return *changed ? result : target;
}
