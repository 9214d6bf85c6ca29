/* SPDX-License-Identifier: MIT */
/*
 * Writes JSON (RFC 8259) into a struct buf: objects, arrays, keys in the order
 * given, UTF-8 checked (bytes that are none become U+FFFD), control characters
 * escaped, doubles shortest-that-round-trips, infinities and NaN as null.
 * Nesting is asserted. There is no reader here: the tools only write JSON.
 */
#ifndef PAIL_BASE_JSON_H
#define PAIL_BASE_JSON_H

#include "base/buf.h"

#include <stdbool.h>
#include <stdint.h>

enum { JSON_DEPTH_MAX = 32 };

struct json {
	struct buf *out;
	int depth;
	char kind[JSON_DEPTH_MAX]; /* '{' or '[' */
	bool first[JSON_DEPTH_MAX];
	bool after_key;
};

void json_init(struct json *json, struct buf *out);
void json_object_begin(struct json *json);
void json_object_end(struct json *json);
void json_array_begin(struct json *json);
void json_array_end(struct json *json);
void json_key(struct json *json, const char *key);
void json_str(struct json *json, struct str value);
void json_text(struct json *json, const char *value); /* NULL becomes null */
void json_u64(struct json *json, uint64_t value);
void json_i64(struct json *json, int64_t value);
void json_double(struct json *json, double value);
void json_bool(struct json *json, bool value);
void json_null(struct json *json);
/* key and value in one call */
void json_pair_text(struct json *json, const char *key, const char *value);
void json_pair_u64(struct json *json, const char *key, uint64_t value);
void json_pair_double(struct json *json, const char *key, double value);
void json_pair_bool(struct json *json, const char *key, bool value);

#endif
