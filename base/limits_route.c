/* SPDX-License-Identifier: MIT */
#include "base/limits.h"

#include "base/limits_parts.h"

#include <string.h>

bool limits_is_word(const char *text, const char *without)
{
	if (*text == '\0')
		return false;
	for (const char *c = text; *c; c++) {
		if ((unsigned char)*c <= ' ' || *c == 0x7f || strchr(without, *c))
			return false;
	}
	return true;
}

/* ---- quoted names ------------------------------------------------------------ */

/* What stands for itself between quotes in a section's line of pail.conf. */
static bool is_plain(unsigned char c)
{
	return c >= ' ' && c != 0x7f && !strchr("\"\\[]#;", c);
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

/* The next byte of a quoted pattern; -1 at its closing quote, -2 if it is none. */
static int quoted_next(struct str *rest)
{
	if (rest->length == 1 && rest->bytes[0] == '"')
		return -1;
	size_t taken = 1;
	int byte = -2;
	if (rest->length >= 4 && rest->bytes[0] == '\\' && rest->bytes[1] == 'x') {
		int high = hex_digit(rest->bytes[2]), low = hex_digit(rest->bytes[3]);
		byte = high < 0 || low < 0 ? -2 : high * 16 + low;
		/* One spelling for each name: two rules for the same would not be seen. */
		if (byte >= 0 && is_plain((unsigned char)byte))
			byte = -2;
		taken = 4;
	} else if (rest->length > 0 && is_plain((unsigned char)rest->bytes[0])) {
		byte = (unsigned char)rest->bytes[0];
	}
	if (byte >= 0)
		*rest = (struct str){rest->bytes + taken, rest->length - taken};
	return byte;
}

static bool quoted_is_possible(const char *pattern)
{
	struct str rest = {pattern + 1, strlen(pattern) - 1};
	int byte;
	size_t length = 0;
	while ((byte = quoted_next(&rest)) >= 0)
		length++;
	return byte == -1 && length > 0;
}

/* True when the name is "METHOD path", or the path where there is no method. */
static bool quoted_fits(struct str pattern, struct str method, struct str path)
{
	struct str rest = {pattern.bytes + 1, pattern.length - 1};
	size_t lead = method.length ? method.length + 1 : 0, length = lead + path.length;
	for (size_t i = 0; i < length; i++) {
		char want = i < method.length ? method.bytes[i]
			    : i < lead        ? ' '
					      : path.bytes[i - lead];
		if (quoted_next(&rest) != (unsigned char)want)
			return false;
	}
	return quoted_next(&rest) == -1;
}

static int quote(struct str name, char pattern[LIMITS_PATTERN_MAX])
{
	static const char digit[] = "0123456789abcdef";
	size_t n = 0;
	pattern[n++] = '"';
	for (size_t i = 0; i < name.length; i++) {
		unsigned char c = (unsigned char)name.bytes[i];
		if (n + (is_plain(c) ? 1 : 4) + 2 > LIMITS_PATTERN_MAX)
			return -1;
		if (is_plain(c)) {
			pattern[n++] = (char)c;
			continue;
		}
		pattern[n++] = '\\';
		pattern[n++] = 'x';
		pattern[n++] = digit[c >> 4];
		pattern[n++] = digit[c & 15];
	}
	pattern[n++] = '"';
	pattern[n] = '\0';
	return 0;
}

/* ---- patterns ---------------------------------------------------------------- */

bool limits_pattern_is_possible(const char *pattern)
{
	if (pattern[0] == '"')
		return quoted_is_possible(pattern);
	const char *path = strchr(pattern, ' ');
	if (path) {
		for (const char *c = pattern; c < path; c++) {
			if (*c < 'A' || *c > 'Z')
				return false;
		}
		if (path == pattern)
			return false;
		path++;
	} else {
		path = pattern;
	}
	if (strcmp(path, "*") == 0)
		return true;
	const char *star = strchr(path, '*');
	return path[0] == '/' && limits_is_word(path, "?") && (!star || star[1] == '\0');
}

int limits_pattern_of(struct str name, char pattern[LIMITS_PATTERN_MAX])
{
	bool fits = name.length > 0 && name.length < LIMITS_PATTERN_MAX &&
		    !memchr(name.bytes, '\0', name.length);
	if (fits) {
		memcpy(pattern, name.bytes, name.length);
		pattern[name.length] = '\0';
		/* A star would mean all that begins so, a bracket end the section's line. */
		if (limits_pattern_is_possible(pattern) && !strpbrk(pattern, "\"*[]#;"))
			return 0;
	}
	return quote(name, pattern);
}

/* ---- the rule of a request ---------------------------------------------------- */

bool limits_is_identifier(struct str segment)
{
	enum { HEX_LEAST = 16, UUID_BYTES = 36 };
	size_t digits = 0, hex = 0, dashes = 0;
	for (size_t i = 0; i < segment.length; i++) {
		char c = segment.bytes[i];
		bool digit = c >= '0' && c <= '9';
		digits += digit;
		hex += digit || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
		dashes += c == '-';
	}
	if (segment.length == 0)
		return false;
	return digits == segment.length ||
	       (hex == segment.length && segment.length >= HEX_LEAST && digits > 0) ||
	       (segment.length == UUID_BYTES && dashes == 4 && hex == UUID_BYTES - 4);
}

/* Segment by segment, ":id" for an identifier. */
static bool identifiers_fit(struct str pattern, struct str path)
{
	for (;;) {
		struct str wanted, segment;
		bool more = str_cut(pattern, '/', &wanted, &pattern);
		if (str_cut(path, '/', &segment, &path) != more)
			return false;
		if (!str_equal(wanted, segment) &&
		    !(str_equal(wanted, STR(":id")) && limits_is_identifier(segment)))
			return false;
		if (!more)
			return true;
	}
}

/* How well a pattern fits, 0 for not at all: exact before one with identifiers,
 * that before a prefix, then longer before shorter, then with a method before
 * without. */
static size_t route_rank(struct str pattern, struct str method, struct str path)
{
	const size_t exact_rank = (size_t)1 << 32;
	if (pattern.length > 0 && pattern.bytes[0] == '"')
		return quoted_fits(pattern, method, path) ? exact_rank + 2 : 0;
	struct str wanted, rest;
	bool with_method = str_cut(pattern, ' ', &wanted, &rest);
	if (with_method && !str_equal(wanted, method))
		return 0;
	struct str p = with_method ? rest : pattern;
	if (str_equal(p, path))
		return exact_rank + with_method;
	if (memmem(p.bytes, p.length, "/:id", 4) && identifiers_fit(p, path))
		return exact_rank / 2 + 2 * p.length + with_method;
	bool star = p.length > 0 && p.bytes[p.length - 1] == '*';
	bool folder = p.length > 0 && p.bytes[p.length - 1] == '/';
	if (star)
		p.length--;
	if ((!star && !folder) || !str_starts(path, p))
		return 0;
	return 2 * (p.length + 1) + with_method;
}

int limits_route(const struct plan *plan, struct str method, struct str path)
{
	int best = -1;
	size_t best_rank = 0;
	for (uint32_t i = 0; i < plan->route_count; i++) {
		size_t rank = route_rank(str_of(plan->route[i].pattern), method, path);
		if (rank > best_rank) {
			best_rank = rank;
			best = (int)i;
		}
	}
	return best;
}
