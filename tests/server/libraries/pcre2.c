/* SPDX-License-Identifier: MIT */
/* PCRE2: compiled, matched, substituted; no JIT, which would map memory. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "library.h"

#include <pcre2.h>

static int library_work(struct pail_request *r)
{
	static const unsigned char subject[] = "one 11, two 222 and (nested (ones)) 3333";
	int error, fine = 0;
	size_t at;
	pcre2_code *code = pcre2_compile(
		(PCRE2_SPTR) "(?<word>\\w+)\\s(?<number>\\d{2,})|\\((?:[^()]|(?R))*\\)",
		PCRE2_ZERO_TERMINATED, PCRE2_UTF, &error, &at, NULL);
	pcre2_match_data *match =
		code ? pcre2_match_data_create_from_pattern(code, NULL) : NULL;

	if (match) {
		unsigned char out[200];
		size_t length = sizeof(out);
		fine = pcre2_match(code, subject, sizeof(subject) - 1, 0, 0, match, NULL) > 0;
		fine = fine && pcre2_substitute(code, subject, sizeof(subject) - 1, 0,
						PCRE2_SUBSTITUTE_GLOBAL, match, NULL,
						(PCRE2_SPTR) "<$0>", 4, out, &length) > 0;
		if (fine)
			pail_write(r, out, length);
	}
	pcre2_match_data_free(match);
	pcre2_code_free(code);
	return fine ? 200 : 500;
}
