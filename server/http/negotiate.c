/* SPDX-License-Identifier: MIT */
#include "server/http/negotiate.h"

#include <string.h>

/* -- codings -------------------------------------------------------------- */

void accept_encoding_init(struct accept_encoding *accept)
{
	memset(accept, 0, sizeof(*accept));
	accept->q_any = -1;
}

/* qvalue = "0" [ "." 0*3DIGIT ] / "1" [ "." 0*3"0" ], in thousandths; -1. */
static int q_read(struct str s)
{
	static const int weight[] = {100, 10, 1};
	int q;

	if (s.length == 0 || s.length > 5 || (s.bytes[0] != '0' && s.bytes[0] != '1'))
		return -1;
	q = s.bytes[0] == '1' ? 1000 : 0;
	if (s.length > 1 && s.bytes[1] != '.')
		return -1;
	for (size_t i = 2; i < s.length; i++) {
		if (s.bytes[i] < '0' || s.bytes[i] > '9')
			return -1;
		q += (s.bytes[i] - '0') * weight[i - 2];
	}
	return q <= 1000 ? q : -1;
}

static void coding_take(struct accept_encoding *accept, struct str item)
{
	static const struct str name[CODINGS] = {
		{"br", 2}, {"zstd", 4}, {"gzip", 4}, {"identity", 8}};
	struct str coding, weight;
	int q = 1000;

	if (str_cut(item, ';', &coding, &weight)) {
		weight = str_trim(weight);
		if (weight.length < 2 || (weight.bytes[0] | 0x20) != 'q' ||
		    weight.bytes[1] != '=')
			return;
		q = q_read((struct str){weight.bytes + 2, weight.length - 2});
		if (q < 0)
			return;
	}
	coding = str_trim(coding);
	if (str_equal(coding, STR("*")))
		accept->q_any = q;
	if (str_equal_nocase(coding, STR("x-gzip"))) /* RFC 9110, 8.4.1.3 */
		coding = name[CODING_GZIP];
	for (int i = 0; i < CODINGS; i++) {
		if (str_equal_nocase(coding, name[i])) {
			accept->q[i] = q;
			accept->named[i] = true;
		}
	}
}

void accept_encoding_read(struct accept_encoding *accept, struct str value)
{
	struct str item;

	accept->present = true;
	while (value.length) {
		str_cut(value, ',', &item, &value);
		coding_take(accept, item);
	}
}

int accept_encoding_q(const struct accept_encoding *accept, enum coding coding)
{
	if (accept->named[coding])
		return accept->q[coding];
	if (accept->q_any >= 0)
		return accept->q_any;
	return coding == CODING_IDENTITY ? 1 : 0;
}

/* -- validators ----------------------------------------------------------- */

static bool is_weak(struct str etag)
{
	return str_starts(etag, STR("W/"));
}

static struct str opaque(struct str etag)
{
	return is_weak(etag) ? (struct str){etag.bytes + 2, etag.length - 2} : etag;
}

/* Tags may hold commas, so the list is cut at its quotes. */
bool etag_listed(struct str list, struct str etag, bool strong)
{
	list = str_trim(list);
	if (str_equal(list, STR("*")))
		return true;
	while (list.length) {
		size_t start = 0;
		struct str one;
		const char *open, *close;

		while (start < list.length && strchr(" \t,", list.bytes[start]))
			start++;
		list = (struct str){list.bytes + start, list.length - start};
		open = memchr(list.bytes, '"', list.length);
		/* Only W/ may stand before the quote. */
		if (!open || (open != list.bytes && !(open == list.bytes + 2 && is_weak(list))))
			return false;
		close = memchr(open + 1, '"', (size_t)(list.bytes + list.length - open) - 1);
		if (!close)
			return false;
		one = (struct str){list.bytes, (size_t)(close - list.bytes) + 1};
		list = (struct str){close + 1, list.length - one.length};
		if (strong && (is_weak(one) || is_weak(etag)))
			continue;
		if (str_equal(opaque(one), opaque(etag)))
			return true;
	}
	return false;
}

/* -- ranges --------------------------------------------------------------- */

/* Digits off the front of *s; no digit: false. Too many: UINT64_MAX, which is
 * behind the end of anything. */
static bool number_take(struct str *s, uint64_t *value)
{
	size_t i = 0;

	for (*value = 0; i < s->length && s->bytes[i] >= '0' && s->bytes[i] <= '9'; i++) {
		unsigned digit = (unsigned)(s->bytes[i] - '0');
		*value = *value > (UINT64_MAX - digit) / 10 ? UINT64_MAX : *value * 10 + digit;
	}
	*s = (struct str){s->bytes + i, s->length - i};
	return i > 0;
}

/* int-range or suffix-range. -1 not valid, 0 nothing of it is there, 1. */
static int one_range(struct str item, uint64_t size, uint64_t *first, uint64_t *length)
{
	uint64_t last = UINT64_MAX;

	if (item.length && item.bytes[0] == '-') {
		uint64_t suffix;

		item = (struct str){item.bytes + 1, item.length - 1};
		if (!number_take(&item, &suffix) || item.length)
			return -1;
		*length = suffix < size ? suffix : size;
		*first = size - *length;
		return suffix > 0;
	}
	if (!number_take(&item, first) || !item.length || item.bytes[0] != '-')
		return -1;
	item = (struct str){item.bytes + 1, item.length - 1};
	if (item.length && (!number_take(&item, &last) || item.length || last < *first))
		return -1;
	if (*first >= size)
		return 0;
	*length = (last < size - 1 ? last : size - 1) - *first + 1;
	return 1;
}

enum range_result range_read(struct str value, uint64_t size, uint64_t *first, uint64_t *length)
{
	struct str unit, set, item;
	int there = 0, valid = 0;

	if (!str_cut(value, '=', &unit, &set) || !str_equal_nocase(unit, STR("bytes")))
		return RANGE_WHOLE;
	while (set.length) {
		uint64_t at, bytes;
		int result;

		str_cut(set, ',', &item, &set);
		item = str_trim(item);
		if (!item.length)
			continue;
		result = one_range(item, size, &at, &bytes);
		if (result < 0)
			return RANGE_WHOLE;
		valid++;
		if (result) {
			there++;
			*first = at;
			*length = bytes;
		}
	}
	if (!valid)
		return RANGE_WHOLE;
	if (!there)
		return RANGE_NONE;
	/* Several ranges would need multipart/byteranges, which a server need not
	 * offer; and no Content-Range can name a part of nothing. */
	return valid == 1 && *length > 0 ? RANGE_PART : RANGE_WHOLE;
}
