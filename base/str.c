/* SPDX-License-Identifier: MIT */
#include "base/str.h"

#include <string.h>

struct str str_of(const char *text)
{
	return text ? (struct str){text, strlen(text)} : (struct str){"", 0};
}

bool str_equal(struct str a, struct str b)
{
	return a.length == b.length &&
	       (a.length == 0 || memcmp(a.bytes, b.bytes, a.length) == 0);
}

/* Not tolower(): a field name's meaning must not change with the locale. */
static unsigned char lower(char byte)
{
	unsigned char c = (unsigned char)byte;
	return c >= 'A' && c <= 'Z' ? (unsigned char)(c | 0x20) : c;
}

bool str_equal_nocase(struct str a, struct str b)
{
	if (a.length != b.length)
		return false;
	for (size_t i = 0; i < a.length; i++) {
		if (lower(a.bytes[i]) != lower(b.bytes[i]))
			return false;
	}
	return true;
}

bool str_starts(struct str s, struct str prefix)
{
	return s.length >= prefix.length &&
	       (prefix.length == 0 || memcmp(s.bytes, prefix.bytes, prefix.length) == 0);
}

static bool blank(char byte)
{
	return byte == ' ' || byte == '\t';
}

struct str str_trim(struct str s)
{
	while (s.length > 0 && blank(s.bytes[0])) {
		s.bytes++;
		s.length--;
	}
	while (s.length > 0 && blank(s.bytes[s.length - 1]))
		s.length--;
	return s;
}

bool str_cut(struct str s, char separator, struct str *head, struct str *tail)
{
	const char *at = s.length > 0 ? memchr(s.bytes, separator, s.length) : NULL;
	if (!at) {
		*head = s;
		*tail = (struct str){s.bytes + s.length, 0};
		return false;
	}
	size_t before = (size_t)(at - s.bytes);
	*head = (struct str){s.bytes, before};
	*tail = (struct str){at + 1, s.length - before - 1};
	return true;
}
