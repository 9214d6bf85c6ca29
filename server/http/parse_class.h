/* SPDX-License-Identifier: MIT */
/*
 * What a byte may be part of in HTTP/1.1 (RFC 9110, 5.6; RFC 3986, appendix A),
 * as one table. Private to the parser's files.
 */
#ifndef PAIL_SERVER_PARSE_CLASS_H
#define PAIL_SERVER_PARSE_CLASS_H

#include <stdbool.h>
#include <stdint.h>

enum {
	TCHAR = 1,  /* token: methods, field names */
	PCHAR = 2,  /* path, '%' and '/' included */
	QCHAR = 4,  /* query: RFC 3986 and what browsers leave as it is, []{}|^`\ */
	FCHAR = 8,  /* field value, with space and tab */
	HCHAR = 16, /* registered name of a host, '%' included */
	XCHAR = 32, /* hexadecimal digit */
};

extern const uint8_t parse_class_of[256];

static inline bool is(char c, unsigned classes)
{
	return (parse_class_of[(unsigned char)c] & classes) != 0;
}

static inline bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

#endif
