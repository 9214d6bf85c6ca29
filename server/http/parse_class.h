/* SPDX-License-Identifier: MIT */
/*
 * What a byte may be part of in HTTP/1.1 (RFC 9110, 5.6; RFC 3986, appendix A),
 * as one table, and runs of bytes of one class, found 16 bytes at a time where
 * the processor has the instructions (SSE2). Private to the parser's files.
 */
#ifndef PAIL_SERVER_PARSE_CLASS_H
#define PAIL_SERVER_PARSE_CLASS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__SSE2__)
#	include <emmintrin.h>
#endif

enum {
	TCHAR = 1,    /* token: methods, field names */
	PCHAR = 2,    /* path, '%' and '/' included */
	QCHAR = 4,    /* query: RFC 3986 and what browsers leave as it is, []{}|^`\ */
	FCHAR = 8,    /* field value, with space and tab */
	HCHAR = 16,   /* registered name of a host, '%' included */
	XCHAR = 32,   /* hexadecimal digit */
	PPLAIN = 64,  /* PCHAR but for '%', */
	HPLAIN = 128, /* HCHAR but for '%' */
};

extern const uint8_t parse_class_of[256];

static inline bool is(char c, unsigned classes)
{
	return (parse_class_of[(unsigned char)c] & classes) != 0;
}

/* Where the first byte of bytes[at, end) that is no FCHAR is; `end` if there is none. */
static inline size_t parse_field_run(const char *bytes, size_t at, size_t end)
{
#if defined(__SSE2__)
	const __m128i space = _mm_set1_epi8(' '), tab = _mm_set1_epi8('\t'),
		      del = _mm_set1_epi8(0x7f);

	for (; end - at >= 16; at += 16) {
		__m128i v = _mm_loadu_si128((const __m128i *)(const void *)(bytes + at));
		__m128i good = _mm_or_si128(_mm_cmpeq_epi8(_mm_max_epu8(v, space), v),
					    _mm_cmpeq_epi8(v, tab));
		good = _mm_andnot_si128(_mm_cmpeq_epi8(v, del), good);
		unsigned bad = (unsigned)_mm_movemask_epi8(good) ^ 0xffffu;
		if (bad)
			return at + (size_t)__builtin_ctz(bad);
	}
#endif
	while (at < end && is(bytes[at], FCHAR))
		at++;
	return at;
}

/* The same of printable ASCII without the space, which a target is made of. */
static inline size_t parse_target_run(const char *bytes, size_t at, size_t end)
{
#if defined(__SSE2__)
	const __m128i space = _mm_set1_epi8(' '), del = _mm_set1_epi8(0x7f);

	for (; end - at >= 16; at += 16) { /* signed: what is above 0x7f is below the space */
		__m128i v = _mm_loadu_si128((const __m128i *)(const void *)(bytes + at));
		__m128i good =
			_mm_andnot_si128(_mm_cmpeq_epi8(v, del), _mm_cmpgt_epi8(v, space));
		unsigned bad = (unsigned)_mm_movemask_epi8(good) ^ 0xffffu;
		if (bad)
			return at + (size_t)__builtin_ctz(bad);
	}
#endif
	while (at < end && bytes[at] > ' ' && bytes[at] < 0x7f)
		at++;
	return at;
}

static inline bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

#endif
